"""The kinds of field: one entry for each says all that the rest of the code asks about it.

A new kind is an entry here and a class in `encoding/` that fits and encodes it. All else asks the entry, or the fitted
field, and names no kind. The command line and the page Data list the kinds in the order of their entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Content(StrEnum):
    """What the cells of a column hold."""

    TEXT = "categorical"
    """One text."""
    NUMBER = "numeric"
    """A finite number."""
    TEXTS = "multi-valued"
    """Several texts with a separator between them."""
    TIME = "timestamp"
    """A point in time."""


class Reading(Enum):
    """How the levels of a field are read: the values that stand along the edge of a table of two fields."""

    FEATURES = "features"
    """Its features; a row stands at each one with x > 0."""
    NEAREST = "nearest"
    """Its features, which are points on a line; a row stands at the nearest one, that of the largest x."""
    QUANTILES = "quantiles"
    """Buckets of the first feature's x, cut at its quantiles; then every other feature."""


@dataclass(frozen=True)
class Entry:
    """What is to be known of a kind.

    Attributes:
        help: what it makes of a column, in a few words: for the role table and the command line.
        content: what its cells must hold.
        fields: how many embedded fields a column may become; 0 means no embedding, so no pairs and no levels.
        reading: how the levels of its fields are read.
        used: whether a column of this kind enters the model at all.
    """

    help: str
    content: Content = Content.TEXT
    fields: int = 1
    reading: Reading = Reading.FEATURES
    used: bool = True


class Kind(StrEnum):
    """How a column enters the model."""

    entry: Entry

    def __new__(cls, name: str, entry: Entry | None = None) -> Kind:
        """Make the kind of this name, which specs, links and the command line call it by."""
        assert entry is not None  # `Kind(name)` finds a kind that is there and never comes here
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.entry = entry
        return kind

    CATEGORICAL = "categorical", Entry("one value per row, each with an embedding")
    """One feature a row, x = 1."""
    MULTI_VALUED = "multi-valued", Entry("several values per cell", Content.TEXTS)
    """Several features a row in one cell, x = 1 each (or 1/n)."""
    PIECEWISE = (
        "piecewise",
        Entry(
            "a number, blended from the embeddings of the two nearest quantiles",
            Content.NUMBER,
            reading=Reading.NEAREST,
        ),
    )
    """A numeric value as a linear blend of the embeddings of its two nearest quantile knots."""
    NUMERIC = (
        "numeric",
        Entry("a number times one embedding, as in the paper", Content.NUMBER, reading=Reading.QUANTILES),
    )
    """The scaled value times its embedding, as in the paper."""
    BUCKETISED = "bucketised", Entry("a number cut into quantiles, then categorical", Content.NUMBER)
    """A numeric value cut into quantile buckets, then categorical."""
    DENSE = "dense", Entry("a number without an embedding, so without pairs", Content.NUMBER, fields=0)
    """A numeric value without embedding: straight into the first-order term and the deep part."""
    TIMESTAMP = "timestamp", Entry("split into hour of day and day of week", Content.TIME, fields=2)
    """A point in time, entering as two categorical fields: hour of day and day of week."""
    IGNORE = "ignore", Entry("left out", fields=0, used=False)
    """Left out."""

    @property
    def help(self) -> str:
        """What it makes of a column."""
        return self.entry.help

    @property
    def is_used(self) -> bool:
        """Whether a column of this kind enters the model."""
        return self.entry.used

    @property
    def is_number(self) -> bool:
        """Whether cells must be numbers, which have an order."""
        return self.entry.content is Content.NUMBER

    @property
    def is_time(self) -> bool:
        """Whether cells must be points in time."""
        return self.entry.content is Content.TIME

    @property
    def is_several(self) -> bool:
        """Whether a cell holds several values, which form pairs within the field."""
        return self.entry.content is Content.TEXTS

    @property
    def takes_any_text(self) -> bool:
        """Whether a cell may hold whatever it likes, as one value."""
        return self.entry.content is Content.TEXT

    @property
    def is_embedded(self) -> bool:
        """Whether its features have embeddings, so that it takes part in pairs."""
        return self.entry.fields > 0

    @property
    def repeats(self) -> bool:
        """Whether rows of one feature are alike: not where x is a value of its own in every row."""
        return self.entry.reading is not Reading.QUANTILES
