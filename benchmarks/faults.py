"""Files with one fault each, read by this library, pandas, DuckDB and CleverCSV. Prints a table of docs/benchmarks.md.

    python benchmarks/faults.py

A score lies between 0 and 10: the share of names and rows that are right. A file that holds no table is worth 10 if it
is refused. Libraries that are not installed are left out.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.tables.faults import FAULTS, REFUSED, Fault, score  # noqa: E402


def main() -> None:
    readers = {name: made() for name, made in WAYS.items() if is_installed(name)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        held = {name: [scored(read, fault, path) for fault in FAULTS] for name, read in readers.items()}
    scores = pd.DataFrame(held)
    tables = scores[[fault.outcome != REFUSED for fault in FAULTS]]
    print(f"| {len(FAULTS)} files | all | of {len(tables)} with a table | wholly right |\n|---|---|---|---|")
    for name in scores:
        print(f"| {name} | {scores[name].mean():.2f} | {tables[name].mean():.2f} | {(scores[name] == 10).sum()} |")


def scored(read: Callable[[Path], pd.DataFrame], fault: Fault, path: Path) -> float:
    """Score what one library reads of one file; whatever it raises counts as a refusal."""
    path.write_bytes(fault.content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = read(path)
    except Exception:
        return score(fault, None)
    return score(fault, frame)


def ours() -> Callable[[Path], pd.DataFrame]:
    from deepfm_core.tables.reader import read_table

    return lambda path: read_table(path).frame


def with_pandas() -> Callable[[Path], pd.DataFrame]:
    as_text = {"sep": None, "engine": "python", "dtype": str, "keep_default_na": False, "on_bad_lines": "skip"}
    return lambda path: pd.read_csv(path, **as_text)


def with_duckdb() -> Callable[[Path], pd.DataFrame]:
    duckdb = import_module("duckdb")
    options = "all_varchar=true, ignore_errors=true, null_padding=false"
    return lambda path: duckdb.sql(f"select * from read_csv('{path}', {options})").df().fillna("")


def with_clevercsv() -> Callable[[Path], pd.DataFrame]:
    clevercsv = import_module("clevercsv")

    def read(path: Path) -> pd.DataFrame:
        records = clevercsv.read_table(str(path))
        width = max(map(len, records))
        header, *rows = ([*record, *[""] * (width - len(record))] for record in records)
        return pd.DataFrame(rows, columns=header)

    return read


WAYS: dict[str, Callable[[], Callable[[Path], pd.DataFrame]]] = {
    "deepfm_core": ours,
    "pandas": with_pandas,
    "duckdb": with_duckdb,
    "clevercsv": with_clevercsv,
}


def is_installed(name: str) -> bool:
    """Say whether a library can be imported."""
    try:
        import_module(name)
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    main()
