"""The three things said first of a finished run, as cards."""

from __future__ import annotations

import streamlit as st

from app.state.saved_runs import OpenRun
from app.widgets.layout import side_by_side
from app.widgets.messages import MODEL_TITLES, wide_title, yardstick_sentence
from app.widgets.text import counted, plain
from deepfm_core.runs.findings import Findings, Slice, Spread, StrongestPair, findings
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import YARDSTICK

Card = tuple[str, str, str]
"""Headline, what was measured, and what to make of it."""
TITLES = (
    ":material/grid_on: Strongest pair",
    ":material/balance: Who does the work",
    ":material/target: Worst-calibrated slice",
)


def show(run: OpenRun) -> None:
    """Draw strongest pair, FM and DNN share, and the worst-calibrated slice of a finished run."""
    if run.spec.model.name == YARDSTICK:
        st.info(yardstick_sentence(run.name))
        return
    found = _found(run.id, run)
    model = MODEL_TITLES[run.spec.model.name]
    cards = (
        _pair(found.pair, model, run.spec.schema),
        _spread(found.spread, model, wide_title(run.spec.model)),
        _slice(found.worst),
    )
    cells = side_by_side(3, least=200, gap="small", border=True)
    for cell, title, (headline, text, note) in zip(cells, TITLES, cards, strict=True):
        with cell:
            st.caption(title)
            st.markdown(f"#### {headline}")
            st.markdown(text)
            st.caption(note)


@st.cache_data(max_entries=64, show_spinner=False)
def _found(run_id: str, _run: OpenRun) -> Findings:
    return findings(_run.folder)


def _pair(found: StrongestPair | None, model: str, schema: Schema) -> Card:
    if not schema.has_pairs:
        return "No pairs", "A pair takes two fields, and the model has one.", "Train with a second field to see pairs."
    if found is None:
        return "No pairs", f"The model {model} has no pairs.", "Train DeepFM or FM to see pairs."
    name = f"{plain(found.field_a)} × {plain(found.field_b)}"
    text = f"**{found.strength:.2f}** log-odds (standard deviation over rows), the first of "
    if found.told_apart is None:
        text += f"{counted(found.pairs, 'pair')}."
        return name, text, "What this one model learned. Another seed may rank otherwise, and unseen rows may differ."
    if not found.told_apart:
        none = f"Of {found.pairs:,} pairs none is" if found.pairs > 1 else "The one pair is not"
        first = f"The first is {name}." if found.pairs > 1 else f"It is {name}."
        return "None stands out", f"{none} told apart from noise.", first
    others = f"{found.told_apart:,} pairs are" if found.told_apart > 1 else "One pair is"
    text += f"those told apart from noise, of {counted(found.pairs, 'pair')} in all."
    return name, text, f"{others} told apart from noise in these data."


def _spread(found: Spread | None, model: str, wide: str) -> Card:
    if found is None:
        return f"All {model}", f"The model {model} has one part.", "Train DeepFM to see how two parts share the work."
    text = f"of the logit's variance over {found.rows:,} held-out rows goes with each part."
    note = "As trained. The parts can trade main effects, so FM is not “pairs” and DNN is not “higher order”."
    if wide != "FM":
        note = "As trained. The parts can trade main effects: another seed may split otherwise."
    return f":blue[{wide} {found.fm:.0%}] · :orange[DNN {found.dnn:.0%}]", text, note


def _slice(found: Slice | None) -> Card:
    if found is None:
        return (
            "Too few rows",
            "No slice of the held-out rows has enough positive rows to judge.",
            "Use a larger test part.",
        )
    text = (
        f"**{found.predicted:.1%}** predicted, **{found.observed:.1%}** observed "
        f"({found.low:.1%} to {found.high:.1%}) in {found.rows:,} held-out rows."
    )
    chance = f"Chance alone puts the worst of {found.slices} slices as far off: no sign of a fault."
    fault = f"Further off than chance puts the worst of {found.slices} slices."
    return f"{plain(found.field)} = {plain(found.level)}", text, fault if found.beyond_chance else chance
