"""Differences between models on the same rows, with 95% intervals, in numpy alone; also those of a component ladder.

Use `logloss_difference` for two models with one seed each, `compare_paired` for several models with several seeds, and
`ladder` for the parts of one model's logit. In shapes: N rows, M models, S seeds of a model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.metrics.scores import Z95, auc, auc_by_row, evaluate, logloss_by_row


@dataclass(frozen=True)
class Difference:
    """A difference with its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the difference is clear above noise: its interval does not contain 0."""
        return self.low > 0 or self.high < 0

    def __neg__(self) -> Difference:
        """Give the difference the other way round."""
        return Difference(-self.value, -self.high, -self.low)


def logloss_difference(
    labels: NDArray[np.floating], logits: NDArray[np.floating], other_logits: NDArray[np.floating]
) -> Difference:
    """Return one model's logloss minus another's on the same N rows, in nats; below 0 the first model is better.

    The interval is that of the mean of the row-by-row differences. It is far narrower than the intervals of the two
    loglosses, because both models find the same rows hard.

    Args:
        labels: (N,) of 0 and 1, N at least 2.
        logits: (N,) log-odds of the first model.
        other_logits: (N,) log-odds of the other model.
    """
    differences = logloss_by_row(labels, logits) - logloss_by_row(labels, other_logits)  # (N,)
    value, half = float(differences.mean()), Z95 * float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return Difference(value, value - half, value + half)


# Several models and seeds: the difference of each from the best, with intervals by a paired bootstrap.

Floats = NDArray[np.float64]

DRAWS, FEWEST_DRAWS = 2000, 200
"""Bootstrap draws for short tables, and for long ones. 200 draws put 5 beyond each end of a 95% interval."""

_DRAWN_ROWS = 200_000_000
"""Rows × draws, which bounds the time."""

_AT_ONCE = 4_000_000
"""Rows × draws kept at a time, which bounds the memory."""


@dataclass(frozen=True)
class ModelScores:
    """One metric of one model.

    Attributes:
        by_seed: its value for each seed.
        difference: its mean minus that of the best model; None for the best model.
    """

    by_seed: tuple[float, ...]
    difference: Difference | None

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.by_seed))

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; None for a single seed."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None


def compare_paired(
    labels: NDArray[np.floating],
    logits: Mapping[str, Sequence[NDArray[np.floating]]],
    *,
    candidates: Sequence[str] | None = None,
    draws: int | None = None,
    seed: int = 0,
) -> dict[str, dict[str, ModelScores]]:
    """Return `auc` and `logloss` of each model, and its difference from the best model with a 95% interval.

    Rows are drawn with replacement for all models together, seeds for each model. The AUC of a draw is a mean of the
    rows' placements (DeLong et al. 1988), which is the exact bootstrap to first order and far faster.

    Args:
        labels: (N,) of 0 and 1.
        logits: by model, (N,) log-odds for each of its seeds.
        candidates: the models that may be called the best; all by default.
        draws: the number of bootstrap draws; by default fewer for many rows.
        seed: of the draws.

    Returns:
        `Judged` by metric and model; `auc` is left out if a class is absent.
    """
    truth = np.asarray(labels, dtype=np.float64)  # (N,)
    clicks = truth > 0.5
    seeds = [len(of_model) for of_model in logits.values()]
    values = [row for of_model in logits.values() for row in of_model]  # one (N,) per model and seed
    scores = {"logloss": np.stack([logloss_by_row(truth, z) for z in values], axis=1)}  # (N, all seeds)
    exact = {"logloss": scores["logloss"].mean(0)}
    if clicks.any() and not clicks.all():
        scores["auc"] = np.stack([auc_by_row(truth, z) for z in values], axis=1)
        exact["auc"] = np.array([auc(truth, z) for z in values])
    drawn = _drawn(scores, clicks, seeds, draws or draws_for(len(truth)), seed)
    names = list(logits)
    may_win = [names.index(name) for name in candidates or names]
    return {metric: _evaluated(names, seeds, exact[metric], drawn[metric], may_win, metric) for metric in scores}


def draws_for(rows: int) -> int:
    """Return the number of bootstrap draws for N rows."""
    return int(np.clip(_DRAWN_ROWS // max(rows, 1), FEWEST_DRAWS, DRAWS))


def _evaluated(
    names: list[str], seeds: list[int], exact: Floats, drawn: Floats, may_win: list[int], metric: str
) -> dict[str, ModelScores]:
    ends = np.cumsum(seeds)
    by_seed = [tuple(map(float, exact[end - count : end])) for end, count in zip(ends, seeds, strict=True)]
    means = np.array([np.mean(values) for values in by_seed])
    best = (max if metric == "auc" else min)(may_win, key=lambda place: float(means[place]))
    low, high = np.quantile(drawn - drawn[:, [best]], [0.025, 0.975], axis=0)
    return {
        name: ModelScores(
            by_seed[place],
            None
            if place == best
            else Difference(float(means[place] - means[best]), float(low[place]), float(high[place])),
        )
        for place, name in enumerate(names)
    }


def _drawn(
    scores: Mapping[str, Floats], clicks: NDArray[np.bool_], seeds: list[int], draws: int, seed: int
) -> dict[str, Floats]:
    """Draw rows and seeds with replacement, and return each model's mean by metric: (draws, M)."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Floats]] = {metric: [] for metric in scores}
    for counts in _row_counts(rng, len(clicks), draws):
        shares = _seed_shares(rng, seeds, len(counts))
        for metric, by_row in scores.items():
            if metric == "auc":
                # Both class means estimate the AUC. Varying each on its own and adding them gives its variance:
                # mean over clicks + mean over others − AUC.
                means = _mean(counts[:, clicks], by_row[clicks]) + _mean(counts[:, ~clicks], by_row[~clicks])
                means -= by_row[clicks].mean(0)
            else:
                means = _mean(counts, by_row)
            starts = np.concatenate([[0], np.cumsum(seeds)[:-1]])
            parts[metric].append(np.add.reduceat(means * shares, starts, axis=1))
    return {metric: np.concatenate(drawn) for metric, drawn in parts.items()}


def _mean(counts: NDArray[np.float32], by_row: Floats) -> Floats:
    sums = counts @ by_row.astype(np.float32)
    return np.asarray(sums / np.maximum(counts.sum(1, keepdims=True), 1.0), dtype=np.float64)


def _row_counts(rng: np.random.Generator, rows: int, draws: int) -> Iterator[NDArray[np.float32]]:
    """Yield how often each row is drawn, in blocks of draws: (draws, N) each."""
    at_once = max(1, _AT_ONCE // max(rows, 1))
    for start in range(0, draws, at_once):
        some = min(at_once, draws - start)
        # Each draw gets its own range of numbers, so one bincount counts them all.
        places = rng.integers(0, rows, (some, rows)) + rows * np.arange(some)[:, None]
        yield np.bincount(places.ravel(), minlength=some * rows).reshape(some, rows).astype(np.float32)


def _seed_shares(rng: np.random.Generator, seeds: list[int], draws: int) -> Floats:
    """Return the drawn share of each seed in its model's mean: (draws, all seeds).

    Drawing S of S seeds with replacement gives a variance that is too small by (S−1)/S. So deviations from equal shares
    are widened by √(S/(S−1)).
    """
    shares = []
    for count in seeds:
        equal = np.full((draws, count), 1 / count)
        if count > 1:
            drawn = rng.multinomial(count, equal[0], size=draws) / count
            equal += np.sqrt(count / (count - 1)) * (drawn - equal)
        shares.append(equal)
    return np.concatenate(shares, axis=1)


# The component ladder: how good a model's logit is as its parts are added, one after the other.


FIRST, SECOND, DEEP = "bias + first order", "+ FM pairs", "+ DNN"
METRICS = ("auc", "auc_low", "auc_high", "logloss", "logloss_low", "logloss_high")
COLUMNS = ("rung", "model", *METRICS, "step", "step_low", "step_high")


def ladder(sums: pd.DataFrame, alone: Mapping[str, NDArray[np.floating]]) -> pd.DataFrame:
    """Evaluate each partial sum of the logit, and beside it the model of these parts alone.

    Args:
        sums: a part of the frame `partial_sums`: `label`, `first_order`, `fm`, `logit`.
        alone: by name (`lr`, `fm`, `dnn`) the logits (N,) of models trained by themselves, on the same rows.

    Returns:
        One row per rung and model: `rung`; `model`, the name of a model trained alone, empty for a partial sum; AUC and
        logloss with their 95% intervals; `step`, the logloss minus that of the rung before, with the 95% interval of
        that difference on the same rows. A DNN alone is on the last rung.
    """
    pairs = bool(sums["fm"].notna().all())
    # A model of FM pairs alone has no third rung. In float32, its two sums agree to 1e-4 only.
    last = DEEP if not pairs or not np.allclose(sums["fm"], sums["logit"], atol=1e-4) else SECOND
    rungs = {FIRST: sums["first_order"], **({SECOND: sums["fm"]} if pairs else {}), last: sums["logit"]}
    places = {"lr": FIRST, "fm": SECOND, "dnn": DEEP}
    labels = sums["label"].to_numpy(np.float64)
    own = [logits.to_numpy(np.float64) for logits in rungs.values()]
    lines = [_line(rung, "", labels, logits) for rung, logits in zip(rungs, own, strict=True)]
    for line, logits, before in zip(lines[1:], own[1:], own, strict=False):
        step = logloss_difference(labels, logits, before)
        line |= {"step": step.value, "step_low": step.low, "step_high": step.high}
    lines += [_line(places[name], name, labels, logits) for name, logits in alone.items() if places[name] in rungs]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _line(
    rung: str, model: str, labels: NDArray[np.float64], logits: NDArray[np.floating]
) -> dict[str, str | float | None]:
    metrics = evaluate(labels, logits, float(labels.mean()))
    return {"rung": rung, "model": model, **{name: getattr(metrics, name) for name in METRICS}}
