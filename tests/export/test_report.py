"""The report: one file, complete, with nothing from outside and nothing that a name could break."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pandas as pd
import pytest

from deepfm_core.evidence.verdicts import verdict_sentence
from deepfm_core.export.bundle import opened
from deepfm_core.export.formats import export
from deepfm_core.export.model_card import Facts
from deepfm_core.export.report.charts import Scale, auc_curve
from deepfm_core.export.report.page import report_html
from deepfm_core.spec.models import MODELS
from deepfm_core.store.run_folder import RunFolder
from tests.conftest import ROOT
from tests.export.runs import rows, table, trained

SAMPLE = RunFolder(ROOT / "sample_data" / "run")
HOSTILE = '<script>alert("é & 電話")</script>'


@pytest.fixture(scope="module")
def sample() -> str:
    return report_html(Facts.of(SAMPLE))


def pictures(html: str) -> list[ElementTree.Element]:
    """Give the charts; one that is not well-formed is an error."""
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.S)]


def test_it_asks_for_nothing_from_outside(sample) -> None:
    assert not re.findall(r"https?://|<script|<link|\bsrc=|url\(|@import|<iframe|\bon\w+=", sample)


def test_it_holds_every_section_and_the_figures_of_the_run(sample) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", sample)
    assert titles == [
        "Verdict",
        "Scores",
        "Training",
        "Pairs of fields",
        "Single rows",
        "Fields",
        "Settings and how to repeat it",
        "Words",
    ]
    for words in (
        "clicked = 1",
        "It holds on held-out rows",
        "0.780 to 0.831",
        "device × placement",
        "5 of 66 pairs hold on held-out rows, all that are clear in the data. "
        "Of the 5 clear ones, the model has all about right (within a factor of two).",
        "0.39</td>",  # on held-out rows, below the 0.41 to 0.54 of the data
        "None of 23 epochs did clearly better",
        "Largest surprise",
        "--label clicked",
        "DeepFMClassifier(",
    ):
        assert words in sample


def test_every_chart_is_well_formed_and_says_what_it_shows(sample) -> None:
    charts = pictures(sample)
    assert len(charts) > 20
    assert all(chart.get("role") == "img" and chart.findtext("title") for chart in charts)


def test_every_link_leads_to_a_section(sample) -> None:
    links = re.findall(r'href="#(\w+)"', sample)
    assert links == re.findall(r'<section id="(\w+)"', sample)


def test_a_ledger_adds_up_to_the_logit(sample) -> None:
    for chart in pictures(sample):
        if "as a sum" in (chart.findtext("title") or ""):
            values = [float(text.text.replace("−", "-")) for text in chart.iter("text") if re.match("[+−]", text.text)]
            assert sum(values[:-1]) == pytest.approx(values[-1], abs=0.08)  # each is rounded to two digits


def test_a_ledger_says_that_its_parts_are_purified_and_splits_the_logit_as_trained(sample) -> None:
    """Row by row, the app begins with the parts as trained: the same row had two sets of figures, without a word."""
    assert "these parts are purified, so they differ from the parts as trained" in sample
    split = re.findall(r"its logit of ([+−][\d.]+) is the sum of FM logit ([+−][\d.]+), DNN ([+−][\d.]+)\.", sample)
    assert len(split) == 4
    for whole, fm, dnn in split:
        logit, *parts = (float(each.replace("−", "-")) for each in (whole, fm, dnn))
        assert sum(parts) == pytest.approx(logit, abs=0.011)


@pytest.mark.slow
def test_names_and_values_are_text_whatever_they_hold(tmp_path) -> None:
    frame = rows(200).rename(columns={"clicked": "clicked"})
    frame["device"] = frame["device"].where(frame.index % 2 == 0, HOSTILE)
    folder = trained(table(frame, tmp_path / "rows.csv"), "deepfm", tmp_path / "run", explained=True)
    html = report_html(Facts.of(folder, HOSTILE))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert pictures(html)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_report_also_without_pairs_and_rows(run_of, model) -> None:
    html = report_html(Facts.of(run_of(model)))
    assert "Scores" in html
    assert "Settings and how to repeat it" in html
    assert "Single rows" not in html


def test_few_positives_are_said_first() -> None:
    facts = Facts.of(SAMPLE)
    judged = facts.metrics["test"]
    facts.metrics["test"] = type(judged)(**{**vars(judged), "clicks": 46, "auc_low": 0.4})
    html = report_html(facts)
    assert "Only 46 positive rows judge these scores. On other rows, they may differ a lot." in html
    assert "may rank no better than chance" in html


def test_single_rows_show_no_cell_of_an_ignored_column(tmp_path) -> None:
    frame = rows(200).assign(person=[f"person-{n}" for n in range(200)])
    path = table(frame, tmp_path / "rows.csv")
    folder = trained(path, "fm", tmp_path / "run", explained=True)
    assert "person" in [role.column for role in folder.spec().schema.roles if not role.kind.is_used]
    html = report_html(Facts.of(folder, "a run"))
    assert "Highest probability" in html
    assert "person-" not in html
    assert "Cells of columns that the model ignores are not shown." in html


def test_the_report_of_an_imported_bundle_is_the_same(sample, tmp_path) -> None:
    export(SAMPLE, "bundle", tmp_path / "b.zip")
    with opened(Path(tmp_path / "b.zip")) as (folder, name):
        assert report_html(Facts.of(folder, name)) == sample


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-5.68, 0), (0.33, 0.44), (0.7749, 0.7753), (0, 0), (-3, 1200)])
def test_ticks_are_few_round_and_within(low, high) -> None:
    ticks = Scale(low, high, 0, 100).ticks()
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


def test_no_epoch_is_marked_where_the_guide_alone_was_kept(sample) -> None:
    summary = SAMPLE.summary()
    assert summary is not None
    assert summary["best_epoch"] == 0
    curves = [svg for svg in pictures(sample) if "by epoch" in (svg.findtext("title") or "")]
    assert len(curves) == 2
    assert not any(circle.get("class") == "hollow" for svg in curves for circle in svg.iter("circle"))


def test_an_axis_of_auc_does_not_enlarge_what_hardly_differs() -> None:
    """Its numbers of six digits were cut at the left, and a change in the fifth looked like a fall."""
    epochs = pd.DataFrame({"epoch": [1, 2, 3], "valid_auc": [0.91849, 0.91857, 0.9185], "best": [False, True, False]})
    epochs["valid_logloss"] = [0.3, 0.2, 0.25]
    ticks = [text.text for text in ElementTree.fromstring(auc_curve(epochs)).iter("text")]
    assert {"0.915", "0.9225"} <= set(ticks)
    assert max(len(tick or "") for tick in ticks) <= 6  # there is room for six digits


def test_the_verdict_says_of_the_strongest_pair_what_the_app_says(sample) -> None:
    facts = Facts.of(SAMPLE)
    said = verdict_sentence(facts.pairs.iloc[0])
    assert said.startswith("**It holds on held-out rows:**")
    assert "<b>It holds on held-out rows:</b>" + said.rpartition("**")[2].replace("'", "&#x27;") in sample
    first = facts.pairs.iloc[0]
    assert facts.findings.pair.verdict == first["verdict"]
    assert (facts.findings.pair.field_a, facts.findings.pair.field_b) == (first["field_a"], first["field_b"])
