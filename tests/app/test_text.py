"""What pages say about problems with a file, a name or a run."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from app.widgets.columns import CELLS, DIFFERENCES, PAIRS, RATES, ROWS, SLICES, Titles
from app.widgets.figure import written
from app.widgets.layout import ICON
from app.widgets.text import counted, guide_kept
from deepfm_core._words import signed
from deepfm_core.errors import Problem, TableError
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.spec.presets import run_name, settings_said
from deepfm_core.spec.run import ModelSpec, RunSpec
from deepfm_core.store.store import Store
from tests.app.test_results import Opened, finished_copy, opened, text_of

pytestmark = pytest.mark.slow

__all__ = ["opened"]


def _spec(table: str = "t.csv", model: str = "deepfm") -> RunSpec:
    schema = Schema(LabelRole("y", "1", "0", ""), (FieldRole("x", Kind.CATEGORICAL, ""),))
    return RunSpec(table * 8, table, schema, model=ModelSpec(model))


def test_why_a_guide_was_kept_names_the_epoch_that_the_curves_mark_while_training() -> None:
    epochs = pd.DataFrame({"epoch": [1, 2, 3], "best": [True, True, False]})
    assert "the best epoch, 2 of 3, was not clearly better." in guide_kept(epochs, {"guide": {"pairs": [1]}})
    assert "no epoch was clearly better." in guide_kept(epochs.head(0), {})
    assert "the pairs that the labels support" not in guide_kept(epochs, {"guide": {"pairs": []}})


def test_lines_of_the_same_problem_are_one_sentence() -> None:
    ragged = [Problem("5 values where the header has 4", "Quote it.", line=n, value=f"a,{n}") for n in range(2, 40, 3)]
    told = str(TableError("Table `t.csv`", [*ragged, Problem("a name is missing", line=1)]))
    assert "13 lines (2, 5, 8, 11, 14, …): 5 values where the header has 4 (found `a,2` in line 2). Quote it." in told
    assert told.count("Quote it.") == 1
    assert "- line 1: a name is missing." in told


def test_problems_without_a_line_stay_apart() -> None:
    told = str(TableError("t", [Problem("no such column", value="a"), Problem("no such column", value="b")]))
    assert "`a`" in told
    assert "`b`" in told


def test_a_rejected_upload_says_which_table_the_page_still_shows(opened: Opened) -> None:
    app = opened("data")
    app.file_uploader[0].upload("picture.csv", bytes(range(256)) * 40, "text/csv").run()
    assert "picture.csv** was not loaded. Still showing **clicks.csv" in text_of(app)
    assert "clicks.csv" in [heading.value for heading in app.header]


def test_a_run_keeps_its_name_where_none_is_given(opened: Opened, store: Store) -> None:
    run = store.enqueue(_spec(), "first try")
    app = opened("runs", selected=run)
    app.text_input(f"name {run}").set_value("  ").run()
    assert store.run(run).name == "first try"
    assert app.text_input(f"name {run}").value == "first try"


def test_spaces_around_a_name_are_left_out_and_the_page_comes_to_rest(opened: Opened, store: Store) -> None:
    run = store.enqueue(_spec(), "first try")
    app = opened("runs", selected=run)
    app.text_input(f"name {run}").set_value(" second try ").run()
    assert store.run(run).name == "second try"
    assert not app.exception


@pytest.mark.parametrize(("model", "name"), [("deepfm", "DeepFM on t.csv"), ("wide-deep", "Wide & Deep on t.csv")])
def test_runs_of_the_app_and_the_command_line_are_named_alike(model: str, name: str) -> None:
    assert run_name(_spec(model=model)) == name


@pytest.mark.parametrize(
    ("preset", "chosen", "said"),
    [
        ("recommended", {}, ""),
        ("quick", {}, "quick"),
        ("paper", {"embedding_size": 4}, "paper, k 4"),
        ("recommended", {"layers": "128, 64", "embedding_size": 16}, "128-64, k 16"),
        ("recommended", {"batch_norm": True, "layers": (400, 400)}, "400-400, batch norm on"),
        ("recommended", {"activation": "tanh", "crosses": (("a", "b"),)}, "tanh, crosses a*b"),
        (
            "recommended",
            {"patience": 9, "l2": 1e-4, "learning_rate": 0.01, "seed": 2},
            "rate 0.01, L2 0.0001, seed 2, …",
        ),
    ],
)
def test_what_was_chosen_for_a_run_stands_in_its_name(preset: str, chosen: dict[str, object], said: str) -> None:
    assert settings_said(preset, chosen) == said


def test_curves_of_runs_on_other_tables_are_left_out_and_said_to_be(opened: Opened, store: Store) -> None:
    finished_copy(store, lambda folder: None)
    store.enqueue(_spec("other.csv"))
    assert "sample run comes with the app" in text_of(opened("runs"))
    assert "sample run" not in json.dumps([list(frame.value["Run"]) for frame in opened("runs").dataframe])


def test_buttons_of_an_icon_alone_are_named_by_their_figure(opened: Opened) -> None:
    app = opened("interactions")
    icons = [button for button in app.button if (button.key or "").startswith(ICON)]
    assert any(button.label == "Field matrix as table" for button in icons)
    assert all(button.label.endswith(" as table") for button in icons)


def test_what_rounds_to_zero_is_not_negative() -> None:
    assert [signed(value, 2) for value in (-0.001, 0.001, -0.006)] == ["+0.00", "+0.00", "−0.01"]
    assert [written(value, 2) for value in (-0.001, 0.5, -0.5)] == ["0.00", "0.50", "−0.50"]


@pytest.mark.parametrize("titles", [RATES, SLICES, PAIRS, CELLS, ROWS, DIFFERENCES])
def test_every_number_format_is_one(titles: Titles) -> None:
    forms = {form for _, form in titles.values()}
    assert all(form in ("", "percent", "localized") or re.fullmatch(r"%[+]?[.]\d[fge]", form) for form in forms), forms


def test_a_slope_is_left_out_where_next_to_nothing_was_learned() -> None:
    from app.shared.field_pairs import _z_and_slope

    assert _z_and_slope(3.14, 1.24) == "z +3.1 · slope +1.2"
    assert _z_and_slope(0.2, 458062.0) == "hardly learned"


def test_one_of_a_kind_is_not_said_to_be_many() -> None:
    assert [counted(count, "line") for count in (0, 1, 2, 2_000)] == ["0 lines", "1 line", "2 lines", "2,000 lines"]


def test_a_row_is_said_to_have_its_labels_own_value(opened: Opened) -> None:
    said = text_of(opened("examples"))
    assert "`clicked` is **1**" in said or "`clicked` is **0**" in said
    assert " are positive." in text_of(opened("performance"))


def test_a_run_that_was_cancelled_says_what_resuming_does(opened: Opened, store: Store) -> None:
    queued = store.enqueue(_spec())
    store.request_cancel(queued)
    assert "Resume starts from the beginning, since no epoch had finished." in text_of(
        opened("train", run=queued)
    ).replace("*", "")

    trained = finished_copy(store, lambda folder: None)
    summary = json.loads((store.folder(trained).path / "summary.json").read_text())
    scored = json.dumps({name: value for name, value in summary.items() if name != "run"})
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET status = 'cancelled', summary = ? WHERE id = ?", (scored, trained))
    app = opened("train", run=trained)
    assert "The model is trained. Resume continues with the explanations." in text_of(app).replace("*", "")
    assert "AUC (test)" in [metric.label for metric in app.metric]


def test_one_letter_of_each_script_that_a_system_may_lack_is_tried() -> None:
    from app.widgets.text import letters_to_try

    assert letters_to_try(["café × 5 €", "Москва", "größe_2"]) == {}
    assert letters_to_try(["设备 🖥️ 点", "か カ", "مدينة"]) == {
        "Chinese characters": "设",
        "emoji": "🖥",
        "Japanese kana": "か",
        "Arabic letters": "م",
    }
