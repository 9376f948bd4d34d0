"""The frame `example_cells`: the cells of sampled rows, with their row numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from deepfm_core.encoding.encoder import Encoder

ROW = "row"
_OWN = " (cell)"


def example_cells_frame(cells: pd.DataFrame, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Put the column `row` before the table's columns; if the table has a `row` itself, that becomes `row (cell)`."""
    own = cells.astype(object).reset_index(drop=True)
    own.columns = [
        f"{name}{_OWN}" if re.fullmatch(r"row( \(cell\))*", name) else name for name in map(str, own.columns)
    ]
    return pd.concat([pd.Series(rows, name=ROW), own], axis=1)  # `insert` warns where there are many columns


def own_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table's own columns of the frame `example_cells`, under their own names."""
    own = frame.drop(columns=ROW)
    own.columns = [re.sub(r"^(row(?: \(cell\))*) \(cell\)$", r"\1", name) for name in map(str, own.columns)]
    return own


def derived_values(encoder: Encoder, cells: Mapping[str, str]) -> dict[str, str]:
    """Give the values of a row's fields that are no column of the table, such as `timestamp hour`, by field.

    Args:
        encoder: the encoder of the run.
        cells: the row's cells as text, by column.

    Raises:
        SchemaError: a cell cannot be used.
    """
    derived = [field for field in encoder.layout.fields if field.name not in cells]
    if not derived:
        return {}
    ids = encoder.encode(pd.DataFrame([dict(cells)]).astype("category"), subject="A row").ids[0]
    return {
        field.name: str(field.features[int(ids[field.first_slot]) - field.offset]).removeprefix(f"{field.name} = ")
        for field in derived
    }
