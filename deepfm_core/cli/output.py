"""What commands print: progress of a run on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any, TextIO

import pandas as pd

from deepfm_core.spec.events import HOLD_OUT, EpochDone, Event, Fitted, Progress, Stage, Started
from deepfm_core.tables.export import write_csv

FIRST_SECONDS = 1.0
"""Seconds after which a computation shows how far it is."""


GUIDE_ALONE = "the guide alone, since no epoch of {epochs} was clearly better on the validation rows"


class Progressed:
    """Shows events as lines, and within an epoch as one line that changes where stderr is a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._reading = Waited(lambda _: "reading and encoding rows")
        self._checking: Waited | None = None

    def show(self, event: Event) -> None:
        """Show one event."""
        if self._quiet:
            return
        if isinstance(event, Progress):
            if self._live:
                share = f"{event.step / event.steps:4.0%}"
                print(f"\repoch {event.epoch} {share}  loss {event.loss:.4f}", end="", file=sys.stderr, flush=True)
            return
        if isinstance(event, Stage) and event.name == "read" and 0 < event.fraction < 1:
            self._reading.report(event.fraction)  # of a table that stays on the disk
            return
        if isinstance(event, Stage) and event.name == HOLD_OUT:
            self._checking = self._checking or Waited(lambda _: "checking pairs on held-out rows")
            self._checking.report(event.fraction)
            return
        if self._live and isinstance(event, Stage) and event.name == "explain" and event.fraction:
            share = f"explain {event.fraction:4.0%}" if event.fraction < 1 else ""
            print(f"\r\033[K{share}", end="", file=sys.stderr, flush=True)
        text = _text(event)
        if text:
            print(f"\r\033[K{text}" if self._live else text, file=sys.stderr, flush=True)


class Waited:
    """Shows how far a computation of more than a second is: one line that changes on a terminal, elsewhere a few lines.

    It goes to stderr, with the seconds that are left if the rest takes as long as what is done.
    """

    def __init__(self, said: Callable[[float], str], *, prepared: float = 0.0) -> None:
        """Begin; `said` names what is being done at a share of 0 … 1.

        Before the share `prepared`, shares are too rough to say how many seconds are left.
        """
        self._prepared = prepared
        self._said, self._live, self._began = said, sys.stderr.isatty(), time.perf_counter()
        self._next = FIRST_SECONDS

    def report(self, share: float) -> None:
        """Show the share done, if it is time for that."""
        seconds = time.perf_counter() - self._began
        if seconds < self._next:
            return
        self._next = seconds + (0.2 if self._live else 10.0)
        left = f", about {seconds * (1 - share) / share:.0f} s left" if share > self._prepared else ""
        line = f"{share:4.0%}  {self._said(share)}{left}"
        print(f"\r\033[K{line}" if self._live else line, end="" if self._live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line."""
        if self._live and self._next > FIRST_SECONDS:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _text(event: Event) -> str:
    match event:
        case Started():
            return f"training on {event.rows_train:,} rows, {event.parameters:,} parameters, {event.threads} thread(s)"
        case EpochDone():
            auc = "–" if event.valid_auc is None else f"{event.valid_auc:.4f}"
            mark = "  best so far" if event.best else ""
            return (
                f"epoch {event.epoch:3d}  {event.seconds:6.1f} s  train logloss {event.train_logloss:.4f}  "
                f"valid logloss {event.valid_logloss:.4f}  valid AUC {auc}{mark}"
            )
        case Fitted():
            kept = "epoch {best} of {epochs}" if event.best_epoch else GUIDE_ALONE
            return (
                f"kept: {kept.format(best=event.best_epoch, epochs=event.epochs)}; {event.rows_per_second:,.0f} rows/s"
            )
        case Stage() if event.note:
            return f"note: {event.note}"
        case Stage() if event.fraction == 0.0 and event.name in ("read", "explain"):
            return f"{event.name} …"
    return ""


# Tables on a terminal: few columns, few digits, aligned, and a line that says how to get everything.

SHOWN = 20
"""Rows a terminal is shown unless `--top` says otherwise."""

_GAP = "  "

EARLIER_COLUMNS = {"solid": "significant", "yardstick": "baseline"}
"""Names of columns in the CSV of version 0.1, and of today. The CSV keeps both, for scripts that read the old one."""

_NARROWEST_LAST = 28
"""Least width of the last column, in letters. Other columns are left out before it gets narrower."""


def write(
    frame: pd.DataFrame,
    top: int | None,
    short: Callable[[pd.DataFrame], pd.DataFrame],
    *,
    whole: bool = False,
    legend: str = "",
) -> None:
    """Write the first `top` rows: to a terminal as `short` makes them of the frame, elsewhere as CSV with all columns.

    Without `top` a terminal is shown `SHOWN` rows, and everything else gets all of them. With `whole` a terminal gets
    what everything else gets. Without it, a `legend` follows the rows and says what their columns are.
    """
    if whole or not sys.stdout.isatty():
        write_csv(with_earlier_names(frame.head(len(frame) if top is None else top)), sys.stdout)
        return
    shown = frame.head(SHOWN if top is None else top)
    width = shutil.get_terminal_size().columns
    print(aligned(short(shown), width))
    if legend:
        print("\n" + textwrap.fill(legend, min(width, 100)))
    left = len(frame) - len(shown)
    more = f"{left:,} more: --top {len(frame)} shows all. " if left else ""
    print(f"\n{more}With every column, as CSV: add `> FILE.csv`.")


def as_json(value: Any, stream: TextIO) -> str:
    """Write plain values as JSON, with letters as they are where the stream's encoding has them."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def with_earlier_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Repeat the columns that had another name in version 0.1 under that name, each beside the one of today."""
    names = {today: earlier for earlier, today in EARLIER_COLUMNS.items() if today in frame}
    both = [column for name in map(str, frame) for column in (name, names.get(name)) if column is not None]
    return frame.assign(**{earlier: frame[today] for today, earlier in names.items()})[both]


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
