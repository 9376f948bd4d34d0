"""Main effects alone: a logistic model with one effect a level, shrunk as far as the labels ask for, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from deepfm_core.evidence.designs import FieldDesign, Slots
from deepfm_core.metrics.scores import sigmoid

Values = NDArray[np.float64]

SWEEPS = 30
TOLERANCE = 2e-3
"""Root mean square change of the logit in a sweep at which the fit ends."""
FIRST_VARIANCE = 0.1
LEAST_VARIANCE = 1e-4
LONGEST_STEP = 2.0
"""Log-odds a row may move in one step."""
DENSE_GRAM = 600
"""Columns of a multi-valued field up to which its effects are solved for together."""


@dataclass(frozen=True)
class MainEffects:
    """A fitted main-effects model.

    Attributes:
        names: the fields.
        base: the intercept, in log-odds.
        effects: per field (columns,) log-odds of its main design's columns.
        variances: per field, the variance its effects were found to have.
        logit: (N,) over the rows it was fitted to, any offset included.
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
        """Give the (M,) logits of other rows, by designs of the same columns."""
        parts = (design.main.at_rows(effects) for design, effects in zip(designs, self.effects, strict=True))
        return np.asarray(sum(parts, start=np.full(len(designs[0].main.ids), self.base)))


def fit_main_effects(
    designs: Sequence[FieldDesign],
    labels: Values,
    *,
    offset: Values | None = None,
    start: MainEffects | None = None,
    sweeps: int = SWEEPS,
) -> MainEffects:
    """Fit logit = offset + base + Σ main effects, effects of field f being normal with a variance σ_f² of its own.

    Fields take Newton steps in turn (block coordinate ascent of the penalised likelihood); after each, σ_f² is set to
    Σ θ² over the effective number of parameters, a fixed point of the marginal likelihood (MacKay 1992; Fellner 1986).
    Cost: 12 fields × 20,000 rows 0.05 s; memory a few arrays of N.

    Args:
        designs: F designs over N rows.
        labels: (N,) of 0 and 1.
        offset: (N,) log-odds known beforehand.
        start: a fit to begin from, of the same designs.
        sweeps: the most rounds over the fields.
    """
    known = np.zeros(len(labels)) if offset is None else offset
    blocks = [_Block.of(design.main) for design in designs]
    effects = [np.zeros(block.size) for block in blocks] if start is None else [e.copy() for e in start.effects]
    variances = [FIRST_VARIANCE] * len(blocks) if start is None else list(start.variances)
    base = _log_odds(labels) if start is None else start.base
    logit = known + base
    for block, effect in zip(blocks, effects, strict=True):
        logit += block.slots.at_rows(effect) if start is not None else 0.0
    for sweep in range(sweeps):
        largest = 0.0
        for f, block in enumerate(blocks):
            p = sigmoid(logit)
            step, variances[f] = block.step(labels - p, p * (1 - p), effects[f], variances[f], sweep > 0)
            change = block.slots.at_rows(step)
            # Far from the optimum a Newton step overshoots where clicks are rare; no logit moves far at once.
            shorter = min(1.0, LONGEST_STEP / max(float(np.abs(change).max(initial=0.0)), LONGEST_STEP))
            effects[f] += shorter * step
            change *= shorter
            logit += change
            largest = max(largest, float(np.sqrt(np.mean(change**2))))
        p = sigmoid(logit)
        shift = float((labels - p).sum() / max(float((p * (1 - p)).sum()), 1e-12))
        shift = float(np.clip(shift, -LONGEST_STEP, LONGEST_STEP))
        base, logit = base + shift, logit + shift
        if largest < TOLERANCE:
            break
    return MainEffects(tuple(d.name for d in designs), base, tuple(effects), tuple(variances), logit)


def main_effect_strengths(designs: Sequence[FieldDesign], fit: MainEffects) -> pd.DataFrame:
    """Give each field's main effect as the standard deviation over rows of its part of the logit.

    Returns:
        `field`, `observed_main_effect` (log-odds).
    """
    strengths = [
        float(np.std(design.main.at_rows(effects))) for design, effects in zip(designs, fit.effects, strict=True)
    ]
    return pd.DataFrame({"field": list(fit.names), "observed_main_effect": strengths})


def _log_odds(labels: Values) -> float:
    share = (labels.sum() + 0.5) / (len(labels) + 1.0)
    return float(np.log(share / (1 - share)))


@dataclass(frozen=True)
class _Block:
    """One field's columns and how a Newton step is solved over them."""

    slots: Slots
    size: int
    dense: bool

    @classmethod
    def of(cls, slots: Slots) -> _Block:
        return cls(slots, slots.size, not slots.one_hot and slots.size <= DENSE_GRAM)

    def step(
        self, residual: Values, weights: Values, effects: Values, variance: float, learn: bool
    ) -> tuple[Values, float]:
        """Give the Newton step of the effects and the variance after it."""
        gradient = self.slots.sums(residual) - effects / variance
        if self.dense:
            columns = self.slots.matrix
            gram = (columns.T @ self.slots.weighted(weights)).toarray()
            factor = cho_factor(gram + np.eye(self.size) / variance)
            step = cho_solve(factor, gradient)
            fitted = self.size - float(np.trace(cho_solve(factor, np.eye(self.size)))) / variance
        else:
            # Rows with several values: the row sums of the Gram matrix bound it, so that a step never overshoots.
            curvature = self.slots.sums(weights if self.slots.one_hot else weights * self.slots.values.sum(axis=1))
            step = gradient / (curvature + 1 / variance)
            fitted = float((curvature / (curvature + 1 / variance)).sum())
        if learn:
            variance = max(float(((effects + step) ** 2).sum()) / max(fitted, 1e-9), LEAST_VARIANCE)
        return np.asarray(step), variance
