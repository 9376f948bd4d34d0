"""What a table says about its pairs, from its cells and roles, with no run and no model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from deepfm_core.data.encoded import EncodedTable
from deepfm_core.data.encoder import Encoder
from deepfm_core.data.labels import labelled_rows
from deepfm_core.data.schema import Schema
from deepfm_core.data.table import Table
from deepfm_core.explain.observed import MOST_ROWS, observed_interactions
from deepfm_core.explain.pair_columns import PAIR_COLUMNS
from deepfm_core.explain.reports import Report, unheard


def observed_of_table(table: Table, schema: Schema, *, seed: int = 0, report: Report = unheard) -> pd.DataFrame:
    """Rank a table's pairs by what its labels say about them, telling `report` the share done.

    Returns:
        The columns of the `pairs` frame of a run (docs/store.md); those that need a model are null.

    Raises:
        SchemaError: the table does not fit the schema.
        TableError: the labels are all equal.
    """
    found = observed_interactions(rows_asked(table, schema, seed=seed), seed=seed, report=report)
    return found.reindex(columns=list(PAIR_COLUMNS))


def rows_asked(table: Table, schema: Schema, *, seed: int = 0) -> EncodedTable:
    """Encode the rows of a table that are asked: all that have a label, a sample by the seed where they are too many.

    Features are numbered by these rows, whatever part of them a run trains on: the same table and roles give the same
    answer on the page *Data*, on the command line and in every run.

    Raises:
        SchemaError: the table does not fit the schema.
    """
    rows, labels = labelled_rows(table.frame, schema.label, table.name)
    if len(rows) > MOST_ROWS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False))
        rows, labels = rows[drawn], labels[drawn]
    encoder = Encoder.fit(table.frame, schema, rows=rows, subject=table.name)
    return replace(encoder.encode(table.frame, rows=rows, subject=table.name), labels=labels)
