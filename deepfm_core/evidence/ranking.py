"""What the table itself says about interactions, without a deep model: strengths, p-values, and pairs that stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import Problem, TableError
from deepfm_core.evidence.designs import DIRECT_CODES, FieldDesign, cross, dense_designs, field_designs
from deepfm_core.evidence.joint import JointScores, joint_scores, likelihoods
from deepfm_core.evidence.likelihood import STRENGTHS
from deepfm_core.evidence.main_effects import MainEffects, fit_main_effects
from deepfm_core.evidence.null import benjamini_hochberg, null_residuals, upper_tail
from deepfm_core.evidence.posterior import over_rows, posterior
from deepfm_core.evidence.score_test import PairScore, Residuals, score_pair
from deepfm_core.evidence.verdicts import PAIR_COLUMNS
from deepfm_core.schema.labels import labelled_rows
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.events import Report, unheard, within
from deepfm_core.tables.table import Table

Values = NDArray[np.float64]

FALSE_DISCOVERY_RATE = 0.05

FADED = 0.5
"""Share of its strength alone below which a pair counts as faded beside the others."""

MOST_ROWS = 200_000
"""Rows of a longer table that are drawn; strengths then have the uncertainty of so many rows."""

DRAW_WORK = 3e9

FEWEST_DRAWS, MOST_DRAWS = 16, 128

ALONE = (0.15, 0.55)
"""Share of the work before pairs are scored, and when they have been, alone; scoring them beside others is the rest."""

COLUMNS = (
    "field_a",
    "field_b",
    "strength",
    "strength_low",
    "strength_high",
    "probability",
    "observed",
    "observed_z",
    "p_value",
    "q_value",
    "solid",
    "proxy_of",
    "support",
)


@dataclass(frozen=True)
class ObservedFit:
    """Everything the observed evidence is made of, for what builds on it.

    Attributes:
        designs: of the embedded fields, then the dense ones, over the rows used.
        labels: (N,) of the rows used.
        main: main effects alone.
        pairs: P pairs of field numbers.
        alone: their scores beside main effects alone.
        joint: their scores beside the other pairs.
    """

    designs: tuple[FieldDesign, ...]
    labels: Values
    main: MainEffects
    pairs: tuple[tuple[int, int], ...]
    alone: tuple[PairScore, ...]
    joint: JointScores


def observed_interactions(
    table: EncodedTable,
    *,
    draws: int | None = None,
    seed: int = 0,
    most_rows: int = MOST_ROWS,
    report: Report = unheard,
) -> pd.DataFrame:
    """Rank all pairs of embedded fields by what the labels say about their interaction.

    Main effects are fitted, and labels are drawn from them as the null (docs/interactions.md has the formulas). All
    strengths are standard deviations over rows, in log-odds. Cost: 12 fields × 20,000 rows about 1 s; memory a few
    arrays of rows × draws float32.

    Args:
        table: N labelled rows; all rows with a label may take part, since no model is judged by this.
        draws: label vectors drawn for the null; by default up to 128, fewer for large tables.
        seed: of the draws and of the sample of rows.
        most_rows: rows of a longer table that are sampled.
        report: told the share done, 0 … 1, as pairs are scored; it may jump, being that of the longest way.

    Returns:
        One row a pair, strongest first: `field_a`, `field_b` (in the layout's order); `strength`, the expected strength
        beside the other pairs, and the ranking this product recommends, with its 90% interval `strength_low`,
        `strength_high`; `probability` that the pair interacts; `observed`, the most likely strength of the pair by
        itself; `observed_z` and `p_value` of the score against the null, `q_value` (Benjamini-Hochberg); `solid`
        whether it is told apart from noise and stands in for no other pair; `proxy_of`, the pair `a × b` it stands in
        for, or an empty text; `support`, how many level pairs have rows.

    Raises:
        TableError: the table has no labels, or all of them are equal.
    """
    fit = fit_observed(table, draws=draws, seed=seed, most_rows=most_rows, report=report)
    return observed_frame(fit, table.layout.names)


def fit_observed(
    table: EncodedTable,
    *,
    draws: int | None = None,
    seed: int = 0,
    most_rows: int = MOST_ROWS,
    report: Report = unheard,
) -> ObservedFit:
    """Fit main effects, score all pairs alone, then beside each other; arguments as `observed_interactions`.

    One thread: the products are many and small, and threads that wait for each other take several times as long.
    """
    with threadpool_limits(1, user_api="blas"):
        return _fit_observed(table, draws, seed, most_rows, report)


def _fit_observed(table: EncodedTable, draws: int | None, seed: int, most_rows: int, report: Report) -> ObservedFit:
    labels = labels_of(table)
    rng = np.random.default_rng(seed)
    if len(table) > most_rows:
        table = table.take(np.sort(rng.choice(len(table), size=most_rows, replace=False)))
        labels = labels_of(table)
    designs = (*field_designs(table), *dense_designs(table))
    pairs = tuple(combinations(range(len(table.layout.fields)), 2))
    main = fit_main_effects(designs, labels)
    if draws is None:
        draws = int(np.clip(DRAW_WORK / max(len(table) * len(pairs), 1), FEWEST_DRAWS, MOST_DRAWS))
    p = main.probability
    noise = null_residuals(designs, main, draws, rng)
    rows = Residuals(designs, labels - p, p * (1 - p), noise)
    alone = scored_alone(rows, pairs, within(report, *ALONE))
    beside = within(report, ALONE[1], 1.0)
    joint = JointScores((), (), main)
    if pairs:
        joint = joint_scores(designs, labels, (main, rows), pairs, alone, rng, beside)
    return ObservedFit(designs, labels, main, pairs, alone, joint)


def scored_alone(rows: Residuals, pairs: Sequence[tuple[int, int]], report: Report) -> tuple[PairScore, ...]:
    """Score every pair beside main effects alone."""
    scores: list[PairScore] = []
    for a, b in pairs:
        report(len(scores) / len(pairs))
        scores.append(score_pair(rows, a, b))
    return tuple(scores)


def observed_frame(fit: ObservedFit, names: Sequence[str]) -> pd.DataFrame:
    """Make the frame of `observed_interactions` from its fit."""
    if not fit.pairs:
        return pd.DataFrame(columns=list(COLUMNS))
    alone, joint = likelihoods(fit.alone), likelihoods(fit.joint.scores)
    beside = posterior(joint)
    strength, low, high = over_rows(joint, beside, np.stack([score.row_sds for score in fit.joint.scores]))
    z = np.array([score.z for score in fit.alone])
    p_values = upper_tail(z, np.array([score.skew for score in fit.alone]))
    q_values = benjamini_hochberg(p_values)
    signal = (q_values <= FALSE_DISCOVERY_RATE) & (posterior(alone).probability > 0.5)
    proxies = proxies_of(fit, signal, beside.strength)
    frame = pd.DataFrame(
        {
            "field_a": [names[a] for a, _ in fit.pairs],
            "field_b": [names[b] for _, b in fit.pairs],
            "strength": strength,
            "strength_low": low,
            "strength_high": high,
            "probability": beside.probability,
            "observed": _spread_at(most_likely(alone), fit.alone),
            "observed_z": z,
            "p_value": p_values,
            "q_value": q_values,
            "solid": signal & (beside.probability > 0.5) & np.array([k is None for k in proxies]),
            "proxy_of": ["" if k is None else " × ".join(names[f] for f in fit.pairs[k]) for k in proxies],
            "support": [level_pairs_with_rows(fit.designs[a], fit.designs[b]) for a, b in fit.pairs],
        }
    )
    return frame.sort_values("strength", ascending=False, kind="stable", ignore_index=True)


def proxies_of(fit: ObservedFit, signal: NDArray[np.bool_], strength: Values) -> list[int | None]:
    """Name, for each pair with a signal of its own that fades beside the others, the pair it stands in for.

    A pair fades where its most likely strength falls below half of what it is alone. It stands in for the strongest
    pair in the joint model that shares a field with it and is stronger.
    """
    alone, beside = most_likely(likelihoods(fit.alone)), most_likely(likelihoods(fit.joint.scores))
    faded = signal & (beside < FADED * alone)
    held = sorted((h.pair for h in fit.joint.held), key=lambda k: -strength[k])
    named: list[int | None] = []
    for k, pair in enumerate(fit.pairs):
        sharing = [h for h in held if set(fit.pairs[h]) & set(pair) and strength[h] > strength[k]]
        named.append(sharing[0] if faded[k] and sharing else None)
    return named


def most_likely(likelihood: Values) -> Values:
    """Give the (P,) strengths of highest likelihood, by a parabola through the best of the computed ones."""
    best = likelihood.argmax(axis=1)
    inner = np.clip(best, 1, len(STRENGTHS) - 2)
    rows = np.arange(len(likelihood))
    x0, x1, x2 = (STRENGTHS[inner + step] for step in (-1, 0, 1))
    y0, y1, y2 = (likelihood[rows, inner + step] for step in (-1, 0, 1))
    bend = (y2 - y1) * (x1 - x0) - (y1 - y0) * (x2 - x1)
    lean = (y2 - y1) * (x1 - x0) * (x1 + x2) - (y1 - y0) * (x2 - x1) * (x0 + x1)
    peak = np.divide(lean, 2 * bend, out=STRENGTHS[best].copy(), where=bend < -1e-9)
    return np.where(best == 0, 0.0, np.clip(peak, x0, x2))


def _spread_at(strengths: Values, scores: Sequence[PairScore]) -> Values:
    """Give the (P,) standard deviations over rows of what was found for each pair at its strength."""
    each = zip(strengths, scores, strict=True)
    return np.array([np.interp(strength, STRENGTHS, score.row_sds[0]) for strength, score in each])


def level_pairs_with_rows(a: FieldDesign, b: FieldDesign) -> int:
    """Count the level pairs some row stands in."""
    rows, columns = a.main, b.main
    if rows.one_hot and columns.one_hot and rows.size * columns.size <= DIRECT_CODES:
        there = np.zeros(rows.size * columns.size, dtype=bool)
        there[rows.ids[:, 0] * columns.size + columns.ids[:, 0]] = True
        return int(there.sum())
    return len(cross(rows, columns).cell_a)


def labels_of(table: EncodedTable) -> Values:
    """Give the (N,) labels, which must hold both values.

    Raises:
        TableError: there are no labels, or all are equal.
    """
    if table.labels is None or len(np.unique(table.labels)) < 2:
        problem = Problem(
            "interactions need rows with label 0 and rows with label 1", "Choose a label column that has both."
        )
        raise TableError("Table", [problem])
    return table.labels.astype(np.float64)


# What a table says about its pairs, from its cells and roles, with no run and no model.


def observed_of_table(table: Table, schema: Schema, *, seed: int = 0, report: Report = unheard) -> pd.DataFrame:
    """Rank a table's pairs by what its labels say about them, telling `report` the share done.

    Returns:
        The columns of the `pairs` frame of a run (docs/store.md); those that need a model are null.

    Raises:
        SchemaError: the table does not fit the schema.
        TableError: the labels are all equal.
    """
    found = observed_interactions(rows_asked(table, schema, seed=seed), seed=seed, report=report)
    return found.reindex(columns=list(PAIR_COLUMNS))


def rows_asked(table: Table, schema: Schema, *, seed: int = 0) -> EncodedTable:
    """Encode the rows of a table that are asked: all that have a label, a sample by the seed where they are too many.

    Features are numbered by these rows, whatever part of them a run trains on: the same table and roles give the same
    answer on the page *Data*, on the command line and in every run.

    Raises:
        SchemaError: the table does not fit the schema.
    """
    rows, labels = labelled_rows(table.frame, schema.label, table.name)
    if len(rows) > MOST_ROWS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False))
        rows, labels = rows[drawn], labels[drawn]
    encoder = Encoder.fit(table.frame, schema, rows=rows, subject=table.name)
    return replace(encoder.encode(table.frame, rows=rows, subject=table.name), labels=labels)
