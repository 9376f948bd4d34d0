"""The entry of a shared server, `streamlit run app/server.py`: the app, and what only a server can do for it.

It sets the visitor's cookie. A page of Streamlit cannot set a header. A script would have to write the cookie, which
other scripts could read, and only after the page has begun: two tabs of a new visitor would be two owners.

It signs a visitor out in all tabs. A page of Streamlit knows who signed in from the moment when its connection began.

It gives the files that a page hands out to the browser of that page alone. Streamlit would give them to anybody who has
their address.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [
    str(ROOT),
    *(entry for entry in tuple(sys.path) if Path(entry or ".").resolve() not in (ROOT, ROOT / "app")),
]

from starlette.datastructures import Headers, MutableHeaders  # noqa: E402 (needs the path above)
from starlette.middleware import Middleware  # noqa: E402
from starlette.requests import cookie_parser  # noqa: E402
from starlette.responses import Response  # noqa: E402
from starlette.types import ASGIApp, Message, Receive, Scope, Send  # noqa: E402
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg  # noqa: E402
from streamlit.proto.SessionStatus_pb2 import SessionStatus  # noqa: E402
from streamlit.starlette import App  # noqa: E402

from app.state.visitor import SECONDS, is_owner  # noqa: E402
from app.widgets.browser import COOKIE, OF, SIGN_IN, browser_of  # noqa: E402


class VisitorCookie:
    """Gives every page a cookie with the visitor's owner: a new one, or the one that came, for another year.

    It comes with the page itself, so it is there before the page asks for anything. No script can read it, and no other
    site can send it along.
    """

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the connection of a page that is open (a WebSocket) passes as it is."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = Headers(scope=scope)
        safe = "https" in (scope.get("scheme"), headers.get("x-forwarded-proto"))

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                if answer.get("content-type", "").startswith("text/html"):
                    answer.append("set-cookie", _cookie(headers.get("cookie", ""), safe))
                    answer["cache-control"] = "no-store"  # the cookie is of one visitor
            await send(message)

        await self._inner(scope, receive, sent)


def _cookie(came: str, safe: bool) -> str:
    """Write the header of a cookie that goes on with the owner that came, if one did."""
    found = cookie_parser(came).get(COOKIE, "")  # reads on past cookies of others that a strict parser stops at
    owner = found if is_owner(found) else secrets.token_hex(16)
    return f"{COOKIE}={owner}; Path=/; Max-Age={SECONDS}; HttpOnly; SameSite=Lax" + ("; Secure" if safe else "")


_FORGET_SECONDS = 60.0
_DRAWING = ForwardMsg(session_status_changed=SessionStatus(script_is_running=True)).SerializeToString()
"""Has a browser ask for its page again when it has lost the connection."""
_LEAVING = 1001
"""Why a connection is closed, as WebSockets have it: one side goes away, so the other one may connect again."""


class SignedOut:
    """Ends the connections of all tabs of a browser that signs out, or signs in as somebody else.

    Their browser connects again, without the cookie or with the new one, and asks for its page anew: it is told that
    the page was being drawn. One that connects before it has the answer that takes its cookie away has no say either.
    """

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner
        self._open: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        """Connections by the sign-in that they began with: what is set ends them."""
        self._over: dict[str, float] = {}
        """Sign-ins that ended a moment ago, and when."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or keep up a connection as long as its sign-in is valid."""
        sign_in = _sign_in(Headers(scope=scope)) if scope["type"] in ("http", "websocket") else ""
        if not sign_in:
            await self._inner(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(sign_in, scope, receive, send)
        else:
            await self._connection(sign_in, scope, receive, send)

    async def _request(self, sign_in: str, scope: Scope, receive: Receive, send: Send) -> None:
        ends = False

        async def sent(message: Message) -> None:
            nonlocal ends
            if message["type"] == "http.response.start":
                given = Headers(raw=message["headers"]).getlist("set-cookie")
                ends = any(cookie.startswith(f"{SIGN_IN}=") for cookie in given)
            await send(message)

        await self._inner(scope, receive, sent)
        if ends:
            self._end(sign_in)

    def _end(self, sign_in: str) -> None:
        now = time.monotonic()
        self._over = {ended: at for ended, at in self._over.items() if now - at < _FORGET_SECONDS} | {sign_in: now}
        for over in self._open.get(sign_in, ()):
            over.set()

    async def _connection(self, sign_in: str, scope: Scope, receive: Receive, send: Send) -> None:
        if sign_in in self._over:
            scope = {**scope, "headers": [_without_sign_in(*pair) for pair in scope["headers"]]}
        over = asyncio.Event()
        self._open[sign_in].add(over)
        ended = asyncio.ensure_future(over.wait())

        async def received() -> Message:
            message = asyncio.ensure_future(receive())
            try:
                await asyncio.wait({message, ended}, return_when=asyncio.FIRST_COMPLETED)
                return {"type": "websocket.disconnect", "code": _LEAVING} if over.is_set() else message.result()
            finally:
                message.cancel()

        try:
            await self._inner(scope, received, send)
            if over.is_set():
                with suppress(OSError, RuntimeError):  # the browser has left by itself
                    await send({"type": "websocket.send", "bytes": _DRAWING})
                    await send({"type": "websocket.close", "code": _LEAVING})
        finally:
            ended.cancel()
            self._open[sign_in].discard(over)
            if not self._open[sign_in]:
                del self._open[sign_in]


def _sign_in(headers: Headers) -> str:
    """Give a digest of the cookies that say who signed in; empty where there are none."""
    return browser_of(cookie_parser(headers.get("cookie", "")), SIGN_IN)


def _without_sign_in(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Give a header without the cookies that say who signed in."""
    if name != b"cookie":
        return name, value
    kept = [cookie.strip() for cookie in value.split(b";") if not cookie.strip().startswith(SIGN_IN.encode())]
    return name, b"; ".join(kept)


class OwnFiles:
    """Gives a file that a page hands out to the browser of that page alone: its type says which one that is."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the file of another browser is not there."""
        refused = False

        async def sent(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                mime, _, rest = answer.get("content-type", "").partition(OF)
                whose, _, charset = rest.partition("; ")  # Starlette adds one to types of text
                asks = browser_of(cookie_parser(Headers(scope=scope).get("cookie", ""))) if whose else ""
                refused = whose != asks
                if whose:
                    answer["content-type"] = f"{mime}; {charset}" if charset else mime
            if not refused:
                await send(message)

        await self._inner(scope, receive, sent if scope["type"] == "http" else send)
        if refused:
            await Response("This file is of another browser, or of another sign-in.", 404)(scope, receive, send)


app = App(ROOT / "app" / "main.py", middleware=[Middleware(VisitorCookie), Middleware(SignedOut), Middleware(OwnFiles)])
