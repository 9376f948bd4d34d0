"""The order of fields in a matrix: strong pairs gather near the diagonal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform


def seriate(names: Sequence[str], pairs: pd.DataFrame, column: str = "strength") -> list[str]:
    """Order fields by average linkage with optimal leaf ordering (Bar-Joseph et al. 2001) on the pairs' strengths.

    Args:
        names: the fields.
        pairs: `field_a`, `field_b` and `column`, the larger the closer.
    """
    if len(names) < 3 or pairs.empty:
        return list(names)
    place = {name: number for number, name in enumerate(names)}
    closeness = np.zeros((len(names), len(names)))
    a, b = pairs["field_a"].map(place).to_numpy(), pairs["field_b"].map(place).to_numpy()
    closeness[a, b] = closeness[b, a] = np.nan_to_num(pairs[column].to_numpy(dtype=float))
    top = closeness.max() or 1.0
    distance = 1.0 - closeness / top
    np.fill_diagonal(distance, 0.0)
    condensed = squareform(distance, checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    return [names[number] for number in leaves_list(tree)]
