"""What to expect of a run before it begins, and its progress, read from its events: share done, time left, curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import pandas as pd

from deepfm_core.errors import DeepFMError
from deepfm_core.schema.column import Cells
from deepfm_core.schema.knots import default_knots
from deepfm_core.schema.schema import FieldRole
from deepfm_core.spec.events import GUIDE, HOLD_OUT, PLACE, EpochDone, Fitted, Placed, Progress, Stage, Started
from deepfm_core.spec.run import RunSpec, cross_numbers, network_inputs
from deepfm_core.store.records import StoredEvent
from deepfm_core.tables.table import Table

# What to expect of a run before it begins: a table too short for its width, and pairs that take long to ask.


TIMES = 10
"""Parameters per training row from which a model is likely to learn the rows by heart."""

COUNTED_ROWS = 100_000
"""Rows up to which a model's parameters are counted, which fits its encoder; of a longer table they are estimated."""
MANY_PAIRS = 5_000
"""Pairs from which explaining all of them can take minutes."""

_TIME_FEATURES = 33
"""Hours, weekdays, and a missing one of each."""


def expectations(table: Table, spec: RunSpec) -> list[str]:
    """Say what to expect of a run where its table is wide and short; an empty list where it is not.

    Args:
        table: the one to train on.
        spec: of the run.
    """
    rows = spec.training_rows(len(table))
    fields = sum(role.kind.entry.fields for role in spec.schema.used)
    count = _parameters(table, spec, rows)
    said = []
    roughly = len(table) > COUNTED_ROWS
    if count > TIMES * rows and (roughly or (count := exact_parameters(table, spec)) > TIMES * rows):
        number = f"about {round(count, 2 - len(str(count))):,}" if roughly else f"{count:,}"
        beyond = ", beside what its guide adds" if spec.model.has_guide else ""
        said.append(
            f"The model has {number} parameters{beyond}, for {rows:,} training rows: {count / rows:,.0f} times as "
            "many. So it can learn the rows by heart, and training may stop after few epochs. Ignore columns or set a "
            "minimum count. Whether it does better than LR, a comparison of models on these rows says."
        )
    pairs = fields * (fields - 1) // 2
    if spec.model.switches.pairs and spec.explained and pairs > MANY_PAIRS:
        folds = spec.folds_for(len(table))
        more = f", and {folds} more fits to check them on held-out rows (`--folds 0` leaves these out)" if folds else ""
        said.append(
            f"There are {pairs:,} pairs of {fields:,} fields. Explaining what a model learned of them can take "
            f"minutes{more}. At so many, only strong pairs stand out from noise."
        )
    return said


def exact_parameters(table: Table, spec: RunSpec) -> int:
    """Count the parameters of a run's model before it begins, but for those that a guide chooses; 0 if it cannot begin.

    This divides the rows and fits the encoder as the run will.
    """
    from deepfm_core.encoding.encoder import Encoder
    from deepfm_core.encoding.splits import load_parts

    try:
        rows = load_parts(spec, lambda _: table).train.rows  # whatever the other parts are, these are of the table
        crosses = spec.model.crosses
        layout = Encoder.fit(table.frame, spec.schema, rows=rows, min_count=spec.min_count, crosses=crosses).layout
    except DeepFMError:
        return 0  # the run says why
    model, switches = spec.model, spec.model.switches
    size = model.embedding_size * switches.embedding_sets + int(model.first_order or switches.weights_read)
    count = layout.vocabulary * size
    if model.first_order:
        count += 1 + len(layout.dense) + layout.crossed
    if model.deep:
        inputs = network_inputs(model, len(layout.fields), len(layout.dense))
        widths = [inputs, *model.layers, 1]
        count += sum((below + 1) * above for below, above in pairwise(widths)) + cross_numbers(model, inputs)
    return count


def _parameters(table: Table, spec: RunSpec, rows: int) -> int:
    """Count the parameters of a model roughly, at no cost."""
    model, fields = spec.model, sum(role.kind.entry.fields for role in spec.schema.used)
    features = sum(_features(table, role, rows) for role in spec.schema.used)
    size = model.embedding_size * int(model.second_order or model.deep)
    count = features * (size + int(model.first_order))
    if model.deep:
        widths = [fields * model.embedding_size, *model.layers, 1]
        count += sum((below + 1) * above for below, above in pairwise(widths)) + cross_numbers(model, widths[0])
    return count


def _features(table: Table, role: FieldRole, rows: int) -> int:
    if role.kind.is_time:
        return _TIME_FEATURES
    if role.kind.is_number:
        return default_knots(rows) + 1
    return len(Cells.of(table.frame, role.column).held) + 3


# The progress of a run, read from its events: the share done, the time left, its curves.


EPOCH_COLUMNS = ("epoch", "train_logloss", "valid_logloss", "valid_auc", "seconds", "best")
PROGRESS_COLUMNS = ("epoch", "step", "steps", "loss", "rows_per_second")
SHARES = {"read": 0.03, "encode": 0.05, GUIDE: 0.1, "fit": 0.57, "evaluate": 0.03, "explain": 0.22}
"""Rough share of each stage in the progress bar until results are ready; `HOLD_OUT` has its own bar."""
_PACED = ("read", GUIDE, HOLD_OUT, "explain")
"""Stages whose reports say how long the rest of them takes."""
LONG_EPOCH = 5.0
"""Seconds of a first epoch from which the pace of its batches says how long all take."""
WAITING_STEP = 0.05
"""Largest step of the explain stage while it waits for the evidence; finished explanations make larger steps."""


@dataclass
class RunProgress:
    """A run as its events show it; if it was resumed, later events replace earlier ones."""

    stage: str = ""
    stage_fraction: float = 0.0
    notes: list[str] = field(default_factory=list)
    node: str = ""
    """The node of a cluster that does the run; empty where this machine does it, or none has begun."""
    started: Started | None = None
    fitted: Fitted | None = None
    epochs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=EPOCH_COLUMNS))
    """One row per epoch: `epoch`, `train_logloss`, `valid_logloss`, `valid_auc`, `seconds`, `best`."""
    progress: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=PROGRESS_COLUMNS))
    """One row per progress event: `epoch`, `step`, `steps`, `loss`, `rows_per_second`."""
    epoch_times: list[float] = field(default_factory=list)
    """Start of training, then the end of each epoch of the last attempt, in seconds since 1970."""
    batches: tuple[float, Progress] | None = None
    """The last report of batches and its time, in seconds since 1970; None before the first of this attempt."""
    reports: list[tuple[float, float]] = field(default_factory=list)
    """Time and share done of each report of the current stage, if its end can be predicted: encoding onto the disk,
    holding out, and explaining while it waits for the evidence."""

    @classmethod
    def of(cls, events: Sequence[StoredEvent]) -> RunProgress:
        """Read a run's events, in order."""
        run_progress = cls()
        epochs: dict[int, EpochDone] = {}
        progress: dict[tuple[int, int], Progress] = {}
        for stored in events:
            run_progress._take(stored)
            if isinstance(stored.event, EpochDone):
                epochs[stored.event.epoch] = stored.event
            if isinstance(stored.event, Progress):
                progress[stored.event.epoch, stored.event.step] = stored.event
        run_progress.epochs = _frame(list(epochs.values()), EPOCH_COLUMNS)
        run_progress.progress = _frame(list(progress.values()), PROGRESS_COLUMNS)
        return run_progress

    def _take(self, stored: StoredEvent) -> None:
        match stored.event:
            case Stage() as event:
                self._take_stage(stored.time, event)
            case Placed(node):
                self.node = node
            case Started() as event:
                self.started, self.epoch_times, self.batches = event, [stored.time], None
            case Progress() as event:
                self.batches = stored.time, event
            case EpochDone():
                self.epoch_times.append(stored.time)
            case Fitted() as event:
                self.fitted = event

    def _take_stage(self, time: float, event: Stage) -> None:
        name, fraction, note = event.name, event.fraction, event.note
        # A large step is an explanation, not waiting; the pace of the wait is measured from after it.
        other_work = name == "explain" and abs(fraction - self.stage_fraction) > WAITING_STEP
        if name != self.stage or other_work:
            self.reports = []
        self.stage, self.stage_fraction = name, fraction
        if name == PLACE:  # the node it had is gone
            self.node = ""
        if name in _PACED:
            self.reports.append((time, fraction))
        if note and note not in self.notes:
            self.notes.append(note)

    @property
    def epochs_done(self) -> float:
        """Epochs trained, including the part of the current one."""
        ended = float(self.epochs["epoch"].max()) if len(self.epochs) else 0.0
        if self.progress.empty:
            return ended
        last = self.progress.iloc[-1]
        return max(ended, float(last["epoch"]) - 1 + float(last["step"]) / float(last["steps"]))

    @property
    def fraction(self) -> float:
        """The share of the run that is done, 0 … 1; it jumps if training stops early."""
        names = list(SHARES)
        if self.stage == HOLD_OUT:
            return self.stage_fraction
        if self.stage not in names:
            return 0.0
        before = sum(SHARES[name] for name in names[: names.index(self.stage)])
        return min(before + SHARES[self.stage] * self._within_stage(), 1.0)

    def _within_stage(self) -> float:
        if self.stage != "fit":
            return self.stage_fraction
        return 0.0 if self.started is None else min(self.epochs_done / self.started.epochs, 1.0)

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds left of training, if all epochs are trained, or of a later stage.

        None before the first epoch or fold has ended, unless that epoch has taken long, and during single explanations,
        whose pace cannot be predicted.
        """
        if self.stage in _PACED:
            return self._stage_left(now)
        if self.started is None or self.fitted is not None:
            return None
        if len(self.epoch_times) < 2:
            return self._first_epoch_left(self.started.epochs, now)
        # The mean of this attempt's epochs; the time since the last one ended has already passed.
        each = (self.epoch_times[-1] - self.epoch_times[0]) / (len(self.epoch_times) - 1)
        left = self.started.epochs - int(self.epochs["epoch"].max())
        seconds = left * each - (now - self.epoch_times[-1])
        return max(seconds, 0.0) if math.isfinite(seconds) else None

    def _first_epoch_left(self, epochs: int, now: float) -> float | None:
        """Return the seconds left by the pace of the batches of a first epoch that has gone on for a while."""
        if self.batches is None or self.batches[0] - self.epoch_times[0] < LONG_EPOCH:
            return None
        latest, done = self.batches
        each = (latest - self.epoch_times[0]) * done.steps / done.step
        return max((epochs - done.epoch + 1 - done.step / done.steps) * each - (now - latest), 0.0)

    def _stage_left(self, now: float) -> float | None:
        if not self.reports:
            return None
        (began, already), (latest, done) = self.reports[0], self.reports[-1]
        if done <= already:  # nothing was done since the first report, so there is no pace
            return None
        return max((1 - done) * (latest - began) / (done - already) - (now - latest), 0.0)


def _frame(events: Sequence[EpochDone] | Sequence[Progress], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame([asdict(event) for event in events], columns=list(columns)).sort_values(
        list(columns[:1]), kind="stable", ignore_index=True
    )
