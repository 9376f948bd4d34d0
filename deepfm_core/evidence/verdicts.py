"""The verdict on each pair, in words: what the model learned beside what the data supports.

Start with `verdicts` for a run, or `data_verdicts` where there is no model. `PAIR_COLUMNS` are the columns of the
`pairs` frame that both read.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from deepfm_core.schema.schema import Kind, Schema

HOLDS = "holds on unseen rows"

LEARNED = "the data shows it, and the model learned it"

NOT_LEARNED = "the data shows it, the model has not learned it"

DOES_NOT_HOLD = "learned, but does not hold"

NOT_BORNE_OUT = "learned, but the data does not bear it out"

NOISE = "not told apart from noise"

TOLD_APART = "told apart from noise"

STANDS_IN = "stands in for "

LEARNED_SHARE = 0.5
"""A model has learned a pair if its learned strength is at least this share of the strength in the data."""

LEAST_LEARNED = 0.05
"""Learned strength, in log-odds, below which a pair counts as not learned: it changes typical odds by 5%."""

HOLDING_Z = 2.0
"""A learned part holds if it predicts held-out rows at least this many standard errors better than nothing."""


def has_evidence(pairs: pd.DataFrame) -> bool:
    """Return whether a `pairs` frame holds evidence from the labels, and not only what a model learned."""
    return "solid" in pairs and bool(pairs["solid"].notna().any())


def verdicts(pairs: pd.DataFrame) -> pd.Series[str]:
    """Judge every pair, in one sentence each.

    Args:
        pairs: the frame `pairs` (docs/store.md). Evidence that was not computed is null, and is not used.

    Returns:
        A sentence per pair, without its subject; empty texts if the frame holds no evidence.
    """
    if not has_evidence(pairs):
        return pd.Series("", index=pairs.index, dtype=object)
    solid = pairs["solid"].fillna(False).astype(bool)
    learned, strength = _numbers(pairs, "learned").fillna(0.0), _numbers(pairs, "strength")
    bound = _numbers(pairs, "strength_high").fillna(strength)
    held = _numbers(pairs, "held_out_z")
    too_strong = (learned >= LEAST_LEARNED) & (learned > bound)
    proxies = pairs["proxy_of"].fillna("").astype(str) if "proxy_of" in pairs else pd.Series("", index=pairs.index)
    # The first case that applies is the verdict. NaN compares as false, so a test that was not made decides nothing.
    cases: list[tuple[pd.Series, str | pd.Series]] = [
        (solid & (held >= HOLDING_Z), HOLDS),
        (solid & (learned >= LEARNED_SHARE * strength), LEARNED),
        (solid, NOT_LEARNED),
        (proxies != "", STANDS_IN + proxies),
        (too_strong & (held < HOLDING_Z), DOES_NOT_HOLD),
        (too_strong, NOT_BORNE_OUT),
    ]
    chosen = np.select([case for case, _ in cases], [np.asarray(words, dtype=object) for _, words in cases], NOISE)
    return pd.Series(chosen, index=pairs.index, dtype=object)


def data_verdicts(pairs: pd.DataFrame) -> pd.Series[str]:
    """Judge every pair by the data alone, without a model; a sentence per pair, as from `verdicts`."""
    proxies = pairs["proxy_of"].fillna("").astype(str) if "proxy_of" in pairs else pd.Series("", index=pairs.index)
    others = (STANDS_IN + proxies).where(proxies != "", NOISE)
    return others.mask(pairs["solid"].astype(bool), TOLD_APART).astype(object)


def _numbers(pairs: pd.DataFrame, column: str) -> pd.Series[float]:
    missing = pd.Series(np.nan, index=pairs.index)
    return pd.to_numeric(pairs[column], errors="coerce") if column in pairs else missing


# Schemas in which no two fields can interact.


def why_no_pairs(schema: Schema) -> str:
    """Say why a schema has no pairs and what to do about it; empty if it has pairs."""
    if schema.has_pairs:
        return ""
    dense = [role.column for role in schema.used if role.kind is Kind.DENSE]
    only = next((role.column for role in schema.used if role.kind is not Kind.DENSE), None)
    embedded = "there is none" if only is None else f"there is one, `{only}`"
    note = " (a dense number has no embedding, so it is in no pair)" if dense else ""
    return f"No pairs: a pair takes two fields, and {embedded}{note}. Give a second column a kind, and train with both."


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
    "solid",
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
"""The columns that check each pair on held-out rows."""
