"""What a column's name says of its values: identifiers, codes, quantities, row numbers, times, and typed headers."""

from __future__ import annotations

import re
from enum import Enum

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
    "tenant", "order", "invoice", "transaction", "ticket", "phone",
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
    "latency", "units",
))
# fmt: on

_ROW_NUMBERS = re.compile(
    r"unnamed: \d+(\.\d+)*|column \d+|__index_level_\d+__|level_\d+|index|_index|idx|row|rows|rowid|rownames?|rn|"
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
    return (stem, known[kind]) if colon and kind in known else (name, None)


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
    return bool(words) and (words[-1] in _CODE_WORDS | _ID_WORDS or _is_numbered(words))


def names_an_id(words: list[str]) -> bool:
    """Say whether the words of a column's name are those of an identifier."""
    return bool(words) and words[-1] in _ID_WORDS


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
