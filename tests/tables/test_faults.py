"""Every fault that a file can have ends in the right table or in a sentence, and docs/tables.md lists it."""

from pathlib import Path

import pandas as pd
import pytest

from deepfm_core.errors import TableError
from deepfm_core.tables.reader import read_table
from tests.tables.faults import FAULTS, REFUSED, SAID, Fault, score

LISTED = (Path(__file__).resolve().parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")


def read(fault: Fault, folder: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """Read a faulty file; return its table, or None, and what was said."""
    path = folder / "table"
    path.write_bytes(fault.content)
    try:
        table = read_table(path)
    except TableError as error:
        return None, [str(error)]
    return table.frame, table.report.sentences()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_a_faulty_file_gives_its_table_or_a_sentence(fault: Fault, tmp_path: Path) -> None:
    frame, sentences = read(fault, tmp_path)
    assert score(fault, frame) == 10.0, (
        sentences,
        None if frame is None else [*frame.columns, *frame.head(4).to_numpy()],
    )
    if fault.outcome in (SAID, REFUSED):
        assert any(fault.said in sentence for sentence in sentences), sentences
    else:
        assert sentences == []


def test_the_faults_are_many_and_of_different_kinds() -> None:
    assert len({fault.kind for fault in FAULTS}) == len(FAULTS) >= 80


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_a_fault_is_listed_with_its_outcome(fault: Fault) -> None:
    assert f"| {fault.kind} | {fault.outcome} |" in LISTED
