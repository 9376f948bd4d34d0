"""Progress of a run on stderr."""

from __future__ import annotations

import sys

from deepfm_core.training.events import HOLD_OUT, EpochDone, Event, Fitted, Progress, Stage, Started


class Progressed:
    """Shows events as lines, and within an epoch as one line that changes where stderr is a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()

    def show(self, event: Event) -> None:
        """Show one event."""
        if self._quiet:
            return
        if isinstance(event, Progress):
            if self._live:
                share = f"{event.step / event.steps:4.0%}"
                print(f"\repoch {event.epoch} {share}  loss {event.loss:.4f}", end="", file=sys.stderr, flush=True)
            return
        if self._live and isinstance(event, Stage) and event.name == "explain" and event.fraction:
            share = f"explain {event.fraction:4.0%}" if event.fraction < 1 else ""
            print(f"\r\033[K{share}", end="", file=sys.stderr, flush=True)
        text = _text(event)
        if text:
            print(f"\r\033[K{text}" if self._live else text, file=sys.stderr, flush=True)


def _text(event: Event) -> str:
    match event:
        case Started():
            return f"training on {event.rows_train:,} rows, {event.parameters:,} parameters, {event.threads} thread(s)"
        case EpochDone():
            auc = "–" if event.valid_auc is None else f"{event.valid_auc:.4f}"
            mark = "  best" if event.best else ""
            return (
                f"epoch {event.epoch:3d}  {event.seconds:6.1f} s  train logloss {event.train_logloss:.4f}  "
                f"valid logloss {event.valid_logloss:.4f}  valid AUC {auc}{mark}"
            )
        case Fitted():
            return f"best epoch {event.best_epoch} of {event.epochs}, {event.rows_per_second:,.0f} rows/s"
        case Stage() if event.note:
            return f"note: {event.note}"
        case Stage() if event.name == HOLD_OUT:
            return f"pairs on unseen rows {event.fraction:4.0%}"
        case Stage() if event.fraction == 0.0 and event.name in ("read", "explain"):
            return f"{event.name} …"
    return ""
