"""What may be said of the pairs: the strongest, how far to trust the order, and each pair's verdict."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app.charts.interactions.ranking import pair_label, ranked
from app.state import links
from app.state.saved_runs import OpenRun
from app.widgets.figure import signed, written
from app.widgets.layout import side_by_side
from app.widgets.text import code, plain
from deepfm_core.evidence.verdicts import (
    DOES_NOT_HOLD,
    HOLDS,
    LEARNED,
    LEARNED_SHARE,
    NOISE,
    NOT_BORNE_OUT,
    NOT_LEARNED,
    STANDS_IN,
    has_evidence,
    why_no_pairs,
)

WHERE = {
    "learned": " in its whole logit",
    "learned_fm": " in its FM part",
    "learned_dnn": " in its DNN part",
    "strength": " in the data",
    "observed": " in the data, looked at alone",
    "held_out_strength": " on unseen rows",
}
OVERSTATED_SLOPE = 0.5
"""Held-out slope below which less than half of what the model learned of a pair is borne out."""
MOST_SLOPE = 100.0
"""Held-out slope from which it is only a sign that the model has learned next to nothing of a pair."""
SENTENCES = {
    HOLDS: "**It holds on unseen rows:** the data shows this pair, and what the model learned of it predicts rows it "
    "was not learned from.",
    LEARNED: "**The data shows it, and the model learned it**, at least half as strong.",
    NOT_LEARNED: "**The data shows it, the model has not learned it**, or less than half as strong.",
    DOES_NOT_HOLD: "**Learned, but it does not hold:** the model makes more of this pair than the data supports, and "
    "what it learned does not predict unseen rows.",
    NOT_BORNE_OUT: "**Learned, but not borne out:** the model makes more of this pair than the data supports.",
    NOISE: "**Not told apart from noise:** a table without this interaction could look the same.",
}


def finding(run: OpenRun, pairs: pd.DataFrame, measure: str) -> None:
    """Say which pair is strongest, and what that is worth."""
    if has_evidence(pairs):
        _finding_with_evidence(pairs, measure)
        return
    best = ranked(pairs, measure).iloc[0]
    name = plain(pair_label(best["field_a"], best["field_b"]))
    st.markdown(f"This model makes most of **{name}**: {best[measure]:.2f} log-odds{WHERE.get(measure, '')}.")
    rows = run.summary.get("rows", {}).get("train")
    size = f" of {rows:,} training rows" if rows else ""
    st.caption(
        f"Take the order as a hint. It is what this one model{size} learned; on tables with planted pairs, one model's "
        "ranking at such sizes finds them little better than chance. Check a pair against the data below before you "
        "believe it."
    )


def _finding_with_evidence(pairs: pd.DataFrame, measure: str) -> None:
    solid = pairs[pairs["solid"].fillna(False).astype(bool)]
    if solid.empty:
        st.markdown(nothing_told_apart(pairs))
        st.caption("What the model holds of pairs all the same stands below; its order says nothing about your data.")
        return
    best = ranked(pairs, measure).iloc[0]
    strongest = plain(pair_label(best["field_a"], best["field_b"]))
    st.markdown(
        f"{told_apart(solid, pairs)} told apart from noise in the data; {_held_and_learned(solid)}. "
        f"The strongest is **{strongest}** with {best[measure]:.2f} log-odds{WHERE.get(measure, '')}."
    )


def told_apart(solid: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """Begin a sentence on how many of the pairs are told apart from noise, of which there are some."""
    if len(pairs) == 1:
        return "The **one** pair is"
    return f"**{len(solid)} of {len(pairs)}** pairs {'is' if len(solid) == 1 else 'are'}"


def nothing_told_apart(pairs: pd.DataFrame) -> str:
    """Say that no pair is told apart from noise, and how strong any of them may be at most."""
    high = max(float(pairs["strength_high"].max()), 0.01)
    none = f"none of {len(pairs)} pairs stands out" if len(pairs) > 1 else "its one pair does not stand out"
    return (
        f"**Nothing was told apart from noise:** {none} in these data. Since few pairs interact as a rule, more than "
        f"{high:.2f} log-odds is expected of none; but in a small table even a strong pair can go unseen."
    )


def _held_and_learned(solid: pd.DataFrame) -> str:
    """Say how many of the pairs hold on unseen rows, where that was asked, and how many the model has learned."""
    learned = int((solid["learned"] >= LEARNED_SHARE * solid["strength"]).sum())
    said = f"the model has learned {_count(learned, len(solid))} to at least half the strength that the data shows"
    if "held_out_z" not in solid or solid["held_out_z"].isna().all():
        return said
    holding = int((solid["verdict"] == HOLDS).sum())
    verb = "holds" if holding == 1 or len(solid) == 1 else "hold"
    return f"{_count(holding, len(solid))} {verb} on unseen rows, and {said}"


def _count(some: int, of: int) -> str:
    if of == 1:
        return "it" if some else "none"
    return "all of them" if some == of else f"{some} of them" if some else "none of them"


def verdict_sentence(row: pd.Series) -> str:
    """Write a pair's verdict as a sentence; empty where the frame holds no evidence."""
    judged = str(row["verdict"])
    if judged.startswith(STANDS_IN):
        other = plain(judged.removeprefix(STANDS_IN))
        return f"**It stands in for {other}:** its signal fades once that pair is known."
    sentence = SENTENCES.get(judged, "")
    if judged == HOLDS and _known(row, "held_out_slope") and row["held_out_slope"] < OVERSTATED_SLOPE:
        sentence += " It makes too much of it, though: they bear out less than half of what it learned."
    elif judged == HOLDS and _known(row, "learned", "strength") and row["learned"] < LEARNED_SHARE * row["strength"]:
        sentence += " It has learned less than half the strength that the data shows."
    return sentence


@dataclass(frozen=True)
class Shown:
    """A figure of a pair as it is shown: its title, its value, what stands under it, and what it means."""

    title: str
    value: str
    below: str
    help: str


def figures(row: pd.Series) -> list[Shown]:
    """Give the figures behind a pair's verdict, those that were computed."""
    made = (_data(row), _model(row), _unseen(row), _knock_out(row), _false_discovery(row))
    return [shown for shown in made if shown is not None]


def figure_row(row: pd.Series) -> None:
    """Draw the figures behind a pair's verdict."""
    there = figures(row)
    columns = side_by_side(len(there), least=165, gap="small") if there else []
    for column, shown in zip(columns, there, strict=True):
        with column.container(border=True, gap=None):
            st.metric(shown.title, shown.value, help=shown.help)
            st.caption(shown.below)


def _known(row: pd.Series, *names: str) -> bool:
    return all(name in row and pd.notna(row[name]) for name in names)


def _data(row: pd.Series) -> Shown | None:
    if not _known(row, "strength", "strength_low", "strength_high"):
        return None
    return Shown(
        "In the data",
        f"{row['strength']:.2f}",
        f"90%: {row['strength_low']:.2f} to {row['strength_high']:.2f}",
        "Strength that the labels support, beside the other pairs: the standard deviation over rows of what the pair "
        "adds to the logit beyond its two fields alone, in log-odds. No model takes part.",
    )


def _model(row: pd.Series) -> Shown | None:
    if not _known(row, "learned"):
        return None
    both = _known(row, "learned_fm", "learned_dnn")
    return Shown(
        "In the model",
        f"{row['learned']:.2f}",
        f"FM {row['learned_fm']:.2f} · DNN {row['learned_dnn']:.2f}" if both else "log-odds",
        "Strength in the whole logit, purified, in log-odds; below it that of FM and DNN by themselves. They need not "
        "add up: the parts can work together or against each other.",
    )


def _unseen(row: pd.Series) -> Shown | None:
    if not _known(row, "held_out_strength", "held_out_z", "held_out_slope"):
        return None
    return Shown(
        "On unseen rows",
        f"{row['held_out_strength']:.2f}",
        _borne_out(float(row["held_out_z"]), float(row["held_out_slope"])),
        "Strength that rows bear out which the pair was not learned from, in log-odds. z counts standard errors from "
        "nothing; above 2 it holds. Slope 1: the model's part has the right size, above 1: it is shrunk too far.",
    )


def _knock_out(row: pd.Series) -> Shown | None:
    if not _known(row, "knock_out_logloss", "knock_out_low", "knock_out_high"):
        return None
    low, high = (written(row[f"knock_out_{name}"], 4) for name in ("low", "high"))
    return Shown(
        "Knock-out (nats)",
        signed(row["knock_out_logloss"], 4),
        f"95%: {low} to {high}",
        "How much the logloss of unseen rows rises, in nats a row, when the pair's part is taken out of the model. "
        "Below zero: they are predicted better without it.",
    )


def _false_discovery(row: pd.Series) -> Shown | None:
    if not _known(row, "q_value"):
        return None
    rate = float(row["q_value"])
    return Shown(
        "False discovery rate",
        "< 0.1%" if rate < 0.001 else f"{rate:.1%}",
        f"{row['support']:,.0f} level pairs seen" if _known(row, "support") else "Benjamini–Hochberg",
        "Of the pairs judged at least as clear as this one by themselves, the share expected to be noise (Benjamini "
        "and Hochberg). Told apart from noise: at most 5%, and not explained by another pair.",
    )


def no_pairs(run: OpenRun) -> None:
    """Say that a model without pairs has none, and what to do."""
    st.info(
        f"Run {code(run.name)} is a logistic regression: its logit is a sum over single fields, so no two fields "
        "interact. "
        "Train FM, DNN or DeepFM on the same table to see pairs; what each field does alone stands below.",
        icon=":material/functions:",
    )
    if st.button("Train another model", icon=":material/model_training:"):
        links.go("train")


def one_field(run: OpenRun) -> None:
    """Say that a run of one field has no pair, and what to do."""
    st.info(
        f"{plain(why_no_pairs(run.spec.schema))} What the field does alone stands below.", icon=":material/looks_one:"
    )
    if st.button("Choose fields", icon=":material/table:"):
        links.go("data")


def _borne_out(z: float, slope: float) -> str:
    """Write z and slope of unseen rows; of a pair of which next to nothing was learned they say nothing."""
    return f"z {signed(z, 1)} · slope {signed(slope, 1)}" if abs(slope) < MOST_SLOPE else "hardly learned"
