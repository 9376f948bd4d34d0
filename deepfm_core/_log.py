"""What happens, as lines of JSON for whoever runs a server: `DEEPFM_LOG=json`. Without it, nothing is written.

A line never holds a secret, a cell, a name that a user chose, or the text of an error, which may quote any of these.
Owners, runs and tables stand under short digests: the page System shows the same, and nothing can be opened by them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import threading
import time
import traceback
from typing import Any

LOG = "DEEPFM_LOG"
"""The environment's name of the setting."""
_LOGGER = logging.getLogger("deepfm")
_LOCK = threading.Lock()


def short(secret: str) -> str:
    """Name an owner, run or table so that nobody can open it by the name: eight digits of its digest."""
    return "local" if secret == "local" else hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:8]


def note(event: str, **values: str | float | None) -> None:
    """Write that something happened, with plain values that tell nothing of a user's data."""
    if configure():
        _LOGGER.info(event, extra={"values": values})


def fault(event: str, error: BaseException) -> bool:
    """Write where something failed that should not, without the error's text. Say whether it was written."""
    if written := configure():
        _LOGGER.error(event, exc_info=error)
    return written


def configure() -> bool:
    """Have lines of JSON go to stderr, if the environment asks for that; return whether it does."""
    if os.environ.get(LOG, "") != "json":
        return False
    with _LOCK:
        if not any(isinstance(handler.formatter, _Json) for handler in _LOGGER.handlers):
            handler = logging.StreamHandler(sys.__stderr__)  # a worker's stderr is its run's log for a time
            handler.setFormatter(_Json())
            _LOGGER.handlers, _LOGGER.propagate = [handler], False
            _LOGGER.setLevel(logging.INFO)
    return True


class _Json(logging.Formatter):
    """Writes a record as one line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "event": str(record.msg),
            "process": record.process,
            **getattr(record, "values", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            frames = traceback.extract_tb(error.__traceback__)
            line["error"] = type(error).__name__
            line["at"] = [f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(line)
