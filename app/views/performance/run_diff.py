"""Two runs compared, as this run − compared run: settings, metrics, logits of the same rows, and field matrices."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.charts.comparison import logit_scatter, matrix_difference
from app.shared.run_status import outcomes
from app.state import links, saved_runs
from app.state.saved_runs import OpenRun
from app.widgets.columns import DIFFERENCES, configured
from app.widgets.figure import download, figure, show_chart
from app.widgets.layout import side_by_side
from app.widgets.text import plain
from deepfm_core._words import signed
from deepfm_core.experiments.run_diff import metric_differences, pair_differences, resolved, setting_differences
from deepfm_core.metrics.scores import Metrics

DRAWN = 2_000
"""Rows drawn at most: a fixed sample."""
MEASURES = {"learned": "whole logit", "learned_fm": "FM pairs", "learned_dnn": "DNN"}
METRICS = {"auc": "AUC", "logloss": "Logloss (nats)", "normalised entropy": "Normalised entropy"}


def difference_section(
    run: OpenRun, other: OpenRun, rows: pd.DataFrame, theirs: pd.DataFrame | None, metrics: Metrics
) -> None:
    """Draw the section.

    Args:
        run: the current run.
        other: the compared one.
        rows: predictions of the chosen part.
        theirs: those of the compared run; None if it was tested on other rows.
        metrics: metrics of the current run.
    """
    st.header("Difference: this run − compared run", anchor=False, divider="gray")
    names = _names(run, other)
    left, right = side_by_side(2, least=400, gap="large")
    with left:
        _settings(run, other, names)
    with right:
        if theirs is None:
            st.info("The two were tested on different rows, so their metrics and logits are not compared.")
        else:
            _metrics(run, other, rows, theirs, metrics, names)
    left, right = side_by_side(2, least=400, gap="large")
    if theirs is not None:
        with left:
            _logits(run, other, rows, theirs, names)
    with right if theirs is not None else left:
        _pairs(run, other, names)


def _names(run: OpenRun, other: OpenRun) -> tuple[str, str]:
    return saved_runs.name_of(run), saved_runs.name_of(other)


def _settings(run: OpenRun, other: OpenRun, names: tuple[str, str]) -> None:
    differ = setting_differences(*(resolved(each.spec, each.summary) for each in (run, other)))
    table = differ.rename(columns={"b": names[0], "a": names[1]})
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Settings that differ", anchor=False, width="content")
        if len(table):
            download(table, "settings", "settings csv")
    if table.empty:
        st.caption("None: settings, seed and rows are the same, so the runs are the same.")
        return
    st.dataframe(table, hide_index=True, height="content", alt="Settings in which the two runs differ")


def _metrics(
    run: OpenRun,
    other: OpenRun,
    rows: pd.DataFrame,
    theirs: pd.DataFrame,
    metrics: Metrics,
    names: tuple[str, str],
) -> None:
    part = str(rows["part"].iloc[0])
    table = _metric_differences(run.id, other.id, part, metrics.base_logloss, rows, theirs)
    shown = table.assign(metric=table["metric"].map(METRICS))[["metric", "difference", "low", "high", "b", "a"]]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Metrics", anchor=False, width="content")
        named = shown.rename(columns={"b": names[0], "a": names[1]})
        download(named, "metric-differences", "metric differences csv")
    columns = configured(shown, DIFFERENCES)
    st.dataframe(shown, hide_index=True, column_config=columns, height="content", alt="Metrics of both runs")
    beyond = [METRICS[row["metric"]] for _, row in table.iterrows() if row["low"] > 0 or row["high"] < 0]
    verdict = f"More than noise: {', '.join(beyond)}." if beyond else "No difference here is more than noise."
    st.caption(f"{verdict} Intervals: paired bootstrap of {len(rows):,} rows, the same draws for both runs.")


@st.cache_data(max_entries=64, show_spinner=False)
def _metric_differences(
    run_id: str, other_id: str, part: str, base: float, _rows: pd.DataFrame, _theirs: pd.DataFrame
) -> pd.DataFrame:
    labels, b, a = _rows["label"].to_numpy(float), _rows["logit"].to_numpy(), _theirs["logit"].to_numpy()
    return metric_differences(labels, b, a, base)


def _logits(run: OpenRun, other: OpenRun, rows: pd.DataFrame, theirs: pd.DataFrame, names: tuple[str, str]) -> None:
    both = pd.DataFrame({"row": rows["row"], "label": rows["label"], "b": rows["logit"], "a": theirs["logit"]})
    sample = both if len(both) <= DRAWN else both.sample(DRAWN, random_state=0).sort_index()
    gap = (both["b"] - both["a"]).abs()
    reading = (
        f"Each point is a row. On the dashed line, the two runs agree. The median difference is {gap.median():.2f} "
        f"log-odds; one row in twenty differs by {gap.quantile(0.95):.2f} or more."
    )
    if len(sample) < len(both):
        reading += f" {len(sample):,} of {len(both):,} rows are drawn."
    figure(
        "Logits of the same rows",
        lambda: logit_scatter(sample, "this run", "the compared run", outcomes=outcomes(run.spec.schema.label)),
        both.rename(columns={"b": names[0], "a": names[1]}),
        reading,
        key="logits of both",
        file="logits-of-both",
        titles={},
    )


def _pairs(run: OpenRun, other: OpenRun, names: tuple[str, str]) -> None:
    ours, theirs, fields = (
        saved_runs.frame(run, "pairs"),
        saved_runs.frame(other, "pairs"),
        saved_runs.frame(run, "fields"),
    )
    known = [
        name
        for name in MEASURES
        if ours is not None and theirs is not None and ours[name].notna().any() and theirs[name].notna().any()
    ]
    if ours is None or theirs is None or fields is None or not known:
        st.caption("One of the two runs has no pairs, so there are no field matrices to compare.")
        return
    st.subheader("Field matrices", anchor=False)
    kept = links.mirror("matrix_part", known, known[0])
    measure = known[0]
    if len(known) > 1:
        label = "Part of the logit"
        measure = st.segmented_control(
            label, known, format_func=MEASURES.__getitem__, required=True, label_visibility="collapsed", **kept
        )
    pairs = pair_differences(ours, theirs, measure)
    if pairs.empty:
        st.caption("The two runs share no pair of fields.")
        return
    order = list(fields.sort_values("order")["field"])
    most = pairs.iloc[0]
    reading = (
        "Strength of each pair, this run − compared run: green is stronger in this run, purple weaker. The largest "
        f"difference is {plain(most['field_a'])} × {plain(most['field_b'])}, {signed(most['difference'])} log-odds."
    )
    short = ("this run", "compared run")
    version = (run.id, other.id, measure)
    show_chart(lambda: matrix_difference(pairs, order, *short), version, reading, key="matrix difference")
    download(pairs.rename(columns={"b": names[0], "a": names[1]}), "pair-differences", "pair differences csv")
