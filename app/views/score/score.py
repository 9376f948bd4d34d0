"""The page Score: a new table, scored by the current run; labels, if it has any, judge the scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from app.shared import launch, run_status
from app.shared.uploads import FORMATS, SHARED, say_refused, upload
from app.state import links, saved_tables, visitor
from app.state.saved_runs import BUNDLED_ID, OpenRun
from app.widgets.columns import ROWS, configured
from app.widgets.figure import download
from app.widgets.layout import side_by_side, sideways_hint
from app.widgets.text import baseline_sentence, code, counted, plain, show_error, wide_title, without_options
from deepfm_core._words import percent
from deepfm_core.errors import DeepFMError
from deepfm_core.metrics.scores import Metrics
from deepfm_core.spec.run import BASELINE

if TYPE_CHECKING:
    from deepfm_core.export.table_scores import TableScores
    from deepfm_core.tables.table import ReadReport

TABLE = "score_table"
"""Name, in the URL, of the choice of the table to score."""
PREVIEW = 200
"""Rows that are shown; the download has all."""
TITLES = {
    **ROWS,
    "missing": ("missing", "percent"),
    "unseen": ("not seen in training", "percent"),
    "outside": ("outside the training range", "percent"),
}


def main() -> None:
    """Draw the page."""
    st.title("Score", anchor=False)
    run = run_status.finished_run()
    run_status.show_run(run)
    label = run.spec.schema.label
    st.markdown(f"Give every row of a new table the probability that {code(label.outcome())}.")
    if run.spec.model.name == BASELINE:
        st.info(baseline_sentence(run.name))
        return
    sha = _choose()
    if sha is None:
        needed = ", ".join(code(role.column) for role in run.spec.schema.used)
        st.caption(f"The table needs these columns, in any order: {needed}. Others are kept. A label is not needed.")
        return
    try:
        saved_tables.require(sha)
        scores = _scores(run.id, sha, run)
    except DeepFMError as error:
        show_error(error)
        if sha in saved_tables.tables() and st.button("See on Data how it was read", icon=":material/table_view:"):
            launch.choose_table(sha)
            links.go("data")
        return
    _show(run, sha, scores)


def _choose() -> str | None:
    """Draw the upload and the choice of the table to score; give its SHA-256."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        file = upload(f"Table to score: {FORMATS}", "table to score", partial(links.choose, TABLE))
    names, chosen = saved_tables.tables(), links.chosen(TABLE)
    if chosen:
        names.setdefault(chosen, SHARED)
    right.selectbox(
        "Table",
        ["", *names],
        format_func=lambda sha: names.get(sha, "Choose a table"),
        **links.mirror(TABLE, list(names), ""),
    )
    say_refused(file, "table to score", "The choice above is unchanged.")
    return chosen


@st.cache_resource(max_entries=8, show_spinner="Scoring …")
def _scores(run_id: str, sha: str, _run: OpenRun) -> TableScores:
    from deepfm_core.export.table_scores import score_table
    from deepfm_core.runs.predictor import Trained

    return score_table(Trained.load(_run.folder), saved_tables.table(sha))


@st.cache_data(max_entries=8, show_spinner="Looking for rows that the run was trained on")
def _copies(run_id: str, sha: str, owner: str, _run: OpenRun) -> tuple[str, ...]:
    """Say which of a table's rows are copies of training rows, where the table trained on is still there."""
    from deepfm_core.encoding.splits import said_of_copies

    try:
        return said_of_copies(_run.spec, saved_tables.table, saved_tables.table(sha))
    except DeepFMError:  # it is gone or another visitor's
        return ()


def _show(run: OpenRun, sha: str, scores: TableScores) -> None:
    rows = scores.rows
    name = saved_tables.table_name(sha)
    mean = f"Mean probability: **{percent(rows['probability'].mean(), 1)}**." if len(rows) else ""
    strange = (
        f" {percent(scores.any_unseen, 1)} of the rows hold a value that no training row has."
        if scores.any_unseen
        else ""
    )
    st.markdown(f"**{plain(name)}**: {counted(len(rows), 'row')}. {mean}{strange}")
    _warn(scores.warnings, name)
    _say_reading(saved_tables.table(sha).report)
    if scores.metrics is not None:
        _metrics(scores.metrics)
        if sha == run.spec.table and run.id != BUNDLED_ID:
            st.caption(
                "The run was trained on this table, so these figures flatter it. *Performance* has those of the "
                "held-out rows."
            )
        elif sha != run.spec.table:
            _warn(_copies(run.id, sha, visitor.owner(), run), name)
    if scores.note:
        st.info(f"The labels cannot judge the scores. {plain(scores.note)}")
    download(rows, f"{name}-scores", "scores csv", label="Download all rows as CSV", subject="Scores and cells of")
    shown = rows.head(PREVIEW)
    own = {str(name): (str(name), "") for name in shown.columns}  # a column of the table keeps its name
    titles = {**own, **TITLES, "fm_logit": (f"{wide_title(run.spec.model)} (log-odds)", "%.3f")}
    st.dataframe(
        shown,
        hide_index=True,
        column_config=configured(shown, titles),
        alt="Rows with their scores",
        placeholder="",
    )
    sideways_hint("The table", wide=True)
    st.caption(f"The first {len(shown):,} of {counted(len(rows), 'row')}. FM logit and DNN logit add up to the logit.")
    st.header("Is this table like the one trained on?", anchor=False)
    st.dataframe(
        scores.fields,
        hide_index=True,
        column_config=configured(scores.fields, TITLES),
        alt="Fields",
        width=720,
        placeholder="–",
    )
    sideways_hint("The table", wide=True)
    st.caption(
        "Shares of the rows. A value that was not seen in training counts as an average one of its field, and a number "
        "outside the range of the training rows counts as the nearest end of it."
    )


def _warn(warnings: Sequence[str], name: str) -> None:
    """Say what of the table is unlike training; the sentences name the table, which stands above."""
    said = [plain(one.removeprefix(f"{name}, ")) for one in warnings]
    if said:
        bullet = "- " if len(said) > 1 else ""
        st.warning("\n".join(bullet + one[:1].upper() + one[1:] for one in said))


def _say_reading(report: ReadReport) -> None:
    """Say what the reader left out, repaired or doubts, as `predict` does."""
    said = [plain(without_options(sentence)) for sentence in report.sentences()]
    if said:
        st.caption("\n".join(f"- {sentence}" for sentence in said))


def _metrics(metrics: Metrics) -> None:
    columns = side_by_side(4, least=150, gap="small")
    auc = "–" if metrics.auc is None else f"{metrics.auc:.3f}"
    columns[0].metric("AUC", auc, help=_interval(metrics.auc_low, metrics.auc_high, 3))
    columns[1].metric("logloss", f"{metrics.logloss:.4f}", help=_interval(metrics.logloss_low, metrics.logloss_high, 4))
    columns[2].metric("logloss of guessing", f"{metrics.base_logloss:.4f}", help="Guessing this table's own share.")
    ratio = "–" if metrics.calibration_ratio is None else f"{metrics.calibration_ratio:.2f}"
    columns[3].metric(
        "predicted ÷ observed", ratio, help=_interval(metrics.calibration_low, metrics.calibration_high, 2)
    )
    st.caption(
        f"By the labels of {counted(metrics.rows, 'row')}: {metrics.clicks:,} are positive. {plain(metrics.note)}"
    )


def _interval(low: float | None, high: float | None, digits: int) -> str | None:
    return None if low is None or high is None else f"95%: {low:.{digits}f} to {high:.{digits}f}"


main()
