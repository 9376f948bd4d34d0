"""Choices kept in the URL, so that a refresh, a second tab and a shared link find them again; and clicks in charts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.widgets.text import code
from deepfm_core._words import whole_number

_GOING = "page to open"
_KEPT, _PAGE = "kept choices", "page"
"""In the session: a copy of the choices, since the sidebar's links drop the URL's; and the page drawn last."""
_EARLIER = {"yardstick": "baseline"}
"""Choices that had another name when a link was made, and the name of today."""
_NAMES: set[str] = set()
"""Names of choices made through this module; Streamlit keeps those of widgets bound to the URL itself."""


def follow(page: str) -> None:
    """Carry the choices over to the page drawn now; choices in its own URL win."""
    for earlier, today in _EARLIER.items():
        if earlier in st.query_params:
            st.query_params[today] = st.query_params.pop(earlier)
    if st.session_state.get(_PAGE, page) != page:
        kept = st.session_state[_KEPT].items()
        left = {name: value for name, value in kept if name not in st.query_params}
        if left:
            st.query_params.update(left)  # at once: each change of the URL is a step for the browser's Back
    st.session_state[_PAGE] = page
    _keep(st.query_params.to_dict())


def _keep(values: dict[str, str]) -> None:
    st.session_state[_KEPT] = {name: value for name, value in values.items() if name in _NAMES}


def chosen(name: str) -> str | None:
    """Return the choice `name`; None if the URL has none."""
    value = st.query_params.get(name)
    if name not in _NAMES:  # the first page of a server that just began
        _NAMES.add(name)
        _keep(st.query_params.to_dict())
    return value


def choose(name: str, value: str | None) -> None:
    """Keep a choice in the URL; None removes it."""
    if value is None:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != value:
        st.query_params[name] = value
    _NAMES.add(name)
    _keep(st.query_params.to_dict())


def chosen_values(name: str) -> dict[str, Any]:
    """Return a choice of several named values; empty if the URL has none or it cannot be read."""
    try:
        values = json.loads(chosen(name) or "{}")
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def say_unread(names: Sequence[str], what: str) -> None:
    """Say which of a link's named values cannot be read; nothing if all can."""
    if names:
        default = "The default is" if len(names) == 1 else "The defaults are"
        st.info(f"The link's {what} of {', '.join(map(code, names))} cannot be read. {default} used instead.")


def choose_values(name: str, values: dict[str, Any]) -> None:
    """Keep several named values as one choice; an empty dictionary removes it."""
    choose(name, as_text(values))


def as_text(values: dict[str, Any]) -> str | None:
    """Write several named values as one choice; None if there are none."""
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False) if values else None


def mirror(name: str, options: Sequence[str], default: str | None) -> dict[str, Any]:
    """Bind a widget with these options to the URL: pass the result on as its `key` and `on_change`."""
    key = f"choice of {name}"
    value = chosen(name)
    st.session_state[key] = value if value in options else default

    def keep() -> None:
        picked = st.session_state[key]
        choose(name, None if picked in (default, None) else picked)

    return {"key": key, "on_change": keep}


def mirror_number(name: str, default: int, most: int) -> dict[str, Any]:
    """Bind a number widget from 1 to `most` to the URL: pass the result on as its `key` and `on_change`."""
    key = f"choice of {name}"
    kept = chosen(name) or ""
    number = whole_number(kept)
    st.session_state[key] = default if number is None else min(max(number, 1), most)

    def keep() -> None:
        value = st.session_state[key]
        choose(name, None if value in (default, None) else str(value))

    return {"key": key, "on_change": keep}


def mirror_flag(name: str, default: bool, *, on: str = "on") -> dict[str, Any]:
    """Bind a toggle to the URL, which says `on` or off: pass the result on as its `key` and `on_change`."""
    key = f"choice of {name}"
    st.session_state[key] = {on: True, "off": False}.get(chosen(name) or "", default)

    def keep() -> None:
        value = bool(st.session_state[key])
        choose(name, None if value is default else on if value else "off")

    return {"key": key, "on_change": keep}


def missing(name: str, options: Sequence[str]) -> str | None:
    """Return the URL's choice if it is none of these options, so that the page can say so; else None."""
    value = chosen(name)
    return value if value is not None and value not in options else None


def go(page: str, **changes: str | None) -> None:
    """Open a page and keep the URL's choices, with `changes`; None removes one."""
    leave(page, **changes)
    context = get_script_run_ctx()
    if context is not None and context.fragment_ids_this_run:
        st.rerun(scope="app")  # a fragment cannot leave its page, so `arrive` goes
    arrive()


def leave(page: str, **changes: str | None) -> None:
    """Remember which page to open, as `go` would. For the callback of a button in a fragment on a timer.

    What a fragment does before it draws such a button, such as `st.rerun` once a run has ended, loses the click. A
    callback is called before all that. The fragment begins with `depart`.
    """
    merged = {**st.query_params.to_dict(), **changes}
    kept = {name: value for name, value in merged.items() if value is not None}
    _NAMES.update(changes)
    _keep(kept)
    st.session_state[_GOING] = page, kept


def depart() -> None:
    """Run the whole page if `leave` was called, so that `arrive` goes."""
    if _GOING in st.session_state:
        st.rerun(scope="app")


def arrive() -> None:
    """Open the page that `leave` or `go` named, if one did; call it before anything is drawn."""
    going = st.session_state.pop(_GOING, None)
    if going is not None:
        page, kept = going
        st.switch_page(f"views/{page}/{page}.py", query_params=kept)


# Selections in charts, kept in step with choices that are made elsewhere on the page.


Selected = dict[str, Any]
"""Selections by name: each a list of points, or an area as ranges by column."""


def selected(chart_key: str) -> Selected:
    """Return what is selected in a chart."""
    state: Any = st.session_state.get(chart_key) or {}
    found: Selected = state.get("selection") or {}
    return found


def point(chart_key: str, selection: str) -> dict[str, Any] | None:
    """Return the first point selected in a chart; None if nothing is selected."""
    points = selected(chart_key).get(selection)
    return points[0] if isinstance(points, list) and points else None


def chart_key(name: str, still_chosen: Callable[[Selected], bool]) -> str:
    """Give a chart a key under which every click on something new is reported.

    A chart remembers its selection and reports nothing if the same mark is clicked again. If another choice was made
    elsewhere in the meantime, the chart therefore gets a new key, which clears its selection. Otherwise it keeps its
    key and only takes new rows.

    Args:
        name: name of the chart.
        still_chosen: says whether the page still shows what is selected in the chart.
    """
    count = f"{name} starts"
    key = f"{name} {st.session_state.get(count, 0)}"
    picked = selected(key)
    if any(picked.values()) and not still_chosen(picked):
        st.session_state[count] = st.session_state.get(count, 0) + 1
        key = f"{name} {st.session_state[count]}"
    return key
