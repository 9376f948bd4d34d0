"""From a file in the Criteo layout to encoded rows: this library beside pandas. Prints tables of docs/benchmarks.md.

    python benchmarks/reading.py --turns 5
    python benchmarks/reading.py --turns 2 --rows 10000 100000 1000000 10000000 --folder /tmp
    python benchmarks/reading.py --turns 1 --rows 2000000 --only stored

Each reading is a process of its own that has imported what it needs before the clock starts, and they take turns. Peak
memory is that of the whole process (VmHWM), imports included; ten million rows are 2.6 GB of text, removed in the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

INTEGERS, TEXTS = [f"I{i}" for i in range(1, 14)], [f"C{i}" for i in range(1, 27)]
VOCABULARY = 1_000_000
_BLOCK = 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the table is written (the system's temporary folder)")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--layout", choices=LAYOUTS, default="criteo", help="criteo (tabs, no header) or csv (header)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measured(arguments.way, arguments.table)))
        return
    for rows in arguments.rows:
        done = pd.DataFrame(list(turns(rows, arguments)))
        print(markdown(rows, done), flush=True)


def turns(rows: int, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Let every way read the table in turn, `--turns` times over."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        table = Path(folder, "table.txt")
        write_table(rows, table, **LAYOUTS[arguments.layout])
        if "ours-again" in arguments.only:
            keep(table)
        if "stored" in arguments.only:
            stored = store(table)
            print(f"\nThe file has {table.stat().st_size / 1e6:,.0f} MB, the store's copy {stored / 1e6:,.0f} MB.")
        for _ in range(arguments.turns):
            for way in arguments.only:
                command = [sys.executable, __file__, "--way", way, "--table", str(table)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                yield {"way": way, **json.loads(done.stdout)}


def markdown(rows: int, done: pd.DataFrame) -> str:
    """Give medians, and ratios to pandas where it took part."""
    medians = done.groupby("way", sort=False).median()
    base = medians.loc["pandas"] if "pandas" in medians.index else None
    lines = [f"\n{rows:,} rows\n", "| | seconds | CPU seconds | peak MB | above the tensors, MB | time | memory |"]
    lines.append("|---|---|---|---|---|---|---|")
    for way, row in medians.iterrows():
        ratios = ["", ""] if base is None else [f"{row[name] / base[name]:.2f}" for name in ("seconds", "peak")]
        above = row["peak"] - row["tensors"]
        numbers = [f"{row['seconds']:.2f}", f"{row['cpu']:.2f}", f"{row['peak']:,.0f}", f"{above:,.0f}"]
        lines.append(f"| {WAYS[str(way)][0]} | {' | '.join(numbers + ratios)} |")
    return "\n".join(lines)


def measured(way: str, path: Path) -> dict[str, float]:
    """Read and encode in this process; give seconds, seconds of all cores, and megabytes."""
    read = WAYS[way][1]()
    began, cpu = time.perf_counter(), time.process_time()
    tensors = read(path)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    held = sum(tensor.nbytes for tensor in tensors if tensor is not None) / 1e6
    return {"seconds": seconds, "cpu": cpu, "peak": _peak(), "tensors": held}


def _peak() -> float:
    """Give VmHWM; `ru_maxrss` would not be less than what the process that started this one had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


Tensors = list[NDArray[Any] | None]


def with_pandas() -> Callable[[Path], Tensors]:
    def read(path: Path) -> Tensors:
        with path.open() as file:
            first = file.readline()
        delimiter = "," if "," in first else "\t"
        names = ["label", *INTEGERS, *TEXTS] if delimiter == "\t" else None
        frame = pd.read_csv(path, sep=delimiter, names=names)
        codes = [pd.factorize(frame.pop(column))[0].astype(np.int32) for column in [*INTEGERS, *TEXTS]]
        return [np.stack(codes, axis=1), frame["label"].to_numpy(np.float32)]

    return read


def with_ours(kind: str) -> Callable[[], Callable[[Path], Tensors]]:
    """Read the table and encode it."""

    def prepared() -> Callable[[Path], Tensors]:
        from deepfm_core._parallel import use_system_memory
        from deepfm_core.encoding.encoder import Encoder
        from deepfm_core.tables.reader import read_table

        use_system_memory()

        def read(path: Path) -> Tensors:
            table = read_table(path)
            encoder = Encoder.fit(table.frame, _schema(kind))
            encoded = encoder.encode_with_labels(table.frame, subject=table.name)
            return [encoded.ids, encoded.weights, encoded.dense, encoded.labels]

        return read

    return prepared


def from_cache() -> Callable[[Path], Tensors]:
    """Take what an earlier run has kept, every byte of it: mapping the files alone would be done in milliseconds."""
    from deepfm_core._parallel import use_system_memory
    from deepfm_core.store.encoding_cache import EncodingCache

    use_system_memory()

    def read(path: Path) -> Tensors:
        kept = EncodingCache(path.parent).find(_spec(path, "bucketised"), _no_table)
        assert kept is not None
        tables = kept.tables.values()
        arrays = [array for table in tables for array in (table.ids, table.weights, table.dense, table.labels)]
        return [None if array is None else array.copy() for array in arrays]

    return read


def from_store() -> Callable[[Path], Tensors]:
    """Read the copy that a store keeps of a table, as pages do."""
    from deepfm_core._parallel import use_system_memory
    from deepfm_core.tables.parquet import read_parquet_table
    from deepfm_core.tables.table import ReadReport

    use_system_memory()

    def read(path: Path) -> Tensors:
        frame = read_parquet_table(_copy(path), path.name, ReadReport()).frame
        return [np.asarray(frame[column].cat.codes) for column in frame]

    return read


def store(path: Path) -> int:
    """Write the copy that a store keeps of a table; return its bytes."""
    from deepfm_core.tables.parquet import write_parquet
    from deepfm_core.tables.reader import read_table

    write_parquet(read_table(path), _copy(path))
    return _copy(path).stat().st_size


def _copy(path: Path) -> Path:
    return path.with_suffix(".parquet")


def keep(path: Path) -> None:
    """Do what a first run does for a second one: divide, encode, and keep both beside the table."""
    from deepfm_core.encoding.encoder import Encoder
    from deepfm_core.encoding.splits import load_parts
    from deepfm_core.store.encoding_cache import EncodingCache, Prepared
    from deepfm_core.tables.reader import read_table

    table, spec = read_table(path), _spec(path, "bucketised")
    parts = load_parts(spec, lambda _: table)
    encoder = Encoder.fit(table.frame, spec.schema, rows=parts.train.rows)
    encoded = {name: getattr(parts, name).encode(encoder) for name in ("train", "valid", "test")}
    (path.parent / spec.table).mkdir()
    EncodingCache(path.parent).keep(spec, Prepared(parts, encoder, encoded))


def _spec(path: Path, kind: str) -> Any:
    from deepfm_core.spec.run import RunSpec

    return RunSpec("kept", path.name, _schema(kind))


def _no_table(sha: str) -> Any:
    raise AssertionError(f"table {sha} is read")


def _schema(kind: str) -> Any:
    from deepfm_core.schema.kinds import Kind
    from deepfm_core.schema.schema import FieldRole, LabelRole, Schema

    kinds = {**dict.fromkeys(INTEGERS, Kind(kind)), **dict.fromkeys(TEXTS, Kind.CATEGORICAL)}
    return Schema(LabelRole("label", "1", "0"), tuple(FieldRole(column, kind) for column, kind in kinds.items()))


WAYS: dict[str, tuple[str, Callable[[], Callable[[Path], Tensors]]]] = {
    "pandas": ("`pandas.read_csv`, `factorize` of each column", with_pandas),
    "ours": ("ours, numbers in buckets (39 ids a row)", with_ours("bucketised")),
    "ours-again": ("ours, a second run on the same table, from what the first has kept", from_cache),
    "stored": ("ours, the store's copy of the table, cells as text", from_store),
    "ours-piecewise": ("ours, numbers piecewise as by default (52 ids and 26 x a row)", with_ours("piecewise")),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "criteo": {"delimiter": "\t", "include_header": False},
    "csv": {"delimiter": ",", "include_header": True},
}


def write_table(rows: int, path: Path, **layout: Any) -> None:
    """Write a table of counts with gaps and of eight-digit hashes of Zipf-like frequencies, by blocks of rows."""
    rng, sizes = np.random.default_rng(0), field_sizes()
    hashes = [
        pa.array([f"{i * 2_654_435_761 + f * 3_928_529 & 0xFFFFFFFF:08x}" for i in range(size)])
        for f, size in enumerate(sizes)
    ]
    integers = [pa.field(name, pa.int32()) for name in ["label", *INTEGERS]]
    schema = pa.schema([*integers, *(pa.field(name, pa.string()) for name in TEXTS)])
    options = csv.WriteOptions(quoting_style="none", **layout)
    with csv.CSVWriter(path, schema, write_options=options) as file:
        for start in range(0, rows, _BLOCK):
            file.write_table(_block(rng, min(_BLOCK, rows - start), sizes, hashes, schema))


def _block(rng: np.random.Generator, rows: int, sizes: NDArray[np.int64], hashes: list[Any], schema: Any) -> pa.Table:
    columns = [pa.array((rng.random(rows) < 0.25).astype(np.int32))]
    for i in range(len(INTEGERS)):
        counts = np.exp(rng.normal(1 + 0.35 * i, 1.2, rows)).astype(np.int32)
        columns.append(pa.array(counts, mask=rng.random(rows) < (0.45 if i in (0, 9, 11) else 0.04 * (i % 4))))
    for f, size in enumerate(sizes):
        ids = np.minimum(size ** rng.random(rows) - 1, size - 1).astype(np.int32)
        columns.append(hashes[f].take(pa.array(ids, mask=rng.random(rows) < (0.4 if f in (18, 21) else 0.0))))
    return pa.table(columns, schema=schema)


def field_sizes() -> NDArray[np.int64]:
    """Let the vocabularies of the 26 fields of texts grow geometrically to one million together."""
    low, high = 1.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if (4 * middle ** np.arange(26)).sum() > VOCABULARY else (middle, high)
    return np.maximum(2, (4 * low ** np.arange(26)).astype(np.int64))


if __name__ == "__main__":
    main()
