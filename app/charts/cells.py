"""The cells of one pair, model against data."""

from __future__ import annotations

import pandas as pd

from .levels import contrasts
from .theme import ACCENT, LOG_ODDS, MUTED, SIGNED, dress
from .vega import Chart, hover, layer, mark, quantity


def cell_scatter(level_pairs: pd.DataFrame, *, height: int = 340) -> Chart:
    """Draw each pair of levels by what the data shows and what the model learned; size by rows, line of equality.

    Args:
        level_pairs: the rows of one pair; see `levels.contrasts`.
        height: of the plot, in pixels.
    """
    cells = contrasts(level_pairs)
    cells = cells[cells["rows"] > 0].dropna(subset=["observed", "model"])
    cells = cells.assign(rate=cells["clicks"] / cells["rows"])
    end = 1.08 * max(float(cells[["observed", "model"]].abs().to_numpy().max()) if len(cells) else 0.0, 0.2)
    common = {"scale": {"domain": [-end, end], "nice": False}, "axis": {"labelExpr": SIGNED, "tickCount": 6}}
    x = quantity("observed", title=f"observed in the data ({LOG_ODDS})", **common)
    y = quantity("model", title=f"the model ({LOG_ODDS})", **common)
    tooltip = hover(
        ("level_a", str(cells["field_a"].iloc[0]) if len(cells) else "level"),
        ("level_b", str(cells["field_b"].iloc[0]) if len(cells) else "with"),
        ("observed", "observed (log-odds)", "+.2f"),
        ("model", "model (log-odds)", "+.2f"),
        ("rows", "training rows", ","),
        ("rate", "click rate", ".1%"),
    )
    equal = pd.DataFrame({"observed": [-end, end], "model": [-end, end]})
    size = quantity("rows", scale={"range": [12, 420]}, legend=None)
    layers = [
        layer(equal, mark("line", color=MUTED.ink, strokeDash=[4, 4], strokeWidth=1, aria=False), x=x, y=y),
        layer(cells, mark("circle", color=ACCENT.ink, opacity=0.6), x=x, y=y, size=size, tooltip=tooltip),
    ]
    description = f"{len(cells)} pairs of levels: the model's part against the observed one, in log-odds."
    return dress(layers, description, height=height)
