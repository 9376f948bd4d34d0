"""Pages that meet what nobody meant: odd names, broken links, other runs, tables that cannot be trained on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from app.widgets.text import code, plain
from deepfm_core.__main__ import main as command_line
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.store import LOCAL, Store
from tests.app.test_flow import _button, _choice
from tests.app.test_results import BUNDLED, finished_copy, frame_changed, text_of
from tests.small_engine import spec

pytestmark = pytest.mark.slow

Opened = Callable[..., AppTest]


def _noise_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Let the pair that looks strongest, and was learned most, be noise."""
    noise = frame["strength"].to_numpy().argmax()
    learned = frame["learned"].max() + frame["learned"].where(frame.index == frame.index[noise], 0)
    clear = frame["significant"].astype(bool) & (frame.index != frame.index[noise])
    return frame.assign(significant=clear, learned=learned)


def test_a_noise_pair_that_was_learned_most_is_not_called_the_strongest(opened: Opened, store: Store) -> None:
    run = finished_copy(store, lambda folder: frame_changed(folder, "pairs", _noise_first))
    pairs = pd.read_parquet(store.folder(run).path / "frames" / "pairs.parquet")
    noise = pairs.loc[pairs["strength"].idxmax()]
    said = text_of(opened("interactions", run=run, ranked="learned"))
    assert "The strongest is **" in said
    assert f"The strongest is **{noise['field_a']} × {noise['field_b']}**" not in said


def test_a_first_visit_to_a_run_that_is_not_finished_is_remembered(
    opened: Opened, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setattr("streamlit.runtime.context.ContextProxy.cookies", {})  # a browser that has none yet
    run = finished_copy(store, lambda _folder: None)
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET status = 'queued', summary = '{}' WHERE id = ?", (run,))
    app = opened("performance", run=store.shares.give("run", run, LOCAL))
    assert "is waiting for a worker" in text_of(app)
    assert any("deepfm_visitor=" in element.proto.body for element in app.get("html"))


@pytest.mark.parametrize("view", ["compare", "study"])
def test_a_number_of_thousands_of_digits_in_a_link_is_left_aside(view: str, opened: Opened) -> None:
    app = opened(view, new="1", seeds="9" * 5000, design="search", trials="9" * 5000)
    assert not app.error
    (seeds,) = (box.value for box in app.number_input if box.label == "Seeds")
    assert seeds == 1


NAMES = st.text(st.sampled_from("`` ![x](http://e/)<>*_$:#\\|~&a\n") | st.characters(codec="utf-8"), max_size=24)
EVIL = "``![x](http://evil/x.png)``"


def _outside_code(line: str) -> str:
    """Read one line as CommonMark does: give what is neither code nor a character that a backslash makes plain."""
    left, place = "", 0
    while place < len(line):
        if line[place] == "\\" and re.match(r"[!-/:-@\[-`{-~]", line[place + 1 : place + 2]):
            place += 2
        elif line[place] == "`":
            fence = re.match("`+", line[place:])[0]
            closing = re.search(f"(?<!`){fence}(?!`)", line[place + len(fence) :])
            if closing is None:
                left += fence
            place += len(fence) + (closing.end() if closing else 0)
        else:
            left, place = left + line[place], place + 1
    return left


@given(NAMES, NAMES)
@example(EVIL, "")
@example("a`b", EVIL)
def test_no_name_is_markup_whatever_it_holds(name: str, other: str) -> None:
    for text in (plain(name), plain(f"column `{name}`: found `{other}` and {name}"), f"{code(name)}, {plain(other)}"):
        assert not re.search(r"[\\`*_~\[\]<>$:#|&]", "".join(map(_outside_code, text.split("\n"))))
        assert not re.search(r"[\\`*_~\[\]<>$:#|&]", _outside_code(text))


@given(NAMES)
def test_a_name_as_code_is_code_from_end_to_end(name: str) -> None:
    assert _outside_code(f"{code(name)}.") == "."


def test_a_name_as_code_stands_as_it_is() -> None:
    assert (code("hour"), code("a`b"), code("`"), code("")) == ("`hour`", "``a`b``", "`` ` ``", "`  `")


def test_a_runs_name_is_never_markup_where_its_page_cannot_be_shown(opened: Opened, store: Store) -> None:
    run = finished_copy(store, lambda _folder: None)
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET status = 'queued', summary = '{}', name = ? WHERE id = ?", (EVIL, run))
    said = text_of(opened("performance", run=run))
    assert "is waiting for a worker" in said
    assert "![x]" not in _outside_code(said)


@pytest.mark.parametrize("value", ['"abc"', "[1]", "1e999", "true", "2.5", "null", "123456789012345678901234567890"])
def test_a_setting_of_a_link_that_cannot_be_read_is_said_and_left_as_it_is(opened: Opened, value: str) -> None:
    app = opened("train", preset="custom", custom=f'{{"epochs": {value}, "seed": 7}}')
    assert not app.error
    assert "The link's setting of `epochs` cannot be read. The default is used instead." in text_of(app)
    (seed,) = (field for field in app.number_input if field.label == "Seed")
    assert seed.value == 7


def test_a_role_of_a_link_that_cannot_be_read_is_said_and_left_as_it_is(opened: Opened) -> None:
    for kind in (["x"], "nonsense", {"a": 1}, 3):
        app = opened("data", kinds=json.dumps({"hour": kind, "device": "ignore"}))
        assert not app.error
        assert "The link's role of `hour` cannot be read. The default is used instead." in text_of(app)


def _of_the_baseline(folder: Path) -> None:
    for path in (folder / "model.safetensors", folder / "encoder.json", folder / "findings.json"):
        path.unlink()
    for path in (folder / "frames").iterdir():
        if path.stem != "predictions":
            path.unlink()
    spec = json.loads((folder / "spec.json").read_text())
    spec["model"]["name"] = "boosting"
    (folder / "spec.json").write_text(json.dumps(spec))


@pytest.mark.parametrize("page", ["start", "train", "interactions", "examples", "performance", "runs"])
def test_a_link_to_a_baseline_is_said_to_be_one(opened: Opened, store: Store, page: str) -> None:
    run = finished_copy(store, _of_the_baseline, name="boosting")
    app = opened(page, run=run)
    app.session_state["pairs are drawn"] = True
    app.run()
    assert not app.error
    if page in ("start", "interactions", "examples"):
        assert "is the baseline of a comparison: gradient boosting. It has metrics, but no pairs." in text_of(app)


def test_the_command_line_says_of_a_baseline_that_it_is_one(
    store: Store, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store.folder(finished_copy(store, _of_the_baseline, name="boosting")).path
    for arguments in (["predict", folder, table], ["explain", folder, table], ["interactions", folder]):
        assert command_line([str(argument) for argument in arguments]) == 2
        assert "is a baseline, gradient boosting beside a comparison" in capsys.readouterr().err


def _with_inf(path: Path) -> bytes:
    frame = pd.read_csv(path, dtype=str)
    frame.loc[16, "price"] = "inf"
    return frame.to_csv(index=False).encode()


@pytest.mark.parametrize(("way", "kind"), [("Make it categorical", "categorical"), ("Ignore it", "ignore")])
def test_a_column_with_infinity_is_an_error_with_two_ways_out(
    opened: Opened, store: Store, table: Path, way: str, kind: str
) -> None:
    sha = store.import_table(_with_inf(table), "infinite.csv").sha256
    for page, begin in (("train", "Train"), ("compare", "Compare"), ("study", "Study"), ("data", "Train with the ")):
        app = opened(page, table=sha)
        assert any("`price` cannot be trained on" in error.value for error in app.error), page
        assert any("`inf` in row 16" in error.value for error in app.error)
        assert next(button.disabled for button in app.button if button.label.startswith(begin)), page
    _button(app, way).click().run()
    assert json.loads(_choice(app, "kinds")) == {"price": kind}
    assert not app.error
    assert not any(button.disabled for button in app.button if button.label.startswith("Train with"))


def test_a_number_kind_chosen_by_the_visitor_is_still_an_error(opened: Opened, store: Store, table: Path) -> None:
    sha = store.import_table(_with_inf(table), "infinite.csv").sha256
    app = opened("data", table=sha, kinds=json.dumps({"price": "numeric"}))
    assert any("`price` cannot be trained on" in error.value for error in app.error)


def test_a_run_that_failed_offers_no_resume_first(opened: Opened, store: Store) -> None:
    run = finished_copy(store, lambda _folder: None)
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET status = 'failed', summary = '{}', message = 'x' WHERE id = ?", (run,))
    resume = next(button for button in opened("train", run=run).button if button.label == "Resume")
    assert resume.proto.type != "primary"


def test_a_spec_from_before_strays_were_kept_still_loads() -> None:
    whole = json.loads((BUNDLED / "spec.json").read_text())
    for role in whole["schema"]["roles"]:
        role.pop("stray", None)
    assert not RunSpec.from_dict(whole).schema.unusable


# What a visitor may have on a shared server, as the pages say it, and deleting all of it.


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption)


def test_a_shared_server_says_what_a_visitor_may_have_and_a_personal_one_does_not(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "You use" not in captions(opened("runs"))
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setattr("streamlit.runtime.context.ContextProxy.cookies", {})
    monkeypatch.setenv("DEEPFM_OWNER_MB", "300")
    for page in ("runs", "data"):
        said = captions(opened(page))
        assert "of 300 MB" in said
        assert "Tables and ended runs are deleted after 90 days." in said


def test_a_run_that_waits_for_room_says_so(opened: Opened, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_copy(store, lambda _folder: None)
    store.database.change("UPDATE runs SET status = 'queued', summary = '{}' WHERE id = ?", (run,))
    assert "Waiting for room" not in captions(opened("train", run=run))
    monkeypatch.setattr(Store, "is_full", lambda _store: True)
    assert "Waiting for room: the server keeps as much as it may." in captions(opened("train", run=run))


def test_everything_of_mine_is_deleted_after_it_was_said_what_goes(opened: Opened, store: Store) -> None:
    mine, other = store.enqueue(spec(), owner=LOCAL), store.enqueue(spec(), owner="bob")
    app = opened("runs", run=mine)
    assert any("**0 tables** and **1 run** for good" in text.value for text in app.markdown)
    next(button for button in app.button if button.label == "Delete for good").click().run()
    assert [run.id for run in store.runs()] == [other]
    assert not app.exception
    assert "Delete for good" not in [button.label for button in app.button]
