"""The page Examples: sampled rows as points, and the exact ledger of a chosen one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from app.charts.logits import logit_plane, logit_strip
from app.shared import predictions, run_status
from app.state import links
from app.state.saved_runs import OpenRun
from app.views.examples import ledger, selection
from app.widgets.columns import ROWS, configured
from app.widgets.figure import figure
from app.widgets.layout import bring_in_view, heading_for_readers, side_by_side, sideways_hint
from app.widgets.text import plain, wide_title
from deepfm_core.explain.example_rows import by_weight, own_cells
from deepfm_core.runs.findings import logit_spread
from deepfm_core.schema.column import numbers_in

SHOWN_ROWS = 500
LONGEST_CELL = 80
"""Letters of a cell that are shown in the list of rows."""
OUTCOME = "outcome"
FILTER = "filter"
"""Name, in the URL, of the choice that holds which rows are listed."""
SLIDER_STEPS = 200
"""Steps of a slider over the range of a column's numbers."""
MOST_WHOLE = 2**53
"""Size from which a browser no longer holds every whole number."""
NO_DNN = "Training found nothing beyond the guide that helps, so the DNN adds nothing, and its charts are left out."


def main() -> None:
    """Draw the page."""
    st.title("Examples", anchor=False)
    run = run_status.finished_run()
    run_status.show_run(run)
    examples = selection.with_surprise(run_status.frame(run, "examples", "examples"))
    terms = run_status.frame(run, "example_terms", "terms of examples")
    cells = run_status.frame(run, "example_cells", "cells of examples")
    cells = own_cells(cells)
    what_is_seen(run, examples)
    heading_for_readers("Sampled rows")
    row = selection.choose_row(examples, run.spec.schema.label)
    position = int((examples["row"] == row).to_numpy().argmax())
    listed = with_cells(run, examples, cells)
    kept = filtered(run, listed)
    if kept.empty:
        st.info("No sampled row passes the filter. Widen or remove it.")
    else:
        left, right = side_by_side(2)
        with left:
            inside = show_rows(run, kept, row)
        with right:
            list_rows(run, kept if inside is None else inside, terms, inside is not None)
    ledger.row_section(run, run_status.compared_run(run), examples, terms, cells, position)
    bring_in_view()


def what_is_seen(run: OpenRun, examples: pd.DataFrame) -> None:
    """Say which rows are sampled, and what share of the logit's variance each part has."""
    part = "test" if examples["part"].iloc[0] == "test" else "valid"
    both = run.spec.model.deep and run.spec.model.first_order and not silent(examples)
    spread = logit_spread(examples) if both else None
    table = predictions.holdout_table(run, part)
    text = f"{len(examples):,} sampled {predictions.NAMES[part].lower()} rows" + (
        f" of {plain(table)}." if table else "."
    )
    if spread:
        text += (
            f" Shares of the logit's variance: :blue[**{wide_title(run.spec.model)} {spread.fm:.0%}**], "
            f":orange[**DNN {spread.dnn:.0%}**]."
        )
    if run.spec.model.deep and silent(examples):
        text += f" {NO_DNN}"
    st.markdown(text)


def silent(examples: pd.DataFrame) -> bool:
    """Say whether the DNN adds nothing to any row."""
    return not examples["dnn_logit"].any()


def show_rows(run: OpenRun, examples: pd.DataFrame, row: int) -> pd.DataFrame | None:
    """Draw every row as a point; return the rows inside the selected area, or None if no area is selected."""
    spec, called = run.spec.model, run_status.outcomes(run.spec.schema.label)
    key = selection.plane_key(run.id, row)
    reading = "Drag over an area to list its rows; click a row to open it. "
    if spec.second_order and spec.deep and not silent(examples):
        drawn, axes = examples, {"fm_logit": "fm_logit", "dnn_logit": "dnn_logit"}
        chart, title = lambda: logit_plane(drawn, selected=row, outcomes=called), "FM logit and DNN logit"
        reading += "On a dotted line, the probability is the same. Other splits of the logit would sum to the same."
    elif spec.first_order and spec.deep and not silent(examples):
        drawn, axes = examples, {"fm_logit": "fm_logit", "dnn_logit": "dnn_logit"}
        names, title = ("bias + first order", "DNN logit"), "First-order logit and DNN logit"
        chart = lambda: logit_plane(drawn, selected=row, names=names, titles=names, outcomes=called)  # noqa: E731
        reading += "On a dotted line, the probability is the same. Other splits of the logit would sum to the same."
    elif spec.second_order:
        drawn = examples.assign(fm_logit=examples["bias"] + examples["first_order"], dnn_logit=examples["second_order"])
        axes, title = {"fm_logit": "fm_logit", "dnn_logit": "dnn_logit"}, "First-order logit and FM pairs"
        names = ("bias + first order", "FM pairs (second order)")
        chart = lambda: logit_plane(drawn, selected=row, names=names, titles=names, outcomes=called)  # noqa: E731
        reading += "On a dotted line, the probability is the same."
    else:
        drawn, axes = examples, {"logit": "logit"}
        chart, title = lambda: logit_strip(drawn, selected=row, outcomes=called), "Logits by outcome"
        reading += "The model has one part, so there is one axis. The height within a strip has no meaning."
    figure(
        title,
        chart,
        examples.drop(columns=OUTCOME),
        reading,
        key="plane",
        titles=ROWS,
        chart_key=key,
        file="examples",
        on_select=lambda: selection.keep_click(key),
        selections=["brush", "row"],
    )
    return selection.brushed(drawn, key, axes)


def with_cells(run: OpenRun, examples: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Add to the sampled rows their outcome and the values of their fields, numbers as such so that they sort."""
    label = run.spec.schema.label
    rows = examples.reset_index(drop=True)
    rows[OUTCOME] = np.where(rows["label"] > 0.5, label.positive, label.negative)
    own: dict[str, pd.Series] = {}
    for role in run.spec.schema.used:
        texts = cells[role.column].reset_index(drop=True)
        name = role.column
        while name in rows or name in own:
            name += " (cell)"
        own[name] = pd.Series(numbers_in(texts, role.notation)) if role.kind.is_number else texts.astype(str)
    return pd.concat([rows, pd.DataFrame(own)], axis=1)


def filtered(run: OpenRun, rows: pd.DataFrame) -> pd.DataFrame:
    """Let the visitor keep only rows of some outcome or with some values of fields; the URL holds the choice."""
    first = list(rows.columns).index(OUTCOME)
    names = [str(name) for name in rows.columns[first:]]
    linked = links.chosen_values(FILTER)
    usable = {name: said for name, said in linked.items() if name in names and _can_filter(rows[name], said)}
    links.say_unread([name for name in linked if name not in usable], "filter")
    chosen = st.multiselect(
        "Filter rows by",
        names,
        default=list(usable),
        key=f"filters of {run.id}",
        placeholder="Outcome or fields",
        help="Keeps the rows that pass all of these, in the chart and in the list.",
    )
    kept, now = np.ones(len(rows), dtype=bool), {}
    for name, cell in zip(chosen, side_by_side(len(chosen), least=240, gap="small") if chosen else [], strict=True):
        with cell:
            passing, now[name] = _passes(rows[name], usable.get(name, []), f"filter {name} of {run.id}")
            kept &= passing
    if now != linked:
        links.choose_values(FILTER, now)
    if chosen and kept.any():
        st.caption(f"{int(kept.sum()):,} of {len(rows):,} sampled rows pass.")
    return rows[kept]


def _can_filter(values: pd.Series, said: object) -> bool:
    """Say whether what a link says of a column is two of its numbers in their order, some of its texts, or nothing."""
    if not isinstance(said, list):
        return False
    if not pd.api.types.is_numeric_dtype(values):
        return set(map(repr, said)) <= set(map(repr, values))
    numbers = [number for number in said if isinstance(number, int | float)]
    return not said or (len(numbers) == len(said) == 2 and values.min() <= said[0] <= said[1] <= values.max())


def _passes(values: pd.Series, said: list[Any], key: str) -> tuple[NDArray[np.bool_], list[Any]]:
    """Let the visitor choose a range of numbers or some of the texts.

    Args:
        values: the cells of a column.
        said: what the link says of it, as the second result.
        key: of the widget.

    Returns:
        Which rows pass, and the two ends of the range or the texts; nothing where all rows pass.
    """
    name = plain(str(values.name))
    if pd.api.types.is_numeric_dtype(values):
        return _passes_range(values, said, key)
    wanted = st.multiselect(name, list(values.value_counts().index), default=said, key=key, placeholder="Any value")
    return np.asarray(values.isin(wanted)) if wanted else np.ones(len(values), dtype=bool), wanted


def _passes_range(values: pd.Series, said: list[Any], key: str) -> tuple[NDArray[np.bool_], list[Any]]:
    everything, name = np.ones(len(values), dtype=bool), plain(str(values.name))
    low, high = float(values.min()), float(values.max())
    if not low < high:
        st.caption(f"{name} has one value in these rows." if low == high else f"{name} is missing in these rows.")
        return everything, []
    whole = bool((values.dropna() % 1 == 0).all()) and max(-low, high) < MOST_WHOLE
    step, number = (1.0, int) if whole else (high / SLIDER_STEPS - low / SLIDER_STEPS, float)
    digits = max(4, math.ceil(math.log10(max(-low, high) / step)) + 1)
    ends = number(low), number(high)
    from_, to = st.slider(
        name,
        *ends,
        (number(said[0]), number(said[1])) if said else ends,
        step=number(step),
        format="%d" if whole else f"%.{digits}g",
        key=key,
    )
    # The last step may end a rounding error beside the end itself; between them, what is shown counts.
    from_ = low if from_ < low + step / 2 else float(f"{from_:.{digits}g}")
    to = high if to > high - step / 2 else float(f"{to:.{digits}g}")
    if (from_, to) == (low, high):
        return everything, []
    return np.asarray(values.between(from_, to)), [number(from_), number(to)]


def list_rows(run: OpenRun, rows: pd.DataFrame, terms: pd.DataFrame, from_area: bool) -> None:
    """List rows with the values of their fields, the most surprising first; a click opens one.

    Of many fields, those that weigh most in the model come first: the others are far to the right.
    """
    st.subheader(f"{len(rows):,} rows in the area" if from_area else "Rows, most surprising first", anchor=False)
    shown = rows.sort_values("surprise", ascending=False).head(SHOWN_ROWS)
    fields = list(shown.columns)[list(shown.columns).index(OUTCOME) + 1 :]
    units = [role.notation.unit for role in run.spec.schema.used]
    titles = {name: f"{name} ({unit})" if unit else name for name, unit in zip(fields, units, strict=True)}
    if len(fields) > ledger.MOST_FIELDS:
        names = {role.column: name for role, name in zip(run.spec.schema.used, fields, strict=True)}
        fields = [names[column] for column in by_weight(list(names), terms)]
    shown = shown[["row", OUTCOME, "probability", *fields, "surprise"]].copy()
    texts = [name for name in fields if not pd.api.types.is_numeric_dtype(shown[name])]
    for name in texts:  # a field may have the name of an argument, so no `assign`
        shown[name] = shown[name].str.slice(0, LONGEST_CELL)

    def open_row() -> None:
        picked = st.session_state["row_table"]["selection"]["rows"]
        if picked:
            selection.keep(int(shown["row"].iloc[picked[0]]))

    st.dataframe(
        shown,
        hide_index=True,
        height=420,
        column_config={
            **configured(shown, ROWS),
            **{
                name: st.column_config.NumberColumn(titles[name], format="%.12g")
                for name in fields
                if name not in texts
            },
            "row": st.column_config.NumberColumn("row", pinned=True, format="localized"),
            OUTCOME: st.column_config.Column(run.spec.schema.label.column),
        },
        on_select=open_row,
        selection_mode="single-row",
        key="row_table",
        alt="Rows with outcome, probability and the values of their fields",
    )
    sideways_hint("The table", wide=True)
    first = f"The first {SHOWN_ROWS:,} of {len(rows):,}. " if len(rows) > SHOWN_ROWS else ""
    order = " Fields that weigh most in the model come first." if len(fields) > ledger.MOST_FIELDS else ""
    st.caption(
        f"{first}Surprise is the logloss of the row, in nats. Choose a row to open it; click a heading to sort by it."
        f"{order}"
    )


main()
