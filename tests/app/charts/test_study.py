"""The charts of a study: a line a factor, and all settings across parallel axes."""

from __future__ import annotations

import json

import altair as alt
import pandas as pd
import plotly.graph_objects as plotly
import pytest

from app.charts.study import Axis, axis_shares, brushed_settings, factor_line, setting_lines

LINE = pd.DataFrame(
    {"value": ["relu", "relu", "tanh", "tanh"], "seed": [0, 1, 0, 1], "measure": [0.36, 0.37, 0.38, 0.385]}
)
TRIALS = pd.DataFrame(
    {
        "trial": [0, 1, 2],
        "activation": ["relu", "tanh", "relu"],
        "keep": [0.5, 0.5, 0.9],
        "valid_logloss": [0.37, 0.38, 0.36],
        "valid_auc": [0.77, 0.76, 0.78],
    }
)
AXES = {"activation": Axis("activation", ["relu", "tanh"]), "keep": Axis("keep probability")}


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 4])
def test_a_factors_chart_is_valid_and_names_its_best_value(rows: int, joined: bool) -> None:
    chart = factor_line(
        LINE.head(rows), Axis("activation", ["relu", "tanh"]), measure="valid_logloss", joined=joined, ends=(0.3, 0.4)
    ).to_dict()
    alt.LayerChart.from_dict(chart)
    json.dumps(chart, allow_nan=False)
    assert ("best at relu" in chart["description"]) == (rows > 0)


def test_rounding_is_no_difference_between_settings() -> None:
    same = LINE.assign(measure=[0.58735096502652395, 0.58735096502652384, 0.587350965, 0.587350965])
    ends = float(same["measure"].min()), float(same["measure"].max())
    chart = factor_line(
        same, Axis("activation", ["relu", "tanh"]), measure="valid_logloss", joined=True, ends=ends
    ).to_dict()
    drawn = {row["measure"] for rows in chart["datasets"].values() for row in rows}
    assert drawn == {0.587351}
    low, high = chart["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert (low, high) == pytest.approx((0.586851, 0.587851), abs=1e-6)


def test_numbers_of_a_search_stand_on_a_scale() -> None:
    rows = LINE.assign(value=[0.1, 0.25, 0.7, 0.9])
    chart = factor_line(rows, Axis("keep probability"), measure="valid_auc", joined=False).to_dict()
    alt.LayerChart.from_dict(chart)
    assert chart["layer"][0]["encoding"]["x"]["type"] == "quantitative"
    assert "type" not in chart["layer"][0]["encoding"]["x"]["scale"]


def test_numbers_searched_by_magnitude_are_drawn_by_magnitude() -> None:
    rows = LINE.assign(value=[1e-5, 1e-4, 1e-3, 1e-2])
    chart = factor_line(rows, Axis("L2", log=True), measure="valid_auc", joined=False).to_dict()
    alt.LayerChart.from_dict(chart)
    assert chart["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"
    trials = TRIALS.assign(l2=[1e-5, 1e-3, 1e-1])
    shares = axis_shares(trials, {"l2": Axis("L2", log=True)}, "valid_logloss")
    assert shares.loc[shares["axis"] == "L2", "share"].tolist() == pytest.approx([0.0, 0.5, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["valid_logloss", "valid_auc"])
@pytest.mark.parametrize("rows", [1, 3])
def test_all_settings_are_lines_across_axes(rows: int, measure: str) -> None:
    chart = setting_lines(TRIALS.head(rows), AXES, measure, chosen=[2]).to_dict()
    alt.LayerChart.from_dict(chart)
    json.dumps(chart, allow_nan=False)
    names = [param["name"] for layer in chart["layer"] for param in layer.get("params", [])]
    assert names == ["brush", "trial"]


def test_every_axis_of_the_settings_is_named_on_a_phone() -> None:
    chart = setting_lines(TRIALS, AXES, "valid_logloss").to_dict()
    named = next(axis for layer in chart["layer"] if (axis := layer["encoding"]["x"]["axis"]))
    assert named["labelOverlap"] is False
    assert "split(datum.label, ' ')" in named["labelExpr"]


@pytest.mark.parametrize("dark", [True, False])
def test_all_settings_on_axes_to_brush_have_the_places_of_the_other_chart(dark: bool) -> None:
    axes = {**AXES, "keep": Axis("keep <b>probability</b>")}
    figure = brushed_settings(TRIALS, axes, "valid_logloss", dark=dark)
    json.dumps(figure, allow_nan=False)
    (lines,) = plotly.Figure(figure).data  # checks the names of all that is set
    first, keep, measure = lines.dimensions
    assert (first.ticktext, first.tickvals) == (("relu", "tanh"), (0.0, 1.0))
    assert list(first.values) == [0.0, 1.0, 0.0]
    assert (keep.label, keep.ticktext) == ("keep &lt;b>probability&lt;/b>", ("0.5", "0.9"))
    assert list(measure.values) == pytest.approx([0.5, 1.0, 0.0])
    assert list(lines.line.color) == [0.37, 0.38, 0.36]
    best, worst = lines.line.colorscale[0][1], lines.line.colorscale[-1][1]
    upward = plotly.Figure(brushed_settings(TRIALS, axes, "valid_auc", dark=dark)).data[0].line.colorscale
    assert (best, worst) == (upward[-1][1], upward[0][1])  # the better, the stronger, whichever way is better


def test_values_lie_from_the_foot_of_their_axis_to_its_top() -> None:
    shares = axis_shares(TRIALS, AXES, "valid_logloss").pivot_table(index="trial", columns="axis", values="share")
    assert shares["activation"].tolist() == [0.0, 1.0, 0.0]
    assert shares["keep probability"].tolist() == [0.0, 0.0, 1.0]
    assert shares["validation logloss (nats)"].tolist() == pytest.approx([0.5, 1.0, 0.0])
