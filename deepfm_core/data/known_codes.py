"""What the distinct texts of a column were encoded as last, so that the parts of one table encode them once."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

from deepfm_core.data.columns import Cells
from deepfm_core.data.field_codes import Code, FieldCode

_MOST_SLOTS = 2
"""Slots up to which codes are held: those of a multi-valued field may be larger than the table."""


class KnownCodes:
    """The codes of each field's distinct texts, as long as these are the same object in memory."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[weakref.ref[Any], Code]] = {}

    def code(self, field: FieldCode, cells: Cells) -> Code:
        """Encode the distinct texts of `cells`, or give what they were encoded as; nobody may write to that."""
        source, known = cells.source, self._known.get(field.name)
        if source is None or field.slots > _MOST_SLOTS:
            return field.code(cells)
        if known is None or known[0]() is not source:
            gone = partial(self._forget, field.name)
            known = self._known[field.name] = weakref.ref(source, gone), field.code(cells)
        return known[1]

    def _forget(self, name: str, source: weakref.ref[Any]) -> None:
        if name in self._known and self._known[name][0] is source:
            del self._known[name]

    def __reduce__(self) -> tuple[type[KnownCodes], tuple[()]]:
        return KnownCodes, ()  # in another process no texts are the same object
