"""bfloat16: refused with a sentence where it does not pay, and otherwise as accurate as float32."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfm_core import _processor
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import load_parts
from deepfm_core.errors import SpecError
from deepfm_core.metrics.scores import auc, logloss
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec
from deepfm_core.tables.reader import read_table
from deepfm_core.training import hardware
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.state import FitState
from deepfm_core.training.step import AutogradStep, Step
from tests.conftest import ROOT, Command
from tests.training.test_step import batch_of, masks, model_of
from tests.worlds import MIXED

pytestmark = pytest.mark.slow

HALF = FitSpec(precision="bfloat16")
USABLE = (hardware.bfloat16_gain() or 0.0) >= 1.0
"""Whether this processor takes bfloat16; each test has something to check either way."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: with two, such small fits take many times as long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_bfloat16_is_refused_where_it_does_not_pay() -> None:
    if USABLE:
        hardware.require_precision("bfloat16")
        return
    with pytest.raises(SpecError, match=r"Precision is 'bfloat16'\. .* Use float32\."):
        FitState.new(MIXED, ModelSpec(), HALF, seed=0)


@pytest.mark.parametrize(("gain", "said"), [(None, "does not multiply"), (0.4, "take 2.5 times as long")])
def test_the_refusal_says_why(gain: float | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "bfloat16_gain", lambda: gain)
    with pytest.raises(SpecError, match=said):
        FitState.new(MIXED, ModelSpec(), HALF, seed=0)
    FitState.new(MIXED, ModelSpec(), FitSpec(), seed=0)


@pytest.fixture
def asked(tmp_path, monkeypatch) -> Iterator[list[str]]:
    """Count trials of a made-up processor, on an empty cache folder."""
    made: list[str] = []
    answers = iter(["0.5", "2.0", "3.0"])

    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        made.append(next(answers))
        return subprocess.CompletedProcess([], 0, made[-1], "")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(hardware, "announces_bfloat16", lambda: True)
    yield made
    hardware.bfloat16_gain.cache_clear()


def asked_by_a_new_process() -> float | None:
    hardware.bfloat16_gain.cache_clear()
    return hardware.bfloat16_gain()


def test_only_a_gain_is_remembered_for_later_processes(asked: list[str]) -> None:
    assert [asked_by_a_new_process() for _ in range(4)] == [0.5, 2.0, 2.0, 2.0]
    assert asked == ["0.5", "2.0"]


def test_another_processor_and_a_damaged_memory_are_asked_anew(asked: list[str], monkeypatch) -> None:
    assert [asked_by_a_new_process() for _ in range(2)] == [0.5, 2.0]
    monkeypatch.setattr(hardware, "processor_name", lambda: "another")
    assert asked_by_a_new_process() == 3.0
    hardware._cache_file().write_text("{", encoding="utf-8")
    with pytest.raises(StopIteration):
        asked_by_a_new_process()


def test_a_memory_that_cannot_be_written_is_done_without(asked: list[str], tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [asked_by_a_new_process() for _ in range(3)] == [0.5, 2.0, 3.0]


@pytest.mark.parametrize(
    ("text", "announced"),
    [
        ("model name : A\nflags : fma avx512_bf16\n\nmodel name : A\nflags : fma", True),
        ("model name : A\nflags : avx512f amx_tile amx_bf16", True),
        ("model name : A\nflags : avx512f\nbugs : avx512_bf16", False),
        ("", False),
    ],
)
def test_what_the_system_says_of_the_processor_decides_what_is_offered(
    text: str, announced: bool, tmp_path, monkeypatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    monkeypatch.setattr(_processor, "CPUINFO", tmp_path / ("cpuinfo" if text else "none"))
    assert _processor.announces_bfloat16.__wrapped__() is announced
    assert ("A" in _processor.processor_name().split()) is bool(text)


def test_an_unknown_precision_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"'float16'\. Use one of float32, bfloat16"):
        FitSpec(precision="float16")


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", ["deepfm", "fnn", "pnn", "fm-dnn"])
def test_gradients_through_bfloat16_products_are_close_to_those_of_float32(name: str, batch_norm: bool) -> None:
    spec = ModelSpec(name, 8, (32, 16), dropout=0.4, batch_norm=batch_norm)
    model, batch, kept = model_of(MIXED, spec), batch_of(MIXED, 200, 2), masks(spec, 200)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3)
    half, exact = Step(model, HALF), AutogradStep(model, FitSpec())
    logits = half.differentiate(batch, kept), exact.differentiate(batch, kept)
    assert float((logits[0] - logits[1]).abs().max()) < 0.1
    assert not torch.equal(*logits)
    for part, gradient in exact.gradients.items():
        found = half.gradients[part]
        assert found.dtype == torch.float32
        assert float((found - gradient).norm()) < 0.1 * float(gradient.norm()) + 3e-3, part


@pytest.mark.parametrize("name", ["deepfm", "pnn"])
def test_on_the_sample_bfloat16_scores_as_float32_does(name: str) -> None:
    table = read_table(ROOT / "sample_data" / "clicks.csv")
    schema = infer_schema(table, "clicked")
    parts = load_parts(RunSpec("sample", table.name, schema), lambda _: table)
    encoder = Encoder.fit(table.frame, schema, rows=parts.train.rows)
    train, valid, test = (part.encode(encoder) for part in (parts.train, parts.valid, parts.test))
    model, settings = preset("recommended", name, len(train))
    scores = []
    for one in ("float32", "bfloat16"):
        spec = replace(settings, epochs=4, precision=one)
        if one == "bfloat16" and not USABLE:
            with pytest.raises(SpecError, match="Use float32"):
                FitState.new(train.layout, model, spec, seed=0)
            return
        state = FitState.new(train.layout, model, spec, seed=0)
        assert list(fit(spec, train, valid, state))
        logits = predict_logits(state.model, test)
        assert all(value.dtype == torch.float32 for value in state.model.parameters())
        scores.append((auc(parts.test.labels, logits), logloss(parts.test.labels, logits)))
    np.testing.assert_allclose(scores[1], scores[0], atol=0.002)


def test_the_command_line_takes_a_precision(command: Command, table, tmp_path) -> None:
    options = ("--label", "clicked", "--epochs", 1, "--folds", 0, "--quiet", "--out", tmp_path / "run")
    done = command("train", table, *options, "--precision", "bfloat16")
    assert done.returncode == (0 if USABLE else 2), done.stderr
    assert USABLE or "Use float32" in done.stderr
    wrong = command("train", table, *options, "--precision", "half")
    assert wrong.returncode == 2
