"""Runs sent to MLflow: to a real server, which the tests start."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from deepfm_core.errors import RunError, SpecError
from deepfm_core.export import tracking
from deepfm_core.export.bundle import bundle_bytes, import_bundle
from deepfm_core.export.model_card import Facts
from deepfm_core.export.tracking import check, send
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.datasets.dataset import without_secrets
from tests.conftest import ROOT, Command
from tests.waiting import wait

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from streamlit.testing.v1 import AppTest

    from deepfm_core.store.store import Store

SAMPLE = RunFolder(ROOT / "sample_data" / "run")
NOBODY = "http://localhost:9"  # the port of `discard`, where nothing answers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a server of MLflow with a database and a folder of its own."""
    pytest.importorskip("mlflow", reason="MLflow is not installed: `pip install -r requirements-dev.txt`")
    home = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = {
        "backend-store-uri": f"sqlite:///{home / 'mlflow.db'}",
        "artifacts-destination": str(home / "artifacts"),
        "port": str(port),
        "workers": "1",
    }
    words = [word for option, value in options.items() for word in (f"--{option}", value)]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (home / "log").open("w") as log:
        served = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words],
            cwd=home,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        address = f"http://localhost:{port}"
        try:
            wait(lambda: answers(address) or served.poll() is not None)
            assert served.poll() is None, (home / "log").read_text()[-2000:]
            yield address
        finally:
            with suppress(ProcessLookupError):  # it ended by itself
                os.killpg(served.pid, 15)
            served.wait()


def answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/health") as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


def client(server: str) -> MlflowClient:
    from mlflow.tracking import MlflowClient

    return MlflowClient(server)


@pytest.mark.slow
def test_a_run_arrives_with_parameters_metrics_of_every_epoch_bundle_and_report(server: str, tmp_path: Path) -> None:
    from deepfm_core.classifier import DeepFMClassifier

    place = send(SAMPLE, server, "my run")
    there = client(server)
    run = there.get_run(place.rpartition("/")[2])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "my run")
    assert there.get_experiment(run.info.experiment_id).name == "DeepFM Explorer"
    assert run.data.tags["mlflow.note.content"].startswith("# my run")
    facts = Facts.of(SAMPLE)
    assert run.data.params == tracking.parameters(facts)
    assert run.data.params["label"] == "clicked = 1"
    assert run.data.params["embedding_size"] == str(facts.spec.model.embedding_size)

    epochs = SAMPLE.frame("epochs")
    for name in tracking.PER_EPOCH:
        history = sorted(there.get_metric_history(run.info.run_id, name), key=lambda metric: metric.step)
        assert [metric.step for metric in history] == epochs["epoch"].tolist()
        assert [metric.value for metric in history] == epochs[name].tolist()
    assert run.data.metrics["final_test_auc"] == facts.metrics["test"].auc

    files = [file.path for file in there.list_artifacts(run.info.run_id)]
    assert files == ["my run.html", "my run.zip"]
    bundle = there.download_artifacts(run.info.run_id, files[1], str(tmp_path))
    assert "bundle.json" in zipfile.ZipFile(bundle).namelist()
    DeepFMClassifier.load(bundle)


@pytest.mark.slow
def test_train_and_export_send_runs(server: str, command: Command, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = command(
        "train",
        table,
        "--label",
        "clicked",
        "--preset",
        "quick",
        "--epochs",
        2,
        "--seeds",
        2,
        "--out",
        out,
        "--mlflow",
        server,
    )
    assert done.returncode == 0, done.stderr
    places = [summary["mlflow"] for summary in json.loads(done.stdout)["runs"]]
    sent = command("export", out / "seed-0", "--mlflow", server, "--format", "report", "--out", tmp_path / "r.html")
    path, place = sent.stdout.splitlines()
    assert path == str(tmp_path / "r.html")
    there = client(server)
    states = [there.get_run(place.rpartition("/")[2]).info.status for place in (*places, place)]
    assert states == ["FINISHED"] * 3


@pytest.mark.slow
def test_the_app_sends_a_run_where_a_server_is_configured(
    server: str, opened: Callable[..., AppTest], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    run = import_bundle(store, bundle_bytes(Facts.of(SAMPLE, "mine")))
    app = opened("runs", selected=run)
    app.button(key=f"mlflow {run}").click().run(timeout=120)
    assert not app.exception
    place = app.success[0].value.partition("](")[2].rstrip(")")
    assert place in app.run().success[0].value  # a page that draws itself every second still says it
    assert client(server).get_run(place.rpartition("/")[2]).info.status == "FINISHED"


@pytest.mark.slow
def test_the_app_offers_nothing_where_no_server_is_configured(
    opened: Callable[..., AppTest], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = import_bundle(store, bundle_bytes(Facts.of(SAMPLE, "mine")))
    assert [button.label for button in opened("runs", selected=run).button if "MLflow" in button.label] == []


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_said_before_training(command: Command, table: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed: `pip install -r requirements-dev.txt`")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        done = command("train", table, "--label", "clicked", "--out", tmp_path / "run", "--quiet", "--mlflow", NOBODY)
    said = f"error: MLflow at `{NOBODY}`: nothing answers. Start the server, or correct the address."
    assert (done.returncode, done.stderr.strip()) == (2, said)
    assert not (tmp_path / "run").exists()


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"Install MLflow's client first: `pip install mlflow-skinny`\."):
        send(SAMPLE, NOBODY)
    with pytest.raises(SpecError, match="pip install"):
        check(NOBODY)


@pytest.mark.parametrize(
    "uri", ["mlruns", "sqlite:///runs.db", "localhost:5000", "", "http://[x", "http://", "http://host:port"]
)
def test_an_address_of_no_server_is_refused(uri: str) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed: `pip install -r requirements-dev.txt`")
    with pytest.raises(SpecError, match="Use one like http://localhost:5000"):
        check(uri)


def test_a_file_needs_both_its_options(command: Command) -> None:
    for words in ((), ("--format", "report"), ("--out", "r.html"), ("--format", "report", "--mlflow", NOBODY)):
        done = command("export", ROOT / "sample_data" / "run", *words)
        assert "A file needs --format and --out" in done.stderr


def test_a_password_in_an_address_is_not_shown() -> None:
    assert without_secrets("https://me:secret@host.example:5000/x") == "https://host.example:5000/x"
    assert without_secrets("http://me:secret@[x") == "http://[x"


def test_a_run_that_is_not_finished_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_bytes((SAMPLE.path / "spec.json").read_bytes())
    with pytest.raises(RunError, match="is not finished"):
        send(RunFolder(tmp_path), NOBODY)


def test_nothing_of_mlflow_is_loaded_by_the_command_or_the_menu() -> None:
    code = (
        "import sys, deepfm_core.cli.train, deepfm_core.cli.export, app.export.menu; sys.exit('mlflow' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=False).returncode == 0
