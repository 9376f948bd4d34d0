"""The one place that reads JSON which may be damaged: whatever is wrong with it becomes an error that a user can read.

A file may be cut or edited by hand, a row changed by another program, an address typed. Values of a wrong type raise
what Python happens to raise, from AttributeError to RecursionError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from deepfm_core.errors import DeepFMError, RunError

DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, DeepFMError)
"""What reading damaged values may raise. UnicodeError is a ValueError, OverflowError an ArithmeticError."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of a pair that JSON writes a rare character as. Alone it makes a text that cannot be written."""


def read_object(
    text: str | bytes, subject: str, remedy: str, made: Callable[[dict[str, Any]], Any] | None = None
) -> Any:
    """Read a JSON object, and make something of it.

    Args:
        text: the JSON.
        subject: what an error says is damaged, as the beginning of a sentence.
        remedy: what to do about it, as a sentence.
        made: what is made of the values; by default they are returned.

    Raises:
        RunError: it is not JSON, not an object, or nothing can be made of it.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        values = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("it is not a JSON object")
        if _HALF.search(text):
            json.dumps(values, ensure_ascii=False).encode()
        return values if made is None else made(values)
    except DAMAGE as error:
        raise RunError(f"{subject} cannot be read ({_why(error)}). {remedy}") from error


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).partition("\n")[0].rstrip(".")[:200] or type(error).__name__
