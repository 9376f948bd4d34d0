"""Integrated gradients of the network's part, by field."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepfm_core.explain.attribution import dnn_attribution_frame, integrated_gradients
from deepfm_core.models.batch import Batch
from deepfm_core.models.network import Network
from tests.explain.test_learned import CATEGORICAL, settled
from tests.worlds import MIXED, encoded

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["dnn", "deepfm", "fnn", "pnn", "fm-dnn", "dcn", "dcn-v2"])
def test_attributions_sum_to_the_networks_output_less_the_baselines(name: str) -> None:
    table, rows = encoded(MIXED, 60, 1), encoded(MIXED, 7, 2)
    model = settled(MIXED, table, name=name, layers=(6,), activation="tanh")
    frame = dnn_attribution_frame(model, table, rows, np.arange(7) + 3, steps=128)
    assert list(frame["row"].unique()) == list(range(3, 10))
    assert list(frame["field"][: len(MIXED.fields) + 2]) == [*MIXED.names, *MIXED.dense]
    terms = model.terms(Batch.from_table(rows))
    output = torch.stack([terms.of(kind)[:, 0] for kind in terms.kinds if kind in ("dnn", "cross")]).sum(0).detach()
    of_row = frame.groupby("row")[["value"]].sum()["value"].to_numpy()
    first = frame.groupby("row")[["baseline", "error"]].first()
    np.testing.assert_allclose(of_row - first["error"] + first["baseline"], output, atol=1e-4)
    assert first["error"].abs().max() < 0.05 * max(1.0, float(output.abs().max()))


def test_more_steps_leave_a_smaller_error() -> None:
    table, rows = encoded(CATEGORICAL, 200, 3), encoded(CATEGORICAL, 40, 4)
    model = settled(CATEGORICAL, table, name="dnn", layers=(8, 4))
    few, many = (
        dnn_attribution_frame(model, table, rows, np.arange(40), steps=steps)["error"].abs().mean() for steps in (4, 64)
    )
    assert many < few / 2


def test_a_network_that_is_linear_gives_each_field_what_its_weights_do() -> None:
    table = encoded(CATEGORICAL, 50, 5)
    model = settled(CATEGORICAL, table, name="dnn", layers=(4,), activation="linear")
    frame = dnn_attribution_frame(model, table, table, np.arange(50), steps=2)
    by_field = frame.pivot_table(index="row", columns="field", values="value", observed=True)
    np.testing.assert_allclose(by_field.mean(), 0, atol=1e-5)  # the baseline is the mean row
    assert frame["error"].abs().max() < 1e-4
    for number, field in enumerate(CATEGORICAL.fields):  # one value, one attribution
        spread = by_field[field.name].groupby(table.ids[:, number]).agg(np.ptp)
        assert spread.max() < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 32])
def test_a_polynomial_is_shared_out_exactly(steps: int) -> None:
    x, y = torch.tensor([[1.0, 2.0], [0.0, 3.0]]).double(), torch.tensor([[0.5], [-1.0]]).double()
    origin = torch.zeros(2).double(), torch.zeros(1).double()
    of_x, of_y = integrated_gradients(lambda x, y: x[:, 0] * x[:, 1] + 3 * y[:, 0], (x, y), origin, steps)
    torch.testing.assert_close(of_x, (x.prod(1) / 2).unsqueeze(1).expand(2, 2))  # a product is shared evenly
    torch.testing.assert_close(of_y, 3 * y)


def test_attributions_are_those_of_a_fine_quadrature_along_each_row() -> None:
    torch.manual_seed(0)
    network = Network(6, (9, 5), "tanh", 0.0, batch_norm=False).double().eval()
    fields, start = torch.randn(4, 6).double(), torch.randn(6).double()
    (found,) = integrated_gradients(network, (fields,), (start,), 32)
    fine = 2000
    for row, attributions in zip(fields, found, strict=True):
        places = (torch.arange(fine).double().unsqueeze(1) + 0.5) / fine
        points = (start + places * (row - start)).requires_grad_()
        (slopes,) = torch.autograd.grad(network(points).sum(), points)
        torch.testing.assert_close(attributions, (row - start) * slopes.mean(0), rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        torch.testing.assert_close(found.sum(1), network(fields) - network(start.unsqueeze(0)), rtol=0, atol=1e-10)
