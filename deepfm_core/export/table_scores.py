"""A new table scored by a finished run: each row's probability and parts, and how far the table is like training's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable
from deepfm_core.encoding.unseen import outside_shares
from deepfm_core.errors import SchemaError
from deepfm_core.explain.row_terms import terms_frame
from deepfm_core.metrics.scores import Metrics, evaluate
from deepfm_core.runs.predictor import Trained
from deepfm_core.schema.column import Cells
from deepfm_core.schema.labels import labelled_rows
from deepfm_core.tables.export import beside
from deepfm_core.tables.table import Table

SCORES = ("probability", "logit", "fm_logit", "dnn_logit")
"""Columns that scoring adds, in front of the table's own."""


@dataclass(frozen=True)
class TableScores:
    """What a run makes of a table of N rows.

    Attributes:
        rows: (N) `SCORES`, then the table's cells; a column of the table that has such a name ends in ` (cell)`.
        fields: one line per field, in shares of the rows: `field`, `missing` (no value), `unseen` (a value that
            training did not hold; null for numbers and points in time, which are never unseen) and `outside` (a number
            outside the range of the training rows; null for all other fields).
        any_unseen: the share of rows with an unseen value in any field.
        metrics: by the table's labels; None where it has none.
        note: why there are no metrics although the label's column is there; otherwise empty.
        warnings: what of its values is unlike those of training, as `predict` says it.
    """

    rows: pd.DataFrame
    fields: pd.DataFrame
    any_unseen: float
    metrics: Metrics | None
    note: str
    warnings: tuple[str, ...] = ()


def score_table(trained: Trained, table: Table) -> TableScores:
    """Score every row of a table; labels, if there are any, judge the scores.

    The metrics' base logloss is that of guessing this table's own share of positives for every row.

    Raises:
        SchemaError: the table lacks fields, or a value cannot be used.
    """
    trained.require(table)
    encoded = trained.encoder.encode(table.frame, subject=table.name)
    scores = terms_frame(trained.model, encoded)[list(SCORES)]
    cells = beside(table.frame, SCORES)
    unseen = {field.name: _unseen(encoded, field) for field in encoded.layout.fields if field.unseen is not None}
    metrics, note = _judged(trained, table, scores["logit"].to_numpy())
    together = np.stack([*unseen.values()], 1).any(1) if unseen else np.zeros(len(table), dtype=bool)
    return TableScores(
        pd.concat([scores, cells], axis=1),
        _fields(trained, table, unseen),
        float(together.mean()) if len(table) else 0.0,
        metrics,
        note,
        tuple(trained.unseen(table)),
    )


def _unseen(encoded: EncodedTable, field: EncodedField) -> NDArray[np.bool_]:
    """Say which rows hold an unseen value in a field: (N,)."""
    assert field.unseen is not None
    slots = slice(field.first_slot, field.first_slot + field.slots)
    found, x = encoded.ids[:, slots] == field.offset + field.unseen, encoded.x(field)
    return np.asarray((found if x is None else found & (x > 0)).any(1))


def _fields(trained: Trained, table: Table, unseen: dict[str, NDArray[np.bool_]]) -> pd.DataFrame:
    lines, outside = [], outside_shares(trained.encoder, table.frame)
    for role in trained.spec.schema.used:
        cells = Cells.of(table.frame, role.column)
        missing = float(cells.missing[cells.codes].mean()) if len(cells) else 0.0
        share = float(unseen[role.column].mean()) if role.column in unseen and len(cells) else np.nan
        lines.append((role.column, missing, share, outside.get(role.column, np.nan)))
    frame = pd.DataFrame(lines, columns=["field", "missing", "unseen", "outside"])
    odd = frame[["unseen", "outside"]].max(axis=1).fillna(0.0)
    order = frame.assign(odd=odd).sort_values(["odd", "missing"], ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def _judged(trained: Trained, table: Table, logits: NDArray[np.float64]) -> tuple[Metrics | None, str]:
    label = trained.spec.schema.label
    if label.column not in table.frame.columns:
        return None, ""
    try:
        rows, labels = labelled_rows(table.frame, label, table.name)
    except SchemaError as error:
        return None, str(error)
    if not len(rows):
        return None, ""
    return evaluate(labels, logits[rows], float(labels.mean())), ""
