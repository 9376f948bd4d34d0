"""Pairs beside each other: what is left of a pair's evidence once the stronger pairs are in the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from deepfm_core.evidence.designs import FieldDesign
from deepfm_core.evidence.likelihood import EXACT_CELLS
from deepfm_core.evidence.main_effects import LONGEST_STEP, MainEffects, fit_main_effects
from deepfm_core.evidence.null import null_residuals, upper_tail
from deepfm_core.evidence.pair_cells import PairCells
from deepfm_core.evidence.posterior import Posterior, posterior
from deepfm_core.evidence.score_test import PairScore, Residuals, score_pair
from deepfm_core.spec.events import Report, unheard

Values = NDArray[np.float64]
Pairs = Sequence[tuple[int, int]]
Net = tuple[PairCells, NDArray[np.float32]] | None
"""What the fit of a held pair takes from every draw, (n, B) by kind of row; None without draws."""

SURE = 0.9
"""Probability of interacting from which a pair is put into the joint model."""
SIGNIFICANT = 0.01
"""And the p-value, against the null, that it must not exceed."""
MOST_HELD = 16
REFIT_SWEEPS = 4
CG_STEPS = 8


@dataclass(frozen=True)
class HeldPair:
    """A pair in the joint model.

    Attributes:
        pair: its number.
        strength: the standard deviation its cell effects are given over rows, in log-odds.
        logit: (N,) what it adds to each row.
    """

    pair: int
    strength: float
    logit: Values


@dataclass(frozen=True)
class JointScores:
    """Scores of all pairs with the held pairs in the model, a held pair being scored beside the others.

    Attributes:
        scores: P scores.
        held: the pairs in the model, in the order they came in.
        fit: the main effects beside them; its logit holds the pairs too.
    """

    scores: tuple[PairScore, ...]
    held: tuple[HeldPair, ...]
    fit: MainEffects


def joint_scores(
    designs: Sequence[FieldDesign],
    labels: Values,
    main: tuple[MainEffects, Residuals],
    pairs: Pairs,
    alone: Sequence[PairScore],
    rng: np.random.Generator,
    report: Report = unheard,
) -> JointScores:
    """Put sure pairs into the model, strongest first, and score every pair beside them.

    A pair enters as normal cell effects with the variance found for it (penalised quasi-likelihood, Breslow & Clayton
    1993). One that shares a field with a pair already in the model has to be sure beside it, too: of two pairs of which
    one stands in for the other, the stronger enters and the other fades. The null is drawn anew from the joint model,
    with cell effects of the held pairs drawn as well.

    Args:
        designs: designs the main effects were fitted to.
        labels: (N,) of 0 and 1.
        main: main effects alone, with their residuals and draws.
        pairs: P pairs of field numbers.
        alone: their scores beside main effects alone.
        rng: where the draws come from.
        report: told the share of the pairs scored beside those in the model.
    """
    fit, rows = main
    scores, held = list(alone), list[HeldPair]()
    nets: list[Net] = []
    while len(held) < MOST_HELD:
        now = posterior(likelihoods(scores))
        batch = _next_batch(pairs, now, _significant(scores), {h.pair for h in held})[: MOST_HELD - len(held)]
        if not batch:
            break
        held += [_held(rows, pairs[k], k, float(now.strength_if[k])) for k in batch]
        fit, rows, nets = _with_pairs(designs, labels, fit, rows, pairs, held, rng)
        fields = {field for h in held for field in pairs[h.pair]}
        for k in set(_sure(now)) - {h.pair for h in held}:
            if fields & set(pairs[k]):
                scores[k] = score_pair(rows, *pairs[k])
    if not held:
        return JointScores(tuple(alone), (), fit)
    for k, (a, b) in enumerate(pairs):
        report(k / len(pairs))
        place = next((i for i, h in enumerate(held) if h.pair == k), None)
        scores[k] = score_pair(rows if place is None else without_own(rows, held[place], nets[place]), a, b)
    return JointScores(tuple(scores), tuple(held), fit)


def likelihoods(scores: Sequence[PairScore]) -> Values:
    """(P, T) likelihoods of P scores."""
    return np.stack([score.likelihood for score in scores])


def _sure(now: Posterior) -> list[int]:
    return [int(k) for k in np.flatnonzero(now.probability > SURE)]


def _significant(scores: Sequence[PairScore]) -> NDArray[np.bool_]:
    """Say which pairs the drawn null finds unlikely, too: with few clicks a likelihood is sure of a single row."""
    z, skew = np.array([score.z for score in scores]), np.array([score.skew for score in scores])
    return np.asarray(upper_tail(z, skew) <= SIGNIFICANT)


def _next_batch(pairs: Pairs, now: Posterior, significant: NDArray[np.bool_], inside: set[int]) -> list[int]:
    """Take sure pairs, strongest first, that share no field with one another."""
    batch: list[int] = []
    fields: set[int] = set()
    for k in sorted({k for k in _sure(now) if significant[k]} - inside, key=lambda k: (-now.strength[k], k)):
        if not fields & set(pairs[k]):
            batch.append(k)
            fields |= set(pairs[k])
    return batch


def _held(rows: Residuals, pair: tuple[int, int], number: int, strength: float) -> HeldPair:
    """Fit one pair's cell effects, normal with the standard deviation that gives rows `strength`, to what is left."""
    cells = rows.cells(*pair)
    effects = shrunken_effects(cells, rows.pure_sums(*pair, cells), cell_penalty(cells, strength))
    logit = cells.at_rows(effects)
    # One Newton step, which overshoots where few clicks stand in cells far out.
    return HeldPair(number, strength, logit * min(1.0, LONGEST_STEP / max(float(np.abs(logit).max()), LONGEST_STEP)))


def cell_penalty(cells: PairCells, strength: float) -> float:
    """Give 1/τ² of cell effects whose sums over a row's cells have the standard deviation `strength`."""
    return float(cells.squares.mean()) / max(strength, 1e-3) ** 2


def shrunken_effects(cells: PairCells, pure: Values, penalty: float) -> Values:
    """Give (C, …) effects of cells from their pure sums W: (Cov W + I/τ²)⁻¹ W, that is W / (V + 1/τ²) for lone cells.

    The additive part's share of the covariance is left out where cells are many: it is small there.
    """
    if cells.size <= EXACT_CELLS:
        return np.asarray(cho_solve(cho_factor(cells.covariance + penalty * np.eye(cells.size)), pure))
    diagonal = cells.V + penalty if pure.ndim == 1 else (cells.V + penalty)[:, None]
    if cells.crossing.slots.one_hot:
        return np.asarray(pure / diagonal)
    return _conjugate_gradients(cells, pure, penalty, diagonal)


def _conjugate_gradients(cells: PairCells, pure: Values, penalty: float, diagonal: Values) -> Values:
    """Solve (Cov U + I/τ²) u = W for rows that stand in several cells, near enough for effects."""
    effects, residual = np.zeros_like(pure), pure.copy()
    direction = residual / diagonal
    size = (residual * direction).sum(axis=0)
    for _ in range(CG_STEPS):
        image = cells.gram @ direction + penalty * direction
        length = size / np.maximum((direction * image).sum(axis=0), 1e-300)
        effects += length * direction
        residual -= length * image
        scaled = residual / diagonal
        new = (residual * scaled).sum(axis=0)
        direction, size = scaled + new / np.maximum(size, 1e-300) * direction, new
    return effects


def _with_pairs(
    designs: Sequence[FieldDesign],
    labels: Values,
    fit: MainEffects,
    rows: Residuals,
    pairs: Pairs,
    held: Sequence[HeldPair],
    rng: np.random.Generator,
) -> tuple[MainEffects, Residuals, list[Net]]:
    """Refit the main effects beside the held pairs, and draw the null of that model."""
    offset = np.sum([h.logit for h in held], axis=0)
    fit = fit_main_effects(designs, labels, offset=offset, start=fit, sweeps=REFIT_SWEEPS)
    p = fit.probability
    draws = None if rows.draws is None else null_residuals(designs, fit, rows.draws.shape[1], rng)
    rows = Residuals(designs, labels - p, p * (1 - p), draws)
    nets: list[Net] = []
    for h in held:
        net = _net_of_draws(rows, pairs[h.pair], h.strength, rng)
        rows = rows.with_residuals(rows.residual, _added(rows, net, -1.0))
        nets.append(net)
    return fit, rows, nets


def _net_of_draws(rows: Residuals, pair: tuple[int, int], strength: float, rng: np.random.Generator) -> Net:
    """Draw cell effects of a held pair, fit them again, and give what the fit takes from every draw."""
    if rows.draws is None:
        return None
    cells = rows.cells(*pair)
    penalty = cell_penalty(cells, strength)
    drawn = rng.standard_normal((cells.size, rows.draws.shape[1])) / np.sqrt(penalty)
    signal = cells.without_additive(cells.at_kinds(drawn))
    pure = rows.pure_sums_of_draws(*pair, cells) + cells.pure_sums_of_logits(signal)
    return cells, (cells.at_kinds(shrunken_effects(cells, pure, penalty)) - signal).astype(np.float32)


def _added(rows: Residuals, net: Net, sign: float) -> NDArray[np.float32] | None:
    """Give the draws' residuals with v times what a fit takes from them added."""
    if rows.draws is None or net is None:
        return None
    cells, logits = net
    added = cells.spread(logits) * (sign * rows.weights).astype(np.float32)[:, None]
    added += rows.draws
    return added


def without_own(rows: Residuals, own: HeldPair, net: Net = None) -> Residuals:
    """Put one held pair's own part back into the residuals, and what its fit took from the draws back into those."""
    return rows.with_residuals(rows.residual + rows.weights * own.logit, _added(rows, net, 1.0))
