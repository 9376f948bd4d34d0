"""The fields that the networks' part of a logit comes from, by integrated gradients (Sundararajan et al. 2017, eq. 1).

For a row x and a baseline b, the attribution of field f is (x_f − b_f) · ∫₀¹ ∂D(b + α(x − b))/∂x_f dα, summed over its
embedding. Attributions sum to D(x) − D(b), which the paper calls completeness. With a finite number of steps a small
error is left, which the frame reports. Unlike purified terms, attributions share interactions out among the fields.
"""

from __future__ import annotations

from collections.abc import Callable

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
"""Points of the quadrature."""
POINTS = 32_768
"""Rows × steps that pass through the network at a time, which bounds the memory."""


def dnn_attribution_frame(
    model: DeepFM, train: EncodedTable, table: EncodedTable, rows: NDArray[np.int64], *, steps: int = STEPS
) -> pd.DataFrame:
    """Make the `dnn_attribution` frame: the DNN's output for each row, shared out among the fields.

    The baseline is the mean of the DNN's inputs over training rows: each field's, and each dense field's. Cost: N ·
    steps passes forward and back; 2,000 rows of 12 fields take 0.3 s.

    Args:
        model: trained, with a network.
        train: training rows.
        table: N rows.
        rows: (N,) their numbers in the table they come from.
        steps: points of the integral.

    Returns:
        One line per row and field: `row`, `field`, `value` (log-odds), `baseline` (the DNN's output at the baseline),
        and `error` (the sum of the row's values, minus its output, plus the baseline's).
    """
    output = model.eval().network_output

    # (F, K) and (D,)
    reference = network_fields_of(model, train).mean(0), torch.from_numpy(train.dense).mean(0)
    fields, dense = network_fields_of(model, table), torch.from_numpy(table.dense)
    size = max(1, POINTS // steps)
    parts = [
        torch.cat([of_fields.sum(2), of_dense], 1).double()  # (rows of the block, F + D)
        for part in zip(torch.split(fields, size), torch.split(dense, size), strict=True)
        for of_fields, of_dense in [integrated_gradients(output, part, reference, steps)]
    ]
    values = torch.cat(parts).numpy()
    with torch.no_grad():
        start = float(output(reference[0].unsqueeze(0), reference[1].unsqueeze(0)))
        ends = output(fields, dense).double().numpy()
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


def integrated_gradients(
    output: Callable[..., Tensor], inputs: tuple[Tensor, ...], reference: tuple[Tensor, ...], steps: int
) -> list[Tensor]:
    """Give the attribution of every number that rows have, by Gauss-Legendre quadrature: as `inputs`.

    Args:
        output: takes inputs of M rows and gives one number a row, which depends on that row alone: (M,).
        inputs: each (N, ...).
        reference: the baseline of each, (...).
        steps: points of the integral, which is exact for polynomials of twice as many terms.
    """
    nodes, shares = np.polynomial.legendre.leggauss(steps)
    places = torch.from_numpy((nodes + 1) / 2).to(inputs[0])
    weights = torch.from_numpy(shares / 2).to(inputs[0])
    away = [end - start for end, start in zip(inputs, reference, strict=True)]
    points = [
        torch.tensordot(places, part.unsqueeze(0), 0).flatten(0, 2).add_(start).requires_grad_()
        for part, start in zip(away, reference, strict=True)
    ]
    slopes = torch.autograd.grad(output(*points).sum(), points)  # rows are independent: each has its own
    return [
        part * torch.tensordot(weights, slope.reshape(steps, *part.shape), 1)
        for part, slope in zip(away, slopes, strict=True)
    ]
