"""Two owners of a shared server, Ann and Bob, and what Ann has; pages opened as one of them, and forged messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.testing.v1 import AppTest

from deepfm_core.spec.run import RunSpec
from deepfm_core.store.groups import MODELS, SETTINGS
from deepfm_core.store.records import NewRun
from deepfm_core.store.store import Store
from tests.app.test_results import finished_copy

ROOT = Path(__file__).resolve().parents[3]
VIEWS = sorted(path.parent.name for path in (ROOT / "app" / "views").glob("*/__init__.py"))
ANN, BOB = "a" * 32, "b" * 32
SECRET = "fuchsia"
"""Stands in every name and cell of Ann's, and nowhere else."""
SAMPLE = pd.read_csv(ROOT / "sample_data" / "clicks.csv", dtype=str, keep_default_na=False)
CSV = SAMPLE.assign(ad=f"{SECRET} " + SAMPLE["ad"]).to_csv(index=False)
Opened = Callable[..., AppTest]


@dataclass(frozen=True)
class Things:
    """Ids of what Ann has."""

    run: str
    waiting: str
    comparison: str
    study: str
    compared: str
    table: str


@pytest.fixture
def ann(store: Store, monkeypatch: pytest.MonkeyPatch) -> Things:
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    table = store.import_table(CSV.encode(), f"{SECRET}.csv", ANN).sha256
    run = finished_copy(store, lambda _: None)
    whole = json.loads((ROOT / "sample_data/run/spec.json").read_text()) | {
        "table": table,
        "table_name": f"{SECRET}.csv",
    }
    spec = RunSpec.from_dict(whole)
    text = json.dumps(spec.to_dict())
    store.folder(run).write_spec(spec)
    store.database.change(
        "UPDATE runs SET owner = ?, name = ?, spec = ? WHERE id = ?", (ANN, f"{SECRET} run", text, run)
    )
    waiting = store.enqueue(spec, f"{SECRET} waits", ANN)
    plan = {"models": ["deepfm"], "seeds": 1, "preset": "quick", "baseline": False}
    new = [NewRun(spec, f"{SECRET} compared", ANN)]
    comparison = store.comparisons.begin(f"{SECRET} comparison", ANN, MODELS, plan, new)
    study_plan = {"model": "deepfm", "preset": "quick", "seeds": 1, "factors": {"l2": [1e-5]}, "design": "one"}
    study = store.comparisons.begin(f"{SECRET} study", ANN, SETTINGS, study_plan, new)
    return Things(run, waiting, comparison, study, store.comparisons.runs(comparison)[0].id, table)


@pytest.fixture
def by(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Open a page as an owner, whose browser has the cookie."""

    def open_page(owner: str, view: str, **choices: str) -> AppTest:
        monkeypatch.setattr("streamlit.runtime.context.ContextProxy.cookies", {"deepfm_visitor": owner})
        return opened(view, **choices)

    return open_page


def all_of(app: AppTest) -> str:
    """Give all that a page sends to the browser: texts, options, tables, charts."""
    return repr(app.main) + repr(app.sidebar) + "".join(str(element.proto) for element in every(app))


def every(app: AppTest) -> Iterator[Any]:
    for block in (app.main, app.sidebar):
        for node in block:
            if hasattr(node, "proto"):
                yield node


def addresses(ann: Things) -> list[dict[str, str]]:
    """Give two addresses that name, each in its place, all that Ann has; of a table that is refused nothing is read."""
    groups = {"comparison": ann.comparison, "study": ann.study, "selected": f"{ann.run},{ann.waiting}", "all": "1"}
    tables = {"valid_table": ann.table, "test_table": ann.table, "score_table": ann.table, "new": "1"}
    return [
        {"run": ann.run, "compare": ann.compared, "table": ann.table, "label": "clicked", "slice": "ad", **groups},
        {"run": ann.waiting, "compare": ann.run, **tables},
    ]


# Forged messages: what a browser sends of its widgets.


def forged(app: AppTest, *states: WidgetState) -> AppTest:
    return app._run(WidgetStates(widgets=[*app.session_state._state.get_widget_states(), *states]))


def widgets(app: AppTest, *kinds: str) -> list[Any]:
    return [element for kind in kinds for element in app.get(kind) if getattr(element, "id", "")]
