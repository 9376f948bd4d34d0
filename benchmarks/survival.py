"""What a store survives: processes killed at random, a full disk, one that may only be read, a clock that jumps.

    nice python benchmarks/survival.py kill 200      # random kill -9 of server, worker and both
    python benchmarks/survival.py full 100           # a disk that is full after random bytes (root: it mounts one)
    python benchmarks/survival.py read-only          # the same disk, which may only be read then (root)
    python benchmarks/survival.py clock              # a clock that jumps 100 days, both ways
    python benchmarks/survival.py dropped 200        # the tail of the database's log is lost, as by a power cut

Each prints the counts of docs/reliability.md, and ends with status 1 if anything was lost or broke.

"Server" is a process that does what pages do: bring a table, ask for a run, name it, note, delete, restore, cancel,
resume. It writes down what the store confirmed, in a file that is synced after each answer. "Worker" is the
program's worker with its own engine. Both are forked from this process, which has loaded all they need, so that
hundreds of kills take minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.update(OMP_NUM_THREADS="1", DEEPFM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from deepfm_core.errors import DeepFMError, RunError  # noqa: E402
from deepfm_core.runs.engine import execute, warm_up  # noqa: E402
from deepfm_core.schema.kinds import Kind  # noqa: E402
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema  # noqa: E402
from deepfm_core.spec.run import FitSpec, RunSpec  # noqa: E402
from deepfm_core.store import untrusted  # noqa: E402
from deepfm_core.store.process import Process  # noqa: E402
from deepfm_core.store.store import Store  # noqa: E402
from deepfm_core.store.upkeep.check import check  # noqa: E402
from deepfm_core.workers.lane import perform  # noqa: E402
from deepfm_core.workers.worker import DEFAULT_ENGINE, work  # noqa: E402

OWNERS = ("a" * 32, "b" * 32)
SEEDS = 3
EPOCHS = 6

BAD = ("LOST", "RAW", "ended by signal", "Something unexpected")
"""What an outcome says that must not be."""


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("what", choices=list(WAYS))
    given.add_argument("count", type=int, nargs="?", default=100)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--minutes", type=float, default=10.0, help="kill: end after this time, however many were done")
    asked = given.parse_args()
    warm_up()
    with tempfile.TemporaryDirectory(prefix="survival-") as folder:
        outcomes = WAYS[asked.what](Path(folder), asked.count, random.Random(asked.seed), asked.minutes)
    print("| what | outcome | count |\n|---|---|---|")
    for (what, outcome), count in sorted(outcomes.items()):
        print(f"| {what} | {outcome} | {count:,} |")
    sys.exit(any(bad in outcome for _, outcome in outcomes for bad in BAD))


Outcomes = Counter[tuple[str, str]]


# What a server does


def table(number: int) -> bytes:
    """Give a table of 400 rows with a pair that interacts, as CSV; another one for each number."""
    chance = random.Random(number)
    lines = ["click,a,b,c"]
    for _ in range(400):
        a, b, c = chance.choice("xyz"), chance.choice("uvw"), chance.randrange(50)
        lines.append(f"{int(chance.random() < (0.8 if (a == 'x') == (b == 'u') else 0.2))},{a},{b},{c}")
    return "\n".join(lines).encode() + b"\n"


def spec_on(sha: str, seed: int) -> RunSpec:
    kinds = {"a": Kind.CATEGORICAL, "b": Kind.CATEGORICAL, "c": Kind.NUMERIC}
    schema = Schema(LabelRole("click", "1", "0"), tuple(FieldRole(name, kind) for name, kind in kinds.items()))
    return RunSpec(sha, "clicks", schema, fit=FitSpec(epochs=EPOCHS, batch_size=64), seed=seed)


class Said:
    """A log of the changes that the store confirmed, a JSON line each, on disk before the next change is asked for.

    A line `may` is a change that was about to be asked for.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def __call__(self, **values: object) -> None:
        """Write a line."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def lines_of(said: Path) -> list[dict[str, Any]]:
    """Read what `Said` has written; a line that a kill cut short is left out."""
    return [json.loads(line) for line in said.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def serve(home: Path, said: Path, chance: random.Random) -> None:
    """Do what pages do, one after the other, until killed."""
    note = Said(said)
    with closing(Store(home)) as store:
        while True:
            with contextlib.suppress(RunError):  # a run that ended meanwhile cannot be cancelled, and so on
                act(store, note, chance)
            time.sleep(chance.random() * 0.05)


def act(store: Store, note: Said, chance: random.Random) -> None:
    """Do one thing that pages do, after noting which, and note what the store confirmed."""
    step, owner = chance.choice(list(SERVER_STEPS)), chance.choice(OWNERS)
    note(kind="step", step=step)
    SERVER_STEPS[step](store, note, owner, chance)


def bring(store: Store, note: Said, owner: str, number: int) -> str:
    sha = store.import_table(table(number), f"table {number}", owner).sha256
    note(kind="table", sha=sha, owner=owner, number=number)
    return sha


def bring_and_remove(store: Store, _note: Said, owner: str, chance: random.Random) -> None:
    store.delete_table(store.import_table(table(6 + chance.randrange(4)), "passing", owner).sha256, owner)


def queue(store: Store, note: Said, owner: str, chance: random.Random) -> None:
    if sum(run.state in ("queued", "running") for run in store.runs(owner)) < 2:
        sha = bring(store, note, owner, 0)
        note(kind="run", id=store.enqueue(spec_on(sha, chance.randrange(SEEDS)), owner=owner))


def rename(store: Store, note: Said, owner: str, chance: random.Random) -> None:
    for run in drawn(store, owner, chance):
        name = f"name {chance.random()}"
        note(kind="may", id=run, name=name)
        store.rename(run, name)
        note(kind="name", id=run, name=name)


def share_and_withdraw(store: Store, _note: Said, owner: str, chance: random.Random) -> None:
    for run in drawn(store, owner, chance):
        store.shares.withdraw(store.shares.give("run", run, owner), owner)


def remove(store: Store, note: Said, owner: str, chance: random.Random) -> None:
    for run in drawn(store, owner, chance) if len(store.runs(owner)) > 6 else []:
        note(kind="may", id=run, deleted=True)
        store.delete(run)
        note(kind="deleted", id=run)


def remove_and_restore(store: Store, note: Said, owner: str, chance: random.Random) -> None:
    for run in drawn(store, owner, chance):
        note(kind="may", id=run, deleted=True)
        store.delete(run)
        note(kind="deleted", id=run)
        note(kind="may", id=run, deleted=False)
        store.restore(run)
        note(kind="restored", id=run)


def empty_the_bin(store: Store, note: Said, _owner: str, _chance: random.Random) -> None:
    note(kind="purge")
    store.purge(older_than=0.0)


def cancel(store: Store, _note: Said, owner: str, chance: random.Random) -> None:
    for run in drawn(store, owner, chance):
        store.request_cancel(run)


def resume(store: Store, _note: Said, owner: str, _chance: random.Random) -> None:
    for run in [run for run in store.runs(owner) if run.state in ("lost", "cancelled", "failed")][:1]:
        store.resume(run.id)


def read_all(store: Store, _note: Said, owner: str, _chance: random.Random) -> None:
    for entry in store.tables(owner):
        store.table(entry.sha256, owner)


def drawn(store: Store, owner: str, chance: random.Random) -> list[str]:
    """Draw one of an owner's runs; none if there is none."""
    runs = store.runs(owner)
    return [chance.choice(runs).id] if runs else []


SERVER_STEPS: dict[str, Callable[[Store, Said, str, random.Random], object]] = {
    "upload": lambda store, note, owner, chance: bring(store, note, owner, chance.randrange(6)),
    "upload and remove a table": bring_and_remove,
    "queue a run": queue,
    "name a run": rename,
    "share a run and withdraw": share_and_withdraw,
    "delete a run": remove,
    "delete and restore a run": remove_and_restore,
    "empty the bin": empty_the_bin,
    "cancel a run": cancel,
    "resume a run": resume,
    "read all tables": read_all,
}


# What must hold after each kill


def kept(home: Path, said: Path) -> list[str]:
    """Return what the store had confirmed and no longer has."""
    lines = lines_of(said)
    with closing(Store(home)) as store:
        if store.database.integrity() != "ok":
            return ["the database's pages"]
        rows = {row["id"]: row for row in store.database.rows("SELECT id, name, deleted FROM runs")}
        tables = {(line["sha"], line["owner"]) for line in lines if line["kind"] == "table"}
        lost = [f"table {sha}" for sha, owner in tables if not is_whole(store, sha, owner)]
    names, gone = promised(lines)
    emptied = any(line["kind"] == "purge" for line in lines)
    for run, allowed in names.items():
        if run not in rows and emptied and True in gone[run]:
            continue
        if run not in rows:
            lost.append(f"run {run}")
        elif allowed and not rows[run]["name"].startswith("DeepFM") and rows[run]["name"] not in allowed:
            lost.append(f"name of {run}")
        elif (rows[run]["deleted"] is not None) not in gone[run]:
            lost.append(f"deletion of {run}")
    return lost


def is_whole(store: Store, sha: str, owner: str) -> bool:
    return store.table_entry(sha, owner).rows == 400 == len(store.table(sha, owner))


def promised(lines: list[dict[str, Any]]) -> tuple[dict[str, set[str]], dict[str, set[bool]]]:
    """Give for each run the names it may have, and whether it may be deleted: one of each, or two if it was killed."""
    names: dict[str, set[str]] = {}
    gone: dict[str, set[bool]] = {}
    for line in lines:
        match line["kind"]:
            case "run":
                names[line["id"]], gone[line["id"]] = set(), {False}
            case "may" if "name" in line:
                names.setdefault(line["id"], set()).add(line["name"])
            case "may":
                gone.setdefault(line["id"], {False}).add(line["deleted"])
            case "name":
                names[line["id"]] = {line["name"]}
            case "deleted" | "restored":
                gone[line["id"]] = {line["kind"] == "deleted"}
    return names, gone


def forked(act: Callable[[], object], log: Path) -> int:
    """Do something in a process of its own, and return its number."""
    process = os.fork()
    if process:
        return process
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        act()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(0)


def killed(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process, 0)


def ended(process: int) -> bool:
    try:
        return os.waitpid(process, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def kill(folder: Path, count: int, chance: random.Random, minutes: float) -> Outcomes:
    """Kill server, worker or both at random, and see after each kill whether all that was said is there."""
    home, said, log = folder / "home", folder / "said", folder / "log"
    said.touch()
    Store(home).close()
    outcomes: Outcomes = Counter()
    runners: dict[str, Callable[[], int]] = {
        "server": lambda: forked(lambda: serve(home, said, random.Random(chance.random())), log),
        "worker": lambda: forked(lambda: work(home, DEFAULT_ENGINE, 3600.0), log),
    }
    alive = {name: start() for name, start in runners.items()}
    end = time.monotonic() + 60 * minutes
    for _ in range(count):
        if time.monotonic() > end:
            break
        time.sleep(chance.random() * 3.0)
        what = chance.choice(["server", "worker", "server and worker"])
        stages, step = at_work(home), last_step(said)
        for name in what.split(" and "):
            killed(alive[name])
        lost = checked(home, said, [alive[name] for name in alive if name not in what])
        outcomes[f"kill -9 of {what}", "all is there" if not lost else f"LOST {lost}"] += 1
        for stage in stages:
            outcomes["of them, while a run was", stage] += 1
        if "server" in what:
            outcomes["of them, while the server did", step] += 1
        for name in what.split(" and "):
            alive[name] = runners[name]()
        for name, process in alive.items():
            if ended(process):
                outcomes[f"{name} that ended by itself", "started again"] += 1
                alive[name] = runners[name]()
    killed(alive["server"])
    finish(home, runners["worker"], alive["worker"])
    afterwards(home, folder, outcomes)
    with closing(Store(home)) as store:
        for row in store.database.rows("SELECT worker FROM workers"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(Process.parse(row["worker"]).pid, signal.SIGKILL)
    return outcomes


def checked(home: Path, said: Path, living: list[int]) -> list[str]:
    """Say what is lost, while those that live stand still: else what was said would be older than what is there."""
    for process in living:
        os.kill(process, signal.SIGSTOP)
    try:
        return kept(home, said)
    except DeepFMError as error:
        return [str(error)]
    finally:
        for process in living:
            os.kill(process, signal.SIGCONT)


def at_work(home: Path) -> list[str]:
    with closing(Store(home)) as store:
        running = [run for run in store.runs() if run.status == "running"]
        last = [store.events(run.id)[-1:] for run in running]
        return [events[0].event.kind if events else "just begun" for events in last] or ["not at work"]


def last_step(said: Path) -> str:
    """Give what the server did last: at most its sleep of 50 ms lies between two steps."""
    return next((line["step"] for line in reversed(lines_of(said)) if line["kind"] == "step"), "nothing yet")


def finish(home: Path, start: Callable[[], int], worker: int) -> None:
    """Resume what was lost or cancelled, and wait until all runs have ended."""
    killed(worker)
    worker = start()
    with closing(Store(home)) as store:
        while pending := [run for run in store.runs() if run.status != "finished"]:
            for run in pending:
                if run.state in ("lost", "cancelled", "failed"):
                    store.resume(run.id)
            if ended(worker):
                worker = start()
            time.sleep(0.5)
    killed(worker)


def afterwards(home: Path, folder: Path, outcomes: Outcomes) -> None:
    """Count the runs whose weights are, byte for byte, those of a run that nobody disturbed; check every file."""
    with closing(Store(folder / "calm")) as calm, closing(Store(home)) as store:
        sha = calm.import_table(table(0), "table 0").sha256
        weights = {}
        for seed in range(SEEDS):
            run = calm.begin(spec_on(sha, seed), Process.current())
            list(perform(calm, run, execute, Process.current()))
            weights[seed] = (calm.folder(run.id).path / "model.safetensors").read_bytes()
        for run in store.runs():
            same = (store.folder(run.id).path / "model.safetensors").read_bytes() == weights[run.spec.seed]
            outcomes["runs at the end", "weights as undisturbed" if same else f"LOST: other weights, {run.id}"] += 1
        outcomes["leftovers", f"{len(list(home.rglob('.*')))} temporary files, swept after a day"] += 1
    lines = lines_of(folder / "said")
    confirmed = [line["id"] for line in lines if line["kind"] == "run"]
    confirmed += [line["sha"][:12] for line in lines if line["kind"] == "table"]
    outcomes.update(("check of every file", text) for text in found_by_check(home, confirmed))


def found_by_check(home: Path, confirmed: list[str]) -> list[str]:
    """Say what a check of every file finds, and whether `check --repair` puts it right.

    The folder of a run or table is made before its row, so a kill between the two leaves a folder in no list. Nothing
    is lost by it if the store had not confirmed the change: whoever asked for it was told nothing.
    """
    findings = check(home).left
    unlisted = [finding for finding in findings if finding.problem == "it is in no list"]
    said = [f"LOST: {finding}" for finding in findings if finding not in unlisted]
    said += [f"LOST: {finding}" for finding in unlisted if any(f"`{name}`" in finding.subject for name in confirmed)]
    left = check(home, repair=True).left if unlisted else []
    said += [f"LOST: not put right: {finding}" for finding in left]
    what = "a folder of what the store had not confirmed, put into the list by check --repair"
    return said or [what] * len(unlisted) or ["no finding"]


# A disk of its own


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    place = folder / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


STEPS: dict[str, Callable[[Store], object]] = {
    "upload": lambda store: store.import_table(table(random.randrange(1000, 9999)), "new"),
    "queue a run": lambda store: store.enqueue(spec_on(store.tables()[-1].sha256, 0)),
    "name a run": lambda store: store.rename(store.runs()[-1].id, "other"),
    "train": lambda store: trained(store),
    "delete a run": lambda store: store.delete(store.runs()[0].id),
    "list": lambda store: (store.runs(), store.tables()),
    "read a table": lambda store: store.table(store.tables()[-1].sha256),
}


def trained(store: Store) -> None:
    spec = replace(spec_on(store.tables()[-1].sha256, 0), explained=False)
    run = store.begin(spec, Process.current())
    last = list(perform(store, run, execute, Process.current()))[-1]
    if last.kind == "failed":
        raise RunError(last.message)  # type: ignore[attr-defined]


def outcome_of(home: Path, step: str) -> str:
    """Do a step in a process of its own, and say how it ended."""
    read, write = os.pipe()
    process = os.fork()
    if not process:
        untrusted._READERS = untrusted._Readers(1)  # that of this process is not the child's
        try:
            with closing(Store(home)) as store:
                STEPS[step](store)
            said = "done"
        except DeepFMError as error:
            said = "Something unexpected" if "Something unexpected" in str(error) else "a sentence"
        except BaseException as error:
            said = f"RAW {type(error).__name__}: {error}"
        os.write(write, said.encode()[:400])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    status = os.waitpid(process, 0)[1]
    return said or f"ended by signal {status & 127}"


def full(folder: Path, count: int, chance: random.Random, _minutes: float) -> Outcomes:
    """Fill a disk but for some random bytes, do a step, free it, and see whether all is there and the step works."""
    outcomes: Outcomes = Counter()
    with small_disk(folder, 64) as disk:
        home = disk / "home"
        with closing(Store(home)) as store:
            store.import_table(table(0), "first")
            for _ in range(3):
                store.enqueue(spec_on(store.tables()[0].sha256, 0))
        for _ in range(count):
            known = content_of(home)
            step = chance.choice(list(STEPS))
            leave = int(10 ** chance.uniform(0, 6))
            fill(disk / "filler", leave)
            how = outcome_of(home, step)
            (disk / "filler").unlink(missing_ok=True)
            missing = known - content_of(home)
            if step == "delete a run" and len(missing) == 1:
                missing = set()
            report = check(home)
            damage = [str(finding) for finding in report.left if "metrics.json" not in str(finding)]
            unlisted = [text for text in damage if text.startswith("Table") and "in no list" in text]
            damage = [text for text in damage if text not in unlisted]
            again = outcome_of(home, step) if how != "done" else "done"
            ended_well = not missing and not damage and again == "done"
            after = "all there, then done" if ended_well else f"LOST {missing} {damage} {again}"
            outcomes[
                f"{step}, the disk full after 1 to 1,000,000 bytes", f"{how}; {after}" if how != "done" else after
            ] += 1
            prune(home)
    return outcomes


def fill(path: Path, leave: int) -> None:
    free = shutil.disk_usage(path.parent).free - leave
    with path.open("wb") as file, contextlib.suppress(OSError):
        while free > 0:
            file.write(b"\0" * min(free, 1 << 20))
            file.flush()
            free -= 1 << 20


def content_of(home: Path) -> set[str]:
    with closing(Store(home)) as store:
        tables = {f"table {entry.sha256}" for entry in store.tables() if len(store.table(entry.sha256)) == 400}
        return tables | {f"run {run.id}" for run in store.runs()}


def prune(home: Path) -> None:
    """Keep the store small: delete for good all but the first table and three runs."""
    with closing(Store(home)) as store:
        for run in store.runs()[:-3]:
            store.database.change("UPDATE runs SET deleted = 1, status = 'cancelled' WHERE id = ?", (run.id,))
        for entry in store.tables()[:-1]:
            store.delete_table(entry.sha256)
            store.database.change("UPDATE tables SET deleted = 1 WHERE sha256 = ?", (entry.sha256,))
        store.purge()
        while len(store.runs()) < 3:
            store.enqueue(spec_on(store.tables()[0].sha256, 0))


def read_only(folder: Path, _count: int, _chance: random.Random, _minutes: float) -> Outcomes:
    """Do each step on a disk that may only be read, closed well or not, and see whether all is there afterwards."""
    outcomes: Outcomes = Counter()
    with small_disk(folder, 64) as disk:
        home = disk / "home"
        for how_left in ("closed well", "killed"):
            with closing(Store(home)) as store:
                store.import_table(table(0), "first")
                store.enqueue(spec_on(store.tables()[0].sha256, 0))
            if how_left == "killed":
                process = forked(lambda: (Store(home).rename(runs_of(home)[0], "x"), time.sleep(60)), folder / "log")
                time.sleep(2.0)
                killed(process)
            known = content_of(home)
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            for step in STEPS:
                outcomes[f"{step}, after it was {how_left}", outcome_of(home, step)] += 1
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            outcomes["all of it, once it may be written", "all there" if content_of(home) == known else "LOST"] += 1
    return outcomes


def runs_of(home: Path) -> list[str]:
    with closing(Store(home)) as store:
        return [run.id for run in store.runs()]


def clock(folder: Path, _count: int, _chance: random.Random, _minutes: float) -> Outcomes:
    """Let the clock jump while a run trains, and empty the bin then, on a shared server that keeps for 90 days."""
    outcomes: Outcomes = Counter()
    real = time.time
    os.environ["DEEPFM_PRIVATE"] = "1"
    for days in (0.5, 2, 100, -2, -100):
        home = folder / f"jump {days}"
        with closing(Store(home)) as store:
            sha = store.import_table(table(0), "first", OWNERS[0]).sha256
            specs = [
                replace(spec_on(sha, seed), explained=False) for seed in range(3)
            ]  # asks no process of another clock
            runs = [store.enqueue(spec, owner=OWNERS[0]) for spec in specs]
            store.tidy()
            binned = store.enqueue(spec_on(sha, 0), owner=OWNERS[0])
            store.delete(binned)
            run = store.claims.next(Process.current())
            assert run is not None
            for number, _ in enumerate(perform(store, run, execute, Process.current())):
                if number == 3:
                    time.time = partial(jumped, real, days)
                    store.tidy()  # as the worker does once an hour
            last = store.events(run.id)[-1].event.kind
            time.time = real
            store.tidy()
            there = {row.id for row in store.runs(OWNERS[0])}
            outcomes[f"{days:+,} days while a run trains", f"the run {last}"] += 1
            lost = len(set(runs) - there) + (sha not in {entry.sha256 for entry in store.tables(OWNERS[0])})
            outcomes[f"{days:+,} days while a run trains", f"LOST {lost}" if lost else "tables and runs there"] += 1
            try:
                store.restore(binned)
                outcomes[f"{days:+,} days while a run trains", "a run in the bin can be restored"] += 1
            except RunError:
                outcomes[f"{days:+,} days while a run trains", "LOST: a run in the bin"] += 1
    return outcomes


def jumped(real: Callable[[], float], days: float) -> float:
    return real() + days * 86400.0


def dropped(folder: Path, count: int, chance: random.Random, _minutes: float) -> Outcomes:
    """Cut the database's log at a random byte, as a power cut may, and see whether the store opens and is repaired."""
    outcomes: Outcomes = Counter()
    home = folder / "home"
    with closing(Store(home)) as store:
        sha = store.import_table(table(0), "first").sha256
        store.database.rows("PRAGMA wal_autocheckpoint = 0")
        for seed in range(20):
            store.enqueue(spec_on(sha, seed), name=f"run {seed}")
        for number in range(3):
            store.import_table(table(number + 1), f"table {number}")
        shutil.copytree(home, folder / "cut")  # as it stands while it is open
    whole = (folder / "cut" / "runs.db-wal").read_bytes()
    for _ in range(count):
        place = folder / "try"
        shutil.copytree(folder / "cut", place)
        (place / "runs.db-shm").unlink()
        log = bytearray(whole[: chance.randrange(len(whole))])
        if chance.random() < 0.5 and log:  # or a page of it was never written
            at = chance.randrange(len(log)) // 4096 * 4096
            log[at : at + 4096] = bytes(len(log[at : at + 4096]))
        (place / "runs.db-wal").write_bytes(bytes(log))
        how = "refused in a sentence, all listed after check --repair"
        sound = True
        with contextlib.suppress(DeepFMError), closing(Store(place)) as store:
            sound, before = store.database.integrity() == "ok", len(store.runs())
            how = "all runs listed" if before == 20 else "fewer runs listed, all after check --repair"
        left = check(place, repair=True).left
        with closing(Store(place)) as store:
            after, tables = len(store.runs()), len(store.tables())
        well = sound and not left and after == 20 and tables == 4
        outcomes["the log is cut, or has a hole", how if well else f"LOST {sound} {left} {after} {tables}"] += 1
        shutil.rmtree(place)
    return outcomes


WAYS: dict[str, Callable[[Path, int, random.Random, float], Outcomes]] = {
    "kill": kill,
    "full": full,
    "read-only": read_only,
    "clock": clock,
    "dropped": dropped,
}

if __name__ == "__main__":
    main()
