"""Code for a run does what it says: the command asks for the run, the snippets run, the model is the model."""

from __future__ import annotations

import inspect
import shlex
import types
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from deepfm_core import DeepFMClassifier
from deepfm_core.cli.options import Tables, base_spec, chosen_settings, reading_choices
from deepfm_core.cli.parser import parse
from deepfm_core.export.model_card import Facts, model_card
from deepfm_core.export.report.page import report_html
from deepfm_core.export.run_code import (
    NOT_OF_THE_CLASSIFIER,
    _listed,
    classifier_snippet,
    code_text,
    command_line,
    unsaid,
)
from deepfm_core.export.torch_code import TERM_CODE, plain_torch
from deepfm_core.models.batch import Batch
from deepfm_core.models.terms import TERMS
from deepfm_core.runs.predictor import Trained
from deepfm_core.spec.presets import settings
from deepfm_core.spec.run import RunSpec
from deepfm_core.spec.settings import of_home
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.table import Choices
from tests.conftest import ROOT
from tests.export.test_scoring import CASES

SAMPLE = Facts.of(RunFolder(ROOT / "sample_data" / "run"))


def asked_for(command: str) -> RunSpec:
    """Give the run that a command line asks for."""
    words = shlex.split(command.replace("\\\n", " "))
    arguments = parse(words[words.index("train") :])
    base, rows = base_spec(arguments, Tables(arguments))
    model, fit = settings(arguments.preset, arguments.model, rows, chosen_settings(arguments))
    return RunSpec(**{**vars(base), "model": model, "fit": fit})


def test_the_command_of_the_sample_run_is_short_and_asks_for_it(monkeypatch) -> None:
    monkeypatch.chdir(ROOT / "sample_data")
    command = command_line(SAMPLE)
    assert command.startswith("python -m deepfm_core train clicks.csv \\\n    --label clicked \\\n    --positive 1")
    assert "--learning-rate" not in command  # the preset says it
    assert "--least-gain 0.0" in command  # the preset of today has another
    spec = asked_for(command)
    assert (spec.model, spec.fit, spec.split, spec.seed) == (
        SAMPLE.spec.model,
        SAMPLE.spec.fit,
        SAMPLE.spec.split,
        SAMPLE.spec.seed,
    )
    assert [role.kind for role in spec.schema.roles] == [role.kind for role in SAMPLE.spec.schema.roles]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "chosen"), CASES)
def test_the_command_asks_for_the_run(run_of, every_kind, monkeypatch, tmp_path, model, chosen) -> None:
    facts = Facts.of(run_of(model, **chosen))
    every_kind.frame.to_csv(tmp_path / every_kind.name, index=False)
    monkeypatch.chdir(tmp_path)
    spec = asked_for(command_line(facts))
    assert (spec.model, spec.fit) == (facts.spec.model, facts.spec.fit)
    assert (spec.split, spec.seed, spec.min_count, spec.folds) == (
        facts.spec.split,
        facts.spec.seed,
        facts.spec.min_count,
        facts.spec.folds,
    )
    assert [(role.column, role.kind) for role in spec.schema.roles] == [
        (role.column, role.kind) for role in facts.spec.schema.roles
    ]


@pytest.mark.slow
def test_the_snippet_fits_a_classifier_with_the_settings_of_the_run(run_of, every_kind, monkeypatch, tmp_path) -> None:
    facts = Facts.of(run_of("wide-deep"))
    every_kind.frame.to_csv(tmp_path / every_kind.name, index=False)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(classifier_snippet(facts), names)
    model = names["model"]
    assert model.spec_.model == facts.spec.model
    assert (model.spec_.fit.epochs, model.spec_.seed) == (2, 3)
    assert [role.kind for role in model.schema_.roles] == [role.kind for role in facts.spec.schema.roles]


def test_the_classifier_takes_what_the_snippet_says() -> None:
    said = {setting.name for home in ("model", "fit") for setting in of_home(home) if setting.option}
    assert said - set(inspect.signature(DeepFMClassifier).parameters) == set(NOT_OF_THE_CLASSIFIER)


def test_names_with_commas_and_quotes_come_through() -> None:
    names = ["a, b", 'say "so"', "plain", "it's"]
    assert parse(["train", "t.csv", "--label", "y", "--ignore", _listed(names)]).ignore == names


def test_every_term_has_code() -> None:
    absent = {term.__name__ for term in TERMS} - set(TERM_CODE)
    assert not absent, f"Write the code of {absent} in deepfm_core/export/torch_code.py, and add it to TERM_CODE there."


@pytest.mark.slow
@pytest.mark.parametrize(("model", "chosen"), CASES)
def test_the_plain_code_is_the_model(run_of, every_kind, monkeypatch, model, chosen) -> None:
    folder = run_of(model, **chosen)
    trained = Trained.load(folder)
    monkeypatch.chdir(folder.path)  # where model.safetensors stands
    plain = types.ModuleType("plain")
    exec(plain_torch(trained.model, 'it\'s a "name" with \\ and\nmore'), vars(plain))
    batch = Batch.from_table(trained.encoder.encode(every_kind.frame, subject="rows"))
    x = torch.ones(batch.ids.shape) if batch.weights is None else batch.weights
    with torch.no_grad():
        fm, dnn = plain.model(batch.ids, x, batch.dense, batch.crosses)
    expected = trained.explain(every_kind)
    np.testing.assert_allclose((fm + dnn).numpy(), expected["logit"], atol=1e-5)
    np.testing.assert_allclose(fm.numpy(), expected["fm_logit"], atol=1e-5)
    np.testing.assert_allclose(dnn.numpy(), expected["dnn_logit"], atol=1e-5)


def test_what_no_option_says_is_named() -> None:
    spec = replace(SAMPLE.spec, fit=replace(SAMPLE.spec.fit, first_order_rate=9.0))
    assert "No option says: first_order_rate = 9.0." in unsaid(replace(SAMPLE, spec=spec))
    assert unsaid(SAMPLE) == ""


def test_the_text_holds_all_three() -> None:
    text = code_text(SAMPLE)
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Train it again",
        "## As a classifier",
        "## The model in plain PyTorch",
    ]
    assert "class Model(nn.Module):" in text
    assert text.count("```") == 6


def test_how_the_table_is_read_is_said_again() -> None:
    reading = {"encoding": "cp1252", "delimiter": ";", "header": False}
    facts = replace(SAMPLE, summary={**SAMPLE.summary, "reading": reading})
    assert "--encoding cp1252" in command_line(facts)
    words = shlex.split(command_line(facts).replace("\\\n", " "))
    assert reading_choices(parse(words[words.index("train") :])) == Choices(**reading)  # type: ignore[arg-type]
    assert "choices=Choices(encoding='cp1252', delimiter=';', header=False)" in classifier_snippet(facts)


def test_what_was_done_with_copies_of_rows_is_said_again() -> None:
    def facts(copies: str, kept: bool) -> Facts:
        spec = replace(SAMPLE.spec, schema=replace(SAMPLE.spec.schema, copies=copies))
        return replace(SAMPLE, spec=spec, summary={**SAMPLE.summary, "copies": {"count": 9, "rows": 99, "kept": kept}})

    assert "--copies" not in command_line(SAMPLE)
    assert "--copies" not in command_line(facts("drop", kept=False))
    assert "--copies keep" in command_line(facts("keep", kept=True))
    assert "--copies once" in command_line(facts("once", kept=False))
    assert "copies='drop'" in classifier_snippet(facts("drop", kept=False))
    assert "copies=" not in classifier_snippet(facts("keep", kept=True))
    assert "9 of 99 rows are copies of others" in model_card(facts("drop", kept=False))
    assert "9 of 99 rows are copies of others" in report_html(facts("keep", kept=True))
