"""The page Embeddings, driven without a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.shared.field_pairs import pair_id
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store
from tests.export.runs import rows, table, trained

pytestmark = pytest.mark.slow

Opened = Callable[..., AppTest]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """Finished runs on a table with every kind of field."""
    home = tmp_path_factory.mktemp("runs")
    data = table(rows(), home / "電話 & <b>rows.csv")
    models = ("lr", "dnn", "fm-dnn", "deepfm")
    return {name: trained(data, name, home / name, explained=True, guided=False) for name in models}


def kept(store: Store, folder: RunFolder) -> str:
    """Put a finished run into the store; give its id."""
    run = store.enqueue(RunSpec.from_dict(folder.spec().to_dict()), name="a run")
    shutil.copytree(folder.path, store.folder(run).path, dirs_exist_ok=True)
    with store.database.write() as connection:
        summary = (folder.path / "summary.json").read_text(encoding="utf-8")
        connection.execute("UPDATE runs SET status = 'finished', summary = ? WHERE id = ?", (summary, run))
    return run


def text_of(app: AppTest) -> str:
    elements = [*app.markdown, *app.caption, *app.info, *app.subheader, *app.warning]
    return "\n".join(str(element.value) for element in elements)


def checked(app: AppTest) -> AppTest:
    assert not app.exception
    assert not [error.value for error in app.error]
    return app


def test_the_sample_run_is_said_to_have_kept_its_guide_alone_and_is_shown_by_its_cells(opened: Opened) -> None:
    app = checked(opened("embeddings"))
    assert "kept its guide alone" in text_of(app)
    assert "The guide has cells for device × placement" in text_of(app)
    assert "log-odds**" in text_of(app)
    train = [button for button in app.main.button if "without the guide" in button.label]
    checked(train[0].click().run())
    assert app.title[0].value == "Train"


def test_each_model_is_shown_by_what_it_has(opened: Opened, store: Store, folders: dict[str, RunFolder]) -> None:
    deepfm = checked(opened("embeddings", run=kept(store, folders["deepfm"])))
    assert "FM pairs multiply two of them, and the DNN reads the same numbers" in text_of(deepfm)
    dnn = checked(opened("embeddings", run=kept(store, folders["dnn"])))
    assert "Only the DNN reads them" in text_of(dnn)
    both = checked(opened("embeddings", run=kept(store, folders["fm-dnn"]), space="own"))
    assert "Only the DNN reads these" in text_of(both)
    lr = checked(opened("embeddings", run=kept(store, folders["lr"])))
    assert "LR has no embeddings" in text_of(lr)
    assert "Train DeepFM on this table" in [button.label for button in lr.main.button]


def test_a_link_opens_its_feature_and_a_broken_one_the_first(opened: Opened) -> None:
    linked = checked(opened("embeddings", feature=pair_id("hour", "7"), per_field="10", fields="0"))
    assert "Partners of hour = 7" in [heading.value for heading in linked.subheader]
    assert "no feature" in text_of(checked(opened("embeddings", feature=pair_id("hour", "<b>"))))


@pytest.mark.parametrize("colour", ["rate", "field", "effect"])
def test_three_dimensions_are_drawn_by_plotly_and_only_on_demand(opened: Opened, colour: str) -> None:
    flat = checked(opened("embeddings", colour=colour))
    assert not flat.get("plotly_chart")
    deep = checked(opened("embeddings", colour=colour, in_3d="on"))
    assert len(deep.get("plotly_chart")) == 1


def test_how_many_features_are_left_out_is_said(opened: Opened) -> None:
    app = checked(opened("embeddings", per_field="10"))
    assert "rarer ones are left out" in text_of(app)
    assert "of the variance" in text_of(app)


def test_weights_that_cannot_be_read_are_an_error_with_a_remedy(
    opened: Opened, store: Store, folders: dict[str, RunFolder]
) -> None:
    run = kept(store, folders["dnn"])
    Path(store.folder(run).model).write_bytes(b"no weights")
    app = opened("embeddings", run=run)
    assert "cannot be read" in app.error[0].value
    assert "Train the run again" in app.error[0].value
