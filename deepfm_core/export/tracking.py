"""A finished run as a run of MLflow: parameters, metrics by epoch, the bundle and the report as artifacts.

MLflow is optional, and imported only here, when something is sent to it. So is what reads a run: a page asks this
module whether there is a server before it draws a button.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deepfm_core.errors import RunError, SpecError
from deepfm_core.tables.datasets.dataset import without_secrets

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from deepfm_core.export.model_card import Facts
    from deepfm_core.store.run_folder import RunFolder

EXPERIMENT = "DeepFM Explorer"
"""Where runs go unless `MLFLOW_EXPERIMENT_NAME` says otherwise."""
PER_EPOCH = ("train_logloss", "valid_logloss", "valid_auc")
"""Metrics of every epoch, by their column in the frame `epochs`."""
_LONGEST_VALUE = 6000
"""Characters that MLflow takes of a parameter."""
_BATCH = 1000
"""Metrics that MLflow takes at once."""
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing goes anywhere but to the server that was named
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout belongs to the command
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # seven tries take minutes where the address is wrong
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Settings of the client, unless the environment has others."""


def configured() -> str:
    """Return the address that the environment gives for MLflow; empty where it gives none."""
    return os.environ.get("MLFLOW_TRACKING_URI", "").strip()


def missing() -> str:
    """Say what to install before anything can be sent to MLflow; empty where it is installed."""
    return "" if find_spec("mlflow") else "Install MLflow's client first: `pip install mlflow-skinny`."


def check(uri: str) -> None:
    """Ask whether MLflow answers at an address, before something long begins.

    Raises:
        SpecError: the client is not installed, or the address is none of a server.
        RunError: nothing answers.
    """
    with _client(uri) as client:
        client.get_experiment_by_name(_experiment_name())


def send(folder: RunFolder, uri: str, name: str = "") -> str:
    """Enter a finished run into MLflow, and say where it is.

    Args:
        folder: the run's.
        uri: of MLflow, such as `http://localhost:5000`.
        name: what the run is called; by default its model and table.

    Returns:
        The address of the run's page.

    Raises:
        SpecError: the client is not installed, or the address is none.
        RunError: the run is not finished or has no model of ours; or MLflow does not answer or refuses.
    """
    from deepfm_core.export.model_card import Facts

    facts = Facts.of(folder, name)
    with _client(uri) as client:
        experiment = _experiment(client)
        run = client.create_run(experiment, start_time=_times(facts)[0], run_name=facts.name, tags=_tags(facts))
        _fill(client, run.info.run_id, facts)
    return f"{without_secrets(uri).rstrip('/')}/#/experiments/{experiment}/runs/{run.info.run_id}"


def _fill(client: MlflowClient, run: str, facts: Facts) -> None:
    """Send all that a run has; one that breaks off is marked as failed, never left as if it still ran."""
    from mlflow.entities import Param

    try:
        client.log_batch(run, params=[Param(key, value) for key, value in parameters(facts).items()])
        metrics = list(_metrics(facts))
        for first in range(0, len(metrics), _BATCH):
            client.log_batch(run, metrics=metrics[first : first + _BATCH])
        _send_files(client, run, facts)
    except BaseException:
        client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run, "FINISHED", end_time=_times(facts)[1])


def parameters(facts: Facts) -> dict[str, str]:
    """Give what MLflow keeps as a run's parameters: table, label, model and every setting that the model reads."""
    schema = facts.spec.schema
    told = {
        "table": facts.spec.table_name,
        "table_sha256": facts.spec.table,
        "label": facts.label,
        "model": facts.spec.model.name,
        "fields": ", ".join(f"{role.column} ({role.kind})" for role in schema.used),
    }
    told |= {setting.name: str(value) for setting, value in facts.asked()}
    return {key: value[:_LONGEST_VALUE] for key, value in told.items()}


def results(facts: Facts) -> dict[str, float]:
    """Give the metrics of the kept model, such as `final_test_auc`."""
    told = {
        f"final_{part}_{score}": getattr(metrics, score)
        for part, metrics in facts.metrics.items()
        for score in ("auc", "logloss", "normalised_entropy", "calibration_ratio")
    }
    told |= {f"rows_{part}": count for part, count in facts.summary["rows"].items()}
    told |= {"parameters": facts.summary["parameters"], "best_epoch": facts.summary["best_epoch"]}
    return {key: float(value) for key, value in told.items() if value is not None}


def _metrics(facts: Facts) -> Iterator[Any]:
    from mlflow.entities import Metric

    start, end = _times(facts)
    epochs = facts.folder.frame("epochs")
    for row in () if epochs is None else epochs.to_dict("records"):
        at = start + int(1000 * row["seconds"])
        for key in PER_EPOCH:
            if row[key] is not None and row[key] == row[key]:
                yield Metric(key, float(row[key]), at, int(row["epoch"]))
    for key, value in results(facts).items():
        yield Metric(key, value, end, 0)


def _times(facts: Facts) -> tuple[int, int]:
    """Give when the run began and ended, in milliseconds: it ended when its summary was written."""
    end = (facts.folder.path / "summary.json").stat().st_mtime
    return int(1000 * (end - sum(facts.summary["seconds"].values()))), int(1000 * end)


def _tags(facts: Facts) -> dict[str, str]:
    from deepfm_core import __version__
    from deepfm_core.export.model_card import model_card

    return {
        "mlflow.note.content": model_card(facts),
        "mlflow.source.name": "deepfm_core",
        "deepfm_core.version": __version__,
    }


def _send_files(client: MlflowClient, run: str, facts: Facts) -> None:
    from deepfm_core.export.formats import FORMATS, export
    from deepfm_core.tables.export import file_name

    with tempfile.TemporaryDirectory() as folder:
        for form in ("bundle", "report"):
            path = Path(folder) / file_name(facts.name, ending=FORMATS[form].ending)
            export(facts.folder, form, path, facts.name)
            client.log_artifact(run, str(path))


def _experiment_name() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", "").strip() or EXPERIMENT


def _experiment(client: MlflowClient) -> str:
    """Give the id of the experiment, which is made where there is none."""
    from mlflow.exceptions import MlflowException

    name = _experiment_name()
    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # another has just made it
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
    if known.lifecycle_stage != "active":
        raise RunError(
            f"Experiment `{name}` was deleted in MLflow. Restore it, or set MLFLOW_EXPERIMENT_NAME to another."
        )
    return str(known.experiment_id)


@contextmanager
def _client(uri: str) -> Iterator[MlflowClient]:
    """Give a client of MLflow, and turn what it raises into one sentence."""
    if absent := missing():
        raise SpecError(f"Nothing can be sent to MLflow from here. {absent}")
    if not _is_address(uri):
        raise SpecError(
            f"MLflow's address is `{without_secrets(uri)}`. Use one like http://localhost:5000, where a server runs."
        )
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        yield MlflowClient(uri)
    except (MlflowException, OSError, ImportError) as error:
        remedy = "Start the server, or correct the address."
        raise RunError(f"MLflow at `{without_secrets(uri)}`: {_first_line(error, uri)} {remedy}") from error


def _first_line(error: BaseException, uri: str) -> str:
    """Say in a few words what MLflow answered, without the secrets of an address."""
    text = str(error)
    if "Max retries exceeded" in text or "Failed to establish" in text:
        return "nothing answers."
    line = text.replace(uri, without_secrets(uri)).strip().partition("\n")[0]
    return line[:300].rstrip(".: ") + "."


def _is_address(uri: str) -> bool:
    """Say whether a server can be named so."""
    try:
        parts = urlsplit(uri)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
