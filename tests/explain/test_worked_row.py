"""A row worked through by plain numpy has the terms of the model."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.explain.embeddings import Embeddings
from deepfm_core.explain.worked_row import WorkedRow, as_vectors, identity, pair_products
from deepfm_core.models.batch import Batch
from deepfm_core.runs.predictor import Trained
from deepfm_core.store.run_folder import RunFolder
from tests.conftest import clicks
from tests.export.runs import rows, table
from tests.export.runs import trained as train


def worked(folder: RunFolder, cells: dict[str, str]) -> WorkedRow:
    encoder, weights, spec = Encoder.load(folder.encoder), folder.weights(), folder.spec().model
    return WorkedRow.of(Embeddings.of(weights, encoder, spec), weights, encoder, spec, cells)


@torch.no_grad()
def check(folder: RunFolder, frame: pd.DataFrame) -> None:
    """Compare two rows with the addends that the model itself gives."""
    trained = Trained.load(folder)
    for place in (0, 7):
        cells = {str(name): str(value) for name, value in frame.iloc[place].items()}
        encoded = trained.encoder.encode(pd.DataFrame([cells]).astype("category"), subject="rows")
        terms = trained.model.terms(Batch.from_table(encoded))
        row = worked(folder, cells)
        added = row.features.assign(value=row.features["x"] * row.features["weight"]).groupby("field")["value"].sum()
        for kind in terms.kinds:
            for fields, value in zip(terms.fields_of(kind), terms.of(kind)[0].tolist(), strict=True):
                if kind == "first-order" and fields[0] in row.fields:
                    assert added[fields[0]] == pytest.approx(value, abs=1e-5)
                if kind == "dnn":
                    assert row.layers[-1][0] == pytest.approx(value, abs=1e-4)
        if row.products is not None:
            pairs = dict.fromkeys(map(frozenset, combinations(row.fields, 2)), 0.0)
            for fields, value in zip(
                terms.fields_of("second-order"), terms.of("second-order")[0].tolist(), strict=True
            ):
                if fields[0] != fields[1]:
                    pairs[frozenset(fields)] += value
            for a, b in combinations(range(len(row.fields)), 2):
                expected = pairs[frozenset((row.fields[a], row.fields[b]))]
                assert row.products[a, b] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "chosen"),
    [
        ("lr", {}),
        ("fm", {}),
        ("fnn", {}),
        ("pnn", {"activation": "tanh"}),
        ("fm-dnn", {"batch_norm": True}),
        ("deepfm", {"activation": "sigmoid"}),
    ],
)
def test_a_row_by_numpy_has_the_terms_of_the_model(model: str, chosen: dict[str, Any], tmp_path: Path) -> None:
    frame = rows()
    folder = train(table(frame, tmp_path / "rows.csv"), model, tmp_path / "run", guided=False, **chosen)
    check(folder, frame)


@pytest.mark.slow
def test_a_row_of_a_guided_run_has_its_cells_in_its_pairs(trained: Path) -> None:
    folder = RunFolder(trained)
    assert folder.read_json("summary.json")["guide"]["pairs"]
    check(folder, clicks())


def test_half_the_square_of_the_sum_less_the_squares_is_the_sum_of_the_products() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 5))
    frame = identity(vectors, ["a", "b", "c"])
    loop = sum(float(vectors[f] @ vectors[g]) for f, g in combinations(range(3), 2))
    assert frame["total"].iloc[-1] == pytest.approx(loop)
    assert frame["total"].iloc[-1] == pytest.approx((frame["total"].iloc[-3] - frame["total"].iloc[-2]) / 2)
    assert list(frame["what"])[:4] == ["a", "b", "c", "sum"]


@pytest.mark.parametrize("scale", [0.0, 1.0, -3.0])
def test_any_table_of_products_can_be_written_as_vectors(scale: float) -> None:
    products = scale * np.array([[0.0, 0.6, -0.2], [0.6, 0.0, 0.0], [-0.2, 0.0, 0.0]])
    vectors = as_vectors(products)
    assert vectors.shape == (3, 2)
    found = pair_products(vectors @ vectors.T, (0, 1, 2), ("a", "b", "c"))
    assert found["value"].to_numpy() == pytest.approx([products[0, 1], products[0, 2], products[1, 2]])


def test_the_strongest_fields_of_a_row_hold_its_strongest_pair() -> None:
    products = np.zeros((5, 5))
    for (a, b), value in {(1, 4): -0.9, (2, 4): 0.4, (0, 3): 0.5}.items():
        products[a, b] = products[b, a] = value
    row = WorkedRow(pd.DataFrame(), tuple("abcde"), None, products, ())
    assert row.strongest() == (1, 2, 4)
    assert WorkedRow(pd.DataFrame(), ("a", "b"), None, np.zeros((2, 2)), ()).strongest() == (0, 1)
    assert WorkedRow(pd.DataFrame(), tuple("abcd"), None, np.zeros((4, 4)), ()).strongest() == (0, 1, 2)
