"""A second generator of worlds, so that no method is fitted to the first one (deepfm_core/synthetic/worlds.py).

Its main effects are stronger, fields are correlated by copying and nested in each other, and pairs are planted by hand:
two of rank two, two of blocks of levels, and two of strong effects in a tenth of the cells.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from deepfm_core.schema.kinds import Kind
from deepfm_core.synthetic.worlds import (
    Column,
    Effects,
    World,
    assemble,
    categorical,
    one_hot,
    pure_pair,
    pure_three_way,
    standardise,
)

Values = NDArray[np.float64]

FIELDS, NESTED, COPIED = 12, 2, 2
MAIN = (0.2, 0.6)
SHAPES = ("rank two", "blocks", "one in ten")
CLICK_RATE = 0.12


def other_world(rows: int, seed: int, *, interactions: bool = True) -> World:
    """Draw a world: eight fields by themselves, two that follow one of them in half of the rows, and two that group the
    levels of one."""
    rng = np.random.default_rng([seed, 101])
    alone = [_zipf(f"f{n:02d}", rows, rng) for n in range(FIELDS - NESTED - COPIED)]
    copied = [_copied(f"c{n}", alone[n], rng) for n in range(COPIED)]
    large = sorted(alone, key=lambda column: -int(column.codes.max()))[:NESTED]
    nested = [_grouped(f"g{n}", column, rng) for n, column in enumerate(large)]
    columns = [*alone, *copied, *nested]
    columns = [columns[i] for i in rng.permutation(FIELDS)]
    determined = {frozenset((outer.name, inner.name)) for outer, inner in zip(nested, large, strict=True)}
    main = {c.name: standardise(rng.normal(size=c.features.shape[1])[c.codes], rng.uniform(*MAIN)) for c in columns}
    if not interactions:
        return assemble(columns, Effects(main, {}, (), np.zeros(rows)), CLICK_RATE, rng)
    free = [pair for pair in combinations(columns, 2) if frozenset(c.name for c in pair) not in determined]
    chosen = rng.choice(len(free), 2 * len(SHAPES), replace=False)
    strengths = rng.permutation(np.linspace(0.12, 0.42, len(chosen)))
    pairs = {}
    for number, (place, strength) in enumerate(zip(chosen, strengths, strict=True)):
        a, b = free[place]
        table = _table(int(a.codes.max()) + 1, int(b.codes.max()) + 1, SHAPES[number % len(SHAPES)], rng)
        pairs[a.name, b.name] = pure_pair(table[a.codes, b.codes], a, b, float(strength))
    few = sorted(alone, key=lambda column: int(column.codes.max()))[:3]
    joint = rng.normal(size=tuple(int(c.codes.max()) + 1 for c in few))[tuple(c.codes for c in few)]
    three = pure_three_way(joint, (few[0], few[1], few[2]), 0.25)
    return assemble(columns, Effects(main, pairs, tuple(c.name for c in few), three), CLICK_RATE, rng)


def _zipf(name: str, rows: int, rng: np.random.Generator) -> Column:
    levels = round(float(np.exp(rng.uniform(np.log(3), np.log(200)))))
    return categorical(name, rng.normal(size=rows), rng.uniform(0.4, 1.2), levels)


def _copied(name: str, of: Column, rng: np.random.Generator) -> Column:
    """Follow a field in half of the rows, by a map of its levels, and be random in the others."""
    levels = int(rng.integers(4, 60))
    follows = rng.integers(0, levels, int(of.codes.max()) + 1)[of.codes]
    codes = np.where(rng.random(len(follows)) < 0.5, follows, rng.integers(0, levels, len(follows)))
    return _column(name, codes)


def _grouped(name: str, of: Column, rng: np.random.Generator) -> Column:
    """Group the levels of a field, as countries group cities."""
    levels = int(of.codes.max()) + 1
    return _column(name, rng.integers(0, max(2, levels // 8), levels)[of.codes])


def _column(name: str, codes: NDArray[np.int64]) -> Column:
    codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    cells = np.array([f"v{code}" for code in range(int(codes.max()) + 1)], dtype=object)[codes]
    return Column(name, Kind.CATEGORICAL, cells, codes, one_hot(codes))


def _table(rows: int, columns: int, shape: str, rng: np.random.Generator) -> Values:
    if shape == "rank two":
        return np.asarray(rng.normal(size=(rows, 2)) @ rng.normal(size=(2, columns)))
    if shape == "blocks":
        blocks = rng.normal(size=(3, 3))
        return np.asarray(blocks[rng.integers(0, 3, rows)][:, rng.integers(0, 3, columns)])
    few = rng.random((rows, columns)) < max(0.1, 2 / (rows * columns))
    return np.asarray(few * rng.choice([-1.0, 1.0], (rows, columns)) * rng.uniform(0.5, 1.5, (rows, columns)))
