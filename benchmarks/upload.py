"""From an upload to the first results, stage by stage: `python benchmarks/upload.py TABLE:LABEL`.

With `--make ROWS` it draws that table first, and ends: 14 categorical fields, 6 numbers, three planted pairs.

Prints the table of docs/benchmarks.md: processor time of all processes together and time on the clock, medians. The
worker is warm, as it is in the app, and so is the one that answers questions: the page Data asks it for the evidence of
the labels, and the run takes the answer. With `--unasked` nobody asked before, and it answers the run while the model
trains. With `--cold` none is warm, and the start of one is counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


from deepfm_core._parallel import use_system_memory
from deepfm_core.runs import engine
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.events import Event, Fitted, Ready, Scored, Stage
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.process import Process
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.run_queue import LABELS, RUNS
from deepfm_core.store.store import Store
from deepfm_core.workers.worker import keep_answering

LEVELS = (2, 3, 4, 6, 8, 12, 16, 20, 24, 30, 60, 120, 1000, 20_000)
"""Values of each categorical field of a drawn table; of more than 30 the first ones are the most frequent."""
NUMBERS, PLANTED = 6, ((2, 5), (4, 9), (3, 14))
"""Fields of numbers, and the pairs that interact, the numbers by four ranges."""

Spent = dict[str, tuple[float, float]]
"""Processor time and time on the clock of each stage, in seconds."""


class Clock:
    """Tells what was spent since it was last asked: by this process, its ended children, and those that answer."""

    def __init__(self, store: Store) -> None:
        self.spent: Spent = {}
        self._store = store
        self._last = self._now()

    def _now(self) -> tuple[float, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        living = sum(self._of(worker) for worker in answering(self._store))
        return time.process_time() + children.ru_utime + children.ru_stime + living, time.perf_counter()

    @staticmethod
    def _of(worker: Process) -> float:
        try:
            fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return 0.0  # it has ended, and counts among the children
        return 0.0 if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def lap(self, stage: str) -> None:
        """Enter what was spent under the name of the stage that ends now."""
        now = self._now()
        spent = self.spent.get(stage, (0.0, 0.0))
        self.spent[stage] = spent[0] + now[0] - self._last[0], spent[1] + now[1] - self._last[1]
        self._last = now


def answering(store: Store) -> list[Process]:
    """Give the workers that answer questions about labels."""
    rows = store.database.rows("SELECT worker FROM workers WHERE lane = ?", (LABELS,))
    return [Process.parse(row["worker"]) for row in rows]


def end(store: Store) -> None:
    """End the workers that answer, and wait until they have."""
    for worker in answering(store):
        os.kill(worker.pid, signal.SIGKILL)
    for thread in threading.enumerate():
        if thread.name.startswith("worker"):
            thread.join()


def journey(path: Path, label: str, store: Store, asked: bool) -> Spent:
    """Do all that happens from the upload to the end of the run."""
    clock = Clock(store)
    sha = store.import_table(path, path.name).sha256
    clock.lap("upload: read and kept")
    table = store.table(sha)
    schema = infer_schema(table, label)
    clock.lap("page Data: roles")
    question = store.questions.about_pairs(sha, schema)
    while asked and not question.look().answered:
        time.sleep(0.02)
    clock.lap("page Data: evidence of the labels")
    model, fit = preset("recommended", "deepfm", round(0.8 * len(table)))
    spec, stage = RunSpec(sha, path.name, schema, model=model, fit=fit), "worker: read"
    folder = RunFolder(store.home / "run")
    for event in engine.execute(
        Job(spec, str(folder.path)), Context(store.table, questions=store.questions, encoded=store.encoded)
    ):
        found = (folder.path / "findings.json").exists()
        clock.lap(stage)
        stage = next_stage(stage, event, found)
    clock.lap(stage)
    return clock.spent


def next_stage(stage: str, event: Event, found: bool) -> str:
    """Name what the worker does after an event."""
    match event:
        case Stage("encode"):
            return "worker: encode"
        case Stage("fit"):
            return "worker: train"
        case Fitted():
            return "worker: evaluate"
        case Scored():
            return "worker: pairs learned, findings"
        case Stage("explain") if found:
            return "worker: rows and levels explained"
        case Ready():
            return "worker: checked on held-out rows"
    return stage


def drawn(rows: int, label: str) -> pa.Table:
    """Draw a table of clicks with planted pairs."""
    rng = np.random.default_rng(0)
    columns, codes, logit = {}, [], np.full(rows, -1.2)
    for place, count in enumerate(LEVELS):
        values = (count ** rng.random(rows) - 1).astype(int) if count > 30 else rng.integers(0, count, rows)
        codes.append(np.minimum(values, count - 1))
        logit += (rng.normal(size=count) * 0.25)[codes[-1]]
        names = pa.array([f"v{value}" for value in range(count)])
        columns[f"field_{place:02d}"] = names.take(pa.array(codes[-1]))
    for place in range(NUMBERS):
        number = rng.normal(size=rows)
        columns[f"number_{place}"] = pa.array(np.round(number, 3))
        logit += 0.2 * number * (place < NUMBERS // 2)
        codes.append(np.digitize(number, [-0.7, 0.0, 0.7]))
    for one, other in PLANTED:
        cells = rng.normal(size=(codes[one].max() + 1, codes[other].max() + 1)) * 0.3
        logit += cells[codes[one], codes[other]]
    columns[label] = pa.array((rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int))
    return pa.table(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="FILE:LABEL")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--unasked", action="store_true", help="nobody looked at the page Data long enough")
    parser.add_argument("--cold", action="store_true", help="none that answers is warm")
    parser.add_argument("--make", type=int, metavar="ROWS", help="draw the table and end")
    options = parser.parse_args()
    path, _, label = options.table.rpartition(":")
    if options.make:
        csv.write_csv(drawn(options.make, label), path)
        return
    use_system_memory()  # as the app and its worker do
    journeys = []
    engine.warm_up()
    for _ in range(options.times):
        with tempfile.TemporaryDirectory() as home:
            store = Store(Path(home))
            store.workers.join(Process.current(), RUNS)  # beside it one that answers is kept warm
            if not options.cold:
                keep_answering(store)
                while store.workers.states(LABELS) != ["idle"]:
                    time.sleep(0.1)
            journeys.append(journey(Path(path), label, store, not options.unasked))
            end(store)
    print("| | CPU seconds | together | seconds |\n|---|---|---|---|")
    together = 0.0
    for stage in journeys[0]:
        cpu, wall = (statistics.median(spent[stage][which] for spent in journeys) for which in (0, 1))
        together += cpu
        print(f"| {stage} | {cpu:.2f} | {together:.2f} | {wall:.2f} |")


if __name__ == "__main__":
    main()
