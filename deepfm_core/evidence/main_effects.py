"""Main effects alone: a logistic model with one effect per level, and a shrinkage per field learned from the labels.

Start with `fit_main_effects`. All evidence about pairs is about what this model leaves unexplained. `logit_of_others`
gives what it says of other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.evidence.designs import FieldDesign, Slots, by_level, each_levels, levels_are_fixed
from deepfm_core.evidence.solving import factored, inverse_diagonal, solved
from deepfm_core.metrics.scores import sigmoid

Values = NDArray[np.float64]

SWEEPS = 30
TOLERANCE = 2e-3
"""The fit ends when a sweep changes the logit by less than this, in root mean square."""
FIRST_VARIANCE = 0.1
"""Prior variance of each field's effects in the first sweep, before it is learned: a spread of 0.3 log-odds."""
LEAST_VARIANCE = 1e-4
"""A learned variance never falls to 0, from where it could not grow again."""
LONGEST_STEP = 2.0
"""Log-odds that a row may move in one step."""
NEW_GRAM = frozenset({1, 2, 4, 8, 16})
"""Sweeps of a fit with known variances in which Gram matrices are computed again. In between, weights hardly change,
and any step that is close to Newton's ends at the same effects."""
DENSE_GRAM = 600
"""A multi-valued field of at most so many columns has its effects solved jointly."""


@dataclass(frozen=True)
class MainEffects:
    """A fitted main-effects model.

    Attributes:
        names: the fields.
        base: the intercept, in log-odds.
        effects: for each field (columns,), log-odds of its main design's columns.
        variances: for each field, the learned variance of its effects.
        logit: (N,) over the rows it was fitted to, the offset included.
    """

    names: tuple[str, ...]
    base: float
    effects: tuple[Values, ...]
    variances: tuple[float, ...]
    logit: Values

    @property
    def probability(self) -> Values:
        """(N,) probabilities over the rows it was fitted to."""
        return sigmoid(self.logit)

    def predict(self, designs: Sequence[FieldDesign]) -> Values:
        """Return the (M,) logits of other rows, whose designs must have the same columns."""
        parts = (design.main.at_rows(effects) for design, effects in zip(designs, self.effects, strict=True))
        return np.asarray(sum(parts, start=np.full(len(designs[0].main.ids), self.base)))


def logit_of_others(main: MainEffects, table: EncodedTable, others: EncodedTable) -> Values | None:
    """Return the (M,) logits of rows of `others` by main effects that were fitted to a table of the same layout.

    None if they were fitted to a sample of its rows, or the levels of its fields are not those of others.
    """
    if len(main.logit) < len(table) or not levels_are_fixed(table):
        return None
    fields = zip(each_levels(table), each_levels(others), main.effects, strict=True)
    parts = (there.at_rows(by_level(here, effects)) for here, there, effects in fields)
    return np.asarray(sum(parts, start=np.full(len(others), main.base)))


def fit_main_effects(
    designs: Sequence[FieldDesign],
    labels: Values,
    *,
    offset: Values | None = None,
    start: MainEffects | None = None,
    sweeps: int = SWEEPS,
    known: Sequence[float] = (),
) -> MainEffects:
    """Fit logit = offset + base + Σ main effects, where the effects of field f are normal with variance σ_f².

    Fields take Newton steps in turn: block coordinate ascent of the penalised likelihood. After each step, σ_f² becomes
    Σ θ² divided by the effective number of parameters, a fixed point of the marginal likelihood (MacKay 1992; Fellner
    1986). Cost: 12 fields × 20,000 rows 0.05 s; memory a few arrays of N.

    Args:
        designs: F designs over N rows.
        labels: (N,) of 0 and 1.
        offset: (N,) fixed log-odds that are part of the logit.
        start: an earlier fit of the same designs to begin from.
        sweeps: the most rounds over the fields.
        known: the variances of the last designs, where they are not learned: cells of pairs, whose spread is given.
    """
    fixed = np.zeros(len(labels)) if offset is None else offset
    blocks = [_Block.of(design.main) for design in designs]
    effects = [np.zeros(block.size) for block in blocks] if start is None else [e.copy() for e in start.effects]
    learned = len(blocks) - len(known)
    variances = [*[FIRST_VARIANCE] * learned, *known] if start is None else list(start.variances)
    base = log_odds(labels) if start is None else start.base
    logit = fixed + base
    for block, effect in zip(blocks, effects, strict=True):
        logit += block.slots.at_rows(effect) if start is not None else 0.0
    rows = _Rows(labels, logit)
    for sweep in range(sweeps):
        largest = 0.0
        for f, block in enumerate(blocks):
            residual, weights = rows.now()
            step, variances[f] = block.step(
                residual,
                weights,
                effects[f],
                variances[f],
                sweep > 0 and f < learned,
                not known or sweep in NEW_GRAM,
            )
            change = block.slots.at_rows(step)  # (N,)
            # Far from the optimum a Newton step overshoots where clicks are rare. Shorten it, so that no row moves far.
            shorter = min(1.0, LONGEST_STEP / max(block.longest(step, change), LONGEST_STEP))
            effects[f] += shorter * step
            change *= shorter
            logit += change
            largest = max(largest, float(change @ change))
        residual, weights = rows.now()
        # One Newton step of the intercept, which is not penalised.
        shift = float(residual.sum() / max(float(weights.sum()), 1e-12))
        shift = float(np.clip(shift, -LONGEST_STEP, LONGEST_STEP))
        base += shift
        logit += shift
        if largest < TOLERANCE**2 * len(labels):
            break
    return MainEffects(tuple(d.name for d in designs), base, tuple(effects), tuple(variances), logit)


class _Rows:
    """What a step needs of the rows, at a logit that changes in place: written to the same memory every time."""

    def __init__(self, labels: Values, logit: Values) -> None:
        self._labels, self._logit = labels, logit
        self._p, self._residual, self._weights = (np.empty(len(labels)) for _ in range(3))

    def now(self) -> tuple[Values, Values]:
        """Give (N,) y − p and p(1−p)."""
        p = expit(self._logit, out=self._p)
        np.subtract(self._labels, p, out=self._residual)
        np.subtract(1.0, p, out=self._weights)
        self._weights *= p
        return self._residual, self._weights


def log_odds(labels: NDArray[np.floating]) -> float:
    """Return the log-odds of the rate of (N,) labels."""
    # Half a click and half a non-click more keep the log-odds finite.
    share = (labels.sum() + 0.5) / (len(labels) + 1.0)
    return float(np.log(share / (1 - share)))


@dataclass
class _Block:
    """One field's columns, and how to solve a Newton step over them."""

    slots: Slots
    size: int
    dense: bool
    gram: Values | None = None
    """X'VX of the sweep in which it was last computed."""

    @classmethod
    def of(cls, slots: Slots) -> _Block:
        return cls(slots, slots.size, not slots.one_hot and slots.size <= DENSE_GRAM)

    def step(
        self, residual: Values, weights: Values, effects: Values, variance: float, learn: bool, anew: bool
    ) -> tuple[Values, float]:
        """Return the Newton step (columns,) of the effects, and the variance after it; from a Gram matrix made anew."""
        gradient = self.slots.sums(residual) - effects / variance  # (columns,)
        if self.dense:
            if anew or self.gram is None:
                self.gram = self.slots.gram(weights)
            penalised = self.gram + 0.0
            penalised.flat[:: self.size + 1] += 1 / variance
            factor = factored(penalised)
            step = solved(factor, gradient)
            # Effective number of parameters: columns − trace((X'VX + I/σ²)⁻¹)/σ² (γ in MacKay 1992).
            fitted = self.size - float(inverse_diagonal(factor).sum()) / variance
        else:
            # One level per row: the Gram matrix is diagonal. Several values per row: its row sums bound it from above,
            # so a step never overshoots.
            curvature = self.slots.sums(weights) if self.slots.one_hot else self._bound(weights)
            step = gradient / (curvature + 1 / variance)
            fitted = float((curvature / (curvature + 1 / variance)).sum())
        if learn:
            variance = max(float(((effects + step) ** 2).sum()) / max(fitted, 1e-9), LEAST_VARIANCE)
        return np.asarray(step), variance

    def longest(self, step: Values, change: Values) -> float:
        """Give the log-odds that a step moves a row by at most; `change` is (N,) what it adds to each row.

        Columns without rows have no step.
        """
        moved = step if self.slots.one_hot else change
        return float(np.abs(moved).max(initial=0.0))

    def _bound(self, weights: Values) -> Values:
        """Return the sums (columns,) of the absolute values of the Gram matrix's rows."""
        sizes = np.abs(self.slots.values)
        return Slots(self.slots.ids, sizes, self.slots.size, self.slots.full).sums(weights * sizes.sum(axis=1))
