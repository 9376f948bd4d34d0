"""What pages say of runs that kept their guide alone, driven without a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.shared.guide import OF_BOTH, OF_CELLS
from deepfm_core.store.store import Store
from tests.app.test_embeddings import checked, text_of
from tests.app.test_results import finished_copy

pytestmark = pytest.mark.slow

Opened = Callable[..., AppTest]
OF_PRODUCTS = r"\langle v_i, v_j\rangle"
LACKS = "**This run has no DNN and no embeddings.** It kept its guide alone: first order and 6 pairs"


def beyond(folder: Path) -> None:
    """Make the run one that kept an epoch."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(summary | {"best_epoch": 3}), encoding="utf-8")


def test_the_formula_of_a_guide_kept_alone_has_cells_and_no_inner_products(opened: Opened) -> None:
    app = checked(opened("examples"))
    assert OF_CELLS in app.latex[0].value
    assert OF_PRODUCTS not in app.latex[0].value
    assert "This run's embeddings are all 0, so it has no inner products." in text_of(app)


def test_the_formula_of_a_guided_run_that_kept_an_epoch_has_both(opened: Opened, store: Store) -> None:
    app = checked(opened("examples", run=finished_copy(store, beyond)))
    assert OF_BOTH in app.latex[0].value
    assert "0 for pairs that have cells" in text_of(app)


def test_the_formula_of_a_run_without_a_guide_is_that_of_the_paper(opened: Opened, store: Store) -> None:
    app = checked(opened("examples", run=finished_copy(store, beyond, guided=False)))
    assert OF_PRODUCTS in app.latex[0].value
    assert "c_{ij}" not in app.latex[0].value + text_of(app)


def test_learn_writes_the_pairs_of_a_guide_as_cells(opened: Opened) -> None:
    app = checked(opened("learn"))
    assert any(OF_CELLS in formula.value for formula in app.latex)


@pytest.mark.parametrize("page", ["start", "train"])
def test_a_run_without_a_dnn_is_said_to_have_none_and_can_be_trained_without_its_guide(
    opened: Opened, page: str
) -> None:
    app = checked(opened(page))
    assert LACKS in text_of(app)
    without = next(button for button in app.main.button if button.label == "Train without the guide")
    app = checked(without.click().run())
    assert app.title[0].value == "Train"
    assert app.query_params["guided"] in ("off", ["off"])


def test_a_run_that_kept_an_epoch_has_its_settings_in_its_line(opened: Opened, store: Store) -> None:
    app = checked(opened("start", run=finished_copy(store, beyond)))
    assert "DeepFM, embedding size 8, layers 64-32, guided" in text_of(app)
    assert "This run has no DNN" not in text_of(app)
