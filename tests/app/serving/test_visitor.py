"""Who a visitor is: known by the cookie that the server sets with the page, or by an account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.responses import Response
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from app.state import visitor
from app.widgets.browser import OF, browser_of
from deepfm_core.store.store import Store
from tests.small_engine import spec

Opened = Callable[..., AppTest]
ANN = "a" * 32


def answered(cookie: str, kind: str = "text/html; charset=utf-8", scheme: str = "http") -> dict[str, str]:
    """Give the headers of a page that was asked for with a cookie."""
    from app.server import VisitorCookie

    sent: list[Any] = []

    async def page(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]})
        await send({"type": "http.response.body", "body": b""})

    async def keep(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "scheme": scheme, "headers": [(b"cookie", cookie.encode())]}
    asyncio.run(VisitorCookie(page)(scope, receive, keep))
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_a_page_comes_with_a_cookie_that_no_script_reads_and_no_other_site_sends() -> None:
    first, second = (answered("")["set-cookie"] for _ in range(2))
    assert first != second
    value, *attributes = first.split("; ")
    assert visitor.is_owner(value.removeprefix("deepfm_visitor="))
    assert attributes == ["Path=/", "Max-Age=31536000", "HttpOnly", "SameSite=Lax"]
    assert answered("", scheme="https")["set-cookie"].endswith("; Secure")
    assert answered("")["cache-control"] == "no-store"


def test_a_cookie_that_came_goes_on_for_another_year_and_a_strange_one_is_replaced() -> None:
    for other in ("x=1", 'prefs={"a":1}', "name=Ann Lee", "x[1]=2"):
        assert answered(f"{other}; deepfm_visitor={ANN}")["set-cookie"].startswith(f"deepfm_visitor={ANN}; "), other
    for strange in (f"account-{ANN}", "local", "", "z" * 32, '"', "a" * 5000):
        value = answered(f"deepfm_visitor={strange}")["set-cookie"].split("; ")[0]
        assert visitor.is_owner(value.removeprefix("deepfm_visitor="))
        assert strange not in value or not strange
    assert "set-cookie" not in answered("", kind="text/javascript")


class Connections:
    """Pages behind `SignedOut` whose connections stay until they end, and requests that answer with a cookie."""

    def __init__(self) -> None:
        from app.server import SignedOut

        self._served = SignedOut(self._page)
        self.open: list[str] = []
        """The cookies that open connections began with."""
        self.sent: list[str] = []

    async def _page(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        if scope["type"] == "http":
            given = [(b"set-cookie", headers[b"gives"])] if b"gives" in headers else []
            await send({"type": "http.response.start", "status": 200, "headers": given})
            return
        self.open.append(headers.get(b"cookie", b"").decode())
        while (await receive())["type"] != "websocket.disconnect":
            pass
        self.open.remove(headers.get(b"cookie", b"").decode())

    async def ask(self, kind: str, **headers: str) -> None:
        async def send(message: Any) -> None:
            self.sent.append(message["type"])

        scope = {"type": kind, "headers": [(name.encode(), text.encode()) for name, text in headers.items()]}
        await self._served(scope, asyncio.Queue().get, send)


@pytest.mark.parametrize("gives", ['_streamlit_user=""; Max-Age=0', "_streamlit_user=of-bob; Path=/"])
def test_the_connections_of_a_sign_in_end_with_it_and_no_others(gives: str) -> None:
    pages = Connections()
    ann, elsewhere = "deepfm_visitor=1; _streamlit_user=of-ann", "_streamlit_user=of-ann-elsewhere"

    async def journey() -> None:
        connections = [asyncio.ensure_future(pages.ask("websocket", cookie=c)) for c in (ann, ann, elsewhere, "x=1")]
        await asyncio.sleep(0.01)
        await pages.ask("http", cookie=ann)
        await pages.ask("http", cookie=ann, gives="deepfm_visitor=1")
        await asyncio.sleep(0.01)
        assert pages.open == [ann, ann, elsewhere, "x=1"]
        await pages.ask("http", cookie=ann, gives=gives)
        await asyncio.sleep(0.01)
        assert pages.open == [elsewhere, "x=1"]
        assert pages.sent.count("websocket.close") == 2
        again = asyncio.ensure_future(pages.ask("websocket", cookie=ann))  # before the browser has dropped it
        await asyncio.sleep(0.01)
        assert pages.open == [elsewhere, "x=1", "deepfm_visitor=1"]
        for connection in (*connections, again):
            connection.cancel()

    asyncio.run(journey())


def file_for(asker: dict[str, str], maker: dict[str, str]) -> httpx2.Response:
    """Ask, with cookies, for a file that was drawn for the browser with the cookies `maker`."""
    from app.server import OwnFiles

    whose = browser_of(maker)
    file = Response(b"rows", media_type="text/csv; v=1" + (OF + whose if whose else ""))
    return TestClient(OwnFiles(file), cookies=asker).get("/media/x.csv")


def test_a_file_goes_to_the_browser_it_was_drawn_for_and_to_no_other() -> None:
    ann, bob = {"deepfm_visitor": ANN}, {"deepfm_visitor": "b" * 32}
    signed = ann | {"_streamlit_user": "of-ann", "_streamlit_user__1": "more"}
    for own in (ann, signed, {}):
        answer = file_for(own | {"theme": "dark"}, own)
        assert (answer.status_code, answer.content) == (200, b"rows")
        assert answer.headers["content-type"] == "text/csv; v=1; charset=utf-8"
    for asks, maker in ((bob, ann), ({}, ann), (ann, signed), (signed | {"_streamlit_user": "of-bob"}, signed)):
        answer = file_for(asks, maker)
        assert answer.status_code == 404
        assert answer.text == "This file is of another browser, or of another sign-in."


@pytest.fixture
def shared(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setattr("streamlit.runtime.context.ContextProxy.cookies", {"deepfm_visitor": ANN})
    return store


def as_user(opened: Opened, monkeypatch: pytest.MonkeyPatch, view: str = "runs", **user: Any) -> AppTest:
    monkeypatch.setattr("streamlit.user_info.UserInfoProxy.to_dict", lambda _: dict(user))
    return opened(view)


def names(app: AppTest) -> set[str]:
    return {name for frame in app.dataframe for name in frame.value.get("Run", [])}


@pytest.mark.slow
def test_whoever_signs_in_is_an_owner_by_issuer_and_subject_whatever_the_browser(
    shared: Store, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    account: dict[str, Any] = {
        "is_logged_in": True,
        "iss": "https://id.example",
        "sub": "17",
        "email": "ann@example.org",
    }
    owner = visitor._of_account(account)
    assert not visitor.is_owner(owner)  # no cookie can claim it
    assert owner != visitor._of_account(account | {"iss": "https://other.example"})
    assert owner == visitor._of_account(account | {"email": "ann@elsewhere.org"})
    shared.enqueue(spec(), "of the account", owner)
    shared.enqueue(spec(), "of the browser", ANN)
    app = as_user(opened, monkeypatch, **account)
    assert names(app) == {"of the account"}
    assert any("Signed in as" in caption.value for caption in app.sidebar.caption)
    assert "Sign out" in [button.label for button in app.sidebar.button]
    assert names(as_user(opened, monkeypatch)) == {"of the browser"}


@pytest.mark.slow
def test_where_accounts_are_set_up_nobody_sees_a_page_before_signing_in(
    shared: Store, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.enqueue(spec(), "of the browser", ANN)
    monkeypatch.setattr(visitor, "find_spec", lambda _name: object())
    monkeypatch.setattr("streamlit.secrets", {"auth": {"cookie_secret": "x", "okta": {"client_id": "1"}}})
    app = as_user(opened, monkeypatch, is_logged_in=False)
    assert [button.label for button in app.button] == ["Sign in with Okta"]
    assert not app.dataframe
    for there, missing in (
        ("authlib", "the package httpx2"),
        ("httpx", "the package Authlib"),
        ("", "the packages Authlib and httpx2"),
    ):
        monkeypatch.setattr(visitor, "find_spec", lambda name, there=there: object() if name == there else None)
        app = as_user(opened, monkeypatch, is_logged_in=False)
        assert f"Signing in needs {missing} on the server. Install what is missing" in app.error[0].value
        assert not app.button
