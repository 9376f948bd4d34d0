"""The page Train: the settings of a new run, and the panel of the current run, live while it trains.

The panel has the run's state and actions, its results, its curves and its field matrix.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import streamlit as st

from app.export import menu
from app.shared import datasets, guide, launch, overview, predictions, run_status
from app.shared.holdout import say_doubts, say_unusable, table_line
from app.shared.launch import wake_worker
from app.state import links, saved_runs, saved_tables
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.views.train import settings
from app.widgets.figure import show_chart
from app.widgets.layout import side_by_side
from app.widgets.text import (
    SECONDS_HELP,
    counted,
    duration,
    errors_said,
    errors_shown,
    guide_alone,
    guide_kept,
    plain,
    seconds_of_work,
    to_pairs,
    without_options,
)
from deepfm_core.metrics.scores import few_cases, not_better
from deepfm_core.runs.findings import FILE
from deepfm_core.spec.events import GUIDE, HOLD_OUT, PLACE

if TYPE_CHECKING:
    from deepfm_core.runs.progress import RunProgress
    from deepfm_core.store.records import WorkerState


def main() -> None:
    """Draw the page."""
    st.title("Train", anchor=False)
    run = saved_runs.current_run()
    if run.row is None:
        _form()
        _take_sample(run)
        return
    above = st.container()
    show(run)  # drawn first, since it is what changes
    key = f"new run beside {run.id}"  # a new key per run, so that the form is closed again once its run has started
    with above.expander("New run", icon=":material/add:", expanded=links.chosen("new") is not None, key=key):
        _form()


def _form() -> None:
    with errors_shown():
        sha, schema, _ = table_line()
        rows = saved_tables.trained_rows(sha, schema)
        unusable = say_unusable(schema)
        spec = settings.choose(sha, schema, rows)
        datasets.choose_memory(sha)
        say_doubts(spec)
        launch.say_expectations(spec)
        if st.button("Train", type="primary", icon=":material/play_arrow:", disabled=unusable):
            launch.launch(spec, settings.in_words(spec, launch.base_spec(sha, schema), rows))


def _take_sample(run: OpenRun) -> None:
    """Draw what the sample run can be taken away as; it has no panel here, since it was trained before."""
    st.divider()
    run_status.show_run(run)
    guide.say_alone(run)
    with st.container(horizontal=True):
        menu.show_menu(run)


SECONDS = 0.75
"""Seconds between two looks at an active run."""
FIRST_LOSS_SECONDS = 0.5
"""Seconds that the first look waits at most for a first loss to draw."""
STAGES = {
    "": "Starting",
    PLACE: "Waiting for a node of the cluster",
    "read": "Reading the table",
    "encode": "Encoding",
    GUIDE: "Finding candidate pairs in the labels",
    "fit": "Training",
    "evaluate": "Evaluating",
    "explain": "Explaining",
    HOLD_OUT: "Checking each pair on held-out rows",
}
"""Stages of a run, in words."""


def show(run: OpenRun) -> None:
    """Draw a run: by one fragment, so that a click at the moment it ends still finds what it was made in."""
    active = run.active
    if active and st.session_state.get(_WATCHED) != run.id:
        run = _begun(run)
    seen_active = st.session_state.pop(_WATCHED, None) == run.id
    if active:
        st.session_state[_WATCHED] = run.id
    st.fragment(_watch, run_every=SECONDS if active else None)(run.id, active)
    if seen_active and not active:
        icon = ":material/check_circle:" if run.finished else ":material/info:"
        st.toast(f"{plain(run.name)}: {run.state}.", icon=icon)


_WATCHED = "watched run"
"""In the session: the run that was drawn while it was active, so that its end can be said."""


def _begun(run: OpenRun) -> OpenRun:
    """Wait briefly for the first loss of a run that a worker is just starting, so that the first look shows it."""
    until = time.monotonic() + FIRST_LOSS_SECONDS
    while time.monotonic() < until and run.active and not store().events(run.id, kinds=["progress"]):
        if run.state == "queued" and not store().worker_state().idle:
            break
        time.sleep(0.01)
        run = saved_runs.open_run(run.id)
    return run


def _watch(run_id: str, active: bool) -> None:
    links.depart()
    with errors_shown():
        run = saved_runs.open_run(run_id)
        if active != run.active:
            st.rerun()  # the whole page, which sets how often this is drawn
        _panel(run)


def _panel(run: OpenRun) -> None:
    run_progress = saved_runs.run_progress(run)
    run_status.show_run(run)
    with st.container(border=True):
        _headline(run, run_progress)
        _ending(run, run_progress) if not run.active else _under_way(run, run_progress)
        if run.scored or run.ready:
            _summary(run, run_progress)
        _rows(run, run_progress)
    if run.ready:
        _results(run)
    elif run.scored and run.folder.has(FILE):
        overview.show(run)
    _charts(run, run_progress)


def _headline(run: OpenRun, run_progress: RunProgress) -> None:
    left, right = st.columns([5, 1], vertical_alignment="center")
    left.markdown(f"**{plain(run.name)}** · {_state(run, run_progress)}")
    with right:
        if run.mine and run.active:
            st.button(
                "Cancel", icon=":material/stop_circle:", key="cancel", width="stretch", on_click=_cancel, args=(run.id,)
            )
        elif run.mine and run.state in ("lost", "failed", "cancelled"):
            kind: Literal["primary", "secondary"] = "secondary" if run.state == "failed" else "primary"
            args = (run.id,)
            st.button(
                "Resume",
                icon=":material/resume:",
                key="resume",
                type=kind,
                width="stretch",
                on_click=_resume,
                args=args,
            )


def _state(run: OpenRun, run_progress: RunProgress) -> str:
    if run.row is not None and run.active and run.row.cancel_requested:
        return "stopping"
    if run.state == "queued":
        place = store().position(run.id)
        return f"queued, {place - 1} ahead of it" if place and place > 1 else "queued, next"
    if run.state != "running":
        return run.state
    if run_progress.stage == "fit" and run_progress.started is not None:
        epoch = min(int(run_progress.epochs_done) + 1, run_progress.started.epochs)
        return f"training, epoch {epoch} of at most {run_progress.started.epochs}"
    return STAGES.get(run_progress.stage, run_progress.stage).lower()


def _cancel(run_id: str) -> None:
    with errors_said():
        store().request_cancel(run_id)


def _resume(run_id: str) -> None:
    with errors_said():
        store().resume(run_id)
        wake_worker()


def _under_way(run: OpenRun, run_progress: RunProgress) -> None:
    st.progress(run_progress.fraction)
    if run.ready:
        left = run_progress.seconds_left(time.time())
        when = "" if left is None else f" About {duration(left)} left."
        st.caption(f"Results are ready. Still checking each pair on held-out rows.{when}")
        return
    if run.state == "queued":
        if store().is_full():
            st.caption("Waiting for room: the server keeps as much as it may. The run begins once there is some.")
            return
        state = store().worker_state()
        st.caption("The worker is loading." if state.starting else _waiting(state))
        return
    if run_progress.node:
        st.caption(_at_work(run_progress, store().worker_state()))
    if run.scored:
        left = run_progress.seconds_left(time.time())
        doing = "Now explaining levels and single rows."
        if left is not None:
            doing = f"Now estimating pairs from the labels, {_most(left)} left."
        st.caption(f"Trained. {doing} The other pages open when this is done.")
        return
    about = [_left(run_progress)]
    if len(run_progress.progress):
        about.append(f"{float(run_progress.progress.iloc[-1]['rows_per_second']):,.0f} rows per second")
    if run_progress.started is not None:
        about.append(
            f"{run_progress.started.parameters:,} parameters, {run_progress.started.rows_train:,} training rows"
        )
    st.caption(" · ".join(part for part in about if part))


def _waiting(state: WorkerState) -> str:
    """Say what a queued run waits for."""
    cluster = state.cluster
    if cluster is None:
        return "Waiting for the worker, which trains one run at a time."
    if not cluster.places:
        return "Waiting for the cluster: none of its nodes has room for a run."
    waiting = f"{counted(state.queued, 'run')} {'waits' if state.queued == 1 else 'wait'}"
    return f"Waiting for the cluster: {cluster.taken} of {cluster.places} places are taken, {waiting}."


def _at_work(run_progress: RunProgress, state: WorkerState) -> str:
    """Say where a run is at work, and how its cluster stands."""
    where = f"At work on node {run_progress.node}."
    if state.cluster is None:
        return where
    taken = f"{state.cluster.taken} of {state.cluster.places} places taken"
    return f"{where} The cluster has {counted(state.cluster.nodes, 'node')}: {taken}, {state.queued} waiting."


def _most(seconds: float) -> str:
    return f"at most {duration(max(seconds, 1.0))}"


def _left(run_progress: RunProgress) -> str:
    seconds, read = run_progress.seconds_left(time.time()), run_progress.stage == "read"
    if seconds is None or (read and run_progress.stage_fraction in (0.0, 1.0)):
        return ""
    if read:
        left = f"about {duration(max(seconds, 1.0))} until training begins"
        return f"reading and encoding rows onto the disk: {run_progress.stage_fraction:.0%}, {left}"
    if run_progress.stage == GUIDE:
        return f"about {duration(max(seconds, 1.0))} until training begins"
    return f"{_most(seconds)} of training left; it stops early if validation stops improving"


def _ending(run: OpenRun, run_progress: RunProgress) -> None:
    if run.state == "failed":
        st.error(plain((run.row and run.row.message) or "The run failed."))
        st.caption("Change the settings under *New run* above. *Resume* tries the same settings again.")
    elif run.ready and not run.finished:
        st.info(
            "Stopped while checking pairs on held-out rows. All other results are ready. *Resume* continues the checks."
        )
    elif run.state == "lost":
        st.warning(f"The process that trained this run has ended. {_resuming(run, run_progress)}")
    elif run.state == "cancelled":
        st.info(f"Stopped on request. {_resuming(run, run_progress)}")


def _resuming(run: OpenRun, run_progress: RunProgress) -> str:
    if run.scored:
        return "The model is trained. *Resume* continues with the explanations."
    if len(run_progress.epochs):
        return "*Resume* continues from the last finished epoch."
    return "*Resume* starts from the beginning, since no epoch had finished."


def _summary(run: OpenRun, run_progress: RunProgress) -> None:
    scores = run.summary.get("test") or run.summary.get("valid") or {}
    part = "test" if run.summary.get("test") else "validation"
    columns = side_by_side(4, least=130, gap="small")
    auc, logloss = scores.get("auc"), scores.get("logloss")
    columns[0].metric(f"AUC ({part})", "–" if auc is None else f"{auc:.3f}")
    columns[1].metric(f"logloss ({part})", "–" if logloss is None else f"{logloss:.4f}")
    alone = guide_alone(run.summary)
    why = guide_kept(run_progress.epochs, run.summary) if alone else None
    columns[2].metric("kept" if alone else "best epoch", _best_epoch(run), help=why)
    seconds = seconds_of_work(run.summary)
    title = "seconds so far" if run.active else "seconds"
    columns[3].metric(title, "–" if seconds is None else f"{seconds:.1f}", help=SECONDS_HELP)
    judging = predictions.metrics(run, "test") or predictions.metrics(run, "valid")
    if judging is not None and (guess := not_better(judging)):
        st.warning(guess)
    if judging is not None and (few := few_cases(judging)):
        st.caption(few)


def _best_epoch(run: OpenRun) -> str:
    """Name the epoch whose weights are kept; a guided model may keep none."""
    best, epochs = run.summary.get("best_epoch", "–"), run.summary.get("epochs", "–")
    return "guide alone" if guide_alone(run.summary) else f"{best} of {epochs}"


def _rows(run: OpenRun, run_progress: RunProgress) -> None:
    """Name the holdout tables of the run, and warn of parts that are too small."""
    verbs = {"valid": "Validated", "test": "Tested"}
    holdout = [
        f"{verb} on {plain(name)}." for part, verb in verbs.items() if (name := predictions.holdout_table(run, part))
    ]
    lines = [" ".join(holdout)] if holdout else []
    lines += [plain(without_options(note)) for note in run_progress.notes]
    if lines:
        st.caption("  \n".join(lines))


def _results(run: OpenRun) -> None:
    overview.show(run)
    guide.say_alone(run)
    with st.container(horizontal=True):
        for label, page, icon in (
            (to_pairs(run.spec), "interactions", ":material/grid_on:"),
            ("How good is it", "performance", ":material/monitoring:"),
            ("Row by row", "examples", ":material/scatter_plot:"),
        ):
            kind: Literal["primary", "secondary"] = "primary" if page == "interactions" else "secondary"
            st.button(label, type=kind, icon=icon, key=f"to {page}", on_click=links.leave, args=(page,))
        menu.show_menu(run)


def _charts(run: OpenRun, run_progress: RunProgress) -> None:
    from app.shared.overview import show_matrix

    if run_progress.started is None:
        return
    left, right = side_by_side(2, least=400, gap="large")
    with left:
        _curves(run, run_progress)
    with right:
        show_matrix(run)


def _curves(run: OpenRun, run_progress: RunProgress) -> None:
    from app.charts.training_curves import auc_curve, loss_curves

    assert run_progress.started is not None
    base, live = run_progress.started.base_logloss, run.active and not run.scored
    st.markdown("**Logloss**")
    alone = guide_alone(run.summary)
    kept = f" {guide_kept(run_progress.epochs, run.summary)}" if alone else ""
    guide = run.summary.get("valid") or {} if alone else {}
    version = (run.id, live, len(run_progress.epochs), len(run_progress.progress), alone)
    show_chart(
        lambda: loss_curves(
            run_progress.epochs,
            base_logloss=base,
            progress=run_progress.progress,
            guide=guide.get("logloss"),
            live=live,
        ),
        version,
        f"Lower is better. Dashed: predicting the share of positive rows for every row.{kept}",
        key="loss",
    )
    if run_progress.epochs["valid_auc"].notna().sum() > 1:
        st.markdown("**Validation AUC**")
        reading = "Chance that a positive row gets a higher logit than a negative one. 0.5 is guessing."
        show_chart(
            lambda: auc_curve(run_progress.epochs, guide=guide.get("auc"), live=live),
            (run.id, live, len(run_progress.epochs), alone),
            reading,
            key="auc",
        )


main()
