"""Tables for people: where stdout is a terminal, few columns in few digits, aligned, and a word on how to get all."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable

import pandas as pd

SHOWN = 20
"""Rows a terminal is shown unless `--top` says otherwise."""
_GAP = "  "
_NARROWEST_LAST = 28
"""Letters that the last column is left at the least; other columns go before it has fewer."""


def write(frame: pd.DataFrame, top: int | None, short: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Write the first `top` rows: to a terminal as `short` makes them of the frame, elsewhere as CSV with all columns.

    Without `top` a terminal is shown `SHOWN` rows, and everything else gets all of them.
    """
    if not sys.stdout.isatty():
        frame.head(len(frame) if top is None else top).to_csv(sys.stdout, index=False)
        return
    shown = frame.head(SHOWN if top is None else top)
    print(aligned(short(shown), shutil.get_terminal_size().columns))
    left = len(frame) - len(shown)
    more = f"{left:,} more: --top {len(frame)} shows all. " if left else ""
    print(f"\n{more}With every column, as CSV: add `> FILE.csv`.")


def aligned(table: pd.DataFrame, width: int) -> str:
    """Write texts in columns, numbers to the right; the last column is wrapped to fit the width.

    A frame's `attrs["dispensable"]` names the columns that are left out, in this order, where the width is short.
    """
    for name in [*table.attrs.get("dispensable", ()), None]:
        widths = [max([len(str(column)), *map(len, table[column])]) for column in table]
        rest = width - sum(widths[:-1]) - len(_GAP) * (len(widths) - 1)
        if name is None or rest >= min(widths[-1], _NARROWEST_LAST):
            break
        table = table.drop(columns=name)
    widths[-1] = min(widths[-1], max(rest, _NARROWEST_LAST))
    lines = [list(map(str, table.columns)), *table.to_numpy().tolist()]
    right = [all(not text or text[0] in "-–0123456789" for text in table[column]) for column in table]
    return "\n".join(_line(cells, widths, right) for cells in lines)


def _line(cells: list[str], widths: list[int], right: list[bool]) -> str:
    first, *others = textwrap.wrap(cells[-1], widths[-1]) or [""]
    placed = zip([*cells[:-1], first], widths, right, strict=True)
    texts = [text.rjust(width) if to_right else text.ljust(width) for text, width, to_right in placed]
    below = " " * (sum(widths[:-1]) + len(_GAP) * (len(widths) - 1))
    return "\n".join([_GAP.join(texts).rstrip(), *(below + line for line in others)])


def digits(values: pd.Series[float], count: int) -> list[str]:
    """Write numbers with `count` digits after the point, missing ones as a dash."""
    return ["–" if pd.isna(value) else f"{value:.{count}f}" for value in values]
