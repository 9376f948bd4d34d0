"""Whose runs and tables a page lists: the one user of this machine, or a visitor known by a cookie."""

from __future__ import annotations

import os
import re
import secrets

import streamlit as st

from deepfm_core.store.store import LOCAL

COOKIE = "deepfm_visitor"
_SECONDS = 365 * 24 * 3600


def hosted() -> bool:
    """Say whether many visitors share this server ($DEEPFM_PRIVATE=1, as the Procfile sets it)."""
    return os.environ.get("DEEPFM_PRIVATE", "") not in ("", "0")


def owner() -> str:
    """Return the owner under which the visitor's runs and tables are kept.

    The name is a secret of the browser's and never part of a link: who gets a link sees one run, not the list.
    """
    if not hosted():
        return LOCAL
    if COOKIE not in st.session_state:
        known = st.context.cookies.get(COOKIE, "")
        st.session_state[COOKIE] = known if re.fullmatch("[0-9a-f]{32}", known) else secrets.token_hex(16)
    return str(st.session_state[COOKIE])


def remember() -> None:
    """Have a visitor's browser keep the owner's name, where it does not know it yet."""
    if not hosted() or st.context.cookies.get(COOKIE) == owner():
        return
    script = (
        f"<script>document.cookie = '{COOKIE}={owner()}; path=/; max-age={_SECONDS}; SameSite=Lax'"
        " + (location.protocol === 'https:' ? '; Secure' : '')</script>"
    )
    with st.sidebar:  # takes no room at its end
        st.html(script, unsafe_allow_javascript=True)
