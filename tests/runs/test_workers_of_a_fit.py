"""Runs whose fit several processes share: the run of one process, also where a worker ends or the run is cancelled."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from deepfm_core.cli import train
from deepfm_core.errors import RunError, SpecError
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.spec.events import Cancelled, EpochDone, Event, Progress, Stage
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.datasets.pieces import Pieces
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Table
from deepfm_core.training.replicas import local
from deepfm_core.training.replicas.local import LocalWorkers
from tests.conftest import ROOT, Command, clicks
from tests.runs.test_out_of_core import begun, spec_of, write
from tests.waiting import wait

pytestmark = pytest.mark.slow

ROWS = 3_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("workers") / "data", clicks(ROWS))


def spec_of_workers(table: Table, epochs: int) -> RunSpec:
    """Make the spec of a fit that several processes share: all that they must exchange, and no ReLU."""
    model = ModelSpec(guided=True, centred=True, activation="tanh", dropout=0.2)
    fit = FitSpec(epochs=epochs, patience=epochs, batch_size=127, averaging=True, l2=1e-4)
    return spec_of(table, model, fit, explained=False)


@pytest.fixture(scope="module")
def spec(data: Path) -> RunSpec:
    return spec_of_workers(read_table(data), epochs=4)


def events_of(
    spec: RunSpec, data: Path, folder: Path, workers: int, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    on_disk = (folder / "dataset.json").exists()
    table = Pieces(data).sample(ROWS) if on_disk else read_table(data)
    trainer = LocalWorkers(workers) if workers > 1 else None
    return execute(Job(spec, str(folder)), Context(lambda _: table, cancelled, trainer=trainer))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return RunFolder(folder).load_model()[0]


def followers() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "deepfm_core.training.replicas.follower" in one.cmdline()]


@pytest.fixture(scope="module")
def calm(spec: RunSpec, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by two workers, whom nothing befell."""
    folder = tmp_path_factory.mktemp("calm") / "run"
    list(events_of(spec, data, folder, 2))
    return folder


def curve(folder: Path) -> np.ndarray:
    frame = RunFolder(folder).frame("epochs")
    return frame[["train_logloss", "valid_logloss"]].to_numpy(float)


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[key].double() - other[key].double()).abs().max()) for key in one if one[key].numel())


@pytest.mark.parametrize("workers", [2, 3])
def test_a_run_by_workers_is_the_run_by_one(
    spec: RunSpec, data: Path, calm: Path, tmp_path: Path, workers: int
) -> None:
    alone, shared = tmp_path / "alone", calm if workers == 2 else tmp_path / "shared"
    list(events_of(spec, data, alone, 1))
    if workers == 3:  # these have their rows on the disk
        begun(data, shared)
        list(events_of(spec, data, shared, workers))
    np.testing.assert_allclose(curve(shared), curve(alone), atol=1e-5)
    assert apart(weights(alone), weights(shared)) < 1e-3
    one, other = RunFolder(alone).summary(), RunFolder(shared).summary()
    assert other["workers"] == workers
    assert other["test"] == pytest.approx(one["test"], abs=1e-4)
    assert not followers()
    assert not [path for path in shared.iterdir() if path.name.startswith(".workers")]


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_worker_that_is_killed_is_replaced_and_the_run_ends_with_the_same_weights(
    spec: RunSpec, data: Path, calm: Path, tmp_path: Path, epoch: int
) -> None:
    killed, notes, seen = False, [], []
    for event in events_of(spec, data, tmp_path / "struck", 2):
        if isinstance(event, Progress) and event.epoch == epoch and not killed:
            followers()[0].send_signal(signal.SIGKILL)
            killed = True
        if isinstance(event, EpochDone):
            seen.append(event.epoch)
        if isinstance(event, Stage) and "ended before its time" in event.note:
            notes.append(event.note)
    assert killed
    assert seen == [1, 2, 3, 4]
    assert notes == [
        "Worker 2 of 2 (ended by signal 9) ended before its time. A new one takes its place. Training goes on after "
        f"epoch {epoch - 1}."
    ]
    assert apart(weights(calm), weights(tmp_path / "struck")) == 0.0
    assert not followers()


def test_workers_that_always_end_fail_the_run_in_a_sentence(
    spec: RunSpec, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LOSSES", 1)
    monkeypatch.setattr(local, "FOLLOWER", "deepfm_core.training.replicas.nothing_of_that_name")
    with pytest.raises(RunError, match=r"No module named .* ended before its time\. That is 2 times"):
        list(events_of(spec, data, tmp_path / "run", 2))
    assert not torch.distributed.is_initialized()


def test_a_cancelled_run_leaves_no_worker_and_goes_on(spec: RunSpec, data: Path, calm: Path, tmp_path: Path) -> None:
    seen: list[Event] = []

    def second_epoch() -> bool:
        return any(isinstance(event, EpochDone) for event in seen)

    seen.extend(events_of(spec, data, tmp_path / "run", 2, second_epoch))
    assert isinstance(seen[-1], Cancelled)
    assert not followers()
    assert not torch.distributed.is_initialized()
    again = list(events_of(spec, data, tmp_path / "run", 2))
    assert [event.epoch for event in again if isinstance(event, EpochDone)] == [2, 3, 4]
    assert apart(weights(calm), weights(tmp_path / "run")) == 0.0


def test_a_worker_ends_by_itself_where_its_leader_is_killed(data: Path, tmp_path: Path) -> None:
    options = ["--label", "clicked", "--epochs", "5000", "--patience", "5000", "--no-guided", "--workers", "2"]
    command = [sys.executable, "-m", "deepfm_core", "train", str(data), *options, "--out", str(tmp_path / "run")]
    with (tmp_path / "said").open("w") as said:
        leader = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said)
    try:
        wait(lambda: "epoch 2" in (tmp_path / "said").read_text().lower())
        (worker,) = leader.children()
    finally:
        leader.kill()
        leader.wait()
    wait(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_the_command_trains_by_workers_and_says_what_is_wrong(tmp_path: Path, command: Command) -> None:
    table = tmp_path / "clicks.csv"
    clicks(600).to_csv(table, index=False)
    options = [str(table), "--label", "clicked", "--epochs", "2", "--folds", "0"]
    done = command("train", *options, "--workers", "2", "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert '"workers": 2' in done.stdout
    wrong = command("train", *options, "--workers", "0", "--out", str(tmp_path / "none"))
    assert "Workers is 0. Use 1 or more." in wrong.stderr
    crossed = ["--model", "wide-deep", "--cross", "device*placement", "--workers", "2"]
    refused = command("train", *options, *crossed, "--out", str(tmp_path / "none"))
    assert "Crossed fields are trained by one worker." in refused.stderr
    assert wrong.returncode == refused.returncode == 2


def test_an_interrupt_while_workers_start_leaves_none(
    spec: RunSpec, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = local._Processes._start

    def interrupted(self: local._Processes, told: dict[str, Any]) -> subprocess.Popen[bytes]:
        if started:
            raise KeyboardInterrupt
        started.append(start(self, told))
        return started[0]

    monkeypatch.setattr(local._Processes, "_start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(events_of(spec, data, tmp_path, workers=3))
    assert started[0].poll() is not None


def test_more_workers_than_processors_are_refused() -> None:
    with pytest.raises(SpecError, match=r"Workers is 1,000, and this machine has \d+ processors\. Use at most"):
        train._engine(1_000, "")
    with pytest.raises(SpecError, match=r"Workers is 0\. Use 1 or more"):
        train._engine(0, "")
