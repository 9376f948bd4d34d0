"""The one family of errors a user meets. Each message names the subject, the value and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class DeepFMError(Exception):
    """Anything the user can put right; its text is shown as it stands, never with a traceback."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a table: where it is, what stands there, and what to do about it."""

    message: str
    remedy: str = ""
    line: int | None = None
    column: str | None = None
    value: str | None = None

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
        value = f" (found `{self.value}`)" if self.value is not None else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{head}{self.message}{value}.{remedy}"


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Give a sentence with the names nearest to one that does not exist, and a space; empty where none is near."""
    by_lower = {known.lower(): known for known in reversed(names)}
    close = [by_lower[known] for known in get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.6)]
    return f"Did you mean {' or '.join(f'`{known}`' for known in close)}? " if close else ""


_LINES = 5
"""Lines named of a problem that many have."""


def in_words(problems: Sequence[Problem]) -> list[str]:
    """Write problems one a line; those that differ in line and value alone are one, with the first lines named."""
    alike: dict[tuple[object, ...], list[Problem]] = {}
    for place, problem in enumerate(problems):
        own = place if problem.line is None else None
        alike.setdefault((problem.message, problem.remedy, problem.column, own), []).append(problem)
    return [str(same[0]) if len(same) == 1 else _many(same) for same in alike.values()]


def _many(same: Sequence[Problem]) -> str:
    first = same[0]
    named = ", ".join(f"{problem.line:,}" for problem in same[:_LINES]) + (", …" if len(same) > _LINES else "")
    column = f", column `{first.column}`" if first.column is not None else ""
    value = f" (found `{first.value}` in line {first.line:,})" if first.value is not None else ""
    remedy = f" {first.remedy}" if first.remedy else ""
    return f"{len(same):,} lines ({named}){column}: {first.message}{value}.{remedy}"


class TableError(DeepFMError, ValueError):
    """A table cannot be read or used; carries every problem found, not only the first."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(self._text())

    def _text(self) -> str:
        said = in_words(self.problems)
        more = len(said) - 20
        lines = [*said[:20], f"and {more:,} more like these"] if more > 0 else said
        if len(lines) == 1:
            return f"{self.subject}: {lines[0]}"
        return f"{self.subject}:\n" + "\n".join(f"- {line}" for line in lines)


class SchemaError(TableError):
    """A schema does not fit its table: label, roles or values of a field."""


class SpecError(DeepFMError, ValueError):
    """A setting of a run is out of range or contradicts another."""


class RunError(DeepFMError):
    """A run cannot be found, read or continued."""


class TrainingError(DeepFMError):
    """Training cannot go on, for instance because the loss is no longer a number."""
