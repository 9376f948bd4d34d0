"""How runs enter the store: an id nobody can guess, a folder with the spec, a row."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from deepfm_core.runs.folder import RunFolder
from deepfm_core.runs.naming import run_name
from deepfm_core.runs.process import Process
from deepfm_core.training.spec import RunSpec

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_LENGTH = 16
_ID = re.compile(f"[{_LETTERS}]{{{_LENGTH}}}")


def new_id() -> str:
    """Draw an id that nobody can guess: whoever has it may open what it names."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def is_id(text: str) -> bool:
    """Say whether a text is an id that the store gives out."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True)
class NewRun:
    """A run to be entered.

    Attributes:
        spec: what is asked for.
        name: to show; by default model and table.
        owner: whose list it goes to.
        comparison: the comparison or study it belongs to.
        trial: in a study, the number of its setting.
        to_choose: whether its setting is chosen by the worker that takes it up.
        worker: who does it at once, without the queue.
    """

    spec: RunSpec
    name: str
    owner: str
    comparison: str | None = None
    trial: int | None = None
    to_choose: bool = False
    worker: Process | None = None

    def enter(self, connection: sqlite3.Connection, folder: Callable[[str], RunFolder]) -> str:
        """Write the run's folder and its row, within the connection's transaction, and return the id."""
        run_id, now = new_id(), time.time()
        folder(run_id).create().write_spec(self.spec)
        values = {
            "id": run_id,
            "name": self.name or run_name(self.spec),
            "owner": self.owner,
            "status": "running" if self.worker else "queued",
            "spec": json.dumps(self.spec.to_dict()),
            "comparison": self.comparison,
            "trial": self.trial,
            "to_choose": int(self.to_choose),
            "created": now,
            "queued": now,
            "started": now if self.worker else None,
            "heartbeat": now if self.worker else None,
            "worker": None if self.worker is None else str(self.worker),
        }
        places = ", ".join(f":{column}" for column in values)
        connection.execute(f"INSERT INTO runs ({', '.join(values)}) VALUES ({places})", values)
        return run_id
