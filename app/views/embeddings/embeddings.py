"""The page Embeddings: features as points, their neighbours and partners, and the lengths of their vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.charts.embeddings import EFFECT, FIELD, RATE, SELECTION, embedding_map, embedding_space, lengths, point_name
from app.shared import run_status
from app.shared.field_pairs import pair_id, pair_of
from app.state import links, saved_runs
from app.state.links import chart_key, point
from app.state.saved_runs import OpenRun
from app.views.embeddings.chosen import level_pairs, neighbours_section, partners_section
from app.views.embeddings.held import SPACES, say_none, say_variance, say_what_is_held
from app.widgets.columns import EMBEDDED
from app.widgets.figure import figure
from app.widgets.layout import heading_for_readers, side_by_side
from app.widgets.text import baseline_sentence, code, counted
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.explain.embeddings import CELLS, THIN, Embeddings, Projection, norms, project
from deepfm_core.spec.run import BASELINE

FIELDS, PER_FIELD, COLOUR, SPACE, FEATURE, IN_SPACE = "fields", "per_field", "colour", "space", "feature", "in_3d"
"""Names of the choices in the URL."""
ALL = "all"
PER_FIELDS = ("10", "25", "50", "100", "500", "2000")
USUAL_PER_FIELD = "50"
MOST_POINTS = 2_000
"""Points that a map can hold."""
COLOURS = {RATE: "Share of positives", FIELD: "Field", EFFECT: "Effect with the chosen feature"}


def main() -> None:
    """Draw the page."""
    st.title("Embeddings", anchor=False)
    run = run_status.finished_run()
    run_status.show_run(run)
    heading_for_readers("Features in a plane")
    if run.spec.model.name == BASELINE:
        st.info(baseline_sentence(run.name))
        return
    made = _held(run.id, run)
    if not made.spaces:
        say_none(run, made)
        return
    said = st.container()
    space, shown, colour = _choose(made)
    with said:
        say_what_is_held(run, made, space)
    feature = _choose_feature(made, space, shown)
    points = made.described(shown, space, saved_runs.frame(run, "levels"))
    points["effect"] = _effects(run, made, feature)[shown]
    left, right = side_by_side(2)
    with left:
        _map(run, made, points, space, colour, feature)
    with right:
        partners_section(run, made, feature)
    left, right = side_by_side(2)
    with left:
        neighbours_section(made, space, feature)
    with right:
        _lengths(run, made, points, space, feature)


def _effects(run: OpenRun, made: Embeddings, feature: int) -> np.ndarray:
    """Give what the chosen feature adds together with each other one; null where it is not known: (V,)."""
    if made.multiplied:
        return made.together(feature)
    known = made.partners(feature, level_pairs(run, made.fields[made.field[feature]]))
    effects = np.full(len(made), np.nan)
    effects[known["id"]] = known["whole"]
    return effects


@st.cache_resource(max_entries=8, show_spinner="Reading the model …")
def _held(run_id: str, _run: OpenRun) -> Embeddings:
    return Embeddings.of(_run.folder.weights(), Encoder.load(_run.folder.encoder), _run.spec.model)


@st.cache_data(max_entries=16, show_spinner=False)
def _projected(run_id: str, space: str, shown: tuple[int, ...], _made: Embeddings) -> Projection:
    ids = np.array(shown, dtype=np.int64)
    return project(_made.points(space)[ids], _made.rows[ids])


def _choose(made: Embeddings) -> tuple[str, np.ndarray, str]:
    """Let the visitor choose space, features and colour; give the space, ids, and the colour."""
    several = len(made.spaces) > 1
    columns = iter(side_by_side(4 if several else 3, least=190, gap="small"))
    space = made.spaces[0]
    if several:
        kept = links.mirror(SPACE, list(made.spaces), space)
        space = next(columns).selectbox("Place features by", made.spaces, format_func=SPACES.__getitem__, **kept)
    names = [ALL, *map(str, range(len(made.fields)))]
    titles = dict(zip(names, ["all fields", *made.fields], strict=True))
    chosen = next(columns).selectbox("Field", names, format_func=titles.__getitem__, **links.mirror(FIELDS, names, ALL))
    kept = links.mirror(PER_FIELD, PER_FIELDS, USUAL_PER_FIELD)
    per_field = next(columns).selectbox("Features per field", PER_FIELDS, help="Those in most training rows.", **kept)
    colours = list(COLOURS)
    colour = next(columns).selectbox(
        "Colour", colours, format_func=COLOURS.__getitem__, **links.mirror(COLOUR, colours, RATE)
    )
    fields = None if chosen == ALL else np.array([int(chosen)])
    return space, _shown(made, int(per_field), fields), colour


def _shown(made: Embeddings, per_field: int, fields: np.ndarray | None) -> np.ndarray:
    """Give the ids of the features that are shown, and say how many are not."""
    wanted = made.most_frequent(per_field, fields)
    trained = wanted[made.rows[wanted] > 0]
    shown = trained[np.argsort(-made.rows[trained], kind="stable")[:MOST_POINTS]]
    everything = made.rows > 0 if fields is None else (made.rows > 0) & np.isin(made.field, fields)
    left_out = int(everything.sum()) - len(shown)
    if left_out:
        limit = f" A map holds {MOST_POINTS:,} at most." if len(trained) > MOST_POINTS else ""
        st.caption(
            f"Showing the {len(shown):,} features in most training rows. {left_out:,} rarer ones are left out.{limit}"
        )
    return np.asarray(wanted[np.isin(wanted, shown) | (made.rows[wanted] == 0)])


def _choose_feature(made: Embeddings, space: str, shown: np.ndarray) -> int:
    """Let the visitor choose a feature by name or by a click; at first the one that stands out most over all rows."""
    trained = shown[made.rows[shown] > 0]
    weight = norms(made.points(space)[trained]) ** 2 * made.rows[trained]
    names = {pair_id(made.fields[made.field[place]], str(made.names[place])): int(place) for place in trained}
    first = list(names)[int(weight.argmax())]
    linked = _linked(made)
    if linked is not None:
        names.setdefault(pair_id(made.fields[made.field[linked]], str(made.names[linked])), linked)
    options = list(names)
    title = {name: point_name(*pair_of(name)) for name in options}
    chosen = st.selectbox("Feature", options, format_func=title.__getitem__, **links.mirror(FEATURE, options, first))
    if (named := links.missing(FEATURE, options)) is not None:
        st.info(f"This run has no feature {code(point_name(*pair_of(named)))}. Showing {code(title[first])}.")
    return names[chosen]


def _linked(made: Embeddings) -> int | None:
    """Find the feature that the URL names, which need not be among those shown."""
    field, name = pair_of(links.chosen(FEATURE) or "")
    if field not in made.fields:
        return None
    places = np.flatnonzero((made.field == made.fields.index(field)) & (made.names == name))
    return int(places[0]) if len(places) else None


def _clickable(made: Embeddings, name: str, feature: int) -> dict[str, Any]:
    """Make a click in a chart choose a feature; pass the result on to `figure` as keywords."""
    key = chart_key(name, lambda picked: all(int(at["id"]) == feature for at in picked.get(SELECTION) or []))

    def keep() -> None:
        picked = point(key, SELECTION)
        if picked:
            place = int(picked["id"])
            links.choose(FEATURE, pair_id(made.fields[made.field[place]], str(made.names[place])))

    return {"chart_key": key, "on_select": keep, "selections": [SELECTION]}


def _map(run: OpenRun, made: Embeddings, points: pd.DataFrame, space: str, colour: str, feature: int) -> None:
    points = points[points["rows"] > 0]
    found = _projected(run.id, space, tuple(points["id"]), made)
    drawn = points.assign(**{axis: found.places[:, place] for place, axis in enumerate("xyz")})
    positive, shares = run_status.outcome(run.spec.schema.label), tuple(map(float, found.shares))
    if st.toggle("In three dimensions", **links.mirror_flag(IN_SPACE, False)):
        st.subheader("Features by three components", anchor=False)
        dark = st.context.theme.type == "dark"
        spec = embedding_space(drawn, shares, dark=dark, colour=colour, positive=positive)
        alt = f"{len(drawn):,} features by their first three components"
        st.plotly_chart(spec, key="space", alt=alt, config={"displaylogo": False})
        st.caption("Drag to turn, scroll to zoom. The table of features is with the map in two dimensions.")
    else:
        rare = int((drawn["rows"] < THIN).sum())
        hollow = f" Hollow: under {THIN} training rows ({rare:,} features); their place is mostly noise."
        figure(
            "Features as points",
            lambda: embedding_map(drawn, shares, colour=colour, chosen=feature, positive=positive, thin=THIN),
            drawn.drop(columns=["id"]),
            f"Near each other: alike to the model. Size: training rows. Click one to choose it.{hollow * (rare > 0)}",
            key="map",
            titles=EMBEDDED,
            file="embeddings",
            **_clickable(made, f"map of {run.id} {space}", feature),
        )
    dimensions = made.points(space).shape[1]
    say_variance(shares, dimensions, len(drawn))


def _lengths(run: OpenRun, made: Embeddings, points: pd.DataFrame, space: str, feature: int) -> None:
    untrained = int((points["rows"] == 0).sum())
    grey = f" Grey: {counted(untrained, 'feature')} that no training row has." if untrained else ""
    pulled = "L2 pulls the vectors of rare features towards 0." if space != CELLS else "Rare features have few cells."
    figure(
        "Length against training rows",
        lambda: lengths(points, chosen=feature),
        points[["field", "feature", "rows", "norm"]],
        f"{pulled} So a short vector need not mean that a feature does little.{grey}",
        key="lengths",
        titles=EMBEDDED,
        file="embedding-lengths",
        **_clickable(made, f"lengths of {run.id} {space}", feature),
    )


main()
