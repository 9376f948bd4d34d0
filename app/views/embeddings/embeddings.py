"""The page Embeddings: features as points, their neighbours and partners, and the lengths of their vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.charts.embeddings import (
    EFFECT,
    FIELD,
    RATE,
    SELECTION,
    embedding_map,
    embedding_space,
    lengths,
    partner_bars,
    point_name,
)
from app.charts.interactions.ranking import pair_label
from app.shared import launch, run_status
from app.shared.field_pairs import pair_id, pair_of
from app.shared.guide import offer_without
from app.shared.run_status import outcome
from app.state import links, saved_runs
from app.state.links import chart_key, point
from app.state.saved_runs import OpenRun
from app.widgets.columns import EMBEDDED, configured
from app.widgets.figure import figure
from app.widgets.layout import heading_for_readers, side_by_side
from app.widgets.text import MODEL_TITLES, baseline_sentence, code, counted, plain, to_pairs
from deepfm_core._words import percent, signed
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.explain.embeddings import CELLS, FM, OWN, THIN, Embeddings, Projection, norms, project
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
        neighbours_section(made, space, feature)
    with right:
        partners_section(run, made, feature)
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


# The chosen feature: its strongest partners, and its nearest neighbours in all dimensions.


NEAREST = 8


def partners_section(run: OpenRun, made: Embeddings, feature: int) -> None:
    """Draw what the chosen feature does together with its strongest partners."""
    field = made.fields[made.field[feature]]
    name = point_name(field, str(made.names[feature]))
    partners = made.partners(feature, level_pairs(run, field))
    measure = "fm" if made.multiplied else "whole"
    if partners.empty or not partners[measure].abs().max() > 0:
        st.subheader(plain(f"Partners of {name}"), anchor=False)
        st.info(f"The model adds nothing for {code(name)} together with another feature.")
        return
    figure(
        f"Partners of {name}",
        lambda: partner_bars(partners, name, measure=measure),
        partners.drop(columns="id").dropna(axis="columns", how="all"),
        _reading(made, run),
        key="partners",
        titles=EMBEDDED,
        file="partners",
    )
    st.markdown(_strongest(partners.iloc[0], name, measure, run))


def level_pairs(run: OpenRun, field: str) -> pd.DataFrame | None:
    """Read what the run stored of the pairs of a field."""
    return run.folder.frame("level_pairs", filters=[[("field_a", "=", field)], [("field_b", "=", field)]])


def _reading(made: Embeddings, run: OpenRun) -> str:
    beyond = "Beyond what each does alone, for a row that holds both. Green raises the logit, purple lowers it."
    if not made.multiplied:
        return f"What the whole logit adds. {beyond} Only the levels that *Interactions* shows are known."
    tick = " Tick: with what the DNN adds, where it is known." if run.spec.model.deep else ""
    means = " *Interactions* takes out the means of the rows that hold both, so its figures differ a little."
    return f"What FM pairs add. {beyond}{tick}{means}"


def _strongest(partner: pd.Series[float], name: str, measure: str, run: OpenRun) -> str:
    """Say what the feature and its strongest partner do together, and how many rows say so."""
    other = point_name(str(partner["field"]), str(partner["feature"]))
    does = f"{code(name)} with {code(other)}: **{signed(float(partner[measure]))} log-odds** "
    does += "in the FM pairs" if measure == "fm" else "in the whole logit"
    if not partner["both"] > 0:
        return f"{does}. It is not known how many rows hold both; the partner is in {int(partner['rows']):,}."
    rows, positive = int(partner["both"]), code(outcome(run.spec.schema.label))
    said = f"{does}. {rows:,} training rows hold both, {percent(partner['rate'])} of them with {positive}."
    return f"{said} That is few: take it as a hint." if rows < THIN else said


def neighbours_section(made: Embeddings, space: str, feature: int) -> None:
    """List the nearest neighbours of the chosen feature, by both metrics."""
    name = point_name(made.fields[made.field[feature]], str(made.names[feature]))
    st.subheader("Nearest neighbours", anchor=False)
    inner, cosine = st.tabs(["By inner product", "By cosine"])
    with inner:
        _neighbours(made, space, feature, "inner")
        st.caption(_inner_reading(made, space))
    with cosine:
        _neighbours(made, space, feature, "cosine")
        st.caption(f"The angle alone, 1 being the same direction as {code(name)}. It says nothing about strength.")


def _inner_reading(made: Embeddings, space: str) -> str:
    if space == CELLS:
        return "How much the cells of two features agree, by the rows that they are for."
    if made.multiplied and space == FM:
        return "What FM pairs use: it grows with both lengths. Only features of different fields are multiplied."
    return "The FM would use it. Here only the DNN reads these vectors."


def _neighbours(made: Embeddings, space: str, feature: int, metric: str) -> None:
    found = made.neighbours(feature, space, metric, NEAREST)
    if found.empty:
        st.info("No other trained feature points the same way.")
        return
    names = [point_name(field, name) for field, name in zip(found["field"], found["feature"], strict=True)]
    found = found.assign(feature=names).drop(columns=["id", "field"])
    st.dataframe(found, hide_index=True, column_config=configured(found, EMBEDDED), alt="Nearest neighbours")


# What a run's embeddings hold and what they do not, in sentences; and what to do if there are none.


SPACES = {FM: "Embeddings", OWN: "The DNN's own embeddings", CELLS: "Cells of the guide"}
"""What features can be placed by, as the page calls it."""
_MOST_NAMED = 4


def say_none(run: OpenRun, made: Embeddings) -> None:
    """Say why a run has nothing to place features by, and offer what has."""
    if made.fm is None:
        st.info(f"{MODEL_TITLES[run.spec.model.name]} has no embeddings: each feature has a weight, and no pairs.")
        if st.button(to_pairs(run.spec), icon=":material/grid_on:"):
            links.go("interactions")
    else:
        st.info("The embeddings of this run are all 0, and it has no cells: it found no pairs.")
    launch.offer_settings(run, "Train DeepFM on this table", {"model": None, launch.GUIDED: "off"})


def say_what_is_held(run: OpenRun, made: Embeddings, space: str) -> None:
    """Say what the vectors of a space are, and what else the model knows of pairs."""
    guide = run.summary.get("guide") if run.spec.model.has_guide else None
    if space == CELLS:
        _say_cells(run, made, guide)
        return
    size = run.spec.model.embedding_size
    text = f"{counted(len(made), 'feature')}, each with **{size} numbers** that the model learned: its embedding. "
    text += _who_reads(run, made, space)
    st.markdown(text)
    if guide:
        st.caption(_left_to_embeddings(guide))


def _who_reads(run: OpenRun, made: Embeddings, space: str) -> str:
    if space == OWN:
        return "Only the DNN reads these; FM pairs multiply others."
    if not made.multiplied:
        return "Only the DNN reads them, so no part of the logit is their inner product."
    both = run.spec.model.deep and made.own is None
    return "FM pairs multiply two of them" + (", and the DNN reads the same numbers." if both else ".")


def _named_pairs(guide: dict[str, list[dict[str, str]]], by: str) -> str:
    named = [plain(pair_label(pair["field_a"], pair["field_b"])) for pair in guide["pairs"] if pair["learned_by"] == by]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return ", ".join(named[:_MOST_NAMED]) + more


def _left_to_embeddings(guide: dict[str, list[dict[str, str]]]) -> str:
    cells, sparse = _named_pairs(guide, "cells"), _named_pairs(guide, "embeddings")
    solved = f"main effects and the cells of {cells}" if cells else "the main effects"
    text = f"**Guided.** This model started from {solved}. Its embeddings do not hold these. "
    if sparse:
        return f"{text}They hold the pairs with too few rows in a cell ({sparse}), and what the DNN reads of a feature."
    return f"{text}No pair was left to FM pairs, so the embeddings hold only what the DNN reads of a feature."


def _say_cells(run: OpenRun, made: Embeddings, guide: dict[str, list[dict[str, str]]] | None) -> None:
    if FM not in made.spaces:
        st.info(
            "**This run kept its guide alone.** Its embeddings found nothing more that helps on the validation rows. "
            "So they are all 0. The map places features by the guide's cells instead."
        )
    named = _named_pairs(guide, "cells") if guide else ""
    of = f" The guide has cells for {named}." if named else ""
    st.markdown(
        "A **cell** is the weight of two features that stand in one row. Features are close if their cells with all "
        f"other features are alike.{of}"
    )
    if FM not in made.spaces:
        offer_without(run, "Train without the guide, to see embeddings")


def say_variance(shares: tuple[float, ...], dimensions: int, drawn: int) -> None:
    """Say how much of what there is a map shows."""
    two, three = sum(shares[:2]), sum(shares[:3])
    rest = "The neighbours below are found in all dimensions." if two < 0.995 else "That is all there is."
    st.caption(
        f"Two components show **{percent(two)}** of the variance of {dimensions:,} dimensions, three "
        f"{percent(three)}. {rest} Each of the {drawn:,} points weighs by its training rows."
    )


main()
