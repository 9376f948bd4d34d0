"""What the app changes in Streamlit where there is no documented way (docs/decisions/018)."""

from __future__ import annotations

from functools import wraps
from typing import Any

from streamlit.runtime import scriptrunner

_RUN, _KEEPS = "_run_script", "_keeps_to_the_open_page"


def keep_to_the_open_page() -> None:
    """Let Streamlit drop what a page asks for after it was left. Call it at each run; the first call does it.

    A fragment on a timer asks to be drawn every second. `st.switch_page` leaves its page on the server, so one more
    such request may be on its way. Streamlit draws it once the new page is complete: the browser takes that for a
    change of page, empties the new one, and the next fragment of that one ends in a white window.
    """
    run = getattr(scriptrunner.ScriptRunner, _RUN, None)
    if run is None or hasattr(run, _KEEPS):
        return

    @wraps(run)
    def run_of_open_page(runner: Any, rerun_data: Any) -> None:
        if not _was_left(runner, rerun_data):
            run(runner, rerun_data)

    setattr(run_of_open_page, _KEEPS, True)
    setattr(scriptrunner.ScriptRunner, _RUN, run_of_open_page)


def _was_left(runner: Any, rerun_data: Any) -> bool:
    """Say whether fragments of another page than the open one are to be drawn; False where Streamlit does not tell."""
    fragments = getattr(rerun_data, "fragment_id_queue", None)
    asked = getattr(rerun_data, "page_script_hash", None)
    shown = getattr(getattr(runner, "_pages_manager", None), "current_page_script_hash", None)
    return bool(fragments and asked and shown) and asked != shown
