"""The current run and the one to compare it with: their choice, what a page shows of them, and what if none is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import pandas as pd
import streamlit as st

from app.state import links, saved_runs, sharing
from app.state.saved_runs import BUNDLED_ID, COMPARED, RUN, OpenRun, current_id, name_of, open_run, run_names
from app.state.store import store
from app.widgets.text import (
    MODEL_TITLES,
    alone_in_words,
    baseline_sentence,
    code,
    counted,
    guide_alone,
    plain,
    say_missing_letters,
)
from deepfm_core.errors import DeepFMError
from deepfm_core.schema.copies import Copies
from deepfm_core.schema.schema import LabelRole
from deepfm_core.spec.run import BASELINE, RunSpec
from deepfm_core.store.limits import shared
from deepfm_core.store.records import IMPORTED, RunRow

WAITING = {
    "queued": "is waiting for a worker. Its results appear here when it is done.",
    "running": "is still training. Its results appear here when it is done; *Train* shows it live.",
    "lost": "stopped before it finished, since its worker is gone. Resume it on *Train*.",
    "cancelled": "was cancelled before it finished. Resume it on *Train*, or choose another run.",
    "failed": "failed, so there is nothing to show.",
}
"""Why a run has no results yet, by its state; each follows its name."""


def finished_run() -> OpenRun:
    """Open the current run; if it has no results yet, say why, link to Train and end the page."""
    run = saved_runs.current_run()
    if not run.ready:
        _wait_for(run)
    return run


def _wait_for(run: OpenRun) -> NoReturn:
    message = plain((run.row.message if run.row else None) or "")
    how = WAITING.get(run.state, "is not finished.")
    st.info(f"Run {code(run.name)} {how} {message}", icon=":material/hourglass_top:")
    _link_to_train("Watch it live" if run.active else "Open Train")
    st.stop()


def compared_run(run: OpenRun) -> OpenRun | None:
    """Open the run to compare with; None if there is none, or, with a message, if it is not finished."""
    other = saved_runs.compared_run()
    if other is None or other.id == run.id:
        return None
    if not other.ready:
        st.info(f"The compared run {code(other.name)} is not finished, so it is left out.")
        return None
    return other


def frame(run: OpenRun, name: str, what: str) -> pd.DataFrame:
    """Read a frame of a finished run; if it is missing or empty, say so and end the page."""
    found = saved_runs.frame(run, name)
    if (found is None or found.empty) and run.spec.model.name == BASELINE:
        st.info(baseline_sentence(run.name))
        if st.button("How good is it", icon=":material/monitoring:"):
            links.go("performance")
        st.stop()
    if found is None or found.empty:
        st.info(f"Run {code(run.name)} has no {what}. Train it again, or choose another run.")
        _link_to_train("Open Train")
        st.stop()
    return found


def _link_to_train(label: str) -> None:
    if st.button(label, icon=":material/model_training:"):
        links.go("train")


_BESIDE = "compared beside"
"""In the session: the run that was shown last."""
MOST_SIBLINGS = 60
"""A comparison or study with more runs is not listed in the sidebar."""


def choose_runs() -> None:
    """Draw the choice of the current and the compared run; all pages share it, and the URL keeps it."""
    names = run_names()
    for key in (RUN, COMPARED):  # a link may name a run of another visitor
        linked = links.chosen(key)
        if linked and linked not in names:
            try:
                run = open_run(linked)
                if run.mine:  # by its own link, or as a run of a comparison
                    links.choose(key, run.id)
                    names.setdefault(run.id, run.name)
                else:
                    names[linked] = f"{run.name} · shared"
            except DeepFMError as error:
                st.warning(plain(f"{error} Showing the sample run instead." if key == RUN else str(error)))
                links.choose(key, None)
    names |= {run_id: name for run_id, name in _siblings(current_id()).items() if run_id not in names}
    with st.sidebar:
        kept = links.mirror(RUN, list(names), BUNDLED_ID)
        st.selectbox("Run", list(names), format_func=names.__getitem__, **kept)
        _whole_name(names[current_id()])
        _offer_link()
        others = [run_id for run_id in names if run_id != current_id()]
        if _left_behind() or links.chosen(COMPARED) not in others:
            links.choose(COMPARED, None)
        kept = links.mirror(COMPARED, others, "")
        st.selectbox(
            "Compare with",
            ["", *others],
            format_func=lambda run_id: names.get(run_id, "no other run"),
            **kept,
        )


def _offer_link() -> None:
    """Offer a link to the current run where it is the visitor's own, on a shared server; the sample needs none."""
    row = open_run(current_id()).row
    if row is None and shared():
        st.caption("The sample run is open to everyone: share the address of a page as it is.")
    if row is not None:
        page = "performance" if row.spec.model.name == BASELINE else "interactions" if row.ended_well else "train"
        sharing.offer("run", row, page, RUN, "Share this run")


LONG_NAME = 26
"""Letters that the narrow box of the sidebar shows of a name."""


def _whole_name(name: str) -> None:
    """Write a name below its box where the box cuts it off."""
    if len(name) > LONG_NAME:
        st.caption(plain(name))


def _left_behind() -> bool:
    """Say whether the compared run was chosen beside another run, and is on another table than the one shown now."""
    compared, before = links.chosen(COMPARED), st.session_state.get(_BESIDE)
    st.session_state[_BESIDE] = current_id()
    if compared is None or before in (None, current_id()):
        return False
    return open_run(compared).spec.table != open_run(current_id()).spec.table


def _siblings(run_id: str) -> dict[str, str]:
    """Name the finished runs of a run's comparison by id, since one wants to compare it with them."""
    row = open_run(run_id).row
    if row is None or row.comparison is None:
        return {}
    runs = store().comparisons.runs(row.comparison)
    shown = [row for row in runs if row.ended_well and sharing.may_see_run(row)]
    return {row.id: row.name for row in shown} if len(runs) <= MOST_SIBLINGS else {}


# What a page shows, in one quiet line under its title: run, table, label, model with its settings, and AUC.


def outcome(label: LabelRole, positive: bool = True) -> str:
    """Write an outcome with the visitor's own label, such as `income = >50K`."""
    return label.outcome(positive=positive)


def outcomes(label: LabelRole) -> tuple[str, str]:
    """Name the negative and the positive outcome with the visitor's own label, for charts."""
    return outcome(label, positive=False), outcome(label)


def show_run(run: OpenRun) -> None:
    """Draw the line about a run."""
    st.caption(" · ".join([f"**{plain(name_of(run))}**", *_about(run.spec, run.summary, name_of(run))]))
    say_missing_letters(
        [name_of(run), run.spec.schema.label.outcome(), *(role.column for role in run.spec.schema.roles)]
    )


def say_copies(run: OpenRun) -> None:
    """Say if the rows of a run's table are copies of each other, which makes its figures look better than they are."""
    copies = Copies.of_run(run.summary)
    if copies.flatter:
        st.warning(plain(copies.said_of_run), icon=":material/warning:")
    elif copies:
        st.caption(plain(copies.said_of_run))


def show_group(runs: Sequence[RunRow]) -> None:
    """Draw the line about the runs of a comparison or study, which share table and label."""
    if runs:
        spec = runs[0].spec
        rows: dict[str, int] = next((row.summary["rows"] for row in runs if row.summary.get("rows")), {})
        st.caption(" · ".join(_table(spec, rows, sampled="sample" in runs[0].summary)))


def _about(spec: RunSpec, summary: dict[str, object], name: str) -> list[str]:
    rows = summary.get("rows")
    sampled, divided = "sample" in summary, rows if isinstance(rows, dict) else {}
    known = _table(spec, divided, name, sampled=sampled)
    imported = ["imported, with the figures of its file"] if summary.get(IMPORTED) else []
    return [*known, model_in_words(spec, summary), *_auc(summary), *imported]


def _table(spec: RunSpec, rows: dict[str, int], name: str = "", sampled: bool = False) -> list[str]:
    """Say the table and its label; the line has begun with `name`, which may name the table already.

    With `sampled`, the roles are those of a sample, which does not tell how many of all rows have no label.
    """
    label = spec.schema.label
    unlabelled = f" ({label.missing:,} more without a label)" if label.left_out and not sampled else ""
    called = spec.table_name
    if sampled:
        from deepfm_core.encoding.sharding import name_of_whole

        called = name_of_whole(called)
    table = [] if called in name else [plain(called)]
    table += ["from the disk"] if sampled else []
    table += [counted(sum(rows.values()), "row") + unlabelled] if rows else []
    return [*([", ".join(table)] if table else []), f"positive: {code(outcome(spec.schema.label))}"]


def model_in_words(spec: RunSpec, summary: Mapping[str, object]) -> str:
    """Name a model with the settings that tell it from others; of one that kept its guide alone, none came into play.

    Args:
        spec: of the run.
        summary: of the run; empty before it has ended.
    """
    model, title = spec.model, MODEL_TITLES[spec.model.name]
    if model.name == BASELINE:
        return title
    if guide_alone(summary):
        return f"{title}, {alone_in_words(summary)}"
    said = [f"embedding size {model.embedding_size}"] if model.switches.pairs or model.deep else []
    said += [f"layers {'-'.join(map(str, model.layers))}"] if model.deep else []
    said += ["guided"] if model.guided and model.second_order else []
    return ", ".join([title, *said])


def _auc(summary: dict[str, object]) -> list[str]:
    for part, name in (("test", "test"), ("valid", "validation")):
        scores = summary.get(part)
        if isinstance(scores, dict) and scores.get("auc") is not None:
            return [f"{name} AUC {scores['auc']:.3f}"]
    return []
