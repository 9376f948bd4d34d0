"""One fit by workers of a real Ray cluster: the run of this process, also where a worker is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from deepfm_core.errors import RunError
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.spec.events import EpochDone, Event, Started
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.workers.cluster import ray_train
from deepfm_core.workers.cluster.ray_train import RayWorkers
from tests.conftest import ROOT, clicks
from tests.runs.test_workers_of_a_fit import spec_of_workers
from tests.workers.test_cluster import MISSING

pytestmark = pytest.mark.slow

EPOCHS = 40
"""So many that a worker can be killed in between."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start a head, and two nodes of one processor."""
    pytest.importorskip("ray", reason=MISSING)
    pytest.importorskip("ray.train.torch", reason="Run `pip install 'ray[train]'`.", exc_type=ImportError)
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path[1:]]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        yield cluster.address
        cluster.shutdown()


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    return spec_of_workers(table_from_frame(clicks(2_000), "clicks"), EPOCHS)


def events_of(spec: RunSpec, folder: Path, trainer: Any = None) -> Iterator[Event]:
    table = table_from_frame(clicks(2_000), "clicks")
    return execute(Job(spec, str(folder)), Context(lambda _: table, trainer=trainer))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return RunFolder(folder).load_model()[0]


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[key].double() - other[key].double()).abs().max()) for key in one if one[key].numel())


def curve(folder: Path) -> np.ndarray:
    return RunFolder(folder).frame("epochs")[["train_logloss", "valid_logloss"]].to_numpy(float)


def ray_workers() -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if "TrainWorker" in " ".join(one.info["cmdline"] or [])]


def test_workers_of_a_cluster_have_the_loss_curve_of_one_also_where_one_is_killed(
    spec: RunSpec, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(events_of(spec, tmp_path / "alone"))
    list(events_of(spec, tmp_path / "calm", RayWorkers(2, address)))
    np.testing.assert_allclose(curve(tmp_path / "calm"), curve(tmp_path / "alone"), atol=1e-5)
    assert apart(weights(tmp_path / "alone"), weights(tmp_path / "calm")) < 1e-3
    one, other = RunFolder(tmp_path / "alone").summary(), RunFolder(tmp_path / "calm").summary()
    assert one["guide"] == other["guide"]
    assert other["workers"] == 2

    monkeypatch.setattr(ray_train, "SEEN", False)  # as on nodes without this machine's disk
    killed, begun, seen = False, 0, []
    for event in events_of(spec, tmp_path / "struck", RayWorkers(2, address)):
        begun += isinstance(event, Started)
        if isinstance(event, EpochDone):
            seen.append(event.epoch)
        if isinstance(event, EpochDone) and event.epoch == 2 and not killed:
            ray_workers()[0].send_signal(signal.SIGKILL)
            killed = True
    assert killed
    assert begun == 2
    assert seen == list(range(1, EPOCHS + 1))
    assert apart(weights(tmp_path / "calm"), weights(tmp_path / "struck")) == 0.0


def test_what_cannot_be_done_on_a_cluster_is_said(spec: RunSpec, address: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has 2 processors for 3 workers"):
        list(events_of(spec, tmp_path / "three", RayWorkers(3, address)))
    with pytest.raises(RunError, match="Nobody answers"):
        list(events_of(spec, tmp_path / "nobody", RayWorkers(2, "127.0.0.1:1")))
