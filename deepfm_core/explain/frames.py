"""The frames of a run about its fields, pairs and levels; docs/store.md lists their columns.

`pairs_frame`, `fields_frame`, `levels_frame` and `level_pairs_frame` make the frames of the same names;
`pairs_after_epoch` makes a part of `pairs_by_epoch` while a model trains. `seriate` orders the fields of a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from deepfm_core._words import in_sequence, is_recurring
from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.evidence.designs import Levels, each_levels
from deepfm_core.evidence.verdicts import PAIR_COLUMNS
from deepfm_core.explain.learned import (
    LearnedPairs,
    fm_columns,
    fm_strengths,
    level_contributions,
    purified_first_order,
    strength,
    within_strength,
)
from deepfm_core.explain.purify import purify_table
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.term import Pairs

# Columns of names in long frames, where a few names repeat: stored as categories.


def chosen(names: Sequence[str | None], numbers: NDArray[Any]) -> pd.Categorical[str]:
    """Return `names[numbers]` as a categorical, None as a missing value; its categories are the names that occur."""
    occurs = np.zeros(len(names), dtype=bool)
    occurs[numbers] = True
    categories = sorted({name for name, there in zip(names, occurs, strict=True) if there and name is not None})
    place = {name: number for number, name in enumerate(categories)}
    codes = np.array([-1 if name is None else place.get(name, -1) for name in names], dtype=np.int32)
    index = pd.Index(categories)
    return pd.Categorical.from_codes(np.asarray(codes[numbers]), categories=index)


def repeated(names: Sequence[str | None], times: int) -> pd.Categorical[str]:
    """Repeat the whole sequence of names `times` times."""
    return chosen(names, np.tile(np.arange(len(names)), times))


# The order of fields in a matrix: strong pairs near the diagonal.


def seriate(names: Sequence[str], pairs: pd.DataFrame, column: str = "strength") -> list[str]:
    """Order fields by average linkage with optimal leaf ordering (Bar-Joseph et al. 2001) of the pairs' strengths.

    Args:
        names: the fields.
        pairs: `field_a`, `field_b`, and `column`: the larger, the closer.
    """
    if len(names) < 3 or pairs.empty:
        return list(names)
    place = {name: number for number, name in enumerate(names)}
    closeness = np.zeros((len(names), len(names)))  # (F, F)
    a, b = pairs["field_a"].map(place).to_numpy(), pairs["field_b"].map(place).to_numpy()
    closeness[a, b] = closeness[b, a] = np.nan_to_num(pairs[column].to_numpy(dtype=float))
    top = closeness.max() or 1.0
    distance = 1.0 - closeness / top
    np.fill_diagonal(distance, 0.0)
    condensed = squareform(distance, checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    return [names[number] for number in leaves_list(tree)]


# The frames.

SHOWN_LEVELS = 12
"""Levels of a field shown by themselves in the drill-down; the others are pooled. Hours, weekdays, days and months are
shown whole."""

LEVEL_PAIR_COLUMNS = [
    *("field_a", "field_b", "level_a", "level_b"),
    *("rows", "clicks", "expected", "learned_fm", "learned"),
]

FEWEST_EXAMPLES, MOST_EXAMPLES = 250, 2_000
"""Rows whose terms are stored, by how many terms a row has."""


def pairs_frame(names: Sequence[str], learned: LearnedPairs, observed: pd.DataFrame | None) -> pd.DataFrame:
    """Make the `pairs` frame: what the model learned of each pair beside what the labels support, strongest first.

    Args:
        names: of the fields.
        learned: pure contributions of the model. What it learned of a pair that was not measured is null.
        observed: the frame of `evidence.ranking.observed_interactions`, whose `strength` ranks the pairs. Without it
            the learned strength does.
    """
    every = list(combinations(range(len(names)), 2))
    frame = pd.DataFrame(
        {
            "field_a": pd.Series([names[a] for a, _ in every], dtype=object),
            "field_b": pd.Series([names[b] for _, b in every], dtype=object),
            "learned_fm": _at_pairs(learned.fm, learned.pairs, len(names)),
            "learned_dnn": _at_pairs(learned.dnn, learned.pairs, len(names)),
            "learned": _at_pairs(learned.whole, learned.pairs, len(names)),
        }
    )
    if observed is None:
        merged = frame.assign(strength=frame["learned"])
    else:
        merged = frame.merge(observed, on=["field_a", "field_b"], how="left", validate="one_to_one")
    ranked = merged.sort_values(["strength", "learned"], ascending=False, kind="stable", ignore_index=True)
    return ranked.reindex(columns=list(PAIR_COLUMNS))


def _at_pairs(values: NDArray[np.float64] | None, pairs: Pairs, fields: int) -> NDArray[np.float64]:
    """Put (P,) values at their places among all pairs of so many fields; NaN elsewhere."""
    square = np.full((fields, fields), np.nan)
    if values is not None and len(pairs):
        a, b = np.array(pairs).T
        square[a, b] = values
    return square[np.triu_indices(fields, 1)]


def fields_frame(model: DeepFM, sample: EncodedTable, pairs: pd.DataFrame) -> pd.DataFrame:
    """Make the `fields` frame: kind, size and main effect of each field, and its place in the matrix of pairs."""
    layout = sample.layout
    effects, _ = purified_first_order(model, sample, ())
    has_weights = model.spec.first_order
    place = {name: number for number, name in enumerate(seriate(layout.names, pairs))}
    embedded = pd.DataFrame(
        {
            "field": layout.names,
            "kind": [field.kind.value for field in layout.fields],
            "features": [field.size for field in layout.fields],
            "main_effect": effects.std(0) if has_weights else np.nan,
            "within": within_strength(model, sample),
            "order": [place[name] for name in layout.names],
        }
    )
    parts = [embedded]
    if layout.dense:
        spread = np.abs(model.dense_weights.detach().numpy()) * sample.dense.std(0)
        own = {"kind": "dense", "features": 1, "main_effect": spread if has_weights else np.nan}
        parts.append(pd.DataFrame({"field": layout.dense, **own}))
    if layout.crosses:
        names, sizes = zip(*((field.name, field.size) for field in layout.crosses), strict=True)
        parts.append(pd.DataFrame({"field": names, "kind": "crossed", "features": sizes, "main_effect": np.nan}))
    return pd.concat(parts, ignore_index=True)


LEVEL_NUMBERS = ("rows", "clicks", "effect", "order")
"""The columns of numbers of the frame `levels`."""


def levels_frame(
    model: DeepFM, train: EncodedTable, sample: EncodedTable, sample_levels: Sequence[Levels]
) -> pd.DataFrame:
    """Make the `levels` frame: rows and clicks over the training part, first-order effects over the sample."""
    assert train.labels is not None
    _, effects = purified_first_order(model, sample, sample_levels)
    labels = train.labels.astype(np.float64)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("field", "level", *LEVEL_NUMBERS)}
    for number, level in enumerate(each_levels(train)):
        rows = level.rows()
        held = np.flatnonzero(rows > 0)
        parts["field"].append(np.full(len(held), number))
        parts["level"].append(np.array(level.names, dtype=object)[held])
        parts["rows"].append(rows[held].astype(np.int64))
        parts["clicks"].append(level.sums(labels)[held].astype(np.int64))
        parts["effect"].append(effects[number][held] if model.spec.first_order else np.full(len(held), np.nan))
        places = np.arange(len(level)) if level.ordered else _places(level.names, rows)
        parts["order"].append(places[held])
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    columns["field"] = np.array(train.layout.names, dtype=object)[columns["field"]]
    # One frame of all fields: a frame of each would take most of the time of a wide table.
    return pd.DataFrame(columns).sort_values(["field", "order"], kind="stable", ignore_index=True)


@dataclass(frozen=True)
class PooledLevels:
    """A field's levels for the drill-down: those with most rows, and the rest pooled as one."""

    field: str
    names: tuple[str, ...]
    codes: NDArray[np.int16]
    """(N, M) levels of each row; unused slots are -1."""


def pool(levels: Levels) -> PooledLevels:
    """Keep the levels with most rows and pool the rest; numbers and times keep their order, others are sorted by rows.

    Hours, weekdays, days of a month and months are all kept.
    """
    rows = levels.rows()
    present = np.flatnonzero(rows > 0)
    by_rows = present[np.argsort(-rows[present], kind="stable")]
    named = [levels.names[number] for number in present]
    too_many = len(by_rows) > SHOWN_LEVELS + 1 and not is_recurring(named)  # a single level is never pooled
    kept = by_rows[:SHOWN_LEVELS] if too_many else by_rows
    if levels.ordered:
        kept = np.sort(kept)
    else:
        places = _places([levels.names[number] for number in kept], rows[kept])
        kept = kept[np.argsort(places, kind="stable")]
    target = np.full(len(levels) + 1, len(kept) if too_many else -1, dtype=np.int16)
    target[kept] = np.arange(len(kept))
    target[-1] = -1  # codes of -1 index the last entry, and stay -1
    rest = (f"other ({len(by_rows) - len(kept)} levels)",) if too_many else ()
    names = tuple(levels.names[number] for number in kept) + rest
    return PooledLevels(levels.field, names, target[levels.codes])


def level_pairs_frame(
    model: DeepFM,
    train: EncodedTable,
    probabilities: NDArray[np.float64],
    background: int,
    seed: int,
    asked: Pairs | None = None,
) -> pd.DataFrame:
    """Make the `level_pairs` frame: rows, clicks, expected clicks and learned effect of each cell of each pair.

    Only of the pairs `asked`, if they are given.
    """
    assert train.labels is not None
    pairs = [pair for pair in model.pairs if pair[0] != pair[1]] if asked is None else list(asked)
    pooled = [pool(level) for level in each_levels(train)]
    labels = train.labels.astype(np.float64)
    learned = level_contributions(model, train, [one.codes for one in pooled], pairs, background, seed)
    cells: list[dict[str, NDArray[np.generic]]] = []
    for (a, b), contributions in zip(pairs, learned, strict=True):
        shape = len(pooled[a].names), len(pooled[b].names)
        rows, clicks, expected = _cell_sums(pooled[a], pooled[b], [labels, probabilities])
        # Purified over cells weighted by their rows, as strengths are over rows.
        pure = [None if part is None else purify_table(part, rows.reshape(shape)).ravel() for part in contributions]
        level_a, level_b = np.indices(shape).reshape(2, -1)
        cells.append(
            {
                "field_a": np.full(rows.size, a),
                "field_b": np.full(rows.size, b),
                "level_a": level_a,
                "level_b": level_b,
                "rows": rows.astype(np.int64),
                "clicks": clicks.astype(np.int64),
                "expected": expected,
                "learned_fm": np.full(rows.size, np.nan) if pure[0] is None else pure[0],
                "learned": sum((part for part in pure if part is not None), start=np.zeros(rows.size)),
            }
        )
    if not cells:
        return pd.DataFrame(columns=LEVEL_PAIR_COLUMNS).astype({name: "category" for name in LEVEL_PAIR_COLUMNS[:4]})
    columns = {name: np.concatenate([cell[name] for cell in cells]) for name in LEVEL_PAIR_COLUMNS}
    return pd.DataFrame(columns | _names_of_cells(columns, pooled))


def _names_of_cells(
    columns: Mapping[str, NDArray[np.generic]], pooled: Sequence[PooledLevels]
) -> dict[str, pd.Categorical[str]]:
    """Replace the numbers of fields, and of levels within their field, by names."""
    starts = np.cumsum([0, *(len(one.names) for one in pooled)])  # where each field begins in the list of all levels
    named = {}
    for side in ("a", "b"):
        field, level = columns[f"field_{side}"], columns[f"level_{side}"]
        named[f"field_{side}"] = chosen([one.field for one in pooled], field)
        named[f"level_{side}"] = chosen([name for one in pooled for name in one.names], starts[field] + level)
    return named


def _cell_sums(a: PooledLevels, b: PooledLevels, values: Sequence[NDArray[np.floating]]) -> list[NDArray[np.float64]]:
    """Count the rows of each cell of a level × level table, flattened, and sum each of `values` over them."""
    size = len(a.names) * len(b.names)
    sums = [np.zeros(size) for _ in range(len(values) + 1)]
    for column_a, column_b in product(a.codes.T, b.codes.T):
        # Rows at no level of a field go to a cell of their own, which is cut off.
        cell = np.where((column_a >= 0) & (column_b >= 0), column_a * len(b.names) + column_b, size).astype(np.intp)
        sums[0] += np.bincount(cell, minlength=size + 1)[:size]
        for total, value in zip(sums[1:], values, strict=True):
            total += np.bincount(cell, weights=value, minlength=size + 1)[:size]
    return sums


def _places(names: Sequence[str], rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the place (L,) of each level: by value where levels with rows have a sequence, else by rows."""
    sequence = in_sequence([name for name, count in zip(names, rows, strict=True) if count > 0])
    if sequence is None:
        return _rank_by(-rows)
    place = {name: number for number, name in enumerate(sequence)}
    return np.array([place.get(name, len(place)) for name in names], dtype=np.int64)


def _rank_by(keys: NDArray[np.float64]) -> NDArray[np.int64]:
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[np.argsort(keys, kind="stable")] = np.arange(len(keys))
    return ranks


# The pairs after an epoch: cheap enough to compute while a model trains.

ROWS = 4_000
"""Rows that the pairs of an epoch are measured on."""

ONE_BY_ONE = 1_000
"""Pairs up to which an epoch measures each by itself, in float64; more are measured together, in float32."""


def sample_rows(table: EncodedTable, seed: int, rows: int = ROWS) -> EncodedTable:
    """Draw at most `rows` rows by the seed, in ascending order."""
    if len(table) <= rows:
        return table
    chosen = np.random.default_rng(seed).choice(len(table), rows, replace=False)
    return table.take(np.sort(chosen).astype(np.int64))


def pairs_after_epoch(model: DeepFM, sample: EncodedTable, epoch: int) -> pd.DataFrame:
    """Make an epoch's part of the `pairs_by_epoch` frame.

    `learned_fm` is the standard deviation of ⟨e_f − m_f, e_g − m_g⟩ over the sample. To be fast, it keeps the additive
    parts that correlated fields leave; the `pairs` frame removes them.
    """
    names = sample.layout.names
    pairs = [pair for pair in model.pairs if pair[0] != pair[1]]
    together = len(pairs) > ONE_BY_ONE
    return pd.DataFrame(
        {
            "epoch": epoch,
            "field_a": [names[a] for a, _ in pairs],
            "field_b": [names[b] for _, b in pairs],
            "learned_fm": fm_strengths(model, sample, pairs)
            if together
            else [float(strength(part[:, None])[0]) for part in fm_columns(model, sample, pairs)],
        }
    )
