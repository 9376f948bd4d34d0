"""Do one claimed run: store its engine's events, beat its heart, obey a cancel, and end it with a plain sentence."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from deepfm_core._log import fault, note, short
from deepfm_core.errors import DeepFMError
from deepfm_core.runs.job import Context, Engine, Job
from deepfm_core.spec.events import Cancelled, EpochDone, Event, Failed, Finished
from deepfm_core.store.process import Process
from deepfm_core.store.records import RunRow
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store
from deepfm_core.workers.lane import Interrupted, Watch

if TYPE_CHECKING:
    from deepfm_core.tables.table import Table


def perform(
    store: Store, run: RunRow, engine: Engine, worker: Process, table: Callable[[str], Table] | None = None
) -> Iterator[Event]:
    """Do a run that `worker` has claimed or begun, yielding each event once it is stored.

    The last event is Finished, Failed or Cancelled, except where the run was taken away from the worker: whatever goes
    wrong in the engine becomes a Failed event, its traceback going to the run's worker.log alone. Iterated in the main
    thread, a cancel takes effect within a second even where the engine does not ask. A consumer that stops early
    (Ctrl-C) leaves a cancelled run, which can be resumed. `table` gives the tables if the store's need not be read.
    """
    began, folder = time.monotonic(), store.folder(run.id).create()
    note("run started", run=short(run.id), owner=short(run.owner))
    claims = store.claims
    watch = Watch(partial(claims.must_stop, run.id, worker), partial(claims.beat, run.id, worker))
    tables = table or partial(store.table_for, owner=run.owner)
    context = Context(tables, watch.cancelled, store.questions, store.encoded, store.choices)
    ending: Event | None = None
    ended = "stopped"
    try:
        with watch:
            for event in engine(Job(run.spec, str(folder.path), run.id), context):
                if not store.append_event(run.id, event, worker):
                    return
                watch.armed = False  # only the engine may be interrupted, not whoever consumes its events
                yield event
                watch.armed = True
                if isinstance(event, (Finished, Failed, Cancelled)):
                    ended = event.kind
                    return
        ending = Failed("The run ended without a result. Resume it; if that happens again, train it anew.")
    except Interrupted:
        ending = Cancelled(_last_epoch(store, run.id))
    except (KeyboardInterrupt, GeneratorExit):
        store.append_event(run.id, Cancelled(_last_epoch(store, run.id)), worker)
        raise
    except Exception as error:
        if not isinstance(error, DeepFMError):
            fault("run broke", error)
        ending = Failed(sentence(error, folder))
    finally:
        ended = ending.kind if ending else ended
        note("run ended", run=short(run.id), how=ended, seconds=round(time.monotonic() - began, 3))
    if store.append_event(run.id, ending, worker):
        yield ending


def sentence(error: Exception, folder: RunFolder) -> str:
    """Say what went wrong in a run; its traceback goes to the run's worker.log, unless the user can put it right."""
    if isinstance(error, DeepFMError):
        return str(error)
    with folder.log.open("a", encoding="utf-8") as log:
        traceback.print_exception(error, file=log)
    if "No space left" in str(error):
        return "The disk is full. Free some space, then resume the run."
    if isinstance(error, MemoryError):
        return "Memory ran out. Use a smaller embedding size, a higher minimum count, or fewer fields."
    return (
        f"Something unexpected happened ({type(error).__name__}). The run's worker.log has the details; resume the run."
    )


def _last_epoch(store: Store, run_id: str) -> int:
    done = [stored.event for stored in store.events(run_id, kinds=["epoch"])]
    return max((event.epoch for event in done if isinstance(event, EpochDone)), default=0)
