"""A run's folder: everything a run leaves behind, as docs/store.md lists it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfm_core._files import DAMAGE, whole, write_frame, write_json
from deepfm_core.errors import RunError
from deepfm_core.spec.run import RunSpec

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

Filters = Sequence[tuple[str, str, Any]] | Sequence[Sequence[tuple[str, str, Any]]]
"""Conditions that must all hold, each (column, operator, value) as pyarrow writes them: `("field_a", "=", "hour")`; or
lists of such conditions, one of which must hold."""

_METADATA = "json"
_EARLIER_COLUMNS = {"solid": "significant"}
"""Columns of frames that version 0.1 wrote under another name."""


class RunFolder:
    """The files of one run at `path`, which need not be in a store (`train --out DIR`).

    Importing this module, and reading frames and JSON, needs no torch.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def model(self) -> Path:
        """Where the best epoch's weights stand."""
        return self.path / "model.safetensors"

    @property
    def encoder(self) -> Path:
        """Where the fitted encoder stands, as JSON."""
        return self.path / "encoder.json"

    @property
    def checkpoint(self) -> Path:
        """Where the state after the last epoch stands while it trains: one file, so it cannot disagree with itself."""
        return self.path / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        """Where the worker's output stands, tracebacks included."""
        return self.path / "worker.log"

    @property
    def shards(self) -> Path:
        """Where the encoded rows of a dataset stand that does not fit into memory, until the run is finished."""
        return self.path / "shards"

    @property
    def texts(self) -> Path:
        """Where the rows of text files stand while they are encoded."""
        return self.path / "texts"

    def frame_path(self, name: str) -> Path:
        """Return where the frame `name` stands."""
        return self.path / "frames" / f"{name}.parquet"

    def create(self) -> RunFolder:
        """Make the folder where it is not there yet, and return itself."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    def write_spec(self, spec: RunSpec) -> None:
        """Write `spec.json`."""
        write_json(self.path / "spec.json", spec.to_dict())

    def spec(self) -> RunSpec:
        """Read `spec.json`.

        Raises:
            RunError: the folder is not a run's, or the file is damaged.
        """
        values = self.read_json("spec.json")
        if values is None:
            raise RunError(f"Run `{self.path}` has no spec.json. Name the folder of a run, as `train` prints it.")
        try:
            return RunSpec.from_dict(values)
        except DAMAGE as error:
            raise RunError(f"Run `{self.path}`: spec.json is not a run's ({error}). Train it again.") from error

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`, the JSON object that `train` prints."""
        write_json(self.path / "summary.json", summary)

    def summary(self) -> dict[str, Any] | None:
        """Read `summary.json`; None while the run is not finished."""
        return self.read_json("summary.json")

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write any further JSON file of the run, such as `encoder.json`."""
        write_json(self.path / name, values)

    def has(self, name: str) -> bool:
        """Say whether a file of the run is there."""
        return (self.path / name).exists()

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Read a JSON file of the run; None where there is none.

        Raises:
            RunError: the file is not a JSON object.
        """
        path = self.path / name
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, RecursionError) as error:
            raise RunError(f"Run file `{path}` is not JSON ({error}). Delete the run and train it again.") from error
        if not isinstance(values, dict):
            raise RunError(f"Run file `{path}` is not a JSON object. Delete the run and train it again.")
        return values

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """Write the frame `name`; its index is dropped."""
        write_frame(self.frame_path(name), frame)

    def frames(self) -> tuple[str, ...]:
        """Return the names of the frames that are there."""
        return tuple(sorted(path.stem for path in (self.path / "frames").glob("[!.]*.parquet")))

    def frame(
        self, name: str, filters: Filters | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame | None:
        """Read the frame `name`, or only the rows and columns asked for; None where there is none.

        Columns come under the names of today, also from a run that an earlier version wrote.

        Raises:
            RunError: the file cannot be read.
        """
        import pyarrow
        from pyarrow import parquet

        path = self.frame_path(name)
        if not path.exists():
            return None
        try:
            table = parquet.read_table(path, filters=filters or None, columns=columns, partitioning=None)
        except (pyarrow.ArrowException, OSError) as error:
            raise RunError(f"Frame `{path}` cannot be read ({error}). Train the run again.") from error
        frame: pd.DataFrame = table.to_pandas()
        return frame.rename(columns=_EARLIER_COLUMNS)

    def save_model(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
        """Write the best epoch's weights, with `metadata` inside the same file."""
        _save(self.model, tensors, metadata or {})

    def load_model(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read the weights and their metadata.

        Raises:
            RunError: there are none, or the file is damaged.
        """
        self._need_weights()
        return _load(self.model)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Read the weights as numpy arrays, by name: without torch, so that a page shows them at once.

        Raises:
            RunError: there are none, or the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        self._need_weights()
        try:
            weights: dict[str, NDArray[Any]] = load_file(self.model)
        except (SafetensorError, OSError, *DAMAGE) as error:
            raise RunError(f"Weights `{self.model}` cannot be read ({error}). Train the run again.") from error
        return weights

    def _need_weights(self) -> None:
        if not self.model.exists():
            remedy = "Wait until it is finished, or resume it."
            if self.has("summary.json"):
                remedy = f"{self.model.name} is gone from its folder. Put it back, or train the run again."
            raise RunError(f"Run `{self.path}` has no weights. {remedy}")

    def save_checkpoint(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Replace the checkpoint: tensors by name and whatever else JSON can hold, in one file and one rename."""
        _save(self.checkpoint, tensors, metadata)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the checkpoint's tensors and metadata; None where there is none.

        Raises:
            RunError: the file is damaged.
        """
        return _load(self.checkpoint) if self.checkpoint.exists() else None

    def remove_checkpoint(self) -> None:
        """Remove what a run needs to go on, once it is finished: the checkpoint, and a dataset's encoded rows."""
        self.checkpoint.unlink(missing_ok=True)
        shutil.rmtree(self.shards, ignore_errors=True)
        (self.path / "dataset.json").unlink(missing_ok=True)


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    whole_tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with whole(path) as temporary:
        save_file(whole_tensors, temporary, metadata={_METADATA: json.dumps(dict(metadata))})


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
            metadata = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
    except (SafetensorError, OSError, *DAMAGE) as error:
        raise RunError(f"Weights `{path}` cannot be read ({error}). Train the run again.") from error
    return tensors, metadata
