"""Start worker processes from wherever a run is asked for; cheap enough to call at every turn of a page."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from deepfm_core.store.process import Process
from deepfm_core.store.run_queue import worker_limit
from deepfm_core.store.store import Store

_ROOT = Path(__file__).resolve().parents[2]
_LOG_BYTES = 1_000_000


def ensure_worker(store: Store) -> bool:
    """Start a worker unless enough live ones exist, and say whether one was started.

    With an empty queue this warms one up, so that the next run starts at once. The worker has a session of its own and
    outlives this process; how many there may be is $DEEPFM_WORKERS.

    Raises:
        RunError: the worker started last ended before it was ready.
    """
    return store.workers.launch(lambda: _start(store.home), worker_limit())


def _start(home: Path) -> Process:
    command = [sys.executable, "-m", "deepfm_core", "worker", "--home", str(home)]
    with _log(home).open("ab") as log:
        worker = subprocess.Popen(
            command, cwd=_ROOT, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    # Somebody has to collect the process when it ends, or it stays behind as a zombie of the web server.
    threading.Thread(target=worker.wait, daemon=True, name=f"worker {worker.pid}").start()
    return Process.of(worker.pid)


def _log(home: Path) -> Path:
    log = home / "worker.log"
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log
