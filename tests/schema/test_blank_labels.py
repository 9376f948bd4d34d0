"""A label that is written only where it is positive."""

import numpy as np
import pandas as pd
import pytest

from deepfm_core.errors import SchemaError
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.labels import label_role, labelled_rows, labels_of
from deepfm_core.schema.schema import LabelRole
from deepfm_core.tables.table import ReadReport, Table


def table_of(**columns: list[str]) -> Table:
    frame = pd.DataFrame(columns).astype("str").astype("category")
    return Table("table.csv", frame, ReadReport(rows=len(frame)))


FLAG = table_of(click=["1", "", "NA", "1", ""], x=["a", "b", "a", "b", "c"])


def test_one_value_and_blanks_are_told_so_with_the_remedy():
    with pytest.raises(SchemaError, match=r"one class, in 2 rows; 3 rows are blank \(found `1`\)\. .*--blank-negative"):
        label_role(FLAG, "click")


def test_blank_cells_are_the_negative_class_where_that_is_chosen():
    role = infer_schema(FLAG, "click", blank_negative=True).label
    assert (role.positive, role.negative) == ("1", "")
    rows, labels = labelled_rows(FLAG.frame, role, "t")
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert labels.tolist() == [1, 0, 0, 1, 0]
    np.testing.assert_array_equal(labels_of(FLAG.frame, role, "t"), labels)


@pytest.mark.parametrize("values", [["1", "0", ""], ["1", "1"], ["", ""]])
def test_blank_is_negative_beside_one_value_alone(values):
    with pytest.raises(SchemaError, match=r"have no label|only one class|all 2 cells are missing"):
        label_role(table_of(click=values), "click", blank_negative=True)


def test_another_positive_value_is_refused():
    with pytest.raises(SchemaError, match=r"does not occur \(asked for `yes`\)\. Its only value is `1`"):
        label_role(FLAG, "click", "yes", blank_negative=True)


def test_a_blank_label_of_another_schema_stays_without_a_label():
    rows, _ = labelled_rows(FLAG.frame, LabelRole("click", "1", "0"), "t")
    assert rows.tolist() == [0, 3]
