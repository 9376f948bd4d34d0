"""What a table says about its pairs, from its cells and roles, with no run and no model."""

from __future__ import annotations

import pandas as pd

from deepfm_core.data.encoded import EncodedTable
from deepfm_core.data.encoder import Encoder
from deepfm_core.data.labels import labelled_rows
from deepfm_core.data.schema import Schema
from deepfm_core.data.table import Table
from deepfm_core.explain.observed import observed_interactions
from deepfm_core.explain.pair_columns import PAIR_COLUMNS


def observed_of_table(table: Table, schema: Schema, *, seed: int = 0) -> pd.DataFrame:
    """Rank a table's pairs by what its labels say about them.

    Returns:
        The columns of the `pairs` frame of a run (docs/store.md); those that need a model are null.

    Raises:
        SchemaError: the table does not fit the schema.
        TableError: the labels are all equal.
    """
    rows, labels = labelled_rows(table.frame, schema.label, table.name)
    encoder = Encoder.fit(table.frame, schema, rows=rows, subject=table.name)
    encoded = encoder.encode(table.frame, rows=rows, subject=table.name)
    labelled = EncodedTable(encoded.layout, encoded.ids, encoded.weights, encoded.dense, labels)
    return observed_interactions(labelled, seed=seed).reindex(columns=list(PAIR_COLUMNS))
