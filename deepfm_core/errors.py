"""The errors that a user can meet. Each message names the subject, the value and the remedy.

All are `DeepFMError`s. A `TableError` carries a list of `Problem`s; `in_words` turns these into text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class DeepFMError(Exception):
    """An error that the user can fix. Its text is shown as it is, without a traceback."""


NOTHING_TO_DO = "Nothing to do."
"""The remedy of a problem that is told but is none."""


@dataclass(frozen=True)
class Problem:
    """One problem of a table: what is wrong, where, which value is there, and what to do about it."""

    message: str
    remedy: str = ""
    line: int | None = None
    column: str | None = None
    value: str | None = None
    how: str = "found"
    """How the value comes in: it was found there, or looked for, or is the file or the reason."""

    @property
    def harmless(self) -> bool:
        """Whether it is told for completeness alone, such as a title above the header."""
        return self.remedy == NOTHING_TO_DO

    def __str__(self) -> str:
        place = ", ".join(
            part
            for part in (
                f"line {self.line}" if self.line is not None else "",
                f"column `{self.column}`" if self.column is not None else "",
            )
            if part
        )
        head = f"{place}: " if place else ""
        value = f" ({self.how} `{_cut(self.value)}`)" if self.value is not None else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{head}{self.message}{value}.{remedy}"


_MOST_SHOWN = 300
"""Characters of a value that a message shows."""


def _cut(value: str) -> str:
    return value if len(value) <= _MOST_SHOWN else f"{value[: _MOST_SHOWN - 1]}…"


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return "Did you mean …? " with the names most like an unknown one; empty if none is like it."""
    by_lower = {known.lower(): known for known in reversed(names)}
    close = [by_lower[known] for known in get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.6)]
    return f"Did you mean {' or '.join(f'`{known}`' for known in close)}? " if close else ""


def first_line(error: BaseException) -> str:
    """Return the first line of what another library's error says, cut to 200 letters; its class if it says nothing."""
    lines = filter(None, map(str.strip, str(error).splitlines()))
    return next(lines, type(error).__name__)[:200]


_LINES = 5
"""Lines that are named of a problem that occurs in many lines."""


def in_words(problems: Sequence[Problem]) -> list[str]:
    """Write one line of text per problem; problems that differ only in line and value share one."""
    alike: dict[tuple[object, ...], list[Problem]] = {}
    for place, problem in enumerate(problems):
        # A problem without a line is about the whole table or column, and is never merged with another.
        own = place if problem.line is None else None
        alike.setdefault((problem.message, problem.remedy, problem.column, problem.how, own), []).append(problem)
    return [str(same[0]) if len(same) == 1 else _many(same) for same in alike.values()]


def _many(same: Sequence[Problem]) -> str:
    first = same[0]
    named = ", ".join(f"{problem.line:,}" for problem in same[:_LINES]) + (", …" if len(same) > _LINES else "")
    column = f", column `{first.column}`" if first.column is not None else ""
    value = f" ({first.how} `{_cut(first.value)}` in line {first.line:,})" if first.value is not None else ""
    remedy = f" {first.remedy}" if first.remedy else ""
    return f"{len(same):,} lines ({named}){column}: {first.message}{value}.{remedy}"


LOOKED_FOR, ASKED_FOR, FILE, REASON = "looked for", "asked for", "file", "reason:"
"""How a problem's value comes in where it was not found in the table."""


class TableError(DeepFMError, ValueError):
    """A table cannot be read or used. It carries every problem found, not only the first."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(self._text())

    def _text(self) -> str:
        texts = in_words(self.problems)
        more = len(texts) - 20
        lines = [*texts[:20], f"and {more:,} more like these"] if more > 0 else texts
        if len(lines) == 1:
            return f"{self.subject}: {lines[0]}"
        return f"{self.subject}:\n" + "\n".join(f"- {line}" for line in lines)


class SchemaError(TableError):
    """A schema does not fit its table: the label, a role, or the values of a field."""


class TableWarning(UserWarning):
    """A column is used, but needs a look: it may give the label away, or hold what training did not see."""


class SpecError(DeepFMError, ValueError):
    """A setting of a run is out of range or contradicts another."""


class RunError(DeepFMError):
    """A run cannot be found, read or continued."""


class DamagedStore(RunError):  # noqa: N818 (says what was found)
    """The store's database is damaged, empty or gone; tables and runs beside it are left as they are."""


class TrainingError(DeepFMError):
    """Training cannot go on, for example because the loss is no longer a number."""
