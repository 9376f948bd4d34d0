"""The cookies that say whose browser it is. Nothing here loads Streamlit, since `app/server.py` reads them, too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

COOKIE = "deepfm_visitor"
"""The cookie with the owner of a visitor who has not signed in."""
SIGN_IN = "_streamlit_user"
"""The cookie in which Streamlit keeps who signed in; a long one goes on in others, whose names begin so."""
OF = "; of="
"""Before the browser that may have a file, in the type of that file. `app/server.py` gives the file to no other."""


def browser_of(cookies: Mapping[str, str], *names: str) -> str:
    """Give a digest of the cookies whose names begin with any of `names`; empty where there are none."""
    found = sorted((name, value) for name, value in cookies.items() if name.startswith(names or (COOKIE, SIGN_IN)))
    return hashlib.sha256(repr(found).encode()).hexdigest()[:32] if found else ""
