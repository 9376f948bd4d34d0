"""The page Runs: a table of all runs, actions on the selected ones, and their curves in one chart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from app.export.menu import show_import, show_menu
from app.shared import launch, predictions
from app.state import links, saved_runs, sharing, visitor
from app.state.store import store
from app.views.runs.tags import choose_tags, keep_tagged, tags_at_end, tags_of, with_tags, without_tags
from app.widgets.figure import download, show_chart
from app.widgets.layout import side_by_side, sideways_hint
from app.widgets.text import (
    MODEL_TITLES,
    SECONDS_HELP,
    errors_said,
    errors_shown,
    guide_alone,
    plain,
    say_missing_letters,
    seconds_of_work,
)
from deepfm_core.spec.run import BASELINE
from deepfm_core.store.records import RunRow
from deepfm_core.store.store import MOST_NAME, MOST_NOTES

if TYPE_CHECKING:
    from app.charts.grammar.vega import Chart


FILTERED = 5
"""From this many runs on, the page offers to search and to filter them."""
EVERY = ""
"""The choice of every table or model."""
OVERLAID = 8
"""Runs drawn in one chart at most: the number of colours."""
SAMPLE = (
    "The sample run comes with the app and is not listed. It is the last choice under *Run* in the sidebar; with it "
    "chosen, *Start* and *Train* have its *Export*."
)
"""Where the sample run is, and where it is taken away."""
TOGETHER = "all"
"""Name of the choice to list also the runs of comparisons and studies."""
CURVES = {"valid_logloss": "Validation logloss", "train_logloss": "Training logloss", "valid_auc": "Validation AUC"}
MARKS = {"queued": "○", "running": "◐", "finished": "●", "failed": "✕", "cancelled": "◌", "lost": "?", "damaged": "!"}


def main() -> None:
    """Draw the page, again and again while a run is active."""
    active = any(row.state in ("queued", "running") for row in saved_runs.runs(together=True))
    st.fragment(_page, run_every=1.0 if active else None)(active)
    sharing.show_given()
    saved_runs.show_use()
    saved_runs.show_privacy()
    saved_runs.offer_to_delete_all(predictions.forget_tables)
    visitor.offer_page()


def _page(active: bool) -> None:
    links.depart()
    everything = saved_runs.runs(together=True)
    if active != any(row.state in ("queued", "running") for row in everything):
        st.rerun()  # the whole page, which sets how often this is drawn
    rows = everything if links.chosen(TOGETHER) else [row for row in everything if row.comparison is None]
    by_id = pd.DataFrame([_line(row) for row in rows], index=[row.id for row in rows])
    with st.container(
        horizontal=True, vertical_alignment="center"
    ):  # on the left: the table's own buttons are on the right
        st.title("Runs", anchor=False, width="content")
        if rows:
            tags = [", ".join(tags) for tags in by_id["Tags"]]
            download(by_id.assign(State=[row.state for row in rows], Tags=tags), "runs", "runs csv")
        show_import()
    show_undo()
    if any(row.comparison for row in everything):
        _choose_together()
    if not rows:
        reason = "No runs yet." if not everything else "All runs so far belong to comparisons or studies."
        st.info(f"{reason} Train the sample on *Start*, or upload your own table on *Data*.")
        return
    kept = _kept(rows)
    if not kept:
        st.info("No run passes the filter. Change the search or the tags, or show every table and model.")
        return
    chosen = _table(kept, by_id.loc[[row.id for row in kept]].reset_index(drop=True))
    sideways_hint("The table", wide=True)
    say_missing_letters(text for row in kept for text in (row.name, row.notes, row.spec.table_name))
    if not chosen:
        st.caption("Tick runs in the first column to open, compare, tag, export, resume or delete them.")
    st.caption(SAMPLE)
    show_actions(chosen, rows)
    _show_settings(chosen)
    _overlay(chosen or _beside_current(kept))


def _choose_together() -> None:
    key = f"choice of {TOGETHER}"
    st.session_state[key] = links.chosen(TOGETHER) is not None
    st.toggle(
        "Show runs of comparisons and studies",
        key=key,
        on_change=lambda: links.choose(TOGETHER, "1" if st.session_state[key] else None),
    )


def _table(rows: list[RunRow], frame: pd.DataFrame) -> list[RunRow]:
    kept = (links.chosen(SELECTED) or "").split(",")
    default = [place for place, row in enumerate(rows) if row.id in kept]
    empty = [name for name in ("Tags", "Notes") if not frame[name].map(len).any()]
    event = st.dataframe(
        frame.drop(columns=empty),
        key=f"runs {hash(tuple(row.id for row in rows))}",  # a selection is kept by place
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": default}},
        column_config=_COLUMNS,
        placeholder="–",
    )
    chosen = [rows[place] for place in event["selection"]["rows"] if place < len(rows)]
    links.choose(SELECTED, ",".join(row.id for row in chosen) or None)
    return chosen


def _kept(rows: list[RunRow]) -> list[RunRow]:
    """Let the visitor keep only the runs of a table, a model or some tags, or whose name or notes hold some words."""
    tables = sorted({row.spec.table_name for row in rows})
    models = list(dict.fromkeys(MODEL_TITLES[row.spec.model.name] for row in rows))
    if len(rows) < FILTERED:
        return keep_tagged(rows)
    words, of_table, of_model = side_by_side(3, least=180, gap="small")
    searched = words.text_input(
        "Search", key="search among runs", persist_state="session", placeholder="Part of a name or note"
    )
    wanted = searched.casefold().split()
    table = of_table.selectbox(
        "Table",
        [EVERY, *tables],
        format_func=lambda name: name or "All tables",
        **links.mirror("of_table", [EVERY, *tables], EVERY),
    )
    model = of_model.selectbox(
        "Model",
        [EVERY, *models],
        format_func=lambda name: name or "All models",
        **links.mirror("of_model", [EVERY, *models], EVERY),
    )
    rows = keep_tagged(rows)
    if len(tables) > 1 and st.toggle("Group by table", **links.mirror_flag("by_table", False)):
        rows = sorted(rows, key=lambda row: row.spec.table_name)
    return [
        row
        for row in rows
        if all(word in f"{row.name} {row.notes}".casefold() for word in wanted)
        and table in (EVERY, row.spec.table_name)
        and model in (EVERY, MODEL_TITLES[row.spec.model.name])
    ]


def _line(row: RunRow) -> dict[str, object]:
    test, valid = row.summary.get("test") or {}, row.summary.get("valid") or {}
    return {
        "State": f"{MARKS[row.state]} {row.state}",
        "Run": row.name,
        "Started": pd.Timestamp(row.created, unit="s", tz="UTC").tz_convert(st.context.timezone or "UTC"),
        "Test AUC": test.get("auc"),
        "Test logloss": test.get("logloss"),
        "Seconds": _seconds(row),
        "Kept": _kept_epoch(row),
        "Tags": tags_of(row.notes),
        "Notes": without_tags(row.notes),
        "Table": _table_of(row),
        "Model": MODEL_TITLES[row.spec.model.name],
        **_settings(row),
        "Valid. AUC": valid.get("auc"),
    }


def _kept_epoch(row: RunRow) -> str | None:
    """Name what a run keeps: the weights of an epoch, or its guide alone; None before it has trained."""
    best, epochs = row.summary.get("best_epoch"), row.summary.get("epochs")
    if best is None or row.spec.model.name == BASELINE:
        return None
    return "guide alone" if guide_alone(row.summary) else f"epoch {best}" + (f" of {epochs}" if epochs else "")


def _settings(row: RunRow) -> dict[str, object]:
    """Give the settings that the table shows; those that the run's model does not read are left out."""
    model, fit = row.spec.model, row.spec.fit
    if model.name == BASELINE:
        return {"Embedding": None, "Layers": None, "Rate": None, "Seed": row.spec.seed}
    return {
        "Embedding": model.embedding_size if model.switches.pairs else None,
        "Layers": "-".join(map(str, model.layers)) if model.deep else None,
        "Rate": fit.learning_rate,
        "Seed": row.spec.seed,
    }


def _seconds(row: RunRow) -> float | None:
    """Give the seconds of work of a run with results, as Train does; of any other, the seconds since it began."""
    if (worked := seconds_of_work(row.summary)) is not None:
        return worked
    return None if row.started is None else (row.ended or time.time()) - row.started


_COLUMNS = {
    "State": st.column_config.TextColumn(width=92),
    "Run": st.column_config.TextColumn(width=230),
    "Started": st.column_config.DatetimeColumn(format="D MMM, HH:mm", width=100),
    "Test AUC": st.column_config.NumberColumn(format="%.4f", width=72),
    "Test logloss": st.column_config.NumberColumn(format="%.4f", width=86),
    "Seconds": st.column_config.NumberColumn(
        format="%.1f", width=68, help=f"{SECONDS_HELP} Of a run without results: seconds since it began."
    ),
    "Kept": st.column_config.TextColumn(
        width=104,
        help="The epoch whose weights the run keeps: the best one on the validation rows. *guide alone*: no epoch did "
        "clearly better than the pairs that the run starts from.",
    ),
    "Tags": st.column_config.ListColumn(width=170),
    "Notes": st.column_config.TextColumn(width=130),
    "Table": st.column_config.TextColumn(width=150),
    "Embedding": st.column_config.NumberColumn(width=85, help="Embedding size."),
    "Layers": st.column_config.TextColumn(width=85, help="Units of the DNN's layers."),
    "Rate": st.column_config.NumberColumn(format="%g", width=70, help="Learning rate."),
    "Seed": st.column_config.NumberColumn(format="%d", width=60),
    "Valid. AUC": st.column_config.NumberColumn(format="%.4f"),
}


def _table_of(row: RunRow) -> str:
    """Name a run's table; of a run from the disk all of it, where runs beside it may have a sample alone."""
    if "sample" not in row.summary:
        return row.spec.table_name
    from deepfm_core.encoding.sharding import name_of_whole

    return f"{name_of_whole(row.spec.table_name)} (all rows, from the disk)"


def _overlay(rows: list[RunRow]) -> None:
    """Draw the curves of runs in one chart: those on the same table as the first."""
    alike = [row for row in rows if row.spec.table == rows[0].spec.table][:OVERLAID]
    names = saved_runs.run_names()
    epochs = [_marked(saved_runs.run_progress(saved_runs.open_run(row.id)).epochs, row) for row in alike]
    called = [names.get(row.id, row.name) for row in alike]
    together = pd.concat(
        [frame.assign(run=name) for name, frame in zip(called, epochs, strict=True)], ignore_index=True
    )
    if together.empty:
        return
    kept = links.mirror("curves", list(CURVES), "valid_logloss")
    measure = st.segmented_control("Curves", list(CURVES), format_func=CURVES.__getitem__, required=True, **kept)
    version = (measure, *zip([row.id for row in alike], called, map(len, epochs), strict=True))
    reading = f"One line per run on {plain(rows[0].spec.table_name)}. The mark is what the run kept: its best epoch."
    if any(guide_alone(row.summary) for row in alike):
        where = "Without a mark" if measure == "train_logloss" else "At epoch 0"  # a guide has no training logloss
        reading += f" {where}, the guide alone: no epoch did clearly better."
    if len({row.spec.table for row in rows}) > 1:
        reading += " Runs on other tables are left out, since they cannot be compared."
    if len({(row.spec.split, row.spec.valid_table, row.spec.rows_seed) for row in alike}) > 1:
        reading += " Not all runs are validated on the same rows, so small differences may come from the rows."
    show_chart(lambda: _compared(together, measure), version, reading, key="overlay")


def _marked(epochs: pd.DataFrame, row: RunRow) -> pd.DataFrame:
    """Put the mark before the first epoch of a run that kept its guide alone."""
    if not guide_alone(row.summary) or epochs.empty:
        return epochs
    valid = row.summary.get("valid") or {}
    guide = {"epoch": 0, "best": True, "valid_logloss": valid.get("logloss"), "valid_auc": valid.get("auc")}
    return pd.concat([pd.DataFrame([guide]), epochs.assign(best=False)], ignore_index=True)


def _beside_current(rows: list[RunRow]) -> list[RunRow]:
    """Give the runs on the table of the current run, that one first; all of them where it is not listed."""
    current = next((row for row in rows if row.id == saved_runs.current_id()), None)
    return rows if current is None else [current, *(row for row in rows if row.id != current.id)]


def _compared(epochs: pd.DataFrame, measure: str) -> Chart:
    from app.charts.training_curves import compare_runs

    return compare_runs(epochs, measure)


SELECTED = "selected"
"""Name of the choice that holds the selected runs, by id."""


def _leave(label: str, icon: str, page: str, **choices: str) -> None:
    st.button(label, type="primary", icon=icon, on_click=links.leave, args=(page,), kwargs=choices)


def show_actions(chosen: list[RunRow], every: list[RunRow]) -> None:
    """Draw the actions for the selected runs, their tags, and the name and notes of a single one."""
    if not chosen:
        return
    damaged = [row for row in chosen if row.state == "damaged"]
    for row in damaged:
        st.error(plain(row.message or ""))
    one = chosen[0] if len(chosen) == 1 and chosen[0].state != "damaged" else None
    with st.container(horizontal=True):
        if one:
            _leave("Open", ":material/open_in_full:", _page_of(one), run=one.id)
        if _comparable(chosen):
            first, second = chosen
            _leave("Compare", ":material/compare_arrows:", "performance", run=first.id, compare=second.id)
        for row_action, label, icon, states in _ACTIONS:
            fitting = [row for row in chosen if row.state in states]
            if fitting:
                st.button(label, icon=icon, on_click=row_action, args=(fitting,))
        if one:
            show_menu(saved_runs.open_run(one.id))
    _say_incomparable(chosen)
    if one:
        _describe(one)
    if not damaged:
        choose_tags(chosen, every)


def _comparable(chosen: list[RunRow]) -> bool | None:
    """Say whether two runs were tested on the same table, with the same label; None unless two that have ended."""
    if len(chosen) != 2 or not all(row.ended_well for row in chosen):
        return None
    return len({(row.spec.test_table or row.spec.table, row.spec.schema.label.outcome()) for row in chosen}) == 1


def _say_incomparable(chosen: list[RunRow]) -> None:
    if _comparable(chosen) is False:
        st.caption("These two cannot be compared: they were tested on different tables or labels.")


def _show_settings(chosen: list[RunRow]) -> None:
    """Show the settings of the one selected run, or those in which several differ, side by side."""
    from deepfm_core.experiments.run_diff import resolved, settings_beside

    known = [row for row in chosen if row.state != "damaged"][:OVERLAID]
    if not known:
        return
    names = saved_runs.run_names()
    specs = {names.get(row.id, row.name): resolved(row.spec, row.summary) for row in known}
    table = settings_beside(specs)
    one = len(specs) == 1
    title = "Settings" if one else "Settings that differ"
    with st.expander(title, expanded=not one, icon=":material/tune:"):
        if table.empty:
            st.caption("None: settings, seed and rows are the same.")
        else:
            st.dataframe(table, hide_index=True, height=min(38 * (len(table) + 1), 420), alt=title)


def _page_of(row: RunRow) -> str:
    if not row.ended_well:
        return "train"
    return "performance" if row.spec.model.name == BASELINE else "interactions"


def _describe(row: RunRow) -> None:
    left, right = st.columns([1, 2])
    key = f"name {row.id}"
    if not st.session_state.get(key, "").strip():
        st.session_state[key] = row.name  # an empty name is not taken
    name = left.text_input("Name", key=key, max_chars=MOST_NAME)
    noted, shown = f"notes {row.id}", without_tags(row.notes)
    if st.session_state.get(noted) != shown:  # what is typed is kept otherwise
        st.session_state[noted] = shown
    right.text_input(
        "Notes",
        key=noted,
        placeholder="What you tried, and the result",
        max_chars=MOST_NOTES,
        on_change=_note,
        args=(noted, row),
    )
    with errors_shown():
        if name.strip() and name.strip() != row.name.strip():  # the box keeps spaces that the name loses
            store().rename(row.id, name.strip())
            st.rerun()


def _note(key: str, row: RunRow) -> None:
    """Keep the notes of a run, whose tags stay; words of them that begin with # are tags, too."""
    notes = st.session_state[key]
    with errors_said():
        store().set_notes(row.id, with_tags(notes, [*tags_at_end(row.notes), *tags_of(notes)]))


def _resume(rows: list[RunRow]) -> None:
    for row in rows:
        with errors_said():
            store().resume(row.id)
    with errors_said():
        launch.wake_worker()


def _cancel(rows: list[RunRow]) -> None:
    for row in rows:
        with errors_said():
            store().request_cancel(row.id)


def _delete(rows: list[RunRow]) -> None:
    for row in rows:
        with errors_said():
            store().delete(row.id)
            st.session_state.setdefault("deleted runs", []).append((row.id, row.name))
    links.choose(SELECTED, None)


_ACTIONS = (
    (_cancel, "Cancel", ":material/stop_circle:", ("queued", "running")),
    (_resume, "Resume", ":material/resume:", ("lost", "failed", "cancelled")),
    (_delete, "Delete", ":material/delete:", ("queued", "lost", "failed", "cancelled", "finished", "damaged")),
)


def show_undo() -> None:
    """Offer to restore the runs deleted last."""
    deleted = st.session_state.get("deleted runs", [])
    if not deleted:
        return
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        names = ", ".join(plain(name) for _, name in deleted[:3]) + (" …" if len(deleted) > 3 else "")
        st.markdown(f"Deleted: {names}. You can bring back deleted runs for a day.", width="stretch")
        st.button("Undo", icon=":material/undo:", on_click=_restore)
        st.button("Dismiss", type="tertiary", on_click=st.session_state.pop, args=("deleted runs", None))


def _restore() -> None:
    for run_id, _ in st.session_state.pop("deleted runs", ()):  # a second click may come before the page is drawn anew
        with errors_said():
            store().restore(run_id)


main()
