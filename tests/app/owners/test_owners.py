"""What one owner of a shared server has is refused to every other, by address, by a forged message and by a link."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.media_file_storage import MediaFileKind
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage
from streamlit.testing.v1 import AppTest

from app.widgets import figure
from deepfm_core.export.bundle import bundle_bytes, import_bundle
from deepfm_core.export.model_card import Facts
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.groups import MODELS, SETTINGS
from deepfm_core.store.limits import GONE
from deepfm_core.store.process import Process
from deepfm_core.store.query import OTHER_SPLIT
from deepfm_core.store.records import NewRun
from deepfm_core.store.store import Store
from tests.app.test_results import finished_copy
from tests.conftest import answer_next

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize("view", VIEWS)
def test_no_page_shows_what_another_owner_has_whatever_the_address_names(
    view: str, by: Opened, ann: Things, store: Store
) -> None:
    for address in addresses(ann):
        app = by(BOB, view, **address)
        assert not app.exception
        assert SECRET not in all_of(app), address
    assert not store.tables(BOB)


@pytest.mark.parametrize("view", ["performance", "train", "compare", "study", "data", "runs"])
def test_the_owner_sees_all_of_it_by_the_same_address(view: str, by: Opened, ann: Things) -> None:
    app = by(ANN, view, **addresses(ann)[0])
    assert SECRET in all_of(app)
    assert not app.exception
    assert not any("not yours" in warning.value for warning in app.warning)


def test_what_is_refused_is_said_in_one_sentence_with_a_remedy(by: Opened, ann: Things) -> None:
    (said,) = (warning.value for warning in by(BOB, "performance", run=ann.run).warning)
    assert said.startswith(f"The run `{ann.run}` is not yours. Ask its owner for a link")
    (said,) = (error.value for error in by(BOB, "data", table=ann.table).error)
    assert said == f"Table `{ann.table[:12]}` is not yours. Choose another one, or upload the file on \\*Data\\*."


def test_a_removed_table_opens_for_nobody_else_and_a_run_keeps_it_for_its_owner(
    by: Opened, ann: Things, store: Store
) -> None:
    store.delete_table(ann.table, ANN)
    store.purge(older_than=-1.0)
    assert store.has_table(ann.table, ANN, removed=True)
    assert not store.has_table(ann.table, ANN)
    assert SECRET not in all_of(by(BOB, "data", table=ann.table))
    for run in store.runs():
        store.delete(run.id)
    store.purge(older_than=-1.0)
    assert not store.has_table(ann.table, ANN, removed=True)


def test_a_bundle_that_names_the_table_of_another_opens_no_table(by: Opened, ann: Things, store: Store) -> None:
    made = import_bundle(store, bundle_bytes(Facts.of(store.folder(ann.run), "mine")), owner=BOB)
    for view in VIEWS:
        app = by(BOB, view, run=made, slice="colour", table=ann.table)
        assert not app.exception
        assert f"{SECRET} " not in all_of(app), view  # its cells; the bundle itself holds the table's name


def test_two_bundles_of_other_seeds_open_no_table_of_another(by: Opened, ann: Things, store: Store) -> None:
    made = import_bundle(store, bundle_bytes(Facts.of(store.folder(ann.run), "one seed")), owner=BOB)
    folder = store.folder(ann.run)
    folder.write_spec(replace(folder.spec(), seed=1))
    other = import_bundle(store, bundle_bytes(Facts.of(folder, "another")), owner=BOB)
    app = by(BOB, "examples", run=made)
    assert any("is not yours" in said.value for said in app.info)
    assert not store.database.rows("SELECT 1 FROM questions")

    folders = {name: str(store.folder(run).path) for name, run in (("run", made), ("other", other))}
    asked = {owner: store.questions.of(OTHER_SPLIT, **folders, owner=owner) for owner in (BOB, ANN)}
    for owner, question in asked.items():
        question.look()
        answer_next(store)
        assert question.standing().answered == (owner == ANN)
    assert "is not in the store" in (asked[BOB].standing().problem or "")


# Forged messages: what a browser sends of its widgets.


def forged(app: AppTest, *states: WidgetState) -> AppTest:
    return app._run(WidgetStates(widgets=[*app.session_state._state.get_widget_states(), *states]))


def widgets(app: AppTest, *kinds: str) -> list[Any]:
    return [element for kind in kinds for element in app.get(kind) if getattr(element, "id", "")]


@pytest.mark.parametrize("view", VIEWS)
def test_a_forged_choice_does_not_open_what_another_owner_has(view: str, by: Opened, ann: Things) -> None:
    app = by(BOB, view)
    for value in (ann.run, ann.comparison, ann.table):
        boxes = [element.id for element in widgets(app, "selectbox")]
        app = forged(app, *(WidgetState(id=box, string_value=value) for box in boxes))
        assert SECRET not in all_of(app), value


@pytest.mark.parametrize("view", ["runs", "train", "compare", "study", "data", "performance"])
def test_no_button_of_an_owner_does_anything_for_another(view: str, by: Opened, ann: Things, store: Store) -> None:
    """Every button and box that Ann's page has, pressed at once by Bob's browser at the same address."""
    runs = "SELECT * FROM runs WHERE owner = ? ORDER BY id"
    before = [dict(row) for row in store.database.rows(runs, (ANN,))]
    hers = widgets(by(ANN, view, **addresses(ann)[0]), "button", "text_input")
    assert hers
    pressed = [WidgetState(id=one.id, trigger_value=True) for one in hers if one.type == "button"]
    typed = [WidgetState(id=one.id, string_value="x") for one in hers if one.type == "text_input"]
    app = forged(by(BOB, view, **addresses(ann)[0]), *pressed, *typed)
    assert SECRET not in all_of(app)
    assert ACTIONS.get(view, set()) <= {one.label for one in hers}
    assert [dict(row) for row in store.database.rows(runs, (ANN,))] == before
    assert store.has_table(ann.table, ANN)
    assert not store.shares.of(ANN)


ACTIONS = {
    "runs": {"Cancel", "Delete", "Delete for good", "Make a link"},
    "compare": {"Cancel all", "Delete"},
    "study": {"Cancel all", "Delete"},
    "data": {"Remove table"},
}
"""Buttons that change or give away what an owner has, by the page that has them."""


# Links that are meant to open.


def test_a_link_shows_a_run_to_others_read_only_until_it_is_withdrawn(by: Opened, ann: Things, store: Store) -> None:
    app = by(ANN, "performance", run=ann.run)
    (told,) = (text.value for text in app.markdown if text.value.startswith("Whoever has the link"))
    assert "some rows of the table, with all columns, as examples" in told
    assert "cannot open the table itself" in told
    next(button for button in app.button if button.label == "Make a link").click().run()
    (link,) = store.shares.of(ANN)
    assert any(code.value.endswith(f"interactions?run={link.token}") for code in app.code)
    for view in ("performance", "interactions", "examples", "embeddings", "train"):
        app = by(BOB, view, run=link.token)
        assert not app.exception
        assert f"{SECRET} run · shared" in all_of(app), view
        assert f"{SECRET} 1" not in all_of(app)  # no cell of the table
        labels = {button.label for button in app.button}
        assert not labels & {"Cancel", "Delete", "Resume", "Make a link", "Withdraw"}
    app = by(ANN, "runs")
    next(button for button in app.button if button.label == "Withdraw").click().run()
    assert not store.shares.of(ANN)
    app = by(BOB, "performance", run=link.token)
    assert SECRET not in all_of(app)
    assert any(GONE in warning.value for warning in app.warning)


def test_a_link_to_a_run_shows_no_other_run_of_its_comparison(by: Opened, ann: Things, store: Store) -> None:
    store.database.change("UPDATE runs SET comparison = ? WHERE id = ?", (ann.comparison, ann.run))
    token = store.shares.give("run", ann.run, ANN)
    assert f"{SECRET} compared" not in all_of(by(BOB, "performance", run=token))
    assert f"{SECRET} comparison" not in all_of(by(BOB, "compare", run=token, comparison=ann.comparison))


def test_a_link_to_a_comparison_shows_its_runs_read_only(by: Opened, ann: Things, store: Store) -> None:
    token = store.shares.give("comparison", ann.comparison, ANN)
    app = by(BOB, "compare", comparison=token)
    assert f"{SECRET} comparison" in all_of(app)
    assert "Cancel all" not in [button.label for button in app.button]
    assert f"{SECRET} compared · shared" in all_of(by(BOB, "train", comparison=token, run=ann.compared))
    assert SECRET not in all_of(by(BOB, "train", comparison=token, run=ann.waiting))


def test_an_owner_who_opens_their_own_link_sees_one_study_and_all_its_buttons(
    by: Opened, ann: Things, store: Store
) -> None:
    token = store.shares.give("comparison", ann.study, ANN)
    app = by(ANN, "study", study=token)
    (box,) = (box for box in app.selectbox if box.label == "Study")
    assert len(box.options) == 1
    assert box.value == ann.study
    assert app.query_params["study"] in (ann.study, [ann.study])
    assert "Cancel all" in [button.label for button in app.button]


def test_an_owner_who_opens_their_own_link_sees_one_run(by: Opened, ann: Things, store: Store) -> None:
    app = by(ANN, "performance", run=store.shares.give("run", ann.run, ANN))
    box = app.sidebar.selectbox[0]
    assert [f"{SECRET} run" in option for option in box.options].count(True) == 1
    assert box.value == ann.run


def test_a_shared_study_leaves_the_visitors_own_table_alone(by: Opened, ann: Things, store: Store) -> None:
    hers = store.comparisons.runs(ann.study)
    token = store.shares.give("comparison", ann.study, ANN)
    own = store.import_table(SAMPLE.to_csv(index=False).encode(), "of_bob.csv", BOB).sha256
    app = by(BOB, "study", study=token, table=own)
    app.session_state["settings to take over"] = hers[0].id
    app.run()
    assert "is not yours" in app.error[0].value
    assert app.query_params["table"] in (own, [own])
    assert app.title[0].value == "Study settings"


def test_a_personal_server_has_no_links_to_share_and_opens_every_address(
    by: Opened, ann: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEEPFM_PRIVATE")
    app = by(BOB, "performance", run=ann.run, table=ann.table)
    assert f"{SECRET} run" in all_of(app)
    assert "Make a link" not in [button.label for button in app.button]


def test_links_are_unguessable_belong_to_their_owner_and_go_with_what_they_show(ann: Things, store: Store) -> None:
    token = store.shares.give("run", ann.run, ANN)
    assert store.shares.give("run", ann.run, ANN) == token
    assert len(token.removeprefix("share-")) == 22  # 128 bits
    for kind, subject in (("run", ann.run), ("comparison", ann.comparison)):
        with pytest.raises(Exception, match="is not among yours"):
            store.shares.give(kind, subject, BOB)  # type: ignore[arg-type]
    store.shares.withdraw(token, BOB)
    assert [link.token for link in store.shares.of(ANN)] == [token]
    me = Process.current()
    assert store.run(ann.run).worker != str(me)
    store.delete_all(ANN)
    assert not store.database.rows("SELECT * FROM shares")


# Files that a page hands out: their addresses below /media.


def drawn_types(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Draw both kinds of download buttons, and give the types under which their files are kept."""
    types: list[str] = []
    monkeypatch.setattr("streamlit.download_button", lambda _label, _make, _file, mime, **_: types.append(mime))
    figure.download(pd.DataFrame({"a": [1]}), "rows", "rows")
    figure.download_file("Bundle", lambda: b"", "rows.csv", "text/csv", "bundle")
    return types


def test_a_download_is_never_that_of_another_and_its_address_cannot_be_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of the same length that differ where Streamlit does not look, as two visitors may have them."""
    files = MemoryMediaFileStorage("/media")
    anns, bobs = b"a" * (3 << 20), b"a" * (1 << 20) + b"b" + b"a" * ((2 << 20) - 1)

    def kept(content: bytes, mime: str) -> str:
        return files.load_and_get_id(content, mime, MediaFileKind.DOWNLOADABLE, "rows.csv")

    assert kept(anns, "text/csv") == kept(bobs, "text/csv")  # what must not reach a visitor
    types = drawn_types(monkeypatch) + drawn_types(monkeypatch)
    ids = [kept(content, mime) for content, mime in zip((anns, bobs, anns, bobs), types, strict=True)]
    assert len(set(ids)) == 4
    assert [files.get_file(each).content for each in ids] == [anns, bobs, anns, bobs]
    assert all(re.fullmatch(r"text/csv; v=[0-9a-f]{32}", mime) for mime in types)


def test_all_downloads_are_drawn_by_the_two_buttons_that_keep_them_apart() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py")}
    drawn = {str(path.relative_to(ROOT)) for path, text in texts.items() if "download_button(" in text}
    assert drawn == {"app/widgets/figure.py"}
    assert texts[ROOT / "app/widgets/figure.py"].count("download_button(") == 2
    assert texts[ROOT / "app/widgets/figure.py"].count("_own(") == 3
    named = ("st.image(", "st.audio(", "st.video(", "st.pdf(", "st.logo(")
    assert not [path for path, text in texts.items() if any(word in text for word in named)]
