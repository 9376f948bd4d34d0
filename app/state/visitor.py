"""Who visits: the owner of the runs and tables that pages list, and whether they may see the page System."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import streamlit as st

from app.widgets.browser import COOKIE
from app.widgets.text import plain
from deepfm_core.store.limits import LOCAL, data_roots, shared

SECONDS = 365 * 24 * 3600
"""How long the browser keeps the cookie after the last visit."""


def is_owner(text: str) -> bool:
    """Say whether a text can be what a cookie holds; that of an account has another form, which none can forge."""
    return re.fullmatch("[0-9a-f]{32}", text) is not None


def owner() -> str:
    """Return the owner under which the visitor's runs and tables are kept.

    On a shared server it is of the account that the visitor signed in with; else a secret kept in the browser.
    """
    if not shared():
        return LOCAL
    user = st.user.to_dict()
    if user.get("is_logged_in"):
        return _of_account(user)
    if COOKIE not in st.session_state:
        known = st.context.cookies.get(COOKIE, "")
        st.session_state[COOKIE] = known if is_owner(known) else secrets.token_hex(16)
    return str(st.session_state[COOKIE])


def _of_account(user: Mapping[str, Any]) -> str:
    """Give the owner of an account: its provider's name of it, which stays when an address or a name changes."""
    account = f"{user.get('iss', '')}\n{user['sub']}"
    return f"account-{hashlib.sha256(account.encode()).hexdigest()[:32]}"


_PROXIED = ("x-forwarded", "forwarded", "x-real-ip", "via", "cf-")
"""How the headers begin by which a proxy says that it stands between."""


def may_name_files() -> bool:
    """Say whether the visitor may open files of the server's machine, and of addresses, as tables.

    On a shared server the operator says which files (`data_roots`). A personal one lets the person at its machine: the
    browser runs there, it asks for that machine by name, and no proxy says that it stands between.
    """
    if shared():
        return bool(data_roots())
    if st.context.ip_address is not None:
        return False
    headers = st.context.headers
    host = re.sub(r":\d+$", "", headers.get("Host", ""))
    proxied = any(name.lower().startswith(_PROXIED) for name in headers)
    return host in ("localhost", "127.0.0.1", "[::1]") and not proxied


def remember() -> None:
    """Set the cookie with the owner's name, if the visitor's browser does not have it: where `app/main.py` is served.

    `app/server.py` sets it with the page, so that this does nothing. Where a script has to, a tab that finds the cookie
    of another tab takes it over, by loading again.
    """
    if not shared() or st.user.to_dict().get("is_logged_in") or is_owner(st.context.cookies.get(COOKIE, "")):
        return
    script = (
        f"<script>if (/{COOKIE}=[0-9a-f]{{32}}/.test(document.cookie) && !sessionStorage.{COOKIE})"
        f" {{ sessionStorage.{COOKIE} = 1; location.reload() }}"
        f" else document.cookie = '{COOKIE}={owner()}; path=/; max-age={SECONDS}; SameSite=Lax'"
        " + (location.protocol === 'https:' ? '; Secure' : '')</script>"
    )
    with st.sidebar:  # at its end, where the empty element takes no room
        st.html(script, unsafe_allow_javascript=True)


# Accounts, where the server's secrets name a provider of OpenID Connect.


PACKAGES = {"Authlib": ("authlib",), "httpx2": ("httpx2", "httpx")}
"""What signing in needs, and the modules of which one must be there."""


def must_sign_in() -> bool:
    """Say whether the server asks for an account, and the visitor has not signed in."""
    return st.user.to_dict().get("is_logged_in") is False


def ask_to_sign_in() -> None:
    """Draw a button for each provider of the server's secrets."""
    st.title("DeepFM Explorer", anchor=False)
    if missing := [name for name, modules in PACKAGES.items() if not any(map(find_spec, modules))]:
        packages = f"the package{'s' if len(missing) > 1 else ''} {' and '.join(missing)}"
        st.error(f"Signing in needs {packages} on the server. Install what is missing, and start the server again.")
        return
    st.markdown("Sign in to see your tables and runs.")
    for name in _providers(st.secrets.get("auth", {})):
        label = f"Sign in with {plain(name.title())}" if name else "Sign in"
        go = partial(st.login, name) if name else st.login
        st.button(label, type="primary", icon=":material/login:", on_click=go)


def _providers(auth: Mapping[str, Any]) -> list[str]:
    named = [name for name, values in auth.items() if isinstance(values, Mapping) and "client_id" in values]
    return ([""] if "client_id" in auth else []) + named


def show_account() -> None:
    """Say at the end of the sidebar who is signed in, with a button to sign out; nothing without accounts."""
    user = st.user.to_dict()
    if user.get("is_logged_in"):
        with st.sidebar:
            st.caption(f"Signed in as {plain(str(user.get('email') or user.get('name') or 'you'))}")
            st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)


# Who may see the page System: the one user of a personal server; on a shared one, whoever its operator names.


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
