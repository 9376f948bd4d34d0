"""Integrated gradients of the network's part, by field."""

from __future__ import annotations

import numpy as np
import pytest

from deepfm_core.explain.attribution import dnn_attribution_frame
from deepfm_core.models.batch import Batch
from tests.explain.test_learned import CATEGORICAL, settled
from tests.worlds import MIXED, encoded

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["dnn", "deepfm", "fnn", "pnn", "fm-dnn"])
def test_attributions_sum_to_the_networks_output_less_the_baselines(name: str) -> None:
    table, rows = encoded(MIXED, 60, 1), encoded(MIXED, 7, 2)
    model = settled(MIXED, table, name=name, layers=(6,), activation="tanh")
    frame = dnn_attribution_frame(model, table, rows, np.arange(7) + 3, steps=128)
    assert list(frame["row"].unique()) == list(range(3, 10))
    assert list(frame["field"][: len(MIXED.fields) + 2]) == [*MIXED.names, *MIXED.dense]
    output = model.terms(Batch.from_table(rows)).dnn
    assert output is not None
    output = output.detach()
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
