"""Tables that are odd but legal: every model takes them from cells to frames, or a sentence says why not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import load_parts
from deepfm_core.errors import SchemaError
from deepfm_core.explain.example_rows import own_cells
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.runs.predictor import Trained, _reordered
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.spec.events import Finished
from deepfm_core.spec.run import MODEL_NAMES, FitSpec, ModelSpec, RunSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Choices, Table

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(3)
ROWS = 300


def table_of(folder: Path, **columns: object) -> Table:
    frame = pd.DataFrame(columns).assign(y=RNG.integers(2, size=ROWS))
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "odd.csv", index=False)
    return read_table(folder / "odd.csv")


def ended(table: Table, folder: Path, kinds: dict[str, Kind] | None = None, model: str = "deepfm") -> RunFolder:
    schema = infer_schema(table, "y").with_kinds(kinds or {})
    fit = FitSpec(epochs=2, batch_size=64)
    spec = RunSpec("odd", table.name, schema, model=ModelSpec(model, layers=(8,)), fit=fit)
    *_, last = execute(Job(spec, str(folder / "run")), Context(lambda _: table))
    assert isinstance(last, Finished)
    return RunFolder(folder / "run")


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_a_table_with_one_field_has_no_pairs(model: str, tmp_path: Path) -> None:
    folder = ended(table_of(tmp_path, a=RNG.choice(list("pqr"), ROWS)), tmp_path, model=model)
    pairs, levels = folder.frame("pairs"), folder.frame("levels")
    assert pairs is not None
    assert pairs.empty
    assert levels is not None
    assert set(levels["level"]) == {"p", "q", "r"}


def test_dense_fields_alone_get_a_sentence(tmp_path: Path) -> None:
    numbers = {"m": RNG.normal(size=ROWS).round(3), "n": RNG.normal(size=ROWS).round(3)}
    with pytest.raises(SchemaError, match="all fields are dense"):
        ended(table_of(tmp_path, **numbers), tmp_path, {"m": Kind.DENSE, "n": Kind.DENSE})


def test_columns_called_like_what_is_made_of_others_get_a_sentence(tmp_path: Path) -> None:
    times = pd.date_range("2026-01-01", periods=ROWS, freq="7h").astype(str)
    table = table_of(tmp_path, t=times, **{"t hour": RNG.choice(list("ab"), ROWS)})
    with pytest.raises(SchemaError, match="two fields are called `t hour`"):
        ended(table, tmp_path, {"t": Kind.TIMESTAMP})


def test_columns_called_row_come_back_under_their_names(tmp_path: Path) -> None:
    columns = {"row": RNG.choice(list("cd"), ROWS), "row (cell)": RNG.choice(list("ef"), ROWS)}
    cells = ended(table_of(tmp_path, **columns), tmp_path).frame("example_cells")
    assert cells is not None
    assert list(own_cells(cells).columns) == ["row", "row (cell)", "y"]
    assert set(own_cells(cells)["row (cell)"]) == {"e", "f"}


def test_a_validation_table_without_the_label_gets_a_sentence(tmp_path: Path) -> None:
    table = table_of(tmp_path, a=RNG.choice(list("pqr"), ROWS))
    other = Table("other.csv", table.frame.drop(columns="y"), table.report)
    spec = RunSpec("odd", table.name, infer_schema(table, "y"), valid_table="other")
    with pytest.raises(SchemaError, match=r"other.csv: the label column `y` is missing"):
        load_parts(spec, {"odd": table, "other": other}.__getitem__)


def test_a_test_table_of_one_class_and_the_one_trained_on_are_said(tmp_path: Path) -> None:
    table = table_of(tmp_path, a=RNG.choice(list("pqr"), ROWS))
    negative = Table("other.csv", table.frame[table.frame["y"] == "0"], table.report)
    spec = RunSpec("odd", table.name, infer_schema(table, "y"), valid_table="odd", test_table="other")
    notes = load_parts(spec, {"odd": table, "other": negative}.__getitem__).notes
    assert "The validation table is the one trained on: its figures say nothing of unseen rows." in notes
    assert f"All {len(negative)} rows of the test part are negative: AUC cannot be computed there." in notes


def test_label_errors_name_the_row_of_the_table(tmp_path: Path) -> None:
    table = table_of(tmp_path, a=RNG.choice(list("pqr"), ROWS))
    labels = table.frame["y"].astype(str).to_numpy(dtype=object).copy()
    labels[:3], labels[10] = "", "5"
    odd = Table("odd.csv", table.frame.assign(y=pd.Categorical(labels)), table.report)
    spec = RunSpec("odd", table.name, infer_schema(table, "y"))
    with pytest.raises(SchemaError, match=r"row 10 \(line 12\): not a label"):
        load_parts(spec, {"odd": odd}.__getitem__)


def test_the_encoding_is_named_where_columns_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_bytes("città,clic\na,1\nb,0\n".encode("latin-1"))
    schema = Schema(LabelRole("clic", "1", "0"), (FieldRole("città", Kind.CATEGORICAL),))
    trained = SimpleNamespace(encoder=Encoder.fit(read_table(path).frame, schema))
    Trained.require(trained, read_table(path))  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match=r"missing: `città`(.|\n)*the text was read as cp1251, as was said"):
        Trained.require(trained, read_table(path, choices=Choices(encoding="cp1251")))  # type: ignore[arg-type]


def test_columns_of_one_name_in_another_order_are_said() -> None:
    roles = tuple(FieldRole(name, Kind.CATEGORICAL) for name in ("x", "place", "x (2)"))
    schema = Schema(LabelRole("click", "1", "0"), roles)

    def said(names: list[str]) -> list[str]:
        return _reordered(schema, table_from_frame(pd.DataFrame({name: ["a", "b"] for name in names}), "new.csv"))

    assert said(["x", "place", "x (2)"]) == said(["more", "x", "place", "click", "x (2)"]) == []
    (sentence,) = said(["place", "x", "x (2)"])
    assert sentence.startswith("new.csv: two columns had the same name, so the reader numbered them `x` and `x (2)`")
