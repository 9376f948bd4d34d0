"""Rows of a model whose logit has one part only: a strip of logits for each outcome."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .plane import CLICK, NO_CLICK
from .theme import ACCENT, LOG_ODDS, MUTED, SIGNED, TEXT, dress, inks
from .vega import Chart, Spec, click_selects, drag_selects, hover, layer, mark, nominal, quantity


def logit_strip(
    examples: pd.DataFrame, *, selected: int | None = None, brush: str = "brush", point: str = "row", height: int = 260
) -> Chart:
    """Draw rows by logit, clicks above non-clicks, spread out so that they do not hide each other.

    Dragging selects logits (`brush`, an interval of `logit`), a click a row (`point`, field `row`).

    Args:
        examples: columns `row`, `label`, `logit`, `probability`.
        selected: the row to ring.
        brush: name of the interval selection.
        point: name of the point selection.
        height: of the plot, in pixels.
    """
    rows = examples[["row", "label", "logit", "probability"]].copy()
    rows["outcome"] = np.where(rows["label"] > 0.5, CLICK, NO_CLICK)
    rows["spread"] = (rows["row"] * 0.618034) % 1.0
    domain = [CLICK, NO_CLICK]
    at: Spec = {
        "x": quantity("logit", title=f"logit ({LOG_ODDS})", scale={"zero": False}, axis={"labelExpr": SIGNED}),
        "y": nominal("outcome", title=None, sort=domain, axis={"labelColor": TEXT.ink}),
        "yOffset": quantity("spread", scale={"domain": [-0.1, 1.1]}),
    }
    points = layer(
        rows,
        mark("point", filled=True, size=26, opacity=0.5, cursor="pointer"),
        selections=[drag_selects(brush, "x"), click_selects(point, "row")],
        **at,
        color=nominal("outcome", legend=None, sort=domain, scale={"domain": domain, "range": inks([ACCENT, MUTED])}),
        tooltip=hover(
            ("row", "row", "d"),
            ("outcome", "outcome"),
            ("logit", "logit", "+.3f"),
            ("probability", "probability", ".2%"),
        ),
    )
    ring = mark("point", size=220, strokeWidth=2.5, color=TEXT.ink, opacity=1)
    chosen = layer(rows[rows["row"] == (-1 if selected is None else selected)], ring, **at)
    return dress([points, chosen], f"{len(rows):,} rows by logit, clicks above non-clicks.", height=height)
