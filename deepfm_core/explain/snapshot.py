"""The pairs after an epoch, cheap enough to compute while training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deepfm_core.data.encoded import EncodedTable
from deepfm_core.explain.learned import fm_columns, strength
from deepfm_core.models.deepfm import DeepFM

ROWS = 4_000


def sample_rows(table: EncodedTable, seed: int, rows: int = ROWS) -> EncodedTable:
    """Draw at most `rows` rows, in ascending order, by the seed alone."""
    if len(table) <= rows:
        return table
    chosen = np.random.default_rng(seed).choice(len(table), rows, replace=False)
    return table.take(np.sort(chosen).astype(np.int64))


def pairs_after_epoch(model: DeepFM, sample: EncodedTable, epoch: int) -> pd.DataFrame:
    """Make an epoch's part of the `pairs_by_epoch` frame.

    `learned_fm` is the standard deviation of ⟨e_f − m_f, e_g − m_g⟩ over the sample, without the further removal of
    additive parts that correlated fields leave (the `pairs` frame has it).
    """
    names = sample.layout.names
    pairs = [pair for pair in model.pairs if pair[0] != pair[1]]
    return pd.DataFrame(
        {
            "epoch": epoch,
            "field_a": [names[a] for a, _ in pairs],
            "field_b": [names[b] for _, b in pairs],
            "learned_fm": [float(strength(part[:, None])[0]) for part in fm_columns(model, sample, pairs)],
        }
    )
