"""What a chart must not do: draw with gradients, or cut the ends of names off."""

from __future__ import annotations

import json

import pytest

from app.charts.grammar import theme as grammar_legends
from app.charts.interactions import matrix
from tests import chart_frames as frames
from tests.app.charts.test_charts import CHARTS


@pytest.mark.parametrize("name", CHARTS)
def test_no_chart_has_a_gradient_which_the_address_would_break(name: str) -> None:
    chart = CHARTS[name]()
    assert '"gradient' not in json.dumps({**chart.spec, "datasets": None})
    for view in chart.spec["layer"]:
        colour = view["encoding"].get("color", {})
        if colour.get("type") == "quantitative" and colour.get("legend", {}) is not None:
            assert colour["legend"]["type"] == "symbol"


def test_the_legend_of_the_matrix_runs_from_zero_to_the_strongest_pair() -> None:
    pairs = frames.pairs()
    chart = matrix.field_matrix(pairs, frames.fields())
    legends = [view["encoding"]["color"]["legend"] for view in chart.spec["layer"] if "color" in view["encoding"]]
    ends = [legend["values"][-1] for legend in legends if legend]
    assert legends[0]["values"][0] == 0
    assert ends[0] == pytest.approx(pairs["strength"].max())


def test_names_of_a_pair_are_each_cut_in_the_middle() -> None:
    axis = grammar_legends.shortened_pairs(0.4, 230)
    assert axis["labelExpr"].count("'…'") == 3
    assert "slice(split(datum.label, ' × ')[1], -" in axis["labelExpr"].replace("(split", "slice(split", 0)
