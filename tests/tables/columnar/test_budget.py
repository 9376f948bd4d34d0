"""The budget of decoded bytes: what a file of some hundred bytes becomes is counted before and while it is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks import hostile_files as hostile
from deepfm_core.errors import TableError
from deepfm_core.tables.columnar import budget
from deepfm_core.tables.columnar.budget import VALUE, Budget, weight
from deepfm_core.tables.reader import read_table

MB = 10**6
OVER = "its cells take more than the limit of 5 MB once they are decoded"


def written(content: bytes, tmp_path: Path) -> Path:
    (tmp_path / "t").write_bytes(content)
    return tmp_path / "t"


@pytest.mark.parametrize(
    "content",
    [
        hostile.parquet_of_one_list(1_000_000),
        hostile.parquet_of_structs(100_000, 400),
        hostile.parquet_of_deltas(100_000, 400),
        hostile.feather_of_views(100_000, 400),
        hostile.feather_of_lists(1_000_000),
    ],
    ids=["list", "structs", "deltas", "views", "feather list"],
)
def test_a_file_of_some_hundred_bytes_that_decodes_to_much_is_refused_by_the_limit(
    content: bytes, tmp_path: Path
) -> None:
    assert len(content) < 5_000
    with pytest.raises(TableError, match=OVER):
        read_table(written(content, tmp_path), max_bytes=MB)


def test_what_a_file_announces_is_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "APART", True)
    monkeypatch.setattr(Budget, "column", lambda *_: pytest.fail("a column was decoded"))
    with pytest.raises(TableError, match=OVER):
        read_table(written(hostile.parquet_of_one_list(1_000_000), tmp_path), max_bytes=MB)


def test_what_a_file_does_not_announce_is_refused_while_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "refuse_announced", lambda *_: None)
    decoded = list[int]()
    charge = Budget.charge
    monkeypatch.setattr(Budget, "charge", lambda self, size: (decoded.append(size), charge(self, size)))
    with pytest.raises(TableError, match=OVER):
        read_table(written(hostile.parquet_of_structs(20_000, 4_000), tmp_path), max_bytes=MB)
    assert sum(decoded) < 4 * 5 * MB  # of 80 MB


def test_one_text_in_many_rows_is_read_as_often_as_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "APART", True)
    table = read_table(written(hostile.parquet_of_one_text(100_000, 2_000), tmp_path), max_bytes=MB)
    assert len(table) == 2_000
    assert table.frame["text"].astype(str).unique().tolist() == ["x" * 100_000]


def test_a_column_is_the_same_whether_it_is_stored_as_a_dictionary_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "APART", True)
    texts = [None if n % 11 == 0 else f"t{n % 13}" for n in range(3_000)]
    read = []
    for with_dictionary in (True, False):
        pq.write_table(
            pa.table({"a": texts, "b": pa.array(texts, pa.large_string()), "c": range(3_000)}),
            tmp_path / "t",
            use_dictionary=with_dictionary,
            row_group_size=700,
        )
        read.append(read_table(tmp_path / "t").frame.astype(object))
    assert read[0].equals(read[1])
    assert read[0]["a"].tolist() == [text or "" for text in texts]


def test_the_weight_of_nested_values_is_what_they_become() -> None:
    numbers = pa.array(np.zeros(1_000, np.int8))
    lists = pa.ListArray.from_arrays(pa.array([0, 1_000], pa.int32()), numbers)
    assert weight(lists) >= 1_000 * VALUE
    assert weight(pa.StructArray.from_arrays([lists], ["s"])) > weight(lists)
    shown = pa.ListViewArray.from_arrays(pa.array([0] * 50, pa.int32()), pa.array([1_000] * 50, pa.int32()), numbers)
    assert weight(shown) >= 50 * 1_000 * VALUE
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), pa.array(["x" * 1_000]))
    assert weight(texts) < 1_000
    assert weight(pa.StructArray.from_arrays([texts], ["s"])) > 100 * 1_000
    assert weight(pc.run_end_encode(pa.array([7] * 1_000))) >= 1_000
    assert weight(pa.array(["x" * 100] * 3).cast(pa.string_view()).slice(1, 2)) == 200


def test_no_limit_is_above_half_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "half_of_memory", lambda: 1_000)
    assert Budget(None, "t").limit == 1_000
    assert Budget(100, "t").limit == 500
    assert Budget(10**9, "t").limit == 1_000


def test_the_command_line_has_the_same_limit_and_an_option_for_it(command, tmp_path: Path) -> None:
    path = written(hostile.parquet_of_one_list(1_000_000), tmp_path)
    done = command("read", path, "--max-mb", "1")
    assert done.returncode == 2
    assert OVER in done.stderr
    assert "Traceback" not in done.stderr
    assert command("read", path, "--max-mb", "0").returncode == 2
    path.write_text("a,b\n1,2\n3,4\n")
    assert command("read", path).returncode == 0
