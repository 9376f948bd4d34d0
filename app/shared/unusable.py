"""What no run can use: columns that are not the numbers they are taken for, with two ways out, and unfit tables."""

from __future__ import annotations

import streamlit as st

from app.shared import launch
from app.shared.holdout import say_unfit
from app.state import links
from app.widgets.text import code, plain
from deepfm_core.schema.schema import Kind, Schema

SHOWN = 5
WAYS = (
    ("Make it categorical", ":material/category:", Kind.CATEGORICAL),
    ("Ignore it", ":material/block:", Kind.IGNORE),
)


def say_unusable(schema: Schema) -> bool:
    """Say what stands in a run's way, and return whether anything does.

    Columns of numbers that hold cells that are none have two ways out each; tables apart, to validate or test on, have
    their problems listed.
    """
    for role in schema.unusable[:SHOWN]:
        st.error(
            f"{code(role.column)} cannot be trained on as a number: {plain(role.stray)} is not a finite one. "
            "Put it right or empty it and upload the table again, or choose:"
        )
        with st.container(horizontal=True):
            for label, icon, kind in WAYS:
                st.button(label, key=f"{label} {role.column}", icon=icon, on_click=_choose, args=(role.column, kind))
    more = len(schema.unusable) - SHOWN
    if more > 0:
        st.error(f"The same holds for {more:,} more {'column' if more == 1 else 'columns'}.")
    return say_unfit(schema) or bool(schema.unusable)


def _choose(column: str, kind: Kind) -> None:
    links.choose_values(launch.KINDS, links.chosen_values(launch.KINDS) | {column: kind.value})
