"""Links by which an owner lets others look at a run or a comparison: unguessable, read-only, and withdrawn at will."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from deepfm_core.errors import RunError
from deepfm_core.store.database import Connection, Database
from deepfm_core.store.records import RunRow

ShareKind = Literal["run", "comparison"]
_PREFIX = "share-"
_TOKEN = re.compile(f"{_PREFIX}[A-Za-z0-9_-]{{22}}")
GONE = "This link was withdrawn, or a part of it is missing. Ask whoever sent it for another one."


@dataclass(frozen=True)
class Share:
    """A link that an owner gave out."""

    token: str
    """128 random bits: whoever has it may look."""
    kind: ShareKind
    subject: str
    """Id of the run or comparison."""
    name: str
    """What the owner calls the subject."""
    created: float


def is_token(text: str) -> bool:
    """Say whether a text has the form of a link's token."""
    return _TOKEN.fullmatch(text) is not None


class Shares:
    """The links of a store. A deleted subject opens for nobody, and its links go with it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give(self, kind: ShareKind, subject: str, owner: str) -> str:
        """Return the token of an owner's link to a run or comparison of theirs; made now if there is none.

        Raises:
            RunError: the owner has no such run or comparison.
        """
        with self._database.write() as connection:
            own = f"SELECT 1 FROM {kind}s WHERE id = ? AND owner = ? AND deleted IS NULL"
            if connection.execute(own, (subject, owner)).fetchone() is None:
                raise RunError(f"`{subject}` is not among yours, so you cannot share it. Open one of your own.")
            known = "SELECT token FROM shares WHERE kind = ? AND subject = ? AND owner = ?"
            row = connection.execute(known, (kind, subject, owner)).fetchone()
            if row is not None:
                return str(row["token"])
            token = _PREFIX + secrets.token_urlsafe(16)
            connection.execute(
                "INSERT INTO shares (token, owner, kind, subject, created) VALUES (?, ?, ?, ?, ?)",
                (token, owner, kind, subject, time.time()),
            )
        return token

    def withdraw(self, token: str, owner: str) -> None:
        """End a link of the owner's; whoever has it sees no more from then on. One that is gone stays gone."""
        self._database.change("DELETE FROM shares WHERE token = ? AND owner = ?", (token, owner))

    def of(self, owner: str) -> list[Share]:
        """Return an owner's links to what is not deleted, newest first."""
        query = " UNION ALL ".join(
            "SELECT s.token, s.kind, s.subject, t.name, s.created AS created"
            f" FROM shares s JOIN {kind}s t ON t.id = s.subject"
            f" WHERE s.kind = '{kind}' AND s.owner = :owner AND t.deleted IS NULL"
            for kind in ("run", "comparison")
        )
        rows = self._database.rows(f"{query} ORDER BY created DESC", {"owner": owner})
        return [Share(row["token"], row["kind"], row["subject"], row["name"], row["created"]) for row in rows]

    def subject(self, token: str, kind: ShareKind) -> str:
        """Return the id of what a link shows.

        Raises:
            RunError: there is no such link any more.
        """
        row = self._database.row("SELECT subject FROM shares WHERE token = ? AND kind = ?", (token, kind))
        if row is None:
            raise RunError(GONE)
        return str(row["subject"])

    def show_run(self, run: RunRow, tokens: Collection[str]) -> bool:
        """Say whether one of these links shows a run: by itself, or as one of a comparison."""
        return self._show(tokens, "run", run.id) or self._show(tokens, "comparison", run.comparison)

    def show_comparison(self, comparison: str, tokens: Collection[str]) -> bool:
        """Say whether one of these links shows a comparison."""
        return self._show(tokens, "comparison", comparison)

    def _show(self, tokens: Collection[str], kind: ShareKind, subject: str | None) -> bool:
        rows = self._database.rows("SELECT token FROM shares WHERE kind = ? AND subject = ?", (kind, subject))
        return any(row["token"] in tokens for row in rows)


def forget(connection: Connection) -> None:
    """Remove links to what is there no more, within the connection's transaction."""
    for kind in ("run", "comparison"):
        connection.execute(f"DELETE FROM shares WHERE kind = ? AND subject NOT IN (SELECT id FROM {kind}s)", (kind,))
