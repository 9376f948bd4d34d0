"""`train`: a table in, a run out."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from deepfm_core.commands.arguments import KIND_OPTIONS
from deepfm_core.commands.progress import Progressed
from deepfm_core.data.inference import infer_schema
from deepfm_core.data.reading import read_table
from deepfm_core.data.schema import Kind, Schema
from deepfm_core.data.table import Table
from deepfm_core.errors import RunError, SpecError
from deepfm_core.runs.engine import execute
from deepfm_core.runs.folder import RunFolder
from deepfm_core.runs.job import Job
from deepfm_core.training.crosses import parse_crosses
from deepfm_core.training.events import Event, Failed, Finished
from deepfm_core.training.presets import settings
from deepfm_core.training.spec import RunSpec, SplitSpec

MODEL_OPTIONS = ("embedding_size", "layers", "activation", "dropout", "batch_norm")
FIT_OPTIONS = ("epochs", "patience", "batch_size", "learning_rate", "l2", "precision")


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
    tables = _Tables(arguments)
    spec = spec_of(arguments, tables)
    specs = [replace(spec, seed=spec.seed + number) for number in range(arguments.seeds)]
    summaries = [_train(one, tables, _out(out, one, len(specs)), arguments.quiet) for one in specs]
    print(json.dumps(summaries[0] if len(summaries) == 1 else _over_seeds(summaries)))


class _Tables:
    """The tables of a run, read once and found by the SHA-256 of their bytes."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        began = time.perf_counter()
        self.paths: dict[str, Path] = {}
        self.tables: dict[str, Table] = {}
        self.main = self._add(arguments.table)
        self.valid = self._add(arguments.valid_table)
        self.test = self._add(arguments.test_table)
        self.seconds = time.perf_counter() - began
        for sha in self.paths:
            _warn(self.tables[sha], arguments.quiet)

    def timed(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Count the reading, done here before the run began, among its seconds."""
        seconds = summary["seconds"]
        return {**summary, "seconds": {**seconds, "read": round(seconds["read"] + self.seconds, 4)}}

    def _add(self, path: Path | None) -> str | None:
        if path is None:
            return None
        table = read_table(path)
        with path.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        self.paths[sha], self.tables[sha] = path, table
        return sha


def _warn(table: Table, quiet: bool) -> None:
    if quiet:
        return
    for problem in table.report.skipped[:20]:
        print(f"warning: {table.name}: {problem}", file=sys.stderr)
    if table.report.skipped_count > 20:
        print(f"warning: {table.name}: {table.report.skipped_count:,} lines skipped in all", file=sys.stderr)


def spec_of(arguments: argparse.Namespace, tables: _Tables) -> RunSpec:
    """Make the run's spec from the command line.

    Raises:
        DeepFMError: a setting is out of range, or a named field does not exist.
    """
    assert tables.main is not None
    table = tables.tables[tables.main]
    schema = _schema(arguments, infer_schema(table, arguments.label, arguments.positive))
    by, _, column = arguments.split_by.partition(":")
    split = SplitSpec(by, column or None, **_given(arguments, "valid", "test"))
    rows = split.training_rows(len(table), tables.valid, tables.test)
    chosen = _given(arguments, *MODEL_OPTIONS, *FIT_OPTIONS) | {"crosses": parse_crosses(arguments.cross or ())}
    model, fit = settings(arguments.preset, arguments.model, rows, chosen)
    return RunSpec(
        table=tables.main,
        table_name=table.name,
        schema=schema,
        valid_table=tables.valid,
        test_table=tables.test,
        split=split,
        model=model,
        fit=fit,
        seed=arguments.seed,
        **_given(arguments, "min_count", "folds"),
    )


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _schema(arguments: argparse.Namespace, inferred: Schema) -> Schema:
    kinds: dict[str, Kind] = {}
    for option in KIND_OPTIONS:
        for name in getattr(arguments, option.replace("-", "_")):
            if kinds.get(name, Kind(option)) is not Kind(option):
                raise SpecError(f"Field `{name}` is named as {kinds[name]} and as {option}. Choose one.")
            if name == inferred.label.column:
                raise SpecError(f"Field `{name}` is the label. Leave it out of --{option}.")
            kinds[name] = Kind(option)
    return inferred.with_kinds(kinds)


def _out(out: Path | None, spec: RunSpec, count: int) -> Path | None:
    return out if out is None or count == 1 else out / f"seed-{spec.seed}"


def _train(spec: RunSpec, tables: _Tables, out: Path | None, quiet: bool) -> dict[str, Any]:
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


def _train_in_store(spec: RunSpec, tables: _Tables, quiet: bool) -> dict[str, Any]:
    from deepfm_core.runs.perform import perform
    from deepfm_core.runs.process import Process
    from deepfm_core.runs.store import Store

    store = Store.default()
    for sha, path in tables.paths.items():
        store.import_table(path, path.name, table=tables.tables[sha])
    worker = Process.current()
    row = store.begin(spec, worker, name=f"{spec.model.name} on {spec.table_name}")
    summary = _shown(perform(store, row, execute, worker, tables.tables.__getitem__), quiet)
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
