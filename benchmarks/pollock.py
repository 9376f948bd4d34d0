"""Scores this library, pandas, DuckDB and CleverCSV on real files with faults: a table of docs/benchmarks.md.

    git clone https://github.com/HPI-Information-Systems/Pollock
    pip install multiset price-parser chardet joblib python-dateutil
    python benchmarks/pollock.py Pollock survey_sample
    python benchmarks/pollock.py Pollock polluted_files

The files, what is right of each, and the score are those of Vitagliano et al. 2023, "Pollock: A Data Loading
Benchmark": success and the precision, recall and F1 of header, records and cells, of 10 in all. Every reader finds out
by itself how a file is written; the benchmark's parameter files are not read. Libraries that are not installed are left
out, and so are files whose content a checkout lacks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.faults import WAYS, is_installed  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("files", choices=("survey_sample", "polluted_files"))
    parser.add_argument("--single", action="store_true", help="print the score of each file as well")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    measures = _measures(options.checkout)
    folder = options.checkout / options.files
    names = sorted(path.name for path in (folder / "csv").iterdir() if (folder / "clean" / path.name).exists())
    readers = {name: made() for name, made in WAYS.items() if is_installed(name)}
    scores = pd.DataFrame(
        {way: {name: _score(read, folder, name, measures) for name in names} for way, read in readers.items()}
    )
    if options.single:
        print(scores.to_string())
    print(f"| {len(names)} files of {options.files} | score | refused |\n|---|---|---|")
    for way in scores:
        print(f"| {way} | {scores[way].mean():.2f} | {(scores[way] == 0).sum()} |")


def _measures(checkout: Path) -> Any:
    """Load the benchmark's own measures; the type of a text is found once, not for every cell that holds it."""
    sys.path.insert(0, str(checkout.resolve()))
    measures = import_module("pollock.metrics")
    measures.normalize_cell = cache(measures.normalize_cell)  # type: ignore[attr-defined]
    return measures


def _score(read: Callable[[Path], pd.DataFrame], folder: Path, name: str, measures: Any) -> float:
    """Score one file from 0 to 10; whatever is raised counts as a refusal."""
    try:
        frame = read(folder / "csv" / name)
    except Exception:
        return 0.0
    with tempfile.TemporaryDirectory() as place:
        loaded = Path(place, "loaded.csv")
        frame.to_csv(loaded, index=False)
        return float(1 + sum(measures.header_record_cell_measures_csv(folder / "clean" / name, loaded)))


if __name__ == "__main__":
    main()
