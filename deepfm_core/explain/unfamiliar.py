"""What a model has not met in training: values that its vocabulary lacks, and the seen ones nearest to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pyarrow as pa

from deepfm_core.data.encoder import Encoder
from deepfm_core.data.text_codes import CategoricalCode, MultiValuedCode
from deepfm_core.data.vocabulary import SPECIALS

_COMPARED = 20_000
"""Values compared with an unseen one, the most frequent first."""


@dataclass(frozen=True)
class Unfamiliar:
    """A value without a feature of its own.

    Attributes:
        value: as given.
        feature: what it counts as, `unseen` or `rare`.
        nearest: the value of the vocabulary that reads most like it; None where none does.
    """

    value: str
    feature: str
    nearest: str | None


def unfamiliar(encoder: Encoder, column: str, values: list[str]) -> list[Unfamiliar]:
    """List those of `values`, single values of a categorical or multi-valued column, that the training rows lacked."""
    found = []
    for field in encoder.fields:
        if field.column != column or not isinstance(field, CategoricalCode | MultiValuedCode):
            continue
        given = list(dict.fromkeys(filter(None, values)))
        ids = field.vocabulary.ids(pa.array(given, pa.large_string()), np.zeros(len(given), dtype=bool))
        for value, feature in zip(given, ids.tolist(), strict=True):
            if feature < len(SPECIALS):
                near = _nearest(value, field.vocabulary.values)
                found.append(Unfamiliar(value, SPECIALS[feature], near))
    return found


def _nearest(value: str, known: Sequence[str]) -> str | None:
    by_case = {text.casefold(): text for text in reversed(known[:_COMPARED])}
    close = get_close_matches(value.casefold(), list(by_case), n=1, cutoff=0.5)
    return by_case[close[0]] if close else None
