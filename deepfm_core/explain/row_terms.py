"""The frames of a run about single rows: the addends of their logits, and what they are if some cells change.

`terms_frame` has one line per row, `example_terms_frame` one line per addend; docs/store.md lists the columns. The
component ladder (`metrics.bootstrap`) is made from `partial_sums_frame`. `what_if` is for cells that change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.explain.frames import FEWEST_EXAMPLES, MOST_EXAMPLES, repeated
from deepfm_core.metrics.scores import sigmoid
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.term import Pairs
from deepfm_core.spec.models import ADDENDS
from deepfm_core.training.fit import predict_logits

TERM_CELLS = 200_000
"""Addends stored for the example rows, which bounds the size of the file."""

OTHER_PAIRS, REST = "other-pairs", "rest"
"""Addends of a row where not every pair has its own: the other pairs; and these with the effects of higher order."""


def example_rows(model: DeepFM, part: EncodedTable, seed: int, pairs: int | None = None) -> NDArray[np.int64]:
    """Choose the example rows of a part, in ascending order; a model with many terms gets fewer.

    Args:
        model: of the run.
        part: its rows.
        seed: of the choice.
        pairs: how many pairs have an addend; None for all of the model.
    """
    pairs = len(model.pairs) if pairs is None else pairs
    terms = pairs + len(part.layout.fields) + len(part.layout.dense) + 2
    count = min(len(part), max(FEWEST_EXAMPLES, min(MOST_EXAMPLES, TERM_CELLS // terms)))
    return np.sort(np.random.default_rng(seed).choice(len(part), count, replace=False)).astype(np.int64)


def terms_frame(model: DeepFM, table: EncodedTable) -> pd.DataFrame:
    """Split each row's logit into its parts; one line per row of the table.

    Columns: `row`, `probability`, `logit` (as `predict` has it), `bias`, `first_order`, `second_order`, `fm_logit` (the
    sum of these three) and `dnn_logit`. `fm_logit + dnn_logit` equals `logit` up to the rounding of float32. A part
    that the model lacks is 0.
    """
    model.eval()
    parts = [_sums(model, batch) for batch in Batch.held(table).split(8192)]
    sums = {name: np.concatenate([part[name] for part in parts] or [np.zeros(0)]) for name in _SUMS}
    logit = predict_logits(model, table)
    return pd.DataFrame(
        {
            "row": np.arange(len(logit)),
            "probability": sigmoid(logit),
            "logit": logit,
            "bias": sums["bias"],
            "first_order": sums["first_order"],
            "second_order": sums["second_order"],
            "fm_logit": sums["bias"] + sums["first_order"] + sums["second_order"],
            "dnn_logit": sums["dnn_logit"],
        }
    )


_SUMS = ("bias", "first_order", "second_order", "dnn_logit")


@torch.no_grad()
def _sums(model: DeepFM, batch: Batch) -> dict[str, NDArray[np.float64]]:
    """Sum the addends of B rows into the columns that their kinds name; what the model lacks is 0."""
    terms, sums = model.terms(batch), {name: np.zeros(len(batch)) for name in _SUMS}
    for kind in terms.kinds:
        sums[ADDENDS[kind].column] += terms.of(kind).double().sum(1).numpy()
    return sums


@torch.no_grad()
def example_terms_frame(
    model: DeepFM, table: EncodedTable, rows: NDArray[np.int64], pairs: Pairs | None = None
) -> pd.DataFrame:
    """Make the `example_terms` frame: one line per addend of each row's logit.

    If `pairs` are given, other pairs of different fields share one line, `other-pairs`.
    """
    terms = model.eval().terms(Batch.from_table(table))
    kinds = [(kind, a, b) for kind in terms.kinds for a, b in terms.fields_of(kind)]
    values = np.concatenate([terms.of(kind).double().numpy() for kind in terms.kinds], 1)
    if pairs is not None:
        names = table.layout.names
        named = {(names[a], names[b]) for a, b in pairs}
        alone = np.array([b is None or a == b or (a, b) in named for _, a, b in kinds])
        if not alone.all():
            kinds = [kind for kind, own in zip(kinds, alone, strict=True) if own] + [(OTHER_PAIRS, None, None)]
            values = np.concatenate([values[:, alone], values[:, ~alone].sum(1, keepdims=True)], 1)
    return pd.DataFrame(
        {
            "row": np.repeat(rows, len(kinds)),
            "term": repeated([term for term, _, _ in kinds], len(rows)),
            "field_a": repeated([a for _, a, _ in kinds], len(rows)),
            "field_b": repeated([b for _, _, b in kinds], len(rows)),
            "value": values.ravel(),
        }
    )


# Partial sums of the logit: what the component ladder is made from.


def partial_sums_frame(
    model: DeepFM, table: EncodedTable, part: str, rows: NDArray[np.int64], labels: NDArray[np.float32]
) -> pd.DataFrame | None:
    """Make the `partial_sums` frame of N evaluated rows; return None if the logit has only one part.

    Args:
        model: in its final state.
        table: the N rows, encoded.
        part: the name of the part they belong to: `valid` or `test`.
        rows: (N,) their numbers in the table they come from.
        labels: (N,) of 0 and 1.

    Returns:
        `part`, `row`, `label`; `first_order` (bias + first-order terms), `fm` (`first_order` + FM pairs; null if the
        model has none) and `logit` (everything).
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


# What a model predicts for a row if some of its cells change.


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
