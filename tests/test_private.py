"""Private functions of others: the public way gives the same, and is taken where the private one is gone."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from deepfm_core import _private
from deepfm_core._private import AdamState


def gone(*_: object, **__: object) -> None:
    raise TypeError("takes other arguments")


@pytest.mark.parametrize("texts", [["b", "a", "ü"], []])
def test_both_ways_to_a_type_of_distinct_categories_agree(texts, monkeypatch):
    categories = pd.Index(pd.array(texts, dtype="str"), copy=False)
    made = _private.distinct_categories(categories)
    assert made == _private.distinct_categories_publicly(categories)
    assert not made.ordered
    monkeypatch.setattr(pd.CategoricalDtype, "_from_fastpath", gone)
    assert _private.distinct_categories(categories) == made
    assert list(made.categories) == texts


def product(weights: bool, generator: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, int, Tensor]:
    """Draw a matrix of 50 rows with up to five numbers each, equal columns among them, and a gradient."""
    starts = np.concatenate([[0], np.cumsum(generator.integers(0, 6, 50))]).astype(np.int32)
    length = int(starts[-1])
    x = generator.normal(size=length + 3) if weights else np.ones(length + 3)  # longer than what the rows read
    positions = generator.integers(0, 7, length + 3).astype(np.int32)
    gradient = generator.normal(size=(50, 4)).astype(np.float32)
    parts = x.astype(np.float32), positions, starts
    return *(torch.from_numpy(part) for part in parts), 9, torch.from_numpy(gradient)  # type: ignore[return-value]


@pytest.mark.parametrize("weights", [False, True])
def test_both_ways_to_a_transposed_product_agree(weights, monkeypatch):
    asked = product(weights, np.random.default_rng(0))
    x, positions, starts, count, gradient = asked
    dense = torch.zeros(50, count)
    for row in range(50):
        for at in range(int(starts[row]), int(starts[row + 1])):
            dense[row, positions[at]] += x[at]
    found = _private.transposed_product(*asked)
    assert torch.allclose(found, dense.T @ gradient, atol=1e-5)
    assert torch.equal(found, _private.transposed_product_publicly(*asked))
    monkeypatch.setitem(sys.modules, "scipy.sparse._sparsetools", None)  # importing it fails
    assert torch.equal(found, _private.transposed_product(*asked))


def moved(l2: float, move=_private.move_by_adam) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(shape, generator=generator) for shape in [(5, 3), (7,)]]
    count = torch.zeros(())
    means, squares = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    for step in range(1, 21):
        count.fill_(step)
        gradients = [torch.randn(weight.shape, generator=generator) for weight in weights]
        state = AdamState(weights, gradients, means, squares, [count] * 2)
        move(state, rate=0.01, betas=(0.9, 0.999), l2=l2, epsilon=1e-8)
    return [*weights, *means, *squares]


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_both_ways_to_a_step_of_adam_agree(l2, monkeypatch):
    private, public = moved(l2), moved(l2, _private.move_by_adam_publicly)
    assert all(torch.allclose(*pair, rtol=1e-5, atol=1e-6) for pair in zip(private, public, strict=True))
    monkeypatch.setattr(torch, "_fused_adam_", gone)
    assert all(torch.equal(*pair) for pair in zip(moved(l2), public, strict=True))
