"""What is said of a run first."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepfm_core._words import isolated, named, percent
from deepfm_core.evidence import verdicts
from deepfm_core.runs.findings import (
    Cell,
    Findings,
    find,
    find_again,
    find_pair_again,
    findings,
    logit_spread,
    ranked_slices,
    strongest_pair,
    worst_slice,
)
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.store.run_folder import RunFolder

BUNDLED = Path(__file__).resolve().parents[2] / "sample_data" / "run"


def _pairs(**columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"field_a": ["a", "a", "b"], "field_b": ["b", "c", "c"], "strength": [0.1, 0.3, 0.2]})
    return frame.assign(learned=[0.5, 0.1, 0.1], **columns)


def test_with_evidence_the_strongest_pair_is_the_rankings_first() -> None:
    found = strongest_pair(_pairs(significant=[True, True, False]))
    assert found is not None
    assert (found.field_a, found.field_b, found.strength, found.clear) == ("a", "c", 0.3, 2)


def test_a_noise_pair_that_looks_stronger_is_not_the_strongest() -> None:
    found = strongest_pair(_pairs(significant=[False, False, True]))
    assert found is not None
    assert (found.field_a, found.field_b, found.strength, found.clear, found.pairs) == ("b", "c", 0.2, 1, 3)


def test_a_pair_that_holds_on_held_out_rows_comes_before_a_stronger_one_that_is_only_clear() -> None:
    found = strongest_pair(_pairs(significant=[True, True, True], held_out_z=[2.5, 1.0, 3.0]))
    assert found is not None
    assert (found.field_a, found.field_b, found.strength) == ("b", "c", 0.2)
    assert (found.holding, found.clear, found.pairs) == (2, 3, 3)


def test_the_cell_that_tells_most_is_named_with_the_data_and_the_model_side_by_side() -> None:
    found = find(RunFolder(BUNDLED)).pair
    assert found is not None
    assert found.cell is not None
    cells = RunFolder(BUNDLED).frame("level_pairs", filters=[("field_a", "=", "device"), ("field_b", "=", "placement")])
    assert cells is not None
    a, b = found.cell.level_a.removeprefix("device = "), found.cell.level_b.removeprefix("placement = ")
    row = cells[(cells["level_a"] == a) & (cells["level_b"] == b)].iloc[0]
    assert found.cell.rate == pytest.approx(row["clicks"] / row["rows"])
    assert found.cell.learned == pytest.approx(row["learned"])


def test_where_no_pair_is_clear_above_noise_the_first_is_named_with_none() -> None:
    found = strongest_pair(_pairs(significant=[False, False, False]))
    assert found is not None
    assert (found.field_a, found.field_b, found.clear) == ("a", "c", 0)


def test_without_evidence_it_is_what_the_whole_logit_learned() -> None:
    found = strongest_pair(_pairs())
    assert found is not None
    assert (found.field_a, found.field_b, found.clear) == ("a", "b", None)


def test_a_model_without_pairs_has_no_strongest_one() -> None:
    assert strongest_pair(_pairs().assign(strength=np.nan, learned=np.nan)) is None


def test_the_parts_of_the_spread_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    fm, dnn = rng.normal(0, 1, 500), rng.normal(0, 2, 500)
    found = logit_spread(pd.DataFrame({"logit": fm + dnn, "fm_logit": fm, "dnn_logit": dnn}))
    assert found is not None
    assert found.fm + found.dnn == pytest.approx(1.0)
    assert found.fm == pytest.approx(np.cov(fm, fm + dnn)[0, 1] / np.var(fm + dnn, ddof=1))


def test_a_model_of_one_part_has_no_spread_to_share() -> None:
    assert logit_spread(pd.DataFrame({"logit": [1.0, 2.0], "fm_logit": [1.0, 2.0], "dnn_logit": np.nan})) is None


def _evaluated(wrong: float, seed: int = 0, rows: int = 4_000) -> tuple[pd.DataFrame, pd.DataFrame, Schema]:
    """Draw held-out rows of a calibrated model that is off by `wrong` at one level of one of two fields."""
    rng = np.random.default_rng(seed)
    cells = pd.DataFrame({"row": np.arange(rows), "device": rng.choice(list("pqrs"), rows)})
    cells["price"] = rng.lognormal(2, 1, rows).round(2).astype(str)
    probability = rng.uniform(0.05, 0.4, rows)
    true = probability + wrong * (cells["device"] == "q")
    label = (rng.random(rows) < true).astype(int)
    examples = pd.DataFrame({"row": cells["row"], "label": label, "probability": probability})
    roles = (FieldRole("device", Kind.CATEGORICAL), FieldRole("price", Kind.PIECEWISE))
    return examples, cells, Schema(LabelRole("clicked", "1", "0"), roles)


def test_the_slice_that_is_off_is_found_and_told_from_chance() -> None:
    found = worst_slice(*_evaluated(wrong=0.15))
    assert found is not None
    assert (found.field, found.level, found.beyond_chance) == ("device", "q", True)
    assert found.low > found.predicted
    assert found.low < found.observed < found.high


def test_the_slices_of_all_fields_are_ranked_and_those_of_few_rows_come_last() -> None:
    examples, cells, schema = _evaluated(wrong=0.15)
    cells["device"] = cells["device"].mask(cells.index < 20, "few")
    columns = {role.column: cells[role.column] for role in schema.used}
    ranked = ranked_slices(examples["label"], examples["probability"], columns, schema.used)
    assert set(ranked["field"]) == {"device", "price"}
    assert (ranked["field"][0], ranked["level"][0], ranked["beyond_chance"][0]) == ("device", "q", True)
    assert ranked["level"].tolist()[-1] == "few"
    assert ranked["judged"].tolist() == [True] * (len(ranked) - 1) + [False]
    own = examples[cells["device"] == "q"]
    assert ranked["observed"][0] == pytest.approx(own["label"].mean())
    assert ranked["predicted"][0] == pytest.approx(own["probability"].mean())
    assert ranked[ranked["judged"]]["errors"].abs().is_monotonic_decreasing


@pytest.mark.slow
def test_of_calibrated_models_hardly_one_in_twenty_has_a_slice_beyond_chance() -> None:
    found = [worst_slice(*_evaluated(wrong=0.0, seed=seed)) for seed in range(40)]
    assert sum(one is not None and one.beyond_chance for one in found) <= 5


def test_too_few_rows_are_not_judged() -> None:
    assert worst_slice(*_evaluated(wrong=0.5, rows=40)) is None


def test_kept_findings_are_those_of_the_frames() -> None:
    folder = RunFolder(BUNDLED)
    assert findings(folder) == find(folder)


def test_findings_survive_json_and_absent_ones_stay_absent(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).create()
    none = Findings(None, None, None)
    folder.write_json("findings.json", none.to_dict())
    assert findings(folder) == none


def test_after_frames_of_pairs_have_changed_all_findings_are_those_of_the_frames(tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(BUNDLED, tmp_path / "run"))
    find_again(folder)
    pairs = folder.frame("pairs")
    assert pairs is not None
    folder.write_frame("pairs", pairs.assign(strength=pairs["strength"].to_numpy()[::-1]))
    before = findings(folder)
    find_pair_again(folder)
    assert findings(folder) == find(folder)
    assert findings(folder).pair != before.pair


def test_the_strongest_pair_comes_with_what_to_think_of_it() -> None:
    held = strongest_pair(_pairs(significant=[True, True, False]).assign(held_out_z=3.0, held_out_slope=1.0))
    assert held is not None
    assert held.verdict == verdicts.HOLDS
    overstated = strongest_pair(_pairs(significant=[True, True, False]).assign(held_out_z=3.0, held_out_slope=0.2))
    assert overstated is not None
    assert overstated.verdict == verdicts.OVERSTATED
    plain = strongest_pair(_pairs())
    assert plain is not None
    assert plain.verdict == ""


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        ({}, ("a", "c")),
        ({"held_out_slope": [1.0, 0.3, 1.0]}, ("b", "c")),  # the strongest is overstated
        ({"learned": [0.1, 0.1, 0.2]}, ("b", "c")),  # … or hardly learned
        ({"learned": [0.1, 0.1, 0.2], "held_out_slope": [1.0, 0.9, 0.4]}, ("a", "b")),
        ({"learned": [0.0, 0.0, 0.0]}, ("a", "c")),  # the model has none of them: the strongest that holds
        ({"held_out_z": [3.0, 1.0, 1.0]}, ("a", "b")),
    ],
)
def test_what_comes_first_holds_and_is_learned_near_what_the_data_supports(
    changed: dict[str, list[float]], first: tuple[str, str]
) -> None:
    pairs = _pairs(significant=True).assign(held_out_z=3.0, held_out_slope=1.0, learned=[0.1, 0.3, 0.2])
    found = strongest_pair(pairs.assign(**changed))
    assert found is not None
    assert (found.field_a, found.field_b) == first


def test_stored_findings_without_a_verdict_are_found_anew(tmp_path: Path) -> None:
    """An earlier version stored a sentence in its place."""
    folder = RunFolder(shutil.copytree(BUNDLED, tmp_path / "run"))
    stored = folder.read_json("findings.json")
    assert stored is not None
    del stored["pair"]["verdict"]
    folder.write_json("findings.json", {**stored, "pair": {**stored["pair"], "said": "**It holds**"}})
    assert findings(folder) == find(folder)


@pytest.mark.parametrize(("part", "name"), [("worst", "low"), ("pair", "strength"), ("spread", None), ("worst", None)])
@pytest.mark.parametrize("value", [{}, "x", [1]])
def test_damaged_findings_are_found_anew(part: str, name: str | None, value: object, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(BUNDLED, tmp_path / "run"))
    stored = folder.read_json("findings.json")
    assert stored is not None
    damaged = value if name is None else {**stored[part], name: value}
    if damaged:  # an empty one is a run without such a finding
        folder.write_json("findings.json", {**stored, part: damaged})
    assert findings(folder) == find(folder)


@pytest.mark.parametrize(
    ("share", "digits", "said"),
    [
        (0.0, 0, "0%"),
        (3 / 2093, 0, "under 1%"),
        (0.007, 0, "under 1%"),
        (0.01, 0, "1%"),
        (0.0004, 1, "under 0.1%"),
        (0.0007, 1, "under 0.1%"),
        (0.001, 1, "0.1%"),
        (1e-12, 1, "under 0.1%"),
        (0.00004, 2, "under 0.01%"),
        (3 / 2093, 1, "0.1%"),
        (0.236, 0, "24%"),
        (0.99, 0, "99%"),
        (0.993, 0, "over 99%"),
        (0.997, 0, "over 99%"),
        (1 - 0.001, 1, "99.9%"),
        (0.9997, 1, "over 99.9%"),
        (sum([0.1] * 10), 0, "100%"),
        (1.0, 1, "100.0%"),
    ],
)
def test_none_but_nothing_is_said_as_0_and_none_but_all_as_100_percent(share: float, digits: int, said: str) -> None:
    assert percent(share, digits) == said


@pytest.mark.parametrize(
    ("positive", "rows", "said"),
    [
        (0, 2093, "0 positive in 2,093 of the training rows"),
        (3, 2093, "3 positive in 2,093 of the training rows"),
        (30, 2093, "1.4% positive in 2,093 of the training rows"),
        (700, 2000, "35% positive in 2,000 of the training rows"),
        (1999, 2000, "1,999 positive in 2,000 of the training rows"),
    ],
)
def test_nearly_no_row_and_nearly_all_are_said_by_their_count(positive: int, rows: int, said: str) -> None:
    assert said in str(Cell("month = Feb", "visitor = new", rows, positive / rows, 0.1, -0.5, -0.4))


def test_a_name_from_right_to_left_does_not_turn_the_sentence_around_it() -> None:
    cell = Cell("device = phone", "مكان = القصة", 270, 0.65, 0.6, 1.29, 1.31)
    assert str(cell).startswith("device = phone with \u2068مكان = القصة\u2069: 65% positive")
    assert isolated("デバイス 😀") == "デバイス 😀"
    assert named("مكان", "القصة") == "\u2068مكان\u2069 = \u2068القصة\u2069"  # the field first
    assert named("device", "phone") == "device = phone"
