"""A column as its distinct texts, and what they and its name say: everything costly is done once per distinct text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.number_parsing import PLAIN, Notation, Numbers, has_decimal_comma, parse_numbers
from deepfm_core.schema.timestamps import Moments, parse_moments
from deepfm_core.tables.table import MISSING_TEXTS, Places, places_of

_MISSING = pa.array(sorted(MISSING_TEXTS))


def missing_texts(texts: pa.Array) -> NDArray[np.bool_]:
    """Say for each of D stripped texts whether it stands for a missing value; returns (D,)."""
    return np.asarray(pc.is_in(pc.ascii_lower(texts), value_set=_MISSING.cast(texts.type)))


def numbers_in(texts: pd.Series | pd.Index | Sequence[str], notation: Notation) -> NDArray[np.float64]:
    """Read N texts as numbers in a column's notation; returns (N,), NaN where there is no finite number."""
    given = pa.array(texts, type=pa.large_string())
    whole = given.combine_chunks() if isinstance(given, pa.ChunkedArray) else given
    stripped = pc.utf8_trim_whitespace(whole.fill_null(""))
    return parse_numbers(stripped, missing_texts(stripped), notation).values


@dataclass(frozen=True)
class Cells:
    """The N cells of a column over D distinct texts.

    Attributes:
        name: the column.
        texts: (D,) the distinct texts, stripped of white space; texts that differ only there stand more than once.
        codes: (N,) integers in 0 … D-1, the text of each row.
        rows: (N,) the number of each row in its table, or None where they are all rows of it.
        source: the categories of the frame's column, where they give all of the texts.
        trimmed: whether white space was stripped of a text.
        notation: how the column writes numbers, and what else in it means no value.
        places: where the rows of the table stand in its file.
    """

    name: str
    texts: pa.Array
    codes: NDArray[np.signedinteger]
    rows: NDArray[np.int64] | None = None
    source: pd.Index | None = None
    trimmed: bool = True
    notation: Notation = PLAIN
    places: Places | None = None

    @classmethod
    def of(cls, frame: pd.DataFrame, name: str) -> Cells:
        """Return the cells of the text Categorical `name` of `frame`; a null cell counts as the empty text."""
        column: pd.Categorical = frame[name].array
        texts = pa.array(column.categories, type=pa.large_string())
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        codes = column.codes
        source: pd.Index | None = column.categories
        if len(codes) and codes.min() < 0:
            source = None
            codes = np.where(codes < 0, len(texts), codes.astype(np.int32))
            texts = pa.concat_arrays([texts, pa.array([""], type=texts.type)])
        stripped = _without_numpy(pc.utf8_trim_whitespace(texts))
        trimmed = stripped.nbytes != texts.nbytes
        kept = stripped if trimmed else texts  # equal ones are held once
        return cls(name, kept, codes, None, source, trimmed, places=places_of(frame))

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def missing(self) -> NDArray[np.bool_]:
        """(D,) whether each distinct text stands for a missing value."""
        missing = missing_texts(self.texts)
        if self.notation.blanks:
            lower, blanks = pc.utf8_lower(self.texts), pa.array(self.notation.blanks)
            missing = missing | np.asarray(pc.is_in(lower, value_set=blanks.cast(lower.type)))
        if self.notation.holes:
            numbers = parse_numbers(self.texts, missing, self.notation)
            missing = missing | (np.isnan(numbers.values) & ~numbers.wrong)
        return missing

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(D,) how many rows hold each distinct text."""
        return np.bincount(self.codes, minlength=len(self.texts))

    @cached_property
    def held(self) -> NDArray[np.int64]:
        """Which of the distinct texts stand in some row and are not missing."""
        return np.flatnonzero((self.counts > 0) & ~self.missing)

    @property
    def held_texts(self) -> pa.Array:
        """The distinct texts that stand in some row and are not missing."""
        return self.texts if len(self.held) == len(self.texts) else self.texts.take(pa.array(self.held))

    @cached_property
    def numbers(self) -> Numbers:
        """The distinct texts read as numbers."""
        return parse_numbers(self.texts, self.missing, self.notation)

    def noted(self, notation: Notation) -> Cells:
        """Return the same cells, read in a notation."""
        return self if notation == self.notation else replace(self, notation=notation)

    @cached_property
    def first_rows(self) -> NDArray[np.int64]:
        """(D,) the first row that holds each distinct text, N where none does."""
        rows = np.full(len(self.texts), len(self), dtype=np.int64)
        rows[self.codes[::-1]] = np.arange(len(self) - 1, -1, -1)
        return rows

    def moments(self, form: str) -> Moments:
        """Return the distinct texts read as points in time in one of the known forms."""
        known: dict[str, Moments] = self.__dict__.setdefault("_moments", {})
        if form not in known:
            known[form] = parse_moments(self.texts, form)
        return known[form]

    def problems(self, wrong: NDArray[np.bool_], message: str, remedy: str) -> list[Problem]:
        """Name the cells whose text is marked in `wrong` (D,), one problem a text, by its first row in the table."""
        if not wrong.any():
            return []  # without counting rows
        places = np.flatnonzero(wrong & (self.counts > 0))
        if not len(places):
            return []
        places = places[np.argsort(self.first_rows[places])]
        return [
            Problem(f"{self._where(place)} {message}", remedy, column=self.name, value=self.texts[place].as_py())
            for place in places.tolist()
        ]

    def _where(self, place: int) -> str:
        more = int(self.counts[place]) - 1
        return self.row_name(int(self.first_rows[place])) + (f" and {more:,} more" if more else "")

    def row_name(self, row: int) -> str:
        """Name one of these rows by its place in the file, as `predict` numbers it: `row 18 (line 20)`."""
        row = row if self.rows is None else int(self.rows[row])
        return (self.places or Places.of(row + 1)).name(row)

    def take(self, rows: NDArray[np.int64]) -> Cells:
        """Return the cells of the given rows, over the same distinct texts."""
        numbers = rows if self.rows is None else self.rows[rows]
        taken = replace(self, codes=self.codes[rows], rows=numbers)
        for known in ("missing", "numbers", "_moments"):
            if known in self.__dict__:
                taken.__dict__[known] = self.__dict__[known]
        return taken


_NUMPY = r"""np\.(?:(True|False)_|(?:str_|bytes_|bool_?|u?int\w*|float\w+|datetime64|longdouble)\(([^()]*)\))"""
"""How numpy 2 writes a value within a list: `np.str_('a')`."""


def _without_numpy(texts: pa.Array) -> pa.Array:
    """Write the values of lists that a program wrote with numpy as others do: `[np.str_('a')]` is `['a']`."""
    if not pc.any(pc.match_substring(texts[:_FIRST], "np.")).as_py():
        return texts
    return pc.replace_substring_regex(texts, _NUMPY, r"\1\2")


_FIRST = 50
"""Texts by which such a column shows."""


def number_problems(cells: Cells) -> list[Problem]:
    """Name the cells that are not finite numbers, one problem a distinct text."""
    numbers = cells.numbers
    infinite = cells.problems(numbers.infinite, "is infinite", "Leave the cell empty, or make the field categorical.")
    foreign = cells.problems(numbers.foreign, "is not a number", "Leave the cell empty, or make the field categorical.")
    return [
        replace(problem, remedy="Use a decimal point, or make the field categorical.")
        if has_decimal_comma(problem.value or "")
        else problem
        for problem in infinite + foreign
    ]


# Whether the cells of a column hold several values each, and what stands between them.


WRAPPING = "[](){}'\" \t\r\n"
"""What may stand around the values of a list."""


@dataclass(frozen=True)
class Mark:
    """What may stand between values, and how much must speak for it.

    Attributes:
        separated: share of the distinct cells that must hold it.
        uses: distinct cells that a value must stand in, on average: a blank is in all text, a bar in hardly any.
        varied: whether cells must differ in how many values they hold: times, fractions and pairs do not.
        placed: whether values may keep their places, as the levels of a path do.
        free: share of the values' places that must hold a value which stands first in some cells and further back in
            others.
    """

    separated: float
    uses: float
    varied: bool = False
    placed: bool = False
    free: float = 0.3


MARKS: dict[str, Mark] = {
    **dict.fromkeys(("|", "^", "~", "\x01", "\x02", "\x03", "\t"), Mark(0.1, 1.5)),
    **dict.fromkeys((";", "；", "、", "，"), Mark(0.2, 1.5)),
    " > ": Mark(0.2, 1.5, placed=True),
    **dict.fromkeys(("->", ">"), Mark(0.2, 2.0, varied=True)),
    ",": Mark(0.3, 2.0),
    **dict.fromkeys(("#", "&", "$", "@", "+", "\\"), Mark(0.2, 2.0, varied=True)),
    "/": Mark(0.3, 2.0, varied=True),
    ":": Mark(0.3, 2.0, varied=True),
    " ": Mark(0.5, 5.0),
    **dict.fromkeys(("_", "-"), Mark(0.5, 5.0, varied=True, free=0.8)),  # they stand within names, too
}
"""The separators that are tried, in this order."""
_SOME_MARK = "[" + re.escape("".join(sorted({mark.strip()[-1:] or mark for mark in MARKS}))) + "]"
"""A character that each separator has."""

_LONG, _LONG_FREE = 4, 0.8
"""Values in each cell from which cells of equal length are lists, too, and the share of places that must be free: dates
and paths are shorter, or keep their places. A colon stands in addresses of machines, too."""

_MAX_VALUES = 5_000

_MAX_LENGTH = 40.0


def find_separator(cells: Cells) -> tuple[str, int] | None:
    """Return the separator within the cells of a column and the number of distinct values, or None.

    The values must come from a vocabulary that the cells share and stand now first and now further back: this tells
    `Action|Comedy` from `Smith, John`, `New York` and sentences.
    """
    texts = cells.held_texts
    if not pc.any(pc.match_substring_regex(texts, _SOME_MARK)).as_py():
        return None
    for mark, demands in MARKS.items():
        if _cells_with(texts, mark) >= max(demands.separated * len(texts), 1):
            values = _shared_values(texts, mark, demands)
            if values is not None:
                return mark, values
    return None


def mark_of(text: str) -> str:
    """Read a separator as a person writes it; a control character is written as `\\x02` or `\\t`."""
    return text.encode().decode("unicode_escape") if _ESCAPES.fullmatch(text) else text


_ESCAPES = re.compile(r"(\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\t)+")


def require_separator(cells: Cells, subject: str) -> str:
    """Return the separator of a column that is known to hold several values in a cell.

    It is the one of a shared vocabulary, or else the mark that most cells hold.

    Raises:
        SchemaError: no cell holds a mark; `subject` is the table's name.
    """
    found = find_separator(cells)
    if found is not None:
        return found[0]
    texts = cells.held_texts
    held = {mark: _cells_with(texts, mark) for mark in MARKS}
    likely = max(held, key=lambda mark: held[mark])
    if len(texts) and not held[likely]:
        remedy = f"Say what stands between values (on the command line --multi-valued '{cells.name}:^'), or make it "
        raise SchemaError(
            subject,
            [
                Problem(
                    "several values in a cell, but no separator was found", remedy + "categorical.", column=cells.name
                )
            ],
        )
    return likely


def shown(separator: str) -> str:
    """Write a separator so that it can be seen: a blank and what is not printed by name."""
    if separator == " ":
        return "a blank"
    return f"`{separator}`" if separator.isprintable() else f"U+{ord(separator):04X}"


def _cells_with(texts: pa.Array, mark: str) -> int:
    return int(pc.sum(pc.match_substring(texts, mark)).as_py() or 0)


def _shared_values(texts: pa.Array, mark: str, demands: Mark) -> int | None:
    """Return the number of distinct values if the cells, split at `mark`, draw on a shared vocabulary."""
    parts = pc.split_pattern(texts, mark)
    flat = pc.utf8_trim(pc.list_flatten(parts), WRAPPING)
    there = np.asarray(pc.not_equal(flat, ""))  # `a||b` holds two values
    cell = np.repeat(np.arange(len(parts)), np.asarray(pc.list_value_length(parts)))[there]
    lengths = np.bincount(cell, minlength=len(parts))
    least = demands.free
    if demands.varied and len(np.unique(lengths)) < 3:
        if mark == ":" or lengths.min() < _LONG:
            return None
        least = _LONG_FREE
    encoded = flat.filter(pa.array(there)).dictionary_encode()
    codes, size = np.asarray(encoded.indices), len(encoded.dictionary)
    if not 0 < size <= _MAX_VALUES or len(codes) < demands.uses * size:
        return None
    if float(np.mean(np.asarray(pc.utf8_length(encoded.dictionary)))) > _MAX_LENGTH:
        return None
    first = np.diff(cell, prepend=-1) > 0
    uses, leading = np.bincount(codes, minlength=size), np.bincount(codes[first], minlength=size)
    free = uses[(leading > 0) & (leading < uses)].sum() / len(codes)
    return size if demands.placed or free >= least else None


# What a column's name says of its values: identifiers, codes, quantities, row numbers, times, and typed headers.


# fmt: off
_ENTITIES = frozenset((
    "user", "item", "ip", "movie", "product", "advertiser", "creative", "keyword", "session", "customer", "client",
    "account", "visitor", "member", "subscriber", "seller", "buyer", "merchant", "vendor", "supplier", "publisher",
    "partner", "affiliate", "author", "artist", "album", "track", "song", "book", "article", "video", "podcast", "game",
    "url", "domain", "host", "referrer", "referer", "query", "sku", "isbn", "asin", "ean", "upc", "genre", "tag",
    "topic", "language", "locale", "currency", "cookie", "asn", "department", "dept", "branch", "warehouse",
    "placement", "adgroup", "adset", "exchange", "imei", "district", "province", "county", "neighborhood",
    "neighbourhood", "occupation", "employer", "company", "hotel", "restaurant", "station", "airport", "route",
    "flight", "vehicle", "driver", "course", "school", "teacher", "student", "patient", "doctor", "hospital",
    "question", "skill", "shopper", "viewer", "reader", "profile", "household", "organization", "organisation",
    "tenant", "order", "invoice", "transaction", "ticket", "phone", "doc", "document", "listing", "adv", "pub", "geo",
    "dma", "metro", "isp", "cate", "imsi", "post", "news", "poi", "employee", "rider", "team", "player", "node",
))
"""Things that a log numbers: a column called so holds their numbers, which are names."""

_CODE_WORDS = frozenset((
    "id", "ids", "uid", "uuid", "guid", "key", "hash", "code", "codes", "type", "types", "category", "cat", "region",
    "browser", "os", "system", "systems", "version", "zip", "zipcode", "postcode", "postal", "channel", "device",
    "site", "app", "campaign", "ad", "banner", "position", "pos", "slot", "cluster", "group", "segment", "class",
    "store", "shop", "month", "weekday", "dow", "dayofweek", "hour", "market", "city", "country", "state", "carrier",
    "network", "brand", "model", "platform", "source", "gender", "sex", "status", "area", "cell", "plz", "fips",
)) | _ENTITIES

_ID_WORDS = frozenset(("id", "ids", "uid", "uuid", "guid", "key", "hash", "index", "row", "rownum", "rowid"))

_QUANTITY_WORDS = frozenset((
    "num", "number", "count", "counts", "cnt", "qty", "quantity", "amount", "price", "cost", "duration", "age", "hours",
    "days", "years", "months", "minutes", "seconds", "rate", "rates", "score", "value", "values", "sum", "total", "avg",
    "mean", "length", "size", "width", "height", "weight", "distance", "balance", "income", "gain", "loss", "views",
    "visits", "clicks", "ratio", "share", "percent", "pct", "affinity", "depth", "freq", "frequency", "year",
))

_COUNTED_WORDS = frozenset((
    "nights", "tenure", "lead", "guests", "visitors", "stay", "stays", "orders", "items", "amt", "spend", "spent",
    "fee", "fees", "salary", "revenue", "budget", "bid", "discount", "tax", "points", "rooms", "beds", "seats",
    "persons", "people", "adults", "children", "members", "employees", "purchases", "bookings", "sessions",
    "impressions", "pages", "calls", "messages", "logins", "attempts", "errors", "retries", "mileage", "speed",
    "temperature", "volume", "quantities", "counter", "times", "weeks", "elapsed", "since", "ago", "recency", "delay",
    "latency", "units", "rating", "ratings", "stars", "satisfaction", "nps", "grade", "grades", "quality", "severity",
    "happiness", "agreement", "likelihood", "importance",
))
# fmt: on

_ROW_NUMBERS = re.compile(
    r"unnamed: \d+(\.\d+)*|column 1|__index_level_\d+__|level_\d+|index|_index|idx|row|rows|rowid|rownames?|rn|"
    r"(row|record|line|obs|observation|sr|s|serial|seq)[ _.-]*(id|no|nr|num|number|index|idx)?[ _.]*|#|(no|nr)[.]?|№|"
    r"序号|_c0|(unnamed: \d+|index|idx|row_?id|row)[._](x|y|left|right|\d+)",  # the end is that of joined tables
    re.IGNORECASE,
)
_R_NAMES = frozenset({"X", "X1", "...1", "V1"})
"""What R calls the row names of a file that it wrote; other columns may be called so, too."""

_CRITEO_CODES = re.compile(r"C\d{1,2}")
"""Codes without a name of their own, as public click logs call them."""


class Typed(Enum):
    """The type that a header states after a colon, as RecBole's atomic files have it."""

    TOKEN = "token"
    TOKENS = "token_seq"
    NUMBER = "float"
    NUMBERS = "float_seq"


def typed_name(name: str) -> tuple[str, Typed | None]:
    """Return a column's name without its type, and the type: `user_id:token` is `user_id`, a token."""
    stem, colon, kind = name.rpartition(":")
    known = {typed.value: typed for typed in Typed}
    typed = known.get(kind.strip().lower()) if colon else None
    return (stem, typed) if typed else (name, None)


def name_words(name: str) -> list[str]:
    """Split a column's name into lower-case words: `TrafficType` and `traffic_type` are `traffic`, `type`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", typed_name(name)[0])
    words = re.findall(r"[a-z]+", spaced.lower())
    return [part for word in words for part in _parts(word)]


def _parts(word: str) -> list[str]:
    """Split `userid` into `user`, `id`; other words stay whole."""
    for end in ("ids", "id"):
        stem = word.removesuffix(end)
        if stem != word and stem in _CODE_WORDS:
            return [stem, end]
    return [word]


def names_a_quantity(words: list[str]) -> bool:
    """Say whether the words of a column's name are those of a quantity: `lead_time` is one, `lead_type` is not."""
    if _is_numbered(words):
        return False
    if "per" in words[1:-1]:  # `pages_per_session`
        return True
    return bool(set(words) & (_QUANTITY_WORDS if names_codes(words) else _QUANTITY_WORDS | _COUNTED_WORDS))


def names_codes(words: list[str]) -> bool:
    """Say whether the words of a column's name are those of codes or identifiers."""
    return bool(words) and (words[-1] in _CODE_WORDS or names_an_id(words) or _is_numbered(words))


def names_an_id(words: list[str]) -> bool:
    """Say whether the words of a column's name are those of an identifier: `user id`, or `cid` alone."""
    short = len(words) == 1 and _SHORT_ID.fullmatch(words[0]) is not None
    return bool(words) and (short or words[-1] in _ID_WORDS)


_SHORT_ID = re.compile("[ce-gijn-z]id")
"""A letter and `id`, but for words: `aid`, `bid`, `did`, `hid`, `kid`, `lid` and `mid`."""


def _is_numbered(words: list[str]) -> bool:
    """Say whether a thing is numbered: `customer_number`, `invoice no`."""
    return len(words) > 1 and words[-1] in ("number", "no", "nr") and words[-2] in _ENTITIES


def names_unnamed_codes(name: str) -> bool:
    """Say whether a column is called as the codes of public click logs are: `C14`."""
    return _CRITEO_CODES.fullmatch(name.strip()) is not None


def names_row_numbers(name: str, *, first: bool) -> bool:
    """Say whether a column is called as the row numbers that a program left in a file.

    Args:
        name: of the column.
        first: whether it is the table's first column: `X` means row numbers there alone.
    """
    stripped = name.strip()
    return _ROW_NUMBERS.fullmatch(stripped) is not None or (first and stripped in _R_NAMES)
