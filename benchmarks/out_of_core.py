"""A table that does not fit into memory beside one that does. Prints the tables of docs/scale.md.

    python benchmarks/out_of_core.py make /tmp/criteo --rows 2000000 --files 4
    python benchmarks/out_of_core.py run /tmp/criteo --memory 2GB
    python benchmarks/out_of_core.py run /tmp/criteo --memory 100GB
    python benchmarks/out_of_core.py run /tmp/criteo --memory 2GB --guided
    python benchmarks/out_of_core.py make /tmp/criteo-csv --rows 2000000 --files 4 --csv

`make` writes Parquet files, or CSV, in the layout of Criteo's log: a label, 13 whole numbers with missing ones, and 26
categories of 4 to `--values` values, of Zipf's frequencies. Labels come from effects of values and of a few pairs.
`run` trains one epoch as the command `train` does, in a process of its own, and reports the most memory that the
process had (VmHWM), and that it and its children had together (resident sets, looked at twenty times a second). Without
`--explained` it leaves out what explains a model, which asks a sample of either table; without `--guided` the guide.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
NUMBERS, CATEGORIES = 13, 26
PAIRS = ((0, 1), (2, 5), (3, 4))
TRAIN = ("--label", "label", "--epochs", "1", "--batch-size", "4096", "--folds", "0")
_LOOKS = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    made = verbs.add_parser("make")
    made.add_argument("folder", type=Path)
    made.add_argument("--rows", type=int, default=20_000_000)
    made.add_argument("--files", type=int, default=40)
    made.add_argument("--values", type=int, default=200_000, help="of the largest category")
    made.add_argument("--csv", action="store_true", help="write CSV files of the same rows")
    ran = verbs.add_parser("run")
    ran.add_argument("folder", type=Path)
    ran.add_argument("--memory", default="2GB")
    ran.add_argument("--explained", action="store_true")
    ran.add_argument("--guided", action="store_true")
    fitted = verbs.add_parser("fit")
    fitted.add_argument("explained", type=int)
    fitted.add_argument("out", type=Path)
    fitted.add_argument("options", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.verb == "make":
        make(arguments.folder, arguments.rows, arguments.files, arguments.values, csv=arguments.csv)
    elif arguments.verb == "fit":
        print(json.dumps(fit(arguments.options, arguments.out, explained=bool(arguments.explained))))
    else:
        options = ["--guided" if arguments.guided else "--no-guided"]
        print(json.dumps(run(arguments.folder, arguments.memory, options, arguments.explained), indent=1))


def make(folder: Path, rows: int, files: int, values: int, *, csv: bool = False) -> None:
    """Write the dataset; the same arguments write the same files, and the same rows as CSV."""
    folder.mkdir(parents=True)
    sizes = np.geomspace(4, values, CATEGORIES).astype(np.int64)
    rng = np.random.default_rng(0)
    effects = [rng.normal(0, 0.35, size).astype(np.float32) for size in sizes]
    pairs = [rng.normal(0, 0.5, (min(sizes[a], 50), min(sizes[b], 50))).astype(np.float32) for a, b in PAIRS]
    slopes = rng.normal(0, 0.15, NUMBERS).astype(np.float32)
    texts = [pa.array([f"{(number * 2654435761 + size) % 2**32:08x}" for number in range(size)]) for size in sizes]
    for file in range(files):
        count = rows // files + (file < rows % files)
        table, path = _rows(count, file, sizes, effects, pairs, slopes, texts), folder / f"part-{file:03}"
        if csv:
            pa_csv.write_csv(table, f"{path}.csv", pa_csv.WriteOptions(quoting_style="needed"))
        else:
            pq.write_table(table, f"{path}.parquet")
        print(f"{file + 1} of {files} files", file=sys.stderr)


def _rows(
    count: int,
    file: int,
    sizes: np.ndarray,
    effects: list[np.ndarray],
    pairs: list[np.ndarray],
    slopes: np.ndarray,
    texts: list[pa.Array],
) -> pa.Table:
    rng = np.random.default_rng((1, file))
    logit = np.full(count, -1.1, np.float32)
    columns: dict[str, pa.Array] = {}
    for number in range(NUMBERS):
        values = np.floor(rng.lognormal(1 + number / 4, 1.2, count)).astype(np.int64)
        missing = rng.random(count) < 0.03 * (number % 5)
        logit += np.where(missing, 0.1, slopes[number] * np.log1p(values)).astype(np.float32)
        columns[f"I{number + 1}"] = pa.array(values, mask=missing)
    drawn = [np.minimum(size ** rng.random(count) - 1, size - 1).astype(np.int32) for size in sizes]
    for number, codes in enumerate(drawn):
        logit += effects[number][codes]
        columns[f"C{number + 1}"] = pa.DictionaryArray.from_arrays(pa.array(codes), texts[number]).cast(pa.string())
    for (a, b), table in zip(PAIRS, pairs, strict=True):
        logit += table[drawn[a] % table.shape[0], drawn[b] % table.shape[1]]
    label = (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    return pa.table({"label": pa.array(label), **columns})


def fit(options: list[str], out: Path, *, explained: bool) -> dict[str, object]:
    """Train in this process as `train` does, and give the run's summary."""
    sys.path.insert(0, str(ROOT))
    from deepfm_core._parallel import use_system_memory
    from deepfm_core.cli.options import Tables, base_spec, chosen_settings
    from deepfm_core.cli.output import Progressed
    from deepfm_core.cli.parser import parse
    from deepfm_core.runs.engine import execute
    from deepfm_core.runs.job import Context, Job
    from deepfm_core.spec.events import Finished, Stage
    from deepfm_core.spec.presets import settings

    use_system_memory()
    stages, stage, began = dict[str, float](), "sample and roles", _processor()
    arguments = parse(["train", *options])
    tables = Tables(arguments)
    base, rows = base_spec(arguments, tables)
    model, fitting = settings(arguments.preset, arguments.model, rows, chosen_settings(arguments))
    spec = replace(base, model=model, fit=fitting, explained=explained)
    job = Job(spec, str(out))
    if tables.dataset is not None:
        tables.dataset.write(job.folder.create())
    progress = Progressed(quiet=False)
    for event in execute(job, Context(tables.tables.__getitem__)):
        progress.show(event)
        if isinstance(event, Finished | Stage) and getattr(event, "name", "") != stage:
            stages[stage] = round(_processor() - began, 1)
            stage, began = getattr(event, "name", ""), _processor()
        if isinstance(event, Finished):
            return {**tables.timed(event.summary), "processor_seconds_by_stage": stages}
    raise RuntimeError("the run did not finish")


def _processor() -> float:
    return sum(os.times()[:2])


def run(folder: Path, memory: str, options: list[str], explained: bool) -> dict[str, object]:
    """Train one epoch as the command line does, and say what it took."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        began, out = time.perf_counter(), Path(beside) / "run"
        command = [sys.executable, __file__, "fit", str(int(explained)), str(out), str(folder)]
        printed = Path(beside) / "summary.json"
        with printed.open("w") as stdout:
            process = subprocess.Popen([*command, *TRAIN, "--memory", memory, *options], cwd=ROOT, stdout=stdout)
            most, together = 0, 0
            while process.poll() is None:
                most = max(most, _highest(process.pid))
                together = max(together, _resident(process.pid) + sum(map(_resident, _children(process.pid))))
                time.sleep(_LOOKS)
        seconds = time.perf_counter() - began
        said = json.loads(printed.read_text())
        kept = ("rows", "parameters", "test", "valid", "rows_per_second", "seconds", "processor_seconds_by_stage")
        return {
            "memory": memory,
            "peak_mb": round(most / 1e6),
            "peak_with_children_mb": round(together / 1e6),
            "wall_seconds": round(seconds, 1),
            "processor_seconds": round(sum(os.times()[2:4]), 1),
            **{name: said[name] for name in kept},
            "sample": said.get("sample"),
            "guide": said.get("guide"),
        }


def _highest(process: int) -> int:
    """Return the most bytes that a process has had, as the system keeps count."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _children(process: int) -> list[int]:
    try:
        found = [
            int(child)
            for path in Path(f"/proc/{process}/task").glob("*/children")
            for child in path.read_text().split()
        ]
    except OSError:
        return []
    return found + [grandchild for child in found for grandchild in _children(child)]


if __name__ == "__main__":
    main()
