"""Finding a run by its folder or its id."""

from __future__ import annotations

from pathlib import Path

from deepfm_core.errors import RunError
from deepfm_core.runs.folder import RunFolder
from deepfm_core.training.spec import YARDSTICK


def model_folder(named: str) -> RunFolder:
    """Give the folder of a run, named as for `run_folder`, that has a model of ours.

    Raises:
        RunError: there is no such run, or it is a comparison's yardstick.
    """
    folder = run_folder(named)
    if folder.spec().model.name == YARDSTICK:
        raise RunError(
            f"Run `{named}` is a yardstick, gradient boosting beside a comparison: it has metrics, but no terms and no "
            "pairs. Name a run of one of the models compared."
        )
    return folder


def run_folder(named: str) -> RunFolder:
    """Give the folder of a run named by a path or by an id in the store.

    Raises:
        RunError: there is no such run.
    """
    path = Path(named)
    if (path / "spec.json").exists():
        return RunFolder(path)
    if path.is_file():
        raise RunError(f"Run `{named}` is a file. Name a run's folder or its id (a table needs --observed-only).")
    if path.is_dir():
        raise RunError(f"Run `{named}` is a folder without spec.json. Name the folder of a run, as `train` prints it.")
    if len(path.parts) > 1:
        raise RunError(f"Run `{named}`: there is no such folder. Name the folder of a run, as `train` prints it.")
    from deepfm_core.runs.store import Store

    store = Store.default()
    return store.folder(store.run(named).id)
