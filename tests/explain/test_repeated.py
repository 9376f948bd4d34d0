import numpy as np
import pandas as pd

from deepfm_core.explain.frames import chosen, repeated


def test_chosen_names_are_those_a_categorical_column_of_them_would_have() -> None:
    names = ["b", None, "a", "b", "never"]
    numbers = np.array([2, 0, 1, 3, 0])
    expected = pd.Series([names[number] for number in numbers], dtype=object).astype("category")
    pd.testing.assert_series_equal(pd.Series(chosen(names, numbers)), expected, check_categorical=False)
    assert list(chosen(names, numbers).categories) == ["a", "b"]


def test_repeated_names_come_in_turn() -> None:
    assert list(repeated(["x", "y"], 2)) == ["x", "y", "x", "y"]
    assert repeated([None], 3).isna().all()
