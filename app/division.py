"""How the rows of a run to be made are divided: by the code that the run itself divides them with."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from app import home
from app.inputs import plain
from deepfm_core.errors import DeepFMError
from deepfm_core.training.spec import RunSpec


class Division(NamedTuple):
    """Rows to train on, to validate and to test on, and what is not as one would wish."""

    train: int
    valid: int
    test: int
    notes: tuple[str, ...]


def division(spec: RunSpec) -> Division | None:
    """Divide a table's rows as a run with this spec does; None where they cannot be divided so."""
    apart = (spec.valid_table, spec.test_table)
    try:
        return _divided((spec.table, *apart, spec.schema.label, spec.split, spec.rows_seed), spec)
    except DeepFMError:
        return None  # the table, its roles or the split say why where they are chosen, or the run does


@st.cache_data(max_entries=32, show_spinner=False)
def _divided(asked: tuple[object, ...], _spec: RunSpec) -> Division:
    from deepfm_core.runs.parts import load_parts

    parts = load_parts(_spec, home.table)
    return Division(len(parts.train), len(parts.valid), len(parts.test), parts.notes)


def say_doubts(spec: RunSpec) -> None:
    """Say what of the parts of a run to be made is not as one would wish."""
    divided = division(spec)
    if divided is not None and divided.notes:
        bullet = "- " if len(divided.notes) > 1 else ""
        st.warning("\n".join(f"{bullet}{plain(note)}" for note in divided.notes), icon=":material/warning:")
