import importlib.util
import json
from itertools import combinations
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from deepfm_core.schema.kinds import Kind
from deepfm_core.synthetic.worlds import CATEGORICAL, MIXED, MULTI_VALUED, WorldSpec, joint_codes, make_world

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample_data"
SPECS = {"categorical": CATEGORICAL, "mixed": MIXED, "multi-valued": MULTI_VALUED}


def largest_group_mean(values: np.ndarray, codes: np.ndarray) -> float:
    return float(np.abs(np.bincount(codes, weights=values) / np.maximum(np.bincount(codes), 1)).max())


def codes_of(column: pd.Series) -> np.ndarray:
    return pd.factorize(column)[0].astype(np.int64)


@pytest.mark.parametrize("name", SPECS)
def test_the_same_seed_gives_the_same_world_and_another_seed_another(name: str) -> None:
    first, again, other = (make_world(500, seed, SPECS[name]) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first.frame, again.frame)
    assert not first.frame.equals(other.frame)


@pytest.mark.parametrize("name", SPECS)
def test_the_parts_of_the_truth_sum_to_the_logit_and_have_the_stated_strengths(name: str) -> None:
    world = make_world(3000, 1, SPECS[name])
    parts = world.truth.parts
    np.testing.assert_allclose(parts[["base", "main", "pairs", "three_way"]].sum(axis=1), parts["logit"])
    np.testing.assert_allclose(world.truth.pair_parts.sum(axis=1), parts["pairs"], atol=1e-9)
    planted = world.truth.pairs.query("strength > 0")
    assert len(planted) == 6
    np.testing.assert_allclose(np.sort(planted["strength"]), np.linspace(0.12, 0.42, 6), atol=1e-9)
    assert abs(world.frame["click"].mean() - SPECS[name].click_rate) < 0.03


def test_a_planted_pair_has_no_main_effect_left_and_the_three_way_part_no_pair() -> None:
    world = make_world(4000, 5, CATEGORICAL)
    for name, values in world.truth.pair_parts.items():
        for field in str(name).split(" × "):
            assert largest_group_mean(values.to_numpy(), codes_of(world.frame[field])) < 1e-6
    assert len(world.truth.three_way) == 3
    for pair in combinations(world.truth.three_way, 2):
        joint = joint_codes([codes_of(world.frame[field]) for field in pair])
        assert largest_group_mean(world.truth.parts["three_way"].to_numpy(), joint) < 1e-3


def test_a_planted_pair_of_a_multi_valued_field_is_uncorrelated_with_each_of_its_values() -> None:
    spec = WorldSpec(fields=4, multi_valued=2, pairs=6, levels=(5, 12))
    world = make_world(2000, 2, spec)
    multi = [name for name, kind in world.kinds.items() if kind is Kind.MULTI_VALUED]
    for field in multi:
        present = world.frame[field].str.get_dummies("|")
        shares = present.div(present.sum(axis=1), axis=0).to_numpy()
        for name, values in world.truth.pair_parts.items():
            if field in str(name).split(" × "):
                assert np.abs(shares.T @ values.to_numpy()).max() < 1e-3


def test_a_world_without_interactions_has_main_effects_only() -> None:
    world = make_world(800, 1, MIXED.without_interactions())
    assert (world.truth.pairs["strength"] == 0).all()
    assert (world.truth.parts[["pairs", "three_way"]] == 0).all().all()
    assert world.truth.parts["main"].std() > 0.5


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_samples", SAMPLES / "make_samples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sample_script_writes_the_committed_samples_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_script()
    monkeypatch.setattr(script, "HERE", tmp_path)
    script.main()
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == [
        "clicks.csv",
        "clicks.truth.json",
        "clicks_no_interaction.csv",
        "clicks_no_interaction.truth.json",
    ]
    for name in written:
        assert (tmp_path / name).read_bytes() == (SAMPLES / name).read_bytes(), name


def test_every_planted_pair_of_the_sample_has_its_story_and_the_control_has_none() -> None:
    truth = json.loads((SAMPLES / "clicks.truth.json").read_text())
    assert [pair["field_a"] for pair in truth["pairs"]] == ["device", "ad", "hour", "price", "campaign"]
    assert all(pair["story"] for pair in truth["pairs"])
    assert json.loads((SAMPLES / "clicks_no_interaction.truth.json").read_text())["pairs"] == []
