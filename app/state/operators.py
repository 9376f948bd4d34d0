"""Who may see the page System: the one user of a personal server; on a shared one, whoever its operator names."""

from __future__ import annotations

import hmac
import os

import streamlit as st

from deepfm_core.store.limits import shared

PASSWORD, PEOPLE = "DEEPFM_OPERATOR_PASSWORD", "DEEPFM_OPERATOR"
"""The environment's names of the settings: a password that the page asks for, and e-mail addresses of those who sign in
with OpenID Connect, with commas between."""
SHORTEST = 16
"""Characters of a password at least. A long one cannot be guessed, so nobody has to be locked out for trying."""
_KEY = "operator"


def has_page() -> bool:
    """Say whether there is a page System at all: on a shared server only where a setting names its operator."""
    return not shared() or bool(os.environ.get(PASSWORD) or os.environ.get(PEOPLE))


def signed_in() -> bool:
    """Say whether the visitor is known as the operator."""
    if not shared():
        return True
    return bool(st.session_state.get(_KEY)) or is_named(dict(st.user.to_dict()))


def is_listed() -> bool:
    """Say whether the page stands among the others: for the operator of a shared server. Others follow a link."""
    return shared() and signed_in()


def is_named(user: dict[str, object]) -> bool:
    """Say whether a signed-in user's address is in the setting, and not said to be unconfirmed."""
    people = {name.strip().lower() for name in os.environ.get(PEOPLE, "").split(",")} - {""}
    known = bool(user.get("is_logged_in")) and user.get("email_verified", True) is True
    return known and str(user.get("email", "")).lower() in people


def ask() -> None:
    """Ask for the password; without the setting, say who may sign in."""
    expected = os.environ.get(PASSWORD, "")
    if not expected:
        st.info("This page is for the operator of the server. Sign in with the address that `DEEPFM_OPERATOR` names.")
        return
    if len(expected) < SHORTEST:
        st.error(f"`{PASSWORD}` has fewer than {SHORTEST} characters. Set a longer one, and start the server again.")
        return
    with st.form("operator sign-in", width=420):
        given = st.text_input("Operator's password", type="password", autocomplete="current-password")
        if st.form_submit_button("Sign in", type="primary"):
            if hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace")):
                st.session_state[_KEY] = True
                st.rerun()
            st.error("This is not the operator's password. Try again.")


def offer_page() -> None:
    """Draw a link to the page System, for whoever may see it."""
    if has_page() and signed_in():
        st.page_link("views/system/system.py", label="System: queue, workers, disk and memory", icon=":material/dns:")
