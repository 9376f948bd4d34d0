"""Numbers and codes told apart by their labels."""

import numpy as np
import pandas as pd
import pytest

from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.integer_codes import FEWEST_LEVELS, MOST_LEVELS, NOTHING_KNOWN, order_evidence
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole
from deepfm_core.tables.dataframe import table_from_frame

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


IDS = np.random.default_rng(0).integers(10**17, 10**18, 200).tolist()
PICKED = np.random.default_rng(1).integers(0, 200, 2_000)


def role_of(cells: list[str], name: str) -> FieldRole:
    frame = pd.DataFrame({name: cells, "click": np.arange(len(cells)) % 2})
    return infer_schema(table_from_frame(frame), "click").role(name)


@pytest.mark.parametrize(
    ("written", "name", "kind"),
    [
        ([f"{value:.2E}" for value in IDS], "user_id", Kind.CATEGORICAL),
        ([f"{value:.2E}" for value in IDS], "ad", Kind.CATEGORICAL),
        ([f"{value:.2E}" for value in IDS], "who", Kind.CATEGORICAL),
        ([f"{value:.2E}".replace(".", ",") for value in IDS], "who", Kind.CATEGORICAL),
        ([f"{value:.14E}" for value in IDS], "who", Kind.CATEGORICAL),
        ([f"{value * 1e-5:.5E}" for value in IDS], "ean", Kind.CATEGORICAL),
        ([f"{value * 1e-5:.5E}" for value in IDS], "who", Kind.PIECEWISE),
        ([f"{value // 1000}000" for value in IDS], "who", Kind.CATEGORICAL),
        ([f"{int(float(value * 10 + 7))}" for value in IDS], "who", Kind.CATEGORICAL),
        ([f"{value:.2E}" if place % 20 else "" for place, value in enumerate(IDS)], "who", Kind.CATEGORICAL),
    ],
)
def test_long_numbers_that_lost_digits_are_told(written: list[str], name: str, kind: Kind) -> None:
    role = role_of([written[place] for place in PICKED], name)
    assert role.kind is kind
    assert "have lost digits, as in a spreadsheet or a float" in role.warning
    assert ("missing" in role.reason) == ("" in written)


def test_large_measurements_are_told_how_to_stay_numbers() -> None:
    role = role_of([f"{value:.1E}" for value in np.random.default_rng(0).normal(1.2e16, 2e14, 2_000)], "density")
    assert role.kind is Kind.CATEGORICAL
    assert role.reason.endswith("values of 17 digits, so taken for codes")
    assert "make it piecewise if they are measurements" in role.warning


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ([str(value) for value in IDS], "user_id"),
        ([str(value * 10 + 7) for value in IDS], "user_id"),
        ([f"{value:.2E}" for value in IDS], "total_price"),
        ([f"{10.0 ** (place % 30):.2E}" for place in range(200)], "energy"),
        ([f"{value * 1e-9:.9E}" for value in IDS], "user_id"),
        ([f"1.{place:03}e+02" for place in range(200)], "speed"),
        ([f"{place}e10" for place in range(200)], "hash"),
    ],
)
def test_whole_identifiers_and_measures_lost_none(written: list[str], name: str) -> None:
    assert "lost digits" not in role_of([written[place] for place in PICKED], name).warning
