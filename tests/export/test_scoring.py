"""The stand-alone score.py gives what `predict` gives, for every kind of field, every model, every term."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from deepfm_core.encoding.field import CLASSES
from deepfm_core.encoding.vocabulary import Vocabulary
from deepfm_core.export import standalone
from deepfm_core.export.model_card import Facts
from deepfm_core.export.scoring import score_bytes
from deepfm_core.models.terms import TERMS
from deepfm_core.runs.predictor import Trained
from deepfm_core.spec.models import MODELS
from deepfm_core.store.run_folder import RunFolder
from tests.export.runs import rows, table

CASES = [
    *((model, {}) for model in MODELS),
    ("deepfm", {"batch_norm": True, "activation": "tanh", "layers": (6, 4, 3)}),
    ("dnn", {"activation": "sigmoid", "dropout": 0.0}),
    ("pnn", {"activation": "linear", "embedding_size": 3}),
]


SPELLED = [
    (["US", "true", "us"], ["Us", "us", "TRUE", "True", "x", "US "]),
    (["2.50", "1234", "-0.5"], ["2.5", "2.500", "+2.5", "1,234", "1,234.00", "-.5", "12,34", ".5"]),
    (["00501", "7", "07"], ["501", "501.0", "7.0", "007", "0", "07.0"]),
    (["Caf\u00e9 au lait", "b"], ["Cafe\u0301 au lait", "caf\u00e9\u00a0au  lait", "B", "\u00e9"]),
]
"""Known values, and texts some of which are their spellings."""


def unpacked(folder: RunFolder, into: Path) -> Path:
    zipfile.ZipFile(io.BytesIO(score_bytes(Facts.of(folder)))).extractall(into)
    return into


def test_every_term_has_a_function_in_the_script() -> None:
    absent = {term.__name__ for term in TERMS} - set(standalone.TERMS)
    assert not absent, f"Write functions for {absent} in deepfm_core/export/standalone.py, and add them to TERMS there."


def test_every_kind_has_a_function_in_the_script() -> None:
    known = {**standalone.CODES, **standalone.DENSE}
    absent = {kind.value for kind in CLASSES} - set(known)
    assert not absent, f"Write functions for {absent} in deepfm_core/export/standalone.py, and add them to CODES there."
    assert {kind.value for kind in CLASSES if kind.is_embedded} == set(standalone.CODES)


def test_the_script_needs_python_and_numpy_alone() -> None:
    tree = ast.parse(Path(standalone.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {name.partition(".")[0] for name in names}
    assert packages - {"numpy", "__future__"} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(("known", "texts"), SPELLED)
def test_the_script_knows_the_spellings_that_the_library_knows(known: list[str], texts: list[str]) -> None:
    vocabulary = Vocabulary.holding(known[:2], known[2:])
    alone = standalone.Known({"values": known[:2], "rare": known[2:]})
    expected = vocabulary.ids(pa.array(texts, pa.large_string()), np.zeros(len(texts), dtype=bool))
    assert [alone.feature(text) for text in texts] == expected.tolist()
    assert len(set(expected.tolist())) > 1


@pytest.mark.slow
@pytest.mark.parametrize(("model", "chosen"), CASES)
def test_the_script_gives_the_terms_of_the_model(run_of, tmp_path, model, chosen) -> None:
    folder = run_of(model, **chosen)
    fresh = rows(300, seed=7)  # with values, combinations and moments that training did not hold
    fresh.loc[fresh.index % 7 == 0, "device"] = "never seen"
    fresh.loc[fresh.index % 11 == 0, "device"] = fresh["device"].str.upper()
    alone_in_cell = fresh["interests"].str.split("|").str[0].map("('{}',)".format)
    fresh.loc[fresh.index % 13 == 0, "interests"] = alone_in_cell
    fresh.loc[fresh.index % 5 == 0, "interests"] = fresh["interests"].str.replace("|", "', '").map("['{}']".format)
    fresh.loc[fresh.index % 9 == 0, "interests"] = "['a'|\"z\"| y |a|b|c|d|e|f]"
    data = table(fresh, tmp_path / "fresh.csv")
    expected = Trained.load(folder).explain(data)
    alone = standalone.Model(unpacked(folder, tmp_path / "alone"))
    fm, dnn = alone.parts([dict(row) for _, row in fresh.astype(str).iterrows()])
    np.testing.assert_allclose(fm + dnn, expected["logit"], atol=2e-5)
    np.testing.assert_allclose(fm, expected["fm_logit"], atol=2e-5)
    np.testing.assert_allclose(dnn, expected["dnn_logit"], atol=2e-5)


@pytest.mark.slow
def test_the_script_scores_a_file_in_an_empty_place(run_of, tmp_path) -> None:
    folder = unpacked(run_of("deepfm"), tmp_path / "alone")
    data = table(rows(50, seed=1), tmp_path / "rows.csv")
    command = [sys.executable, "-I", "score.py", str(tmp_path / "rows.csv"), "--parts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scored = pd.read_csv(io.StringIO(done.stdout))
    assert list(scored.columns) == ["row", "probability", "logit", "fm_logit", "dnn_logit"]
    assert list(scored["row"]) == list(range(50))
    np.testing.assert_allclose(scored["probability"], Trained.load(run_of("deepfm")).predict(data), atol=1e-5)


@pytest.mark.slow
def test_the_script_says_what_is_wrong_with_a_file(run_of, tmp_path, capsys, monkeypatch) -> None:
    folder = unpacked(run_of("deepfm"), tmp_path)
    monkeypatch.setattr(standalone, "__file__", str(folder / "score.py"))
    cases = {
        "columns are missing: age": rows(3).drop(columns="age"),
        "row 1, column `price`: `12,5` is not a finite number": rows(3).assign(price=["1", "12,5", "x"]),
        "row 2, column `seen`: `24:00` is not a point in time": rows(3).assign(seen=["", "2024-01-01 10:00", "24:00"]),
    }
    for words, frame in cases.items():
        frame.to_csv(tmp_path / "bad.csv", index=False)
        assert standalone.main([str(tmp_path / "bad.csv")]) == 2
        assert words in capsys.readouterr().err


CLOCKS = [
    ("month/day/year", "12/31/2023 11:05 PM"),
    ("month/day/year", "12/31/2023 12:05 a.m."),
    ("day/month/year", "29.02.2024"),
    ("day month-name year", "Sat, 3 Feb 2024 07:00:59 +01:00"),
    ("month-name day year", "March 5, 2024 23:59"),
    ("yyyymmddhh", "2014102123"),
    ("yymmddhh", "14102100"),
    ("hour:minute", "6:30"),
    ("epoch seconds", "1700000000.5"),
    ("days of a spreadsheet", "45019.97916667"),
    ("days of a spreadsheet", "44766"),
    ("epoch milliseconds", "1700000000123"),
    ("year-month-day", "2024-05-01T00:00:00Z"),
    ("year-month-day", "2024-05-01-13"),
    ("day/month/yy", "30.04.19 13:05"),
    ("month/day/yy", "4/30/70 1:05 PM"),
    ("day month-name yy", "30-Apr-19"),
    ("day month-name year", "30. Mai 2019"),
    ("weekday month-name day hour:minute:second year", "Tue Apr 30 13:05:00 CEST 2019"),
    ("yyyymmddhhmmss and fractions", "20130606000104008"),
    ("yyyymmddThhmmss", "20190430T130500Z"),
    ("epoch nanoseconds", "1556629500123456789"),
]


@pytest.mark.parametrize(("form", "text"), CLOCKS)
def test_points_in_time_are_read_alike(form, text) -> None:
    import pyarrow as pa

    from deepfm_core.schema.timestamps import FORMS, parse_moments

    expected = parse_moments(pa.array([text], pa.large_string()), form)
    field = {"pattern": FORMS[form], "form": form, "column": "at"}
    about = standalone.About({"missing": [], "wrapping": "", "marks": []}, 0)
    assert bool(expected.valid[0])
    assert standalone.moment(field, text, about, 0) == (expected.hours[0], expected.weekdays[0])


@pytest.mark.parametrize("text", ["2024-02-30 10:00", "2024-13-01 10:00", "2024-01-01 25:00", "soon"])
def test_what_is_no_point_in_time_is_refused(text) -> None:
    from deepfm_core.schema.timestamps import FORMS

    field = {"pattern": FORMS["year-month-day"], "form": "year-month-day", "column": "at"}
    with pytest.raises(ValueError, match="is not a point in time"):
        standalone.moment(field, text, standalone.About({"missing": [], "wrapping": "", "marks": []}, 0), 0)


@pytest.mark.parametrize(
    "cells",
    [
        ["1.234,50", "998", "-12,5", "--", "x"],
        ["$1,234.50", "-$5", "$7", "unknown"],
        ["12.5%", "3 %", "0.1%"],
        ["5,20\u00a0€", "1.234,00 €", "7 €"],
        ["1.2K", "3m", "950", "(12)", "7-"],
        ["1'234.5", "1’234", "12"],
        ["EUR 5", "EUR -7.25", "EUR 1,000"],
    ],
)
def test_numbers_are_read_alike_in_every_notation(cells) -> None:
    import pyarrow as pa

    from deepfm_core.schema.number_parsing import notation_of, parse_numbers

    texts = pa.array(cells, pa.large_string())
    notation = notation_of(texts, np.array([1 if cell == "x" else 10 for cell in cells]))
    assert notation is not None
    missing = np.array([cell.lower() in notation.blanks for cell in cells])
    expected = parse_numbers(texts, missing, notation).values
    said = {**notation.to_dict(), **notation.patterns, "is_number": True}
    read = [standalone.written(said, cell) for cell in cells]
    assert [np.nan if text in ("", "x") else float(text) for text in read] == pytest.approx(expected, nan_ok=True)


def test_numbers_grouped_as_in_india_are_read_by_the_script() -> None:
    about = standalone.About({"missing": [""], "wrapping": "", "marks": []}, 0)
    read = about.numbers({"column": "pay"}, ["12,34,567", "1,23,456.5", "1,234", ""])
    np.testing.assert_array_equal(read, [1234567, 123456.5, 1234, np.nan])
