"""`train`: a table in, a run out."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from deepfm_core._files import finite
from deepfm_core._parallel import processors
from deepfm_core.cli.options import Tables, base_spec, chosen_settings, model_folder, run_name_of
from deepfm_core.cli.output import Progressed, as_json
from deepfm_core.cli.parser import program
from deepfm_core.errors import RunError, SpecError
from deepfm_core.export.tracking import check, send
from deepfm_core.metrics.scores import Metrics
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Engine, Job
from deepfm_core.runs.progress import expectations
from deepfm_core.spec.events import Event, Failed, Finished
from deepfm_core.spec.presets import run_name, settings, settings_said
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.records import Whole
from deepfm_core.store.run_folder import RunFolder

if TYPE_CHECKING:
    from deepfm_core.training.replicas.local import Trainer

KEPT = "The run is kept as failed; *Resume* on the app's page Runs begins it anew once the files are as they were."


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
    engine = _engine(arguments.workers, arguments.address)
    with _cleaned_when_terminated():
        _train(arguments, engine, Tables(arguments))


def _train(arguments: argparse.Namespace, engine: Engine, tables: Tables) -> None:
    out: Path | None = arguments.out
    base, rows = base_spec(arguments, tables)
    chosen = chosen_settings(arguments)
    model, fit = settings(arguments.preset, arguments.model, rows, chosen)
    spec = replace(base, model=model, fit=fit)
    if arguments.workers > 1 and spec.model.crosses:
        raise SpecError("Crossed fields are trained by one worker. Leave out --cross, or --workers.")
    if tables.dataset is not None and spec.model.crosses:
        raise SpecError(
            "Crossed fields need all rows in memory. Leave out --cross, use another model than wide-deep, or give as "
            "much --memory as the rows need."
        )
    if not arguments.quiet and tables.dataset is None and (table := tables.tables.get(spec.table)) is not None:
        for sentence in expectations(table, spec):
            print(f"note: {sentence}", file=sys.stderr)
    specs = [replace(spec, seed=spec.seed + number) for number in range(arguments.seeds)]
    said = partial(_named, arguments.preset, chosen, several=len(specs) > 1)
    train = partial(_train_into, out, engine) if out else partial(_train_in_store, said, engine)
    if arguments.mlflow:
        check(arguments.mlflow)
    summaries = train(specs, tables, arguments.quiet)
    if arguments.mlflow:
        summaries = [_sent(summary, arguments.mlflow) for summary in summaries]
    if not arguments.quiet:
        _say_judged([summary["run"] for summary in summaries])
    print(as_json(finite(summaries[0] if len(summaries) == 1 else _over_seeds(summaries)), sys.stdout))


def _say_judged(runs: Sequence[str]) -> None:
    """Say of each run how good it is, and what to type next; on stderr, since the JSON stands on stdout."""
    for run in runs:
        print(judged(run, RunFolder(Path(run)).read_json("metrics.json") or {}), file=sys.stderr)
    print(f"next: {program()} interactions {shlex.quote(runs[0])}", file=sys.stderr)


def judged(run: str, metrics: Mapping[str, Any]) -> str:
    """Say how good a run is on its test part, or on its validation part without one, against the base rate.

    Args:
        run: names it.
        metrics: its `metrics.json`.
    """
    part = "test" if metrics.get("test") else "valid"
    values = metrics.get(part)
    if not values:
        return f"{run}: no held-out rows to judge it by"
    found, name = Metrics(**values), {"test": "test", "valid": "validation"}[part]
    auc = "–" if found.auc is None else f"{found.auc:.4f}"
    gain = 1 - (found.logloss / found.base_logloss if found.base_logloss else 1.0)
    way = f"{abs(gain):.1%} {'below' if gain >= 0 else 'ABOVE'}"
    return (
        f"{run}: {name} AUC {auc}; {name} logloss {found.logloss:.4f}, {way} the {found.base_logloss:.4f} of always "
        "predicting the share of positive rows"
    )


def _sent(summary: dict[str, Any], uri: str) -> dict[str, Any]:
    """Send a finished run to MLflow, and add to its summary where it is there.

    Raises:
        RunError: MLflow refuses; the run itself is kept.
    """
    named = summary["run"]
    try:
        return {**summary, "mlflow": send(model_folder(named), uri, run_name_of(named))}
    except RunError as error:
        raise RunError(f"{error} The run is kept: `export {named} --mlflow` sends it later.") from error


def _engine(workers: int, address: str) -> Engine:
    """Give what does a run, its fit by so many workers of this machine or of the Ray cluster at an address.

    Raises:
        SpecError: there cannot be so many.
    """
    if workers < 1:
        raise SpecError(f"Workers is {workers}. Use 1 or more.")
    most = max(processors(), 2)
    if workers > most and not address:
        raise SpecError(f"Workers is {workers:,}, and this machine has {processors()} processors. Use at most {most}.")
    if workers == 1 and not address:
        return execute
    trainer = _trainer(workers, address)
    return lambda job, context: execute(job, replace(context, trainer=trainer))


def _trainer(workers: int, address: str) -> Trainer:
    if address:
        from deepfm_core.workers.cluster.ray_train import RayWorkers  # knows of Ray

        return RayWorkers(workers, address)
    from deepfm_core.training.replicas.local import LocalWorkers

    return LocalWorkers(workers)


def _train_into(
    out: Path, engine: Engine, specs: Sequence[RunSpec], tables: Tables, quiet: bool
) -> list[dict[str, Any]]:
    """Train into a folder, several seeds into a folder each below it; all of them or none is there at the end."""
    summaries = []
    with _atomic_folder(out) as folder:
        for spec in specs:
            below = "" if len(specs) == 1 else f"seed-{spec.seed}"
            job, context = Job(spec, str(folder / below)), Context(tables.tables.__getitem__)
            if tables.dataset is not None:
                tables.dataset.write(job.folder.create())
            summary = {**tables.timed(_shown(engine(job, context), quiet)), "run": str(out / below)}
            summaries.append(_complete(job.folder, summary, tables, spec))
    return summaries


def _complete(folder: RunFolder, summary: dict[str, Any], tables: Tables, spec: RunSpec) -> dict[str, Any]:
    """Write `summary.json` with all that was understood; what is printed leaves the role table to `roles`."""
    expected = expectations(tables.tables[spec.table], spec) if tables.dataset is None else []
    whole = tables.understood({**summary, "notes": [*expected, *summary.get("notes", [])]}, spec.schema)
    folder.write_summary(whole)
    return {name: value for name, value in whole.items() if name != "roles"}


@contextmanager
def _atomic_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write into that becomes `out` when all went well and vanishes otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    folder.chmod(0o777 & ~_umask())
    try:
        with _cleaned_when_terminated():
            yield folder
            folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _cleaned_when_terminated() -> Iterator[None]:
    """End by an exception when the process is told to, so that nothing half-written stays."""
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _named(preset: str, chosen: Mapping[str, Any], spec: RunSpec, *, several: bool) -> str:
    """Name a run in the store by what was chosen for it, and by its seed where it is one of several."""
    differing = {name: value for name, value in chosen.items() if value != ()} | (
        {"seed": spec.seed} if several else {}
    )
    return run_name(spec, settings_said(preset, differing))


def _train_in_store(
    named: Callable[[RunSpec], str], engine: Engine, specs: Sequence[RunSpec], tables: Tables, quiet: bool
) -> list[dict[str, Any]]:
    return [_train_one_in_store(spec, named(spec), engine, tables, quiet) for spec in specs]


def _train_one_in_store(spec: RunSpec, name: str, engine: Engine, tables: Tables, quiet: bool) -> dict[str, Any]:
    from deepfm_core.store.process import Process
    from deepfm_core.store.store import Store
    from deepfm_core.workers.lane import perform

    store = Store.default()
    for sha, path in tables.paths.items():
        store.import_table(path, tables.tables[sha].name, table=tables.tables[sha], choices=tables.choices)
    if tables.dataset is not None:
        store.note_whole(spec.table, Whole(tables.dataset.source, tables.rows))
    worker = Process.current()
    row = store.begin(spec, worker, name)
    if tables.dataset is not None:
        tables.dataset.write(store.folder(row.id).create())
    try:
        summary = _shown(perform(store, row, engine, worker, tables.tables.__getitem__), quiet)
    except RunError as error:
        if store.run(row.id).state == "failed" and not store.folder(row.id).log.exists():
            if tables.dataset is not None and _is_of_a_file(error):  # it may be gone for a while only
                raise RunError(f"{error} {KEPT}") from error
            store.delete(row.id)  # the settings or the table were at fault: nothing there to look into
        raise
    return _complete(store.folder(row.id), tables.timed(summary), tables, spec)


def _is_of_a_file(error: RunError) -> bool:
    """Whether a run failed since a file of its dataset is gone, changed or cannot be read."""
    return str(error).startswith("Dataset `")


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
