"""Pairs beside each other: what is left of a pair's evidence once the stronger pairs are in the model.

Start with `joint_scores`. The pairs in the model are called *held*. In shapes: N rows, n kinds of rows, C cells of a
pair, P pairs, T strengths, B draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfm_core.evidence.designs import FieldDesign, determined, level_pairs_with_rows
from deepfm_core.evidence.main_effects import LONGEST_STEP, MainEffects, fit_main_effects
from deepfm_core.evidence.pair_cells import PairCells
from deepfm_core.evidence.posterior import EXACT_CELLS, Posterior, posterior
from deepfm_core.evidence.score_test import PairScore, Residuals, null_residuals, score_pair, upper_tail
from deepfm_core.evidence.solving import factored, solved
from deepfm_core.spec.events import Report, unheard

Values = NDArray[np.float64]
Pairs = Sequence[tuple[int, int]]
Net = tuple[PairCells, NDArray[np.float32]] | None
"""A held pair's cells, and the logit (n, B) that its fit takes from every draw; None without draws."""

SURE = 0.9
"""A pair whose probability of interacting exceeds this may enter the joint model."""
SIGNIFICANT = 0.01
"""Its p-value against the null must not exceed this, either."""
MOST_HELD = 16
"""Most pairs in the joint model, which bounds the time of its refits and draws."""
REFIT_SWEEPS = 4
"""Sweeps of a refit of the main effects: it starts from the last fit, so a few are enough."""
TIED = 6
"""Decimals of a log-likelihood that count: of pairs as likely as each other, as those of a field and of its copy are,
the first one enters on every processor."""
CG_STEPS = 8


@dataclass(frozen=True)
class HeldPair:
    """A pair in the joint model.

    Attributes:
        pair: its number.
        strength: the prior standard deviation of its cell effects over rows, in log-odds.
        logit: (N,) what it adds to each row.
    """

    pair: int
    strength: float
    logit: Values


@dataclass(frozen=True)
class JointScores:
    """Scores of all pairs with the held pairs in the model; a held pair is scored beside the other ones.

    Attributes:
        scores: P scores.
        held: the pairs in the model, in the order they came in.
        fit: the main effects beside them; its logit includes the pairs.
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
    kin: Kin,
    rng: np.random.Generator,
    report: Report = unheard,
    *,
    least: float = 0.0,
    others: int = 0,
) -> JointScores:
    """Put sure pairs into the model, most likely first, and score every pair beside them.

    A pair enters as normal cell effects with the variance estimated for it (penalised quasi-likelihood, Breslow &
    Clayton 1993). A pair that meets a held pair (`Kin`) must be sure beside that pair, too: if one of them stands in
    for the other, the likelier enters and the other fades. Cities carry the strength of their country's pairs in more
    cells: likelihood tells the two apart, strength does not. The null is drawn again from the joint model, with the
    cell effects of the held pairs drawn as well.

    Args:
        designs: designs the main effects were fitted to.
        labels: (N,) of 0 and 1.
        main: main effects alone, with their residuals and draws.
        pairs: P pairs of field numbers.
        alone: their scores beside main effects alone.
        kin: which fields determine each other.
        rng: the random numbers.
        report: called with the share of pairs that have been scored beside the held ones.
        least: pairs that interact with a smaller probability, alone, keep that score.
        others: how many pairs there are beside these, which a first look has found to say nothing.
    """
    fit, rows = main
    scores, held = list(alone), list[HeldPair]()
    nets: list[Net] = []
    while len(held) < MOST_HELD:
        likelihood = likelihoods(scores)
        now, inside = posterior(likelihood, others=others), {h.pair for h in held}
        batch = _next_batch(pairs, _sure(now, scores) - inside, likelihood.max(axis=1), kin)[: MOST_HELD - len(held)]
        if not batch:
            break
        # The pairs of a batch do not meet, so none of them can stand in for another.
        held += [_held(rows, pairs[k], k, float(now.strength_if[k])) for k in batch]
        fit, rows, nets = _with_pairs(designs, labels, fit, rows, pairs, held, rng)
        # A pair that meets a held pair must be sure beside it, too: score it again.
        fields = kin.fields_of(pairs[h.pair] for h in held)
        for k in set(_probable(now)) - {h.pair for h in held}:
            if fields & set(pairs[k]):
                scores[k] = score_pair(rows, *pairs[k])
    if not held:
        return JointScores(tuple(alone), (), fit)
    looked_at = posterior(likelihoods(alone), others=others).probability >= least
    for k, (a, b) in enumerate(pairs):
        report(k / len(pairs))
        if not looked_at[k]:
            continue
        place = next((i for i, h in enumerate(held) if h.pair == k), None)
        scores[k] = score_pair(rows if place is None else without_own(rows, held[place], nets[place]), a, b)
    return JointScores(tuple(scores), tuple(held), fit)


def likelihoods(scores: Sequence[PairScore]) -> Values:
    """(P, T) likelihoods of P scores."""
    return np.stack([score.likelihood for score in scores])


@dataclass(frozen=True)
class Kin:
    """Which fields determine each other, as a city determines its country.

    Two pairs *meet* if they share a field, or if a field of one is kin to a field of the other. Either may then stand
    in for the other.

    Attributes:
        of_field: the fields that each field determines, or is determined by, where there are any.
    """

    of_field: Mapping[int, frozenset[int]]

    @classmethod
    def of(cls, pairs: Pairs, determined: NDArray[np.bool_]) -> Kin:
        """Find the fields from P pairs, of which the (P,) `determined` say whether one field determines the other."""
        found: dict[int, set[int]] = {}
        for (a, b), are_kin in zip(pairs, determined, strict=True):
            if are_kin:
                found.setdefault(a, set()).add(b)
                found.setdefault(b, set()).add(a)
        return cls({field: frozenset(others) for field, others in found.items()})

    def fields_of(self, pairs: Iterable[tuple[int, int]]) -> set[int]:
        """Give the fields that a pair meeting one of these `pairs` has one of."""
        fields = {field for pair in pairs for field in pair}
        return fields.union(*(self.of_field.get(field, frozenset()) for field in fields))


@dataclass(frozen=True)
class Related:
    """How the fields of P pairs stand to each other.

    Attributes:
        support: P numbers of level pairs that have rows.
        determined: (P,) whether one field's level is known once the other's is.
        kin: which fields determine each other.
    """

    support: tuple[int, ...]
    determined: NDArray[np.bool_]
    kin: Kin

    @classmethod
    def of(cls, designs: Sequence[FieldDesign], pairs: Pairs) -> Related:
        """Find it from the rows of the designs."""
        support = tuple(level_pairs_with_rows(designs[a], designs[b]) for a, b in pairs)
        known = determined(designs, pairs, support)
        return cls(support, known, Kin.of(pairs, known))


def _probable(now: Posterior) -> list[int]:
    return [int(k) for k in np.flatnonzero(now.probability > SURE)]


def _sure(now: Posterior, scores: Sequence[PairScore]) -> set[int]:
    """Name the probable pairs that the drawn null rejects, too: with few clicks, a row can convince a likelihood."""
    z, skew = np.array([score.z for score in scores]), np.array([score.skew for score in scores])
    significant = upper_tail(z, skew) <= SIGNIFICANT
    return {k for k in _probable(now) if significant[k]}


def _next_batch(pairs: Pairs, sure: set[int], likely: Values, kin: Kin) -> list[int]:
    """Choose sure pairs, those with the highest of the (P,) log-likelihoods first, no two of which meet."""
    batch: list[int] = []
    fields: set[int] = set()
    for k in sorted(sure, key=lambda k: (-round(float(likely[k]), TIED), k)):
        if not fields & set(pairs[k]):
            batch.append(k)
            fields |= kin.fields_of([pairs[k]])
    return batch


def _held(rows: Residuals, pair: tuple[int, int], number: int, strength: float) -> HeldPair:
    """Fit one pair's cell effects to the residuals; their prior gives rows the standard deviation `strength`."""
    cells = rows.cells(*pair)
    effects = shrunken_effects(cells, rows.pure_sums(*pair, cells), cell_penalty(cells, strength))
    logit = cells.at_rows(effects)
    # One Newton step. It overshoots where a few clicks lie in extreme cells, so no row moves further than LONGEST_STEP.
    return HeldPair(number, strength, logit * min(1.0, LONGEST_STEP / max(float(np.abs(logit).max()), LONGEST_STEP)))


def cell_penalty(cells: PairCells, strength: float) -> float:
    """Return the precision 1/τ² of cell effects that give rows the standard deviation `strength`."""
    return float(cells.squares.mean()) / max(strength, 1e-3) ** 2


def shrunken_effects(cells: PairCells, pure: Values, penalty: float) -> Values:
    """Return the posterior mean (C, …) of cell effects from their pure sums W: (Cov W + I/τ²)⁻¹ W.

    For independent cells that is W / (V + 1/τ²). With more than `EXACT_CELLS` cells, the small covariance that removing
    the additive part leaves between cells is ignored.
    """
    if cells.size <= EXACT_CELLS:
        return np.asarray(solved(factored(cells.covariance + penalty * np.eye(cells.size)), pure))
    diagonal = cells.V + penalty if pure.ndim == 1 else (cells.V + penalty)[:, None]
    if cells.crossing.slots.one_hot:
        return np.asarray(pure / diagonal)
    return _conjugate_gradients(cells, pure, penalty, diagonal)


def _conjugate_gradients(cells: PairCells, pure: Values, penalty: float, diagonal: Values) -> Values:
    """Solve (Cov U + I/τ²) u = W approximately, for rows that are in several cells each."""
    effects, residual = np.zeros_like(pure), pure.copy()
    direction = residual / diagonal
    size = (residual * direction).sum(axis=0)
    for _ in range(CG_STEPS):
        image = cells.gram @ direction + penalty * direction  # (C, …)
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
    offset = np.sum([h.logit for h in held], axis=0)  # (N,)
    fit = fit_main_effects(designs, labels, offset=offset, start=fit, sweeps=REFIT_SWEEPS)
    p = fit.probability
    draws = None if rows.draws is None else null_residuals(designs, fit, rows.draws.shape[1], rng)
    # Draws now come from main effects and held pairs together, so both are refitted to each draw.
    rows = Residuals(designs, labels - p, p * (1 - p), draws)
    nets: list[Net] = []
    for h in held:
        net = _net_of_draws(rows, pairs[h.pair], h.strength, rng)
        rows = rows.with_residuals(rows.residual, _added(rows, net, -1.0))
        nets.append(net)
    return fit, rows, nets


def _net_of_draws(rows: Residuals, pair: tuple[int, int], strength: float, rng: np.random.Generator) -> Net:
    """Draw a held pair's cell effects, fit them to each draw, and return the fitted minus the drawn logit."""
    if rows.draws is None:
        return None
    cells = rows.cells(*pair)
    penalty = cell_penalty(cells, strength)
    drawn = rng.standard_normal((cells.size, rows.draws.shape[1])) / np.sqrt(penalty)  # (C, B)
    signal = cells.without_additive(cells.at_kinds(drawn))  # (n, B)
    pure = rows.pure_sums_of_draws(*pair, cells) + cells.pure_sums_of_logits(signal)  # (C, B)
    return cells, (cells.at_kinds(shrunken_effects(cells, pure, penalty)) - signal).astype(np.float32)


def _added(rows: Residuals, net: Net, sign: float) -> NDArray[np.float32] | None:
    """Add ±v times the logit of `net` to the draws' residuals (N, B), which is its effect to first order."""
    if rows.draws is None or net is None:
        return None
    cells, logits = net
    added = cells.spread(logits) * (sign * rows.weights).astype(np.float32)[:, None]
    added += rows.draws
    return added


def without_own(rows: Residuals, own: HeldPair, net: Net = None) -> Residuals:
    """Put a held pair's own effects back into residuals and draws, so that it is scored beside the other pairs."""
    return rows.with_residuals(rows.residual + rows.weights * own.logit, _added(rows, net, 1.0))
