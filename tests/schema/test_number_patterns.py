"""Numbers whose effect is smooth but for a pattern."""

import numpy as np
import pytest

from deepfm_core.schema.integer_codes import CODES_SURE, evidence_beyond_patterns, order_evidence

pytestmark = pytest.mark.slow


def drawn(effects: np.ndarray, seed: int, per_level: int = 250) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.poisson(per_level, len(effects)) + 1
    return rows.astype(float), rng.binomial(rows, 1 / (1 + np.exp(2 - effects))).astype(float)


VALUES = np.arange(40.0)
PATTERNS = {
    "weeks": VALUES % 7 == 0,
    "days of the week": np.array([0.0, 0.4, 0.9, -0.5, 0.2, 1.2, -1.0])[VALUES.astype(int) % 7],
    "tens": VALUES % 10 == 0,
    "three apart": np.isin(VALUES, [8, 17, 29]),
    "ends and two apart": np.isin(VALUES, [0, 39, 17, 29]),
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_a_pattern_explains_what_a_walk_along_the_order_cannot(pattern):
    suspected = 0
    for seed in range(10):
        rows, clicks = drawn(pattern * 1.2, seed)
        suspected += order_evidence(rows, clicks).own >= CODES_SURE
        assert evidence_beyond_patterns(VALUES, rows, clicks) < CODES_SURE
    assert suspected >= 8


def test_effects_of_codes_are_explained_by_no_pattern():
    found = []
    for seed in range(20):
        effects = np.random.default_rng(seed).normal(size=40) * 0.8
        found.append(evidence_beyond_patterns(VALUES, *drawn(effects, seed)) >= CODES_SURE)
    assert np.mean(found) >= 0.9


def test_nothing_is_said_of_values_that_are_too_few_beside_the_effects_of_patterns():
    effects = np.array([2.0, -2.0, 2.0, -2.0, 2.0, -2.0])
    assert evidence_beyond_patterns(VALUES[:6], *drawn(effects, 0)) == 0.0
