"""What a page shows, in one quiet line under its title: run, table, label, model with its settings, and AUC."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.state.saved_runs import OpenRun, name_of
from app.widgets.text import MODEL_TITLES, code, counted, plain
from deepfm_core.schema.schema import LabelRole
from deepfm_core.spec.run import BASELINE, RunSpec
from deepfm_core.store.records import RunRow


def outcome(label: LabelRole, positive: bool = True) -> str:
    """Write an outcome with the visitor's own label, such as `income = >50K`."""
    return label.outcome(positive=positive)


def outcomes(label: LabelRole) -> tuple[str, str]:
    """Name the negative and the positive outcome with the visitor's own label, for charts."""
    return outcome(label, positive=False), outcome(label)


def show_run(run: OpenRun) -> None:
    """Draw the line about a run."""
    st.caption(" · ".join([f"**{plain(name_of(run))}**", *_about(run.spec, run.summary, name_of(run))]))


def show_group(runs: Sequence[RunRow]) -> None:
    """Draw the line about the runs of a comparison or study, which share table and label."""
    if runs:
        spec = runs[0].spec
        rows: dict[str, int] = next((row.summary["rows"] for row in runs if row.summary.get("rows")), {})
        st.caption(" · ".join(_table(spec, rows)))


def _about(spec: RunSpec, summary: dict[str, object], name: str) -> list[str]:
    rows = summary.get("rows")
    known = _table(spec, rows if isinstance(rows, dict) else {}, named=spec.table_name in name)
    return [*known, model_in_words(spec), *_auc(summary)]


def _table(spec: RunSpec, rows: dict[str, int], named: bool = False) -> list[str]:
    """Say the table and its label; with `named`, the line has named the table already."""
    table = [] if named else [plain(spec.table_name)]
    table += [counted(sum(rows.values()), "row")] if rows else []
    return [*([", ".join(table)] if table else []), f"positive: {code(outcome(spec.schema.label))}"]


def model_in_words(spec: RunSpec) -> str:
    """Name a model with the settings that tell it from others."""
    model, title = spec.model, MODEL_TITLES[spec.model.name]
    if model.name == BASELINE:
        return title
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
