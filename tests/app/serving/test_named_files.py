"""Files that are opened without an upload, on the page Data: who may name them, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.shared.launch import split_columns
from deepfm_core.schema.infer import infer_schema
from deepfm_core.store.store import Store
from deepfm_core.tables.table import Choices
from tests.app.test_flow import _button, _choice

pytestmark = pytest.mark.slow

Opened = Callable[..., AppTest]
HERE = {"Host": "localhost:8501"}
LABEL = "Path, pattern or address"


def comes_from(monkeypatch: pytest.MonkeyPatch, address: str | None, headers: dict[str, str]) -> None:
    """Have visitors come from an address, None for the server's machine, with these headers and no cookie."""
    context = "streamlit.runtime.context.ContextProxy"
    for name, value in {"ip_address": address, "headers": headers, "cookies": {}}.items():
        monkeypatch.setattr(f"{context}.{name}", value)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    comes_from(monkeypatch, None, HERE)


@pytest.fixture
def days(tmp_path: Path) -> Path:
    for day in (1, 2):
        folder = tmp_path / "clicks" / f"day={day}"
        folder.mkdir(parents=True)
        ads = ["a", "b", "c", "d"] * 5
        pd.DataFrame({"ad": ads, "clicked": [0, 1, day % 2, 0] * 5}).to_parquet(folder / "rows.parquet", index=False)
    return tmp_path / "clicks"


def name(app: AppTest, source: str) -> AppTest:
    next(box for box in app.text_input if box.label == LABEL).set_value(source)
    return _button(app, "Open").click().run()


def test_a_pattern_becomes_a_table_whose_folders_are_columns(opened: Opened, store: Store, days: Path) -> None:
    app = name(opened("data"), f" {days}/day=*/*.parquet ")
    assert not app.exception
    assert not app.error
    table = store.table(str(_choice(app, "table")), "local")
    assert (len(table), list(table.frame.columns)) == (40, ["ad", "clicked", "day"])
    assert table.name == f"{days}/day=*/*.parquet"
    assert any("Read 2 files" in caption.value for caption in app.caption)


def test_how_files_of_a_folder_are_read_can_be_said(opened: Opened, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "semicolons"
    folder.mkdir()
    for part in ("a", "b"):
        rows = "".join(f"k\u00f6ln;{i % 2}\nm\u00fcnchen;1\n" for i in range(10))
        (folder / f"{part}.csv").write_bytes(("stadt;clicked\n" + rows).encode("cp850"))
    app = name(opened("data"), str(folder))
    before = str(_choice(app, "table"))
    next(box for box in app.toggle if box.label == "Say how text files are read").set_value(True).run()
    next(box for box in app.selectbox if box.label == "Encoding").set_value("cp850").run()
    app = _button(app, "Open").click().run()
    assert not app.exception
    table = store.table(str(_choice(app, "table")), "local")
    assert set(table.frame["stadt"]) == {"k\u00f6ln", "m\u00fcnchen"}
    assert table.report.choices == Choices(encoding="cp850")
    assert [file.name for file in table.report.files] == ["a.csv", "b.csv"]
    assert str(_choice(app, "table")) != before
    assert any("open them again" in caption.value for caption in app.caption)


def test_folders_named_by_day_are_left_out_and_offered_for_a_split(opened: Opened, store: Store, days: Path) -> None:
    app = name(opened("data"), str(days))
    remarks = next(text.value for text in app.markdown if "folders are named by" in text.value)
    assert "left out as a number that folders are named by, such as `1`" in remarks
    assert "use it for a split by time, or make it a field" in remarks
    schema = infer_schema(store.table(str(_choice(app, "table")), "local"), "clicked")
    assert split_columns("time", schema)[0] == "day"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "No files are named"),
        ("x" * 400, "File name too long"),
        ("/nowhere/*.csv", "there is no such file or folder"),
        ("nowhere.csv", "nowhere.csv"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_table_stays(opened: Opened, store: Store, source: str, said: str) -> None:
    app = name(opened("data"), source)
    assert not app.exception
    assert said in app.error[0].value
    assert (
        store.tables(
            "local",
        )
        == []
        or "table" not in app.query_params
    )


def test_a_shared_server_reads_the_places_of_its_operator_alone(
    opened: Opened, store: Store, days: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    assert LABEL not in [box.label for box in opened("data").text_input]

    monkeypatch.setenv("DEEPFM_DATA_ROOTS", f"{days / 'day=1'},s3://key:secret@bucket/clicks")
    app = opened("data")
    assert not any("secret" in caption.value for caption in app.caption)
    assert any(caption.value.startswith("This server reads files below /") for caption in app.caption)
    app = name(app, str(days))
    assert "this server does not read it" in app.error[0].value
    app = name(app, str(days / "day=1"))
    assert not app.error
    assert len(store.table(str(_choice(app, "table")))) == 20


def test_a_personal_server_reads_files_for_a_browser_on_its_machine_alone(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened("data")
    assert LABEL in [box.label for box in app.text_input]
    others: list[tuple[str | None, dict[str, str]]] = [
        ("10.0.0.7", HERE),
        (None, {}),
        (None, {"Host": "explorer.example"}),
        (None, {"Host": "localhost.evil.example:8501"}),
        *(
            (None, {**HERE, name: "x"})
            for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "CF-Ray")
        ),
    ]
    for address, headers in others:
        comes_from(monkeypatch, address, headers)
        assert LABEL not in [box.label for box in opened("data").text_input]
