"""Small things drawn on more than one page: text that may hold anything, charts with their reading, tables as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import streamlit as st

from app.widgets.text import code, plain
from deepfm_core.errors import DeepFMError
from deepfm_core.spec.naming import MODEL_TITLES as MODEL_TITLES

if TYPE_CHECKING:
    from deepfm_core.spec.run import ModelSpec, RunSpec

SECONDS_HELP = "Work: reading, encoding, training, evaluating and explaining; without loading and waiting."


def yardstick_sentence(run_name: str) -> str:
    """Say of a comparison's run of gradient boosting what it has to show."""
    return f"Run {code(run_name)} is a yardstick, gradient boosting beside a comparison: it has metrics, no pairs."


def to_pairs(spec: RunSpec) -> str:
    """Title the way from a run to its page Interactions, which shows the fields alone where there are no pairs."""
    paired = spec.model.switches.pairs and spec.schema.has_pairs
    return "See the pairs" if paired else "See the fields"


def wide_title(model: ModelSpec) -> str:
    """Name what may stand beside a network: the FM, or bias and first-order term alone."""
    return "FM" if model.second_order else "LR"


@contextmanager
def told() -> Iterator[None]:
    """Show what the user can put right as a sentence, in the place where it happened."""
    try:
        yield
    except DeepFMError as error:
        show_error(error)


def show_error(error: DeepFMError) -> None:
    """Show an error's text as it stands, its lists as lists."""
    lines = str(error).splitlines()
    st.error("\n".join(f"- {plain(line[2:])}" if line.startswith("- ") else plain(line) for line in lines))
