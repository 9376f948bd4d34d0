"""The one place that reads JSON which may be damaged: whatever is wrong with it becomes an error that a user can read.

A file may be cut or edited by hand, a row changed by another program, an address typed. Values of a wrong type raise
what Python happens to raise, from AttributeError to RecursionError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

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


# Whether values have the types that a dataclass says: Python itself does not look.


def require_types(record: Any) -> Any:
    """Return a dataclass's instance whose values, and theirs, have the types that their fields say.

    Raises:
        TypeError: one has not.
    """
    for field in fields(record):
        hints = _hints(type(record))  # type: ignore[arg-type]  # a type is hashable
        if not _fits(getattr(record, field.name), hints[field.name]):
            raise TypeError(f"`{field.name}` is `{str(getattr(record, field.name))[:40]}`")
    return record


@cache
def _hints(record: Any) -> dict[str, Any]:
    return get_type_hints(record)


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is tuple:  # JSON has it as a list
        if not isinstance(value, (tuple, list)):
            return False
        kinds = parts[:1] * len(value) if parts[-1] is ... else parts
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if is_dataclass(hint):
        return isinstance(value, hint) and require_types(value) is value  # type: ignore[arg-type]
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)
