"""The four metrics of a part with their 95% intervals, and a sentence on what they mean."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from app.widgets.layout import side_by_side
from deepfm_core.metrics.scores import Metrics


@dataclass(frozen=True)
class Shown:
    """A metric as it is shown: title, name in `Metrics`, whether more is better (None: 1 is best), and help text."""

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
    Shown("AUC", "auc", True, "Chance that a random click ranks above a random non-click. Interval: DeLong."),
    Shown("Logloss (nats)", "logloss", False, "Mean negative log-likelihood per row. Lower is better."),
    Shown(
        "Normalised entropy",
        "normalised_entropy",
        False,
        "Logloss ÷ logloss of predicting the training click rate for every row. Below 1 is better than that.",
    ),
    Shown(
        "Predicted ÷ observed CTR",
        "calibration_ratio",
        None,
        "Sum of probabilities ÷ number of clicks. 1 is right on average; above 1 predicts too many clicks.",
    ),
)


FEWEST = 10
"""With fewer clicks or non-clicks nothing is concluded, since every interval is wider than what it measures."""


def too_few(metrics: Metrics) -> bool:
    """Say whether a part holds too few of either outcome to conclude anything."""
    return min(metrics.clicks, metrics.rows - metrics.clicks) < FEWEST


def metric_row(metrics: Metrics, compared: Metrics | None) -> None:
    """Draw the metrics, their difference to a compared run on the same rows, and a sentence on them."""
    columns = side_by_side(4, least=220, gap="small")
    for column, shown in zip(columns, SHOWN, strict=True):
        with column.container(border=True, gap=None):
            _metric(shown, metrics, compared)
    st.markdown(sentence(metrics))


def sentence(metrics: Metrics) -> str:
    """Say in words what the metrics of a part mean."""
    text = f"Of {metrics.rows:,} rows, {metrics.clicks:,} ({metrics.clicks / metrics.rows:.1%}) are positive."
    if too_few(metrics):
        rarer = "positive rows" if metrics.clicks * 2 <= metrics.rows else "negative rows"
        return f"{text} With so few {rarer}, nothing can be concluded. Test on more rows."
    if metrics.auc is not None:
        text += f" A positive row ranks above a negative one **{metrics.auc:.0%}** of the time"
        guess = (metrics.auc_low or 0.0) <= 0.5 <= (metrics.auc_high or 1.0)
        text += ", and guessing might do as well." if guess else "."
    if metrics.normalised_entropy is not None:
        gain = 1 - metrics.normalised_entropy
        word = "below" if gain >= 0 else "above"
        text += f" The logloss is **{abs(gain):.0%} {word}** that of always predicting the share of positive rows."
    low, high = metrics.calibration_low, metrics.calibration_high
    if low is not None and high is not None:
        fits = low <= 1 <= high
        text += " On average, " + (
            "the probabilities fit." if fits else "the probabilities are **off** by more than noise."
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
