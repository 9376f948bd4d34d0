"""Pairs of fields: the one that a page shows, and sentences and figures about the strongest ones and about one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import streamlit as st

from app.charts.interactions.ranking import MEASURES, pair_label, ranked
from app.state import links, saved_runs
from app.state.links import chart_key, point
from app.state.saved_runs import OpenRun
from app.widgets.figure import written
from app.widgets.layout import ask_in_view, side_by_side
from app.widgets.text import code, plain
from deepfm_core._words import signed, training_rows
from deepfm_core.evidence.verdicts import (
    FEWEST,
    PROBABLE,
    has_evidence,
    passed_over,
    unexplained_said,
    untested_said,
    why_no_pairs,
)
from deepfm_core.explain.pair_counts import PairCounts

# The pair of fields that a page shows: kept in the URL, chosen by a click or in a select box.


PAIR, RANKED, MATRIX = "pair", "ranked", "matrix"
"""Names of the choices in the URL."""
_SEPARATOR = "~"
_OPENED = "pair open during the check"
"""In the session: a run whose pairs are still checked, and the pair of it that is open."""
_STAYED = "pair that stays open"
"""In the session: a run whose check has ended, and the pair of it that stays open."""


def pair_id(field_a: str, field_b: str) -> str:
    """Name a pair in the URL; the same field twice means the field alone."""
    return _SEPARATOR.join(quote(field, safe="").replace(_SEPARATOR, "%7E") for field in (field_a, field_b))


def pair_of(name: str) -> tuple[str, str]:
    """Read the two fields from a name made by `pair_id`."""
    field_a, _, field_b = name.partition(_SEPARATOR)
    return unquote(field_a), unquote(field_b)


def measures(pairs: pd.DataFrame) -> list[str]:
    """Name the measures by which pairs can be ranked, the best ranking first.

    Without evidence, `strength` only repeats one of the learned measures, so it is left out. The whole logit comes
    first, since it makes the prediction. A model of one part has one learned measure: its part is its whole logit.
    """
    there = [name for name in MEASURES if name in pairs and pairs[name].notna().any()]
    if has_evidence(pairs):
        return there
    parts = ("learned", "learned_fm", "learned_dnn")
    first: list[str] = [name for name in parts if name in there]
    return first if len(first) > 2 else first[:1] or there


def options(pairs: pd.DataFrame, fields: pd.DataFrame, measure: str) -> list[str]:
    """List the choices: every pair in the order of `ranked`, so clear pairs come first, then every field alone."""
    first = ranked(pairs, measure)
    names = [pair_id(a, b) for a, b in zip(first["field_a"], first["field_b"], strict=True)]
    return names + [pair_id(field, field) for field in fields.dropna(subset=["order"]).sort_values("order")["field"]]


def title(name: str) -> str:
    """Write a choice as the charts do."""
    field_a, field_b = pair_of(name)
    return pair_label(field_a, field_b) if field_a != field_b else f"{field_a} (main effect)"


def triangles(pairs: pd.DataFrame, measure: str) -> dict[str, tuple[str, str]]:
    """List what the matrix can show above and below its diagonal, by title; the first is the default."""
    there = {name for name in MEASURES if name in pairs and pairs[name].notna().any()}
    halves = [("learned_fm", "learned"), ("learned", "compared")]
    if has_evidence(pairs):
        halves = [("learned", "strength"), ("learned", "held_out_strength"), ("learned", "observed"), *halves]
    both = [half for half in halves if set(half) <= there]
    whole = [(name, name) for name in [measure, *(name for name in measures(pairs) if name != measure)]]
    chosen = [*both, *whole] if has_evidence(pairs) else [*whole, *both]
    return {_triangles_title(*half): half for half in chosen}


def _triangles_title(above: str, below: str) -> str:
    return MEASURES[above].label if above == below else f"{MEASURES[above].label} | {MEASURES[below].label}"


def keep(field_a: str, field_b: str) -> None:
    """Keep a pair in the URL, and have the page show it."""
    links.choose(PAIR, pair_id(field_a, field_b))
    ask_in_view()


def stay_open(run: OpenRun, choices: Sequence[str]) -> None:
    """Keep the pair that was open by default while a run was checked, though another comes first now."""
    if run.active:  # nothing has been asked yet: the pair follows the ranking
        return
    run_id, opened = st.session_state.pop(_OPENED, ("", ""))
    if run_id == run.id and opened in choices and opened != choices[0] and links.chosen(PAIR) is None:
        links.choose(PAIR, opened)
        st.session_state[_STAYED] = run.id, opened


def say_what_leads(run: OpenRun, choices: Sequence[str], chosen: str) -> None:
    """Say which pair comes first now, while the one stays open that did before."""
    if st.session_state.get(_STAYED) == (run.id, chosen) and chosen != choices[0]:
        first = plain(title(choices[0]))
        st.caption(f"Held-out rows were asked: **{first}** comes first now. The pair above stays open.")


def remember_open(run: OpenRun, chosen: str) -> None:
    """Remember the pair that is open while a run is checked, for `stay_open`."""
    if run.active:
        st.session_state[_OPENED] = run.id, chosen


def keep_click(chart: str) -> None:
    """Keep the pair clicked in a chart; an empty selection changes nothing."""
    picked = point(chart, PAIR)
    if picked:
        keep(picked["field_a"], picked["field_b"])


def clickable(name: str, chosen: tuple[str, str]) -> dict[str, Any]:
    """Make a click in a chart choose a pair; pass the result on to `figure` as keywords."""
    key = chart_key(name, lambda picked: all({p["field_a"], p["field_b"]} == set(chosen) for p in picked[PAIR]))
    return {"chart_key": key, "on_select": lambda: keep_click(key), "selections": [PAIR]}


# Sentences and figures about pairs: the strongest pair, how far to trust the ranking, and the verdict on one pair.


WHERE = {
    "learned": " in the model",
    "learned_fm": " in the FM pairs",
    "learned_dnn": " in the DNN",
    "strength": " in the data",
    "observed": " in the data, taken alone",
    "held_out_strength": " on held-out rows",
}
"""Where a strength was measured, to end a sentence, by measure."""
MOST_SLOPE = 100.0
"""From this held-out slope on, the model has learned next to nothing of the pair, so the slope says nothing."""


def finding(run: OpenRun, pairs: pd.DataFrame, measure: str) -> None:
    """Say which pair is strongest, and how far to trust that."""
    if has_evidence(pairs):
        _finding_with_evidence(run, pairs, measure)
        if sampled := saved_runs.sample_of(run):
            st.caption(
                f"What the labels say of pairs is of a sample of {sampled[0]:,} of the {sampled[1]:,} rows; so are the "
                "counts of rows below. The model was trained on all training rows."
            )
        if said := untested_said(pairs):
            st.caption(said)
        _say_unexplained(pairs)
        return
    best = ranked(pairs, measure).iloc[0]
    name = plain(pair_label(best["field_a"], best["field_b"]))
    st.markdown(f"The model's strongest pair is **{name}**: {best[measure]:.2f} log-odds{WHERE.get(measure, '')}.")
    rows = run.summary.get("rows", {}).get("train")
    size = f" of {rows:,} training rows" if rows else ""
    st.caption(
        f"Take the order as a hint: it is what one model{size} learned. On tables with planted pairs, the ranking of "
        "one model finds them little better than chance. Check a pair against the data below before you believe it."
    )
    _say_unexplained(pairs)


def _say_unexplained(pairs: pd.DataFrame) -> None:
    if said := unexplained_said(pairs):
        st.caption(f"{said} Any other is measured when you open it.")


MOST_NAMED = 6
"""Guiding pairs that are named."""


def say_guided(run: OpenRun, pairs: pd.DataFrame) -> None:
    """Say how a guided model was guided, and what that means for reading its pairs; nothing for other models."""
    guide = run.summary.get("guide")
    if guide is None:
        return
    every = run.summary["rows"]["train"]
    rows = training_rows(guide.get("asked"), every)
    named = [pair_label(pair["field_a"], pair["field_b"]) for pair in guide["pairs"]]
    names = ", ".join(plain(name) for name in named[:MOST_NAMED])
    names += f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    if not named:
        _guided(
            f"This model started from what each field does alone: the labels of {rows} suggest no pair. {_beyond(run)}"
        )
        return
    checked = "held_out_z" in pairs and pairs["held_out_z"].notna().any()
    does = "The check on held-out rows is one." if checked else "Only a check on held-out rows would be one."
    candidates = "1 candidate pair" if len(named) == 1 else f"{len(named)} candidate pairs"
    _guided(
        f"This model started from what each field does alone, and from {candidates}: {names}. A candidate "
        f"has a chance of {PROBABLE:.0%} or more to be real, by the labels of {rows}; a clear pair stands well above "
        f"noise. The model took its candidates from the labels, so it is no second proof of them. {does} {_beyond(run)}"
    )


def _guided(text: str) -> None:
    with st.expander("This model is guided: how to read its pairs", icon=":material/alt_route:"):
        st.markdown(text)


def _beyond(run: OpenRun) -> str:
    if run.summary["guide"]["learned_beyond"]:
        return "Training then added to it, and predicts the validation rows better for that."
    return "Training found nothing that predicts the validation rows better, so the model stays as it started."


def _finding_with_evidence(run: OpenRun, pairs: pd.DataFrame, measure: str) -> None:
    counts = PairCounts.of(pairs)
    if not counts.clear + counts.unsure:
        st.markdown(f"{no_clear_pairs(pairs, positives(run))} {counts.imagined_said}".rstrip())
        st.caption("Below is what the model learned of pairs all the same. Its order says nothing about your data.")
        return
    order = ranked(pairs, measure)
    best, stronger = order.iloc[0], passed_over(order, measure)
    name = plain(pair_label(best["field_a"], best["field_b"]))
    leads = "The first to look at is" if stronger else "It is" if len(pairs) == 1 else "The strongest is"
    st.markdown(
        f"{counts.sure_said} {leads} **{name}**, with {best[measure]:.2f} log-odds{WHERE.get(measure, '')}. "
        f"{plain(stronger)}".rstrip()
    )
    later = "Held-out rows will tell whether it overstates any." if run.active and counts.right else ""
    if said := " ".join(filter(None, (counts.sizes_said, later, counts.imagined_said))):
        st.markdown(said)
    if run.finished and run.spec.model.switches.pairs and counts.holding is None:
        st.caption("These pairs were not checked on held-out rows. To check them, train again with *folds*, such as 5.")


def positives(run: OpenRun) -> tuple[int, int] | None:
    """Give the numbers of positive and of all rows whose labels were asked; None for a run that did not count them."""
    found = run.summary.get("positives")
    return (
        None if found is None or saved_runs.sample_of(run) else (sum(found.values()), sum(run.summary["rows"].values()))
    )


def no_clear_pairs(pairs: pd.DataFrame, counted: tuple[int, int] | None = None) -> str:
    """Say that no pair is clear above noise, and why: too few rows of one outcome, or how strong one could still be.

    Args:
        pairs: the frame `pairs`.
        counted: the numbers of positive and of all rows, if they are known.
    """
    subject = f"None of the {len(pairs):,} pairs is" if len(pairs) > 1 else "The only pair is not"
    if counted is not None and (rarer := min(counted[0], counted[1] - counted[0])) < FEWEST:
        which = "positive" if rarer == counted[0] else "negative"
        return (
            f"**{subject} clear above noise:** only {rarer:,} of {counted[1]:,} rows are {which}. With fewer than "
            f"{FEWEST}, a few rows in one cell can look like an effect, so no pair is called clear."
        )
    high = max(float(pairs["strength_high"].max()), 0.01)
    return (
        f"**{subject} clear above noise.** Any real interaction here is probably below {high:.2f} log-odds. In a small "
        "table, even a strong pair can stay hidden."
    )


@dataclass(frozen=True)
class Shown:
    """A figure of a pair as it is shown: title, value, the line under it, the help text, and what it is, in a line."""

    title: str
    value: str
    below: str
    help: str
    plainly: str = ""


def strength_row(row: pd.Series) -> None:
    """Draw a pair's strength wherever it was measured."""
    there = [shown for shown in (_data(row), _model(row), _held_out(row)) if shown is not None]
    if there:
        st.caption(
            "Strength: the typical size over all rows of what the pair adds beyond its two fields, in ± log-odds."
        )
        _figures(there)


def test_row(row: pd.Series) -> None:
    """Draw how a pair was tested, on request."""
    there = [shown for shown in (_knock_out(row), _false_discovery(row)) if shown is not None]
    if there:
        with st.expander("How it was tested"):
            st.caption(" ".join(each.plainly for each in there))
            _figures(there)


def _figures(shown: Sequence[Shown]) -> None:
    for cell, each in zip(side_by_side(len(shown), least=130, gap="small"), shown, strict=True):
        with cell.container(border=True, gap=None, height="stretch"):
            st.metric(each.title, each.value, help=each.help)
            st.caption(each.below)


def _known(row: pd.Series, *names: str) -> bool:
    return all(name in row and pd.notna(row[name]) for name in names)


def _data(row: pd.Series) -> Shown | None:
    if not _known(row, "strength", "strength_low", "strength_high"):
        return None
    return Shown(
        "In the data",
        f"{row['strength']:.2f}",
        f"90%: {row['strength_low']:.2f} to {row['strength_high']:.2f}",
        "Strength in the data, estimated from the labels together with the other pairs, without a model. Strength is "
        "the standard deviation over rows, in log-odds, of what the pair adds beyond its two fields alone.",
    )


def _model(row: pd.Series) -> Shown | None:
    if not _known(row, "learned"):
        return None
    both = _known(row, "learned_fm", "learned_dnn")
    return Shown(
        "In the model",
        f"{row['learned']:.2f}",
        f"FM {row['learned_fm']:.2f} · DNN {row['learned_dnn']:.2f}" if both else "log-odds",
        "Strength in the whole logit, in log-odds, purified of what either field does alone. Below it: the strength in "
        "the FM pairs and in the DNN, each by itself. They need not add up, since the two can support or "
        "oppose each other.",
    )


def _held_out(row: pd.Series) -> Shown | None:
    if not _known(row, "held_out_strength", "held_out_z", "held_out_slope"):
        return None
    return Shown(
        "On held-out rows",
        f"{row['held_out_strength']:.2f}",
        _z_and_slope(float(row["held_out_z"]), float(row["held_out_slope"])),
        "Strength that held-out rows support, in log-odds. z is the number of standard errors above zero; above 2 the "
        "pair holds. Slope 1: the model has the right size. Slope above 1: the model's strength is too small.",
    )


def _knock_out(row: pd.Series) -> Shown | None:
    if not _known(row, "knock_out_logloss", "knock_out_low", "knock_out_high"):
        return None
    low, high = (written(row[f"knock_out_{name}"], 4) for name in ("low", "high"))
    return Shown(
        "Knock-out (nats)",
        signed(row["knock_out_logloss"], 4),
        f"95%: {low} to {high}",
        "How much the logloss of held-out rows rises without this pair's part of the model, in nats per row. Below "
        "zero: the model predicts better without it.",
        "**Knock-out:** how much worse the model predicts held-out rows once the pair is taken out; above zero, "
        "the pair helps.",
    )


def _false_discovery(row: pd.Series) -> Shown | None:
    if not _known(row, "q_value"):
        return None
    rate, has_support = float(row["q_value"]), _known(row, "support")
    return Shown(
        "False discovery rate",
        "< 0.1%" if rate < 0.001 else f"{rate:.1%}",
        f"{row['support']:,.0f} level pairs with rows" if has_support else "Benjamini–Hochberg",
        "Expected share of noise among the pairs at least as clear as this one (Benjamini and Hochberg). A pair is "
        "clear above noise at 5% or less, if no other pair explains it: its interval beside the others stays above "
        "zero, or held-out rows confirm it.",
        "**False discovery rate:** how much of what is as clear as this pair would be noise; 5% or less passes "
        "the test."
        + (" **Level pairs:** how many pairs of levels have rows, so that the labels could test them." * has_support),
    )


def no_pairs(run: OpenRun) -> None:
    """Say that a model without pairs has none, and what to do."""
    st.info(
        f"Run {code(run.name)} is a logistic regression. Its logit is a sum over single fields, so no two fields "
        "interact. Train FM, DNN or DeepFM on the same table to see pairs. Below is what each field does alone.",
        icon=":material/functions:",
    )
    if st.button("Train another model", icon=":material/model_training:"):
        links.go("train")


def one_field(run: OpenRun) -> None:
    """Say that a run of one field has no pair, and what to do."""
    st.info(f"{plain(why_no_pairs(run.spec.schema))} Below is what the field does alone.", icon=":material/looks_one:")
    if st.button("Choose fields", icon=":material/table:"):
        links.go("data")


def _z_and_slope(z: float, slope: float) -> str:
    """Write z and slope on held-out rows; both say nothing if the model learned next to nothing of the pair."""
    return f"z {signed(z, 1)} · slope {signed(slope, 1)}" if abs(slope) < MOST_SLOPE else "hardly learned"
