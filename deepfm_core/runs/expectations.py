"""What to expect of a run before it begins: a table too short for its width, and pairs that take long to ask."""

from __future__ import annotations

from itertools import pairwise

from deepfm_core.schema.column import Cells
from deepfm_core.schema.knots import default_knots
from deepfm_core.schema.schema import FieldRole
from deepfm_core.spec.run import RunSpec, cross_numbers
from deepfm_core.tables.table import Table

TIMES = 10
"""Parameters per training row from which a model is likely to learn the rows by heart."""

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
    if count > TIMES * rows:
        said.append(
            f"The model has about {_rounded(count)} parameters for {rows:,} training rows, "
            f"{count / rows:,.0f} times as many. Expect it to stop after few epochs and to do little better than LR. "
            "Ignore columns, set a minimum count, or train LR beside it (`--model lr`)."
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


def _parameters(table: Table, spec: RunSpec, rows: int) -> int:
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


def _rounded(count: int) -> str:
    return f"{round(count, 2 - len(str(count))):,}"
