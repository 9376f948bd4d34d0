"""One field swept over its values, everything else as it is."""

from __future__ import annotations

import pandas as pd

from .theme import ACCENT, GRID, MUTED, TEXT, dress, label_limit, legend_of, step
from .vega import Chart, Spec, hover, layer, mark, nominal, quantity

AS_IT_IS, WHAT_IF = "as it is", "what if"


def value_sweep(answers: pd.DataFrame, field: str, *, numeric: bool = False, height: int = 240) -> Chart:
    """Draw the probability that a row would have with each value of one field.

    Args:
        answers: columns `value` (text, or number where `numeric`), `probability`, `own` (the row's own value) and
            `chosen` (the value it is changed to).
        field: whose values they are.
        numeric: whether values are numbers, drawn as a line, or names, drawn as a list in the order given.
        height: of a numeric field's plot, in pixels.
    """
    rows = answers.assign(mark=answers["chosen"].map({True: WHAT_IF, False: ""}).where(~answers["own"], AS_IT_IS))
    ends = rows[rows["mark"] != ""]
    low, high = rows["probability"].min(), rows["probability"].max()
    description = f"Probability by value of {field}, from {low:.1%} to {high:.1%}."
    tooltip = hover(("value", field), ("probability", "probability", ".2%"))
    colour = nominal("mark", **legend_of([AS_IT_IS, WHAT_IF], [TEXT, ACCENT], symbolType="circle"))
    axis: Spec = {"format": "~%", "tickCount": 5}
    dot = mark("circle", size=110, opacity=1)
    if numeric:
        x = quantity("value", title=field, scale={"zero": False, "nice": False})
        y = quantity("probability", title="probability", axis=axis, scale={"zero": True})
        line = layer(rows, mark("line", color=MUTED.ink, strokeWidth=2), x=x, y=y, tooltip=tooltip)
        return dress([line, layer(ends, dot, x=x, y=y, color=colour, tooltip=tooltip)], description, height=height)
    names = {"labelLimit": label_limit(0.4, 200), "labelColor": TEXT.ink}
    y = nominal("value", title=None, sort=list(rows["value"]), axis=names)
    x = quantity("probability", title=f"probability by {field}", axis=axis, scale={"zero": True})
    layers = [
        layer(rows, mark("rule", color=GRID.ink, strokeWidth=2, aria=False), x=x, x2={"datum": 0}, y=y),
        layer(rows, mark("circle", size=60, color=MUTED.ink, opacity=1), x=x, y=y, tooltip=tooltip),
        layer(ends, dot, x=x, y=y, color=colour, tooltip=tooltip),
    ]
    return dress(layers, description, height=step(22))
