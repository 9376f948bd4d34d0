"""Every chart is drawn from the frames of docs/store.md, and from empty ones."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

from app.charts import architecture, comparison, embeddings, ledger, logits, performance, training_curves
from app.charts.grammar import theme, vega
from app.charts.interactions import graph, levels, matrix, ranking
from deepfm_core.evidence import verdicts
from deepfm_core.metrics import scores
from deepfm_core.metrics.scores import auc_range
from tests import chart_frames as frames

ROOT = Path(__file__).parent.parent.parent.parent


def performance_frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = frames.predictions(400)
    labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy()
    return scores.calibration(labels, probabilities), scores.thresholds(labels, probabilities)


def evaluated_pairs() -> pd.DataFrame:
    frame = frames.pairs()
    return frame.assign(verdict=verdicts.verdicts(frame))


def features(count: int = 40, fields: int = 12) -> pd.DataFrame:
    """Features as `Embeddings.described` gives them, with their places."""
    rng = np.random.default_rng(3)
    names = [frames.FIELDS[place % fields] for place in range(count)]
    places = {axis: rng.normal(size=count) for axis in "xyz"}
    rows = pd.DataFrame({"id": range(count), "field": names, "feature": [f"v{n}" for n in range(count)], **places})
    return rows.assign(
        rows=rng.integers(0, 500, count),
        rate=np.where(rng.random(count) < 0.2, np.nan, 0.3),
        norm=rng.random(count),
        effect=np.where(rng.random(count) < 0.2, np.nan, rng.normal(size=count)),
    )


def partners(count: int = 9) -> pd.DataFrame:
    """Partners as `Embeddings.partners` gives them."""
    effects = np.linspace(0.9, -0.3, count)
    named = features(count)[["id", "field", "feature"]]
    return named.assign(rows=40, fm=effects, whole=effects / 2, both=np.nan, rate=0.2)


def drawn_model(fields: int = 12, layers: tuple[int, ...] = (96, 64, 1), size: int = 8) -> vega.Chart:
    rng = np.random.default_rng(4)
    names = [f"field {place}" for place in range(fields)]
    given = pd.DataFrame({"field": names, "cell": "電話 <b>", "weight": rng.normal(size=fields)})
    row = pd.Series({"bias": -1.0, "first_order": 0.5, "second_order": 0.2, "dnn_logit": 0.1})
    parts = architecture.parts_of(row, first_order=True, second_order=size > 0, deep=bool(layers))
    vectors = rng.normal(size=(fields, size)) if size else None
    return architecture.architecture(given, vectors, parts, layers, -0.2, 0.45, chosen="field 1")


SHARES = (0.4, 0.3, 0.1)
BUCKETS, THRESHOLDS = performance_frames()
CHARTS = {
    "loss": lambda: training_curves.loss_curves(frames.epochs(), base_logloss=0.45),
    "loss before the first epoch": lambda: training_curves.loss_curves(
        frames.epochs(0), base_logloss=0.45, progress=frames.progress(), live=True
    ),
    "loss with nothing yet": lambda: training_curves.loss_curves(frames.epochs(0)),
    "auc": lambda: training_curves.auc_curve(frames.epochs()),
    "runs": lambda: training_curves.compare_runs(frames.epochs().assign(run="a")),
    "pairs": lambda: ranking.strongest_pairs(frames.pairs(), selected=("device_type", "placement")),
    "no pairs": lambda: ranking.strongest_pairs(frames.pairs().head(0)),
    "pairs by epoch": lambda: ranking.pairs_by_epoch(frames.pairs_by_epoch()),
    "pairs with verdicts": lambda: ranking.strongest_pairs(evaluated_pairs(), selected=("device_type", "placement")),
    "scatter": lambda: levels.pair_scatter(frames.pairs()),
    "matrix": lambda: matrix.field_matrix(frames.pairs(), frames.fields(), selected=("placement", "region")),
    "two measures": lambda: matrix.field_matrix(frames.pairs(), frames.fields(), upper="learned", lower="observed"),
    "matrix of many": lambda: matrix.field_matrix(frames.pairs(60), frames.fields(60)),
    "graph": lambda: graph.pair_graph(frames.pairs(), frames.fields(), selected=("placement", "region")),
    "graph of many": lambda: graph.pair_graph(frames.pairs(60), frames.fields(60), measure="learned"),
    "graph without evidence": lambda: graph.pair_graph(frames.pairs().drop(columns="significant"), frames.fields()),
    "graph without pairs": lambda: graph.pair_graph(frames.pairs().head(0), frames.fields()),
    "levels": lambda: levels.level_panels(frames.level_pairs(), frames.levels()),
    "effects": lambda: levels.level_effects(frames.levels(), "hour_of_day"),
    "calibration": lambda: performance.calibration_curve(BUCKETS),
    "roc": lambda: performance.roc_curve(THRESHOLDS, auc=0.8, threshold=0.3),
    "pr": lambda: performance.precision_recall_curve(THRESHOLDS, base_rate=0.17),
    "lift": lambda: performance.lift_curve(THRESHOLDS),
    "slices": lambda: performance.slices(frames.slice_metrics(), value="auc", title="AUC", field="device_type"),
    "plane": lambda: logits.logit_plane(frames.examples(50), selected=7),
    "strip": lambda: logits.logit_strip(frames.examples(50), selected=7),
    "features": lambda: embeddings.embedding_map(features(), SHARES, chosen=7),
    "features by field": lambda: embeddings.embedding_map(features(), SHARES, colour=embeddings.FIELD),
    "features by effect": lambda: embeddings.embedding_map(features(), SHARES, colour=embeddings.EFFECT),
    "no features": lambda: embeddings.embedding_map(features(0), SHARES),
    "lengths": lambda: embeddings.lengths(features(), chosen=7),
    "no lengths": lambda: embeddings.lengths(features(0)),
    "partners": lambda: embeddings.partner_bars(partners(), "device = phone"),
    "partners by the whole logit": lambda: embeddings.partner_bars(partners(), "device = phone", measure="whole"),
    "no partners": lambda: embeddings.partner_bars(partners(0), "device = phone"),
    "model": drawn_model,
    "model of many fields": lambda: drawn_model(60, size=40),
    "model without embeddings or DNN": lambda: drawn_model(3, (), 0),
    "cells": lambda: levels.cell_scatter(frames.level_pairs()),
    "ratio slices": lambda: performance.slices(frames.slice_metrics(), value="auc", title="ratio", ratio=True),
    "matrix without pairs": lambda: matrix.field_matrix(frames.pairs().head(0), frames.fields()),
    "models": lambda: comparison.model_dots(frames.models(), frames.model_runs()),
    "models by AUC": lambda: comparison.model_dots(frames.models(), frames.model_runs(), "auc"),
    "no models": lambda: comparison.model_dots(frames.models().head(0), frames.model_runs().head(0)),
    "ladder": lambda: performance.component_ladder(frames.rungs(), "logloss", "DeepFM"),
    "no ladder": lambda: performance.component_ladder(frames.rungs().head(0), "auc", "DeepFM"),
    "ledger": lambda: ledger.ledger(frames.example_terms(), cells=frames.example_cells()),
    "attribution": lambda: ledger.attribution(frames.dnn_attribution(), cells=frames.example_cells()),
    "no attribution": lambda: ledger.attribution(frames.dnn_attribution().head(0)),
    "purified ledger": lambda: ledger.ledger(frames.purified_terms(), cells=frames.example_cells()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_valid_and_says_what_it_shows(name: str) -> None:
    spec = CHARTS[name]().to_dict()
    alt.LayerChart.from_dict(spec)  # raises where Vega-Lite's schema does not hold
    json.dumps(spec, allow_nan=False)
    assert len(spec["description"]) > 10
    assert "width" not in spec, "the width is the container's"


@pytest.mark.parametrize(
    ("name", "selection", "columns"),
    [
        ("matrix", "pair", ["field_a", "field_b"]),
        ("pairs", "pair", ["field_a", "field_b"]),
        ("graph", "pair", ["field_a", "field_b"]),
        ("scatter", "pair", ["field_a", "field_b"]),
        ("levels", "cell", ["level_a", "level_b"]),
        ("plane", "row", ["row"]),
        ("features", "feature", ["id"]),
        ("lengths", "feature", ["id"]),
        ("model", "field", ["field"]),
    ],
)
def test_a_click_selects_by_name(name: str, selection: str, columns: list[str]) -> None:
    params = {p["name"]: p for view in CHARTS[name]().spec["layer"] for p in view.get("params", [])}
    assert params[selection]["select"]["fields"] == columns


@pytest.mark.slow
@pytest.mark.parametrize("colour", [embeddings.RATE, embeddings.FIELD, embeddings.EFFECT])
@pytest.mark.parametrize("dark", [False, True])
def test_a_space_of_features_is_a_figure_that_plotly_takes(colour: str, dark: bool) -> None:
    import plotly.graph_objects as go

    given = features()
    spec = embeddings.embedding_space(given, SHARES, dark=dark, colour=colour)
    drawn = go.Figure(spec)  # raises where a property is none of Plotly's
    assert sum(len(cloud.x) for cloud in drawn.data) == len(given)
    json.dumps(spec, allow_nan=False)


def test_fields_close_to_the_middle_share_a_colour_if_there_are_too_many() -> None:
    given = features(120)
    given.loc[given["field"] == "region", ["x", "y"]] = 0.0
    groups = pd.Series(embeddings.grouped_fields(given))
    assert groups.nunique() == len(theme.RUNS)
    assert set(groups[given["field"] == "region"]) == {embeddings.OTHERS}
    assert embeddings.OTHERS not in embeddings.grouped_fields(features(40, 5))


def test_names_of_points_do_not_lie_on_each_other() -> None:
    given = features(30).assign(x=0.5, y=0.5, rows=100)
    given.loc[29, ["x", "y", "rows"]] = [0.0, 0.0, 5]
    spec = embeddings.embedding_map(given, SHARES, chosen=3).to_dict()
    texts = [view for view in spec["layer"] if view["mark"]["type"] == "text"]
    named = [row["feature"] for row in spec["datasets"][texts[0]["data"]["name"]]]
    assert sorted(named) == ["v29", "v3"], "the chosen one, and the one that stands apart"


def rows_of(spec: dict[str, Any], column: str) -> list[dict[str, Any]]:
    return [row for rows in spec["datasets"].values() for row in rows if column in row]


def test_clear_pairs_come_before_stronger_noise() -> None:
    given = frames.pairs()
    given["strength"] = given["strength"].where(given["significant"], given["strength"] + 1)
    first = ranking.ranked(given, "strength")
    clear = int(given["significant"].sum())
    assert first["significant"].tolist() == [True] * clear + [False] * (len(given) - clear)
    assert first["strength"].head(clear).is_monotonic_decreasing
    assert first["strength"].tail(-clear).is_monotonic_decreasing


def test_every_verdict_is_written_once_above_its_group_unless_all_share_it() -> None:
    def headings(given: pd.DataFrame) -> list[str]:
        return [row["heading"] for row in rows_of(ranking.strongest_pairs(given).to_dict(), "heading")]

    given = evaluated_pairs()
    groups = [group for group in ranking.GROUPS if group in headings(given)]
    assert headings(given) == groups
    assert len(groups) == len(set(groups)) >= 2
    drawn = rows_of(ranking.strongest_pairs(given).to_dict(), "group")
    assert {row["group"] for row in drawn} == set(groups)
    assert not headings(given.assign(significant=False, verdict=verdicts.NOISE))


def test_an_axis_of_auc_does_not_enlarge_what_hardly_differs() -> None:
    def scale(spread: float) -> dict[str, Any]:
        epochs = frames.epochs()
        epochs["valid_auc"] = 0.9 + spread * (epochs["epoch"] % 2)
        found: dict[str, Any] = training_curves.auc_curve(epochs).to_dict()["layer"][0]["encoding"]["y"]["scale"]
        return found

    assert scale(0.00002)["domainMax"] - scale(0.00002)["domainMin"] == pytest.approx(0.01)
    assert "domainMin" not in scale(0.05)
    assert auc_range([0.9995, 0.9999]) == pytest.approx((0.99, 1.0))
    assert auc_range([0.7, 0.9]) == (0.7, 0.9)


@pytest.mark.parametrize(("measure", "least"), [("valid_auc", 0.01), ("valid_logloss", 0.002)])
def test_curves_of_runs_do_not_enlarge_what_hardly_differs_either(measure, least) -> None:
    def scale(spread: float) -> dict[str, Any]:
        epochs = frames.epochs().assign(run="a")
        epochs[measure] = 0.8 + spread * (epochs["epoch"] % 2)
        found: dict[str, Any] = training_curves.compare_runs(epochs, measure).to_dict()["layer"][0]["encoding"]["y"]
        return dict(found["scale"])

    narrow = scale(0.00002)
    assert narrow["domainMax"] - narrow["domainMin"] == pytest.approx(least)
    assert "domainMin" not in scale(0.05)


def test_a_clear_pair_whose_interval_touches_zero_has_a_group_of_its_own() -> None:
    given = frames.pairs().assign(strength_low=0.1)
    given["significant"] = given.index < 2
    given.loc[1, "strength_low"] = 0.0
    given["verdict"] = verdicts.verdicts(given)
    drawn = {row["pair"]: row["group"] for row in rows_of(ranking.strongest_pairs(given).to_dict(), "group")}
    names = [ranking.pair_label(a, b) for a, b in zip(given["field_a"], given["field_b"], strict=True)]
    assert drawn[names[0]] == "clear in the data"
    assert drawn[names[1]] == ranking.CLEAR_ALONE == given["verdict"][1]  # the table says it in the same words
    points = rows_of(ranking.strongest_pairs(given).to_dict(), "measure")
    assert {row["significant"] for row in points if row["pair"] == names[1]} == {False}  # drawn hollow


def test_a_group_says_what_is_wrong_with_the_size_and_whether_held_out_rows_were_asked() -> None:
    given = frames.pairs().head(5).assign(significant=True, strength_low=0.1)
    given["verdict"] = [
        verdicts.HOLDS,
        verdicts.OVERSTATED,
        verdicts.HARDLY_LEARNED,
        verdicts.UNCONFIRMED,
        verdicts.LEARNED,
    ]
    drawn = [row["group"] for row in rows_of(ranking.strongest_pairs(given).to_dict(), "group")]
    assert set(drawn) == {
        "hold on held-out rows",
        "hold, but overstated by the model",
        "hold, but hardly learned",
        "clear, but not on held-out rows",
        "clear in the data",
    }


def test_a_mark_that_another_would_hide_is_not_drawn_and_not_in_the_legend() -> None:
    def legend(given: pd.DataFrame) -> list[str]:
        chart = ranking.strongest_pairs(given, rank_by="learned", measures=("learned_fm", "learned"))
        (marks,) = (view for view in chart.spec["layer"] if view["mark"]["type"] == "point")
        return list(marks["encoding"]["shape"]["scale"]["domain"])

    given = frames.pairs()
    assert legend(given.assign(learned=given["learned_fm"] + 0.1)) == ["FM pairs", "the model"]
    assert legend(given.assign(learned=given["learned_fm"])) == ["the model"]


def test_few_of_the_pairs_that_are_not_clear_are_drawn_but_always_the_chosen_one() -> None:
    given = frames.pairs()
    clear = int(given["significant"].sum())
    last = ranking.ranked(given, "strength").iloc[13]
    assert not last["significant"]
    options: dict[str, Any] = {"top": 14, "unclear": 2}
    drawn = rows_of(ranking.strongest_pairs(given, **options).to_dict(), "group")
    assert len({row["pair"] for row in drawn}) == clear + 2
    chosen = (last["field_a"], last["field_b"])
    drawn = rows_of(ranking.strongest_pairs(given, **options, selected=chosen).to_dict(), "group")
    assert ranking.pair_label(*chosen) in {row["pair"] for row in drawn}


def test_noise_is_not_drawn_at_full_size() -> None:
    weak = frames.pairs().assign(significant=False)
    weak[["strength", "learned", "learned_fm", "strength_high"]] *= 0.1
    views = ranking.strongest_pairs(weak).spec["layer"]
    assert ranking.NOTICED in [view["encoding"].get("x", {}).get("scale", {}).get("domainMax") for view in views]
    strongest = weak.loc[weak["strength"].idxmax()]
    chosen = (strongest["field_a"], strongest["field_b"])
    chords = rows_of(graph.pair_graph(weak, frames.fields(), selected=chosen).to_dict(), "width")
    assert min(row["width"] for row in chords) < graph.THICKEST / 2  # the outlines of the chosen one are wider
    cells_shown = matrix.field_matrix(weak, frames.fields(), upper="learned").to_dict()
    assert {row["end"] for row in rows_of(cells_shown, "measure")} == {ranking.NOTICED}


def test_the_matrix_shows_one_measure_above_and_the_other_below() -> None:
    given = frames.pairs()
    spec = matrix.field_matrix(given, frames.fields(), upper="learned", lower="observed").to_dict()
    cells = {(r["row"], r["column"]): r["value"] for r in rows_of(spec, "measure")}
    first = given.iloc[0]
    assert cells[first["field_a"], first["field_b"]] == pytest.approx(first["learned"])
    assert cells[first["field_b"], first["field_a"]] == pytest.approx(first["observed"])


def test_a_matrix_of_many_fields_keeps_the_strongest_pair_and_says_how_many_it_left_out() -> None:
    given = frames.pairs(60)
    strongest = given.nlargest(1, "strength").iloc[0]
    for limit, count in ((None, 12), (40, 40)):
        spec = matrix.field_matrix(given, frames.fields(60), limit=limit).to_dict()
        shown = {r["row"] for r in rows_of(spec, "measure")}
        assert len(shown) == count
        assert {strongest["field_a"], strongest["field_b"]} <= shown
        assert "of 60" in spec["title"]["text"]


def test_numbers_of_a_matrix_stand_only_in_cells_that_stand_out_and_are_never_tiny() -> None:
    given = frames.pairs()
    spec = matrix.field_matrix(given, frames.fields()).to_dict()
    texts = [view for view in spec["layer"] if view["mark"]["type"] == "text"]
    written = [row for view in texts for row in spec["datasets"][view["data"]["name"]]]
    assert 0 < len(written) < len(rows_of(spec, "name")) / 4
    assert all(row["significant"] and row["share"] >= matrix.STANDS_OUT for row in written)
    axes = [view["encoding"].get("x", {}).get("axis") for view in spec["layer"]]
    sizes = [look["fontSize"] for look in (view["mark"] for view in texts)]
    sizes += [axis["labelFontSize"] for axis in axes if axis]
    assert all(", 10, 1" in size["expr"] for size in sizes)


def test_the_graph_draws_clear_pairs_as_solid_lines_and_the_chosen_pair_always() -> None:
    pairs = frames.pairs()
    weakest = pairs.sort_values("strength").iloc[0]
    chosen = (weakest["field_b"], weakest["field_a"])
    chart = graph.pair_graph(pairs, frames.fields(), selected=chosen)
    lines = rows_of(chart.to_dict(), "width")
    clear = {(row["field_a"], row["field_b"]) for row in lines if row["significant"]}
    assert clear == set(pairs.loc[pairs["significant"], ["field_a", "field_b"]].itertuples(index=False, name=None))
    assert {(row["field_b"], row["field_a"]) for row in lines if row["chosen"]} == {chosen}
    assert f"{len(clear)} pairs clear above noise" in chart.description


def test_a_graph_of_many_fields_keeps_forty_and_says_so() -> None:
    spec = graph.pair_graph(frames.pairs(60), frames.fields(60)).to_dict()
    assert len({row["field_a"] for row in rows_of(spec, "main_effect")}) <= 40
    assert "of 60" in spec["title"]["text"]


def test_a_ratio_axis_has_its_ticks_inside_and_every_point() -> None:
    for low, value, high in ((0.9, 1.0, 1.2), (0.7, 1.35, 1.9), (0.02, 0.3, 40.0), (0.5, 20.0, 300.0)):
        given = pd.DataFrame({"level": ["a"], "ratio": [value], "low": [low], "high": [high], "rows": [50]})
        chart = performance.slices(given, value="ratio", title="ratio", overall=1.05, ratio=True)
        x = next(view["encoding"]["x"] for view in chart.spec["layer"] if "scale" in view["encoding"]["x"])
        start, end = x["scale"]["domain"]
        ticks = x["axis"]["values"]
        assert start < min(value, 1.05) <= max(value, 1.05) < end
        assert len(ticks) >= 2
        assert all(start <= tick <= end for tick in ticks)
        assert "clamp" not in x["scale"]
        drawn = rows_of(chart.to_dict(), "drawn_high")
        assert all(start <= row["drawn_low"] <= row["drawn_high"] <= end for row in drawn)
        assert performance.goes_on(given, "ratio", 1.05) == (high > end or low < start)


def test_a_swept_value_beyond_training_does_not_stretch_the_axis() -> None:
    values = [1.0, 5.0, 10.0, 1e9]
    answers = pd.DataFrame({"value": values, "probability": [0.1, 0.2, 0.3, 0.4]})
    answers = answers.assign(own=answers["value"] == 5, chosen=answers["value"] == 1e9)
    chart = ledger.value_sweep(answers, "price", numeric=True, ends=(0.5, 20.0))
    alt.LayerChart.from_dict(chart.to_dict())
    x_values = [view["encoding"]["x"]["field"] for view in chart.spec["layer"]]
    assert x_values == ["value", "value", "edge"]
    frames_drawn = [chart.spec["datasets"][view["data"]["name"]] for view in chart.spec["layer"]]
    ends = [frame[name].max() for frame, name in zip(frames_drawn, x_values, strict=True)]
    assert ends == [10.0, 5.0, 10.0]


def test_pairs_that_are_not_clear_above_noise_are_hollow() -> None:
    spec = matrix.field_matrix(frames.pairs(), frames.fields()).to_dict()
    hollow = [
        layer
        for layer in spec["layer"]
        if layer["mark"].get("fill") == "transparent" and "strokeOpacity" in layer["mark"]
    ]
    assert len(hollow) == 1
    stroke = hollow[0]["encoding"]["stroke"]
    assert stroke["scale"]["domain"] == ["not clear above noise"]
    assert stroke["legend"]["symbolFillColor"] == "transparent"
    filled = matrix.field_matrix(frames.pairs().assign(significant=True, strength_low=0.1), frames.fields()).to_dict()
    assert not [layer for layer in filled["layer"] if "stroke" in layer["encoding"]]


def test_the_band_of_a_pair_ends_where_its_interval_ends() -> None:
    views = ranking.strongest_pairs(frames.pairs().assign(strength_low=0.0, strength_high=0.1)).spec["layer"]
    (band,) = (view for view in views if view["mark"]["type"] == "rule" and view["mark"].get("strokeWidth") == 7)
    assert "strokeCap" not in band["mark"]


def test_the_amounts_of_a_ledger_have_room_in_the_plot_however_narrow_it_becomes() -> None:
    scales = [
        layer["encoding"]["x"]["scale"]
        for layer in ledger.ledger(frames.example_terms()).to_dict()["layer"]
        if "scale" in layer["encoding"]["x"]
    ]
    assert len(scales) == 4
    assert all("width" in scale["domainMax"]["expr"] for scale in scales)


def test_the_ledger_ends_at_the_logit_however_much_is_folded() -> None:
    terms = frames.example_terms()
    for top in (1, 5, 500):
        lines = ledger.ledger_rows(terms, top=top)
        assert lines["end"].iloc[-2] == pytest.approx(terms["value"].sum())
        assert lines["value"].iloc[-1] == pytest.approx(terms["value"].sum())


def test_what_rounds_to_zero_has_no_line_of_its_own_and_no_sign() -> None:
    terms = frames.example_terms()
    tiny = terms.assign(value=terms["value"].where(terms["field_b"].isna(), -0.0001))
    lines = ledger.ledger_rows(tiny, top=500)
    assert (~lines["label"].str.contains(" × ")).all()
    assert lines["label"].str.contains("other pairs").sum() == 1
    assert ledger.amount(-0.001) == "0.00"
    assert ledger.amount(-0.001, 4) == "−0.0010"


def test_the_ledger_of_a_changed_row_says_what_each_term_was() -> None:
    terms = frames.example_terms()
    before = terms["value"].to_numpy().copy()
    before[1] += 1.0
    changed = terms.assign(before=before)
    lines = ledger.ledger_rows(changed, top=5)
    assert lines["before"].iloc[-1] == pytest.approx(before.sum())
    texts = [row["text"] for row in rows_of(ledger.ledger(changed).to_dict(), "text")]
    assert sum("(was " in text for text in texts) == 2  # the term, and the logit
    assert not [row for row in rows_of(ledger.ledger(terms).to_dict(), "text") if "was" in row["text"]]


def test_a_run_that_kept_its_guide_alone_has_no_best_epoch_in_its_curves() -> None:
    for chart in (
        training_curves.loss_curves(frames.epochs(), guide=0.3333),
        training_curves.auc_curve(frames.epochs(), guide=0.7777),
    ):
        labels = [row["label"] for row in rows_of(chart.to_dict(), "early")]
        assert len(labels) == len(set(labels)) * labels.count(labels[0]) == labels.count(labels[0])
        assert labels[0].startswith("kept: the guide alone")
        assert "best epoch" not in str(chart.to_dict())
        assert "kept its guide alone" in chart.description


def test_while_a_run_trains_its_best_epoch_is_the_best_so_far() -> None:
    for draw in (training_curves.loss_curves, training_curves.auc_curve):
        live, ended = draw(frames.epochs(), live=True).to_dict(), draw(frames.epochs()).to_dict()
        assert {row["label"].split(" epoch ")[0] for row in rows_of(live, "early")} == {"best so far:"}
        assert {row["label"].split(" epoch ")[0] for row in rows_of(ended, "early")} == {"best"}


def test_runs_that_kept_their_guide_alone_are_marked_before_their_line() -> None:
    epochs = pd.DataFrame(
        {"run": "one", "epoch": [0, 1, 2], "valid_logloss": [0.3, 0.5, 0.4], "best": [True, False, False]}
    )
    chart = training_curves.compare_runs(epochs).to_dict()
    line, marks = ([row["epoch"] for row in chart["datasets"][part["data"]["name"]]] for part in chart["layer"])
    assert (line, marks) == ([1, 2], [0])


def test_a_signed_axis_takes_its_digits_from_its_ticks() -> None:
    assert "datum.label" in theme.SIGNED  # a fixed number of digits would repeat small ticks


def test_the_purified_ledger_starts_at_the_mean_logit_and_folds_small_pairs() -> None:
    terms = frames.purified_terms()
    rows = ledger.ledger_rows(terms, top=6)
    assert rows["label"].iloc[0] == "mean logit"
    assert "higher order" in set(rows["label"])
    assert rows["label"].str.contains("other pairs").sum() == 1
    assert rows["end"].iloc[-1] == pytest.approx(terms["value"].sum())


def test_the_ledger_orders_by_size_and_names_the_rows_values() -> None:
    lines = ledger.ledger_rows(frames.example_terms(), top=5, cells=frames.example_cells())
    sizes = lines["value"].iloc[1:-1].abs()
    assert sizes.is_monotonic_decreasing
    assert lines["label"].str.contains("placement = top banner").any()
    assert lines["label"].str.contains("other pairs").any()


def test_thousands_of_pairs_are_counted_with_a_comma() -> None:
    terms = frames.example_terms()
    many = pd.concat([terms, *[terms[terms["field_b"].notna()]] * 100], ignore_index=True)
    (said,) = [label for label in ledger.ledger_rows(many, top=5)["label"] if "other pairs" in label]
    assert re.match(r"\d{1,3},\d{3} other pairs", said)


def test_small_attributions_are_folded_and_nothing_is_lost() -> None:
    values = frames.dnn_attribution()
    rows = ledger.attribution_rows(values, top=4)
    assert list(rows["label"])[-1] == f"{len(values) - 4} other fields"
    assert rows["value"].sum() == pytest.approx(values["value"].sum())
    assert rows["value"].iloc[:4].abs().is_monotonic_decreasing


def test_an_empty_cell_is_named_as_missing() -> None:
    lines = ledger.ledger_rows(frames.example_terms(), top=500, cells={**frames.example_cells(), "region": ""})
    assert "region missing" in set(lines["label"])


def test_a_difference_is_what_the_data_holds_and_the_model_has_not() -> None:
    cells = frames.level_pairs()
    compared = levels.contrasts(cells)
    assert np.allclose(compared["model"] + compared["difference"], compared["observed"])
    assert compared["model"].equals(cells["learned"].rename("model"))
    without_network = levels.contrasts(cells.assign(learned=np.nan))
    assert without_network["model"].equals(cells["learned_fm"].rename("model"))


def test_an_unseen_pair_of_levels_is_hatched_and_not_drawn_as_zero() -> None:
    given = frames.level_pairs().query("not (level_a == 'games' and level_b == '9–12')")
    spec = levels.level_panels(given, frames.levels()).to_dict()
    empty = [r for r in rows_of(spec, "empty") if r["empty"]]
    assert {("games", "9–12")} <= {(r["level_a"], r["level_b"]) for r in empty}
    assert all(r["value"] is None for r in empty)


def test_levels_keep_their_natural_order_and_the_pooled_come_last() -> None:
    spec = levels.level_panels(frames.level_pairs("hour_of_day", "ad_category"), frames.levels()).to_dict()
    across = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    down = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert down[1:] == list(frames.LEVELS["hour_of_day"])
    assert across[7].endswith("other (7 levels)")


def test_hours_stand_in_their_order_and_a_long_list_goes_down_the_side() -> None:
    by_rows = ["11:00", "05:00", *(f"{hour:02d}:00" for hour in range(24) if hour not in (5, 11))]
    given = frames.level_pairs("device_type", "hour_of_day")
    device = given["level_a"].iloc[0]
    cells = pd.concat([given[given["level_b"] == "0–6"].assign(level_b=hour) for hour in by_rows], ignore_index=True)
    known = pd.DataFrame({"field": "hour_of_day", "level": by_rows, "order": range(24), "rows": 50})
    spec = levels.level_panels(cells, pd.concat([frames.levels().query("field == 'device_type'"), known])).to_dict()
    at = spec["layer"][0]["encoding"]
    assert at["y"]["scale"]["domain"][1:] == sorted(by_rows)
    assert at["y"]["title"] == "hour_of_day"
    assert any(column.endswith(device) for column in at["x"]["scale"]["domain"])
    effects = levels.level_effects(known.assign(clicks=5, effect=0.1), "hour_of_day").to_dict()
    assert len(effects["layer"][1]["encoding"]["y"]["sort"]) == 24


@pytest.mark.parametrize("counts", [(3, 40), (30, 90), (55, 900), (1, 1_000_000), (0, 0)])
def test_lengths_of_few_rows_have_more_ticks_than_zero(counts: tuple[int, int]) -> None:
    points = pd.DataFrame(
        {"id": [0, 1], "field": "site", "feature": ["a", "b"], "rows": list(counts), "norm": [0.1, 0.2]}
    )
    ticks = embeddings.lengths(points).to_dict()["layer"][0]["encoding"]["x"]["axis"]["values"]
    assert ticks[0] == 0
    assert max(counts) == 0 or 2 <= len([tick for tick in ticks if tick > 0]) <= 8
    assert ticks == sorted(set(ticks))


def test_curves_are_not_smoothed() -> None:
    given = frames.epochs()
    spec = training_curves.loss_curves(given).to_dict()
    drawn = [r["logloss"] for r in rows_of(spec, "series") if r["series"] == "validation"]
    assert drawn == pytest.approx(list(given["valid_logloss"]))


def test_a_live_chart_keeps_its_spec_while_its_rows_grow() -> None:
    def drawn(chart: vega.Chart) -> tuple[dict[str, Any], str]:
        return {name: part for name, part in chart.spec.items() if name != "datasets"}, chart.description

    losses = [
        drawn(
            training_curves.loss_curves(frames.epochs(n), base_logloss=0.45, progress=frames.progress(n + 1), live=True)
        )
        for n in (0, 1, 5)
    ]
    assert losses[0] == losses[1] == losses[2]
    pairs_now = [frames.pairs().assign(learned_fm=frames.pairs()["learned_fm"] * n) for n in (0.1, 1)]
    bare = frames.fields().assign(main_effect=float("nan"), within=float("nan"))
    matrices = [drawn(matrix.field_matrix(p, bare, upper="learned_fm", live=True))[0] for p in pairs_now]
    assert matrices[0] == matrices[1]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["TEXT", "MUTED", "ACCENT", "FM", "DNN", "POSITIVE", "NEGATIVE"])
def test_a_colour_can_be_read_on_both_backgrounds(name: str) -> None:
    tone: theme.Tone = getattr(theme, name)
    assert contrast(tone.light, theme.BACKGROUND.light) >= 4.5
    assert contrast(tone.dark, theme.BACKGROUND.dark) >= 4.5


# Linear sRGB as seen without the middle or the long cones: Viénot, Brettel & Mollon 1999, tables of the severe forms.
BLINDNESS = {
    "deuteranopia": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
    "protanopia": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
}


def seen_apart(a: str, b: str, blindness: str) -> float:
    """Give the OKLab distance of two colours as somebody colour-blind sees them."""
    places = []
    for colour in (a, b):
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        r, g, b_ = np.clip(np.array(BLINDNESS[blindness]) @ linear, 0, 1)
        cones = np.cbrt(
            [
                0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b_,
                0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b_,
                0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b_,
            ]
        )
        to_lab = [
            (0.2104542553, 0.7936177850, -0.0040720468),
            (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660),
        ]
        places.append(np.array(to_lab) @ cones)
    return float(np.linalg.norm(places[0] - places[1]))


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize(
    ("one", "other"),
    [(theme.FM, theme.DNN), (theme.POSITIVE, theme.NEGATIVE), (theme.DIVERGING[0], theme.DIVERGING[-1])],
)
def test_what_must_be_told_apart_is_so_without_seeing_red_and_green(
    one: theme.Tone, other: theme.Tone, mode: str, blindness: str
) -> None:
    assert seen_apart(getattr(one, mode), getattr(other, mode), blindness) > 0.1


@pytest.mark.parametrize("ramp", [theme.SEQUENTIAL, theme.DIAGONAL])
def test_a_sequential_scale_moves_evenly_away_from_the_background(ramp: tuple[theme.Tone, ...]) -> None:
    light = [luminance(tone.light) for tone in ramp]
    dark = [luminance(tone.dark) for tone in ramp]
    assert light == sorted(light, reverse=True)
    assert dark == sorted(dark)
    assert contrast(ramp[0].dark, theme.BACKGROUND.dark) > 1.25, "the low end shows in dark mode"


def test_the_diverging_scale_is_balanced() -> None:
    for mode in ("light", "dark"):
        steps = [luminance(getattr(tone, mode)) for tone in theme.DIVERGING]
        for low, high in zip(steps[:5], reversed(steps[6:]), strict=True):
            assert low == pytest.approx(high, rel=0.35, abs=0.02)


def test_widgets_and_charts_share_their_colours() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
    for mode in ("light", "dark"):
        section = config[mode]
        assert section["primaryColor"] == getattr(theme.BUTTON, mode)
        assert contrast(section["primaryColor"], "#ffffff") >= 4.5, "buttons are written on in white"
        assert section["linkColor"] == getattr(theme.ACCENT, mode)
        assert section["backgroundColor"] == getattr(theme.BACKGROUND, mode)
        assert section["textColor"] == getattr(theme.TEXT, mode)
        assert section["blueColor"] == getattr(theme.FM, mode)
        assert section["orangeColor"] == getattr(theme.DNN, mode)
        for name in ("blue", "orange", "green", "violet"):
            assert section[f"{name}TextColor"] == section[f"{name}Color"]
        assert section["chartCategoricalColors"] == [getattr(t, mode) for t in theme.RUNS]
        assert section["chartSequentialColors"] == [getattr(t, mode) for t in theme.SEQUENTIAL]


def test_nothing_is_fetched_from_outside() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert config["browser"]["gatherUsageStats"] is False
    assert "http" not in json.dumps(config)


def test_charts_import_neither_streamlit_nor_torch() -> None:
    for path in (ROOT / "app" / "charts").glob("*.py"):
        tree = ast.parse(path.read_text())
        names = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
        names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not {name.split(".")[0] for name in names} & {"streamlit", "torch"}, path.name


def test_a_name_lies_on_no_other_point() -> None:
    given = features(30).assign(rows=100, y=np.linspace(-1, 1, 30), x=0.1)
    given.loc[:4, ["x", "y"]] = [[0.0, 0.0], [0.06, 0.0], [0.12, 0.0], [1.0, 1.0], [1.0, -1.0]]
    spec = embeddings.embedding_map(given.head(5), SHARES, chosen=4).to_dict()
    texts = [view for view in spec["layer"] if view["mark"]["type"] == "text"]
    sides = {row["feature"]: row["right"] for row in spec["datasets"][texts[0]["data"]["name"]]}
    assert sides["v3"]
    assert "v0" not in sides
    assert "v1" not in sides


def test_a_narrow_map_writes_fewer_names_and_always_that_of_the_chosen_point() -> None:
    given = features(60).assign(rows=range(60, 0, -1))
    spec = embeddings.embedding_map(given, SHARES, chosen=30).to_dict()
    texts = [view for view in spec["layer"] if view["mark"]["type"] == "text"]
    (kept,) = {view["data"]["name"] for view in texts}
    small = {row["feature"]: row["small"] for row in spec["datasets"][kept]}
    assert 0 < sum(small.values()) < len(small)
    assert small["v30"]
    assert all("datum.small" in view["mark"]["opacity"]["expr"] for view in texts)


def numeric_cells() -> pd.DataFrame:
    grid = [(price, age) for price in ("4.13", "12", "400", "missing") for age in ("16", "22", "68")]
    cells = pd.DataFrame(grid, columns=["level_a", "level_b"]).iloc[1:]  # one cell has no rows
    return cells.assign(rows=40, observed=np.linspace(-0.9, 0.4, 11), model=0.1, difference=0.0)


@pytest.mark.parametrize("panel", list(levels.PANELS))
@pytest.mark.parametrize("dark", [True, False])
def test_the_surface_of_two_numbers_is_one_that_plotly_knows(panel: str, dark: bool) -> None:
    from plotly import graph_objects as go

    cells = numeric_cells()
    spec = levels.effect_surface(cells, ("price <b>", "age"), panel, dark=dark, limit=0.5)
    drawn = go.Figure(spec)  # raises where a property is none of Plotly's
    (sheet,) = drawn.data
    assert (list(sheet.y), list(sheet.x)) == ([4.13, 12.0, 400.0], [16.0, 22.0, 68.0])
    assert sheet.z[0][0] is None
    assert sheet.z[1][2] == cells.loc[(cells["level_a"] == "12") & (cells["level_b"] == "68"), panel].item()
    assert (sheet.cmin, sheet.cmax) == pytest.approx((-0.9, 0.9))
    assert drawn.layout.scene.yaxis.type == "log"
    assert drawn.layout.scene.yaxis.title.text == "price &lt;b>"
    assert not drawn.layout.scene.zaxis.title.text  # it stood at the edge and was cut
    json.dumps(spec, allow_nan=False)


def test_numbers_at_an_axis_of_a_surface_stand_apart() -> None:
    ages = (16, 22, 27, 31, 35, 40, 46, 90)
    cells = pd.DataFrame([(str(price), str(age)) for price in (4, 12, 400) for age in ages])
    cells = cells.set_axis(["level_a", "level_b"], axis=1).assign(rows=40, observed=0.1, model=0.1, difference=0.0)
    scene = levels.effect_surface(cells, ("price", "age"), "model", dark=False)["layout"]["scene"]
    assert scene["xaxis"]["tickvals"] == [22.0, 35.0, 46.0, 90.0]  # from the largest down, an eighth apart at least


def test_only_two_fields_of_numbers_have_a_surface() -> None:
    assert levels.has_surface(numeric_cells())
    assert not levels.has_surface(numeric_cells().assign(level_b="phone"))
    few = numeric_cells()
    assert not levels.has_surface(few[few["level_a"].isin(["12", "missing"])])


def test_a_legend_names_only_marks_that_are_drawn() -> None:
    """Without models trained alone, the ladder has marks of one kind, and no legend."""
    rungs = frames.rungs()
    both = str(performance.component_ladder(rungs, "logloss", "DeepFM").spec)
    own = str(performance.component_ladder(rungs[rungs["title"] == ""], "logloss", "DeepFM").spec)
    assert "'symbolType': 'circle'" in both
    assert "'symbolType'" not in own
    assert "'legend': None" in own
