"""Tables apart: to validate or to test on, with the columns of the one that is trained on."""

import pandas as pd
import pytest

from deepfm_core.encoding.splits import load_parts
from deepfm_core.errors import SchemaError
from deepfm_core.schema.compatibility import require_fit
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.run import RunSpec
from deepfm_core.tables.table import ReadReport, Table


def table_of(name: str, **columns: list[str]) -> Table:
    frame = pd.DataFrame(columns).astype("str").astype("category")
    return Table(name, frame, ReadReport(rows=len(frame)))


PRICES = [f"{1 + i * 0.37:.2f}" for i in range(60)]
TRAINED = table_of("train.csv", job=list("abcde") * 12, price=PRICES, income=["<=50K", ">50K", "<=50K", "<=50K"] * 15)
SCHEMA = infer_schema(TRAINED, "income")


def test_a_table_with_labels_written_a_little_differently_fits():
    require_fit(table_of("test.csv", price=["?", "2"], job=["a", "new"], income=[">50K.", "<=50K."]), SCHEMA)


def test_everything_that_does_not_fit_is_named_at_once():
    other = table_of("test.csv", price=["12,50", "inf", "3"], income=["<=50K", "maybe", ""])
    with pytest.raises(SchemaError) as caught:
        require_fit(other, SCHEMA)
    said = str(caught.value)
    for part in ("a column is missing: `job`", "`12,50`", "`inf`", "`maybe`", "test.csv"):
        assert part in said


def test_a_table_without_any_label_cannot_judge():
    with pytest.raises(SchemaError, match="no row has a label"):
        require_fit(table_of("test.csv", job=["a"], price=["1"], income=["?"]), SCHEMA)
    with pytest.raises(SchemaError, match="the label column `income` is missing"):
        require_fit(table_of("test.csv", job=["a"], price=["1"]), SCHEMA)


def test_a_run_names_everything_that_does_not_fit_before_it_trains():
    other = table_of("test.csv", price=["12,50"], income=["maybe"])
    spec = RunSpec("mine", "train.csv", SCHEMA, test_table="other")
    with pytest.raises(SchemaError) as caught:
        load_parts(spec, {"mine": TRAINED, "other": other}.__getitem__)
    for part in ("a column is missing: `job`", "`12,50`", "`maybe`"):
        assert part in str(caught.value)
