"""What an owner of a shared server sees of their own, what others are told, and links that are meant to open."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.runtime.media_file_storage import MediaFileKind
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage
from streamlit.web.server.starlette.starlette_routes import create_media_routes

from app.widgets import figure
from app.widgets.browser import browser_of
from deepfm_core.export.bundle import bundle_bytes, import_bundle
from deepfm_core.export.model_card import Facts
from deepfm_core.store.process import Process
from deepfm_core.store.query import OTHER_SPLIT
from deepfm_core.store.shares import GONE
from deepfm_core.store.store import Store
from tests.app.owners.conftest import ANN, BOB, ROOT, SAMPLE, SECRET, VIEWS, Opened, Things, addresses, all_of
from tests.conftest import answer_next

pytestmark = pytest.mark.slow


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
    monkeypatch.setattr("streamlit.runtime.context.ContextProxy.cookies", {"deepfm_visitor": ANN})
    assert all(mime.endswith("; of=" + browser_of({"deepfm_visitor": ANN})) for mime in drawn_types(monkeypatch))


def test_all_downloads_are_drawn_by_the_one_button_that_keeps_them_apart() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py")}
    drawn = {str(path.relative_to(ROOT)) for path, text in texts.items() if "download_button(" in text}
    assert drawn == {"app/widgets/figure.py"}
    assert texts[ROOT / "app/widgets/figure.py"].count("download_button(") == 1
    assert texts[ROOT / "app/widgets/figure.py"].count("_own(") == 2
    named = ("st.image(", "st.audio(", "st.video(", "st.pdf(", "st.logo(")
    assert not [path for path, text in texts.items() if any(word in text for word in named)]


def test_without_app_server_a_file_goes_to_whoever_has_its_whole_address_and_to_nobody_else() -> None:
    """Streamlit asks for no cookie below /media, and only `app/server.py` does; elsewhere the address is the secret."""
    files = MemoryMediaFileStorage("/media")
    held = files.load_and_get_id(b"rows", figure._own("text/csv"), MediaFileKind.DOWNLOADABLE, "rows.csv")
    browser = TestClient(Starlette(routes=create_media_routes(files, None)))
    assert browser.get(files.get_url(held)).content == b"rows"
    for other in (held[:-1], held[:-1] + "?", "", "..", held[::-1]):
        assert browser.get(f"/media/{other}").status_code == 404
