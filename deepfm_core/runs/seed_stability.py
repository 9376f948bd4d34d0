"""Split the example rows of one run by the model of another, to see how much a split depends on the seed."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from deepfm_core.encoding.splits import load_parts
from deepfm_core.errors import RunError
from deepfm_core.explain.attribution import purified_terms
from deepfm_core.explain.frames import sample_rows
from deepfm_core.explain.learned import learned_pairs
from deepfm_core.explain.row_terms import terms_frame
from deepfm_core.runs.explain_stage import network_background, network_sample
from deepfm_core.runs.predictor import Trained
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.table import Table

SAMPLE_ROWS = 4_000
COLUMNS = ("row", "logit", "fm_logit", "dnn_logit", "base", "main", "pair", "higher")


def split_by_other(run: RunFolder, other: RunFolder, table: Callable[[str], Table]) -> pd.DataFrame:
    """Predict the example rows of one run with the model of another, and split these logits into their parts.

    Args:
        run: the run whose example rows are used.
        other: the run whose model is used.
        table: a function that returns a table by its SHA-256.

    Returns:
        One line per example row, in log-odds: `row`, `logit`; as trained, `fm_logit` and `dnn_logit`; purified, `base`,
        `main`, `pair` and `higher`, summed over fields and pairs.

    Raises:
        RunError: a run is not finished.
        SchemaError: the other run's model cannot read the rows.
    """
    examples = run.frame("examples")
    if examples is None:
        raise RunError(f"Run `{run.path.name}` has no examples yet. Wait until it is finished.")
    spec, trained = run.spec(), Trained.load(other)
    part = str(examples["part"].iloc[0])
    theirs = table({"test": spec.test_table, "valid": spec.valid_table}[part] or spec.table)
    # The rows are those of the one run, but vocabulary, model and purification are those of the other.
    rows = trained.encoder.encode(theirs.frame, rows=examples["row"].to_numpy(), subject=theirs.name)
    train = load_parts(trained.spec, table).train.encode(trained.encoder)
    sample, seed = sample_rows(train, trained.spec.seed, SAMPLE_ROWS), trained.spec.seed
    network_rows, background = network_sample(trained.model, sample)
    learned = learned_pairs(trained.model, sample, network_rows=network_rows, background=background, seed=seed)
    at = network_background(trained.model, rows)
    pure = purified_terms(trained.model, sample, learned, rows, background=at, seed=seed)
    return (
        terms_frame(trained.model, rows)
        .assign(
            row=examples["row"].to_numpy(),
            base=pure.base,
            main=pure.main.sum(1),
            pair=pure.pair.sum(1),
            higher=0.0 if pure.higher is None else pure.higher,
        )
        .reindex(columns=list(COLUMNS))
    )
