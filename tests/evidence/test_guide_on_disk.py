"""A guide of rows on the disk: the one of the same rows in memory, whatever stretches they are read in."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.sharding import PARTS, Shards, ShardWriter, open_shards
from deepfm_core.encoding.turned import TurnedRows
from deepfm_core.errors import RunError
from deepfm_core.evidence import guide
from deepfm_core.evidence.guide import Guide, GuidedPair, fit_guides
from deepfm_core.evidence.main_effects import LONGEST_STEP, _Block
from deepfm_core.evidence.stretched import Cells, Held, Stretched
from deepfm_core.schema.kinds import Kind
from deepfm_core.synthetic.worlds import CATEGORICAL, MIXED, MULTI_VALUED, WorldSpec
from tests.evidence.test_guide import encoded_world
from tests.worlds import MIXED as EVERY_KIND
from tests.worlds import encoded, layout

ROWS = 6000


@pytest.fixture(autouse=True)
def room_for_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small windows leave room for all cells."""
    monkeypatch.setattr(guide, "_A_CELL", 1)


def on_disk(table: EncodedTable, folder: Path, window: int = 1000) -> Shards:
    """Write rows as a training part, of which `window` are read at a time."""
    with ShardWriter(folder) as writer:
        for part in PARTS:
            writer.write(part, table)
        writer.finish({})
    numbers = open_shards(folder, table.layout, 1 << 40)[0]["train"].widths
    return open_shards(folder, table.layout, 4 * window * sum(numbers.values()))[0]["train"]


def alike(one: Guide, other: Guide) -> None:
    """Check that two guides differ by no more than sums of floats in another order do."""
    assert [(pair.fields, pair.by_cells) for pair in one.pairs] == [
        (pair.fields, pair.by_cells) for pair in other.pairs
    ]
    assert one.base == pytest.approx(other.base, abs=1e-6)
    np.testing.assert_array_equal(one.keys, other.keys)
    for name in ("first_order", "dense", "weights"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-5)
    assert (one.rows, one.asked) == (other.rows, other.asked)


@pytest.fixture(params=[CATEGORICAL, MIXED, MULTI_VALUED], ids=["categorical", "mixed", "several values"])
def table(request: pytest.FixtureRequest) -> EncodedTable:
    spec: WorldSpec = request.param
    return encoded_world(replace(spec, strengths=(0.6, *spec.strengths[1:])), rows=ROWS)[1]


def test_rows_on_the_disk_have_the_guide_of_rows_in_memory(table: EncodedTable, tmp_path: Path) -> None:
    shards = on_disk(table, tmp_path)
    files = sorted(tmp_path.iterdir())
    with TurnedRows(shards) as rows:
        assert len(rows.stretches) == 6
    found, expected = fit_guides(shards), fit_guides(table)
    assert expected.alone.pairs
    alike(found.alone, expected.alone)
    alike(found.start, expected.start)
    assert sorted(tmp_path.iterdir()) == files


def test_of_more_rows_the_same_sample_is_asked_in_memory_and_on_the_disk(
    table: EncodedTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guide, "MOST_ROWS", ROWS // 2)
    found, expected = fit_guides(on_disk(table, tmp_path)).alone, fit_guides(table).alone
    assert (found.asked, found.rows) == (ROWS // 2, ROWS)
    alike(found, expected)


def test_sizes_of_effects_are_learned_from_all_rows_and_those_of_rare_values_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, table = encoded_world(replace(CATEGORICAL, levels=(200, 300)), rows=ROWS)
    monkeypatch.setattr(guide, "MOST_ROWS", 300)
    sample = guide._sample(table, 0)
    rare = np.setdiff1d(table.ids, sample.ids)
    assert len(rare) > 100
    found = fit_guides(on_disk(table, tmp_path)).start
    assert np.count_nonzero(found.first_order[rare]) > len(rare) / 2


def test_every_kind_of_column_is_read_as_it_is_in_memory(tmp_path: Path) -> None:
    table = encoded(EVERY_KIND, 250, 1)
    with TurnedRows(on_disk(table, tmp_path, window=100)) as rows:
        for field in table.layout.fields:
            read = Stretched.of_field(rows, field)
            x = table.x(field)
            at = slice(field.first_slot, field.first_slot + field.slots)
            ids = np.concatenate([slots.ids for _, slots in read.parts()])
            np.testing.assert_array_equal(ids + field.offset, table.ids[:, at])
            if x is not None:
                np.testing.assert_array_equal(np.concatenate([slots.values for _, slots in read.parts()]), x)
        dense = np.concatenate([slots.values[:, 0] for _, slots in Stretched.of_dense(rows, 1).parts()])
        np.testing.assert_array_equal(dense, table.dense[:, 1].astype(float))


def test_many_cells_are_left_to_the_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, table = encoded_world(replace(CATEGORICAL, fields=4, levels=(10, 20)), rows=ROWS)
    pairs = (GuidedPair((0, 1), 0.6), GuidedPair((0, 2), 0.5), GuidedPair((1, 2), 0.4))
    monkeypatch.setattr(guide, "_supported", lambda *_: (pairs, None))
    with TurnedRows(on_disk(table, tmp_path)) as rows:
        a, b = (Stretched.of_field(rows, table.layout.fields[number]) for number in (0, 1))
        cells = Cells.crossing(a, b, 10**6)
        assert cells is not None
        assert Cells.crossing(a, b, cells.size - 1) is None
    monkeypatch.setattr(guide, "_A_CELL", on_disk(table, tmp_path).window_bytes // cells.size)
    found = fit_guides(on_disk(table, tmp_path)).alone
    assert [pair.by_cells for pair in found.pairs] == [True, False, False]


def test_tables_too_large_to_mark_cell_by_cell_have_the_same_cells(
    table: EncodedTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = table.layout.fields[:2]
    with TurnedRows(on_disk(table, tmp_path)) as rows:
        a, b = (Stretched.of_field(rows, field) for field in fields)
        marked = Cells.crossing(a, b, 10**6)
        monkeypatch.setattr("deepfm_core.evidence.stretched.DIRECT_CODES", 1)
        sorted_ = Cells.crossing(a, b, 10**6)
        assert marked is not None
        assert sorted_ is not None
        np.testing.assert_array_equal(marked.cell_a, sorted_.cell_a)
        np.testing.assert_allclose(marked.squares, sorted_.squares)
        assert Cells.crossing(a, b, marked.size - 1) is None


def test_a_step_of_several_columns_a_row_moves_no_row_too_far() -> None:
    table = encoded(EVERY_KIND, 300, 2)
    columns = Stretched.of_field(Held(table, np.zeros(300)), table.layout.fields[3])
    logit = np.zeros(300)
    step = np.array([9.0, -3.0, 1.0, 5.0])
    shorter, squares = _Block.of(columns).move(step, logit, longest=LONGEST_STEP)
    assert np.abs(logit).max() == pytest.approx(LONGEST_STEP)
    whole = np.concatenate([slots.at_rows(step) for _, slots in columns.parts()])
    np.testing.assert_allclose(logit, shorter * whole, atol=1e-12)
    assert squares == pytest.approx(logit @ logit)


def test_no_room_for_a_copy_by_fields_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, table = encoded_world(CATEGORICAL, rows=1000)
    shards = on_disk(table, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(RunError, match=r"take up to 1MB on the disk of .*Free some space, then resume"):
        fit_guides(shards)


def test_a_disk_that_is_full_while_rows_are_copied_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, table = encoded_world(CATEGORICAL, rows=1000)
    shards = on_disk(table, tmp_path)
    monkeypatch.setattr("deepfm_core.encoding.turned.TemporaryFile", lambda **_: open("/dev/full", "r+b"))  # noqa: SIM115
    with pytest.raises(RunError, match=r"cannot be copied on the disk of .* \(No space left on device\)\. Free some"):
        TurnedRows(shards)


def test_cells_on_the_disk_take_memory_for_those_that_are_occupied_alone(tmp_path: Path) -> None:
    """Each of 28 pairs of 1,990 levels kept a table of four million places: 457 MB for 558,644 cells."""
    table = encoded(layout([(Kind.CATEGORICAL, 1, 1_990)] * 2), 5_000, 0)
    with TurnedRows(on_disk(table, tmp_path)) as rows:
        a, b = (Stretched.of_field(rows, field) for field in table.layout.fields)
        tracemalloc.start()
        cells = Cells.crossing(a, b, 10**6)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert cells is not None
    assert held < 128 * cells.size


def test_drawing_the_rows_to_ask_is_reported_and_may_be_stopped_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, table = encoded_world(CATEGORICAL, rows=1000)
    monkeypatch.setattr(guide, "MOST_ROWS", 200)
    monkeypatch.setattr("deepfm_core.encoding.sharding._IN_ORDER", 100)
    monkeypatch.setattr(guide, "_supported", None)  # not reached
    told = list[float]()

    def report(share: float) -> None:
        told.append(share)
        if len(told) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_guides(on_disk(table, tmp_path), report=report)
    assert told == pytest.approx([guide.DRAWN * n / 10 for n in range(1, 6)])


def test_rows_whose_labels_are_all_equal_have_no_pairs(tmp_path: Path) -> None:
    table = replace(encoded(EVERY_KIND, 50, 0), labels=np.ones(50, np.float32))
    assert fit_guides(on_disk(table, tmp_path)).alone.pairs == ()
