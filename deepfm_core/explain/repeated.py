"""Categorical columns of long frames, where the same few names stand again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def chosen(names: Sequence[str | None], numbers: NDArray[Any]) -> pd.Categorical[str]:
    """Give the names of that number, None for none; the categories are those that occur, in alphabetical order."""
    occurs = np.zeros(len(names), dtype=bool)
    occurs[numbers] = True
    categories = sorted({name for name, there in zip(names, occurs, strict=True) if there and name is not None})
    place = {name: number for number, name in enumerate(categories)}
    codes = np.array([-1 if name is None else place.get(name, -1) for name in names], dtype=np.int32)
    index = pd.Index(categories)
    return pd.Categorical.from_codes(np.asarray(codes[numbers]), categories=index)


def repeated(names: Sequence[str | None], times: int) -> pd.Categorical[str]:
    """Give all the names in turn, `times` times over."""
    return chosen(names, np.tile(np.arange(len(names)), times))
