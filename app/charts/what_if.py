"""The probability of a row over the values of one field, with all other fields unchanged."""

from __future__ import annotations

import pandas as pd

from app.charts.grammar.theme import ACCENT, GRID, MUTED, TEXT, dress, label_limit, legend_of, step
from app.charts.grammar.vega import Chart, Spec, hover, layer, mark, nominal, quantity
from deepfm_core._words import percent

_POINTING = nominal(
    "side", scale={"domain": ["left", "right"], "range": ["triangle-left", "triangle-right"]}, legend=None
)
AS_IT_IS, WHAT_IF = "own value", "what if"


def value_sweep(
    answers: pd.DataFrame,
    field: str,
    *,
    numeric: bool = False,
    ends: tuple[float, float] | None = None,
    height: int = 240,
) -> Chart:
    """Draw the probability of a row with each value of one field.

    Args:
        answers: columns `value` (text, or number if `numeric`), `probability`, `own` (the row's own value) and
            `chosen` (the value it is changed to).
        field: name of the field.
        numeric: whether values are numbers, drawn as a line, or texts, drawn as a list in the order given.
        ends: smallest and largest number in the training rows; a value beyond is an arrow at the end of the axis.
        height: of a numeric field's plot, in pixels.
    """
    rows = answers.assign(mark=answers["chosen"].map({True: WHAT_IF, False: ""}).where(~answers["own"], AS_IT_IS))
    marked = rows[rows["mark"] != ""]
    low, high = rows["probability"].min(), rows["probability"].max()
    description = f"Probability by value of {field}, from {percent(low, 1)} to {percent(high, 1)}."
    tooltip = hover(("value", field), ("probability", "probability", ".2%"))
    colour = nominal("mark", **legend_of([AS_IT_IS, WHAT_IF], [TEXT, ACCENT], symbolType="circle"))
    axis: Spec = {"format": "~%", "tickCount": 5}
    dot = mark("circle", size=110, opacity=1)
    if numeric:
        x = quantity("value", title=field, scale={"zero": False, "nice": False})
        y = quantity("probability", title="probability", axis=axis, scale={"zero": True})
        inside = pd.Series(True, index=rows.index) if ends is None else rows["value"].between(*ends)
        line = layer(rows[inside], mark("line", color=MUTED.ink, strokeWidth=2), x=x, y=y, tooltip=tooltip)
        points = layer(marked[inside[marked.index]], dot, x=x, y=y, color=colour, tooltip=tooltip)
        beyond = _beyond(marked[~inside[marked.index]], rows.loc[inside, "value"])
        arrow = mark("point", filled=True, size=110, opacity=1)
        x = {**x, "field": "edge"}
        pointing = layer(beyond, arrow, x=x, y=y, color=colour, shape=_POINTING, tooltip=tooltip)
        return dress([line, points, pointing], description, height=height)
    names = {"labelLimit": label_limit(0.4, 200), "labelColor": TEXT.ink}
    y = nominal("value", title=None, sort=list(rows["value"]), axis=names)
    x = quantity("probability", title=f"probability by {field}", axis=axis, scale={"zero": True})
    layers = [
        layer(rows, mark("rule", color=GRID.ink, strokeWidth=2, aria=False), x=x, x2={"datum": 0}, y=y),
        layer(rows, mark("circle", size=60, color=MUTED.ink, opacity=1), x=x, y=y, tooltip=tooltip),
        layer(marked, dot, x=x, y=y, color=colour, tooltip=tooltip),
    ]
    return dress(layers, description, height=step(22))


def _beyond(marked: pd.DataFrame, drawn: pd.Series[float]) -> pd.DataFrame:
    """Place values beyond the axis at its nearer end."""
    low, high = (drawn.min(), drawn.max()) if len(drawn) else (0.0, 0.0)
    return marked.assign(
        side=marked["value"].map(lambda number: "left" if number < low else "right"),
        edge=marked["value"].clip(low, high),
    )
