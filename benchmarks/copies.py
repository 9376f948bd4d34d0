"""Which tables are taken for copied ones: the table of docs/decisions/037.

    python benchmarks/copies.py adult_train.csv:income online_shoppers_intention.csv:Revenue
    python benchmarks/copies.py --write doubled.csv

The second writes the noise whose every row stands twice, to train on. The first prints worlds made here, and then each
file as it is and with every row twice: pairs of rows that are alike in the columns that enter the model, how many would
be by chance, how many of the pairs differ in their labels, how many were expected to, and how many rows are called
copies. Last comes what a look at a million rows takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from deepfm_core.schema.copies import Alike, look_for_copies
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.labels import labelled_rows
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.reader import read_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="FILE:LABEL")
    parser.add_argument("--write", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.write is not None:
        pd.concat([noise(1500)] * 2).to_csv(arguments.write, index=False)
        return
    named = arguments.tables
    print("| table | rows | pairs alike | by chance | differ | expected | copies |\n|---|---|---|---|---|---|---|")
    for name, frame in worlds():
        print(f"| {name} | {figures(frame, 'clicked')} |", flush=True)
    for path, _, label in (each.partition(":") for each in named):
        frame = read_table(Path(path)).frame.astype(str)
        print(f"| {Path(path).name} | {figures(frame, label)} |", flush=True)
        print(f"| {Path(path).name} twice | {figures(pd.concat([frame, frame]), label)} |", flush=True)
    for name, frame in (("distinct", noise(1_000_000)), ("twice", pd.concat([noise(500_000)] * 2))):
        print(f"1,000,000 rows, {name}: {seconds(frame):.2f} CPU seconds")


def figures(frame: pd.DataFrame, label: str) -> str:
    table = table_from_frame(frame, "table")
    schema = infer_schema(table, label)
    rows, labels = labelled_rows(table.frame, schema.label, table.name)
    alike = Alike.of(table.frame, [role.column for role in schema.used], rows, labels)
    copies = look_for_copies(table.frame, schema, table.name).copies.count
    counted = f"{alike.pairs:,.0f} | {alike.chance:,.1f} | {alike.different:,.0f} | {alike.expected:,.1f}"
    return f"{len(rows):,} | {counted} | {copies:,}"


def seconds(frame: pd.DataFrame) -> float:
    table = table_from_frame(frame, "table")
    schema = infer_schema(table, "clicked")
    began = time.process_time()
    look_for_copies(table.frame, schema, table.name)
    return time.process_time() - began


def worlds() -> Iterator[tuple[str, pd.DataFrame]]:
    rng = np.random.default_rng(0)
    rows = noise(1500)
    times = np.where(rng.random(len(rows)) < 0.3, rng.integers(2, 6, len(rows)), 1)
    yield "noise", rows
    yield "noise, each row twice", pd.concat([rows, rows])
    yield "noise, 30% of the rows 2 to 5 times", rows.loc[rows.index.repeat(times)]
    yield "log of users and advertisements", log(1.0)
    yield "log, pairs of both with sd 6", log(6.0)
    small = few(5000)
    yield "4 fields of 4 values", small
    yield "4 fields of 4 values, each row twice", pd.concat([small, small])
    decided = few(2000)
    decided["clicked"] = ((decided["field0"] == "a") ^ (decided["field1"] == "a")).astype(int)
    yield "4 fields that decide the label", decided


def noise(count: int, seed: int = 0) -> pd.DataFrame:
    """Draw 13 fields, numbers, categories and ids, and labels that depend on none."""
    rng = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {f"number{k}": rng.normal(size=count).round(4) for k in range(5)}
    columns |= {f"kind{k}": np.array(list("abcdefgh"))[rng.integers(0, 8, count)] for k in range(4)}
    columns |= {f"id{k}": np.char.add("u", rng.integers(0, 40, count).astype(str)) for k in range(4)}
    return pd.DataFrame(columns).assign(clicked=(rng.random(count) < 0.3).astype(int))


def few(count: int, seed: int = 0) -> pd.DataFrame:
    """Draw four fields of four values."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"field{k}": rng.choice(list("abcd"), count) for k in range(4)})
    return frame.assign(clicked=(rng.random(count) < 0.3).astype(int))


def log(spread: float, count: int = 20_000, seed: int = 0) -> pd.DataFrame:
    """Draw impressions of 40 advertisements to 300 users who return, with numbers and texts of both in every row."""
    rng = np.random.default_rng(seed)
    users = pd.DataFrame({"user": [f"u{k}" for k in range(300)], "income": rng.normal(size=300).round(5)})
    ads = pd.DataFrame({"ad": [f"a{k}" for k in range(40)], "price": rng.gamma(2, 3, 40).round(3)})
    u, a = rng.zipf(1.5, count) % 300, rng.integers(0, 40, count)
    logit = -2 + rng.normal(size=300)[u] + spread * rng.normal(size=(300, 40))[u, a]
    clicked = (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(int)
    return pd.concat([users.iloc[u].reset_index(drop=True), ads.iloc[a].reset_index(drop=True)], axis=1).assign(
        clicked=clicked
    )


if __name__ == "__main__":
    main()
