"""A run at a glance: its findings as three cards, its field matrix and its strongest pairs."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.charts.interactions.matrix import field_matrix
from app.charts.interactions.ranking import strongest_pairs
from app.shared.field_pairs import measures
from app.state import saved_runs
from app.state.saved_runs import OpenRun
from app.widgets.figure import show_chart
from app.widgets.layout import heading_for_readers, side_by_side
from app.widgets.text import MODEL_TITLES, baseline_sentence, counted, plain, wide_title
from deepfm_core._words import isolated, named, percent, signed
from deepfm_core.evidence.verdicts import has_evidence
from deepfm_core.explain.pair_counts import PairCounts
from deepfm_core.runs.findings import Cell, Findings, Slice, Spread, StrongestPair, findings
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import BASELINE

# Findings of a finished run, as three cards: strongest pair, FM and DNN share, worst-calibrated slice.


Card = tuple[str, str, str]
"""Headline, what was measured, and how to take it."""
TITLES = (
    ":material/grid_on: Top pair",
    ":material/balance: FM or DNN",
    ":material/target: Worst-calibrated slice",
)


def show(run: OpenRun) -> None:
    """Draw the three cards; for a baseline, one sentence instead."""
    if run.spec.model.name == BASELINE:
        st.info(baseline_sentence(run.name))
        return
    heading_for_readers("Findings")
    found = _found(run.id, run.state, run)
    model = MODEL_TITLES[run.spec.model.name]
    cards = (
        _of_sample(run, _pair(found.pair, model, run.spec.schema)),
        _spread(found.spread, model, wide_title(run.spec.model)),
        _slice(found.worst, _sampled(run, found)),
    )
    cells = side_by_side(3, least=200, gap="small", border=True)
    for cell, title, (headline, text, note) in zip(cells, TITLES, cards, strict=True):
        with cell:
            st.caption(title)
            st.markdown(f"### {headline}")
            st.markdown(text)
            st.caption(note)


@st.cache_data(max_entries=64, show_spinner=False)
def _found(run_id: str, state: str, _run: OpenRun) -> Findings:
    return findings(_run.folder)


def _pair(found: StrongestPair | None, model: str, schema: Schema) -> Card:
    if not schema.has_pairs:
        return "No pairs", "A pair needs two fields, and the model has one.", "Train with a second field to see pairs."
    if found is None:
        return "No pairs", f"The model {model} has no pairs.", "Train DeepFM or FM to see pairs."
    name = f"{plain(isolated(found.field_a))} × {plain(isolated(found.field_b))}"
    clear, effect = found.clear, f"Typical effect: **±{found.strength:.2f} log-odds**."
    if clear is None:
        text = f"{effect} Strongest of {counted(found.pairs, 'pair')}."
        return name, text, "Learned by one model. Another seed may rank differently; held-out rows may not confirm it."
    if not clear and not found.unsure:
        text = f"None of the {found.pairs:,} pairs is" if found.pairs > 1 else "The only pair is not"
        return "No clear pair", f"{text} clear above noise.", f"The strongest is {name}."
    text = effect if found.cell is None else cell_sentence(found.cell)
    return name, text, f"{_briefly(found.verdict)} {_how_many(found, clear)}".strip()


def _of_sample(run: OpenRun, card: Card) -> Card:
    """Say of the card of a pair when the labels that show it are those of a sample."""
    sampled, (headline, text, note) = saved_runs.sample_of(run), card
    if sampled is None or not run.spec.schema.has_pairs:
        return card
    return headline, text, f"{note} Counted on a sample of {sampled[0]:,} of {sampled[1]:,} rows."


def _briefly(verdict: str) -> str:
    """Make a sentence of a verdict; a bundle of a stranger may hold any text, so it is escaped."""
    said = plain(" ".join(verdict.split()))
    if not said:
        return ""
    return f"It {said}." if said.startswith("holds") else f"{said[0].upper()}{said[1:]}."


def cell_sentence(cell: Cell) -> str:
    """Say in plain words what two levels do together: in the data, and beside it in the model."""
    levels = " with ".join(f"**{plain(isolated(level))}**" for level in (cell.level_a, cell.level_b))
    return (
        f"{levels}: {cell.positive}, **{signed(cell.observed)} log-odds** beyond the "
        f"two alone. The model says {signed(cell.learned)}."
    )


def _how_many(found: StrongestPair, clear: int) -> str:
    """Say how many of all pairs hold on held-out rows, are clear in the data, and are unsure beside others."""
    return PairCounts(found.pairs, clear, found.unsure or 0, found.holding, 0, 0, 0, 0).briefly


def _spread(found: Spread | None, model: str, wide: str) -> Card:
    if found is None:
        return f"All {model}", f"The model {model} has one part.", "Train DeepFM to see how FM and DNN share the work."
    if found.dnn == 0:
        text = f"The DNN adds nothing over {found.rows:,} held-out rows: training found nothing beyond the guide."
        return f":blue[All {wide}]", text, "Epochs that do not help on the validation rows are not kept."
    text = f"Shares of the logit's variance over {found.rows:,} held-out rows."
    note = "As trained. Main effects can sit in either part, so the FM logit is more than its pairs."
    if wide == "LR":
        note = "As trained. Main effects can sit in either part, so another seed may split differently."
    return f":blue[{wide} {percent(found.fm)}] · :orange[DNN {percent(found.dnn)}]", text, note


def _sampled(run: OpenRun, found: Findings) -> str:
    """Say of how many held-out rows the findings are, where these are a sample; empty where they are all."""
    examples = None if found.spread is not None else saved_runs.frame(run, "examples")  # a model may have one part
    rows = found.spread.rows if found.spread is not None else 0 if examples is None else len(examples)
    counts = run.summary.get("rows", {})
    held_out = counts.get("test") or counts.get("valid") or 0  # the example rows are of the test part, if there is one
    if not 0 < rows < held_out:
        return ""
    return f" Of a sample of {rows:,} held-out rows; *Performance* judges all {held_out:,}."


def _slice(found: Slice | None, sampled: str) -> Card:
    if found is None:
        return (
            "Too few rows",
            "No slice of the held-out rows has enough positive rows to judge.",
            "Use a larger test part.",
        )
    text = (
        f"**{percent(found.predicted, 1)}** predicted, **{percent(found.observed, 1)}** observed "
        f"({percent(found.low, 1)} to {percent(found.high, 1)}) in {found.rows:,} held-out rows."
    )
    chance = f"Among {found.slices} slices, chance alone can put one this far off: no sign of a fault."
    fault = f"Further off than chance would put the worst of {found.slices} slices."
    return (
        plain(named(found.field, found.level)),
        text,
        (fault if found.beyond_chance else chance) + sampled,
    )


# A run's pairs at a glance: the field matrix and the strongest pairs, for pages without a choice of pair.


SHOWN = 10


def show_matrix(run: OpenRun) -> None:
    """Draw the field matrix of a run; if it is not finished, its FM pairs after the last epoch."""
    pairs, fields = saved_runs.frame(run, "pairs"), saved_runs.frame(run, "fields")
    if run.ready and pairs is not None and fields is not None and measures(pairs):
        st.markdown("**Field matrix**")
        upper = measures(pairs)[0]
        reading = "Strength of each pair in log-odds. Gold, on the diagonal: main effects of the fields."
        if fields["within"].notna().any():
            reading += " Corner of a gold cell: pairs of values within that field."
        if has_evidence(pairs):
            reading += " Hollow: not clear above noise."
        show_chart(lambda: field_matrix(pairs, fields, upper=upper), (run.id, run.state), reading, key="matrix")
        return
    by_epoch = saved_runs.frame(run, "pairs_by_epoch")
    if by_epoch is None or by_epoch.empty:
        return
    epoch = int(by_epoch["epoch"].max())
    now = by_epoch[by_epoch["epoch"] == epoch]
    st.markdown("**Field matrix**")
    show_chart(
        lambda: field_matrix(now, _bare(now), upper="learned_fm", live=True),
        (run.id, run.state, epoch),
        f"Strength of the FM pairs after epoch {epoch}, in log-odds.",
        key="matrix",
    )


def _bare(pairs: pd.DataFrame) -> pd.DataFrame:
    """Give the frame of fields that the matrix needs; main effects are unknown before the run ends."""
    names = list(dict.fromkeys([*pairs["field_a"], *pairs["field_b"]]))
    unknown = float("nan")
    return pd.DataFrame({"field": names, "order": range(len(names)), "main_effect": unknown, "within": unknown})


def show_strongest(run: OpenRun) -> None:
    """Draw the strongest pairs of a finished run."""
    pairs = saved_runs.frame(run, "pairs")
    if pairs is None or not measures(pairs):
        return
    rank_by = measures(pairs)[0]
    st.markdown("**Strongest pairs**")
    reading = (
        "Strength in log-odds: the standard deviation over rows of what the pair adds beyond its two fields alone."
    )
    if has_evidence(pairs):
        reading += " Hollow: not clear above noise. Band: 90% interval from the data."
    show_chart(
        lambda: strongest_pairs(pairs, top=SHOWN, rank_by=rank_by), (run.id, run.state), reading, key="strongest"
    )
