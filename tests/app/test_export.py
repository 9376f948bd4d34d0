"""Taking runs away and bringing them back, driven without a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import streamlit
from streamlit.testing.v1 import AppTest

from deepfm_core.errors import RunError
from deepfm_core.export.bundle import bundle_bytes, import_bundle
from deepfm_core.export.formats import FORMATS, content
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


def test_the_sample_run_can_be_taken_away_where_it_is_shown(opened: Opened) -> None:
    for page in (opened("start"), opened("train")):
        assert offered(page) == titles()
        page.button(key="code of sample").click().run()
        assert not page.exception
        assert page.code[0].value.startswith("python -m deepfm_core train clicks.csv")
        assert not any("Share" in caption.value or "share" in caption.value for caption in page.sidebar.caption)


def test_every_form_can_be_made_of_the_sample_run() -> None:
    for name in FORMATS:
        assert len(content(SAMPLE, name, "sample run")) > 1000, name


def test_a_shared_server_says_that_the_sample_needs_no_link(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setattr("streamlit.runtime.context.ContextProxy.cookies", {"deepfm_visitor": "a" * 32})
    assert any("open to everyone" in caption.value for caption in opened("interactions").sidebar.caption)


@pytest.fixture
def makers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], bytes]]:
    """Keep what makes the file of each download that is drawn, by its label."""
    drawn: dict[str, Callable[[], bytes]] = {}
    real = streamlit.download_button

    def keep(label: str, make: Callable[[], bytes], *given: Any, **named: Any) -> bool:
        drawn[label] = make
        return real(label, make, *given, **named)

    monkeypatch.setattr("streamlit.download_button", keep)
    return drawn


def test_an_export_that_fails_says_so_beside_its_button(
    opened: Opened, store: Store, bundle: bytes, makers: dict[str, Callable[[], bytes]]
) -> None:
    run = import_bundle(store, bundle)
    app = opened("train", run=run)
    for name in ("model.safetensors", "frames/pairs.parquet"):
        (store.folder(run).path / name).write_bytes(b"")
    for title in titles():
        with pytest.raises(RunError):  # so the browser saves nothing
            makers[title]()
    said = [error.value for error in app.run().error]
    assert [text.partition("\\:")[0] for text in said] == titles()
    assert all("the file was not made" in text and "rain the run again" in text for text in said)
    assert [error.value for error in app.run().error] == said  # a page that draws itself each second keeps them


@pytest.mark.parametrize("view", ["data", "embeddings", "examples", "interactions", "learn", "performance", "runs"])
def test_a_table_that_cannot_be_written_says_so_on_its_page(
    view: str,
    opened: Opened,
    store: Store,
    bundle: bytes,
    makers: dict[str, Callable[[], bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import_bundle(store, bundle)
    app = opened(view).run()
    tables = {label: make for label, make in makers.items() if label not in titles()}
    assert tables
    monkeypatch.setattr("pandas.DataFrame.to_csv", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    for make in tables.values():
        with pytest.raises(MemoryError):
            make()
    said = [error.value for error in app.run().error]
    assert len(said) == len(tables)
    assert all("the file was not made. Reload the page and try again" in text for text in said)
    assert not app.exception


def test_a_file_that_is_made_after_all_takes_its_message_away(
    opened: Opened, makers: dict[str, Callable[[], bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened("start")
    with monkeypatch.context() as broken:
        broken.setattr("deepfm_core.export.model_card.Facts.of", lambda *_: (_ for _ in ()).throw(RunError("No.")))
        with pytest.raises(RunError):
            makers["Report"]()
    assert app.run().error
    makers["Report"]()
    assert not app.run().error


@pytest.mark.parametrize("name", ["mine.zip", "mine", "mine.csv"])
def test_an_imported_bundle_opens_as_a_run_whatever_it_is_called(
    name: str, opened: Opened, store: Store, bundle: bytes
) -> None:
    app = opened("runs")
    app.file_uploader[0].upload(name, bundle, "application/octet-stream").run()
    assert not app.error
    assert [run.name for run in store.runs()] == ["mine"]
    assert app.query_params["run"] == store.runs()[0].id
    assert app.title[0].value == "Interactions"


def test_a_file_that_is_no_bundle_is_said_to_be_none(opened: Opened, store: Store) -> None:
    app = opened("runs")
    app.file_uploader[0].upload("rows.zip", b"row,probability\n", "application/zip").run()
    assert "`rows.zip` is no model bundle" in app.error[0].value
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
