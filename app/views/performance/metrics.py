"""The four figures of a part, each with its 95% interval and what it means in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from app.widgets.layout import side_by_side
from deepfm_core.metrics.scores import Metrics


@dataclass(frozen=True)
class Shown:
    """A metric as it is shown: its title, its name in `Metrics`, and whether more of it is better (None: 1 is best)."""

    title: str
    name: str
    more_is_better: bool | None
    help: str

    def value(self, metrics: Metrics) -> float | None:
        """Read the metric."""
        value: float | None = getattr(metrics, self.name)
        return value

    def interval(self, metrics: Metrics) -> str:
        """Write the 95% interval."""
        stem = self.name.removesuffix("_ratio")
        low, high = getattr(metrics, f"{stem}_low"), getattr(metrics, f"{stem}_high")
        return "not defined on these rows" if low is None else f"95%: {low:.3f} to {high:.3f}"


SHOWN = (
    Shown("AUC", "auc", True, "Chance that a random click is ranked above a random non-click. Interval: DeLong."),
    Shown("Logloss (nats)", "logloss", False, "Mean negative log-likelihood of a row. Lower is better."),
    Shown(
        "Normalised entropy",
        "normalised_entropy",
        False,
        "Logloss ÷ logloss of predicting the training click rate for every row. Below 1: better than that.",
    ),
    Shown(
        "Predicted ÷ observed CTR",
        "calibration_ratio",
        None,
        "Sum of probabilities ÷ clicks. 1 is right on average; above 1 promises too many clicks.",
    ),
)


FEWEST = 10
"""Clicks, or rows without one, under which nothing is concluded: every interval is wider than what it measures."""


def too_few(metrics: Metrics) -> bool:
    """Say whether a part holds too few of either outcome to conclude anything."""
    return min(metrics.clicks, metrics.rows - metrics.clicks) < FEWEST


def metric_row(metrics: Metrics, compared: Metrics | None) -> None:
    """Draw the figures, with their difference from those of a compared run on the same rows, and what they say."""
    columns = side_by_side(4, least=220, gap="small")
    for column, shown in zip(columns, SHOWN, strict=True):
        with column.container(border=True, gap=None):
            _metric(shown, metrics, compared)
    st.markdown(sentence(metrics))


def sentence(metrics: Metrics) -> str:
    """Say in words what the figures of a part mean."""
    text = f"Of {metrics.rows:,} rows, {metrics.clicks:,} ({metrics.clicks / metrics.rows:.1%}) are positive."
    if too_few(metrics):
        rarer = "positive rows" if metrics.clicks * 2 <= metrics.rows else "negative rows"
        return f"{text} With so few {rarer} nothing can be concluded from these figures: test on more rows."
    if metrics.auc is not None:
        text += f" A positive row is ranked above a negative one **{metrics.auc:.0%}** of the time"
        guess = (metrics.auc_low or 0.0) <= 0.5 <= (metrics.auc_high or 1.0)
        text += ", which guessing might do as well." if guess else "."
    if metrics.normalised_entropy is not None:
        gain = 1 - metrics.normalised_entropy
        word = "below" if gain >= 0 else "above"
        text += f" The logloss is **{abs(gain):.0%} {word}** that of knowing the share of positive rows alone."
    low, high = metrics.calibration_low, metrics.calibration_high
    if low is not None and high is not None:
        fits = low <= 1 <= high
        text += " On average" + (
            " the probabilities fit." if fits else " they are **off** by more than chance explains."
        )
    return text


def _metric(shown: Shown, metrics: Metrics, compared: Metrics | None) -> None:
    value, other = shown.value(metrics), shown.value(compared) if compared else None
    colour = {True: "normal", False: "inverse", None: "off"}[shown.more_is_better]
    change = None if value is None or other is None else f"{value - other:+.3f}"
    same = change in ("+0.000", "-0.000")
    st.metric(
        shown.title,
        "–" if value is None else f"{value:.3f}",
        "±0.000" if same else change,
        delta_color="off" if same else colour,  # type: ignore[arg-type]
        delta_arrow="off" if same else "auto",
        help=shown.help,
    )
    st.caption(shown.interval(metrics))
