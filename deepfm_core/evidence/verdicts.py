"""Verdicts on pairs, in words: what the model learned against what the data supports.

Verdicts are computed when a `pairs` frame is read and are never stored, so runs of any age get the words below.
`verdict_sentence` writes one out. The module also says why a table may have no pairs, and names the columns of the
frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.schema.schema import Schema

# With evidence, every pair gets one of these; pairs of the first three hold.
# `data_verdicts` uses CLEAR, UNSURE, STANDS_IN, DETERMINED, NOT_TESTED and NOISE.

HOLDS = "holds on held-out rows"

OVERSTATED = "holds on held-out rows, but the model overstates it"

HARDLY_LEARNED = "holds on held-out rows, but this model has learned less than half of it"

LEARNED = "the data shows it, and the model learned it"

UNSURE = "clear alone, unsure beside others"

NOT_LEARNED = "the data shows it, but the model has not learned it"

UNCONFIRMED = "the data shows it, but held-out rows do not confirm it"

DOES_NOT_HOLD = "learned, but does not hold"

NOT_SUPPORTED = "learned, but the data does not support it"

NOISE = "not clear above noise"

CLEAR = "clear above noise"

STANDS_IN = "stands in for "

NOT_TESTED = "not tested: nothing at a first look"

DETERMINED = "no information: one field determines the other"

LEARNED_SHARE = 0.5
"""A model has learned a pair that the data shows if it reaches at least this share of the strength in the data."""

LEAST_LEARNED = 0.05
"""Strength, in log-odds, below which a model counts as not having learned a pair."""

FEWEST = 100
"""Rows of the rarer label below which no pair is called clear: a few rows in one cell can look like an effect."""

PROBABLE = 0.2
"""Pairs that interact with at least this probability are the candidates that guide a model. Cells of less probable ones
cost more than they give."""

HOLDING_Z = 2.0
"""What a model learned of a pair holds if it predicts held-out rows this many standard errors above zero."""

OVERSTATED_SLOPE = 0.5
"""Held-out slope below which held-out rows support less than half of what the model learned of a pair."""


def has_evidence(pairs: pd.DataFrame) -> bool:
    """Say whether a `pairs` frame holds evidence: whether each pair is clear above noise, not only what was learned."""
    return "significant" in pairs and bool(pairs["significant"].notna().any())


def clear(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Say of every pair whether it is clear above noise: it passes the test, and its interval stays above zero.

    The interval is that beside the other pairs, so that no other pair explains a clear one. A pair that passes the
    test and holds on held-out rows is clear whatever its interval.
    """
    return pd.Series(_clear(pairs), index=pairs.index)


def unsure(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Say of every pair whether it is clear alone, but unsure beside others: it passes the test, and is not clear."""
    return pd.Series(_unsure(pairs), index=pairs.index)


def holding(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Say of every pair whether it passes the test against noise, and holds on held-out rows."""
    return pd.Series(_holding(pairs), index=pairs.index)


def right_sized(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Say of every pair whether the model has its size right, within a factor of two.

    The model then has at least half the strength in the data, and held-out rows, where they were asked, support at
    least half of what the model has. What is unknown decides nothing.
    """
    return pd.Series(_right_sized(pairs), index=pairs.index)


def too_strong(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Say of every pair whether the model has too much of it: held-out rows support less than half.

    A pair that does not hold, and of which the model has less than half the strength in the data, is too weak instead.
    False where held-out rows were not asked.
    """
    return pd.Series(_too_strong(pairs), index=pairs.index)


def too_weak(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Say of every pair whether the model has less than half its strength in the data, and not too much of it."""
    return pd.Series(_hardly_learned(pairs) & ~_too_strong(pairs), index=pairs.index)


def hardly_learned(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Say of every pair whether the model has less than half its strength in the data; false where one is unknown."""
    return pd.Series(_hardly_learned(pairs), index=pairs.index)


def put_first(pairs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Sort pairs in the order in which pages, report and model card tell them.

    First come pairs that hold on held-out rows and that the model has at the right size, then others that hold, then
    those that are clear in the data, then those that are unsure beside others, then the rest. Within each, a higher
    `measure` comes first. So what leads is both true of the data and learned by the model that is shown.
    """
    passed = _passed(pairs) if "significant" in pairs else np.ones(len(pairs), dtype=bool)
    held = _holding(pairs)
    sound = held & _right_sized(pairs)
    by = (-_numbers(pairs, measure), _unsure(pairs), ~passed, ~held, ~sound)
    return pairs.iloc[np.lexsort(by)]  # by the last first; NaN last


def passed_over(pairs: pd.DataFrame, measure: str) -> str:
    """Say which pair that holds is stronger than the one put first, and why it is not first; empty if none is.

    Args:
        pairs: in the order of `put_first`, with their verdicts as `verdict`.
        measure: the strength that ranks them.
    """
    held = pairs[_holding(pairs)]
    if held.empty:
        return ""
    strongest = held.iloc[int(np.nan_to_num(_numbers(held, measure), nan=-1.0).argmax())]
    if float(strongest[measure]) <= float(pairs.iloc[0][measure]):
        return ""
    why = str(strongest["verdict"]).rpartition(", but ")[2]
    return f"{strongest['field_a']} × {strongest['field_b']} is stronger, but {why}."


# Of all pairs at once, as arrays of one value a pair: of a few pairs, a Series costs more than what is done with it.


def _passed(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    """Say of each pair whether it passes the test against noise, and stands in for no other."""
    if "significant" not in pairs:
        return np.zeros(len(pairs), dtype=bool)
    return pairs["significant"].fillna(False).to_numpy(dtype=bool)


def _holding(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    return (_numbers(pairs, "held_out_z") >= HOLDING_Z) & _passed(pairs)


def _unsure(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    return _passed(pairs) & ~_holding(pairs) & (_numbers(pairs, "strength_low") <= 0)


def _clear(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    return _passed(pairs) & ~_unsure(pairs)


def _right_sized(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    return ~(_hardly_learned(pairs) | _overstated(pairs))


def _hardly_learned(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    return _numbers(pairs, "learned") < LEARNED_SHARE * _numbers(pairs, "strength")


def _overstated(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    return _numbers(pairs, "held_out_slope") < OVERSTATED_SLOPE


def _too_strong(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    return _overstated(pairs) & (_holding(pairs) | ~_hardly_learned(pairs))


def _determined(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    """Say of each pair whether it can have no strength: only these have a probability of exactly 0."""
    none: NDArray[np.bool_] = (_numbers(pairs, "probability") == 0) & (_numbers(pairs, "strength_high") == 0)
    return none


def _not_tested(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    if not has_evidence(pairs):
        return np.zeros(len(pairs), dtype=bool)
    judged: NDArray[np.bool_] = pairs["significant"].notna().to_numpy()
    return judged & np.isnan(_numbers(pairs, "strength"))


def _proxies(pairs: pd.DataFrame) -> NDArray[np.object_]:
    """Give the pair that each stands in for; an empty text where there is none."""
    if "proxy_of" not in pairs:
        return np.full(len(pairs), "", dtype=object)
    return pairs["proxy_of"].fillna("").astype(str).to_numpy(dtype=object)


def _numbers(pairs: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Read a column as numbers; NaN where it has none, or is not there."""
    if column not in pairs:
        return np.full(len(pairs), np.nan)
    values = pairs[column]
    if values.dtype != np.float64:
        values = pd.to_numeric(values, errors="coerce")
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def verdicts(pairs: pd.DataFrame) -> pd.Series[str]:
    """Judge every pair.

    Args:
        pairs: the frame `pairs` (docs/store.md). Evidence that was not computed is null and is not used.

    Returns:
        One verdict per pair, a sentence without its subject; empty texts if the frame holds no evidence.
    """
    if not has_evidence(pairs):
        return pd.Series("", index=pairs.index, dtype=object)
    passed, holds = _passed(pairs), _holding(pairs)
    learned, strength, high, held = (
        _numbers(pairs, name) for name in ("learned", "strength", "strength_high", "held_out_z")
    )
    learned = np.where(np.isnan(learned), 0.0, learned)
    imagined = (learned >= LEAST_LEARNED) & (learned > np.where(np.isnan(high), strength, high))
    proxies = _proxies(pairs)
    # The first case that applies is the verdict. NaN compares as false, so a test that was not made decides nothing.
    cases: list[tuple[NDArray[np.bool_], str | NDArray[np.object_]]] = [
        (holds & _too_strong(pairs), OVERSTATED),
        (holds & _hardly_learned(pairs), HARDLY_LEARNED),
        (holds, HOLDS),
        (_unsure(pairs), UNSURE),
        (passed & (held < HOLDING_Z) & (learned >= LEARNED_SHARE * strength), UNCONFIRMED),
        (passed & (learned >= LEARNED_SHARE * strength), LEARNED),
        (passed, NOT_LEARNED),
        (_determined(pairs), DETERMINED),
        (proxies != "", STANDS_IN + proxies),
        (_not_tested(pairs), NOT_TESTED),
        (imagined & (held < HOLDING_Z), DOES_NOT_HOLD),
        (imagined, NOT_SUPPORTED),
    ]
    return _first_of(cases, pairs.index)


def _first_of(cases: list[tuple[NDArray[np.bool_], str | NDArray[np.object_]]], index: pd.Index) -> pd.Series[str]:
    chosen = np.select([case for case, _ in cases], [np.asarray(words, dtype=object) for _, words in cases], NOISE)
    return pd.Series(chosen, index=index, dtype=object)


def data_verdicts(pairs: pd.DataFrame) -> pd.Series[str]:
    """Judge every pair by the labels alone, without a model; one verdict per pair, as `verdicts` gives."""
    proxies = _proxies(pairs)
    cases: list[tuple[NDArray[np.bool_], str | NDArray[np.object_]]] = [
        (_clear(pairs), CLEAR),
        (_unsure(pairs), UNSURE),
        (_not_tested(pairs), NOT_TESTED),
        (_determined(pairs), DETERMINED),
        (proxies != "", STANDS_IN + proxies),
    ]
    return _first_of(cases, pairs.index)


def not_tested(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Say of every pair whether the labels were only looked at: of a table with many pairs, not all are tested."""
    return pd.Series(_not_tested(pairs), index=pairs.index)


def untested_said(pairs: pd.DataFrame) -> str:
    """Say how many pairs were tested, and what that means for the others; empty if all of them were."""
    left = int(_not_tested(pairs).sum())
    if not left:
        return ""
    return (
        f"The labels were tested for {len(pairs) - left:,} of {len(pairs):,} pairs, those that stand out at a first "
        "look. The others have no strength here, and count as not clear. False discoveries are counted among all pairs."
    )


def unexplained_said(pairs: pd.DataFrame) -> str:
    """Say how many pairs were looked up in the model; empty if all of them were, or none."""
    known = int((~np.isnan(_numbers(pairs, "learned"))).sum())
    if known in (0, len(pairs)):
        return ""
    return (
        f"What the model learned was measured for {known:,} of {len(pairs):,} pairs: those that stand out by the "
        "labels or in the model, all clear ones among them."
    )


def spread_of(pairs: pd.DataFrame, field_a: str, field_b: str) -> float:
    """Return the strength of one pair by the labels, in log-odds; 0 for a pair that was not tested."""
    named = (pairs["field_a"] == field_a) & (pairs["field_b"] == field_b)
    return float(np.nan_to_num(pairs.loc[named, "strength"].iloc[0]))


# Why a table or run has no pairs: fewer than two fields with embeddings.


def why_no_pairs(schema: Schema) -> str:
    """Say why a table with these roles has no pairs, and what to do; empty if it has some."""
    if schema.has_pairs:
        return ""
    dense = [role.column for role in schema.used if not role.kind.is_embedded]
    only = next((role.column for role in schema.used if role.kind.is_embedded), None)
    found = "there is none" if only is None else f"there is only `{only}`"
    why_dense = " (a dense number has no embedding, so it has no pairs)" if dense else ""
    return f"No pairs: a pair needs two fields, and {found}{why_dense}. Give a second column a kind and train again."


# The columns of the `pairs` frame.

PAIR_COLUMNS = (
    "field_a",
    "field_b",
    "strength",
    "learned_fm",
    "learned_dnn",
    "learned",
    "held_out_z",
    "held_out_strength",
    "observed",
    "observed_z",
    "p_value",
    "q_value",
    "significant",
    "support",
    "knock_out_logloss",
    "strength_low",
    "strength_high",
    "probability",
    "proxy_of",
    "held_out_slope",
    "knock_out_low",
    "knock_out_high",
)
"""The columns of the `pairs` frame, and of `interactions` on the command line, in this order."""

HELD_OUT_COLUMNS = (
    "held_out_z",
    "held_out_strength",
    "held_out_slope",
    "knock_out_logloss",
    "knock_out_low",
    "knock_out_high",
)
"""The columns that come from checking each pair on held-out rows."""


# The verdict in words.

SENTENCES = {
    HOLDS: "**It holds on held-out rows:** the data shows this pair, and what models learn of it from some rows "
    "predicts the others.",
    OVERSTATED: "**It holds on held-out rows, but the model overstates it:** the pair is real, yet held-out rows "
    "support less than half of what was learned of it",
    HARDLY_LEARNED: "**It holds on held-out rows, but this model has learned less than half of it:** the pair is real, "
    "and larger than the model says. Where fields say much the same, a model may learn another pair instead.",
    LEARNED: "**The data shows it, and the model learned it:** at least half the strength in the data.",
    NOT_LEARNED: "**The data shows it, but the model has not learned it:** less than half the strength in the data.",
    UNCONFIRMED: "**The data shows it, but held-out rows do not confirm it:** what models learn of it from some rows "
    "does not clearly predict the others.",
    UNSURE: "**Clear alone, unsure beside others:** taken alone, the pair is clear above noise. Beside other pairs, "
    "which may explain the same rows, it could still add nothing: its interval reaches down to zero.",
    DOES_NOT_HOLD: "**Learned, but it does not hold:** the model gives this pair more strength than the data supports. "
    "What it learned does not predict held-out rows.",
    NOT_SUPPORTED: "**Learned, but not supported:** the model gives this pair more strength than the data supports.",
    DETERMINED: "**No information:** one field determines the other, so the pair can add nothing to the two.",
    NOT_TESTED: "**Not tested:** it did not stand out at a first look at all pairs, so it counts as not clear.",
    NOISE: "**Not clear above noise:** a table without this interaction could look the same.",
}


def verdict_sentence(row: pd.Series, escape: Callable[[str], str] = str) -> str:
    """Write what to think of a pair in a sentence or two, the verdict `**bold**`; empty without evidence.

    Pages and the report say it in the same words.

    Args:
        row: a pair of the frame `pairs`, with its verdict as `verdict`.
        escape: makes the name of another pair safe where the sentence is shown.
    """
    evaluated = str(row["verdict"])
    if evaluated.startswith(STANDS_IN):
        other = escape(evaluated.removeprefix(STANDS_IN))
        return f"**It stands in for {other}:** its signal fades once that pair is known."
    sentence = SENTENCES.get(evaluated, "")
    if evaluated == OVERSTATED:
        sentence += f"{_supported(row)}. {_allowed(row)}".rstrip()
    if evaluated == UNCONFIRMED:
        sentence += _far_from_zero(row)
    return " ".join(part for part in (sentence, _at_zero(row), _outside(row)) if part)


def _supported(row: pd.Series) -> str:
    if not _known(row, "held_out_strength", "learned"):
        return ""
    return f": {row['held_out_strength']:.2f} log-odds, where this model has {row['learned']:.2f}"


def _allowed(row: pd.Series) -> str:
    """Say why a size that the data's interval allows counts as overstated; empty if the interval does not allow it."""
    if not _known(row, "learned", "strength_low", "strength_high"):
        return ""
    learned, low, high = (float(row[name]) for name in ("learned", "strength_low", "strength_high"))
    if not low <= learned <= high:
        return ""
    return (
        f"The data's {low:.2f} to {high:.2f} would allow the model's figure. Held-out rows are the stricter test: "
        "nothing was learned from them."
    )


def _far_from_zero(row: pd.Series) -> str:
    if not _known(row, "held_out_strength", "held_out_z"):
        return ""
    held, z = float(row["held_out_strength"]), float(row["held_out_z"])
    above = f"{abs(z):.1f} standard errors {'above' if z >= 0 else 'below'} zero"
    return f" They support {held:.2f} log-odds, {above}; a pair holds from {HOLDING_Z:.0f} on."


def _at_zero(row: pd.Series) -> str:
    """Say what it means if the interval of a pair that holds reaches down to zero; empty if it does not."""
    if row["verdict"] == UNSURE:
        return ""
    if not (_known(row, "strength_low", "significant") and row["significant"] and row["strength_low"] <= 0):
        return ""
    return (
        "**Its interval reaches down to zero.** Taken alone, the pair is clear above noise. Beside the other pairs, "
        "which may explain the same rows, it could still add nothing."
    )


def _outside(row: pd.Series) -> str:
    """Say what it means if held-out rows give a pair that holds a strength outside the interval of the data."""
    if row["verdict"] != HOLDS or not _known(row, "held_out_strength", "strength_low", "strength_high"):
        return ""
    held, low, high = (float(row[name]) for name in ("held_out_strength", "strength_low", "strength_high"))
    if low <= held <= high:
        return ""
    if held > high:
        return (
            f"Held-out rows support {held:.2f} log-odds, more than the data's {low:.2f} to {high:.2f}: its size is "
            "less sure than that interval says."
        )
    return (
        f"Held-out rows support {held:.2f} log-odds, less than the data's {low:.2f} to {high:.2f}: each check learns "
        "from fewer rows, and so learns less of a pair."
    )


def _known(row: pd.Series, *names: str) -> bool:
    return all(name in row and pd.notna(row[name]) for name in names)
