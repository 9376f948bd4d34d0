"""Vocabularies: the features of categorical, multi-valued and timestamp fields, and how they are spelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core.schema.column import MARKS, WRAPPING, Cells, missing_texts
from deepfm_core.tables.csv_parser import keys_of
from deepfm_core.tables.table import Texts

# Find known values that are written otherwise: `TRUE` for `true`, `2.50` for `2.5`, `501` for `00501`.
#
# Start with `Spellings`. A text that training saw is never looked at: what differs in training stays apart. Only an
# unseen text is compared with the known ones, in steps: each makes more texts alike, and the first one counts in which
# it is like a single known value. `us` is `US`, then, but where training saw both, `Us` is neither. A row's answer
# does not depend on the rows beside it. `deepfm_core/export/standalone.py` does the same without Arrow.

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
            places, several = _found_in(self._form(number), form.take(pa.array(open_)))
            found[open_] = np.where(several, -1, places)
        return found

    def _form(self, number: int) -> pa.Array:
        while len(self._forms) <= number:
            self._forms.append(_STEPS[len(self._forms) - 1](self._forms[-1]))
        return self._forms[number]


def places_in(known: pa.Array, texts: pa.Array) -> NDArray[np.int64]:
    """Return (D,) the first place of each text among V known ones, -1 where it is unknown."""
    if 2 * len(texts) > len(known):
        return np.array(pc.index_in(texts, value_set=known).fill_null(-1), dtype=np.int64)
    return _found_in(known, texts)[0]


def _found_in(known: pa.Array, texts: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find a few texts among V known ones.

    Arrow hashes what it looks up in anew at each call. That may be a large vocabulary, asked for by each piece of a
    table. So the known texts are looked up among the few.

    Returns:
        (D,) the first place of each text, -1 where it is unknown, and (D,) whether it is known more than once.
    """
    asked = texts.dictionary_encode()
    found = pc.index_in(known, value_set=asked.dictionary)
    hit = np.flatnonzero(np.asarray(found.is_valid()))
    of_known = np.asarray(found.drop_null())
    places = np.full(len(asked.dictionary), -1, dtype=np.int64)
    places[of_known[::-1]] = hit[::-1]
    several = np.bincount(of_known, minlength=len(places)) > 1
    codes = np.asarray(asked.indices)
    return places[codes], several[codes]


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
        values = pc.utf8_trim(pc.list_flatten(parts), WRAPPING)
        there = np.asarray(pc.not_equal(values, ""))  # `('a',)` holds one value
        seen = np.bincount(of_cell, weights=known(values) & there, minlength=len(texts))
        share = seen / np.maximum(np.bincount(of_cell, weights=there, minlength=len(texts)), 1)
        better = held & (share > best)
        written = pc.if_else(pa.array(better), pc.replace_substring(texts, mark, separator), written)
        best = np.where(better, share, best)
    return written


# Vocabularies: the features of categorical, multi-valued and timestamp fields.


MISSING, UNSEEN, RARE = "missing", "unseen", "rare"
"""Names of the features that stand for no value, values the training part lacks, and values with too few rows."""

SPECIALS = (MISSING, UNSEEN, RARE)
"""The first features of every vocabulary, in this order."""

_SPECIAL_TEXTS = pa.array(SPECIALS, pa.large_string())

MOST_NAME = 200
"""Characters of a feature's name, which stands in many rows of a run's frames and in all of its charts."""


def short_name(value: str) -> str:
    """Name a feature by its value; a long one by its beginning, and a digest that tells it from others."""
    if len(value) <= MOST_NAME:
        return value
    digest = sha256(value.encode()).hexdigest()[:8]
    return f"{value[: MOST_NAME - len(digest) - 2]}… {digest}"


_WHOLE = r"^[+-]?\d+(\.0*)?$"
_POINT_ZERO = r"^([+-]?\d+)\.0*$"
_FIRST = 100


@dataclass(frozen=True)
class Vocabulary:
    """The values of a field that have a feature of their own, and those known but rare.

    Features are numbered within the field's block: missing 0, unseen 1, rare 2, then `values` from 3.

    All of them are one array, of which the parts below are views: a large vocabulary is held once.

    Attributes:
        named: the special features' names, the values by decreasing training rows, then by text, and the rare ones.
        own: how many values have a feature of their own.
    """

    named: pa.Array
    own: int

    @classmethod
    def of(cls, texts: pa.Array, counts: NDArray[np.int64], min_count: int, *, distinct: bool = False) -> Vocabulary:
        """Return the vocabulary of D texts that stand in `counts` (D,) training rows each, 0 where one is missing.

        Where all are whole numbers, `7` and `7.0` are one value: a single null makes floats of integers. `distinct`
        says that no text but missing ones stands more than once.
        """
        held, rows = _held(texts, counts, distinct)
        whole = whole_numbers(held)
        if whole is not None and not whole.equals(held):
            summed = pa.table({"text": whole, "rows": rows}).group_by("text").aggregate([("rows", "sum")])
            held, rows = summed["text"].combine_chunks(), np.asarray(summed["rows_sum"])
        order = _most_frequent_first(held, rows)
        own = int(np.count_nonzero(rows >= max(min_count, 1)))
        return cls(pa.concat_arrays([_SPECIAL_TEXTS, held.take(pa.array(order))]), own)

    @classmethod
    def holding(cls, values: Sequence[str], rare: Sequence[str] = ()) -> Vocabulary:
        """Return the vocabulary of values in the order of their features."""
        parts = (_SPECIAL_TEXTS, Texts.of(values).array, Texts.of(rare).array)
        return cls(pa.concat_arrays(parts), len(values))

    @property
    def size(self) -> int:
        """The number of features."""
        return len(SPECIALS) + self.own

    @property
    def values(self) -> Texts:
        """The values with a feature of their own."""
        return Texts(self._known[: self.own])

    @property
    def rare(self) -> Texts:
        """The values with fewer training rows than the minimum count; they share the feature "rare"."""
        return Texts(self._known[self.own :])

    @cached_property
    def features(self) -> Texts:
        """The name of each feature; a value that reads like a special feature is put in quotes, a long one is cut."""
        names, cut = self.values.array, self.named[: self.size]
        if (pc.max(pc.binary_length(names)).as_py() or 0) > MOST_NAME:
            names = pa.array(map(short_name, names.to_pylist()), names.type)
            cut = pa.concat_arrays([_SPECIAL_TEXTS, names])
        alike = pc.is_in(names, value_set=_SPECIAL_TEXTS)
        if not pc.any(alike).as_py():
            return Texts(cut)
        quote, nothing = pa.scalar('"', names.type), pa.scalar("", names.type)
        names = pc.if_else(alike, pc.binary_join_element_wise(quote, names, quote, nothing), names)
        return Texts(pa.concat_arrays([_SPECIAL_TEXTS, names]))

    @property
    def _known(self) -> pa.Array:
        return self.named[len(SPECIALS) :]

    @cached_property
    def _spellings(self) -> Spellings:
        return Spellings(self._known)

    def ids(self, texts: pa.Array, missing: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Return (D,) the feature of each stripped text, within the block; an unseen one may be spelled otherwise."""
        places = places_in(self._known, texts)
        unseen = np.flatnonzero((places < 0) & ~missing)
        if len(unseen):
            places[unseen] = self._spellings.places(texts.take(pa.array(unseen)))
        ids = places + len(SPECIALS)
        ids[places >= self.own] = SPECIALS.index(RARE)
        ids[places < 0] = SPECIALS.index(UNSEEN)
        ids[missing] = SPECIALS.index(MISSING)
        return ids.astype(np.int32, copy=False)

    def to_dict(self) -> dict[str, Any]:
        """Give the vocabulary as two texts."""
        return {"values": self.values, "rare": self.rare}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Vocabulary:
        """Rebuild a vocabulary from `to_dict`."""
        return cls.holding(values["values"], values["rare"])


def _held(
    texts: pa.Array, counts: NDArray[np.int64], distinct: bool
) -> tuple[pa.Array, NDArray[np.int64] | NDArray[np.float64]]:
    """Give the distinct texts that stand in some row, and in how many each."""
    rows: NDArray[np.int64] | NDArray[np.float64] = counts
    if not distinct:
        merged = texts.dictionary_encode()
        texts, rows = merged.dictionary, np.bincount(np.asarray(merged.indices), counts, len(merged.dictionary))
    places = np.flatnonzero(rows)
    return texts.take(pa.array(places)), rows[places]


def _most_frequent_first(texts: pa.Array, rows: NDArray[Any]) -> NDArray[np.int64]:
    """Give the order of distinct texts by decreasing rows, then by text."""
    keys = keys_of(texts)
    if keys is not None:
        by_text = np.argsort(keys)
        return by_text[np.argsort(-rows[by_text], kind="stable")]
    by_both = [("rows", "descending"), ("text", "ascending")]
    return np.asarray(pc.sort_indices(pa.table({"text": texts, "rows": rows}), sort_keys=by_both)).astype(np.int64)


def whole_numbers(texts: pa.Array) -> pa.Array | None:
    """Write `7.0` and `7.` as `7` where all texts are whole numbers; leading zeros stay, since `07` is another code.

    Returns:
        None where some are none, or there are no texts.
    """
    for part in (texts[:_FIRST], texts):  # texts of other kinds show soon
        if not len(texts) or not pc.all(pc.match_substring_regex(part, _WHOLE)).as_py():
            return None
    return pc.replace_substring_regex(texts, _POINT_ZERO, r"\1")


@dataclass(frozen=True)
class Tokens:
    """The values in D multi-valued cells: token t stands in cell `cells[t]`; a token stands once in a cell.

    Attributes:
        texts: (U,) the distinct tokens.
        cells: (T,) ascending, which of the D cells.
        codes: (T,) which of the U tokens.
    """

    texts: pa.Array
    cells: NDArray[np.int64]
    codes: NDArray[np.int64]

    def rows(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (U,) in how many rows each token stands, cell d standing in `counts[d]` rows."""
        return np.bincount(self.codes, weights=counts[self.cells], minlength=len(self.texts)).astype(np.int64)

    def longest(self, counts: NDArray[np.int64]) -> int:
        """Return the most values of a cell that stands in some row, cell d standing in `counts[d]` rows."""
        return int(np.bincount(self.cells[counts[self.cells] > 0]).max(initial=1))


def split_tokens(cells: Cells, separator: str) -> Tokens:
    """Split the distinct cells of a column at `separator`; brackets, quotes and empty values are dropped."""
    parts = pc.split_pattern(cells.texts, separator)
    of_cell = np.asarray(pc.list_parent_indices(parts)).astype(np.int64)
    flat = pc.utf8_trim(pc.list_flatten(parts), WRAPPING)
    encoded = flat.dictionary_encode()
    codes = np.asarray(encoded.indices).astype(np.int64)
    texts = encoded.dictionary
    kept = ~missing_texts(texts)[codes] & ~cells.missing[of_cell]
    pairs = np.unique(of_cell[kept] * max(len(texts), 1) + codes[kept])
    return Tokens(texts, pairs // max(len(texts), 1), pairs % max(len(texts), 1))


def padded(
    of_cell: NDArray[np.int64], ids: NDArray[np.int32], cells: int, slots: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Lay the distinct ids of each cell out in `slots` slots, smallest value of `ids` first.

    Returns:
        (cells, slots) ids, 0 where unused, and whether a slot is used. What is over `slots` is left out.
    """
    order = np.lexsort((ids, of_cell))
    of_cell, ids = of_cell[order], ids[order]
    fresh = np.ones(len(ids), dtype=bool)
    fresh[1:] = (of_cell[1:] != of_cell[:-1]) | (ids[1:] != ids[:-1])
    of_cell, ids = of_cell[fresh], ids[fresh]
    starts = np.searchsorted(of_cell, np.arange(cells))
    place = np.arange(len(ids)) - starts[of_cell]
    fits = place < slots
    out = np.zeros((cells, slots), dtype=np.int32)
    used = np.zeros((cells, slots), dtype=bool)
    out[of_cell[fits], place[fits]] = ids[fits]
    used[of_cell[fits], place[fits]] = True
    return out, used


HOURS = tuple(f"{hour:02d}:00" for hour in range(24))
WEEKDAYS: Sequence[str] = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
