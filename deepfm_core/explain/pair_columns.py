"""The columns of the `pairs` frame."""

from __future__ import annotations

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
"""Those of them that ask each pair on rows it was not learned from."""
