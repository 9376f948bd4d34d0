"""Who may look at what on a shared server: the owner, and whoever followed a link that the owner gave out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

import streamlit as st

from app.state import links, visitor
from app.state.store import store
from app.widgets.text import errors_said, moment, plain
from deepfm_core.errors import RunError
from deepfm_core.store.limits import shared
from deepfm_core.store.shares import is_token

if TYPE_CHECKING:
    from deepfm_core.store.records import ComparisonRow, RunRow
    from deepfm_core.store.shares import ShareKind

_PLACES: Final = ("run", "compare", "comparison", "study")
"""Names of the choices, in the URL, that may hold a link's token in the place of an id."""
_FOLLOWED = "links followed"
"""In the session: the tokens that came with its addresses, since a page of a comparison opens its runs by their ids."""


def subject(text: str, kind: ShareKind) -> str:
    """Return the id that a choice of the URL names: it holds an id, or the token of a link.

    Raises:
        RunError: the link was withdrawn.
    """
    return store().shares.subject(text, kind) if is_token(text) else text


def may_see_run(row: RunRow) -> bool:
    """Say whether the visitor may look at a run."""
    return not shared() or row.owner == visitor.owner() or store().shares.show_run(row, _followed())


def may_see_comparison(row: ComparisonRow) -> bool:
    """Say whether the visitor may look at a comparison or study."""
    return not shared() or row.owner == visitor.owner() or store().shares.show_comparison(row.id, _followed())


def run(text: str) -> RunRow:
    """Return the run of an id or a link.

    Raises:
        RunError: there is none that the visitor may see.
    """
    row = store().run(subject(text, "run"))
    if not may_see_run(row):
        raise _not_shown("run", text)
    return row


def comparison(text: str) -> ComparisonRow:
    """Return the comparison or study of an id or a link.

    Raises:
        RunError: there is none that the visitor may see.
    """
    row = store().comparisons.of(subject(text, "comparison"))
    if not may_see_comparison(row):
        raise _not_shown("comparison", text)
    return row


# What an owner does with links: make one, see all, withdraw.

_SHOWN = {
    "run": "can look at this run: its settings, results and charts, the model with the values of every field, and some "
    "rows of the table, with all columns, as examples. They can download these.",
    "comparison": "can look at all runs of this comparison: their settings, results and charts, the models with the "
    "values of every field, and some rows of the table, with all columns, as examples. They can download these.",
}
"""What a link shows, by its kind; follows "Whoever has the link"."""
_NOT_SHOWN = "They cannot open the table itself or train on it, and cannot change anything. You can withdraw the link."


def offer(kind: ShareKind, row: RunRow | ComparisonRow, page: str, choice: str, label: str) -> None:
    """Draw the menu that makes a link to the visitor's own run or comparison; nothing on a personal server.

    Args:
        kind: what is shared.
        row: the run or comparison.
        page: the page that the link opens.
        choice: name, in the URL, of the choice that holds the token.
        label: of the menu.
    """
    if not shared() or row.owner != visitor.owner():
        return
    given = next((link.token for link in store().shares.of(row.owner) if link.subject == row.id), None)
    with st.popover(label, icon=":material/share:", type="tertiary", key=f"share {row.id}"):
        st.markdown(f"Whoever has the link {_SHOWN[kind]} {_NOT_SHOWN}")
        if given is None:
            st.caption("The address in your browser opens for you alone.")
            make = f"make link {row.id}"
            st.button("Make a link", icon=":material/add_link:", key=make, on_click=_give, args=(kind, row.id))
            return
        st.code(urljoin(st.context.url or "/", f"{page}?{choice}={given}"), language=None, wrap_lines=True)
        st.button("Withdraw", icon=":material/link_off:", key=f"end {given}", on_click=_withdraw, args=(given,))


def show_given() -> None:
    """List what the visitor shares, each with a button that ends it; nothing if there is nothing."""
    given = store().shares.of(visitor.owner()) if shared() else []
    if not given:
        return
    st.subheader("What you share", anchor=False)
    st.caption("Whoever has the link of one of these can look at it. A withdrawn link opens for nobody from then on.")
    for link in given:
        with st.container(horizontal=True, vertical_alignment="center"):
            what = "run" if link.kind == "run" else "comparison or study, with its runs"
            st.markdown(f"**{plain(link.name)}** · {what} · since {moment(link.created)}", width="content")
            button, end = f"withdraw {link.token}", (link.token,)
            st.button("Withdraw", icon=":material/link_off:", type="tertiary", key=button, on_click=_withdraw, args=end)


def _give(kind: ShareKind, subject: str) -> None:
    with errors_said():
        store().shares.give(kind, subject, visitor.owner())


def _withdraw(token: str) -> None:
    with errors_said():
        store().shares.withdraw(token, visitor.owner())
        st.toast("The link is withdrawn. It opens for nobody any more.", icon=":material/check:")


def _not_shown(what: str, text: str) -> RunError:
    return RunError(
        f"The {what} `{text}` is not yours. Ask its owner for a link: *Share* makes one that opens for you."
    )


def _followed() -> set[str]:
    followed: set[str] = st.session_state.setdefault(_FOLLOWED, set())
    chosen = (links.chosen(name) or "" for name in _PLACES)
    followed |= {text for text in chosen if is_token(text)}
    return followed
