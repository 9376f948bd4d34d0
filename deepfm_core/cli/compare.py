"""`compare`: models on the same rows, and the table of what they reached."""

from __future__ import annotations

import argparse
import sys
import time

from deepfm_core.cli.options import Tables, base_spec, chosen_settings
from deepfm_core.cli.output import with_earlier_names
from deepfm_core.errors import RunError
from deepfm_core.experiments import comparison as experiments_comparison
from deepfm_core.experiments.advice import advice_sentences, advise, without_markup
from deepfm_core.experiments.comparison import ComparisonPlan, model_table
from deepfm_core.runs.engine import execute
from deepfm_core.spec.events import Failed
from deepfm_core.store.process import Process
from deepfm_core.store.records import RunRow
from deepfm_core.store.store import Store
from deepfm_core.tables.export import write_csv
from deepfm_core.workers.lane import perform

_POLL_SECONDS = 0.2


def run(arguments: argparse.Namespace) -> None:
    """Train as asked, in the store, and print the table of the models as CSV.

    Raises:
        DeepFMError: the table, the schema or a setting cannot be used, or a run failed.
    """
    plan = ComparisonPlan(
        models=tuple(arguments.models),
        seeds=arguments.seeds,
        preset=arguments.preset,
        chosen=chosen_settings(arguments),
        baseline=not arguments.no_baseline,
    )
    tables = Tables(arguments)
    base, rows = base_spec(arguments, tables)
    plan.specs(base, rows)  # says what is wrong before anything is stored
    store = Store.default()
    for sha, path in tables.paths.items():
        store.import_table(path, tables.tables[sha].name, table=tables.tables[sha], choices=tables.choices)
    comparison = experiments_comparison.begin(store, base, rows, plan)
    try:
        _work(store, comparison, tables, arguments.quiet)
    except BaseException:
        experiments_comparison.cancel(store, comparison)
        raise
    runs = store.comparisons.runs(comparison)
    table = model_table(store, runs)
    write_csv(with_earlier_names(table), sys.stdout)
    if not arguments.quiet and (found := advise(store, runs, table)) is not None:
        print(without_markup("\n".join(advice_sentences(found))), file=sys.stderr)


def _work(store: Store, comparison: str, tables: Tables, quiet: bool) -> None:
    """Do the comparison's runs until all have ended; a worker of the store may take some of them."""
    me = Process.current()
    while True:
        mine = store.claims.next(me, comparison)
        if mine is not None:
            _do(store, mine, me, tables)
            _say(store, comparison, mine, quiet)
        elif all(one.state not in ("queued", "running") for one in store.comparisons.runs(comparison)):
            break
        else:
            time.sleep(_POLL_SECONDS)
    for one in store.comparisons.runs(comparison):
        if not one.ended_well:
            raise RunError(f"Run `{one.name}` is {one.state}. Resume the comparison from the app's page Compare.")


def _do(store: Store, mine: RunRow, me: Process, tables: Tables) -> None:
    for event in perform(store, mine, execute, me, tables.tables.__getitem__):
        if isinstance(event, Failed):
            raise RunError(f"{mine.name}: {event.message}")


def _say(store: Store, comparison: str, mine: RunRow, quiet: bool) -> None:
    if quiet:
        return
    standing = experiments_comparison.Standing.of(store.comparisons.runs(comparison), time.time(), {})
    scores = store.run(mine.id).summary.get("test") or store.run(mine.id).summary.get("valid") or {}
    auc = "–" if scores.get("auc") is None else f"{scores['auc']:.4f}"
    left = "" if standing.seconds_left is None else f", about {standing.seconds_left:.0f} s left"
    done = f"{standing.finished} of {standing.total}"
    print(f"{done}  {mine.name}: logloss {scores.get('logloss', float('nan')):.4f}, AUC {auc}{left}", file=sys.stderr)
