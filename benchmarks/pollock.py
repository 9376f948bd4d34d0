"""Scores this library, pandas, DuckDB and CleverCSV on real files with faults: a table of docs/benchmarks.md.

    git clone https://github.com/HPI-Information-Systems/Pollock
    pip install multiset price-parser chardet joblib python-dateutil
    python benchmarks/pollock.py Pollock survey_sample
    python benchmarks/pollock.py Pollock polluted_files
    python benchmarks/pollock.py Pollock survey_sample --reasons

The files, what is right of each, and the score are those of Vitagliano et al. 2023, "Pollock: A Data Loading
Benchmark": success and the precision, recall and F1 of header, records and cells, of 10 in all. Every reader finds out
by itself how a file is written; the benchmark's parameter files are not read. Libraries that are not installed are left
out, and so are files whose content a checkout lacks. With `--reasons` the points that this library loses are told
apart: each reason is what the score gains once it is counted as the benchmark has it, one after the other.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib import import_module
from itertools import pairwise
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
    parser.add_argument("--reasons", action="store_true", help="print the points that this library loses, by reason")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    measures = _measures(options.checkout)
    folder = options.checkout / options.files
    names = sorted(path.name for path in (folder / "csv").iterdir() if (folder / "clean" / path.name).exists())
    if options.reasons:
        print(_reasons(folder, names, measures))
        return
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
    return _score_of(frame, folder, name, measures)


def _score_of(frame: pd.DataFrame, folder: Path, name: str, measures: Any) -> float:
    with tempfile.TemporaryDirectory() as place:
        loaded = Path(place, "loaded.csv")
        frame.to_csv(loaded, index=False)
        return float(1 + sum(measures.header_record_cell_measures_csv(folder / "clean" / name, loaded)))


# The points that this library loses, by reason.

_UNNAMED = "columns without a header line, called `column 1` (`col_0` in the benchmark)"
_NAMED = "names that stand twice or not at all, called `x (2)` and `column 3`"
_BLANKS = "blanks around names, which are kept"
_END = "an empty column at the end of every row, which is left out"
_REFUSED = "a file without rows, which is refused"
_REST = "other rows, cells and names"
_REASONS = (_UNNAMED, _NAMED, _BLANKS, _END, _REFUSED, _REST)


def _reasons(folder: Path, names: list[str], measures: Any) -> str:
    """Give a table of the points of 10 that are lost for each reason, over all files."""
    from deepfm_core.errors import TableError
    from deepfm_core.tables.reader import read_table

    lost, files = dict.fromkeys(_REASONS, 0.0), Counter[str]()
    for name in names:
        try:
            read = read_table(folder / "csv" / name)
        except TableError:
            steps = [(_REFUSED, 10.0)]
        else:
            headless = read.report.header_line is None
            steps = _steps(read.frame, headless, folder, name, measures)
        for reason, points in steps:
            lost[reason] += points
            files[reason] += points > 0.005
    lines = [f"| {reason} | {files[reason]} | {lost[reason] / len(names):.2f} |" for reason in _REASONS]
    whole = f"| all | | {sum(lost.values()) / len(names):.2f} |"
    return "\n".join(["| lost for | files | points |", "|---|---|---|", *lines, whole])


def _steps(frame: pd.DataFrame, headless: bool, folder: Path, name: str, measures: Any) -> list[tuple[str, float]]:
    """Score a frame, and again after each difference is taken out; give what each step gains."""
    with (folder / "clean" / name).open(encoding="utf-8-sig", newline="") as file:
        wanted = next(csv.reader(file))
    scores, reasons = [_score_of(frame, folder, name, measures)], list[str]()

    def step(reason: str, changed: pd.DataFrame) -> None:
        reasons.append(reason)
        scores.append(_score_of(changed, folder, name, measures))

    ended = frame.copy()
    for place in range(frame.shape[1], len(wanted)):
        if not wanted[place].strip():
            ended.insert(place, f"column {place + 1}", "")
    step(_END, ended)
    own = dict(enumerate(wanted)) if len(wanted) == ended.shape[1] else {}
    names = [str(column) for column in ended.columns]
    made = [
        own.get(i, _numbered_as(column)) if _is_made(column, i, wanted) else column for i, column in enumerate(names)
    ]
    step(_UNNAMED if headless else _NAMED, ended.set_axis(made, axis=1))
    bare = [own.get(i, column) if column.strip() == own.get(i, "").strip() else column for i, column in enumerate(made)]
    step(_BLANKS, ended.set_axis(bare, axis=1))
    gains = [after - before for before, after in pairwise(scores)]
    return [*zip(reasons, gains, strict=True), (_REST, 10.0 - scores[-1])]


def _is_made(name: str, place: int, wanted: list[str]) -> bool:
    """Return whether this library made a name: of a column without one, or of one that stands twice."""
    first = _numbered_as(name)
    return name == f"column {place + 1}" or (first != name and wanted.count(first) > 1)


def _numbered_as(name: str) -> str:
    return re.sub(r" \(\d+\)$|^column \d+$", "", name)


if __name__ == "__main__":
    main()
