"""Holdout tables in the app: uploaded to test or validate on, checked against the roles, and used by a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from deepfm_core.runs.engine import execute
from deepfm_core.spec.presets import preset
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.workers.lane import perform
from tests.conftest import clicks

pytestmark = pytest.mark.slow

Opened = Callable[..., AppTest]
OTHER = 1
"""Place of the uploader of a table to test on."""


def table(rows: int, seed: int, dots: bool = False) -> pd.DataFrame:
    frame = clicks(rows, seed)
    words = {0: "<=50K", 1: ">50K"}
    return frame.assign(clicked=[words[label] + "." * dots for label in frame["clicked"]])


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


@pytest.fixture
def uploaded(opened: Opened) -> AppTest:
    """The page Data with a table of one's own."""
    app = opened("data")
    app.file_uploader[0].upload("mine.csv", csv(table(400, 0)), "text/csv").run()
    assert "320 rows to train, 40 to validate, 40 to test" in [box.label for box in app.expander]
    return app


def test_a_table_to_test_on_is_uploaded_chosen_and_used_by_the_run(
    uploaded: AppTest, opened: Opened, store: Store
) -> None:
    uploaded.file_uploader[OTHER].upload("other.csv", csv(table(150, 1, dots=True)), "text/csv").run()
    assert not uploaded.error
    assert "360 rows to train, 40 to validate, other.csv to test" in [box.label for box in uploaded.expander]
    button(uploaded, "Train with the suggested roles").click().run()
    run = store.runs()[0]
    assert run.spec.test_table == choice(uploaded, "test_table")
    assert (run.spec.test_table_name, run.spec.valid_table) == ("other.csv", None)
    assert run.spec.fit == preset("recommended", "deepfm", 360)[1]

    me = Process.current()
    claimed = store.claims.next(me)
    assert claimed is not None
    list(perform(store, claimed, execute, me))
    assert store.run(run.id).summary["rows"] == {"train": 360, "valid": 40, "test": 150}
    assert any("Tested on other.csv." in caption.value for caption in opened("train", run=run.id).caption)
    parts = opened("performance", run=run.id).segmented_control[0].options
    assert parts == ["Test: other.csv", "Validation"]
    assert "sampled test rows of other.csv" in opened("examples", run=run.id).markdown[0].value


def test_a_holdout_table_that_does_not_fit_is_an_error_and_nothing_is_trained(uploaded: AppTest) -> None:
    other = table(150, 1).drop(columns=["site", "price"]).assign(clicked="maybe")
    uploaded.file_uploader[OTHER].upload("other.csv", csv(other), "text/csv").run()
    (error,) = uploaded.error
    assert "2 columns are missing" in error.value
    assert "`site`, `price`" in error.value
    assert "`maybe`" in error.value
    assert button(uploaded, "Train with the suggested roles").disabled
    uploaded.selectbox(key="choice of test_table").select("").run()
    assert not uploaded.error
    assert "test_table" not in uploaded.query_params


def test_a_file_to_test_on_that_is_no_table_gets_its_sentence(uploaded: AppTest) -> None:
    uploaded.file_uploader[OTHER].upload("picture.csv", bytes(range(256)) * 40, "text/csv").run()
    assert "the file is binary" in uploaded.error[0].value
    assert "test_table" not in uploaded.query_params


def test_a_link_with_a_table_that_is_not_there_or_the_same_says_so(uploaded: AppTest, opened: Opened) -> None:
    mine = choice(uploaded, "table")
    app = opened("train", table=mine, test_table="0" * 64)
    assert "is not in the store" in app.error[0].value
    app = opened("train", table=mine, valid_table=mine)
    assert "is also the one to train on" in app.error[0].value


def test_train_names_the_holdout_tables_and_shares_of_the_rest_count(
    uploaded: AppTest, opened: Opened, store: Store
) -> None:
    uploaded.file_uploader[OTHER].upload("other.csv", csv(table(150, 1)), "text/csv").run()
    chosen = {name: choice(uploaded, name) for name in ("table", "test_table")}
    app = opened("train", split=json.dumps({"valid": 0.2}), **chosen)
    assert any("tested on **other.csv**" in text.value for text in app.markdown)
    assert {box.label for box in app.number_input} == {"Validation share"}
    button(app, "Train").click().run()
    spec = store.runs()[0].spec
    assert spec.split.valid == 0.2
    assert spec.fit == preset("recommended", "deepfm", 320)[1]


def test_another_table_to_train_on_forgets_the_holdout_tables(uploaded: AppTest) -> None:
    uploaded.file_uploader[OTHER].upload("other.csv", csv(table(150, 1)), "text/csv").run()
    uploaded.selectbox(key="table to show").select("clicks.csv").run()
    assert "test_table" not in uploaded.query_params


def test_the_command_line_and_the_app_recommend_the_same(uploaded: AppTest, store: Store, tmp_path: Path) -> None:
    from deepfm_core.cli.options import Tables, base_spec
    from deepfm_core.cli.parser import parse

    path = tmp_path / "mine.csv"
    path.write_bytes(csv(table(400, 0)))
    arguments = parse(["train", str(path), "--label", "clicked"])
    base, rows = base_spec(arguments, Tables(arguments))
    button(uploaded, "Train with the suggested roles").click().run()
    spec = store.runs()[0].spec
    assert (spec.model, spec.fit) == preset("recommended", "deepfm", rows)
    assert (spec.schema.roles, spec.split, spec.seed) == (base.schema.roles, base.split, base.seed)


def choice(app: AppTest, name: str) -> str:
    value = app.query_params[name]
    return value if isinstance(value, str) else value[0]


def button(app: AppTest, label: str):
    return next(button for button in app.button if button.label == label)
