"""What each column of a table is taken to be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from deepfm_core._words import isolated, named
from deepfm_core.errors import Problem, SchemaError, SpecError, did_you_mean
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.number_parsing import PLAIN, Notation

if TYPE_CHECKING:
    import pandas as pd

Cross = tuple[str, str]
"""The names of two fields whose combinations of values are features of their own."""


FOLDERS = "that folders are named by"
"""What is said of a column that folders name one after another."""


@dataclass(frozen=True)
class FieldRole:
    """A column's role: its kind, why it was suggested, and what to be careful about."""

    column: str
    kind: Kind
    separator: str | None = None
    """Between the values of a cell; set for multi-valued columns only."""
    reason: str = ""
    warning: str = ""
    stray: str = ""
    """The first cell, with its row, of a column of numbers that is no finite number; empty where there is none."""
    missing: int = 0
    """How many of the table's rows have no value here."""
    form: str = ""
    """How a column of points in time writes them; empty where it was not asked."""
    notation: Notation = PLAIN
    """How the column writes numbers, and what in it means no value besides the usual words."""

    @property
    def orders_rows(self) -> bool:
        """Whether it is left out although it says when rows came: what folders are named by."""
        return not self.kind.is_used and FOLDERS in self.reason

    @property
    def measured_in(self) -> str:
        """The column with the unit of its numbers, where they have one: `price ($)`."""
        return f"{self.column} ({self.notation.unit})" if self.notation.unit else self.column


@dataclass(frozen=True)
class LabelRole:
    """The label's column and which of its texts is positive."""

    column: str
    positive: str
    negative: str
    reason: str = ""
    missing: int = 0
    """How many of the table's rows have no label."""
    rule: str = ""
    """Which of more than two values are positive: a bound such as `>=4`, values with `|` between them, or after `=` one
    that reads like these. Empty for a label of two values."""

    def outcome(self, *, positive: bool = True) -> str:
        """Write an outcome with the label's own name, such as `income = >50K` or `rating ≥ 4`."""
        text = self.positive if positive else self.negative
        return f"{isolated(self.column)} {text}" if self.is_bound else named(self.column, text)

    @property
    def left_out(self) -> int:
        """How many of the table's rows are left out, since they have no label; a blank cell may be a label."""
        return self.missing if self.negative else 0

    @property
    def is_bound(self) -> bool:
        """Whether numbers from a bound on, or up to it, are positive."""
        return re.fullmatch(BOUND, self.rule) is not None

    @property
    def said(self) -> str:
        """What `--positive` takes to give this label again."""
        return self.rule.removeprefix("=") or self.positive


BOUND = r"\s*(>=|<=|>|<|≥|≤)\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*"
"""The pattern of a bound on a label's numbers, such as `>=4`."""


COPIES = DROP, KEEP, ONCE = "drop", "keep", "once"
"""What may be done with copies of rows."""


@dataclass(frozen=True)
class Schema:
    """The label and one role for every other column, in the table's order."""

    label: LabelRole
    roles: tuple[FieldRole, ...]
    copies: str = KEEP
    """What is done with copies of rows: `drop` leaves out those that are clearly copies, `keep` none, and `once` takes
    rows that are alike in all fields and in the label once (`schema/copies.py`)."""

    def __post_init__(self) -> None:
        if self.copies not in COPIES:
            raise SpecError(f"Copies is {self.copies!r}. Use {DROP}, {KEEP} or {ONCE}.")

    @property
    def used(self) -> tuple[FieldRole, ...]:
        """The roles that enter the model."""
        return tuple(role for role in self.roles if role.kind.is_used)

    @property
    def has_pairs(self) -> bool:
        """Whether any two fields can interact: of dense numbers none can, and a point in time is two fields."""
        return sum(role.kind.entry.fields for role in self.used) > 1

    @property
    def unusable(self) -> tuple[FieldRole, ...]:
        """The roles of a number kind whose columns hold cells that are no finite numbers: no run can use them."""
        return tuple(role for role in self.roles if role.stray and role.kind.is_number)

    def role(self, column: str) -> FieldRole:
        """Return the role of `column`.

        Raises:
            SchemaError: there is no such column.
        """
        for role in self.roles:
            if role.column == column:
                return role
        names = [role.column for role in self.roles]
        remedy = f"{did_you_mean(column, names)}Columns are {', '.join(f'`{name}`' for name in names)}."
        raise SchemaError("Schema", [Problem("there is no such column", remedy, column=column)])

    def with_kinds(self, kinds: Mapping[str, Kind], separators: Mapping[str, str] | None = None) -> Schema:
        """Return a schema in which the named columns have the given kinds, as the user's choice.

        Args:
            kinds: by column.
            separators: what stands between the values of a cell, by column, where the user says it.

        Raises:
            SchemaError: a named column does not exist.
        """
        for column in kinds:
            self.role(column)
        said = separators or {}
        roles = (
            replace(role, kind=kinds[role.column], reason="chosen by you", warning="")
            if role.column in kinds and kinds[role.column] is not role.kind
            else role
            for role in self.roles
        )
        roles = (replace(role, separator=said[role.column]) if role.column in said else role for role in roles)
        return replace(self, roles=tuple(roles))

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each column that needs a look."""
        return tuple(
            f"`{role.column}`: {role.warning if role.kind.is_used else f'left out: {role.reason}; {role.warning}'}"
            for role in self.roles
            if role.warning
        )

    def role_rows(self, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Give one line per column, the label included: `field`, `kind`, `separator`, `missing`, `why`, `warning`.

        Args:
            columns: the table's columns, in their order; without them the label comes first.
        """
        label = {"kind": "label", "separator": None, "missing": self.label.missing}
        rows = [{"field": self.label.column, **label, "why": self.label.reason, "warning": ""}]
        for role in self.roles:
            cells = {"kind": role.kind.value, "separator": role.separator, "missing": role.missing}
            rows.append({"field": role.column, **cells, "why": role.reason, "warning": role.warning})
        places = {column: place for place, column in enumerate(columns)}
        return sorted(rows, key=lambda row: places.get(str(row["field"]), -1))

    def __str__(self) -> str:
        """Write `role_rows` as a table, for `print`; the `repr` names every value."""
        texts = self._table().astype(str).apply(lambda column: column.str.ljust(column.str.len().max()))
        lines: list[str] = texts.to_string(index=False, justify="left").splitlines()
        return "\n".join(map(str.rstrip, lines))

    def _repr_html_(self) -> str:
        """Write `role_rows` as a table, for a notebook."""
        from pandas import option_context

        with option_context("display.max_colwidth", None):
            return self._table().to_html(index=False, justify="left")

    def _table(self) -> pd.DataFrame:
        """Give `role_rows` without the columns that say nothing."""
        from pandas import DataFrame

        rows = DataFrame(self.role_rows()).fillna("")
        silent = [name for name in ("separator", "missing", "warning") if not rows[name].any()]
        return rows.drop(columns=silent)

    def to_dict(self) -> dict[str, Any]:
        """Give the schema as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Schema:
        """Rebuild a schema from `to_dict`; what this version does not know of a role is dropped."""
        known = {field.name for field in fields(FieldRole)}
        read = ({**role, **_typed(role)} for role in values["roles"])
        roles = tuple(FieldRole(**{name: value for name, value in role.items() if name in known}) for role in read)
        return cls(LabelRole(**values["label"]), roles, values.get("copies", cls.copies))


def _typed(role: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": Kind(role["kind"]), "notation": Notation.from_dict(role.get("notation"))}
