"""The paper's Table 2 as the app shows it, held to what the paper's own text says of it."""

from __future__ import annotations

import pytest

from app.views.compare.results import paper_table
from deepfm_core.spec.run import MODEL_NAMES

TABLE = paper_table().set_index("model")
HIGH_OR_LOW = ["fm", "fnn", "ipnn", "opnn", "pnn"]
SEPARATE = ["wide-deep", "fm-dnn"]
COLUMNS = ["company_auc", "criteo_auc", "company_logloss", "criteo_logloss"]


def test_it_has_the_papers_nine_models_in_its_order() -> None:
    assert list(TABLE.index) == [name for name in MODEL_NAMES if name not in ("dnn", "dcn", "dcn-v2")]


@pytest.mark.parametrize(
    ("others", "percent"),
    [(["lr"], [0.86, 4.18, 1.15, 5.60]), (HIGH_OR_LOW, [0.37, 0.25, 0.42, 0.29]), (SEPARATE, [0.48, 0.33, 0.61, 0.66])],
)
def test_deepfms_lead_is_what_the_papers_text_says(others: list[str], percent: list[float]) -> None:
    """Section 3.2.2: so many per cent ahead of the best of these models, by each column of the table."""
    for column, said in zip(COLUMNS, percent, strict=True):
        best = TABLE.loc[others, column].agg("max" if column.endswith("auc") else "min")
        lead = abs(TABLE.loc["deepfm", column] / best - 1) * 100
        assert lead == pytest.approx(said, abs=0.02), column


@pytest.mark.parametrize("column", COLUMNS)
def test_deepfm_is_best_and_lr_worst_by_every_column(column: str) -> None:
    order = TABLE[column].sort_values(ascending=not column.endswith("auc"))
    assert order.index[0] == "deepfm"
    assert order.index[-1] == "lr"
