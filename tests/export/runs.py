"""Finished runs on a small table with every kind of field, for each model of the comparison."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.models import MODELS
from deepfm_core.spec.presets import settings
from deepfm_core.spec.run import RunSpec, SplitSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Table

KINDS = {
    "device": Kind.CATEGORICAL,
    "zip": Kind.CATEGORICAL,
    "interests": Kind.MULTI_VALUED,
    "price": Kind.PIECEWISE,
    "age": Kind.NUMERIC,
    "income": Kind.BUCKETISED,
    "score": Kind.DENSE,
    "seen": Kind.TIMESTAMP,
    "note": Kind.IGNORE,
}
"""A column of each kind."""


def rows(count: int = 400, seed: int = 0) -> pd.DataFrame:
    """Draw rows with a column of each kind, missing cells, and texts that need care."""
    rng = np.random.default_rng(seed)
    words = np.array(["a", "b", "c", "d", "e", "f"])
    frame = pd.DataFrame(
        {
            "device": rng.choice(["phone", " tablet ", "desk,top", 'the "big" one', "電話", "rare"], count),
            "zip": rng.choice(["7", "7.0", "12", "0012", "NA", ""], count),
            "interests": ["|".join(rng.choice(words, rng.integers(0, 5), replace=False)) for _ in range(count)],
            "price": [f"{value:.2f}" for value in rng.lognormal(2, 1, count)],
            "age": np.where(rng.random(count) < 0.1, "?", rng.integers(18, 80, count).astype(str)),
            "income": np.where(rng.random(count) < 0.2, "1,250", rng.integers(1, 9, count).astype(str)),
            "score": np.where(rng.random(count) < 0.1, "", [f"{value:.3e}" for value in rng.normal(size=count)]),
            "seen": [f"2024-03-{1 + n % 28:02d} {n % 24:02d}:{n % 60:02d}" for n in rng.integers(0, 5000, count)],
            "note": [f"note {n}" for n in range(count)],
        }
    )
    frame["clicked"] = np.where(rng.random(count) < 0.2 + 0.5 * (frame["device"] == "phone"), "yes", "no")
    return frame


def table(frame: pd.DataFrame, path: Path) -> Table:
    """Write rows as CSV and read them as the command line does."""
    stream = io.StringIO()
    frame.to_csv(stream, index=False)
    path.write_text(stream.getvalue(), encoding="utf-8")
    return read_table(path)


def trained(data: Table, model: str, out: Path, *, explained: bool = False, **chosen: object) -> RunFolder:
    """Train one model for two epochs; nothing is explained unless asked for."""
    schema = infer_schema(data, "clicked", "yes").with_kinds(KINDS)
    crosses = (("device", "price"), ("seen hour", "zip")) if MODELS[model].crosses else ()
    model_spec, fit = settings(
        "quick", model, SplitSpec().training_rows(len(data)), {"epochs": 2, "crosses": crosses, **chosen}
    )
    spec = RunSpec("a" * 64, data.name, schema, model=model_spec, fit=fit, min_count=2, explained=explained, folds=0)
    context = Context(lambda _: data)
    for _ in execute(Job(replace(spec, seed=3), str(out)), context):
        pass
    return RunFolder(out)
