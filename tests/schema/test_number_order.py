"""Numbers and codes told apart by their labels."""

import numpy as np
import pytest

from deepfm_core.schema.integer_codes import FEWEST_LEVELS, MOST_LEVELS, NOTHING_KNOWN, order_evidence

pytestmark = pytest.mark.slow


def drawn(effects: np.ndarray, per_level: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.poisson(per_level, len(effects)) + 1
    return rows.astype(float), rng.binomial(rows, 1 / (1 + np.exp(1.5 - effects))).astype(float)


def test_numbers_are_hardly_ever_taken_for_codes_whether_they_have_an_effect_or_not() -> None:
    wrong = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        at = np.linspace(0, 1, int(rng.choice([8, 20, 60, 120])))
        smooth = sum(rng.normal() * np.cos(np.pi * k * at) / k for k in (1, 2, 3)) * rng.choice([0, 0.1, 0.3])
        wrong += order_evidence(*drawn(smooth, int(rng.choice([30, 300])), seed)).codes
    assert wrong <= 3


def test_codes_with_effects_are_found_and_the_same_effects_in_order_are_not() -> None:
    found, ordered = [], []
    for seed in range(30):
        effects = np.random.default_rng(seed).normal(size=40) * 0.4
        found.append(order_evidence(*drawn(effects, 250, seed)).codes)
        ordered.append(order_evidence(*drawn(np.sort(effects), 250, seed)))
    assert np.mean(found) > 0.9
    assert not any(evidence.codes or evidence.doubtful or evidence.unknown for evidence in ordered)


def test_nothing_is_said_of_too_few_too_many_or_too_rare_values_or_of_one_class() -> None:
    for levels, rows in ((FEWEST_LEVELS - 1, 100), (MOST_LEVELS + 1, 100), (40, 3)):
        counts = np.full(levels, float(rows))
        assert order_evidence(counts, np.arange(levels) % 2 * counts) == NOTHING_KNOWN
    assert order_evidence(np.full(40, 100.0), np.zeros(40)) == NOTHING_KNOWN


def test_values_without_rows_count_for_nothing() -> None:
    rows, clicks = drawn(np.random.default_rng(1).normal(size=40), 100, 1)
    among = np.zeros(80)
    apart = np.zeros(80)
    among[::2], apart[::2] = rows, clicks
    assert order_evidence(among, apart) == order_evidence(rows, clicks)
