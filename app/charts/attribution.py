"""How much each field moves the DNN logit, from the mean training row to this row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from app.charts.grammar.theme import LOG_ODDS, NEGATIVE, POSITIVE, SIGNED, TEXT, dress, label_limit, legend_of, step
from app.charts.grammar.vega import Chart, expr, hover, layer, mark, nominal, quantity
from app.charts.ledger import LOWERS, RAISES, named_value


def attribution(values: pd.DataFrame, *, top: int = 10, cells: Mapping[str, str] | None = None) -> Chart:
    """Draw a row's attributions as bars from zero, the largest first.

    Args:
        values: one row's `field`, `value`.
        top: how many fields are shown; the others are summed in one bar.
        cells: the row's values by field, added to the labels.
    """
    rows = attribution_rows(values, top=top, cells=cells)
    colour = nominal("sign", **legend_of([RAISES, LOWERS], [POSITIVE, NEGATIVE], symbolType="square"))
    end = 1.35 * max(float(rows["value"].abs().max()) if len(rows) else 0.0, 0.01)
    axis = {"labelExpr": SIGNED, "tickCount": 5}
    title = f"change of the DNN logit ({LOG_ODDS})"
    x = quantity("value", title=title, scale={"domain": [-end, end], "nice": False}, axis=axis)
    y = nominal("label", title=None, sort=list(rows["label"]), axis={"labelLimit": label_limit(0.4, 220)})
    tooltip = hover(("label", "field"), ("value", LOG_ODDS, "+.4f"))
    side = {"align": expr("datum.value < 0 ? 'right' : 'left'"), "dx": expr("datum.value < 0 ? -6 : 6")}
    layers = [
        layer(rows, mark("bar", height={"band": 0.72}, cornerRadius=2), x=x, y=y, color=colour, tooltip=tooltip),
        layer(rows, mark("text", color=TEXT.ink, aria=False, **side), x=x, y=y, text=nominal("text")),
    ]
    first = f" {rows['label'].iloc[0]} moves it most, by {rows['value'].iloc[0]:+.2f}." if len(rows) else ""
    return dress(layers, f"The DNN logit by field, in log-odds.{first}", height=step(24))


def attribution_rows(values: pd.DataFrame, *, top: int, cells: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Sort attributions by size and sum up the small ones: columns `label`, `value`, `sign`, `text`."""
    sized = values[["field", "value"]].sort_values("value", key=np.abs, ascending=False, kind="stable")
    shown, rest = (sized.head(top), sized.iloc[top:]) if len(sized) > top + 1 else (sized, sized.iloc[:0])
    lines = [
        (named_value(str(field), cells or {}), float(value))
        for field, value in zip(shown["field"], shown["value"], strict=True)
    ]
    if len(rest):
        lines.append((f"{len(rest)} other fields", float(rest["value"].sum())))
    rows = pd.DataFrame(lines, columns=["label", "value"]).astype({"value": float})
    text = [f"{value:+.2f}".replace("-", "−") for value in rows["value"]]
    return rows.assign(sign=np.where(rows["value"] >= 0, RAISES, LOWERS), text=text)
