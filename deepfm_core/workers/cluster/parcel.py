"""A run's folder between two machines: what has changed in it is packed there and unpacked here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from deepfm_core._files import write_bytes
from deepfm_core.errors import RunError


@dataclass(frozen=True)
class Parcel:
    """Files of a folder by their path in it, and the paths of those that are gone."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    gone: Sequence[str] = ()

    def unpack(self, folder: Path) -> None:
        """Write the files, each whole or not at all, and remove those that are gone.

        Raises:
            RunError: a path leads out of the folder.
        """
        for name, content in self.files.items():
            write_bytes(_inside(folder, name), content)
        for name in self.gone:
            _inside(folder, name).unlink(missing_ok=True)


class Packer:
    """Packs what has changed in a folder since it was last packed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._packed = _stamps(self._folder)

    def pack(self) -> Parcel:
        """Pack what is new or has changed."""
        there = _stamps(self._folder)
        changed = [name for name, stamp in there.items() if self._packed.get(name) != stamp]
        gone = tuple(self._packed.keys() - there.keys())
        self._packed = there
        return Parcel(dict(_read(self._folder, changed)), gone)


def whole_folder(folder: Path) -> Parcel:
    """Pack all files of a folder."""
    return Parcel(dict(_read(folder, _stamps(folder))))


def _stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Give a stamp of each file that is whole; what is being written has a hidden name."""
    found = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.name.startswith("."):
                status = path.stat()
                stamp = status.st_ino, status.st_mtime_ns, status.st_size
                found[str(PurePosixPath(path.relative_to(folder)))] = stamp
    return found


def _read(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        with suppress(FileNotFoundError):  # removed in this moment
            yield name, (folder / name).read_bytes()


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise RunError(f"A node sent the file `{name}`, which is not one of a run. Start the cluster's nodes anew.")
    return folder / path
