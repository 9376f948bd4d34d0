"""What is said of a run before it begins."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import load_parts
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.runs import progress
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.runs.progress import exact_parameters, expectations
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.events import Finished
from deepfm_core.spec.models import MODELS
from deepfm_core.spec.presets import settings
from deepfm_core.spec.run import RunSpec, SplitSpec
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.table import Table
from tests.conftest import clicks

rng = np.random.default_rng(21)


def wide(columns: int, rows: int) -> Table:
    fields = {f"f{i:03d}": rng.choice(list("abcd"), rows) for i in range(columns)}
    return table_from_frame(pd.DataFrame({**fields, "click": rng.permutation([0, 1] * (rows // 2))}))


def spec_of(table: Table, model: str = "deepfm") -> RunSpec:
    spec = RunSpec("t", "t.csv", infer_schema(table, "click"))
    chosen, fit = settings("recommended", model, spec.training_rows(len(table)), {})
    return RunSpec("t", "t.csv", spec.schema, model=chosen, fit=fit)


def test_a_wide_short_table_is_told_what_to_expect() -> None:
    table = wide(150, 500)
    parameters, pairs = expectations(table, spec_of(table))
    assert "parameters, beside what its guide adds, for 400 training rows" in parameters
    assert "training may stop after few epochs" in parameters
    assert pairs.startswith(
        "There are 11,175 pairs of 150 fields. Explaining what a model learned of them can take minutes, and 5"
    )
    assert "`--folds 0` leaves these out" in pairs


def test_a_usual_table_is_passed_over() -> None:
    table = wide(8, 4000)
    assert expectations(table, spec_of(table)) == []
    assert expectations(wide(150, 500), spec_of(wide(150, 500), "lr")) == []


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dense", [False, True])
def test_the_number_of_parameters_is_that_of_the_model(model: str, dense: bool) -> None:
    table = table_from_frame(clicks(600))
    schema = infer_schema(table, "clicked")
    schema = schema.with_kinds({"price": Kind.DENSE}, {}) if dense else schema
    crosses = {"crosses": (("device", "site"),)} if MODELS[model].crosses else {}
    chosen, fit = settings("recommended", model, 480, crosses)
    spec = RunSpec("t", "t.csv", schema, model=chosen, fit=fit, min_count=2)
    rows = load_parts(spec, lambda _: table).train.rows
    layout = Encoder.fit(table.frame, schema, rows=rows, min_count=2, crosses=chosen.crosses).layout
    assert exact_parameters(table, spec) == DeepFM(layout, chosen).parameter_count


def test_what_a_run_is_told_is_what_its_model_has(tmp_path: Path) -> None:
    table = wide(40, 120)
    spec = replace(spec_of(table, "fnn"), explained=False)
    (said,) = expectations(table, spec)
    *_, finished = execute(Job(spec, str(tmp_path / "run")), Context(lambda _: table))
    assert isinstance(finished, Finished)
    assert f"The model has {finished.summary['parameters']:,} parameters, for 96 training rows" in said


def test_a_table_that_cannot_be_trained_on_is_no_error_here() -> None:
    table = wide(150, 500)
    spec = spec_of(table)
    (pairs,) = expectations(table, replace(spec, split=SplitSpec(valid=0.0)))
    assert pairs.startswith("There are 11,175 pairs")


def test_of_a_long_table_the_parameters_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    table = wide(300, 500)
    monkeypatch.setattr(progress, "COUNTED_ROWS", 499)
    monkeypatch.setattr(progress, "exact_parameters", None)  # never asked
    assert re.match(r"The model has about [\d,]+0,000 parameters", expectations(table, spec_of(table))[0])
