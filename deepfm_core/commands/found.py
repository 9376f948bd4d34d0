"""Finding a run by its folder or its id."""

from __future__ import annotations

from pathlib import Path

from deepfm_core.runs.folder import RunFolder


def run_folder(named: str) -> RunFolder:
    """Give the folder of a run named by a path or by an id in the store.

    Raises:
        RunError: there is no such run.
    """
    path = Path(named)
    if (path / "spec.json").exists():
        return RunFolder(path)
    from deepfm_core.runs.store import Store

    store = Store.default()
    return store.folder(store.run(named).id)
