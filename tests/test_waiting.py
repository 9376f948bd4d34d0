"""Threads wait passively in the processes of this program, and that is said before torch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from deepfm_core._processor import POLICY, wait_passively
from tests.conftest import ROOT


def test_threads_wait_passively_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POLICY, "ACTIVE")
    wait_passively()
    assert os.environ[POLICY] == "ACTIVE"
    monkeypatch.delenv(POLICY)
    wait_passively()
    assert os.environ[POLICY] == "PASSIVE"


@pytest.mark.parametrize(
    ("module", "begin"),
    [
        ("deepfm_core.__main__", "module.main(['--help'])"),
        ("deepfm_core.workers.query_worker", "module.main('no lane', None)"),
    ],
)
def test_a_process_says_so_before_torch_is_loaded(module: str, begin: str) -> None:
    code = (
        "import importlib, os, sys\n"
        f"module = importlib.import_module({module!r})\n"
        "assert 'torch' not in sys.modules\n"
        f"try: {begin}\n"
        "except BaseException: pass\n"
        f"sys.exit(os.environ.get({POLICY!r}) != 'PASSIVE')"
    )
    environment = {name: value for name, value in os.environ.items() if name != POLICY}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


FITTED = """
import hashlib, torch
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.training.step import Step
from tests.worlds import MIXED, encoded
torch.set_num_threads(2)
torch.manual_seed(0)
model = DeepFM(MIXED, ModelSpec(layers=(256, 256)))
step = Step(model, FitSpec())
for batch in Batch.from_table(encoded(MIXED, 4096, 1)).split(1024):
    step(batch)
print(hashlib.sha256(b"".join(value.numpy().tobytes() for value in model.state_dict().values())).hexdigest())
"""


@pytest.mark.slow
def test_the_weights_are_the_same_however_threads_wait() -> None:
    found = set()
    for policy in ("ACTIVE", "PASSIVE"):
        environment = {**os.environ, POLICY: policy, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", FITTED]
        found.add(subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout)
    assert len(found) == 1
