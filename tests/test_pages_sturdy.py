"""Pages that meet what nobody meant: odd names, broken links, other runs, tables that cannot be trained on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from app.inputs import code, plain
from deepfm_core.runs.store import Store
from tests.test_pages_results import finished_copy, frame_changed, text_of

Opened = Callable[..., AppTest]


def _noise_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Let the pair that looks strongest, and was learned most, be noise."""
    noise = frame["strength"].to_numpy().argmax()
    learned = frame["learned"].max() + frame["learned"].where(frame.index == frame.index[noise], 0)
    return frame.assign(solid=frame["solid"].astype(bool) & (frame.index != frame.index[noise]), learned=learned)


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
    app = opened("performance", run=run)
    assert "is waiting for a worker" in text_of(app)
    assert any("deepfm_visitor=" in element.proto.body for element in app.get("html"))


NAMES = st.text(st.sampled_from("`` ![x](http://e/)<>*_$:#\\|~&a\n") | st.characters(codec="utf-8"), max_size=24)
EVIL = "``![x](http://evil/x.png)``"


def _outside_code(line: str) -> str:
    """Read one line as CommonMark does: give what is neither code nor a character that a backslash makes plain."""
    left, place = "", 0
    while place < len(line):
        if line[place] == "\\" and re.match(r"[!-/:-@\[-`{-~]", line[place + 1 : place + 2]):
            place += 2
        elif line[place] == "`":
            fence = re.match("`+", line[place:])[0]  # type: ignore[index]
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
    assert "The link's setting of `epochs` cannot be read: it is left as it was." in text_of(app)
    (seed,) = (field for field in app.number_input if field.label == "Seed")
    assert seed.value == 7


def test_a_role_of_a_link_that_cannot_be_read_is_said_and_left_as_it_is(opened: Opened) -> None:
    for kind in (["x"], "nonsense", {"a": 1}, 3):
        app = opened("data", kinds=json.dumps({"hour": kind, "device": "ignore"}))
        assert not app.error
        assert "The link's role of `hour` cannot be read: it is left as it was." in text_of(app)
