"""The page System is for the operator alone: on a shared server it asks who is there, or does not exist."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from app.state import visitor
from deepfm_core._log import short
from deepfm_core.store.store import Store
from tests.app.test_results import text_of
from tests.small_engine import spec

pytestmark = pytest.mark.slow

Opened = Callable[..., AppTest]
VISITOR, WORD = "c" * 32, "a password long enough"


@pytest.fixture
def shared(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setattr("streamlit.runtime.context.ContextProxy.cookies", {})  # a browser that has none yet
    monkeypatch.delenv(visitor.PASSWORD, raising=False)
    monkeypatch.delenv(visitor.PEOPLE, raising=False)
    store.enqueue(spec(), owner=VISITOR)
    return store


def shown(app: AppTest) -> str:
    return text_of(app) + "".join(frame.value.to_csv() for frame in app.dataframe)


def test_a_shared_server_without_an_operator_has_no_such_page(shared: Store, opened: Opened) -> None:
    app = opened("system")
    assert not app.dataframe
    assert "System" not in [title.value for title in app.title]


def test_the_operator_gives_the_password_and_nobody_else_sees_a_figure(
    shared: Store, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(visitor.PASSWORD, WORD)
    monkeypatch.setenv("DEEPFM_STORE_MB", "100")
    app = opened("system")
    assert not app.dataframe
    assert not app.metric
    app.text_input[0].input("a password long enougH")
    app.button[0].click().run()
    assert "This is not the operator's password. Try again." in app.error[0].value
    assert not app.metric
    app.text_input[0].input(WORD)
    app.button[0].click().run()
    app.run()
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["Waiting runs"] == "1"
    assert short(VISITOR) in shown(app)
    assert VISITOR not in shown(app)
    assert "Megabytes of the whole store,100,DEEPFM_STORE_MB" in shown(app)
    assert "The whole store takes 0 MB now, without encoded rows." in text_of(app)
    assert not app.info
    (shared.home / "tables" / "large").mkdir(parents=True)
    (shared.home / "tables" / "large" / "original").write_bytes(b"x" * 99_000_000)
    (shared.home / "size").unlink()
    app.run()
    assert app.info[0].value.startswith("The store takes 99 MB of 100 MB.")
    assert not opened("system").metric  # another session


def test_a_short_password_opens_nothing(shared: Store, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(visitor.PASSWORD, "short")
    app = opened("system")
    assert "has fewer than 16 characters" in app.error[0].value
    assert not app.text_input


@pytest.mark.parametrize(
    ("user", "known"),
    [
        ({"is_logged_in": True, "email": "Op@Example.org"}, True),
        ({"is_logged_in": True, "email": "op@example.org", "email_verified": True}, True),
        ({"is_logged_in": True, "email": "op@example.org", "email_verified": False}, False),
        ({"is_logged_in": False, "email": "op@example.org"}, False),
        ({"is_logged_in": True, "email": "other@example.org"}, False),
        ({"is_logged_in": True}, False),
        ({}, False),
    ],
)
def test_who_is_named_and_confirmed_is_the_operator(
    user: dict[str, object], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(visitor.PEOPLE, " op@example.org, second@example.org,")
    assert visitor.is_named(user) is known


def test_a_personal_server_shows_it_to_its_one_user_and_runs_leads_there(store: Store, opened: Opened) -> None:
    app = opened("system")
    assert "Nothing needs your attention." in text_of(app)
    assert "Owners" not in [heading.value for heading in app.header]
    assert any("System" in str(link.proto) for link in opened("runs").get("page_link"))
