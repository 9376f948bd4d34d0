"""Each kind of trouble that docs/tables.md lists ("Troubles that people report") ends as that table says.

A trial makes an input of its kind, checks what it becomes, and gives the sentences that go with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfm_core.cli.options import scored_table
from deepfm_core.cli.parser import parse
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import split_rows
from deepfm_core.encoding.unseen import unseen_notes
from deepfm_core.errors import DeepFMError
from deepfm_core.evidence.ranking import observed_interactions
from deepfm_core.runs.predictor import Trained, _reordered
from deepfm_core.runs.progress import expectations
from deepfm_core.schema.column import MARKS, Cells
from deepfm_core.schema.infer import infer_schema, verdict, with_separators
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import RunSpec, SplitSpec
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Choices, Table
from tests.tables.faults import BODY, FAULTS, HEADER, LINES, TEXT, score
from tests.tables.test_containers import workbook

LISTED = (Path(__file__).resolve().parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
RECOGNISED, SAID, REFUSED = "recognised", "said", "refused"


@dataclass(frozen=True)
class Trial:
    """An input of a kind, and what should come of it.

    Attributes:
        kind: the trouble, as the document calls it.
        outcome: recognised without a word, said, or refused.
        run: takes a folder, checks what the input becomes, and returns the sentences about it.
        said: a part of the sentence or of the error.
    """

    kind: str
    outcome: str
    run: Callable[[Path], list[str]]
    said: str = ""


TRIALS: list[Trial] = []


def trial(kind: str, outcome: str, said: str = "", **values: Any) -> Callable[[Any], Any]:
    """Register a function as a trial."""

    def register(run: Callable[..., list[str]]) -> Callable[..., list[str]]:
        TRIALS.append(Trial(kind, outcome, partial(run, **values), said))
        return run

    return register


def listed() -> dict[str, set[str]]:
    """Give the words for what becomes of each kind in the document."""
    section = LISTED.partition("## Troubles that people report")[2]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| \[", section, re.M)
    return {kind: {RECOGNISED, SAID, REFUSED} & set(re.findall(r"\w+", outcome)) for kind, outcome in rows}


def test_every_listed_kind_has_trials_of_all_its_outcomes() -> None:
    tried: dict[str, set[str]] = {}
    for each in TRIALS:
        tried.setdefault(each.kind, set()).add(each.outcome)
    assert tried == listed()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("each", TRIALS, ids=lambda each: f"{each.kind}: {each.outcome}")
def test_a_trouble_ends_as_it_is_listed(each: Trial, tmp_path: Path) -> None:
    if each.outcome == REFUSED:
        with pytest.raises(DeepFMError, match=re.escape(each.said)):
            each.run(tmp_path)
        return
    sentences = each.run(tmp_path)
    if each.outcome == RECOGNISED:
        assert sentences == []
    else:
        assert any(each.said in sentence for sentence in sentences), sentences


# How trials read and understand.

N = 1200
rng = np.random.default_rng(12)
CLICK = (rng.random(N) < 0.3).astype(int)
PLACE = rng.choice(list("abc"), N)


def read(folder: Path, content: bytes | str, **settings: Any) -> Table:
    """Read a file."""
    path = folder / "table"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, **settings)


def cells(table: Table) -> list[list[str]]:
    return table.frame.astype(object).to_numpy().tolist()


def table_of(**columns: Any) -> Table:
    return table_from_frame(pd.DataFrame({"place": PLACE, **columns, "click": CLICK}))


def understood(table: Table, **settings: Any) -> tuple[Schema, list[str]]:
    """Give the schema of a table, and what is said of it beside the reasons of kinds."""
    schema = infer_schema(table, "click", **settings)
    return schema, [*verdict(table, schema)[1:], *(role.warning for role in schema.roles if role.warning)]


def kinds_of(schema: Schema) -> dict[str, Kind]:
    return {role.column: role.kind for role in schema.roles}


def file_of(fault: str) -> Callable[[Path], list[str]]:
    """Make a trial of a fault of files."""
    (found,) = (each for each in FAULTS if each.kind == fault)

    def run(folder: Path) -> list[str]:
        table = read(folder, found.content)
        assert score(found, table.frame) == 10.0
        return table.report.sentences()

    return run


def files(kind: str, outcome: str, faults: dict[str, str]) -> None:
    TRIALS.extend(Trial(kind, outcome, file_of(fault), said) for fault, said in faults.items())


# Files.

QUOTES = "quotes after a backslash, not doubled or never closed"
files(QUOTES, RECOGNISED, {"a backslash before quotes": ""})
files(
    QUOTES,
    SAID,
    {"quotes that are not doubled": "not closed or not doubled", "a quote that is never closed": "is not closed"},
)


@trial("a quoted cell that may hold rows", SAID, "hold line ends and what may be rows")
def _(folder: Path) -> list[str]:
    table = read(folder, 'a,b\n1,2\n3,"x\n4,y"\n5,6\n')
    assert cells(table)[1] == ["3", "x\n4,y"]
    return table.report.sentences()


NOT_ROWS = "empty records, a header once more, totals, titles, notes"
files(
    NOT_ROWS,
    SAID,
    {
        "records of empty cells between rows": "40 empty records",
        "the header once more": "header once more",
        "totals at the end": "holds totals",
        "a title above the table": "before the header",
        "a source below the table": "below the table",
    },
)


@trial(NOT_ROWS, SAID, "every record is a row")
def _(folder: Path) -> list[str]:
    table = read(folder, TEXT + ",,,\n" + HEADER + "Total,9,,20\n", choices=Choices(rows="all"))
    assert len(table) == len(LINES) - 1 + 3
    return [*table.report.sentences(), *(["every record is a row"] if table.report.choices.rows == "all" else [])]


files("no header line", SAID, {"no header line": "reads like a row"})
NAMES = "a name twice, without one, too many or too few"
files(
    NAMES,
    SAID,
    {
        "a name twice": "again",
        "a column without a name": "has no name",
        "a name too many": "was left out",
        "a name too few": "has 3 names where rows have 4",
    },
)


@trial(NAMES, SAID, "the two may be swapped")
def _(folder: Path) -> list[str]:
    schema = infer_schema(read(folder, "x,place,x,click\n" + BODY.replace(".", "")), "click")
    return _reordered(schema, read(folder, "place,x,x,click\n" + BODY))


RAGGED = "delimiters at the end, ragged rows"
files(
    RAGGED,
    SAID,
    {"a delimiter at the end of the rows": "Every row ends", "a row with a cell too many": "5 values where"},
)


@trial(RAGGED, REFUSED, "values where the header has 4")
def _(folder: Path) -> list[str]:
    return read(folder, TEXT + "home,1.1,x,1,9\nlist,2\n" * 12).report.sentences()


TWO = "two tables in a file"
files(TWO, SAID, {"a smaller table below": "another table of 10 lines", "a smaller table above": "before the header"})
SCRIPTS = "encodings of other scripts"
files(SCRIPTS, SAID, {f"{codec} text": "not UTF-8" for codec in ("cp1251", "koi8-r", "gb18030", "big5")})


@trial(SCRIPTS, RECOGNISED, codec="shift_jis", text="クリック")
@trial(SCRIPTS, RECOGNISED, codec="cp1255", text="שלום")
def _(folder: Path, codec: str, text: str) -> list[str]:
    content = f"place,{text}\n" + "".join(f"{'ab'[i % 2]},{text}\n" for i in range(9))
    table = read(folder, content.encode(codec), choices=Choices(encoding=codec))
    assert [*table.frame.columns] == ["place", text]
    return table.report.sentences()


ARROW = "Parquet of every type, pandas' index"


@trial(ARROW, RECOGNISED)
def _(folder: Path) -> list[str]:
    values = {
        "flag": pa.array([True, None]),
        "amount": pa.array([None, 12.5]),
        "tags": pa.array([["a", "b"], []]),
        "device": pa.array([{"os": "x"}, None]),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "wait": pa.array([3_600_000, None], pa.duration("ms")),
        "none": pa.nulls(2),
    }
    pq.write_table(pa.table(values), folder / "t")
    table = read_table(folder / "t")
    assert cells(table) == [["true", "", "a|b", '{"os": "x"}', '{"k": 1}', "3600", ""], ["", "12.5", *[""] * 5]]
    return table.report.sentences()


@trial(ARROW, SAID, "the row numbers that pandas wrote, was left out")
def _(folder: Path) -> list[str]:
    pd.DataFrame({"a": list("xyz"), "b": [1, 0, 1]}, index=[5, 3, 9]).to_parquet(folder / "t")
    table = read_table(folder / "t")
    assert [*table.frame.columns] == ["a", "b"]
    return table.report.sentences()


BOXES = "workbooks, archives, JSON Lines"
files(BOXES, RECOGNISED, {"gzip": "", "an object of JSON a line": ""})
files(BOXES, SAID, {"a zip archive": "unpacked from the archive"})


@trial(BOXES, SAID, "The sheet `May` was read.")
def _(folder: Path) -> list[str]:
    pytest.importorskip("python_calamine")
    table = read(folder, workbook(May=[["a", "b"], ["x", 1], ["y", 2]]))
    assert cells(table) == [["x", "1"], ["y", "2"]]
    return table.report.sentences()


# Labels.


BLANK = "a label of one value and blanks"


@trial(BLANK, REFUSED, "are blank")
def _(folder: Path) -> list[str]:
    return understood(read(folder, "place,x,click\n" + "a,p,1\nb,q,\nc,q,\n" * 20))[1]


def test_a_label_of_one_value_and_blanks_goes_on_by_one_option(tmp_path: Path) -> None:
    schema, _ = understood(read(tmp_path, "place,x,click\n" + "a,p,1\nb,q,\nc,q,\n" * 20), blank_negative=True)
    assert schema.label.negative == ""


HARDLY = "hardly any positives"


@trial(HARDLY, RECOGNISED)
def _(folder: Path) -> list[str]:
    rows = [f"{'abc'[i % 3]},{'pqr'[i % 7 % 3]},{int(i % 100 == 7)}\n" for i in range(N)]
    return understood(read(folder, "place,x,click\n" + "".join(rows)))[1]


@trial(HARDLY, SAID, "AUC cannot be computed there")
def _(folder: Path) -> list[str]:
    days = pd.DataFrame({"day": [f"2024-01-{i // 10 + 1:02d}" for i in range(200)]}, dtype="category")
    labels = (np.arange(200) < 12).astype(np.float32)
    return list(split_rows(labels, SplitSpec("time", "day"), days, 0).notes)


# Tables that are scored.


TRAINING = pd.DataFrame(
    {
        "zip": [f"{code:05d}" for code in rng.integers(500, 900, N)],
        "country": rng.choice(["US", "NO", "IT"], N),
        "mobile": rng.random(N) < 0.5,
        "tags": [rng.choice(list("abcdef"), rng.integers(1, 4), replace=False).tolist() for _ in range(N)],
        "price": rng.lognormal(3, 1, N).round(2),
        "click": CLICK,
    }
)


def scored(frame: pd.DataFrame, train: pd.DataFrame = TRAINING) -> list[str]:
    """Give what is said of a frame whose rows a model of another one scores."""
    table = table_from_frame(train)
    encoder = Encoder.fit(table.frame, infer_schema(table, "click"))
    new = table_from_frame(frame).frame
    encoder.encode(new, subject="new")
    return unseen_notes(encoder, new, "new")


SPELLING = "a table that is scored in another format or spelling"


@trial(SPELLING, RECOGNISED)
def _(folder: Path) -> list[str]:
    TRAINING.to_csv(folder / "csv", index=False)
    TRAINING.to_parquet(folder / "parquet", index=False)
    TRAINING.to_json(folder / "json", orient="records", lines=True)
    trained = read_table(folder / "csv")
    encoder = Encoder.fit(trained.frame, infer_schema(trained, "click"))
    own = encoder.encode(trained.frame, subject="csv")
    for name in ("parquet", "json"):
        other = read_table(folder / name)
        np.testing.assert_array_equal(encoder.encode(other.frame, subject=name).ids, own.ids)
        assert unseen_notes(encoder, other.frame, name) == []
    return []


@trial(SPELLING, SAID, "hold values that training did not see, such as `xUS`")
def _(folder: Path) -> list[str]:
    return scored(TRAINING.assign(country="x" + TRAINING["country"].where(TRAINING["country"] == "US", "US")))


@trial(SPELLING, REFUSED, "hold values that training did not see")
def _(folder: Path) -> list[str]:
    TRAINING.assign(country="FR").to_csv(folder / "new", index=False)
    table = table_from_frame(TRAINING)
    encoder = Encoder.fit(table.frame, infer_schema(table, "click"))
    trained = SimpleNamespace(only_column=None, unseen=lambda new: unseen_notes(encoder, new.frame, new.name))
    scored_table(parse(["predict", "run", str(folder / "new"), "--strict"]), cast(Trained, trained))
    return []


LOST = "codes that lost their zeros, capitals or decimals"


@trial(LOST, RECOGNISED)
def _(folder: Path) -> list[str]:
    codes = TRAINING["zip"].str.lstrip("0")
    lower = TRAINING["country"].str.lower()
    return [*scored(TRAINING.assign(zip=codes, country=lower)), *scored(TRAINING.assign(zip=codes + ".0"))]


@trial(LOST, SAID, "field `zip`: 100% of the cells")
def _(folder: Path) -> list[str]:
    both = TRAINING.assign(zip=np.where(np.arange(N) % 2, "00501", "0501"))
    return scored(TRAINING.assign(zip="501"), both)


EMPTY = "an empty column, or one of new values, when scoring"


@trial(EMPTY, SAID, "have no value, in training 0.0% had none", changed={"zip": ""})
@trial(EMPTY, SAID, "have no value, in training 0.0% had none", changed={"price": None})
@trial(EMPTY, SAID, "hold values that training did not see", changed={"country": "FR"})
def _(folder: Path, changed: dict[str, Any]) -> list[str]:
    return scored(TRAINING.assign(**changed))


@trial("numbers of another unit when scoring", SAID, "the range of the training rows")
def _(folder: Path) -> list[str]:
    return scored(TRAINING.assign(price=TRAINING["price"] * 100))


# Columns.


LEAK = "a time or value that only the outcome has"


@trial(LEAK, SAID, "alone whether it has a value predicts the label with AUC 1.000")
def _(folder: Path) -> list[str]:
    times = pd.Series((pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 10**6, N), unit="s")).astype(str))
    schema, sentences = understood(table_of(installed=times.where(CLICK == 1, "")))
    assert schema.role("installed").kind is Kind.IGNORE
    return sentences


@trial(LEAK, SAID, "predicts the label with AUC 0.9")
def _(folder: Path) -> list[str]:
    wrong = rng.random(N) < 0.03
    schema, sentences = understood(table_of(paid=np.where(wrong, 1 - CLICK, CLICK)))
    assert schema.role("paid").kind is not Kind.IGNORE
    return sentences


TIMES = "times in many forms, days and months in doubt"


@trial(TIMES, RECOGNISED, form="%d/%m/%y %H:%M")
@trial(TIMES, RECOGNISED, form="%d-%b-%y")
@trial(TIMES, RECOGNISED, form="%Y%m%d%H%M%S123")
@trial(TIMES, RECOGNISED, form="%Y%m%dT%H%M%SZ")
@trial(TIMES, RECOGNISED, form="%a %b %d %H:%M:%S %Y")
@trial(TIMES, RECOGNISED, form="%Y-%m-%d-%H")
@trial(TIMES, RECOGNISED, form="%m/%d/%y %I:%M %p")
def _(folder: Path, form: str) -> list[str]:
    moments = pd.Timestamp("2019-04-01") + pd.to_timedelta(rng.integers(0, 60 * 86400, N), unit="s")
    schema, sentences = understood(table_of(seen=moments.strftime(form)))
    assert schema.role("seen").kind is Kind.TIMESTAMP
    return sentences


@trial(TIMES, SAID, "month first")
def _(folder: Path) -> list[str]:
    table = table_of(seen=[f"0{a}/0{b}/2024" for a, b in rng.integers(1, 10, (N, 2))])
    schema, sentences = understood(table)
    assert schema.role("seen").kind is Kind.TIMESTAMP
    assert not [sentence for sentence in understood(table, said={"seen": "day first"})[1] if "month first" in sentence]
    return sentences


@trial("times of no known form", SAID, "looks like points in time")
def _(folder: Path) -> list[str]:
    moments = pd.Timestamp("2019-04-01") + pd.to_timedelta(rng.integers(0, 60 * 86400, N), unit="s")
    return understood(table_of(seen=moments.strftime("%Y~%m~%d at %H.%M.%S o'clock")))[1]


@trial("row numbers left over", SAID, "row numbers, ")
def _(folder: Path) -> list[str]:
    schema, sentences = understood(table_of(**{"Unnamed: 0": rng.choice(40_000, N, replace=False)}))
    assert schema.role("Unnamed: 0").kind is Kind.IGNORE
    return sentences


@trial("the order of the log", SAID, "the labels follow the order of the log")
def _(folder: Path) -> list[str]:
    order = np.argsort(np.argsort(CLICK + rng.random(N) / 2))
    return understood(table_of(row_number=order))[1]


NOUNS = "identifiers under bare nouns, typed headers"


@trial(NOUNS, RECOGNISED, name="user", values=rng.integers(1, 150, N))
@trial(NOUNS, RECOGNISED, name="advertiser", values=rng.integers(1, 150, N))
@trial(NOUNS, RECOGNISED, name="userid", values=rng.integers(1, 150, N))
@trial(NOUNS, RECOGNISED, name="C14", values=rng.integers(1, 150, N))
@trial(NOUNS, RECOGNISED, name="what:token", values=rng.integers(1, 150, N))
@trial("identifiers longer than a number can hold", RECOGNISED, name="whom",
       values=[f"1234567890123456{i % 150:03d}" for i in rng.integers(0, 150, N)])  # fmt: skip
def _(folder: Path, name: str, values: Any) -> list[str]:
    schema, sentences = understood(table_of(**{name: values}))
    assert schema.role(name).kind is Kind.CATEGORICAL
    return sentences


@trial("long identifiers that lost digits: `1.23E+18`, or zeros at their end", SAID, "have lost digits",
       values=[f"{1 + i / 100:.2f}E+18" for i in rng.integers(0, 150, N)])  # fmt: skip
@trial("long identifiers that lost digits: `1.23E+18`, or zeros at their end", SAID, "have lost digits",
       values=[f"123456789012{i:03d}000" for i in rng.integers(0, 150, N)])  # fmt: skip
def _(folder: Path, values: list[str]) -> list[str]:
    schema, sentences = understood(table_of(whom=values))
    assert schema.role("whom").kind is Kind.CATEGORICAL
    return sentences


@trial("numbers declared as categories", RECOGNISED, values=pd.Categorical(rng.integers(0, 40, N) * 2.5))
@trial("values as numpy writes them: `[np.str_('a')]`", RECOGNISED,
       values=[str([np.str_(part)]) for part in rng.choice(list("abc"), N)])  # fmt: skip
def _(folder: Path, values: Any) -> list[str]:
    schema, sentences = understood(table_of(odd=values))
    assert schema.role("odd").kind is Kind.CATEGORICAL
    return sentences


@trial("folders named by day, month or batch", SAID, "left out as the time that folders are named by")
def _(folder: Path) -> list[str]:
    for day in ("2024-01-15", "2024-01-16"):
        (folder / "days" / f"day={day}").mkdir(parents=True)
        rows = pd.DataFrame({"place": PLACE, "click": CLICK}).to_csv(index=False)
        (folder / "days" / f"day={day}" / "rows.csv").write_text(rows)
    schema, sentences = understood(read_table(folder / "days"))
    assert schema.role("day").orders_rows
    return sentences


LISTS = "lists with any mark"
VALUES = [list(rng.choice([f"t{i}" for i in range(30)], rng.integers(0, 6), replace=False)) for _ in range(N)]


def of_marks() -> Iterator[Callable[[list[str]], str]]:
    yield from (mark.join for mark in MARKS)
    yield from (json.dumps, str)


@trial(LISTS, RECOGNISED)
def _(folder: Path) -> list[str]:
    said = []
    for write in of_marks():
        schema, sentences = understood(table_of(tags=[write([*map(str, cell)]) for cell in VALUES]))
        assert schema.role("tags").kind is Kind.MULTI_VALUED
        said += sentences
    return said


@trial(LISTS, REFUSED, "no separator was found")
def _(folder: Path) -> list[str]:
    table = table_of(tags=["Q".join(cell) for cell in VALUES])
    schema = infer_schema(table, "click")
    roles = (replace(r, kind=Kind.MULTI_VALUED, separator=None) if r.column == "tags" else r for r in schema.roles)
    with_separators(replace(schema, roles=tuple(roles)), table)
    return []


WRITTEN = "numbers with marks, units, words and holes"
PRICES = rng.lognormal(8, 1, N)


@trial(WRITTEN, RECOGNISED, write="{:,.2f}".format)
@trial(WRITTEN, RECOGNISED, write=lambda x: f"{x:,.2f}".translate(str.maketrans(",.", ".,")))
@trial(WRITTEN, RECOGNISED, write="${:.2f}".format)
@trial(WRITTEN, RECOGNISED, write="EUR {:.2f}".format)
@trial(WRITTEN, RECOGNISED, write="{:.2f}%".format)
@trial(WRITTEN, RECOGNISED, write=lambda x: f"{x:.2f}" if int(x) % 9 else "--")
@trial(WRITTEN, RECOGNISED, write=lambda x: f"{x:.2f}" if int(x) % 9 else "(not set)")
@trial(WRITTEN, RECOGNISED, write=lambda x: f"{x:.2f}" if int(x) % 9 else "1.797e308")
def _(folder: Path, write: Callable[[float], str]) -> list[str]:
    column = [write(price) for price in PRICES]
    table = table_of(amount=column)
    schema, sentences = understood(table)
    role = schema.role("amount")
    assert role.kind is Kind.PIECEWISE
    read = Cells.of(table.frame, "amount").noted(role.notation)
    known = np.array([re.search(r"\d{3}", cell) is not None and "e308" not in cell for cell in column])
    np.testing.assert_allclose(read.numbers.values[read.codes][known], PRICES.round(2)[known])
    assert read.missing[read.codes].tolist() == (~known).tolist()
    return sentences


@trial(WRITTEN, SAID, "missing")
def _(folder: Path) -> list[str]:
    column = [f"{price:.2f}" if i % 300 else "Total" for i, price in enumerate(PRICES)]
    schema, sentences = understood(table_of(amount=column))
    assert schema.role("amount").kind is Kind.PIECEWISE
    return sentences


@trial("a flag or blank", RECOGNISED, value="1")
@trial("a flag or blank", RECOGNISED, value="Y")
@trial("a flag or blank", RECOGNISED, value="4.5")
def _(folder: Path, value: str) -> list[str]:
    schema, sentences = understood(table_of(flag=np.where(rng.random(N) < 0.3, value, "")))
    assert schema.role("flag").kind is Kind.CATEGORICAL
    return sentences


@trial("wide, short tables", SAID, "times as many")
def _(folder: Path) -> list[str]:
    few = 90
    columns = {f"f{i}": rng.choice(list("xyz"), few) for i in range(150)}
    table = table_from_frame(pd.DataFrame({**columns, "click": CLICK[:few]}))
    model, fit = preset("quick", "deepfm", few)
    return expectations(table, RunSpec("a" * 64, "t", infer_schema(table, "click"), model=model, fit=fit))


@trial("a column twice, an id and its name", SAID, "says the same as `device`")
def _(folder: Path) -> list[str]:
    codes = rng.integers(0, 5, N)
    table = table_of(device=codes.astype(str), device_name=np.array(["tv", "pc", "tab", "watch", "phone"])[codes])
    schema, sentences = understood(table)
    encoder = Encoder.fit(table.frame, schema)
    pairs = observed_interactions(encoder.encode_with_labels(table.frame, subject="t"), draws=16)
    pair = pairs[pairs[["field_a", "field_b"]].isin(["device", "device_name"]).all(axis=1)]
    assert pair["strength"].tolist() == [0.0]
    return sentences


NESTED = "nested cells in frames"


@trial(NESTED, RECOGNISED)
def _(folder: Path) -> list[str]:
    frame = pd.DataFrame({"dict": [{"os": "a"}, {}], "list": [["a"], ["b", "a"]], "bytes": [bytearray(b"a"), b"b"]})
    assert cells(table_from_frame(frame)) == [['{"os": "a"}', "a", "a"], ["{}", "b|a", "b"]]
    frame[["dict", "list"]].to_parquet(folder / "t")
    assert cells(read_table(folder / "t"))[0][1] == "a"
    return []


@trial(NESTED, REFUSED, "column `odd`: the column holds values that cannot be read")
def _(folder: Path) -> list[str]:
    return table_from_frame(pd.DataFrame({"odd": [object(), object()]})).report.sentences()
