"""Find known values that are written otherwise: `TRUE` for `true`, `2.50` for `2.5`, `501` for `00501`.

Start with `Spellings`. A text that training saw is never looked at: what differs in training stays apart. Only an
unseen text is compared with the known ones, in steps: each makes more texts alike, and the first one counts in which
it is like a single known value. `us` is `US`, then, but where training saw both, `Us` is neither. A row's answer does
not depend on the rows beside it. `deepfm_core/export/standalone.py` does the same without Arrow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core.schema.lists import MARKS, WRAPPING

_BLANKS = r"[ \t\n\f\r\x0B\x{A0}\x{2000}-\x{200B}\x{202F}\x{3000}\x{FEFF}]+"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"


def _letters(texts: pa.Array) -> pa.Array:
    """Compose letters and their accents (Unicode's NFC), and take any run of white space for one blank."""
    composed = pc.utf8_normalize(texts, form="NFC")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(composed, _BLANKS, " "))


def _numbers(texts: pa.Array) -> pa.Array:
    """Write numbers without a plus, without commas between thousands, and without zeros at the end of decimals."""
    plain = pc.if_else(pc.match_substring_regex(texts, _THOUSANDS), pc.replace_substring(texts, ",", ""), texts)
    for pattern, written in (
        (r"^\+(\d)", r"\1"),
        (r"^\.(\d)", r"0.\1"),
        (r"^-\.(\d)", r"-0.\1"),
        (r"^(-?\d+)\.0*$", r"\1"),
        (r"^(-?\d+\.\d*[1-9])0+$", r"\1"),
    ):
        plain = pc.replace_substring_regex(plain, pattern, written)
    return plain


def _case(texts: pa.Array) -> pa.Array:
    return pc.utf8_lower(texts)


def _zeros(texts: pa.Array) -> pa.Array:
    """Write codes of digits without the zeros that spreadsheets take away."""
    return pc.replace_substring_regex(texts, r"^0+(\d+)$", r"\1")


_STEPS = (_letters, _numbers, _case, _zeros)
"""Ways to make texts alike, each on top of those before it."""


class Spellings:
    """The known values of a field under the forms in which they are compared."""

    def __init__(self, known: pa.Array) -> None:
        """Hold V known values; forms are made when an unseen text asks for them."""
        self._forms = [known]

    def places(self, texts: pa.Array) -> NDArray[np.int64]:
        """Return (D,) the place of the known value that each unseen text is another spelling of; -1 if none."""
        found = np.full(len(texts), -1, dtype=np.int64)
        form = texts
        for number, step in enumerate(_STEPS, 1):
            form = step(form)
            open_ = np.flatnonzero(found < 0)
            if not len(open_):
                break
            found[open_] = self._places_of(form.take(pa.array(open_)), self._form(number))
        return found

    @staticmethod
    def _places_of(forms: pa.Array, known: pa.Array) -> NDArray[np.int64]:
        places = np.array(pc.index_in(forms, value_set=known).fill_null(-1))
        if len(hit := np.flatnonzero(places >= 0)):
            counted = pc.value_counts(known)
            of_form = pc.index_in(known.take(pa.array(places[hit])), value_set=counted.field("values"))
            several = np.asarray(counted.field("counts").take(of_form)) > 1
            places[hit[several]] = -1
        return places

    def _form(self, number: int) -> pa.Array:
        while len(self._forms) <= number:
            self._forms.append(_STEPS[len(self._forms) - 1](self._forms[-1]))
        return self._forms[number]


def with_separator(texts: pa.Array, separator: str, known: Callable[[pa.Array], NDArray[np.bool_]]) -> pa.Array:
    """Write lists whose values stand between another mark with the separator of a field.

    Args:
        texts: (D,) cells none of whose values is known as they are split now.
        separator: between the values of the field's cells.
        known: says of (T,) values which of them training saw.

    Returns:
        (D,) cells with the separator, where most of their values are known then; the others as they are.
    """
    written, best = texts, np.full(len(texts), 0.5)
    for mark in (mark for mark in MARKS if mark != separator):
        held = np.asarray(pc.match_substring(texts, mark))
        if not held.any():
            continue
        parts = pc.split_pattern(texts, mark)
        of_cell = np.asarray(pc.list_parent_indices(parts))
        seen = known(pc.utf8_trim(pc.list_flatten(parts), WRAPPING))
        share = np.bincount(of_cell, weights=seen, minlength=len(texts)) / np.bincount(of_cell, minlength=len(texts))
        better = held & (share > best)
        written = pc.if_else(pa.array(better), pc.replace_substring(texts, mark, separator), written)
        best = np.where(better, share, best)
    return written
