"""Files that were made to harm: what becomes of each, and what it takes of the server and of the process that reads it.

`python benchmarks/hostile_files.py` prints a table, or with the beginning of a name the part of it. Each file is
uploaded in a fresh process, as the app does, with the app's limit of 200 MB. Memory is the highest that the system
reports of a process (VmHWM).
"""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
MB = 1 << 20
SMALL, FULL = 64, 1
"""What a corpus is divided by, for tests and for figures."""
Corpus = dict[str, Callable[[], bytes]]


def corpus(divided: int = FULL) -> Corpus:
    """Return the hostile files: what each is, and the function that makes its bytes when it is called.

    Args:
        divided: what the sizes are divided by.
    """
    many = 100 * MB // divided
    return {
        "Parquet: one text of 1 MB in 20,000 rows": lambda: parquet_of_one_text(MB // divided, 20_000),
        "Parquet: a list of 60 million numbers in one cell": lambda: parquet_of_one_list(60_000_000 // divided),
        "Parquet: such a list in a file that says it is short": lambda: lying(60_000_000 // divided),
        "Parquet: a text of 1 MB within 4,000 structs": lambda: parquet_of_structs(MB // divided, 4_000),
        "Parquet: texts of 1 MB that share their beginning": lambda: parquet_of_deltas(MB // divided, 2_000),
        "Parquet: lists within lists, 60 deep": lambda: parquet_of_depth(60),
        "Feather: 100 million rows of nothing": lambda: feather_of(pa.table([pa.nulls(many)] * 2, ["a", "b"])),
        "Feather: one text of 1 MB shown in 20,000 rows": lambda: feather_of_views(MB // divided, 20_000),
        "Feather: lists of 60 million zeros": lambda: feather_of_lists(60_000_000 // divided),
        "JSON Lines: a line of 100 MB": lambda: b'{"a": "' + b"x" * many + b'", "b": 1}\n',
        "JSON: 100,000 brackets deep": lambda: b'[{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b', "b": 1}]',
        "JSON Lines: a new name in each of 10,000 lines": lambda: b"".join(b'{"n%d": 1}\n' % n for n in range(10_000)),
        "CSV: a line of 100 MB": lambda: b"a,b\n1," + b"x" * many + b"\n2,y\n",
        "CSV: 10,000 columns": lambda: wide(10_000, 50),
        "CSV: a quote that is never closed, 100 MB": lambda: b'a,b\n"1,' + b"x,\n" * (many // 3),
        "CSV: quotes that open anew on every line, 100 MB": lambda: b"a,b,c\n" + b'a",b,"c\n' * (many // 9),
        "CSV: quotes that open anew on every line, 20 MB": lambda: b"a,b,c\n" + b'a",b,"c\n' * (many // 45),
        "CSV: a million ways to end the cells of each line, 20 MB": lambda: ambiguous(many // 5),
        "gzip: 10 GB of zeros": lambda: gzip_of(b"\0", 100 * many),
        "gzip: 1 GB of one row": lambda: gzip_of(b"a,b\n", 10 * many),
        "zip: 10 GB of zeros": lambda: zip_of("table.csv", b"\0", 100 * many),
        "zip: 1 GB of one row, in a file that says it is short": lambda: zip_of("table.csv", b"a,b\n", 10 * many, 100),
        "zip: 60,000 files": lambda: zip_of_many(60_000 // divided),
        "xlsx: a sheet of 1 GB": lambda: workbook(10 * many),
        "xlsx: a sheet of 1 GB that says it is short": lambda: workbook(10 * many, 100),
        "xlsx: a cell in the last row and column": lambda: workbook(0, far=True),
    }


def ambiguous(size: int) -> bytes:
    """Give lines whose quotes may end a cell at forty places each, and make no row of thirty cells."""
    line = b'"x",' * 40 + b'"y"z,"\n'
    return b",".join(b"c%d" % number for number in range(30)) + b"\n" + line * (size // len(line))


# Parquet and Feather.


def _written(table: pa.Table, **options: object) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", store_schema=False, **options)
    return stream.getvalue()


def parquet_of_one_text(size: int, rows: int) -> bytes:
    """Give a Parquet file in which one text of so many letters stands in every row."""
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * size]))
    return _written(pa.table({"text": texts, "label": ["0", "1"] * (rows // 2)}))


def parquet_of_one_list(items: int) -> bytes:
    """Give a Parquet file with a list of so many zeros in one cell."""
    lists = pa.ListArray.from_arrays(pa.array([0, items], pa.int32()), pa.array(np.zeros(items, np.int8)))
    return _written(pa.table({"list": lists, "label": ["1"]}))


def lying(items: int) -> bytes:
    """Give `parquet_of_one_list` with another number of values in the file's own account of its columns."""
    content = parquet_of_one_list(items)
    metadata = pq.read_metadata(io.BytesIO(content))
    real = metadata.row_group(0).column(0).num_values
    said = _varint(2 * real)  # zigzag
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    short = _varint(2 * 10) if len(said) == 1 else b"\x94" + b"\x80" * (len(said) - 2) + b"\x00"
    return content[:end] + content[end:].replace(said, short)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def parquet_of_structs(size: int, rows: int) -> bytes:
    """Give a Parquet file in which one text of so many letters stands within the struct of every row."""
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * size]))
    struct = pa.StructArray.from_arrays([texts], names=["text"])
    return _written(pa.table({"struct": struct, "label": ["0", "1"] * (rows // 2)}))


def parquet_of_deltas(size: int, rows: int) -> bytes:
    """Give a Parquet file whose texts are stored by what they share with the one before."""
    texts = pa.array(["x" * size] * rows)
    return _written(
        pa.table({"text": texts, "label": ["0", "1"] * (rows // 2)}),
        use_dictionary=False,
        column_encoding={"text": "DELTA_BYTE_ARRAY"},
    )


def parquet_of_depth(depth: int) -> bytes:
    """Give a Parquet file with lists within lists."""
    value: object = 1
    kind = pa.int64()
    for _ in range(depth):
        value, kind = [value], pa.list_(kind)
    return _written(pa.table({"deep": pa.array([value] * 10, kind), "label": ["0", "1"] * 5}))


def feather_of(table: pa.Table) -> bytes:
    """Give a Feather file."""
    stream = io.BytesIO()
    feather.write_feather(table, stream, compression="zstd")
    return stream.getvalue()


def feather_of_views(size: int, rows: int) -> bytes:
    """Give a Feather file in which all rows show one text of so many letters, which is there once."""
    view = np.array([size, int.from_bytes(b"xxxx", "little"), 0, 0], np.int32)  # length, beginning, buffer, place in it
    buffers = [None, pa.py_buffer(np.tile(view, rows).tobytes()), pa.py_buffer(b"x" * size)]
    text = pa.Array.from_buffers(pa.string_view(), rows, buffers)
    return feather_of(pa.table({"text": text, "label": ["0", "1"] * (rows // 2)}))


def feather_of_lists(items: int) -> bytes:
    """Give a Feather file with one list of so many zeros."""
    lists = pa.ListArray.from_arrays(pa.array([0, items], pa.int32()), pa.array(np.zeros(items, np.int8)))
    return feather_of(pa.table({"list": lists, "label": ["1"]}))


# Texts and archives.


def wide(columns: int, rows: int) -> bytes:
    """Give a CSV of so many columns."""
    head = ",".join(f"c{n}" for n in range(columns))
    return f"{head}\n{(','.join('1' * columns) + chr(10)) * rows}".encode()


def _repeated(unit: bytes, size: int) -> Iterator[bytes]:
    block = unit * (min(MB, max(size, 1)) // len(unit) + 1)
    for start in range(0, size, len(block)):
        yield block[: size - start]


def gzip_of(unit: bytes, size: int) -> bytes:
    """Give a gzip of so many bytes, which repeat."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed:
        for block in _repeated(unit, size):
            packed.write(block)
    return stream.getvalue()


def zip_of(name: str, unit: bytes, size: int, says: int | None = None, more: dict[str, str] | None = None) -> bytes:
    """Give a zip of a file of so many bytes, which repeat; its list `says` how many."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for other, text in (more or {}).items():
            archive.writestr(other, text)
        with archive.open(name, "w", force_zip64=True) as member:
            for block in _repeated(unit, size):
                member.write(block)
        if says is not None:
            archive.getinfo(name).file_size = says
    return stream.getvalue()


def zip_of_many(count: int) -> bytes:
    """Give a zip of so many empty files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.csv", "")
    return stream.getvalue()


_PARTS = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/></Types>'
    ),
    "_rels/.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="S" '
        'sheetId="1" r:id="r1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
        'Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}


def workbook(size: int, says: int | None = None, *, far: bool = False) -> bytes:
    """Give a workbook whose sheet has about so many bytes, or two cells in opposite corners."""
    row = b"<row>" + b"<c><v>1</v></c>" * 10 + b"</row>"
    sheet = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    if far:
        corners = b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
        content = (sheet + corners + b"</sheetData></worksheet>").decode()
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in {**_PARTS, "xl/worksheets/sheet1.xml": content}.items():
                archive.writestr(name, text)
        return stream.getvalue()
    return zip_of("xl/worksheets/sheet1.xml", row, size, says, _PARTS)


# Damage.


def damaged(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Give files of every format that are read, cut short or with some bytes flipped, with what each is."""
    rng = np.random.default_rng(seed)
    whole = _whole()
    for number in range(count):
        kind = list(whole)[number % len(whole)]
        content = bytearray(whole[kind])
        if number // len(whole) % 2:
            yield f"{kind}, cut", bytes(content[: int(rng.integers(0, len(content)))])
            continue
        for place in rng.integers(0, len(content), int(rng.integers(1, 9))):
            content[place] ^= int(rng.integers(1, 256))
        yield f"{kind}, flipped", bytes(content)


def _whole() -> dict[str, bytes]:
    table = pa.table(
        {
            "text": [f"t{n % 7}" for n in range(300)],
            "list": [[n, n + 1] for n in range(300)],
            "time": pa.array(range(300), pa.timestamp("us")),
            "label": [n % 2 for n in range(300)],
        }
    )
    lines = "".join(json.dumps({"a": f"x{n % 5}", "b": n, "c": n % 2}) + "\n" for n in range(300)).encode()
    csv = b"a,b,c\n" + b"".join(b"x%d,%d,%d\n" % (n % 5, n, n % 2) for n in range(300))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", csv)
    return {
        "Parquet": _written(table),
        "Feather": feather_of(table),
        "JSON Lines": lines,
        "CSV": csv,
        "gzip": gzip.compress(csv, mtime=0),
        "zip": packed.getvalue(),
        "xlsx": workbook(5_000),
    }


# What becomes of a file, in a process of its own that stands for the server.


def upload(path: Path, home: Path) -> dict[str, float | str]:
    """Upload a file as the app does, and say what became of it, in how many seconds, and at which memory (MB)."""
    from app.state.saved_tables import MAX_TABLE_BYTES
    from deepfm_core.errors import DeepFMError
    from deepfm_core.store.store import Store

    store, peaks = Store(home), {"child": 0.0}
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(peaks, done))
    watch.start()
    began = time.perf_counter()
    try:
        outcome = f"read: {store.import_table(path.read_bytes(), path.name, max_bytes=MAX_TABLE_BYTES).rows:,} rows"
    except DeepFMError as error:
        outcome = str(error)
    seconds = time.perf_counter() - began
    done.set()
    watch.join()
    return {"outcome": outcome, "seconds": seconds, "server": _peak("self"), **peaks}


def _watch(peaks: dict[str, float], done: threading.Event) -> None:
    while not done.wait(0.01):
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):
                for child in (task / "children").read_text().split():
                    peaks["child"] = max(peaks["child"], _peak(child))


def _peak(process: str) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    """Print a table of files, or, with a path and a folder, upload one file and print what became of it."""
    if len(sys.argv) == 3:
        print(json.dumps(upload(Path(sys.argv[1]), Path(sys.argv[2]))))
        return
    print("| file | bytes | outcome | seconds | server, MB | reader, MB |\n|---|---|---|---|---|---|")
    for what, make in corpus().items():
        if len(sys.argv) == 2 and not what.startswith(sys.argv[1]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table"
            path.write_bytes(make())
            command = [sys.executable, __file__, str(path), folder + "/home"]
            said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            outcome = " ".join(said["outcome"].removeprefix("Table `table`:").split())
            figures = f"{said['seconds']:.1f} | {said['server']:.0f} | {said['child']:.0f}"
            print(f"| {what} | {path.stat().st_size:,} | {outcome[:160]} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
