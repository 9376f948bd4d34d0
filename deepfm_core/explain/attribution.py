"""Which fields the network's part of a logit comes from: integrated gradients (Sundararajan et al. 2017, eq. 1).

For a row x and a baseline b, field f's attribution is (x_f − b_f) · ∫₀¹ ∂D(b + α(x − b))/∂x_f dα, summed over its
embedding. Attributions sum to D(x) − D(b) (completeness); what a finite number of steps leaves of that is the error.
Unlike the purified terms, what fields do together is shared out among them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.explain.frames import repeated
from deepfm_core.explain.probe import network_fields_of
from deepfm_core.models.deepfm import DeepFM

STEPS = 32
POINTS = 32_768
"""Rows times steps that pass through the network at a time."""


def dnn_attribution_frame(
    model: DeepFM, train: EncodedTable, table: EncodedTable, rows: NDArray[np.int64], *, steps: int = STEPS
) -> pd.DataFrame:
    """Make the `dnn_attribution` frame: each given row's network output, shared out among its fields.

    The baseline is the mean over training rows of what the network reads of each field, and of the dense fields. The
    gradients are Captum's, at the points of Gauss-Legendre quadrature. Cost: N · steps passes forward and back; 2,000
    rows of 12 fields 0.5 s, and 0.5 s to load Captum the first time.

    Args:
        model: trained, with a network.
        train: training rows.
        table: N rows.
        rows: their numbers.
        steps: points of the integral.

    Returns:
        A line a row and field: `row`, `field`, `value` (log-odds), and of the row `baseline`, the network's output at
        the baseline, and `error`, by how much the row's values sum to more than its output less the baseline's.
    """
    from captum.attr import IntegratedGradients

    network = model.eval().network
    assert network is not None

    def output(fields: Tensor, dense: Tensor) -> Tensor:
        result: Tensor = network(model.network_input(fields, dense))
        return result

    def summed(fields: Tensor, dense: Tensor) -> Tensor:
        """One number for all rows: its gradient holds each row's own, and is not taken apart row by row."""
        return output(fields, dense).sum().reshape(1)

    gradients = IntegratedGradients(summed)
    reference = network_fields_of(model, train).mean(0, keepdim=True), torch.from_numpy(train.dense).mean(0, True)
    fields, dense = network_fields_of(model, table), torch.from_numpy(table.dense)
    parts, size = [], max(1, POINTS // steps)
    for part in zip(torch.split(fields, size), torch.split(dense, size), strict=True):
        of_fields, of_dense = gradients.attribute(part, baselines=reference, n_steps=steps)
        parts.append(torch.cat([of_fields.sum(2), of_dense], 1).double())
    values = torch.cat(parts).detach().numpy()
    with torch.no_grad():
        start, ends = float(output(*reference)), output(fields, dense).double().numpy()
    names = (*table.layout.names, *table.layout.dense)
    return pd.DataFrame(
        {
            "row": np.repeat(rows, len(names)),
            "field": repeated(names, len(rows)),
            "value": values.ravel().astype(np.float32),
            "baseline": np.float32(start),
            "error": np.repeat(values.sum(1) - (ends - start), len(names)).astype(np.float32),
        }
    )
