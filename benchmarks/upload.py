"""From an upload to the first results, stage by stage: `python benchmarks/upload.py TABLE:LABEL`.

Prints the table of docs/benchmarks.md: processor time of all processes together and time on the clock, medians. The
worker is warm, as it is in the app, and so is the process that waits beside it: the page Data asks it for the evidence
of the labels, and the run takes the answer. With `--unasked` nobody asked before, and it answers the run while the
model trains. With `--cold` no process waits, and the start of one is counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deepfm_core._parallel import use_system_memory
from deepfm_core.runs import engine, evidence_task
from deepfm_core.runs.job import Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.events import Event, Fitted, Ready, Scored, Stage
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.query import about_pairs
from deepfm_core.store.query_pipe import Standby
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store

LOADING_SECONDS = 5.0
"""How long the waiting process is given to load, as it has beside a worker that waits for a run."""

Spent = dict[str, tuple[float, float]]
"""Processor time and time on the clock of each stage, in seconds."""


class Clock:
    """Tells what was spent since it was last asked: by this process, its ended children, and the one that waits."""

    def __init__(self, waiting: int | None) -> None:
        self.spent: Spent = {}
        self._waiting = waiting
        self._last = self._now()

    def _now(self) -> tuple[float, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime + self._of_waiting(), time.perf_counter()

    def _of_waiting(self) -> float:
        try:
            fields = Path(f"/proc/{self._waiting}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return 0.0  # it has ended, and counts among the children
        return 0.0 if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def lap(self, stage: str) -> None:
        """Enter what was spent under the name of the stage that ends now."""
        now = self._now()
        spent = self.spent.get(stage, (0.0, 0.0))
        self.spent[stage] = spent[0] + now[0] - self._last[0], spent[1] + now[1] - self._last[1]
        self._last = now


def journey(path: Path, label: str, home: Path, asked: bool, waiting: int | None) -> Spent:
    """Do all that happens from the upload to the end of the run."""
    store, clock = Store(home), Clock(waiting)
    sha = store.import_table(path, path.name).sha256
    clock.lap("upload: read and kept")
    table = store.table(sha)
    schema = infer_schema(table, label)
    clock.lap("page Data: roles")
    question = about_pairs(home, sha, schema)
    while asked and not question.answered:
        question.look()
        time.sleep(0.02)
    for thread in threading.enumerate():
        if thread.name.startswith("answer"):
            thread.join()  # its process has ended then, and is counted
    clock.lap("page Data: evidence of the labels")
    model, fit = preset("recommended", "deepfm", round(0.8 * len(table)))
    spec, stage = RunSpec(sha, path.name, schema, model=model, fit=fit), "worker: read"
    folder = RunFolder(home / "run")
    for event in engine.execute(Job(spec, folder, store.table, home=home)):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="FILE:LABEL")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--unasked", action="store_true", help="nobody looked at the page Data long enough")
    parser.add_argument("--cold", action="store_true", help="no process waits")
    options = parser.parse_args()
    use_system_memory()  # as the app and its worker do
    path, _, label = options.table.rpartition(":")
    journeys = []
    engine.warm_up()
    for _ in range(options.times):
        with tempfile.TemporaryDirectory() as home:
            standby = Standby(Path(home))
            evidence_task._latest.clear()  # nothing is known of the table from the journey before
            if not options.cold:
                standby.prepare()
                time.sleep(LOADING_SECONDS)
            waiting = standby.process.pid if standby.process else None
            journeys.append(journey(Path(path), label, Path(home), not options.unasked, waiting))
            if standby.process is not None:
                standby.process.kill()
                standby.process.communicate()
    print("| | CPU seconds | together | seconds |\n|---|---|---|---|")
    together = 0.0
    for stage in journeys[0]:
        cpu, wall = (statistics.median(spent[stage][which] for spent in journeys) for which in (0, 1))
        together += cpu
        print(f"| {stage} | {cpu:.2f} | {together:.2f} | {wall:.2f} |")


if __name__ == "__main__":
    main()
