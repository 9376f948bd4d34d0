"""What the labels of a table say about its interactions, without a model: strengths, p-values and proxies.

Start with `observed_interactions` for an encoded table, or `observed_of_table` for a table and its schema.
docs/interactions.md explains the method and its formulas. In shapes: N rows, P pairs, T strengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import Problem, TableError
from deepfm_core.evidence.designs import (
    FieldDesign,
    dense_designs,
    field_designs,
    take_rows,
)
from deepfm_core.evidence.first_look import first_look
from deepfm_core.evidence.joint import JointScores, Related, joint_scores, likelihoods
from deepfm_core.evidence.main_effects import MainEffects, fit_main_effects
from deepfm_core.evidence.posterior import STRENGTHS, over_rows, posterior
from deepfm_core.evidence.score_test import (
    PairScore,
    Residuals,
    benjamini_hochberg,
    null_residuals,
    score_pair,
    upper_tail,
)
from deepfm_core.evidence.verdicts import FEWEST, PAIR_COLUMNS
from deepfm_core.schema.copies import learned_rows
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.events import Report, unheard, within
from deepfm_core.tables.table import Table

Values = NDArray[np.float64]

FALSE_DISCOVERY_RATE = 0.05
"""Share of false ones among the pairs called significant, on average (Benjamini & Hochberg 1995)."""

FADED = 0.5
"""A pair has faded if, beside the others, its strength is below this share of its strength alone."""

MOST_ROWS = 200_000
"""Rows used of a longer table. The intervals of its strengths are then those of a sample of this size."""

DRAW_WORK = 3e9
"""Rows × pairs × draws that the number of draws is chosen by, within the limits below."""

FEWEST_DRAWS, MOST_DRAWS = 16, 128

MOST_TESTED = 1000
"""Pairs that are tested at most. Of more, a first look chooses those worth it; 45 fields have 990."""

LIKELY = 0.03
"""Pairs that interact with a smaller probability, alone, are not scored beside the others: of a wide table, and of one
for which fewer than `MOST_DRAWS` are drawn."""

LOOK_WORK = 5e9
"""Products that a first look may take: half of rows × (columns of a row)². Of longer tables, it samples rows."""

LOOKED = 0.02
"""Progress when a first look begins, which ends when the scores alone begin."""

ALONE = (0.15, 0.55)
"""Progress when the scores of the pairs alone begin and end; scoring them beside each other is the rest."""

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
    "significant",
    "proxy_of",
    "support",
)


@dataclass(frozen=True)
class ObservedFit:
    """The fits and scores that the observed evidence is made of.

    Attributes:
        designs: of the embedded fields, then of the dense ones, over the rows used.
        labels: (N,) of the rows used.
        main: main effects alone.
        pairs: the P pairs of field numbers that were tested.
        alone: their scores beside main effects alone.
        joint: their scores beside the other pairs.
        fields: how many fields have pairs.
        related: how the fields of the tested pairs stand to each other.
    """

    designs: tuple[FieldDesign, ...]
    labels: Values
    main: MainEffects
    pairs: tuple[tuple[int, int], ...]
    alone: tuple[PairScore, ...]
    joint: JointScores
    fields: int
    related: Related

    @property
    def others(self) -> list[tuple[int, int]]:
        """The pairs that a first look did not choose, which were not tested."""
        tested = set(self.pairs)
        return [pair for pair in combinations(range(self.fields), 2) if pair not in tested]


Known: TypeAlias = tuple[tuple[FieldDesign, ...], MainEffects]
"""The designs of all rows of a table, of embedded fields and then of dense ones, and main effects fitted to them."""


def observed_interactions(
    table: EncodedTable,
    *,
    draws: int | None = None,
    seed: int = 0,
    most_rows: int = MOST_ROWS,
    report: Report = unheard,
) -> pd.DataFrame:
    """Rank all pairs of embedded fields by what the labels say about their interaction.

    Fit main effects, draw labels from them as the null, and score each pair against it (docs/interactions.md has the
    formulas). Strengths are standard deviations over rows, in log-odds. Of more than `MOST_TESTED` pairs, a first look
    chooses those that are tested, and those that are likely by themselves are scored beside each other; false
    discoveries are counted among all pairs. Cost: 12 fields × 20,000 rows about 1 s, 300 fields × 2,000 rows about 6 s;
    memory a few arrays of rows × draws float32.

    Args:
        table: N labelled rows. Test rows may be among them: this judges no model.
        draws: label vectors drawn for the null; by default up to 128, fewer for large tables.
        seed: of the draws and of the sample of rows.
        most_rows: rows of a longer table that are sampled.
        report: called with the share done, 0 … 1. It jumps ahead if no pair enters the joint model.

    Returns:
        One row per pair, strongest first; of a pair that was not tested, only its fields and `significant` = False:

        - `field_a`, `field_b`, in the layout's order;
        - `strength`, the expected strength beside the other pairs, which is the recommended ranking, and its 90%
          interval `strength_low` to `strength_high`;
        - `probability` that the pair interacts;
        - `observed`, the most likely strength of the pair alone;
        - `observed_z` and `p_value` of the score against the null, and `q_value` (Benjamini & Hochberg 1995);
        - `significant`, whether the pair is clear above noise and no proxy for another pair; with fewer than `FEWEST`
          rows of the rarer label, no pair is;
        - `proxy_of`, the pair `a × b` that it stands in for, or an empty text;
        - `support`, the number of level pairs that have rows.

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
    least: float = 0.0,
    pairs: Sequence[tuple[int, int]] | None = None,
    known: Known | None = None,
) -> ObservedFit:
    """Fit main effects, score all pairs alone, then beside each other; arguments as for `observed_interactions`.

    Pairs that interact with a smaller probability than `least`, alone, are not scored beside the others. Only `pairs`
    are scored, if given, or else those that a first look chooses; the rest of all pairs count as ones that say nothing.
    `known` are the designs and main effects of all rows, where there are any.

    It runs in one BLAS thread. The products are many and small, and with more threads they take several times as long.
    """
    with threadpool_limits(1, user_api="blas"):
        return _fit_observed(table, draws, seed, most_rows, report, least, pairs, known)


def _fit_observed(
    table: EncodedTable,
    draws: int | None,
    seed: int,
    most_rows: int,
    report: Report,
    least: float,
    chosen: Sequence[tuple[int, int]] | None,
    known: Known | None,
) -> ObservedFit:
    labels = labels_of(table)
    rng = np.random.default_rng(seed)
    if len(table) > most_rows:
        table = table.take(np.sort(rng.choice(len(table), size=most_rows, replace=False)))
        labels = labels_of(table)
    if known is None:
        designs = (*field_designs(table), *dense_designs(table))
        main = fit_main_effects(designs, labels)
    else:
        designs, main = known
    fields = len(table.layout.fields)
    every = tuple(combinations(range(fields), 2))
    if chosen is None and len(every) > MOST_TESTED:
        chosen = _worth_testing(designs[:fields], labels, main, seed, within(report, LOOKED, ALONE[0]))
        least = max(least, LIKELY)
    pairs = every if chosen is None else tuple(chosen)
    if draws is None:
        affordable = DRAW_WORK / max(len(table) * len(pairs), 1)
        least = max(least, LIKELY) if affordable < MOST_DRAWS else least
        draws = int(np.clip(affordable, FEWEST_DRAWS, MOST_DRAWS))
    p = main.probability
    noise = null_residuals(designs, main, draws, rng)  # (N, draws)
    rows = Residuals(designs, labels - p, p * (1 - p), noise)
    alone = scored_alone(rows, pairs, within(report, *ALONE))
    beside = within(report, ALONE[1], 1.0)
    related = Related.of(designs, pairs)
    joint = JointScores((), (), main)
    if pairs:
        joint = joint_scores(
            designs,
            labels,
            (main, rows),
            pairs,
            alone,
            related.kin,
            rng,
            beside,
            least=least,
            others=len(every) - len(pairs),
        )
    return ObservedFit(designs, labels, main, pairs, alone, joint, fields, related)


def _worth_testing(
    designs: Sequence[FieldDesign], labels: Values, main: MainEffects, seed: int, report: Report
) -> list[tuple[int, int]]:
    """Take a first look at all pairs, at as many of the rows as `LOOK_WORK` allows."""
    p, of_row = main.probability, sum(design.crossed.ids.shape[1] for design in designs)
    residual, weights, most = labels - p, p * (1 - p), int(2 * LOOK_WORK / of_row**2)
    if len(labels) > most:
        rows = np.sort(np.random.default_rng(seed).choice(len(labels), most, replace=False))
        designs, residual, weights = take_rows(designs, rows), residual[rows], weights[rows]
    return first_look(designs, residual, weights, MOST_TESTED, report)


def progress_said(share: float, pairs: int) -> str:
    """Say how far `observed_interactions` is with a table of so many pairs, from the share that it reports."""
    tested, (begun, alone) = min(pairs, MOST_TESTED), ALONE
    if share < begun:
        return f"a first look at {pairs:,} pairs" if pairs > tested else "main effects"
    if share < alone:
        return f"testing pairs, {round((share - begun) / (alone - begun) * tested):,} of {tested:,}"
    return f"testing pairs beside the clear ones, {round((share - alone) / (1 - alone) * tested):,} of {tested:,}"


def scored_alone(rows: Residuals, pairs: Sequence[tuple[int, int]], report: Report) -> tuple[PairScore, ...]:
    """Score every pair beside main effects alone."""
    scores: list[PairScore] = []
    for a, b in pairs:
        report(len(scores) / len(pairs))
        scores.append(score_pair(rows, a, b))
    return tuple(scores)


def observed_frame(fit: ObservedFit, names: Sequence[str]) -> pd.DataFrame:
    """Turn a fit into the frame that `observed_interactions` returns."""
    if not fit.pairs:
        return pd.DataFrame(columns=list(COLUMNS))
    alone, joint = likelihoods(fit.alone), likelihoods(fit.joint.scores)
    others = len(fit.others)
    beside = posterior(joint, others=others)
    strength, low, high = over_rows(joint, beside, np.stack([score.row_sds for score in fit.joint.scores]))
    z = np.array([score.z for score in fit.alone])
    p_values = upper_tail(z, np.array([score.skew for score in fit.alone]))
    # A pair that was not tested counts with a p-value of 1, so a first look adds no false discoveries.
    q_values = benjamini_hochberg(np.concatenate([p_values, np.ones(others)]))[: len(p_values)]
    # Two conditions: the score test rejects the null, and the likelihood believes in an interaction.
    signal = (q_values <= FALSE_DISCOVERY_RATE) & (posterior(alone, others=others).probability > 0.5)
    proxies = proxies_of(fit, signal, beside.strength)
    # Where one field determines the other, all that the pair could add is a main effect: it has no strength.
    free = ~fit.related.determined
    enough = min(fit.labels.sum(), len(fit.labels) - fit.labels.sum()) >= FEWEST
    frame = pd.DataFrame(
        {
            "field_a": [names[a] for a, _ in fit.pairs],
            "field_b": [names[b] for _, b in fit.pairs],
            "strength": strength * free,
            "strength_low": low * free,
            "strength_high": high * free,
            "probability": beside.probability * free,
            "observed": _spread_at(most_likely(alone), fit.alone) * free,
            "observed_z": z,
            "p_value": p_values,
            "q_value": q_values,
            "significant": signal & (beside.probability > 0.5) & np.array([k is None for k in proxies]) & free & enough,
            "proxy_of": ["" if k is None else " × ".join(names[f] for f in fit.pairs[k]) for k in proxies],
            "support": list(fit.related.support),
        }
    )
    ranked = frame.sort_values("strength", ascending=False, kind="stable", ignore_index=True)
    return pd.concat([ranked, _not_tested(fit, names)], ignore_index=True) if others else ranked


def _not_tested(fit: ObservedFit, names: Sequence[str]) -> pd.DataFrame:
    """Name the pairs that were only looked at: not clear, and nothing else is known of them."""
    a, b = zip(*fit.others, strict=True)
    named = {"field_a": [names[f] for f in a], "field_b": [names[f] for f in b]}
    unknown = {column: np.nan for column in COLUMNS if column not in named}
    return pd.DataFrame(named | unknown | {"significant": False, "proxy_of": ""}, columns=list(COLUMNS))


def proxies_of(fit: ObservedFit, signal: NDArray[np.bool_], strength: Values) -> list[int | None]:
    """Name the pair that each pair stands in for: P pair numbers, None for a pair that is no proxy.

    A proxy has a signal alone and fades beside the others: its most likely strength falls below half of its strength
    alone. It stands in for the strongest pair of the joint model that meets it (`Kin`) and is stronger than it.
    """
    alone, beside = most_likely(likelihoods(fit.alone)), most_likely(likelihoods(fit.joint.scores))
    faded = signal & (beside < FADED * alone)
    held = sorted((h.pair for h in fit.joint.held), key=lambda k: -strength[k])
    named: list[int | None] = []
    for k, pair in enumerate(fit.pairs):
        met = fit.related.kin.fields_of([pair])
        meeting = [h for h in held if met & set(fit.pairs[h]) and strength[h] > strength[k]]
        named.append(meeting[0] if faded[k] and meeting else None)
    return named


def most_likely(likelihood: Values) -> Values:
    """Return the (P,) most likely strengths, by a parabola through the best of `STRENGTHS` and its neighbours."""
    best = likelihood.argmax(axis=1)
    inner = np.clip(best, 1, len(STRENGTHS) - 2)
    rows = np.arange(len(likelihood))
    x0, x1, x2 = (STRENGTHS[inner + step] for step in (-1, 0, 1))
    y0, y1, y2 = (likelihood[rows, inner + step] for step in (-1, 0, 1))
    bend = (y2 - y1) * (x1 - x0) - (y1 - y0) * (x2 - x1)  # below 0 where the parabola has a peak
    lean = (y2 - y1) * (x1 - x0) * (x1 + x2) - (y1 - y0) * (x2 - x1) * (x0 + x1)
    peak = np.divide(lean, 2 * bend, out=STRENGTHS[best].copy(), where=bend < -1e-9)
    return np.where(best == 0, 0.0, np.clip(peak, x0, x2))


def _spread_at(strengths: Values, scores: Sequence[PairScore]) -> Values:
    """Return the (P,) standard deviations over rows of each pair's effects at its strength."""
    each = zip(strengths, scores, strict=True)
    return np.array([np.interp(strength, STRENGTHS, score.row_sds[0]) for strength, score in each])


def labels_of(table: EncodedTable) -> Values:
    """Return the (N,) labels as 0 and 1; both must occur.

    Raises:
        TableError: there are no labels, or all are equal.
    """
    if table.labels is None or len(np.unique(table.labels)) < 2:
        problem = Problem(
            "interactions need rows with label 0 and rows with label 1", "Choose a label column that has both."
        )
        raise TableError("Table", [problem])
    return table.labels.astype(np.float64)


# The same for a table that is not encoded yet: the page *Data*, the command line and every run start here.


def observed_of_table(table: Table, schema: Schema, *, seed: int = 0, report: Report = unheard) -> pd.DataFrame:
    """Rank a table's pairs by what its labels say about them, and call `report` with the share done.

    Returns:
        The columns of a run's `pairs` frame (docs/store.md). Those that need a model are null.

    Raises:
        SchemaError: the table does not fit the schema.
        TableError: the labels are all equal.
    """
    ranked = observed_interactions(rows_asked(table, schema, seed=seed), seed=seed, report=report)
    return ranked.reindex(columns=list(PAIR_COLUMNS))


def rows_asked(table: Table, schema: Schema, *, seed: int = 0) -> EncodedTable:
    """Encode the rows that evidence is taken from: all rows to learn from, or a sample of them if they are too many.

    Vocabularies come from these rows, whichever of them a run trains on. So the same table and roles give the same
    evidence on the page *Data*, on the command line and in every run.

    Raises:
        SchemaError: the table does not fit the schema.
    """
    rows, labels = learned_rows(table.frame, schema, table.name)
    if len(rows) > MOST_ROWS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False))
        rows, labels = rows[drawn], labels[drawn]
    encoder = Encoder.fit(table.frame, schema, rows=rows, subject=table.name)
    return replace(encoder.encode(table.frame, rows=rows, subject=table.name), labels=labels)
