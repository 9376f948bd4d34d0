"""Every page, file, download and action of one owner, asked for as another: by address, and by forged messages."""

from __future__ import annotations

import ast
import io
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from deepfm_core.export.formats import FORMATS
from deepfm_core.store.store import Store
from tests.app.owners.conftest import ANN, BOB, ROOT, SECRET, VIEWS, Opened, Things, addresses, all_of, forged, widgets

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Drawn:
    """What a page of Ann's offers: its buttons by their labels, and its downloads by the module that draws them."""

    actions: set[str] = field(default_factory=set)
    downloads: set[str] = field(default_factory=set)


LISTED = {
    "compare": Drawn({"All models", "Cancel all", "Change", "Compare", "Delete", "Make a link", "None"}),
    "data": Drawn(
        {
            "Choose model and settings",
            "Compare models",
            "Leave out all N",
            "Make a link",
            "Remove table",
            "Train with the suggested roles",
            "Use all N",
        },
        {"views/data/roles.py"},
    ),
    "embeddings": Drawn(
        {"Make a link", "Train without the guide, to see embeddings", "Watch it live"},
        {"views/embeddings/embeddings.py"},
    ),
    "examples": Drawn(
        {
            "Highest probability",
            "Least expected negative",
            "Least expected positive",
            "Make a link",
            "Nearest to even",
            "Open row N",
            "Watch it live",
        },
        {"views/examples/examples.py", "views/examples/ledger.py"},
    ),
    "interactions": Drawn(
        {"Make a link", "Watch it live"}, {"views/interactions/interactions.py", "views/interactions/levels.py"}
    ),
    "learn": Drawn(
        {"Compare the models on this table", "Make a link", "Split other rows on Examples", "Watch it live"},
        {"views/learn/learn.py"},
    ),
    "performance": Drawn(
        {
            *("ad = fuchsia hiking boots", "country = France", "device = tablet", "interests = other (N levels)"),
            *("Lowest cost: N", "Make a link", "Watch it live", "weekday = Thursday"),
        },
        {f"views/performance/{name}.py" for name in ("performance", "slices", "threshold")},
    ),
    "runs": Drawn({"Cancel", "Delete", "Delete for good", "Make a link"}, {"views/runs/runs.py"}),
    "score": Drawn({"Make a link", "Watch it live"}),
    "start": Drawn(
        {"Code", "How it works", "Make a link", "Train this live", "Train without the guide", "Use my CSV"},
        {"export/menu.py"},
    ),
    "study": Drawn({"Cancel all", "Change", "Delete", "Make a link", "Study"}),
    "system": Drawn(  # no page: *Start* opens
        {"Code", "How it works", "Make a link", "Train this live", "Train without the guide", "Use my CSV"},
        {"export/menu.py"},
    ),
    "train": Drawn(
        {
            *("Cancel", "Change", "Code", "How good is it", "Make a link", "Row by row", "See the pairs", "Train"),
            "Train without the guide",
        },
        {"export/menu.py"},
    ),
}
UNDRAWN = {
    "views/compare/results.py": "of a comparison that has ended; the page that is refused above opens it",
    "views/performance/run_diff.py": "of two finished runs; each is opened by its id, as the one above is",
    "views/score/score.py": "of a table that was scored; a table and a run of others are refused above",
    "views/study/study.py": "of a study with finished trials; the page that is refused above opens it",
}
"""Modules with a download that needs more than Ann has, and why none of hers reaches another."""


@dataclass(frozen=True)
class Download:
    """A download that a page drew."""

    module: str
    label: str
    make: Callable[[], bytes]

    @property
    def texts(self) -> str:
        """All that is in its file, unpacked."""
        content = self.make()
        if not zipfile.is_zipfile(io.BytesIO(content)):
            return content.decode("utf-8", "replace")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return "".join(archive.read(name).decode("utf-8", "replace") for name in archive.namelist())


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[Download]:
    """Keep the downloads that pages draw, each with what makes its file."""
    drawn: list[Download] = []

    def keep(label: str, make: Callable[[], bytes], *_: Any, **named: Any) -> bool:
        frame = sys._getframe(1)
        while frame.f_code.co_filename.endswith("figure.py") and frame.f_back:
            frame = frame.f_back
        if not named.get("disabled"):
            drawn.append(Download(str(Path(frame.f_code.co_filename).relative_to(ROOT / "app")), label, make))
        return False

    monkeypatch.setattr("streamlit.download_button", keep)
    return drawn


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Keep the runs whose folder was asked for, and the tables whose rows or file were given."""
    seen: set[str] = set()
    for name in ("folder", "table", "table_for", "original", "choices"):
        real = getattr(Store, name)

        def keep(self: Store, subject: str, *given: Any, real: Any = real, **named: Any) -> Any:
            found = real(self, subject, *given, **named)
            seen.add(subject)
            return found

        monkeypatch.setattr(Store, name, keep)
    return seen


def of_ann(store: Store) -> list[list[dict[str, Any]]]:
    """Give all rows of the database that are Ann's."""
    tables = ("runs", "tables", "comparisons", "shares")
    return [
        [dict(row) for row in store.database.rows(f"SELECT * FROM {table} WHERE owner = ? ORDER BY 1", (ANN,))]
        for table in tables
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_what_one_owner_has_is_refused_to_another(
    view: str, by: Opened, ann: Things, store: Store, downloads: list[Download], looked_at: set[str]
) -> None:
    listed, hers = LISTED[view], [by(ANN, view, **address) for address in addresses(ann)]
    buttons = [button for app in hers for button in widgets(app, "button")]
    labels = {re.sub(r"\d[\d.,]*", "N", button.label) for button in buttons}
    drawn = Drawn({label for label in labels if not label.endswith(" as table")}, {each.module for each in downloads})
    assert drawn == listed, "List here what the page offers, once others are refused it."
    assert view != "train" or {form.title for form in FORMATS.values()} == {each.label for each in downloads}
    before = of_ann(store)
    downloads.clear()
    looked_at.clear()
    messages = [WidgetState(id=button.id, trigger_value=True) for button in buttons]
    messages += [WidgetState(id=box.id, string_value="x") for app in hers for box in widgets(app, "text_input")]

    for address in addresses(ann):
        refused(by(BOB, view, **address))
        refused(forged(by(BOB, view, **address), *messages))
    for value in (ann.run, ann.comparison, ann.study, ann.table):
        app = by(BOB, view)
        boxes = [box.id for box in widgets(app, "selectbox")]
        refused(forged(app, *(WidgetState(id=box, string_value=value) for box in boxes)))

    for download in downloads:
        assert download.label == FORMATS["onnx"].title or SECRET not in download.texts, download
    assert not looked_at & set(vars(ann).values())
    assert of_ann(store) == before
    assert store.has_table(ann.table, ANN)


def refused(app: AppTest) -> None:
    assert not app.exception
    assert SECRET not in all_of(app)


def test_the_list_is_whole() -> None:
    entry = ast.parse((ROOT / "app" / "main.py").read_text(encoding="utf-8"))
    (pages,) = (
        node.value for node in entry.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PAGES"
    )
    assert {name for name, _, _ in ast.literal_eval(pages)} | {"system"} == set(LISTED)
    called = {
        str(path.relative_to(ROOT / "app"))
        for path in (ROOT / "app").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("download", "download_file")
    }
    drawn = set().union(*(page.downloads for page in LISTED.values()))
    assert set(UNDRAWN) <= called
    assert called - {"widgets/figure.py"} <= drawn | set(UNDRAWN)  # a figure's own CSV stands under who draws it
