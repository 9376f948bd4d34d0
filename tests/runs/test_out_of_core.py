"""Runs whose rows stay on the disk: as in memory, whatever is interrupted, and a sentence for what is wrong."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from deepfm_core.cli import options
from deepfm_core.encoding import memory
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.sharding import Dataset, MemoryPlan, Sharded, Sharding, bytes_in_memory
from deepfm_core.encoding.splits import load_parts
from deepfm_core.errors import RunError, SchemaError, TableError, TableWarning
from deepfm_core.evidence import guide
from deepfm_core.export.model_card import Facts, model_card
from deepfm_core.export.run_code import classifier_snippet, command_line
from deepfm_core.runs.engine import execute
from deepfm_core.runs.explain_stage import opened_pair, split_by_other
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.events import Cancelled, EpochDone, Event, Finished, Stage
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec, SplitSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.datasets.pieces import Pieces
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Table
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.state import FitState
from tests.conftest import Command, clicks

ROWS, MEMORY = 3_000, 2_000_000_000


def write(folder: Path, frame: pd.DataFrame, files: int = 4) -> Path:
    folder.mkdir(parents=True)
    for number, rows in enumerate(np.array_split(np.arange(len(frame)), files)):
        frame.iloc[rows].to_parquet(folder / f"{number}.parquet", index=False)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("dataset") / "data", clicks(ROWS))


def spec_of(table: Table, model: ModelSpec, fit: FitSpec, *, explained: bool = True) -> RunSpec:
    """Make the spec of a run on a table of `clicks`, without folds."""
    schema = infer_schema(table, "clicked")
    return RunSpec("whole", "clicks", schema, model=model, fit=fit, folds=0, explained=explained)


@pytest.fixture(scope="module")
def spec(data: Path) -> RunSpec:
    model = ModelSpec(guided=True, centred=True)
    return spec_of(read_table(data), model, FitSpec(epochs=3, batch_size=128, averaging=True))


def events_of(spec: RunSpec, table: Table, folder: Path) -> Iterator[Event]:
    return execute(Job(spec, str(folder)), Context(lambda _: table))


def begun(data: Path, folder: Path, memory: int = MEMORY) -> RunFolder:
    made = RunFolder(folder).create()
    Dataset(str(data), memory).write(made)
    return made


def sharded(spec: RunSpec, data: Path, folder: Path, window: int = 1 << 30) -> Sharded:
    passes = Sharding(Pieces(data), spec, MEMORY)
    for step in (passes.divide(), passes.summarise(), passes.write(folder)):
        assert list(step)[-1] == 1.0
    return Sharded.open(folder, lambda rows: window)


def test_a_run_from_the_disk_is_the_run_in_memory_where_one_window_holds_all(data, spec, tmp_path):
    list(events_of(spec, read_table(data), tmp_path / "memory"))
    begun(data, tmp_path / "disk")
    done = list(events_of(spec, Pieces(data).sample(ROWS), tmp_path / "disk"))
    one, other = RunFolder(tmp_path / "memory"), RunFolder(tmp_path / "disk")
    weights = one.load_model()[0], other.load_model()[0]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for name in ("rows", "positives", "valid", "test", "parameters"):
        assert one.summary()[name] == other.summary()[name]
    pd.testing.assert_frame_equal(one.frame("predictions"), other.frame("predictions"))
    assert other.summary()["sample"] == ROWS
    shares = [event.fraction for event in done if isinstance(event, Stage) and event.name == "read"]
    assert shares == sorted(shares)
    assert not other.shards.exists()
    assert not other.has("dataset.json")


@pytest.mark.parametrize("split", [SplitSpec("time", "price"), SplitSpec("group", "site"), SplitSpec()])
def test_rows_are_divided_and_encoded_as_in_memory(data, spec, tmp_path, split):
    spec = replace(spec, split=split, min_count=2)
    table = read_table(data)
    parts = load_parts(spec, lambda _: table)
    encoder = Encoder.fit(table.frame, spec.schema, rows=parts.train.rows, min_count=2)
    found = sharded(spec, data, tmp_path / "shards")
    assert found.encoder.layout == encoder.layout
    np.testing.assert_array_equal(found.encoder.counts, encoder.counts)
    np.testing.assert_allclose(found.encoder.mass, encoder.mass)
    assert found.encoder.ranges == encoder.ranges
    assert found.notes == parts.notes
    for name in ("train", "valid", "test"):
        expected, got = getattr(parts, name).encode(encoder), found.parts[name].read([(0, len(found.parts[name]))])
        for array in ("ids", "weights", "dense", "labels"):
            np.testing.assert_array_equal(getattr(got, array), getattr(expected, array))


def test_small_pieces_and_windows_lose_nothing(data, spec, tmp_path, monkeypatch):
    monkeypatch.setattr(MemoryPlan, "of", classmethod(lambda cls, *_: cls(100, 1 << 30, 10_000)))
    small = sharded(spec, data, tmp_path / "small", window=300 * 4 * 12)
    monkeypatch.undo()
    whole = sharded(spec, data, tmp_path / "whole")
    part = whole.parts["train"].read([(0, len(whole.parts["train"]))])
    windows = list(small.parts["train"].windows())
    assert len(windows) > 5
    np.testing.assert_array_equal(np.concatenate([window.ids for window in windows]), part.ids)
    state = FitState.new(small.encoder.layout, spec.model, spec.fit, 0)
    events = list(fit(spec.fit, small.parts["train"], small.parts["valid"], state))
    other = FitState.new(whole.encoder.layout, spec.model, spec.fit, 0)
    expected = list(fit(spec.fit, whole.parts["train"], whole.parts["valid"], other))
    for found, wanted in zip(events, expected, strict=False):
        if isinstance(found, EpochDone) and isinstance(wanted, EpochDone):
            assert found.valid_logloss == pytest.approx(wanted.valid_logloss, abs=0.005)
    logits = predict_logits(state.model, small.parts["valid"])
    valid = whole.parts["valid"]
    np.testing.assert_allclose(logits, predict_logits(state.model, valid.read([(0, len(valid))])), rtol=1e-6)


@pytest.mark.parametrize("window", [0, 300 * 4 * 12])
def test_a_run_that_was_cancelled_goes_on_without_encoding_again(data, spec, tmp_path, monkeypatch, window):
    sample = Pieces(data).sample(ROWS)
    if window:  # the rows are solved and trained on by stretches, and a sample of them is asked
        monkeypatch.setattr(Dataset, "window_bytes", lambda *_: window)
        monkeypatch.setattr(guide, "FEWEST_ASKED", 1_000)
    begun(data, tmp_path / "once")
    list(events_of(spec, sample, tmp_path / "once"))
    folder = begun(data, tmp_path / "twice")
    epochs = 0

    def cancelled() -> bool:
        return epochs >= 1

    for event in execute(Job(spec, str(folder.path)), Context(lambda _: sample, cancelled)):
        epochs += isinstance(event, EpochDone)
    assert isinstance(event, Cancelled)
    assert folder.shards.exists()
    written = (folder.shards / "train.ids").stat().st_mtime_ns
    ended = []
    for event in events_of(spec, sample, folder.path):
        if isinstance(event, EpochDone):
            assert (folder.shards / "train.ids").stat().st_mtime_ns == written
        ended.append(event)
    assert isinstance(ended[-1], Finished)
    weights = [RunFolder(tmp_path / name).load_model()[0] for name in ("once", "twice")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_rows_that_validate_or_test_do_not_guide(spec, tmp_path):
    spec = replace(spec, split=SplitSpec("time", "when"), fit=replace(spec.fit, epochs=1))
    guides = []
    for held_out in ("as they are", "turned"):
        frame = clicks(ROWS).assign(when=range(ROWS))
        later = frame.index >= 0.8 * ROWS
        if held_out == "turned":
            frame.loc[later, "clicked"] = 1 - frame.loc[later, "clicked"].astype(int)
            frame.loc[later, "device"] = frame.loc[later, "device"].to_numpy()[::-1]
        data = write(tmp_path / held_out / "data", frame)
        folder = begun(data, tmp_path / held_out / "run")
        own = replace(spec, schema=infer_schema(read_table(data), "clicked"))
        list(events_of(own, Pieces(data).sample(ROWS), folder.path))
        model = folder.load_model()[0]
        guides.append([model["bias"], model["table"][:, 0], model["cell_keys"], model["cell_weights"]])
        assert folder.summary()["guide"]["rows"] == 0.8 * ROWS
    assert len(guides[0][3])
    assert all(torch.equal(one, other) for one, other in zip(*guides, strict=True))


def test_what_is_asked_of_a_finished_run_comes_from_its_training_rows_of_the_sample(data, spec, tmp_path):
    sample = Pieces(data).sample(1_000)
    folder = begun(data, tmp_path / "run")
    list(events_of(replace(spec, explained=True), sample, folder.path))
    kept = folder.frame("level_pairs")
    assert kept is not None
    own = kept[(kept["field_a"] == "device") & (kept["field_b"] == "placement")]
    opened = opened_pair(folder, ("device", "placement"), lambda _: sample)
    for name in ("rows", "clicks"):
        assert opened[name].tolist() == own[name].tolist()
    other = split_by_other(folder, folder, lambda _: sample)
    purified = folder.frame("purified_terms")
    assert purified is not None
    bases = purified.loc[purified["term"] == "base", "value"]
    assert other["base"].to_numpy() == pytest.approx(bases.to_numpy(), abs=1e-6)


def test_encoded_rows_that_are_cut_short_are_encoded_anew(data, spec, tmp_path):
    folder = begun(data, tmp_path / "run")
    sharded(spec, data, folder.shards)
    with (folder.shards / "train.ids").open("r+b") as file:
        file.truncate(100)
    last = list(events_of(spec, Pieces(data).sample(ROWS), folder.path))[-1]
    assert isinstance(last, Finished)


def test_files_that_change_vanish_or_come_are_named_and_the_run_goes_on_once_they_are_back(spec, tmp_path):
    data = write(tmp_path / "data", clicks(ROWS))
    sample = Pieces(data).sample(ROWS)
    folder = begun(data, tmp_path / "run")
    moved = tmp_path / "moved.parquet"
    (data / "2.parquet").rename(moved)
    with pytest.raises(TableError, match=r"changed, come or gone .*file `2\.parquet`.*Put back the files"):
        list(events_of(spec, sample, folder.path))
    shutil.copy(data / "1.parquet", data / "2.parquet")
    with pytest.raises(TableError, match=r"file `2\.parquet`"):
        list(events_of(spec, sample, folder.path))
    moved.rename(data / "2.parquet")
    (data / "4.parquet").write_bytes((data / "1.parquet").read_bytes())
    with pytest.raises(TableError, match=r"file `4\.parquet`"):
        list(events_of(spec, sample, folder.path))
    (data / "4.parquet").unlink()
    assert isinstance(list(events_of(spec, sample, folder.path))[-1], Finished)


def test_a_file_that_vanishes_in_the_middle_of_a_pass_is_named(spec, tmp_path):
    data = write(tmp_path / "data", clicks(ROWS))
    passes = Sharding(Pieces(data), spec, MEMORY).divide()
    next(passes)
    (data / "3.parquet").unlink()
    with pytest.raises(TableError, match=r"vanished while the dataset was read \(file `3\.parquet`\)"):
        list(passes)
    assert not (tmp_path / "shards").exists()


def test_a_cell_that_is_no_number_is_named_with_its_file_and_row(spec, tmp_path):
    frame = clicks(ROWS).astype({"price": str})
    data = write(tmp_path / "data", frame)
    last = pd.read_parquet(data / "3.parquet")
    last.loc[700, "price"] = "dear"
    last.to_parquet(data / "3.parquet", index=False)
    passes = Sharding(Pieces(data), spec, MEMORY)
    list(passes.divide())
    with pytest.raises(SchemaError, match=r"3\.parquet`?: column `price`: row 700 is not a number \(found `dear`\)"):
        list(passes.summarise())


def by_day(folder: Path, strays: int) -> tuple[Path, RunSpec]:
    """Write a file a day, each with one text for its day and, in the first, cells that are no days."""
    frame = clicks(ROWS)
    frame["day"] = pd.date_range("2024-01-01", periods=30).repeat(ROWS // 30).strftime("%d.%m.%Y")
    schema = infer_schema(read_table(write(folder / "clean", frame)), "clicked")
    frame.loc[: strays - 1, "day"] = "unknown"
    return write(folder / "data", frame, files=30), RunSpec("whole", "clicks", schema, folds=0)


def test_a_stray_beside_the_one_day_of_its_file_is_missing_as_in_memory(tmp_path):
    data, spec = by_day(tmp_path, strays=1)
    table = read_table(data)
    parts = load_parts(spec, lambda _: table)
    found = sharded(spec, data, tmp_path / "shards")
    expected = parts.train.encode(Encoder.fit(table.frame, spec.schema, rows=parts.train.rows))
    np.testing.assert_array_equal(found.parts["train"].read([(0, len(found.parts["train"]))]).ids, expected.ids)


def test_many_strays_are_named_with_the_first_file(tmp_path):
    data, spec = by_day(tmp_path, strays=ROWS // 2)
    passes = Sharding(Pieces(data), spec, MEMORY)
    list(passes.divide())
    with pytest.raises(SchemaError, match=r"0\.parquet`?: column `day`: row 0 .*is not a point in time \(found `unkn"):
        list(passes.summarise())


def test_a_piece_without_times_does_not_decide_on_their_form(tmp_path):
    frame = clicks(ROWS)
    frame["day"] = pd.Series(pd.date_range("2024-01-01", periods=ROWS, freq="h")).dt.strftime("%Y-%m-%d %H:%M")
    frame.loc[: ROWS // 4, "day"] = None
    data = write(tmp_path / "data", frame)
    schema = infer_schema(read_table(data), "clicked")
    roles = tuple(replace(role, form="") for role in schema.roles)
    found = sharded(RunSpec("whole", "clicks", replace(schema, roles=roles), folds=0), data, tmp_path / "shards")
    assert "day hour" in found.encoder.layout.names


def test_too_little_memory_and_disk_are_said_with_what_is_needed(data, spec, tmp_path, monkeypatch):
    with pytest.raises(RunError, match=r"Memory is 500MB, too little for 3,000 rows\. Use `--memory 851MB`"):
        Sharding(Pieces(data), spec, 500_000_000)
    passes = Sharding(Pieces(data), spec, MEMORY)
    list(passes.divide())
    list(passes.summarise())
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(RunError, match=r"encoded rows take up to .*Free some space, then resume"):
        list(passes.write(tmp_path / "shards"))


def test_more_memory_is_for_larger_pieces_windows_and_vocabularies():
    small, large = (MemoryPlan.of(memory, 1_000_000, 40, 8) for memory in (1_500_000_000, 4_000_000_000))
    assert small.piece_rows < large.piece_rows
    assert small.window_bytes < large.window_bytes
    assert small.features < large.features


# The command


def test_the_command_chooses_says_so_and_leaves_a_run_like_any_other(
    command: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("train", f"{data}/*.parquet", "--label", "clicked", "--epochs", 2, "--memory", "2GB")
    inside = command(*given, "--out", tmp_path / "inside")
    assert "they are read into it" in inside.stderr
    monkeypatch.setattr(memory, "bytes_in_memory", lambda pieces: bytes_in_memory(pieces) * 10)
    done = command(*given, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "they stay on the disk, and the model trains from there" in done.stderr
    summary = RunFolder(tmp_path / "run").summary()
    assert summary["rows"] == {"train": 2400, "valid": 300, "test": 300}
    assert [file["name"] for file in next(iter(summary["files"].values()))] == [f"{n}.parquet" for n in range(4)]
    assert summary["test"] == RunFolder(tmp_path / "inside").summary()["test"]
    scored = command("predict", tmp_path / "run", data / "0.parquet")
    assert scored.stdout.startswith("row,probability")
    exported = command("export", tmp_path / "run", "--format", "bundle", "--out", tmp_path / "run.zip")
    assert exported.returncode == 0, exported.stderr
    in_store = command(*given)
    assert in_store.returncode == 0, in_store.stderr


def test_a_run_on_more_rows_than_its_sample_scores_all_of_them(
    command: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "bytes_in_memory", lambda _: 10**15)
    monkeypatch.setattr(options, "SAMPLE_ROWS", 1_000)
    monkeypatch.setattr(guide, "MOST_ROWS", 1_500)
    given = ("train", data, "--label", "clicked", "--epochs", 3, "--batch-size", 64, "--memory", "2GB")
    done = command(*given, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "which the labels of 1,500 of 2,400 training rows suggest" in done.stderr
    folder = RunFolder(tmp_path / "run")
    summary, predictions = folder.summary(), folder.frame("predictions")
    assert summary["rows"] == {"train": 2400, "valid": 300, "test": 300}
    assert summary["sample"] == 1_000
    assert any("a sample of 1,000 rows" in note for note in summary["notes"])
    assert folder.spec().model.guided
    assert (summary["guide"]["asked"], summary["guide"]["rows"]) == (1_500, 2_400)
    assert summary["guide"]["pairs"]
    assert "the labels of 1,500 of 2,400 training rows suggest" in model_card(Facts.of(folder))
    assert "guide" not in json.loads(command(*given, "--no-guided").stdout)
    assert "(sample of 3,000 rows)" in folder.spec().table_name
    assert 0 < len(predictions) < 600
    table = Pieces(data).sample(1_000)
    labels = (table.frame["clicked"] == "1").to_numpy().astype(int)
    assert (labels[predictions["row"]] == predictions["label"]).all()
    assert summary["test"]["auc"] > 0.55
    assert len(folder.frame("examples")) <= 300
    again = command_line(Facts.of(folder))
    assert again.startswith(f"python -m deepfm_core train {data} ")
    assert "--memory 2GB" in again
    snippet = classifier_snippet(Facts.of(folder))
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)
        exec(snippet, names)
    assert f").fit({str(data)!r}, 'clicked')" in snippet
    assert "    memory='2GB',\n" in snippet
    assert len(names["model"].predict_proba(data)) == ROWS


def test_a_run_in_the_store_is_kept_as_failed_where_a_file_vanishes(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path / "data", clicks(ROWS))
    monkeypatch.setattr(memory, "bytes_in_memory", lambda _: 10**15)
    divide = Sharding.divide

    def without_a_file(passes: Sharding) -> Iterator[float]:
        (data / "3.parquet").unlink()
        yield from divide(passes)

    monkeypatch.setattr(Sharding, "divide", without_a_file)
    done = command("train", data, "--label", "clicked", "--epochs", 1, "--memory", "2GB")
    assert done.returncode == 2
    assert "a file vanished while the dataset was read (file `3.parquet`)" in done.stderr
    assert "*Resume* on the app's page Runs begins it anew" in done.stderr
    listed = [row for row in command("runs").stdout.splitlines() if str(data) in row]
    assert len(listed) == 1
    assert ",failed," in listed[0]


def test_copies_among_rows_on_the_disk_are_said_and_kept(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = clicks(ROWS)
    twice = write(tmp_path / "twice", pd.concat([rows, rows]))
    monkeypatch.setattr(memory, "bytes_in_memory", lambda _: 10**15)
    monkeypatch.setattr(options, "SAMPLE_ROWS", 1_500)
    given = ("train", twice, "--label", "clicked", "--epochs", 1, "--memory", "2GB", "--folds", 0)
    done = command(*given, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    summary = RunFolder(tmp_path / "run").summary()
    assert summary["rows"] == {"train": 4800, "valid": 600, "test": 600}
    assert any("1,500 rows are copies of others, so many of all rows are" in note for note in summary["notes"])
    assert summary["copies"]["kept"]
    assert "all rows are kept. Leave out --copies" in command(*given, "--copies", "drop").stderr


def test_what_does_not_go_with_rows_on_the_disk_is_said(
    command: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("train", data, "--label", "clicked", "--out", tmp_path / "run")
    assert "Write a size such as 2GB" in command(*given, "--memory", "much").stderr
    monkeypatch.setattr(memory, "bytes_in_memory", lambda _: 10**15)
    crossed = command(*given, "--model", "wide-deep", "--cross", "device*placement")
    assert "Crossed fields need all rows in memory" in crossed.stderr
    apart = command(*given, "--test-table", data / "0.parquet")
    assert "Leave out --valid-table and --test-table" in apart.stderr
    text = tmp_path / "text.csv"
    clicks(500).to_csv(text, index=False)
    listed = tmp_path / "listed.json"
    clicks(500).to_json(listed, orient="records")
    for path, said in ((text, "too little for 501 rows"), (listed, "which cannot be read a piece at a time")):
        assert said in command("train", path, "--label", "clicked", "--memory", "1kB").stderr
    assert not (tmp_path / "run").exists()
