"""A model bundle: one .zip with all that a finished run needs to be opened elsewhere, and a card for people.

Start with `bundle_bytes` and `opened`. A bundle holds the files of a run's folder (docs/store.md), `README.md` (the
model card) and `bundle.json`, which names the form and the SHA-256 of every file. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import deepfm_core
from deepfm_core._files import DAMAGE, sha256
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import RunError
from deepfm_core.export.model_card import Facts, model_card
from deepfm_core.spec.events import EpochDone, Event, Finished, Started
from deepfm_core.store.process import Process
from deepfm_core.store.records import IMPORTED
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import LOCAL, Store
from deepfm_core.store.untrusted import Limits, done_apart
from deepfm_core.tables.columnar.budget import DECODED, Budget, weight

# Archives whose bytes depend on their files alone.


_MOMENT = (1980, 1, 1, 0, 0, 0)
"""Time of every file, so that the same files give the same bytes."""


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Give files by name as the content of a .zip, in their order."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    return stream.getvalue()


# A model bundle: one .zip with all that a finished run needs to be opened elsewhere, and a card for people.
#
# Start with `bundle_bytes` and `opened`. A bundle holds the files of a run's folder (docs/store.md), `README.md` (the
# model card) and `bundle.json`, which names the form and the SHA-256 of every file. Nothing in it is ever unpickled.


VERSION = 1
"""Form of the bundles that this version writes."""
MANIFEST, CARD = "bundle.json", "README.md"
MOST_BYTES = 2**30
"""A bundle that unpacks to more is refused: no run comes near, and a small archive could fill a disk."""

_MOST_MEMORY = 3 << 29
"""Bytes of memory that trying a bundle may take: 1.5 GiB, most of which are the libraries."""
_MOST_JSON, _MOST_FRAMES = 1 << 25, 1 << 29
"""Bytes of a file of JSON, and of all frames once they are decoded; the server reads both."""
_MOST_ENTERED = 1 << 22
"""Bytes of what goes into the database: the spec and the summary."""
_MOST_MANIFEST, _MOST_NAME = 1 << 20, 200
"""Bytes of the manifest, and letters of the run's name in it."""
_ROWS = 1 << 8

_FILE = re.compile(
    r"(spec|encoder|metrics|summary|findings)\.json|encoder\.arrow|model\.safetensors|frames/[a-z_]+\.parquet"
)
_NEEDED = {"spec.json", "summary.json", "encoder.json", "model.safetensors"}


def bundle_bytes(facts: Facts) -> bytes:
    """Give the bundle of a finished run as the content of a .zip file; a run gives the same bytes each time.

    Raises:
        RunError: a file of the run is missing or damaged, so no other machine would take the bundle.
    """
    _refuse_damaged(facts.folder)
    files = _files_of(facts)
    if missing := sorted(_NEEDED - set(files)):
        raise RunError(
            f"Run `{facts.folder.path}`: {', '.join(missing)} is gone from its folder. Put it back, or train the run "
            "again; then export it."
        )
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"form": VERSION, "made with": f"deepfm {deepfm_core.__version__}", "name": facts.name, "files": digests}
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    return zipped({CARD: model_card(facts).encode(), MANIFEST: text.encode(), **files})


def _refuse_damaged(folder: RunFolder) -> None:
    """Read what `unpack` would only compare with its SHA-256, which that of a damaged file agrees with, too."""
    folder.weights()
    Encoder.load(folder.encoder)
    for path in folder.path.glob("*.json"):
        folder.read_json(path.name)
    for name in folder.frames():
        folder.frame(name)


def _files_of(facts: Facts) -> dict[str, bytes]:
    """Give the files of a run that go into its bundle, by their names there."""
    root = facts.folder.path
    names = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    files = {name: names[name].read_bytes() for name in sorted(names) if _FILE.fullmatch(name)}
    # Where the run stood on this machine is nobody's business elsewhere.
    return {**files, "summary.json": json.dumps({**facts.summary, "run": facts.name}, indent=1).encode()}


# Opening.


@contextmanager
def opened(source: Path | bytes, name: str = "") -> Iterator[tuple[RunFolder, str]]:
    """Unpack a bundle for as long as the block lasts: its run's folder and its name; a run's folder is given as it is.

    Args:
        source: the file or its content; or the path of a run's folder.
        name: what to call the bundle in messages, where it is not a path.

    Raises:
        RunError: it is not a bundle, or is damaged, or of a later version.
    """
    if isinstance(source, Path) and source.is_dir():
        yield RunFolder(source), ""
        return
    with tempfile.TemporaryDirectory(prefix="deepfm-bundle-") as folder:
        manifest = unpack(source, Path(folder), name)
        yield RunFolder(Path(folder)), _name(manifest)


def unpack(source: Path | bytes, folder: Path, name: str = "") -> Mapping[str, Any]:
    """Write the files of a bundle's run into a folder, and return the bundle's manifest.

    Only files that a run has are taken, each with its SHA-256 as the manifest names it.

    Raises:
        RunError: as `opened`.
    """
    subject = f"Bundle `{name or (source if isinstance(source, Path) else 'upload')}`"
    try:
        with zipfile.ZipFile(source if isinstance(source, Path) else io.BytesIO(source)) as archive:
            manifest = _manifest(archive, subject)
            for member in manifest["files"]:
                _unpack_one(archive, member, folder)
    except FileNotFoundError:
        raise RunError(f"{subject}: there is no such file. Name a bundle, as `export` writes it.") from None
    except zipfile.BadZipFile:
        raise RunError(
            f"{subject} is no model bundle, or was cut short. Use a file that *Export*, *Model bundle* wrote."
        ) from None
    except KeyError as error:
        raise RunError(f"{subject} is damaged: {error.args[0]}. Export it again.") from None
    damaged = [member for member, digest in manifest["files"].items() if sha256(folder / member) != digest]
    if damaged:
        raise RunError(f"{subject} is damaged: {', '.join(damaged)} is not as it was exported. Export it again.")
    return manifest


def _manifest(archive: zipfile.ZipFile, subject: str) -> dict[str, Any]:
    if MANIFEST not in archive.namelist():
        raise RunError(
            f"{subject} has no {MANIFEST}, so it is no model bundle. Use a file that *Export*, *Model bundle* wrote."
        )
    if archive.getinfo(MANIFEST).file_size > _MOST_MANIFEST:
        raise RunError(
            f"{subject}: {MANIFEST} is larger than {_MOST_MANIFEST >> 20} MB. Use a file that *Export* wrote."
        )
    if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
        raise RunError(f"{subject} unpacks to more than {MOST_BYTES >> 30} GB. A run is smaller: use another file.")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        form, files = manifest["form"], manifest["files"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunError(f"{subject} is damaged: {MANIFEST} cannot be read ({error}). Export it again.") from None
    if form != VERSION:
        raise RunError(f"{subject} has form {form}, and this version reads form {VERSION}. Use a newer version.")
    if not isinstance(files, dict) or not all(_FILE.fullmatch(name) for name in files) or not set(files) >= _NEEDED:
        raise RunError(f"{subject} is damaged: its list of files is not that of a run. Export it again.")
    return dict(manifest)


def _name(manifest: Mapping[str, Any]) -> str:
    return str(manifest.get("name") or "")[:_MOST_NAME]


def _unpack_one(archive: zipfile.ZipFile, member: str, folder: Path) -> None:
    path = folder / member
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)


# Importing into a store.


def import_bundle(store: Store, source: Path | bytes, name: str = "", owner: str = LOCAL) -> str:
    """Enter a bundle's run into a store, as a finished run, and return its id.

    Raises:
        RunError: it is not a bundle, or its model cannot be read; nothing is entered then.
    """
    with tempfile.TemporaryDirectory(prefix="deepfm-bundle-") as scratch:
        folder, called = _unpacked_apart(source, Path(scratch), name)
        facts = Facts.of(folder, called)
        me = Process.current()
        row = store.begin(facts.spec, me, facts.name, owner)
        shutil.copytree(folder.path, store.folder(row.id).path, dirs_exist_ok=True)
        for event in (*_curves(facts), Finished({**facts.summary, IMPORTED: True})):
            store.claims.append(row.id, event, me)
    return row.id


def _unpacked_apart(source: Path | bytes, scratch: Path, name: str) -> tuple[RunFolder, str]:
    """Unpack and try a bundle in another process with limits; give its run's folder and its name."""
    path, folder = source if isinstance(source, Path) else scratch / "upload", scratch / "run"
    if isinstance(source, bytes):
        path.write_bytes(source)
    folder.mkdir()
    called = name or (source.name if isinstance(source, Path) else "upload")
    usual = Limits.default()
    limits = Limits(min(usual.memory, _MOST_MEMORY), usual.seconds)
    given = {"source": str(path.absolute()), "folder": str(folder), "name": called}
    remedy = "No run comes near. Use a file that *Export* wrote."
    manifest = done_apart(f"{__name__}:tried", given, scratch, f"Bundle `{called}`", limits, remedy)
    return RunFolder(folder), _name(manifest)


def tried(source: str, folder: str, name: str) -> dict[str, Any]:
    """Unpack a bundle, load its model, and decode all that pages will; return its run's name, by `name`.

    Raises:
        DeepFMError: it is not a bundle, its model cannot be read, or a part of it is larger than that of any run.
    """
    from deepfm_core.runs.predictor import Trained

    manifest = unpack(Path(source), Path(folder), name)
    subject, run = f"Bundle `{name}`", RunFolder(Path(folder))
    for path in Path(folder).glob("*.json"):
        most = _MOST_ENTERED if path.name in ("spec.json", "summary.json") else _MOST_JSON
        if path.name != "encoder.json" and path.stat().st_size > most:
            raise RunError(f"{subject}: {path.name} is larger than {most >> 20} MB. Use a file of *Export*'s.")
    budget = Budget(_MOST_FRAMES // DECODED, subject)
    for path in sorted(Path(folder).glob("frames/*.parquet")):
        try:
            _charge(path, budget)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RunError(f"{subject} is damaged: {path.name} cannot be read ({error}). Export it again.") from None
    Facts.of(run, name)
    Trained.load(run)
    _find_again(run, subject)
    return {"name": _name(manifest)}


def _find_again(run: RunFolder, subject: str) -> None:
    """Find again what pages say of a run in sentences: those of a bundle could say anything."""
    from deepfm_core.runs import findings

    if not (run.path / findings.FILE).exists():  # pages find it then
        return
    try:
        findings.find_again(run)
    except (*DAMAGE, AssertionError) as error:
        raise RunError(f"{subject} is damaged: its frames are not those of a run ({error}). Export it again.") from None


def _charge(path: Path, budget: Budget) -> None:
    with pq.ParquetFile(path) as file:
        budget.refuse_announced(file.metadata)
        for batch in file.iter_batches(_ROWS):
            budget.charge(sum(map(weight, batch.columns)))


def _curves(facts: Facts) -> Iterator[Event]:
    """Give the events that the pages draw a run's curves from; none for a run that did not keep its curves."""
    epochs, valid = facts.folder.frame("epochs"), facts.metrics.get("valid")
    if epochs is None or valid is None:
        return
    rows, fit = facts.summary["rows"], facts.spec.fit
    steps = -(-rows["train"] // fit.batch_size)
    yield Started(rows["train"], rows["valid"], facts.summary["parameters"], fit.epochs, steps, valid.base_logloss)
    for line in epochs.astype(object).where(epochs.notna(), None).to_dict("records"):
        yield EpochDone(**{str(name): value for name, value in line.items()})
