"""How many pairs hold, are clear, are unsure and do not hold: counted as their verdicts say it."""

from __future__ import annotations

import pandas as pd
import pytest

from deepfm_core.evidence import verdicts
from deepfm_core.explain.pair_counts import PairCounts

# Strength, its lower end, learned, z and slope on held-out rows, whether it passes the test against noise.
RIGHT = (0.16, 0.13, 0.18, 3.6, 1.3, True)
STRONG = (0.16, 0.13, 0.18, 3.6, 0.3, True)
WEAK = (0.16, 0.13, 0.05, 3.6, 1.3, True)
NOT_CONFIRMED = (0.16, 0.13, 0.12, 1.7, 0.8, True)
HARDLY_AND_FLAT = (0.064, 0.02, 0.031, 0.2, 0.4, True)
UNSURE = (0.064, 0.0, 0.031, 0.2, 0.4, True)
UNSURE_BUT_HOLDS = (0.1, 0.0, 0.1, 2.5, 0.9, True)
IMAGINED = (0.014, 0.0, 0.095, 0.0, 0.0, False)
NOISE = (0.014, 0.0, 0.01, 0.0, 0.0, False)


def frame(*pairs: tuple[float, float, float, float, float, bool], checked: bool = True) -> pd.DataFrame:
    columns = ["strength", "strength_low", "learned", "held_out_z", "held_out_slope", "significant"]
    made = pd.DataFrame(list(pairs), columns=columns).assign(
        strength_high=lambda all_pairs: all_pairs["strength"] + 0.05
    )
    made.insert(0, "field_a", "a")
    made.insert(1, "field_b", [f"b{number}" for number in range(len(made))])
    return made if checked else made.drop(columns=["held_out_z", "held_out_slope"])


def said(pairs: pd.DataFrame) -> str:
    counts = PairCounts.of(pairs)
    return " ".join(filter(None, (counts.sure_said, counts.sizes_said, counts.imagined_said)))


def test_what_holds_leads_then_what_is_clear_then_what_is_unsure_then_what_does_not_hold() -> None:
    pairs = frame(RIGHT, UNSURE_BUT_HOLDS, NOT_CONFIRMED, UNSURE, UNSURE, IMAGINED, NOISE)
    assert said(pairs) == (
        "**2 of 7** pairs hold on held-out rows. 1 more is clear in the data, but held-out rows do not confirm it. "
        "2 are clear alone, but unsure beside others. Of the 3 clear ones, the model has all about right (within a "
        "factor of two). "
        "The model also has 1 pair that does not hold."
    )


def test_sizes_are_counted_in_one_line() -> None:
    pairs = frame(RIGHT, RIGHT, STRONG, WEAK, NOISE)
    sizes = "2 about right (within a factor of two), 1 too strong, 1 too weak."
    assert f"Of the 4 clear ones, the model has {sizes}" in said(pairs)


def test_a_pair_counts_as_its_verdict_says() -> None:
    """The sentence called a pair overstated whose verdict was that the model has not learned it."""
    pairs = frame(HARDLY_AND_FLAT, STRONG, WEAK)
    assert verdicts.verdicts(pairs).tolist() == [
        verdicts.NOT_LEARNED,
        verdicts.OVERSTATED,
        verdicts.HARDLY_LEARNED,
    ]
    assert verdicts.too_weak(pairs).tolist() == [True, False, True]
    assert verdicts.too_strong(pairs).tolist() == [False, True, False]
    counts = PairCounts.of(pairs)
    assert (counts.right, counts.strong, counts.weak) == (0, 1, 2)


def test_a_pair_that_is_unsure_beside_others_is_not_clear_and_has_its_verdict() -> None:
    pairs = frame(UNSURE, UNSURE_BUT_HOLDS, RIGHT)
    assert verdicts.clear(pairs).tolist() == [False, True, True]
    assert verdicts.unsure(pairs).tolist() == [True, False, False]
    assert verdicts.verdicts(pairs).tolist() == [verdicts.UNSURE, verdicts.HOLDS, verdicts.HOLDS]
    assert verdicts.data_verdicts(pairs.assign(probability=0.8).drop(columns=["held_out_z"])).tolist() == [
        verdicts.UNSURE,
        verdicts.UNSURE,
        verdicts.CLEAR,
    ]


def test_pairs_that_are_unsure_come_after_clear_ones_and_before_noise() -> None:
    pairs = verdicts.put_first(frame(NOISE, UNSURE, NOT_CONFIRMED, RIGHT), "learned")
    assert pairs["field_b"].tolist() == ["b3", "b2", "b1", "b0"]


def test_sizes_are_no_more_than_halves_until_held_out_rows_are_asked() -> None:
    assert "Of the 2 clear ones, the model has 1 at least half as strong as the data, 1 too weak." in said(
        frame(STRONG, WEAK, checked=False)
    )


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (frame(RIGHT, NOISE), "**1 of 2** pairs holds on held-out rows, all that are clear in the data."),
        (frame(NOT_CONFIRMED, NOISE), "**No pair holds on held-out rows.** 1 of 2 is clear in the data, but held-out"),
        (
            frame(UNSURE, NOISE, checked=False),
            "None of 2 pairs is clear above noise beside the others. 1 is clear alone",
        ),
        (frame(RIGHT, NOISE, checked=False), "**1 of 2** pairs is clear above noise in the data."),
        (frame(RIGHT), "The **one** pair is clear above noise in the data, and holds on held-out rows."),
        (frame(UNSURE), "The **one** pair passes the test against noise, but its interval reaches down to zero."),
        (frame(NOISE, IMAGINED, checked=False), "The model also has 1 pair that does not hold in the data."),
    ],
)
def test_one_pair_none_and_no_check_have_their_sentences(pairs: pd.DataFrame, sentence: str) -> None:
    assert said(pairs).startswith(sentence)


def test_a_card_has_the_counts_in_one_line() -> None:
    counts = PairCounts.of(frame(RIGHT, RIGHT, NOT_CONFIRMED, UNSURE, NOISE))
    assert counts.briefly == "2 of 5 pairs hold, 1 more is clear in the data, 1 unsure beside others."
    none = PairCounts.of(frame(NOT_CONFIRMED, NOISE))
    assert none.briefly == "No pair holds on held-out rows. 1 of 2 pairs is clear in the data."
    assert PairCounts.of(frame(RIGHT)).briefly == ""


def test_where_nothing_is_sure_all_of_it_begins_with_that() -> None:
    assert PairCounts.of(frame(NOISE, IMAGINED)).said == (
        "None of the 2 pairs is clear above noise. The model also has 1 pair that does not hold."
    )
    assert "**" not in PairCounts.of(frame(RIGHT, NOISE)).said
