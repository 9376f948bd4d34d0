"""A corpus of hostile files, small: each is read or refused in a sentence, and leaves nothing behind.

`benchmarks/hostile_files.py` has them at full size, with what they take.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hostile_files import SMALL, corpus, damaged
from deepfm_core.errors import DeepFMError
from deepfm_core.store.store import Store
from deepfm_core.store.untrusted import MEMORY, SECONDS
from deepfm_core.tables.reader import read_table

pytestmark = pytest.mark.slow

LIMIT = 2 * 10**6
LONG = 200_000
"""Bytes of those of lines, which are mended one by one."""
READ = {
    "Parquet: one text of 1 MB in 20,000 rows",
    "JSON Lines: a line of 100 MB",
    "CSV: a line of 100 MB",
    "CSV: a quote that is never closed, 100 MB",
    "CSV: quotes that open anew on every line, 100 MB",
    "CSV: quotes that open anew on every line, 20 MB",
    "CSV: a million ways to end the cells of each line, 20 MB",
}
"""What a small corpus has that may be read."""


@pytest.mark.parametrize("what", corpus(SMALL))
def test_a_hostile_file_is_read_or_refused_in_a_sentence(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEMORY, "1000")
    monkeypatch.setenv(SECONDS, "60")
    store = Store(tmp_path)
    content = corpus(SMALL)[what]()
    if what.startswith("CSV: ") and what in READ - {"CSV: a line of 100 MB"}:
        content = content[: content.rindex(b"\n", 0, LONG) + 1]
    if what in READ:
        assert store.import_table(content, "t", max_bytes=LIMIT).rows
        return
    with pytest.raises(DeepFMError, match="Table `t`"):
        store.import_table(content, "t", max_bytes=LIMIT)
    assert not list((tmp_path / "tables").glob("*"))


def test_files_that_are_cut_or_flipped_raise_only_errors_of_the_project(tmp_path: Path) -> None:
    outcomes = set()
    for what, content in damaged(280):
        (tmp_path / "t").write_bytes(content)
        try:
            read_table(tmp_path / "t", max_bytes=LIMIT)
            outcomes.add((what, "read"))
        except DeepFMError:
            outcomes.add((what, "refused"))
    assert {kind for kind, _ in outcomes} == {
        f"{kind}, {how}"
        for kind in ("Parquet", "Feather", "JSON Lines", "CSV", "gzip", "zip", "xlsx")
        for how in ("cut", "flipped")
    }
