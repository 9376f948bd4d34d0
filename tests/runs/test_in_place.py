"""Which pair a model has learned in place of one that it has hardly learned."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepfm_core.runs.in_place import InPlace, learned_in_place

EFFECT = 0.6


def cells(*, alike: float = 1.0, left: float = 0.0) -> pd.DataFrame:
    """Cells of a run that has learned a × c, where c says the same as b in the share `alike` of the rows.

    The labels show what the model says, and beyond it `left` log-odds of a × b.
    """
    both = {("b", "c"): 500 * np.array([[1 + alike, 1 - alike], [1 - alike, 1 + alike]])}
    even = {pair: np.full((2, 2), 500.0) for pair in (("a", "b"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "d"))}
    lines = []
    for (one, other), rows in (even | both).items():
        for i, j in np.ndindex(2, 2):
            sign = 1 if i == j else -1
            learned = EFFECT * sign if (one, other) == ("a", "c") else 0.0
            expected = rows[i, j] * 0.3
            clicks = expected * (1 + 0.7 * sign * (left if (one, other) == ("a", "b") else 0.0))
            lines.append((one, other, f"{one}{i}", f"{other}{j}", rows[i, j], clicks, expected, learned))
    names = ["field_a", "field_b", "level_a", "level_b", "rows", "clicks", "expected", "learned"]
    return pd.DataFrame(lines, columns=names)


def test_a_pair_of_a_field_that_says_the_same_is_named_with_what_it_comes_to() -> None:
    for alike in (1.0, 0.8):
        found = learned_in_place(cells(alike=alike), "a", "b", EFFECT)
        assert found is not None
        assert found == InPlace("a", "b", "c", found.strength)
        assert found.strength == pytest.approx(alike * EFFECT)


def test_none_is_named_where_fields_say_different_things_or_the_labels_show_more() -> None:
    assert learned_in_place(cells(alike=0.2), "a", "b", EFFECT) is None
    assert learned_in_place(cells(left=EFFECT), "a", "b", EFFECT) is None
    assert learned_in_place(cells(), "a", "d", EFFECT) is None
    assert learned_in_place(cells(), "d", "a", EFFECT) is None  # a pair that the run does not explain
