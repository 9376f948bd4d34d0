"""Owner of the runs and tables that pages list: the one user of this machine, or a visitor known by a cookie."""

from __future__ import annotations

import re
import secrets

import streamlit as st

from deepfm_core.store.limits import LOCAL, shared

COOKIE = "deepfm_visitor"
_SECONDS = 365 * 24 * 3600


def owner() -> str:
    """Return the owner under which the visitor's runs and tables are kept.

    On a shared server it is a secret kept in the browser and never part of a link: a link shows one run, not the list.
    """
    if not shared():
        return LOCAL
    if COOKIE not in st.session_state:
        known = st.context.cookies.get(COOKIE, "")
        st.session_state[COOKIE] = known if re.fullmatch("[0-9a-f]{32}", known) else secrets.token_hex(16)
    return str(st.session_state[COOKIE])


def remember() -> None:
    """Set the cookie with the owner's name, if the visitor's browser does not have it yet."""
    if not shared() or st.context.cookies.get(COOKIE) == owner():
        return
    script = (
        f"<script>document.cookie = '{COOKIE}={owner()}; path=/; max-age={_SECONDS}; SameSite=Lax'"
        " + (location.protocol === 'https:' ? '; Secure' : '')</script>"
    )
    with st.sidebar:  # at its end, where the empty element takes no room
        st.html(script, unsafe_allow_javascript=True)
