"""Network shapes at an equal number of neurons."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deepfm_core.errors import SpecError
from deepfm_core.spec.run import ModelSpec
from deepfm_core.spec.search_space import SHAPES, layer_widths


@pytest.mark.parametrize(
    ("shape", "widths"),
    [
        ("constant", (200, 200, 200)),
        ("increasing", (100, 200, 300)),
        ("decreasing", (300, 200, 100)),
        ("diamond", (150, 300, 150)),
    ],
)
def test_the_papers_four_shapes(shape: str, widths: tuple[int, ...]) -> None:
    assert layer_widths(shape, 600, 3) == widths


@given(st.sampled_from(SHAPES), st.integers(1, 7), st.integers(28, 3000))
@example("diamond", 4, 315)
def test_every_shape_uses_all_neurons_and_is_valid(shape: str, layers: int, neurons: int) -> None:
    widths = layer_widths(shape, neurons, layers)
    assert sum(widths) == neurons
    assert len(ModelSpec(layers=widths).layers) == layers
    steps = [b - a for a, b in pairwise(widths)]
    if shape == "constant":
        assert max(widths) - min(widths) <= 1
    if shape == "increasing":
        assert all(step >= -1 for step in steps)
    if shape == "decreasing":
        assert all(step <= 1 for step in steps)
    if shape == "diamond":
        assert all(abs(a - b) <= 1 for a, b in zip(widths, widths[::-1], strict=True))


@pytest.mark.parametrize(
    ("shape", "neurons", "layers", "said"),
    [
        ("round", 600, 3, "Shape is 'round'"),
        ("constant", 600, 0, "Number of layers is 0"),
        ("increasing", 5, 3, "Neurons is 5. Use at least 6"),
    ],
)
def test_what_makes_no_network_is_refused(shape: str, neurons: int, layers: int, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        layer_widths(shape, neurons, layers)
