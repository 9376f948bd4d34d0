"""What a model predicts for a row if some of its cells change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.explain.row_terms import example_terms_frame
from deepfm_core.metrics.scores import sigmoid
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.training.fit import predict_logits


@dataclass(frozen=True)
class Answers:
    """The model's predictions for A variants of a row.

    Attributes:
        logits: (A,) log-odds.
        probabilities: (A,).
        terms: the addends of each logit, as in the `example_terms` frame; `row` is the number of the variant.
    """

    logits: list[float]
    probabilities: list[float]
    terms: pd.DataFrame


def ask(encoder: Encoder, model: DeepFM, cells: Mapping[str, str], variants: Sequence[Mapping[str, str]]) -> Answers:
    """Score variants of a row.

    Args:
        encoder: the encoder the model was trained with.
        model: trained.
        cells: the row's cells as text, by column.
        variants: for each variant the cells that differ, by column; an empty one is the row itself.

    Raises:
        SchemaError: a value cannot be used, such as a text in a field of numbers.
    """
    frame = pd.DataFrame([{**cells, **changes} for changes in variants]).astype("category")
    encoded = encoder.encode(frame, subject="What if")
    logits = predict_logits(model, encoded)
    terms = example_terms_frame(model, encoded, np.arange(len(frame), dtype=np.int64))
    return Answers(logits.tolist(), sigmoid(logits).tolist(), terms)
