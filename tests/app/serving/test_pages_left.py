"""What a page asks for after it was left is dropped (app/_private.py)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from streamlit.runtime import scriptrunner
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData

from app._private import keep_to_the_open_page

OPEN, LEFT = "page that is open", "page that was left"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path) -> list[RerunData]:
    """Give what Streamlit runs, with the app's change around it."""
    given: list[RerunData] = []
    monkeypatch.setattr(scriptrunner.ScriptRunner, "_run_script", lambda _runner, data: given.append(data))
    keep_to_the_open_page()
    keep_to_the_open_page()  # at each run of the app
    pages = PagesManager(str(tmp_path / "main.py"))
    pages.set_current_page_script_hash(OPEN)
    runner = SimpleNamespace(_pages_manager=pages)
    for data in (
        RerunData(page_script_hash=LEFT, fragment_id_queue=["watch"], is_auto_rerun=True),
        RerunData(page_script_hash=LEFT, fragment_id_queue=["watch"]),
        RerunData(page_script_hash=OPEN, fragment_id_queue=["watch"], is_auto_rerun=True),
        RerunData(page_script_hash="", fragment_id_queue=["watch"]),
        RerunData(page_script_hash=LEFT),
    ):
        scriptrunner.ScriptRunner._run_script(runner, data)  # type: ignore[arg-type]
    return given


def test_only_fragments_of_the_open_page_are_drawn(ran: list[RerunData]) -> None:
    assert [(data.page_script_hash, data.fragment_id_queue) for data in ran] == [
        (OPEN, ["watch"]),
        ("", ["watch"]),
        (LEFT, []),  # a whole page: somebody goes there
    ]


def test_a_streamlit_that_does_not_tell_the_open_page_runs_what_it_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[RerunData] = []
    monkeypatch.setattr(scriptrunner.ScriptRunner, "_run_script", lambda _runner, data: given.append(data))
    keep_to_the_open_page()
    asked = RerunData(page_script_hash=LEFT, fragment_id_queue=["watch"])
    scriptrunner.ScriptRunner._run_script(SimpleNamespace(), asked)  # type: ignore[arg-type]
    assert given == [asked]


def test_a_streamlit_without_the_method_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(scriptrunner.ScriptRunner, "_run_script")
    keep_to_the_open_page()
    assert not hasattr(scriptrunner.ScriptRunner, "_run_script")
