"""Taking runs away and bringing them back, driven without a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from deepfm_core.export.bundle import bundle_bytes, import_bundle
from deepfm_core.export.facts import Facts
from deepfm_core.export.formats import FORMATS
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store
from tests.export.runs import rows, table, trained

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = RunFolder(ROOT / "sample_data" / "run")
VIEWS = sorted(path.parent.name for path in (ROOT / "app" / "views").glob("*/__init__.py"))
Opened = Callable[..., AppTest]


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return bundle_bytes(Facts.of(SAMPLE, "mine"))


def offered(app: AppTest) -> list[str]:
    labels = [getattr(button, "label", "") for button in app.get("download_button")]
    return [label for label in labels if label in titles()]


def titles() -> list[str]:
    return [form.title for form in FORMATS.values()]


def test_a_finished_run_can_be_taken_away_on_train_and_on_runs(opened: Opened, store: Store, bundle: bytes) -> None:
    run = import_bundle(store, bundle)
    assert offered(opened("train", run=run)) == titles()
    assert offered(opened("runs", selected=run)) == titles()
    assert offered(opened("runs")) == []


def test_an_imported_bundle_opens_as_a_run(opened: Opened, store: Store, bundle: bytes) -> None:
    app = opened("runs")
    app.file_uploader[0].upload("mine.zip", bundle, "application/zip").run()
    assert not app.error
    assert [run.name for run in store.runs()] == ["mine"]
    assert app.query_params["run"] == store.runs()[0].id
    assert app.title[0].value == "Interactions"


def test_a_file_that_is_no_bundle_is_said_to_be_none(opened: Opened, store: Store) -> None:
    app = opened("runs")
    app.file_uploader[0].upload("rows.zip", b"row,probability\n", "application/zip").run()
    assert "`rows.zip` is not a .zip file" in app.error[0].value
    assert not store.runs()


def test_every_page_shows_an_imported_run_whose_table_is_not_here(opened: Opened, store: Store, tmp_path: Path) -> None:
    folder = trained(table(rows(), tmp_path / "rows.csv"), "deepfm", tmp_path / "run", explained=True)
    run = import_bundle(store, bundle_bytes(Facts.of(folder)))
    for view in VIEWS:
        app = opened(view, run=run)
        assert not app.exception, view
        assert not [error.value for error in app.error if "unexpected" in error.value], view


def test_the_code_of_a_run_can_be_read_and_copied(opened: Opened, store: Store, bundle: bytes) -> None:
    run = import_bundle(store, bundle)
    for page in (opened("train", run=run), opened("runs", selected=run)):
        page.button(key=f"code of {run}").click().run()
        assert not page.exception
        command, classifier, torch_code = (block.value for block in page.code)
        assert command.startswith("python -m deepfm_core train clicks.csv")
        assert "DeepFMClassifier(" in classifier
        assert "class Model(nn.Module):" in torch_code
