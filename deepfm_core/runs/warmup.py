"""A run and a question of a few made-up rows, so that the first real one waits for nothing that is done only once."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from deepfm_core._files import write_frame
from deepfm_core.errors import DeepFMError
from deepfm_core.evidence.ranking import observed_of_table
from deepfm_core.runs.job import Context, Engine, Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import RunSpec
from deepfm_core.tables.parquet import read_parquet_table, write_parquet
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Table

ROWS = 2000
_NAME = "trial"


def warmup_run(engine: Engine) -> None:
    """Have an engine do a small run from a file to its predictions; what it leaves is removed.

    Modules are loaded, threads started and kernels chosen at their first use: 0.4 s that the first of a worker's runs
    would take longer to its first loss. A disk that cannot be written to is left for the real run to complain of.
    """
    with suppress(OSError, DeepFMError), tempfile.TemporaryDirectory() as folder:
        table = _table(Path(folder))
        model, fit = preset("recommended", "deepfm", ROWS)
        spec = RunSpec("", _NAME, infer_schema(table, "label"), model=model, fit=replace(fit, epochs=1))
        job = Job(replace(spec, explained=False), str(Path(folder) / "run"))
        for _ in engine(job, Context(lambda _: table)):
            pass


def warmup_answer() -> None:
    """Ask the labels of a small table, from its file to the file of the answer; what it leaves is removed.

    Modules are loaded and memory taken at their first use: 0.2 s that the first answer of a process would take longer.
    """
    with suppress(OSError, DeepFMError), tempfile.TemporaryDirectory() as folder:
        table = _table(Path(folder))
        write_frame(Path(folder) / "answer.parquet", observed_of_table(table, infer_schema(table, "label")))


def _table(folder: Path) -> Table:
    """Write a table of every kind of field and read it back as the store does."""
    lines = [f"v{i % 7},w{i % 3}|w{i % 5},{i * 37 % 1001},{i % 4 // 3}" for i in range(ROWS)]
    source = folder / "trial.csv"
    source.write_text("\n".join(["field,values,number,label", *lines]), encoding="utf-8")
    table = read_table(source, name=_NAME)
    write_parquet(table, folder / "trial.parquet")
    return read_parquet_table(folder / "trial.parquet", _NAME, table.report)
