"""Tables that are read from the disk in parts: their sample, and the memory that a run on the whole may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app.state import links, saved_tables
from deepfm_core.errors import RunError, SpecError
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.limits import shared

if TYPE_CHECKING:
    from deepfm_core.store.records import Whole


MEMORY = "memory"
"""Name of the choice of how much memory a run on a dataset may take."""
_SIZES = [n * 10**9 for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)]


def memory_sizes(whole: Whole) -> list[str]:
    """Give the sizes of memory that a run on a dataset may be given, smallest first; the last is the usual one."""
    from deepfm_core.encoding.sharding import least_memory, said_bytes

    most, least = most_memory(), least_memory(whole.rows)
    sizes = [size for size in (least, *_SIZES, most) if least <= size <= most]
    return list(dict.fromkeys(said_bytes(size, up=size == least) for size in sorted(sizes)))


def most_memory() -> int:
    """Give the most bytes that a run on a dataset may take: half of the machine's, on a shared server as for a file."""
    from deepfm_core.store.untrusted import Limits
    from deepfm_core.tables.columnar.budget import half_of_memory

    return Limits.default().memory if shared() else half_of_memory()


def dataset_of(spec: RunSpec, whole: Whole) -> dict[str, Any]:
    """Give what a run on a dataset needs besides its spec, as a run's `dataset.json` has it.

    Raises:
        DeepFMError: the run needs all rows in memory, the memory is too little, or the files may not be read.
    """
    if spec.model.crosses or spec.valid_table or spec.test_table:
        what = "Crossed fields need" if spec.model.crosses else "Separate tables to validate or test on need"
        raise SpecError(f"{what} all rows in memory, and these {whole.rows:,} stay on the disk. Leave them out.")
    saved_tables.require_whole(whole)
    sizes = memory_sizes(whole)
    if not sizes:
        from deepfm_core.encoding.sharding import least_memory, said_bytes

        least = said_bytes(least_memory(whole.rows), up=True)
        raise RunError(
            f"{whole.rows:,} rows need {least} of memory, and a run may take {said_bytes(most_memory())} here. Open "
            "fewer files."
        )
    from deepfm_core.encoding.memory import memory_of

    chosen, choices = links.chosen(MEMORY), saved_tables.table(spec.table).report.choices
    memory = memory_of(chosen if chosen in sizes else sizes[-1])
    return {"source": whole.source, "memory": memory, "choices": choices.to_dict()}


def choose_memory(sha: str) -> None:
    """Draw how much memory a run on a dataset may take; nothing for a table that is the whole."""
    whole = saved_tables.whole_of(sha)
    if whole is None or not (sizes := memory_sizes(whole)):
        return
    st.selectbox("Memory", sizes, help=_MEMORY_HELP, **links.mirror(MEMORY, sizes, sizes[-1]))
    st.caption(f"The run trains on all {whole.rows:,} rows, from the disk.")


_MEMORY_HELP = (
    "What the run plans for. The rows stay on the disk, encoded, and the model reads as many at a time as fit. More "
    "memory keeps more rare values, and shuffles the rows better."
)


def say_sample(sha: str, *, alone: bool = False) -> None:
    """Say that a table is a sample of a dataset, and which rows are trained on; with `alone`, the sample's."""
    whole = saved_tables.whole_of(sha)
    if whole is None:
        return
    rows = f"a sample of {len(saved_tables.table(sha)):,} of {whole.rows:,} rows, which do not fit into memory"
    then = (
        "Runs here train and are judged on the sample alone. *Train* takes all rows."
        if alone
        else "Roles, values and pairs below are of the sample. *Train* takes all rows, from the disk."
    )
    st.info(f"This table is {rows}. {then}", icon=":material/database:")
