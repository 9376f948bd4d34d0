"""Taking runs away and bringing them back, driven without a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from deepfm_core.export.bundle import bundle_bytes, import_bundle
from deepfm_core.export.formats import FORMATS
from deepfm_core.export.model_card import Facts
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


def scored(opened: Opened, frame: pd.DataFrame) -> AppTest:
    app = opened("score")
    app.file_uploader[0].upload("tomorrow.csv", frame.to_csv(index=False).encode(), "text/csv").run()
    assert not app.exception
    return app


def test_a_new_table_is_scored_by_the_current_run(opened: Opened) -> None:
    frame = pd.read_csv(ROOT / "sample_data" / "clicks.csv", dtype=str).head(300).drop(columns="clicked")
    frame.loc[:149, "site"] = "nowhere.example"
    app = scored(opened, frame)
    assert not app.error
    rows, fields = (table.value for table in app.dataframe)
    assert list(rows.columns[:4]) == ["probability", "logit", "fm_logit", "dnn_logit"]
    assert len(rows) == 200
    assert fields.iloc[0].drop("outside").to_dict() == {"field": "site", "missing": 0.0, "unseen": 0.5}
    assert "Field `site`\\: 50% of the cells" in app.warning[0].value
    assert not app.metric
    assert [button.proto.label for button in app.get("download_button")] == ["Download all rows as CSV"]


def test_what_the_reader_left_out_of_a_scored_table_is_said(opened: Opened) -> None:
    frame = pd.read_csv(ROOT / "sample_data" / "clicks.csv", dtype=str).head(30)
    empty = pd.DataFrame([[""] * frame.shape[1]], columns=frame.columns)
    app = scored(opened, pd.concat([frame, empty]))
    assert any("record 30 (from 0) below the header is an empty record" in caption.value for caption in app.caption)


def test_labels_of_the_new_table_give_metrics(opened: Opened) -> None:
    frame = pd.read_csv(ROOT / "sample_data" / "clicks.csv", dtype=str).tail(500)
    app = scored(opened, frame)
    assert [metric.label for metric in app.metric] == [
        "AUC",
        "logloss",
        "logloss of guessing",
        "predicted ÷ observed",
    ]
    assert float(app.metric[0].value) > 0.7


def test_a_table_that_cannot_be_scored_says_why(opened: Opened) -> None:
    app = scored(opened, pd.DataFrame({"device": ["phone", "tablet"], "other": ["a", "b"]}))
    assert "columns are missing" in app.error[0].value
