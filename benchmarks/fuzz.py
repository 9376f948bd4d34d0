"""Coverage-guided inputs for all that reads what others wrote: files of tables, and JSON. Prints what escapes.

    pip install atheris
    python benchmarks/fuzz.py TARGET [SECONDS] [CORPUS]

TARGET is one of `reading`, `table` (which infers kinds and encodes, too), `spec`, `report`, `encoder`, `bundle`,
`links`, `address`, `frame`, `symbols`. Inputs that reach new code are kept in the folder CORPUS (`.fuzz/TARGET`).
Whatever is raised but the project's own errors is a fault, and so is a warning of numpy: each place it comes from is
printed once, with the input beside the corpus.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402

atheris: Any = import_module("atheris")

with atheris.instrument_imports(include=["deepfm_core", "app"]):
    from app.shared import launch
    from app.shared.field_pairs import pair_of
    from app.state import links
    from app.state.visitor import is_owner
    from deepfm_core._files import DAMAGE, read_object
    from deepfm_core.encoding.encoder import Encoder
    from deepfm_core.errors import DeepFMError
    from deepfm_core.evidence.verdicts import verdict_sentence
    from deepfm_core.runs.findings import strongest_pair
    from deepfm_core.schema.infer import infer_schema
    from deepfm_core.schema.labels import label_role, labels_of, named_labels
    from deepfm_core.spec.presets import run_name
    from deepfm_core.spec.run import RunSpec, SplitSpec
    from deepfm_core.spec.settings import setting_named
    from deepfm_core.store.records import is_id, is_sha256
    from deepfm_core.store.run_folder import RunFolder
    from deepfm_core.store.shares import is_token
    from deepfm_core.tables.export import file_name
    from deepfm_core.tables.reader import read_table
    from deepfm_core.tables.table import ReadReport, Table

from tests.tables.faults import FAULTS  # noqa: E402

MOST_BYTES = {"reading": 1024, "table": 1024}
"""Bytes of a table: the faults of files and of columns fit into a few rows, and these are tried faster."""
WORDS = (
    b"\\N",
    b"NA",
    b"1,234",
    b"12.34%",
    b"2019-04-30",
    b"a|b",
    b"['a']",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"',
    b"\r",
    b"Total",
)
VALUES: tuple[Any, ...] = (None, True, -1, 0, 1e999, 2**70, "", "\ud800", "x", [], {}, [[]], {"a": None}, "[" * 50)
RUN = ROOT / "sample_data" / "run"
SPEC = json.loads((RUN / "spec.json").read_text(encoding="utf-8"))
REPORT = {
    "format": "csv",
    "encoding": "utf-8",
    "compression": None,
    "delimiter": ",",
    "header_line": 1,
    "rows": 2,
    "skipped": [{"message": "m", "remedy": "r", "line": 3, "column": None, "value": "v"}],
    "skipped_count": 1,
    "notes": ["n"],
    "choices": {"encoding": "cp1252", "header": 2},
    "left_out": [[1, 2]],
    "first_line": 2,
}
SPEC_READ = RunSpec.from_dict(SPEC)
ROWS = 3
PAIRS = {str(name): held.tolist() for name, held in RunFolder(RUN).frame("pairs").head(ROWS).items()}
FOLDER = Path(tempfile.mkdtemp(prefix="deepfm-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


# What is done with an input.


def reading(content: bytes) -> Table:
    """Read a file, and write down how it was read."""
    path = FOLDER / "table"
    path.write_bytes(content)
    read = read_table(path, max_bytes=1 << 24)
    json.dumps(read.report.to_dict(), allow_nan=False, ensure_ascii=False).encode()
    return read


def table(content: bytes) -> None:
    """Read a file, understand its columns, and encode them."""
    read = reading(content)
    schema = infer_schema(read)
    encoder = Encoder.fit(read.frame, schema)
    encoder.encode(read.frame, subject="Table")


def spec(content: bytes) -> None:
    """Read the spec of a run."""
    run_name(read_object(content, "The spec", "Delete it.", RunSpec.from_dict)).encode()


def report(content: bytes) -> None:
    """Read how a table was read."""
    read_object(content, "The report", "Delete it.", lambda values: ReadReport.from_dict(values).sentences())


def encoder(content: bytes) -> None:
    """Read an encoder."""
    path = FOLDER / "encoder.json"
    path.write_bytes(content)
    (FOLDER / "encoder.arrow").write_bytes((RUN / "encoder.arrow").read_bytes())
    try:
        Encoder.load(path)
    except DAMAGE:  # what loads runs makes an error of these
        return


def bundle(content: bytes) -> None:
    """Open a bundle whose spec or encoder is this input, or that is this input."""
    from deepfm_core.export.bundle import opened
    from deepfm_core.runs.predictor import Trained

    names = {1: "spec.json", 2: "encoder.json", 3: "summary.json", 4: "bundle.json"}
    name = names.get(content[0] % 5 if content else 0)
    with opened(content[1:] if name is None else _bundle(name, content[1:])) as (folder, _):
        Trained.load(folder)


def _bundle(name: str, content: bytes) -> bytes:
    names = ("spec.json", "encoder.json", "encoder.arrow", "summary.json", "model.safetensors")
    files = {each: (RUN / each).read_bytes() for each in names if (RUN / each).exists()}
    files[name] = content
    manifest = {"form": 1, "files": {each: hashlib.sha256(held).hexdigest() for each, held in files.items()}}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for each, held in {"bundle.json": json.dumps(manifest).encode(), **files}.items():
            archive.writestr(each, held)
    return stream.getvalue()


def link(content: bytes) -> None:
    """Read the choices that a link holds as JSON."""
    text = content.decode("utf-8", "replace")
    vars(links)["st"] = SimpleNamespace(query_params={"split": text}, session_state={})  # of a page that nobody draws
    links.as_text(links.chosen_values("split"))
    values, _ = launch._read(SPEC_READ.schema)
    SplitSpec(**values)


def address(content: bytes) -> None:
    """Read an address: what its choices mean to the pages that hold them."""
    chosen = dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=None))
    vars(links)["st"] = SimpleNamespace(query_params=chosen, session_state={})  # of a page that nobody draws
    for name in tuple(chosen):
        links.as_text(links.chosen_values(name))
        links.mirror(name, ["yes", "no"], "yes")
        links.mirror_number(name, 1, 20)
        links.mirror_flag(name, True)
        links.missing(name, ["yes", "no"])
    pair_of(chosen.get("feature", ""))
    for known in (is_token, is_id, is_sha256, is_owner):
        known(chosen.get("run", ""))
    setting_named("crosses").from_text(chosen.get("crosses", ""))
    if "positive" in chosen:
        labels = LABELS[len(chosen["positive"]) % len(LABELS)]
        named_labels(chosen["positive"], {"0", "1", "."})
        label_role(labels, "label", chosen["positive"])


def labelled(*texts: str) -> Table:
    """Give a table of a label with these texts, the first in twice the rows."""
    texts = tuple(dict.fromkeys(texts))
    codes = [0, *range(len(texts))]
    frame = pd.DataFrame({"label": pd.Categorical.from_codes(codes, list(texts))})
    return Table("t", frame, ReadReport(encoding="utf-8", compression=None, rows=len(codes)))


LABELS = [labelled("0", "1"), labelled(".", "-"), labelled("a", "b|c", "b"), labelled("1", "2.5", "1e3", "nan", "-4")]
"""Tables that a label's positive values are chosen for."""


def frame(content: bytes) -> None:
    """Read frames of a run, whose columns are this input, as pages do: verdicts, findings, and their sentences."""
    try:
        columns = json.loads(content)
        json.dumps(columns, ensure_ascii=False).encode()  # Parquet holds no other text
    except (ValueError, RecursionError):
        return
    if not isinstance(columns, dict):
        return
    draw, held = random.Random(len(content)), dict(PAIRS)
    for name, value in columns.items():
        held[str(name)] = value if isinstance(value, list) and len(value) == ROWS else [value] * ROWS
    if columns and draw.random() < 0.3:
        del held[draw.choice(list(held))]
    try:
        pairs = pd.DataFrame(held)
        if told := strongest_pair(pairs):
            str(told).encode()
            verdict_sentence(pd.Series({name: values[0] for name, values in held.items()} | {"verdict": told.verdict}))
    except (*DAMAGE, AssertionError):  # what reads a bundle makes an error of these
        return


def symbols(content: bytes) -> None:
    """Take a label of two values, which may be symbols alone, through names, roles and file names."""
    first, _, second = content.decode("utf-8", "replace").partition("\n")
    table = labelled(first, second)
    read = label_role(table, "label")
    labels_of(table.frame, read, table.name)
    str(read.said).encode()
    run_name(replace(SPEC_READ, schema=replace(SPEC_READ.schema, label=read))).encode()
    file_name(first, ending="csv").encode()


TARGETS: dict[str, Callable[[bytes], object]] = {
    "reading": reading, "table": table, "spec": spec, "report": report, "encoder": encoder, "bundle": bundle,
    "links": link, "address": address, "frame": frame, "symbols": symbols,
}  # fmt: skip


def seeds(target: str) -> list[bytes]:
    """Give the inputs to begin with."""
    tables = [fault.content for fault in FAULTS if len(fault.content) <= MOST_BYTES["table"]]
    texts = {
        "reading": tables,
        "table": tables,
        "spec": [json.dumps(SPEC).encode()],
        "report": [json.dumps(REPORT).encode()],
        "encoder": [(RUN / "encoder.json").read_bytes()],
        "bundle": [b"\x01" + json.dumps(SPEC).encode(), b"\x02" + (RUN / "encoder.json").read_bytes()],
        "address": [
            b"run=abcdefghjkmnpqrs&table=" + b"a" * 64,
            b"feature=site%3Da&crosses=a*b,c*d&positive=%3E%3D4",
            b"seeds=12&by_table=on&model=fm&split=%7B%22by%22%3A1%7D&positive=b%7Cc",
        ],
        "frame": [b'{"learned": 0.5, "observed": null, "significant": true}', b'{"field_a": "."}'],
        "symbols": [b".\n-", b"+\n-", b"\xe2\x98\x83\n?", b"yes\nno"],
        "links": [b'{"by": "time", "column": "hour", "valid": 0.2, "test": 0.1}', b'{"batch_size": 256}'],
    }
    return texts[target]


# Changes.


def changed_json(content: bytes, most: int, seed: int) -> bytes:
    """Put another value into one place of JSON, or change its bytes where it is none."""
    draw = random.Random(seed)
    prefix = content[:1] if content[:1] in (b"\1", b"\2", b"\3", b"\4") else b""
    try:
        values = json.loads(content[len(prefix) :])
    except (ValueError, RecursionError):
        return bytes(atheris.Mutate(content, most))
    if draw.random() < 0.3:
        return bytes(atheris.Mutate(content, most))
    inner, place = None, None
    held = values
    while isinstance(held, dict | list) and held and (inner is None or draw.random() < 0.8):
        inner, place = held, draw.choice(list(held) if isinstance(held, dict) else range(len(held)))
        held = held[place]
    if inner is None:
        return bytes(atheris.Mutate(content, most))
    if draw.random() < 0.2:
        del inner[place]
    else:
        inner[place] = draw.choice(VALUES)
    return (prefix + json.dumps(values).encode())[:most]


# The run.


class Findings:
    """Counts inputs, and keeps the first input of each place that something escapes from."""

    def __init__(self, target: str, seconds: float, folder: Path) -> None:
        self._target, self._folder = target, folder
        self._began, self._seconds = time.monotonic(), seconds
        self.inputs = 0
        self._places: set[str] = set()

    def one(self, content: bytes) -> None:
        """Try one input."""
        self.inputs += 1
        try:
            TARGETS[self._target](content)
        except DeepFMError:
            pass
        except Exception as error:
            self._keep(error, content)
        if time.monotonic() - self._began > self._seconds:
            self.end()

    def _keep(self, error: Exception, content: bytes) -> None:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename]
        place = f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}"
        if place in self._places:
            return
        self._places.add(place)
        path = self._folder.parent / f"{self._folder.name}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
        path.write_bytes(content)
        print(f"{place}: {error}\n  {path}", flush=True)

    def end(self) -> None:
        """Print the count and stop: libFuzzer has no other end that keeps quiet."""
        seconds = time.monotonic() - self._began
        print(f"{self._target}: {self.inputs:,} inputs in {seconds:,.0f} s; {len(self._places)} places", flush=True)
        os._exit(bool(self._places))


def main() -> None:
    target, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    folder = Path(sys.argv[3] if len(sys.argv) > 3 else ROOT / ".fuzz" / target)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds(target):
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    if target == "bundle":
        with atheris.instrument_imports(include=["deepfm_core"]):  # torch, which the others do without
            import_module("deepfm_core.runs.predictor")
    warnings.simplefilter("error", RuntimeWarning)
    _use_one_processor()
    words = folder.parent / "words"
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in WORDS))
    found = Findings(target, seconds, folder)
    options = [
        f"-max_len={MOST_BYTES.get(target, 1 << 16)}",
        f"-artifact_prefix={folder.parent}/",
        "-rss_limit_mb=0",
        "-verbosity=0",
        "-timeout=60",
    ]
    arguments = [sys.argv[0], str(folder), *options, f"-dict={words}"]
    mutator = {} if target in MOST_BYTES else {"custom_mutator": changed_json}
    atheris.Setup(arguments, found.one, internal_libfuzzer=True, **mutator)
    atheris.Fuzz()


def _use_one_processor() -> None:
    """Start no threads for tables of a few rows: to wake them takes longer than to read one."""
    os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


if __name__ == "__main__":
    main()
