"""Errors that keep a run from starting: columns of numbers with other cells, and holdout tables that do not fit."""

from __future__ import annotations

import streamlit as st

from app.shared import launch
from app.shared.holdout import say_unfit
from app.state import links
from app.widgets.text import code, plain
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import Schema

SHOWN = 5
WAYS = [
    (f"Make it {kind}", ":material/category:", kind) if kind.is_used else ("Ignore it", ":material/block:", kind)
    for kind in Kind
    if kind.takes_any_text
]
"""What a column can be whatever its cells hold: the button's label and icon, and the kind."""


def say_unusable(schema: Schema) -> bool:
    """Say what keeps a run from starting; return whether anything does.

    A column of numbers that holds other cells gets two buttons: make it categorical, or ignore it. Problems of holdout
    tables are listed.
    """
    for role in schema.unusable[:SHOWN]:
        st.error(
            f"{code(role.column)} cannot be trained on as a number: {plain(role.stray)} is not a finite number. "
            "Fix or clear these cells and upload the table again, or choose:"
        )
        with st.container(horizontal=True):
            for label, icon, kind in WAYS:
                st.button(label, key=f"{label} {role.column}", icon=icon, on_click=_choose, args=(role.column, kind))
    more = len(schema.unusable) - SHOWN
    if more > 0:
        st.error(f"{more:,} more {'column has' if more == 1 else 'columns have'} the same problem.")
    return say_unfit(schema) or bool(schema.unusable)


def _choose(column: str, kind: Kind) -> None:
    links.choose_values(launch.KINDS, links.chosen_values(launch.KINDS) | {column: kind.value})
