"""What is said of a run before it begins."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.runs.progress import _parameters, expectations
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.presets import settings
from deepfm_core.spec.run import RunSpec
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.table import Table

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
    assert "parameters for 400 training rows" in parameters
    assert "Expect it to stop after few epochs" in parameters
    assert pairs.startswith(
        "There are 11,175 pairs of 150 fields. Explaining what a model learned of them can take minutes, and 5"
    )
    assert "`--folds 0` leaves these out" in pairs


def test_a_usual_table_is_passed_over() -> None:
    table = wide(8, 4000)
    assert expectations(table, spec_of(table)) == []
    assert expectations(wide(150, 500), spec_of(wide(150, 500), "lr")) == []


@pytest.mark.parametrize("model", ["lr", "fm", "dnn", "deepfm"])
def test_the_number_of_parameters_is_about_that_of_the_model(model: str) -> None:
    table = wide(30, 1000)
    spec = spec_of(table, model)
    layout = Encoder.fit(table.frame, spec.schema).layout
    assert _parameters(table, spec, 800) == pytest.approx(DeepFM(layout, spec.model).parameter_count, rel=0.05)
