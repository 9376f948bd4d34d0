"""What a model holds of each feature, against the model itself and against plain numpy."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import RunError
from deepfm_core.explain.embeddings import CELLS, FM, OWN, Embeddings, project
from deepfm_core.models.batch import Batch
from deepfm_core.runs.predictor import Trained
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import ModelSpec
from deepfm_core.store.run_folder import RunFolder
from tests.export.runs import rows, table
from tests.export.runs import trained as train


def of(folder: RunFolder) -> Embeddings:
    return Embeddings.of(folder.weights(), Encoder.load(folder.encoder), folder.spec().model)


def small(**changed: Any) -> Embeddings:
    """Two fields of three features; the last of each was never trained."""
    rng = np.random.default_rng(0)
    made = Embeddings(
        names=np.array(["red", "blue", "unseen", "big", "small", "unseen"], dtype=object),
        fields=("colour", "size"),
        field=np.array([0, 0, 0, 1, 1, 1]),
        rows=np.array([30, 10, 0, 25, 15, 0]),
        mean_x=np.array([0.75, 0.25, 0, 0.625, 0.375, 0]),
        first_order=rng.normal(size=6),
        fm=rng.normal(size=(6, 4)),
        own=None,
        multiplied=True,
        centred=False,
        pair_weights=np.ones((2, 2)),
        cells=None,
        several=np.array([False, False]),
    )
    return replace(made, **changed)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    home = tmp_path_factory.mktemp("embedded")
    data = table(rows(), home / "rows.csv")
    return {name: train(data, name, home / name, guided=False) for name in ("lr", "deepfm", "fm-dnn", "dnn")}


@torch.no_grad()
def pure_table(folder: RunFolder, a: int, b: int) -> np.ndarray:
    """Give what the model itself adds for each two features of fields a and b, less what each adds alone."""
    trained = Trained.load(folder)
    layout, model = trained.encoder.layout, trained.model
    one, other = layout.fields[a], layout.fields[b]
    both = list(product(range(one.size), range(other.size)))
    ids = np.concatenate([np.full(field.slots, field.offset) for field in layout.fields])
    ids = np.tile(ids, (len(both), 1))
    ids[:, one.first_slot], ids[:, other.first_slot] = np.array(both).T + np.array([[one.offset], [other.offset]])
    dense = torch.zeros(len(both), len(layout.dense))
    terms = model.terms(Batch(torch.tensor(ids, dtype=torch.int32), None, dense))
    names = layout.names[a], layout.names[b]
    found = terms.fields_of("second-order")
    mine = [place for place, fields in enumerate(found) if set(fields) == set(names)]
    added = terms.of("second-order").double().numpy()[:, mine].sum(1).reshape(one.size, other.size)
    share = trained.encoder.mass / trained.encoder.rows
    p, q = (share[field.offset : field.offset + field.size] for field in (one, other))
    pure: np.ndarray = added - (added @ q)[:, None] - p @ added + p @ added @ q
    return pure


def check_against_the_model(folder: RunFolder, names: tuple[str, str]) -> float:
    """Compare all pairs of features of two fields; give the largest effect."""
    made, layout = of(folder), Encoder.load(folder.encoder).layout
    a, b = (layout.names.index(name) for name in names)
    expected = pure_table(folder, a, b)
    for place in range(layout.fields[a].size):
        effects = made.together(layout.fields[a].offset + place)
        assert effects[made.field == b] == pytest.approx(expected[place], abs=1e-5)
        assert not effects[made.field == a].any()
    return float(np.abs(expected).max())


@pytest.mark.slow
def test_two_features_add_what_the_model_adds_for_them_beyond_each_alone(
    folders: dict[str, RunFolder], trained: Path
) -> None:
    check_against_the_model(folders["deepfm"], ("device", "zip"))
    check_against_the_model(folders["fm-dnn"], ("zip", "seen hour"))
    guided = RunFolder(trained)
    assert guided.read_json("summary.json")["guide"]["pairs"], "this run has cells"
    assert check_against_the_model(guided, ("device", "placement")) > 0.1


@pytest.mark.slow
def test_each_model_has_the_spaces_that_it_has_embeddings_for(folders: dict[str, RunFolder], trained: Path) -> None:
    held = {name: of(folder).spaces for name, folder in folders.items()}
    assert held == {"lr": (), "deepfm": (FM,), "fm-dnn": (FM, OWN), "dnn": (FM,)}
    assert CELLS in of(RunFolder(trained)).spaces
    assert not of(folders["dnn"]).multiplied


@pytest.mark.slow
def test_features_have_the_names_and_rows_of_their_kind(folders: dict[str, RunFolder]) -> None:
    encoder = Encoder.load(folders["deepfm"].encoder)
    made = of(folders["deepfm"])
    described = made.described(made.most_frequent(100), FM)
    assert set(described["field"]) == set(encoder.layout.names)
    kinds = {field.name: field.kind for field in encoder.layout.fields}
    knots = described[described["field"] == "price"]
    assert kinds["price"] is Kind.PIECEWISE
    assert len(knots) == len(encoder.layout.fields[encoder.layout.names.index("price")].features)
    assert described.loc[described["rows"] == 0, "feature"].isin(["missing", "unseen", "rare"]).any()
    several = made.several[made.fields.index("interests")]
    assert several, "values of one cell meet within their field"


def test_values_of_one_cell_meet_within_their_field() -> None:
    made = small(several=np.array([True, False]))
    assert made.together(0)[1] == pytest.approx(made.fm[0] @ made.fm[1])
    assert small().together(0)[1] == 0


def test_a_projection_is_that_of_a_singular_value_decomposition() -> None:
    rng = np.random.default_rng(1)
    points, counts = rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6)), rng.integers(0, 50, 40)
    share = counts / counts.sum()
    left, values, right = np.linalg.svd(np.sqrt(share)[:, None] * (points - share @ points))
    del left
    for given in (points, csr_array(points)):
        found = project(given, counts)
        assert found.shares == pytest.approx((values**2 / (values**2).sum())[:3])
        expected = (points - share @ points) @ right[:3].T
        assert np.abs(found.places) == pytest.approx(np.abs(expected))
        assert (found.places[np.abs(found.places).argmax(0), range(3)] > 0).all()


def test_a_projection_of_few_dimensions_or_points_leaves_the_rest_at_0() -> None:
    line = project(np.array([[0.0], [1.0], [3.0]]), np.ones(3))
    assert line.shares == pytest.approx([1, 0, 0])
    assert not line.places[:, 1:].any()
    for points in (np.ones((1, 4)), csr_array(np.ones((1, 4))), np.zeros((0, 4))):
        alone = project(points, np.ones(len(points) if isinstance(points, np.ndarray) else points.shape[0]))
        assert not alone.places.any()
        assert not alone.shares.any()


def test_the_nearest_are_those_that_a_loop_over_all_features_finds() -> None:
    rng = np.random.default_rng(2)
    many = SimpleNamespace(size=200)
    made = small(
        names=np.array([f"v{n}" for n in range(many.size)], dtype=object),
        field=np.repeat([0, 1], many.size // 2),
        rows=np.where(rng.random(many.size) < 0.1, 0, 5),
        mean_x=np.full(many.size, 0.01),
        fm=rng.normal(size=(many.size, 8)),
        first_order=None,
    )
    for chosen in (3, 150):
        inner, cosine = {}, {}
        for other in range(many.size):
            if other != chosen and made.rows[other] > 0:
                inner[other] = sum(x * y for x, y in zip(made.fm[chosen], made.fm[other], strict=True))
                lengths = np.linalg.norm(made.fm[chosen]) * np.linalg.norm(made.fm[other])
                cosine[other] = inner[other] / lengths
        for metric, values in (("inner", inner), ("cosine", cosine)):
            found = made.neighbours(chosen, FM, metric)
            assert list(found["id"]) == sorted(values, key=values.__getitem__, reverse=True)[:10]
            assert found[metric].to_numpy() == pytest.approx([values[place] for place in found["id"]])


def test_in_the_centred_form_features_stand_about_the_mean_of_their_field() -> None:
    made = small(centred=True)
    points = made.points(FM)
    for field in (0, 1):
        own = made.field == field
        assert made.mean_x[own] @ points[own] == pytest.approx(np.zeros(4))


def test_features_that_do_alike_in_the_rows_there_are_stand_close_by_their_cells() -> None:
    cells = np.zeros((6, 6))
    cells[0, 3], cells[1, 3], cells[0, 4] = 1.0, 1.0, -0.5
    made = small(fm=np.zeros((6, 4)), cells=csr_array(cells + cells.T))
    assert made.spaces == (CELLS,)
    near = made.neighbours(0, CELLS, "cosine")
    assert near["feature"].iloc[0] == "blue"
    inner = 1.0 * 1.0 * 0.625
    lengths = np.sqrt(0.625 + 0.25 * 0.375) * np.sqrt(0.625)
    assert near["cosine"].iloc[0] == pytest.approx(inner / lengths)


def test_partners_are_strongest_first_and_know_the_rows_that_hold_both() -> None:
    made = small()
    shown = pd.DataFrame(
        {
            "field_a": ["colour"] * 2,
            "field_b": ["size"] * 2,
            "level_a": ["red"] * 2,
            "level_b": ["big", "small"],
            "rows": [20, 10],
            "clicks": [5, 1],
            "learned": [0.25, -0.75],
            "learned_fm": [0.05, -0.75],
        }
    )
    found = made.partners(0, shown).set_index("feature")
    assert set(found.index) == {"big", "small"}, "features never trained are left out"
    assert found["fm"].abs().is_monotonic_decreasing
    assert found.loc["big", ["both", "rate"]].tolist() == [20, 0.25]
    beyond = (found["whole"] - found["fm"])[["big", "small"]]
    assert beyond.tolist() == pytest.approx([0.2, 0.0]), "bar and tick differ by what the DNN adds"
    assert np.isnan(made.partners(1, shown)["whole"]).all()
    by_network = small(multiplied=False).partners(3, shown)
    assert list(by_network["feature"]) == ["red"]
    assert by_network["fm"].isna().all()


def test_the_most_frequent_features_of_each_field_are_chosen() -> None:
    made = small()
    assert list(made.most_frequent(1)) == [0, 3]
    assert list(made.most_frequent(2, np.array([1]))) == [3, 4]
    levels = pd.DataFrame({"field": ["size"], "level": ["big"], "rows": [25], "clicks": [5]})
    described = made.described(made.most_frequent(1), FM, levels)
    assert described["rate"].tolist()[1] == 0.2
    assert np.isnan(described["rate"].iloc[0])
    assert described["norm"].to_numpy() == pytest.approx(np.linalg.norm(made.fm[[0, 3]], axis=1))


def test_weights_of_other_fields_are_refused() -> None:
    encoder = SimpleNamespace(layout=SimpleNamespace(vocabulary=5))
    with pytest.raises(RunError, match="do not fit"):
        Embeddings.of({"table": np.zeros((4, 9))}, encoder, ModelSpec())  # type: ignore[arg-type]
