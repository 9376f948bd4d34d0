"""Pairs of fields that a user crosses: how they are written, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from deepfm_core.errors import SpecError

if TYPE_CHECKING:
    from deepfm_core.schema.schema import Cross


def parse_crosses(texts: Iterable[str]) -> tuple[Cross, ...]:
    """Read pairs of fields written as `A*B`; empty texts count for nothing.

    Raises:
        SpecError: a text does not name two fields.
    """
    return tuple(_parsed(text) for text in texts if text.strip())


def _parsed(text: str) -> Cross:
    names = [name.strip() for name in text.split("*")]
    if len(names) != 2 or not all(names):
        raise SpecError(f"Cross is {text.strip()!r}. Name two fields, such as device*hour.")
    return names[0], names[1]


def named_crosses(pairs: Iterable[object]) -> tuple[Cross, ...]:
    """Check that each is a pair of names.

    Raises:
        SpecError: one is not.
    """
    found = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise SpecError(f"Cross is {pair!r}. Name two columns, such as ('device', 'hour').")
        found.append((str(pair[0]), str(pair[1])))
    return tuple(found)


def require_different(crosses: Sequence[Cross]) -> None:
    """Check that each cross has two different fields, and that none is named twice.

    Raises:
        SpecError: they have not, or one is.
    """
    seen = set()
    for a, b in crosses:
        if a == b:
            raise SpecError(f"Cross is '{a}*{b}'. Name two different fields.")
        if frozenset((a, b)) in seen:
            raise SpecError(f"Cross is '{a}*{b}' a second time. Name each pair of fields once.")
        seen.add(frozenset((a, b)))
