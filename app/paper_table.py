"""What the DeepFM paper reports of its models, to be read beside one's own table.

Every figure was read against the paper's text (arXiv 1703.04247v1, Table 2); the leads its section 3.2.2 states follow
from them, which `tests/test_paper_table.py` checks.
"""

from __future__ import annotations

import pandas as pd

SOURCE = "Guo et al. 2017, *DeepFM: A Factorization-Machine based Neural Network for CTR Prediction*, Table 2"
_COLUMNS = ("model", "company_auc", "company_logloss", "criteo_auc", "criteo_logloss")
_ROWS = (
    ("lr", 0.8640, 0.02648, 0.7686, 0.47762),
    ("fm", 0.8678, 0.02633, 0.7892, 0.46077),
    ("fnn", 0.8683, 0.02629, 0.7963, 0.45738),
    ("ipnn", 0.8664, 0.02637, 0.7972, 0.45323),
    ("opnn", 0.8658, 0.02641, 0.7982, 0.45256),
    ("pnn", 0.8672, 0.02636, 0.7987, 0.45214),
    ("wide-deep", 0.8673, 0.02634, 0.7981, 0.46772),
    ("fm-dnn", 0.8661, 0.02640, 0.7850, 0.45382),
    ("deepfm", 0.8715, 0.02618, 0.8007, 0.45083),
)


def paper_table() -> pd.DataFrame:
    """Give AUC and logloss on Company* and Criteo by model; the paper has no row for the network alone."""
    return pd.DataFrame(list(_ROWS), columns=list(_COLUMNS))
