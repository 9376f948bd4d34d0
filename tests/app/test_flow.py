"""The pages Start, Data, Train and Runs, driven without a browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.widgets import layout
from deepfm_core.errors import Problem, TableError
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.events import Placed
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec, SplitSpec
from deepfm_core.store.process import Process
from deepfm_core.store.records import ClusterState
from deepfm_core.store.store import CLUSTER_FILE, Store
from tests.conftest import answer_next, clicks
from tests.waiting import wait

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
VIEWS = sorted(path.parent.name for path in (ROOT / "app" / "views").glob("*/__init__.py"))
Opened = Callable[..., AppTest]


def _text(app: AppTest) -> str:
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error", "success")
    return "\n".join(element.value for kind in kinds for element in app.get(kind) if hasattr(element, "value"))


def test_start_says_what_the_bundled_run_found_without_a_click(opened: Opened) -> None:
    app = opened()
    said = _text(app)
    assert "Top pair" in said
    assert "×" in said
    assert "held-out rows" in said
    assert not app.error


def test_data_reads_the_sample_and_suggests_roles(opened: Opened) -> None:
    app = opened("data")
    assert "20,000 rows, label `clicked` 15.9% positive" in _text(app)
    assert not app.error


def test_data_says_what_the_table_itself_shows_of_its_pairs(opened: Opened, store: Store) -> None:
    app = opened("data")
    assert "What the table says about its pairs" in _text(app)
    question = store.questions.next(Process.current(), "labels")
    assert question is not None
    store.questions.fail(question.key, "There was too little memory.")
    app = opened("data")
    assert "There was too little memory." in _text(app)
    _button(app, "Try again").click().run()
    answer_next(store)
    said = _text(opened("data"))
    assert "There was too little memory." not in said
    assert "pairs are clear above noise in the data. The strongest is **device × placement**, with" in said
    assert "is clear above noise" not in said


def test_other_roles_are_another_question_and_no_interaction_is_said(opened: Opened, store: Store) -> None:
    frame = pd.DataFrame({name: list(letters) * 40 for name, letters in (("x", "aabb"), ("y", "abab"), ("z", "cdcc"))})
    frame["clicked"] = np.random.default_rng(1).integers(0, 2, len(frame))
    app = opened("data")
    app.file_uploader[0].upload("mine.csv", frame.to_csv(index=False).encode(), "text/csv").run()
    sha = _choice(app, "table")
    first = answer_next(store), answer_next(store)  # of the sample, then of all roles
    opened("data", table=sha, kinds=json.dumps({"z": "ignore"}))
    new = answer_next(store)
    assert new not in first
    assert len(pd.read_parquet(new)) == 1  # x × y
    said = _text(opened("data", table=sha, kinds=json.dumps({"z": "ignore"})))
    assert "The only pair is not clear above noise:** only" in said
    assert "of 160 rows are" in said  # with so few, no strength is worth saying


def test_a_long_table_is_asked_by_a_click_only(opened: Opened, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.views.data.evidence.ASKED_AT_ONCE", 1000)
    app = opened("data")
    assert not store.database.rows("SELECT * FROM questions")
    _button(app, "Estimate pairs").click().run()
    assert store.database.rows("SELECT * FROM questions")


def test_rows_without_a_label_are_said_and_a_time_offers_its_split(opened: Opened) -> None:
    app = opened("data")
    times = pd.date_range("2024-03-01", periods=200, freq="97min").strftime("%Y-%m-%d %H:%M:%S")
    labels = ["", "", *[0, 1, 0, 0] * 49, "", ""]
    frame = pd.DataFrame({"seen": times, "x": list("abcd") * 50, "clicked": labels})
    app.file_uploader[0].upload("mine.csv", frame.to_csv(index=False).encode(), "text/csv").run()
    assert "4 rows have no label and are left out" in _text(app)
    assert "Rows are split at random, and `seen` says when they came." in "".join(each.value for each in app.caption)
    _button(app, "Split by time").click().run()
    assert '"by":"time"' in _choice(app, "split")
    assert "Split by time" not in [button.label for button in app.button]
    app.switch_page("views/train/train.py").run()
    assert "label `clicked` (4 rows without one left out)" in _text(app)


def test_an_uploaded_table_becomes_the_current_one(opened: Opened, tmp_path: Path) -> None:
    app = opened("data")
    frame = pd.DataFrame({"x": list("abcd") * 50, "clicked": [0, 1, 0, 0] * 50})
    app.file_uploader[0].upload("mine.csv", frame.to_csv(index=False).encode(), "text/csv").run()
    assert "200 rows, label `clicked` 25.0% positive" in _text(app)
    assert len(_choice(app, "table")) == 64


def test_data_divides_rows_as_the_run_will_and_doubts_the_auc_of_a_small_part(opened: Opened) -> None:
    app = opened("data")
    app.file_uploader[0].upload("eight.csv", b"x,y,clicked\n" + b"a,q,0\nb,p,1\n" * 4, "text/csv").run()
    assert "4 rows to train, 2 to validate, 2 to test" in [box.label for box in app.expander]
    (doubts,) = (warning.value for warning in app.warning if "AUC" in warning.value)
    assert "The test part has only 2 rows, 1 of them positive" in doubts
    assert "The validation part has only 2 rows" in _text(opened("train", table=_choice(app, "table")))
    assert "16,000 rows to train, 2,000 to validate, 2,000 to test" in [box.label for box in opened("data").expander]
    assert not opened("data").warning


def test_lines_that_were_left_out_are_said_before_anything_is_trained(opened: Opened) -> None:
    app = opened("data")
    lines = b"x,y,clicked\n" + b"a,q,0\nb,p,1\n" * 100
    app.file_uploader[0].upload("ragged.csv", lines + b"a,q,0,9\n" + lines[12:], "text/csv").run()
    assert app.warning[0].value == "**1 line of the file is left out**; 400 rows could be read."
    assert "4 values where the header has 3" in _text(app)


def test_lines_that_were_repaired_are_said_before_anything_is_trained(opened: Opened) -> None:
    app = opened("data")
    lines = b"x,y,clicked\n" + b"a,q,0\nb,p,1\n" * 100
    app.file_uploader[0].upload("inch.csv", lines + b'a,"24"",0\n', "text/csv").run()
    assert app.warning[0].value == "**1 line of the file was repaired.**"
    assert "a quote is not closed or not doubled" in _text(app)


def test_a_table_can_be_removed_and_brought_back(opened: Opened, store: Store) -> None:
    app = opened("data")
    app.file_uploader[0].upload("mine.csv", b"x,clicked\n" + b"a,0\nb,1\n" * 50, "text/csv").run()
    _button(app, "Remove table").click().run()
    assert not any(table.name == "mine.csv" for table in store.tables("local"))
    assert "20,000 rows" in _text(app)
    _button(app, "Undo").click().run()
    assert "100 rows" in _text(app)


def test_another_table_forgets_the_label_chosen_for_the_last_one(opened: Opened) -> None:
    app = opened("data", label="weekday")
    other = next(name for name in app.selectbox(key="table to show").options if "no_interaction" in name)
    app.selectbox(key="table to show").select(other).run()
    assert not app.error
    assert "label" not in app.query_params


def test_a_file_that_is_no_table_gets_a_sentence_and_leaves_the_table_alone(opened: Opened) -> None:
    app = opened("data")
    app.file_uploader[0].upload("picture.csv", bytes(range(256)) * 40, "text/csv").run()
    assert "picture.csv" in app.error[0].value
    assert "20,000 rows" in _text(app)


def test_every_problem_of_a_table_is_listed(opened: Opened) -> None:
    app = opened("data")
    app.file_uploader[0].upload("twice.csv", b"a,a,\n1,2,3\n", "text/csv").run()
    assert "`a`" in app.info[0].value


def test_a_label_of_three_classes_gets_a_sentence(opened: Opened) -> None:
    app = opened("data", label="weekday")
    assert any("classes" in box.value for box in app.info)  # a choice is open, nothing is wrong
    assert not app.error


@pytest.mark.parametrize(
    ("classes", "says"), [("012", "`0` (20 rows), `1` (20 rows)"), ("1", "only one class, in 60 rows")]
)
def test_a_column_named_as_label_that_cannot_be_one_is_said_why(opened: Opened, classes: str, says: str) -> None:
    app = opened("data")
    lines = [f"x{i % 7},{'pqr'[i % 3]}{i % 4},{classes[i % len(classes)]}" for i in range(60)]
    app.file_uploader[0].upload("mine.csv", "\n".join(["a,b,click", *lines]).encode(), "text/csv").run()
    for _ in range(2):
        assert says in (app.info if len(classes) > 1 else app.error)[0].value
        assert app.selectbox(key="choice of label").value == "click"
        app.selectbox(key="choice of label").select("click").run()
    app.selectbox(key="choice of label").select("b").run()
    assert "12 classes" in app.info[0].value


def test_without_a_likely_label_the_column_chosen_is_said_what_is_wrong_with(opened: Opened) -> None:
    app = opened("data")
    lines = [f"x{i % 7},{i % 5},{i % 3}" for i in range(60)]
    app.file_uploader[0].upload("mine.csv", "\n".join(["a,b,c", *lines]).encode(), "text/csv").run()
    assert "no column looks like a label" in app.info[0].value
    assert app.selectbox(key="choice of label").value is None
    app.selectbox(key="choice of label").select("c").run()
    assert "`0` (20 rows), `1` (20 rows), `2` (20 rows)" in app.info[0].value


def test_all_columns_that_a_search_finds_are_left_out_and_used_again(opened: Opened) -> None:
    app = opened("data")
    found = [name for name in app.dataframe[0].value["Field"] if "a" in name]
    app.text_input(key="search among roles").set_value("A").run()
    assert list(app.dataframe[0].value["Field"]) == found
    _button(app, f"Leave out these {len(found)}").click().run()
    assert set(json.loads(_choice(app, "kinds"))) == set(found)
    assert f"{len(found)} ignored" in _text(app)
    _button(app, f"Use these {len(found)}").click().run()
    assert "kinds" not in app.query_params  # as suggested, so there is nothing to keep


def test_edits_of_the_roles_of_a_table_stay_with_it(opened: Opened, store: Store) -> None:
    lines = [f"{i},{'pq'[i % 2]},{'xyz'[i % 3]},{i % 2}" for i in range(60)]
    tables = [
        store.import_table("\n".join([f"hour,place,{last},click", *lines]).encode(), f"{last}.csv").sha256
        for last in ("kind", "sort")
    ]
    keys = []
    for table in tables:
        app = opened("data", table=table)
        keys += [element.proto.id for element in app.dataframe if element.proto.editing_mode]
    assert len(set(keys)) == 2


def test_a_column_that_is_used_against_the_suggestion_gets_a_kind_that_fits_it(opened: Opened) -> None:
    app = opened("data")
    lines = [f"{i},{'pq'[i % 2]},same,{'xyz'[i % 3]},{i % 2}" for i in range(60)]
    more = "".join(f",c{place}" for place in range(10))
    rows = [f"{line},{','.join(str((i * place) % 7) for place in range(10))}" for i, line in enumerate(lines)]
    table = "\n".join([f"row_id,place,constant,kind,click{more}", *rows])
    app.file_uploader[0].upload("mine.csv", table.encode(), "text/csv").run()
    roles = app.dataframe[0].value.set_index("Field")
    assert not roles.loc["row_id", "Use"]
    _button(app, f"Use all {len(roles)}").click().run()
    kinds = json.loads(_choice(app, "kinds"))
    assert kinds["row_id"] == "piecewise"
    assert kinds["constant"] == "categorical"


def test_the_verdict_and_the_role_table_call_a_kind_by_one_name_and_say_what_it_is(opened: Opened) -> None:
    app = opened("data")
    kinds = app.dataframe[0].value["Kind"].value_counts()
    said = _text(app)
    for kind, count in kinds.items():
        assert f"{count} {kind}" in said
        assert f"**{kind}**: {Kind(str(kind)).help}" in said


def test_the_values_of_a_field_are_drawn_with_their_share_of_positives_once_it_is_chosen(opened: Opened) -> None:
    assert "device and clicked = 1" not in [heading.value for heading in opened("data").subheader]
    app = opened("data", look="device")
    assert "device and clicked = 1" in [heading.value for heading in app.subheader]
    table = pd.read_csv(ROOT / "sample_data" / "clicks.csv")
    assert f"Dashed: {table['clicked'].mean():.1%}" in _text(app)


def test_long_cells_are_shortened_in_the_first_rows(opened: Opened) -> None:
    app = opened("data")
    rows = [f"{'word ' * 400}{i},{'pq'[i % 2]},{i % 2}" for i in range(40)]
    app.file_uploader[0].upload("long.csv", "\n".join(["text,place,click", *rows]).encode(), "text/csv").run()
    preview = app.dataframe[-1].value
    assert preview["text"].str.len().max() < 130
    assert preview["text"].str.endswith("…").all()


def test_a_role_chosen_by_the_user_is_in_the_url_and_in_the_run(opened: Opened, store: Store) -> None:
    app = opened("data", kinds=json.dumps({"price": "bucketised"}))
    _button(app, "Train with these roles").click().run()
    assert store.runs()[0].spec.schema.role("price").kind == "bucketised"


def test_one_click_on_start_queues_the_sample_with_recommended_settings(opened: Opened, store: Store) -> None:
    app = opened()
    _button(app, "Train this live").click().run()
    run = store.runs()[0]
    assert run.spec.table_name == "clicks.csv"
    assert run.spec.model.centred
    assert _choice(app, "run") == run.id


def test_settings_left_at_their_defaults_are_no_choice(opened: Opened, store: Store) -> None:
    _button(opened("train", preset="custom"), "Train").click().run()
    assert store.runs()[0].spec.folds is None


def test_custom_settings_out_of_range_get_the_specs_own_sentence(opened: Opened) -> None:
    app = opened("train", preset="custom", custom=json.dumps({"dropout": 1.5}))
    assert [error.value for error in app.error] == ["Dropout is 1.5. Use the share of units to drop, 0 to below 1."]


def test_custom_settings_reach_the_run(opened: Opened, store: Store) -> None:
    app = opened("train", preset="custom", model="dnn", custom=json.dumps({"embedding_size": 3, "layers": "7, 5"}))
    _button(app, "Train").click().run()
    run = store.runs()[0]
    assert (run.spec.model.name, run.spec.model.embedding_size, run.spec.model.layers) == ("dnn", 3, (7, 5))
    assert run.name == "DNN, 7-5, k 3 on clicks.csv"


def test_a_run_is_named_by_the_settings_that_it_has(opened: Opened, store: Store) -> None:
    linked = {"crosses": "device*hour", "embedding_size": "big", "a{x}": 1, "seed": 4}
    app = opened("train", preset="custom", model="deepfm", custom=json.dumps(linked))
    _button(app, "Train").click().run()
    assert store.runs()[0].name == "DeepFM, seed 4 on clicks.csv"


@pytest.mark.parametrize("model", ["wide-deep", "dcn", "lr"])
def test_the_form_draws_each_setting_that_the_model_has_with_its_label_range_and_help(
    opened: Opened, model: str
) -> None:
    from app.widgets.text import plain
    from deepfm_core.spec.models import MODELS
    from deepfm_core.spec.settings import SETTINGS
    from deepfm_core.spec.value_kinds import Whole

    app = opened("train", preset="custom", model=model)
    widgets = {w.key: w for w in (*app.number_input, *app.text_input, *app.selectbox, *app.toggle)}
    drawn = [setting for setting in SETTINGS if setting.drawn and setting.name != "precision"]  # by the machine
    for setting in drawn:
        widget = widgets.get(f"setting {setting.name}")
        assert (widget is not None) == setting.needs(MODELS[model]), setting.name
        if widget is None:
            continue
        assert (widget.label, widget.help) == (setting.heading, plain(setting.sentence))
        if isinstance(setting.values, Whole):
            assert (widget.min, widget.max, widget.step) == (setting.values.least, setting.values.high, 1)


def test_a_linked_number_out_of_range_gets_the_specs_own_sentence_and_can_be_put_right(opened: Opened) -> None:
    app = opened("train", preset="custom", custom=json.dumps({"epochs": 0}))
    assert [error.value for error in app.error] == ["Epochs is 0. Use 1 to 10000."]
    app.number_input(key="setting epochs").set_value(7).run()
    assert not app.error
    assert json.loads(_choice(app, "custom") or "") == {"epochs": 7}


def test_crossed_fields_are_asked_for_with_wide_and_deep_alone(opened: Opened, store: Store) -> None:
    custom = json.dumps({"crosses": "device*placement, hour*site"})
    app = opened("train", preset="custom", model="wide-deep", custom=custom)
    _button(app, "Train").click().run()
    assert store.runs()[0].spec.model.crosses == (("device", "placement"), ("hour", "site"))
    app = opened("train", preset="custom", model="deepfm", custom=custom)
    assert not [text for text in app.text_input if text.label == "Crossed fields"]
    assert not app.error
    app = opened("train", preset="custom", model="wide-deep", custom=json.dumps({"crosses": "device"}))
    assert [error.value for error in app.error] == ["Cross is 'device'. Name two fields, such as device\\*hour."]


def test_a_split_by_time_offers_columns_that_have_an_order(opened: Opened) -> None:
    app = opened("train", split=json.dumps({"by": "time"}))
    offered = app.selectbox(key="split column").options
    assert "price" in offered
    assert "ad" not in offered


@pytest.mark.parametrize(("page", "label"), [("train", "Train"), ("compare", "Compare"), ("study", "Study")])
def test_the_same_split_is_offered_wherever_runs_are_asked_for(
    page: str, label: str, opened: Opened, store: Store
) -> None:
    app = opened(page, split=json.dumps({"by": "group", "column": "site", "test": 0.25}))
    _button(app, label).click().run()
    assert not app.error
    splits = {run.spec.split for run in store.runs()}
    assert splits == {SplitSpec("group", "site", valid=0.1, test=0.25)}
    rows = splits.pop().training_rows(20_000)
    assert store.runs()[-1].spec.fit.l2 == preset("recommended", "deepfm", rows)[1].l2


def test_a_split_that_cannot_be_gets_the_specs_own_sentence_and_one_that_cannot_be_read_is_said(opened: Opened) -> None:
    app = opened("compare", split=json.dumps({"valid": 0.6, "test": 0.5}))
    assert "Validation plus test share is 1.1" in app.error[0].value
    app = opened("compare", split='{"by": ["time"], "valid": 1e999, "test": NaN}')
    assert "The link's split of `by`, `valid`, `test` cannot be read" in _text(app)
    assert not app.error
    app = opened("compare", split=json.dumps({"by": "time", "column": "nowhere", "test": "much"}))
    assert "The link's split of `column`, `test` cannot be read" in _text(app)
    assert not app.error


def test_a_split_is_seen_and_used_on_data_and_forgotten_with_the_table(opened: Opened, store: Store) -> None:
    app = opened("data", split=json.dumps({"test": 0.2}))
    _button(app, "Train with the suggested roles").click().run()
    assert store.runs()[0].spec.split == SplitSpec(test=0.2)
    app = opened("data", split=json.dumps({"test": 0.2}))
    other = next(name for name in app.selectbox(key="table to show").options if "no_interaction" in name)
    app.selectbox(key="table to show").select(other).run()
    assert "split" not in app.query_params


def test_a_queued_run_can_be_cancelled_and_resumed_on_train(opened: Opened, store: Store) -> None:
    run = store.enqueue(_spec(opened, store))
    app = opened("train", run=run)
    _button(app, "Cancel").click().run()
    assert store.run(run).state == "cancelled"
    app = opened("train", run=run)
    _button(app, "Resume").click().run()
    assert store.run(run).state == "queued"


def test_a_refused_resume_is_said_in_a_corner_and_the_page_stays(opened: Opened, store: Store) -> None:
    run = store.enqueue(_spec(opened, store))
    store.request_cancel(run)
    app = opened("train", run=run)
    store.resume(run)  # in another tab
    _button(app, "Resume").click().run()
    (said,) = [toast.value for toast in app.toast]
    assert "is queued. Only a lost, failed or cancelled run can be resumed." in said
    assert app.title[0].value == "Train"
    assert not app.exception


def test_a_run_can_be_renamed_annotated_deleted_and_brought_back(opened: Opened, store: Store) -> None:
    run = store.enqueue(_spec(opened, store), "first try")
    store.request_cancel(run)
    app = opened("runs", selected=run)
    app.text_input(f"name {run}").set_value("second try").run()
    app.text_input(f"notes {run}").set_value("too slow").run()
    assert (store.run(run).name, store.run(run).notes) == ("second try", "too slow")
    _button(app, "Delete").click().run()
    assert not store.runs()
    assert "second try" in _text(app)
    _button(app, "Undo").click().run()
    assert store.run(run).name == "second try"


def test_runs_are_listed_with_their_settings_searched_and_filtered(opened: Opened, store: Store) -> None:
    spec = _spec(opened, store)
    names = []
    for seed in range(5):
        run = store.enqueue(replace(spec, seed=seed), f"try {seed}")
        store.set_notes(run, "#wide" if seed % 2 else "")
        names.append(f"try {seed}")
    app = opened("runs")
    listed = app.dataframe[0].value
    assert set(names) <= set(listed["Run"])
    assert {"Embedding", "Layers", "Rate", "Seed", "Table"} <= set(listed.columns)
    assert set(listed["Embedding"]) == {spec.model.embedding_size}
    assert listed["Layers"].isna().all()  # an FM has no DNN
    assert sorted(listed["Seed"]) == [0, 1, 2, 3, 4]
    app.text_input(key="search among runs").set_value("#wide").run()
    assert set(app.dataframe[0].value["Run"]) == {"try 1", "try 3"}
    app.switch_page("views/train/train.py").run()
    app.switch_page("views/runs/runs.py").run()
    assert set(app.dataframe[0].value["Run"]) == {"try 1", "try 3"}  # the search stays
    app.text_input(key="search among runs").set_value("nothing like it").run()
    assert "No run passes the filter" in _text(app)


def test_runs_are_tagged_together_and_found_by_their_tags(opened: Opened, store: Store) -> None:
    spec = _spec(opened, store)
    first, second, third = (store.enqueue(replace(spec, seed=seed), f"try {seed}") for seed in range(3))
    store.set_notes(first, "slow, see #42 for why")
    app = opened("runs", selected=f"{first},{second}")
    tags = next(each for each in app.multiselect if each.label == "Tags that these 2 share")
    assert tags.value == []  # none that both have
    tags.set_value(["wide table"]).run()
    assert store.run(first).notes == "slow, see #42 for why #wide-table"  # a word of the sentence stays in it
    assert store.run(second).notes == "#wide-table"
    app.pills[0].set_value(["wide-table"]).run()
    listed = app.dataframe[0].value
    assert set(listed["Run"]) == {"try 0", "try 1"}
    assert list(listed.loc[listed["Run"] == "try 0", "Tags"].iloc[0]) == ["42", "wide-table"]
    assert list(listed.loc[listed["Run"] == "try 0", "Notes"]) == ["slow, see #42 for why"]
    linked = opened("runs", selected=first, tags="42")
    assert set(linked.dataframe[0].value["Run"]) == {"try 0"}
    next(each for each in linked.multiselect if each.label == "Tags").set_value(["wide-table"]).run()
    assert store.run(first).notes == "slow, see 42 for why #wide-table"
    assert not store.run(third).notes


def test_the_table_of_runs_says_on_tablets_too_that_it_goes_on(opened: Opened, store: Store) -> None:
    store.enqueue(_spec(opened, store), "try")
    said = [str(element.proto.body) for element in opened("runs").get("html")]
    assert any(layout.WIDE in text.split('"')[1].split() and "goes on to the right" in text for text in said)
    assert f"(max-width: 1100px) {{\n    .{layout.WIDE}" in layout._RULES


def test_letters_of_names_and_notes_that_may_have_no_font_are_looked_at(opened: Opened, store: Store) -> None:
    run = store.enqueue(_spec(opened, store), "试一试")
    store.set_notes(run, "좋다")
    scripts = [str(element.proto.body) for element in opened("runs").get("html")]
    looked_at = next(script for script in scripts if "const letters" in script)
    assert "Chinese characters" in looked_at
    assert "Korean letters" in looked_at


def test_tags_and_notes_are_one_text_and_come_apart_again() -> None:
    from app.views.runs.tags import tags_of, with_tags, without_tags

    notes = with_tags("better than a#b\nand C# 5", ["two words", "标签", "#again", "again", " "])
    assert notes == "better than a#b\nand C# 5 #two-words #标签 #again"
    assert tags_of(notes) == ["two-words", "标签", "again"]
    assert without_tags(notes) == "better than a#b\nand C# 5"
    assert with_tags(notes, []) == without_tags(notes)
    assert (tags_of("good, #slow, #wide;#deep"), without_tags("good, #slow, #wide;#deep")) == (
        ["slow", "wide", "deep"],
        "good,",
    )


def test_tags_typed_into_notes_are_tags_and_never_markup(opened: Opened, store: Store) -> None:
    run = store.enqueue(_spec(opened, store), "try")
    app = opened("runs", selected=run)
    next(field for field in app.text_input if field.label == "Notes").set_value("best #slow, **#[a](b)").run()
    assert store.run(run).notes == "best #slow, **#[a](b)"
    next(field for field in app.text_input if field.label == "Notes").set_value("best #[a](b)").run()
    assert store.run(run).notes == "best #[a](b)"  # what was erased is gone
    assert next(field for field in app.text_input if field.label == "Notes").value == "best"
    next(field for field in app.text_input if field.label == "Notes").set_value("better #slow").run()
    assert store.run(run).notes == "better #[a](b) #slow"  # a tag that stands at the end stays
    assert next(field for field in app.multiselect if field.label == "Tags").value == ["[a](b)", "slow"]
    assert app.pills[0].options == ["\\[a\\](b)", "slow"]


def test_the_settings_of_selected_runs_stand_side_by_side_and_are_those_the_runs_had(
    opened: Opened, store: Store
) -> None:
    spec = _spec(opened, store)
    first = store.enqueue(spec, "one")
    other = store.enqueue(replace(spec, seed=7), "two")
    alone = opened("runs", selected=first).dataframe[1].value
    assert "seed" in set(alone["setting"])
    both = opened("runs", selected=f"{first},{other}").dataframe[1].value
    assert "seed" in set(both["setting"])
    assert len(both) < len(alone)
    assert len(both.columns) == 3


def test_without_runs_the_page_runs_says_what_to_do(opened: Opened) -> None:
    assert "No runs yet" in opened("runs").info[0].value


def test_a_link_to_a_run_that_is_not_there_says_so_and_shows_the_sample(opened: Opened) -> None:
    app = opened("start", run="abcdefghjkmnpqrs")
    assert "is not in the store" in app.warning[0].value
    assert "Top pair" in _text(app)


def test_names_from_a_table_are_never_markup() -> None:
    from app.widgets.text import plain

    assert plain("a*b_c $5$ `d*e` :red[x]") == r"a\*b\_c \$5\$ `d*e` \:red\[x\]"
    assert plain(str(TableError("Table `x`", [Problem("a ` within")]))).count("`") == 0


def test_no_page_that_shows_results_imports_torch(tmp_path: Path) -> None:
    """One process opens all pages: torch would stay loaded, and the page that brought it is named."""
    script = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        f"for view in {VIEWS!r}:\n"
        "    app = AppTest.from_file('app/main.py', default_timeout=120)\n"
        "    app.switch_page(f'views/{view}/{view}.py') if view != 'start' else None\n"
        "    app.run(); assert not app.error, (view, app.error); assert 'torch' not in sys.modules, view"
    )
    environment = {**os.environ, "DEEPFM_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-2000:]
    _end_worker(tmp_path)


def _end_worker(home: Path) -> None:
    import signal

    from deepfm_core.store.process import Process

    store = Store(home)
    rows = store.database.rows("SELECT worker FROM workers")
    for row in rows:
        process = Process.parse(row["worker"])
        if process.alive():
            os.kill(process.pid, signal.SIGTERM)
    wait(lambda: not any(Process.parse(row["worker"]).alive() for row in rows))


def _choice(app: AppTest, name: str) -> str:
    value = app.query_params[name]
    return value if isinstance(value, str) else value[0]


def _button(app: AppTest, label: str):
    return next(button for button in app.button if button.label == label)


def _spec(opened: Opened, store: Store) -> RunSpec:
    from deepfm_core.schema.infer import infer_schema

    entry = store.import_table(ROOT / "sample_data" / "clicks.csv", "clicks.csv")
    schema = infer_schema(store.table(entry.sha256), "clicked")
    return RunSpec(entry.sha256, entry.name, schema, model=ModelSpec("fm"), fit=FitSpec(epochs=1))


@pytest.mark.parametrize("offered", [("float32", "bfloat16"), ("float32",)])
def test_bfloat16_is_offered_where_the_processor_announces_it(
    offered: tuple[str, ...], opened: Opened, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.views.train import settings

    monkeypatch.setitem(settings.OFFERED, "precision", offered)
    app = opened("train", preset="custom", custom=json.dumps({"precision": "bfloat16"}))
    assert ("Precision" in [box.label for box in app.selectbox]) is (len(offered) > 1)
    assert any("cannot be read" in info.value for info in app.info) is (len(offered) == 1)
    _button(app, "Train").click().run()
    assert store.runs()[0].spec.fit.precision == offered[-1]


def test_a_run_on_a_cluster_says_where_it_is_at_work_and_a_queued_one_what_it_waits_for(
    opened: Opened, store: Store
) -> None:
    me = Process.current()
    entry = store.import_table(b"hour,click\n" + b"1,0\n2,1\n" * 30, "hours.csv")
    spec = RunSpec(entry.sha256, entry.name, infer_schema(store.table(entry.sha256), "click"))
    run = store.begin(spec, me)
    store.append_event(run.id, Placed("192.0.2.7 (0a1b2c3d)"), me)
    store.workers.beat(me, "busy")
    state = ClusterState(str(me), nodes=3, processors=12, places=12, taken=12)
    (store.home / CLUSTER_FILE).write_text(json.dumps(asdict(state)), encoding="utf-8")
    waiting = store.enqueue(spec)
    said = _text(opened("train", run=run.id))
    assert "At work on node 192.0.2.7 (0a1b2c3d). The cluster has 3 nodes: 12 of 12 places taken, 1 waiting." in said
    assert "Waiting for the cluster: 12 of 12 places are taken, 1 run waits." in _text(opened("train", run=waiting))


def test_a_title_above_the_table_is_told_quietly(opened: Opened) -> None:
    app = opened("data")
    lines = b"x,y,clicked\n" + b"a,q,0\nb,p,1\n" * 400
    app.file_uploader[0].upload("titled.csv", b"Clicks of May\n\n" + lines, "text/csv").run()
    assert "left out" not in " ".join(warning.value for warning in app.warning)
    assert "1 line of the file is left out, and nothing is lost: 800 rows were read." in _text(app)


def test_copies_of_rows_are_said_and_can_be_kept(opened: Opened, store: Store) -> None:
    rows = clicks(400)
    app = opened("data")
    text = pd.concat([rows, rows]).to_csv(index=False)
    app.file_uploader[0].upload("twice.csv", text.encode(), "text/csv").run()
    assert "400 of 800 rows are copies of others\\: alike in every field and in the label. They are left out" in _text(
        app
    )
    assert "320 rows to train, 40 to validate, 40 to test" in [box.label for box in app.expander]
    assert "--copies" not in _text(app)
    (keep,) = (toggle for toggle in app.toggle if toggle.label == "Keep copies of rows")
    keep.set_value(True).run()
    assert _choice(app, "copies") == "keep"
    assert "They are kept, so held-out rows hold copies of training rows" in _text(app)
    assert "640 rows to train, 80 to validate, 80 to test" in [box.label for box in app.expander]
    _button(app, "Train with the suggested roles").click().run()
    assert store.runs()[0].spec.schema.copies == "keep"
    assert store.runs()[0].spec.fit == preset("recommended", "deepfm", 640)[1]
    _button(opened("data", table=store.runs()[0].spec.table), "Train with the suggested roles").click().run()
    assert preset("recommended", "deepfm", 320)[1] in [run.spec.fit for run in store.runs()]  # without the copies
    assert not [toggle for toggle in opened("data").toggle if toggle.label == "Keep copies of rows"]
