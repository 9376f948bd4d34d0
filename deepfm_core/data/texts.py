"""Many texts held as one piece of memory, read like a tuple of strings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import pyarrow as pa


class Texts(Sequence[str]):
    """N texts over an Arrow array: a million of them are a few megabytes, and become strings only when asked for."""

    __slots__ = ("array",)

    def __init__(self, texts: pa.Array | Iterable[str]) -> None:
        """Hold an Arrow array of text without nulls, or any strings."""
        self.array = texts if isinstance(texts, pa.Array) else pa.array(list(texts), pa.large_string())

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Return texts as they are held here already, or hold them."""
        return texts if isinstance(texts, Texts) else cls(texts)

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[str]:
        return iter(self.array.to_pylist())

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step == 1:
                return tuple(self.array.slice(start, max(stop - start, 0)).to_pylist())
            return tuple(self)[place]
        text: str = self.array[place].as_py()
        return text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return bool(self.array.equals(other.array))
        return isinstance(other, tuple) and tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Texts({list(self[:5])!r}{', …' if len(self) > 5 else ''})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Texts, (list(self),)
