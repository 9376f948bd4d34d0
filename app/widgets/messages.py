"""Messages of more than one page: errors as sentences, what a baseline run has to show, names of parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.widgets.text import code, plain, without_options
from deepfm_core.errors import DeepFMError
from deepfm_core.spec.presets import MODEL_TITLES as MODEL_TITLES

if TYPE_CHECKING:
    from deepfm_core.spec.run import ModelSpec, RunSpec

SECONDS_HELP = (
    "Seconds of work: reading, encoding, training, evaluating, explaining, and checking pairs on held-out rows. "
    "Waiting is not counted."
)


def seconds_of_work(summary: Mapping[str, Any]) -> float | None:
    """Sum up the seconds of all stages that a run has ended; None if it has ended none."""
    stages = summary.get("seconds")
    return sum(stages.values()) + summary.get("hold_out_seconds", 0.0) if stages else None


def guide_alone(summary: Mapping[str, Any]) -> bool:
    """Say whether a run kept its guide alone, since no epoch did clearly better."""
    return bool(summary.get("best_epoch") == 0)


def baseline_sentence(run_name: str) -> str:
    """Say what a run of the baseline has to show."""
    return f"Run {code(run_name)} is the baseline of a comparison: gradient boosting. It has metrics, but no pairs."


def to_pairs(spec: RunSpec) -> str:
    """Label the button from a run to Interactions; without pairs, that page shows fields alone."""
    has_pairs = spec.model.switches.pairs and spec.schema.has_pairs
    return "See the pairs" if has_pairs else "See the fields"


def wide_title(model: ModelSpec) -> str:
    """Name the part of the logit that is not the DNN: `FM logit`, or `LR` for bias and first order alone."""
    return "FM logit" if model.second_order else "LR"


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show a `DeepFMError` as a message at this place of the page, instead of raising it."""
    try:
        yield
    except DeepFMError as error:
        show_error(error)


def show_error(error: DeepFMError, *, to_choose: bool = False) -> None:
    """Show an error: its text escaped, its lists as lists, without options of the command line.

    Args:
        error: what is wrong, and the remedy.
        to_choose: whether nothing is wrong yet, since the remedy is a choice that stands above.
    """
    lines = without_options(str(error)).splitlines()
    text = "\n".join(f"- {plain(line[2:])}" if line.startswith("- ") else plain(line) for line in lines)
    if to_choose:
        st.info(text, icon=":material/arrow_upward:")
    else:
        st.error(text)
