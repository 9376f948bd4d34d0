"""`train`: a table in, a run out."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from deepfm_core.commands.asked import Tables, base_spec, chosen_settings
from deepfm_core.commands.progress import Progressed
from deepfm_core.errors import RunError, SpecError
from deepfm_core.runs.engine import execute
from deepfm_core.runs.folder import RunFolder
from deepfm_core.runs.job import Job
from deepfm_core.training.events import Event, Failed, Finished
from deepfm_core.training.presets import settings
from deepfm_core.training.spec import RunSpec


def run(arguments: argparse.Namespace) -> None:
    """Train as asked, in the store or in `--out`, and print the summary.

    Raises:
        DeepFMError: the table, the schema or a setting cannot be used.
    """
    out: Path | None = arguments.out
    if out is not None and out.exists():
        raise RunError(f"Output folder `{out}` exists already. Name a new one, or delete it first.")
    if arguments.seeds < 1:
        raise SpecError(f"Seeds is {arguments.seeds}. Use 1 or more.")
    tables = Tables(arguments)
    base, rows = base_spec(arguments, tables)
    model, fit = settings(arguments.preset, arguments.model, rows, chosen_settings(arguments))
    spec = replace(base, model=model, fit=fit)
    specs = [replace(spec, seed=spec.seed + number) for number in range(arguments.seeds)]
    summaries = [_train(one, tables, _out(out, one, len(specs)), arguments.quiet) for one in specs]
    print(json.dumps(summaries[0] if len(summaries) == 1 else _over_seeds(summaries)))


def _out(out: Path | None, spec: RunSpec, count: int) -> Path | None:
    return out if out is None or count == 1 else out / f"seed-{spec.seed}"


def _train(spec: RunSpec, tables: Tables, out: Path | None, quiet: bool) -> dict[str, Any]:
    if out is None:
        return _train_in_store(spec, tables, quiet)
    with _whole_folder(out) as partial:
        job = Job(spec, RunFolder(partial), tables.tables.__getitem__)
        summary = {**tables.timed(_shown(execute(job), quiet)), "run": str(out)}
        job.folder.write_summary(summary)
    return summary


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write into that becomes `out` when all went well and vanishes otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _train_in_store(spec: RunSpec, tables: Tables, quiet: bool) -> dict[str, Any]:
    from deepfm_core.runs.perform import perform
    from deepfm_core.runs.process import Process
    from deepfm_core.runs.store import Store

    store = Store.default()
    for sha, path in tables.paths.items():
        store.import_table(path, path.name, table=tables.tables[sha])
    worker = Process.current()
    row = store.begin(spec, worker)
    try:
        summary = _shown(perform(store, row, execute, worker, tables.tables.__getitem__), quiet)
    except RunError:
        if store.run(row.id).state == "failed" and not store.folder(row.id).log.exists():
            store.delete(row.id)  # the settings or the table were at fault: nothing there to look into
        raise
    return tables.timed(summary)


def _shown(events: Iterator[Event], quiet: bool) -> dict[str, Any]:
    """Show a run's events as they come and give its summary."""
    progress = Progressed(quiet)
    for event in events:
        progress.show(event)
        if isinstance(event, Finished):
            return event.summary
        if isinstance(event, Failed):
            raise RunError(event.message)
    raise RunError("The run was cancelled. Resume it from the app's page Runs, or train again.")


def _over_seeds(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the first run's summary with the mean scores over all runs, which stand under `runs`."""

    def mean(part: str, score: str) -> float | None:
        values = [one[part][score] for one in summaries if one[part] and one[part][score] is not None]
        return fmean(values) if values else None

    means = {part: {score: mean(part, score) for score in ("auc", "logloss")} for part in ("valid", "test")}
    return {**summaries[0], **means, "runs": summaries}
