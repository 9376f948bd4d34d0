"""Generated worlds: tables for which every interaction, its strength and every row's logit are known.

Start with `make_world`, which draws a world from a `WorldSpec`. `assemble` makes one from columns and effects of your
own. Tests and benchmarks measure against the `Truth`. In shapes: N rows, d columns of a design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import csr_array
from scipy.sparse.linalg import lsqr
from scipy.special import ndtr

from deepfm_core.schema.kinds import Kind

# Columns of generated worlds: categorical with Zipf-like shares, numeric, and multi-valued.
#
# Each is made from a latent standard normal value per row. Correlated latents give related columns.

NUMERIC_GROUPS = 40
"""Quantile groups of a number. Within them its main effect is removed from a planted pair."""


@dataclass(frozen=True)
class Column:
    """One drawn field.

    Attributes:
        name: the field's name.
        kind: categorical, numeric or multi-valued.
        cells: (N,) cells as they stand in the table.
        codes: (N,) the level of each row; the quantile group of a number; -1 for a multi-valued field.
        features: (N, d) columns that effects are linear in: one-hot levels, curves of a number, or the mean of the
            one-hot values of a cell.
    """

    name: str
    kind: Kind
    cells: NDArray[Any]
    codes: NDArray[np.int64]
    features: csr_array

    @property
    def groups(self) -> csr_array:
        """(N, d) columns that span every main effect the field can have."""
        return self.features if self.kind.is_several else one_hot(self.codes)


def one_hot(codes: NDArray[np.int64]) -> csr_array:
    """Return the (N, levels) indicator of (N,) codes."""
    rows = len(codes)
    return csr_array((np.ones(rows), codes, np.arange(rows + 1)), shape=(rows, int(codes.max()) + 1))


def zipf_shares(levels: int, exponent: float) -> NDArray[np.float64]:
    """Return (levels,) shares that fall with rank as rank^−exponent: Zipf's law."""
    shares = np.arange(1, levels + 1, dtype=np.float64) ** -exponent
    return np.asarray(shares / shares.sum())


def categorical(name: str, latent: NDArray[np.float64], exponent: float, levels: int, prefix: str = "v") -> Column:
    """Cut (N,) standard normal `latent` into levels with Zipf shares."""
    edges = np.cumsum(zipf_shares(levels, exponent))[:-1]
    codes = np.searchsorted(edges, ndtr(latent)).astype(np.int64)  # ndtr makes the latent uniform on 0 … 1
    cells = np.array([f"{prefix}{code}" for code in range(levels)], dtype=object)[codes]
    return Column(name, Kind.CATEGORICAL, cells, codes, one_hot(codes))


def numeric(name: str, latent: NDArray[np.float64], skew: float) -> Column:
    """Return a number per row that grows with (N,) `latent`, log-normal for a `skew` above 0."""
    cells = np.round(np.exp(skew * latent) * 20 if skew > 0 else 50 + 12 * latent, 2)
    share = np.argsort(np.argsort(cells, kind="stable"), kind="stable") / len(cells)  # rank of each row, 0 … 1
    codes = np.minimum((share * NUMERIC_GROUPS).astype(np.int64), NUMERIC_GROUPS - 1)
    middle = (codes + 0.5) / NUMERIC_GROUPS
    curves = np.stack([np.cos(np.pi * k * middle) for k in range(1, 5)], axis=1)  # (N, 4)
    return Column(name, Kind.NUMERIC, cells, codes, csr_array(curves / np.arange(1, 5)))


def multi_valued(
    name: str, latent: NDArray[np.float64], exponent: float, levels: int, most: int, rng: np.random.Generator
) -> Column:
    """Put one to `most` distinct values into each cell; the first follows (N,) `latent`."""
    first = categorical(name, latent, exponent, levels, "t").codes
    others = rng.choice(levels, size=(len(latent), most - 1), p=zipf_shares(levels, exponent))
    count = rng.integers(1, most + 1, size=len(latent))
    drawn = np.concatenate([first[:, None], others], axis=1)
    present = np.zeros((len(latent), levels), dtype=bool)
    for slot in range(most):
        rows = np.flatnonzero(count > slot)
        present[rows, drawn[rows, slot]] = True
    names = np.array([f"t{code}" for code in range(levels)], dtype=object)
    cells = np.array(["|".join(names[row]) for row in present], dtype=object)
    features = csr_array(present / present.sum(axis=1, keepdims=True))
    return Column(name, Kind.MULTI_VALUED, cells, np.full(len(latent), -1, dtype=np.int64), features)


# Generated worlds: tables for which every interaction, its strength and every row's logit are known.
#
# Start with `make_world`, which draws a world from a `WorldSpec`. `assemble` makes one from columns and effects of
# your own. Tests and benchmarks measure against the `Truth`. In shapes: N rows, d columns of a design.


# Effects of known strength: standardised, and free of all lower-order parts.

Values = NDArray[np.float64]

Codes = NDArray[np.int64]


def standardise(values: Values, sd: float) -> Values:
    """Shift and scale (N,) values to mean 0 and standard deviation `sd` over rows; a constant becomes 0."""
    centred = values - values.mean()
    spread = centred.std()
    return np.asarray(centred * (sd / spread) if spread > 1e-12 else np.zeros_like(centred))


def joint_codes(parts: Sequence[Codes]) -> Codes:
    """Number the distinct combinations of several codes (N,) from 0: (N,)."""
    joint = np.zeros(len(parts[0]), dtype=np.int64)
    for codes in parts:
        joint = joint * (int(codes.max()) + 1) + codes
    return np.unique(joint, return_inverse=True)[1].astype(np.int64)


def without_group_means(values: Values, groups: Sequence[Codes], sweeps: int = 200) -> Values:
    """Remove from (N,) values their least-squares sum of functions of each grouping (N,).

    The groups are centred in turn until no group mean exceeds 1e-9 (backfitting, Breiman & Friedman 1985).
    """
    pure = values - values.mean()
    counts = [np.bincount(codes) for codes in groups]
    for _ in range(sweeps):
        largest = 0.0
        for codes, rows in zip(groups, counts, strict=True):
            means = np.bincount(codes, weights=pure) / np.maximum(rows, 1)
            pure -= means[codes]
            largest = max(largest, float(np.abs(means).max()))
        if largest < 1e-9:
            break
    return np.asarray(pure)


def without_additive(values: Values, designs: Sequence[csr_array]) -> Values:
    """Remove from (N,) values their least-squares projection on the columns of the designs (N, d) and a constant.

    It does what `without_group_means` does, for multi-valued fields too, whose rows are at several levels.
    """
    rows = len(values)
    blocks = [csr_array(np.ones((rows, 1))), *designs]
    design = csr_array(np.hstack([block.toarray() for block in blocks]))
    coefficients: Values = lsqr(design, values, atol=1e-10, btol=1e-10)[0]
    return np.asarray(values - design @ coefficients)


def base_for_click_rate(logits: Values, click_rate: float) -> float:
    """Find the base logit, from −30 to 30, that gives (N,) logits the mean probability `click_rate`."""

    def excess(base: float) -> float:
        return float((1 / (1 + np.exp(-(logits + base)))).mean()) - click_rate

    return float(brentq(excess, -30.0, 30.0, xtol=1e-15))


SHAPES = ("dense", "low-rank", "few-cells")
"""Tables of a planted pair: Gaussian in every cell, of rank two, or strong in a tenth of the cells only."""


@dataclass(frozen=True)
class WorldSpec:
    """The settings of a world. Strengths are standard deviations over rows, in log-odds."""

    fields: int = 12
    numeric: int = 0
    multi_valued: int = 0
    levels: tuple[int, int] = (3, 200)
    """Fewest and most levels of a categorical field, drawn uniformly on the log scale."""
    zipf: tuple[float, float] = (0.5, 1.3)
    """Smallest and largest Zipf exponent of the vocabularies."""
    correlation: float = 0.5
    """Largest loading of a field on one of two common factors, which correlate the fields."""
    main: tuple[float, float] = (0.2, 0.5)
    pairs: int = 6
    strengths: tuple[float, float] = (0.12, 0.42)
    shape: str = "mixed"
    """One of `SHAPES`, or `mixed` to draw one for each pair."""
    three_way: float = 0.25
    click_rate: float = 0.18

    def without_interactions(self) -> WorldSpec:
        """Return the same world with main effects only."""
        return replace(self, pairs=0, three_way=0.0)


CATEGORICAL = WorldSpec()

MIXED = WorldSpec(numeric=5)

MULTI_VALUED = WorldSpec(numeric=2, multi_valued=3)


@dataclass(frozen=True)
class Truth:
    """The planted effects of a world.

    Attributes:
        pairs: one row per pair of fields: `field_a`, `field_b`, `strength` (0 if nothing was planted).
        main_effects: `field`, `strength`.
        three_way: the three fields of the three-way effect, or an empty tuple.
        parts: a row per row of the table: `base`, `main`, `pairs`, `three_way` and their sum `logit`.
        pair_parts: a row per row of the table, and a column `a × b` per planted pair.
    """

    pairs: pd.DataFrame
    main_effects: pd.DataFrame
    three_way: tuple[str, ...]
    parts: pd.DataFrame
    pair_parts: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Return the planted effects, without the rows, as plain values for JSON."""
        planted = self.pairs[self.pairs["strength"] > 0].round({"strength": 4})
        # Rounded first: pairs of one strength differ in the last digit, and by processor.
        planted = planted.sort_values(["strength", "field_a", "field_b"], ascending=[False, True, True])
        return {
            "main_effects": dict(
                zip(self.main_effects["field"], self.main_effects["strength"].round(4).tolist(), strict=True)
            ),
            "pairs": [
                {"field_a": a, "field_b": b, "strength": round(float(s), 4)}
                for a, b, s in planted[["field_a", "field_b", "strength"]].itertuples(index=False)
            ],
            "three_way": {"fields": list(self.three_way), "strength": round(float(self.parts["three_way"].std()), 4)},
        }


@dataclass(frozen=True)
class World:
    """A table with its label (column `click`, 0 or 1), the kinds of its fields, and the truth behind it."""

    frame: pd.DataFrame
    truth: Truth
    kinds: dict[str, Kind]


@dataclass(frozen=True)
class Effects:
    """Effects on the logit, (N,) each: main effects by field, pure pairs by their two fields, one three-way effect."""

    main: dict[str, Values]
    pairs: dict[tuple[str, str], Values]
    three_way_fields: tuple[str, ...]
    three_way: Values


def make_world(rows: int, seed: int, spec: WorldSpec = CATEGORICAL) -> World:
    """Draw a world of `rows` rows; the same rows, seed and spec give the same world.

    Interactions are pure under the joint distribution of their fields: their additive part has been removed over the
    rows. So a planted pair changes no main effect, and the three-way effect changes no pair.
    """
    # The second number makes this stream differ from others with the same seed; it is the date of the DeepFM paper.
    rng = np.random.default_rng([seed, 20170313])
    columns = _draw_columns(rows, spec, rng)
    effects = Effects(
        {c.name: _main_effect(c, rng.uniform(*spec.main), rng) for c in columns},
        _planted_pairs(columns, spec, rng),
        *_three_way(columns, spec, rng),
    )
    return assemble(columns, effects, spec.click_rate, rng)


def assemble(columns: list[Column], effects: Effects, click_rate: float, rng: np.random.Generator) -> World:
    """Add the effects up, set the base to reach the click rate, draw the labels, and record the truth."""
    rows = len(columns[0].cells)
    main = np.sum([np.zeros(rows), *effects.main.values()], axis=0)
    pairs = np.sum([np.zeros(rows), *effects.pairs.values()], axis=0)
    sum_of_parts = main + pairs + effects.three_way
    base = base_for_click_rate(sum_of_parts, click_rate)
    logit = sum_of_parts + base
    clicks = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    frame = pd.DataFrame({c.name: c.cells for c in columns} | {"click": clicks})
    parts = pd.DataFrame({"base": base, "main": main, "pairs": pairs, "three_way": effects.three_way, "logit": logit})
    truth = Truth(
        _strengths_of_pairs([c.name for c in columns], effects.pairs),
        pd.DataFrame({"field": list(effects.main), "strength": [float(v.std()) for v in effects.main.values()]}),
        effects.three_way_fields,
        parts,
        pd.DataFrame({f"{a} × {b}": values for (a, b), values in effects.pairs.items()}, index=parts.index),
    )
    return World(frame, truth, {c.name: c.kind for c in columns})


def pure_pair(values: Values, a: Column, b: Column, strength: float) -> Values:
    """Turn (N,) values into a pure interaction of two columns with standard deviation `strength`."""
    if a.kind.is_several or b.kind.is_several:
        return standardise(without_additive(values, [a.groups, b.groups]), strength)
    return standardise(without_group_means(values, [a.codes, b.codes]), strength)


def pure_three_way(values: Values, columns: tuple[Column, Column, Column], strength: float) -> Values:
    """Turn (N,) values into a three-way effect without any function of a pair; each column has one level per row."""
    pairs = [joint_codes([p.codes, q.codes]) for p, q in combinations(columns, 2)]
    return standardise(without_group_means(values, pairs), strength)


def _draw_columns(rows: int, spec: WorldSpec, rng: np.random.Generator) -> list[Column]:
    factors = rng.normal(size=(rows, 2))  # two common factors
    kinds = ["numeric"] * spec.numeric + ["multi-valued"] * spec.multi_valued
    kinds += ["categorical"] * (spec.fields - len(kinds))
    columns = []
    for place, number in enumerate(rng.permutation(len(kinds))):
        loading = rng.uniform(0, spec.correlation) * (rng.random() < 0.6)
        # Unit variance whatever the loading; about 4 of 10 fields have loading 0.
        latent = loading * factors[:, rng.integers(2)] + np.sqrt(1 - loading**2) * rng.normal(size=rows)
        levels = round(float(np.exp(rng.uniform(*np.log(spec.levels)))))
        exponent, skew = rng.uniform(*spec.zipf), rng.choice([0.0, 0.6, 1.2])
        name = f"f{place + 1:02d}"
        match kinds[number]:
            case "numeric":
                columns.append(numeric(name, latent, skew))
            case "multi-valued":
                columns.append(multi_valued(name, latent, exponent, max(5, min(levels, 60)), 4, rng))
            case _:
                columns.append(categorical(name, latent, exponent, levels))
    return columns


def _main_effect(column: Column, sd: float, rng: np.random.Generator) -> Values:
    return standardise(column.features @ rng.normal(size=column.features.shape[1]), sd)


def _planted_pairs(columns: list[Column], spec: WorldSpec, rng: np.random.Generator) -> dict[tuple[str, str], Values]:
    every = list(combinations(range(len(columns)), 2))
    chosen = rng.choice(len(every), size=spec.pairs, replace=False)
    strengths = np.linspace(*spec.strengths, spec.pairs)
    planted = {}
    for place, strength in zip(chosen, strengths, strict=True):
        a, b = (columns[i] for i in every[place])
        shape = spec.shape if spec.shape in SHAPES else str(rng.choice(SHAPES))
        table = _table(a.features.shape[1], b.features.shape[1], shape, rng)
        planted[a.name, b.name] = pure_pair(_bilinear(a.features, table, b.features), a, b, float(strength))
    return planted


def _table(rows: int, columns: int, shape: str, rng: np.random.Generator) -> Values:
    if shape == "low-rank":
        return np.asarray(rng.normal(size=(rows, 2)) @ rng.normal(size=(2, columns)))
    table = rng.normal(size=(rows, columns))
    if shape == "few-cells":
        table *= rng.random(table.shape) < max(0.1, 2 / table.size)  # two cells at least, on average
    return table


def _bilinear(left: csr_array, table: Values, right: csr_array) -> Values:
    # Σ_jk left[i, j] table[j, k] right[i, k] for every row i: (N,).
    return np.asarray(right.multiply(left @ table).sum(axis=1)).ravel()


def _three_way(columns: list[Column], spec: WorldSpec, rng: np.random.Generator) -> tuple[tuple[str, ...], Values]:
    rows = len(columns[0].cells)
    single = [c for c in columns if c.kind.takes_any_text]
    if spec.three_way <= 0 or len(single) < 3:
        return (), np.zeros(rows)
    # Take fields of few levels: with many, most combinations would have a single row, and removing pairs left nothing.
    few = sorted(single, key=lambda c: int(c.codes.max()))[: max(3, len(single) // 2)]
    a, b, c = (few[i] for i in sorted(rng.choice(len(few), size=3, replace=False)))
    joint = joint_codes([a.codes, b.codes, c.codes])
    values = rng.normal(size=int(joint.max()) + 1)[joint]
    return (a.name, b.name, c.name), pure_three_way(values, (a, b, c), spec.three_way)


def _strengths_of_pairs(names: list[str], planted: dict[tuple[str, str], Values]) -> pd.DataFrame:
    known = {frozenset(pair): float(values.std()) for pair, values in planted.items()}
    rows = [(a, b, known.get(frozenset((a, b)), 0.0)) for a, b in combinations(names, 2)]
    return pd.DataFrame(rows, columns=["field_a", "field_b", "strength"])
