"""A model's logit on the judged rows, summed part by part: what the component ladder is made from."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.data.encoded import EncodedTable
from deepfm_core.explain.tables import terms_frame
from deepfm_core.models.deepfm import DeepFM


def partial_sums_frame(
    model: DeepFM, table: EncodedTable, part: str, rows: NDArray[np.int64], labels: NDArray[np.float32]
) -> pd.DataFrame | None:
    """Make the `partial_sums` frame of N judged rows; None where the logit has one part only.

    Args:
        model: in its final state.
        table: the N rows, encoded.
        part: their name.
        rows: (N,) their numbers in the table they come from.
        labels: (N,) of 0 and 1.

    Returns:
        `part`, `row`, `label`; `first_order` (bias + first-order terms), `fm` (and the pairs; null where the model has
        none) and `logit` (everything).
    """
    spec = model.spec
    if not spec.first_order or not (spec.second_order or spec.deep):
        return None
    terms = terms_frame(model, table)
    return pd.DataFrame(
        {
            "part": pd.Categorical([part] * len(rows)),
            "row": rows,
            "label": labels.astype(np.int8),
            "first_order": terms["bias"] + terms["first_order"],
            "fm": terms["fm_logit"] if spec.second_order else np.nan,
            "logit": terms["logit"],
        }
    )
