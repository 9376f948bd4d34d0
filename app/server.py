"""The entry of a shared server, `streamlit run app/server.py`: the app, and a cookie that the server itself sets.

A page of Streamlit cannot set a header, so a cookie of `app/main.py` would be written by a script, which other scripts
can read, and only after the page has begun: two tabs of a new visitor would be two owners.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [
    str(ROOT),
    *(entry for entry in tuple(sys.path) if Path(entry or ".").resolve() not in (ROOT, ROOT / "app")),
]

from starlette.datastructures import Headers, MutableHeaders  # noqa: E402 (needs the path above)
from starlette.middleware import Middleware  # noqa: E402
from starlette.requests import cookie_parser  # noqa: E402
from starlette.types import ASGIApp, Message, Receive, Scope, Send  # noqa: E402
from streamlit.starlette import App  # noqa: E402

from app.state.visitor import COOKIE, SECONDS, is_owner  # noqa: E402


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


app = App(ROOT / "app" / "main.py", middleware=[Middleware(VisitorCookie)])
