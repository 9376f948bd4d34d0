"""How a file was read, on the page Data: what was found, and the choices that correct it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app.shared.uploads import chosen_reading
from app.state import visitor
from deepfm_core.errors import SpecError
from deepfm_core.runs.engine import execute
from deepfm_core.spec.events import Finished
from deepfm_core.store.process import Process
from deepfm_core.store.records import Whole
from deepfm_core.store.store import Store
from deepfm_core.tables.table import FOUND, Choices
from deepfm_core.workers.lane import perform
from tests.app.test_flow import _button, _choice, _text
from tests.conftest import clicks
from tests.tables.test_containers import workbook

pytestmark = pytest.mark.slow

Opened = Callable[..., AppTest]
ROWS: list[list[object]] = [["place", "price", "click"]]
ROWS += [[place, price, click] for place in "ab" for price in (1, 2) for click in (0, 1)]
TABLE = "\n".join(";".join(map(str, row)) for row in ROWS)


def upload(opened: Opened, name: str, content: bytes) -> AppTest:
    app = opened("data")
    return app.file_uploader[0].upload(name, content, "text/csv").run()


def choose(app: AppTest, label: str, value: object) -> AppTest:
    box = next(box for box in app.selectbox if box.label == label)
    return box.set_value(value).run()


def shown(app: AppTest, label: str) -> str:
    box = next(box for box in app.selectbox if box.label == label)
    return str(box.format_func(box.value))


def test_what_was_found_is_shown_and_read_again_at_once_by_another_choice(opened: Opened, store: Store) -> None:
    app = upload(opened, "mine.csv", b"Sales of May\n" + TABLE.encode())
    label = "How the file was read: UTF-8, semicolon between cells, names in line 2"
    assert label in [box.label for box in app.expander]
    assert shown(app, "Header") == "Line 2 (found)"
    assert "Sales of May" in app.code[0].value
    first = _choice(app, "table")
    choose(app, "Header", False)
    again = _choice(app, "table")
    assert store.table(again).report.choices == Choices(header=False)
    assert "column 1" in opened("data", table=again).selectbox(key="choice of label").options
    assert [entry.sha256 for entry in store.tables("local") if entry.name == "mine.csv"] == [again]
    _button(app, "Find it all again").click().run()
    assert (_choice(app, "table"), store.table(first).report.choices) == (first, FOUND)


def test_what_was_left_out_is_kept_by_choice(opened: Opened, store: Store) -> None:
    names, *rows = TABLE.splitlines()
    app = upload(opened, "mine.csv", "\n".join([names, *rows, ";" * names.count(";"), names]).encode())
    assert shown(app, "Rows") == "Some left out (found)"
    count = len(store.table(_choice(app, "table")))
    choose(app, "Rows", "all")
    table = store.table(_choice(app, "table"))
    assert (len(table), table.report.choices) == (count + 2, Choices(rows="all"))


def test_the_label_stays_where_the_columns_do(opened: Opened, store: Store) -> None:
    app = upload(opened, "mine.csv", TABLE.encode())
    app.selectbox(key="choice of label").select("price").run()
    choose(app, "Encoding", "cp1252")
    assert store.table(_choice(app, "table")).report.choices == Choices(encoding="cp1252")
    assert _choice(app, "label") == "price"


def test_a_choice_by_which_the_file_cannot_be_read_leaves_the_table_alone(opened: Opened) -> None:
    app = upload(opened, "mine.csv", TABLE.encode())
    before = _choice(app, "table")
    choose(app, "Delimiter", "|")
    assert "The delimiter vertical bar does not stand in this line" in app.error[0].value
    assert "The table is still as it was read before." in _text(app)
    assert _choice(app, "table") == before
    choose(app, "Delimiter", "")
    assert not app.error


@pytest.mark.parametrize(
    ("name", "typed", "choices"),
    [
        ("delimiter", "~", Choices(delimiter="~")),
        ("delimiter", "Tab", Choices(delimiter="\t")),
        ("header", "Line 3", Choices(header=3)),
        ("encoding", "Windows-1252", Choices(encoding="cp1252")),
        ("delimiter", "--", None),
        ("header", "third", None),
    ],
)
def test_a_choice_can_be_typed(name: str, typed: str, choices: Choices | None) -> None:
    st.session_state[f"here {name}"] = typed
    if choices is not None:
        assert chosen_reading("here") == choices
    else:
        with pytest.raises(SpecError, match=name.title()):
            chosen_reading("here")
    st.session_state.pop(f"here {name}")


def test_a_refused_file_is_read_by_the_choices_below_its_refusal(opened: Opened, store: Store) -> None:
    app = upload(opened, "mine.csv", b"a b\nx 1\ny 0\n")
    assert "only one column" in app.error[0].value
    choose(app, "Delimiter", ";")
    assert "only one column" in app.error[0].value
    choose(app, "Delimiter", " ")
    assert not app.error
    table = store.table(_choice(app, "table"))
    assert (len(table), table.report.choices) == (2, Choices(delimiter=" "))
    app.run()
    assert not app.error


def test_a_sheet_is_chosen_whether_or_not_the_first_one_can_be_read(opened: Opened, store: Store) -> None:
    app = upload(opened, "book.xlsx", workbook(Cover=[["by hand"]], May=ROWS, June=ROWS[:5]))
    assert "the sheet `Cover` was read. Choose another one by its name\\: `May`, `June`." in app.error[0].value
    choose(app, "Sheet", "May")
    choose(app, "Sheet", "June")
    assert store.table(_choice(app, "table")).report.choices == Choices(sheet="June")
    names = {entry.name for entry in store.tables("local")}
    assert {"book.xlsx · May", "book.xlsx · June"} <= names


def test_a_table_without_a_label_can_still_be_read_otherwise(opened: Opened) -> None:
    app = upload(opened, "mine.csv", b"a,b,c\n" + b"".join(b"%d,%d,%d\n" % (i, i % 5, i % 3) for i in range(30)))
    assert "no column looks like a label" in app.info[0].value
    assert shown(app, "Delimiter") == "Comma (found)"


def test_a_shared_table_shows_how_it_was_read_without_choices(opened: Opened, store: Store) -> None:
    sha = store.import_table(TABLE.encode(), "theirs.csv", "somebody").sha256
    app = opened("data", table=sha)
    assert any("semicolon between cells" in box.label for box in app.expander)
    assert not any(box.label == "Delimiter" for box in app.selectbox)


# How a table is understood.


def test_a_label_of_one_value_and_blanks_is_taken_by_a_click(opened: Opened, store: Store) -> None:
    app = upload(opened, "flag.csv", b"x,click\n" + b"a,1\nb,\nc,\n" * 20)
    assert "there is only one class, in 20 rows; 40 rows are blank" in app.info[0].value
    assert "--" not in app.info[0].value
    app.toggle(key="blank label").set_value(True).run()
    assert "60 rows, label `click` 33.3% positive" in _text(app)
    assert not app.error
    _button(app, "Train with the suggested roles").click().run()
    assert store.runs()[0].spec.schema.label.negative == ""


def test_a_separator_that_is_not_found_is_asked_for_and_linked(opened: Opened, store: Store) -> None:
    app = upload(opened, "tags.csv", b"tags,place,click\n" + b"xQy,p,1\nyQz,q,0\nxQz,p,0\nz,q,1\n" * 10)
    sha = _choice(app, "table")
    app = opened("data", table=sha, kinds='{"tags":"multi-valued"}')
    assert "no separator was found. Say what stands between values, or" in app.error[0].value
    assert [heading.value for heading in app.subheader][-2:] == ["Roles", "First rows"]
    app = opened("data", table=sha, kinds='{"tags":"multi-valued"}', separators='{"tags":"Q"}')
    assert not app.error
    _button(app, "Train with these roles").click().run()
    role = store.runs()[0].spec.schema.role("tags")
    assert (role.kind, role.separator) == ("multi-valued", "Q")


def test_how_a_column_is_written_is_linked_and_heeded(opened: Opened) -> None:
    lines = [f"0{i % 7 + 1}/0{i % 9 + 1}/2024,p{i % 3},{i % 2}" for i in range(60)]
    app = upload(opened, "dates.csv", "\n".join(["seen,place,click", *lines]).encode())
    assert "month first" in _text(app)
    app = opened("data", table=_choice(app, "table"), written='{"seen":"day first"}')
    assert "month first" not in _text(app)
    assert any(button.label == "Back to the suggested roles" for button in app.button)


def test_a_wide_short_table_is_told_what_to_expect_before_it_is_trained_on(opened: Opened) -> None:
    names, row = ",".join(f"f{i}" for i in range(110)), ",".join("ab"[i % 2] for i in range(110))
    lines = "".join(f"{row.replace('a', letter)},{i % 2}\n" for i in range(30) for letter in "xyz")
    app = upload(opened, "wide.csv", f"{names},click\n{lines}".encode())
    (said,) = (info.value for info in app.info if "parameters" in info.value)
    assert "a comparison of models on these rows says" in said
    (again,) = (info.value for info in opened("train", table=_choice(app, "table")).info if "parameters" in info.value)
    assert again == said


def test_ratings_are_a_label_from_a_bound_on(opened: Opened, store: Store) -> None:
    lines = [f"{'pqr'[i % 3]},{i % 7},{i % 5 + 1}" for i in range(100)]
    app = upload(opened, "ratings.csv", "\n".join(["place,price,rating", *lines]).encode())
    app.selectbox(key="choice of label").select("rating").run()
    assert "Say which of them are positive, or from which number on." in app.info[0].value
    assert not app.error
    box = app.selectbox(key="rule of the label")
    assert box.options == [">=2", ">=3", ">=4", ">=5"]
    box.select(">=4").run()
    assert not app.error
    assert "100 rows, label `rating` 40.0% positive" in _text(app)
    _button(app, "Train with the suggested roles").click().run()
    run = store.runs()[0]
    assert run.spec.schema.label.outcome() == "rating ≥ 4"
    again = opened("data", table=run.spec.table, label="rating", positive=">=4")
    assert "label `rating` 40.0% positive" in _text(again)


def test_some_classes_are_positive_and_another_label_forgets_them(opened: Opened) -> None:
    lines = [f"{'pqr'[i % 3]},{'uv'[i % 2]},{('gold', 'silver', 'iron')[i % 3]}" for i in range(90)]
    app = upload(opened, "classes.csv", "\n".join(["place,half,class", *lines]).encode())
    app.selectbox(key="choice of label").select("class").run()
    app.multiselect(key="rule of the label").select("gold").select("silver").run()
    assert "90 rows, label `class` 66.7% positive" in _text(app)
    assert _choice(app, "positive") == "gold|silver"
    app.selectbox(key="choice of label").select("half").run()
    assert "positive" not in app.query_params
    assert not app.error


def test_what_fails_unforeseen_is_not_tried_again_on_every_click() -> None:
    def page() -> None:
        import streamlit as st

        from app.shared.uploads import take_once

        def make() -> str:
            st.session_state["tries"] = st.session_state.get("tries", 0) + 1
            raise OSError("no space left")

        take_once("file", 1, make, st.write, "Reading …")

    app = AppTest.from_function(page).run()
    assert app.exception
    assert not app.run().exception
    assert app.session_state["tries"] == 1


def test_rows_that_do_not_fit_are_sampled_for_the_pages_and_all_of_them_are_trained_on(
    opened: Opened, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_READ_MEMORY_MB", "700")
    monkeypatch.setattr(visitor, "may_name_files", lambda: True)
    for number in range(3):
        clicks(80_000, seed=number).to_parquet(tmp_path / f"{number}.parquet", index=False)
    app = opened("data")
    app.text_input(key="named files").set_value(f"{tmp_path}/*.parquet")
    _button(app, "Open").click().run()
    assert "This table is a sample of 200,000 of 240,000 rows" in _text(app)
    sha = _choice(app, "table")
    app = opened("compare", table=sha)
    assert "Runs here train and are judged on the sample alone" in _text(app)
    app = opened("train", table=sha, preset="quick", memory="1GB")
    assert "The run trains on all 240,000 rows, from the disk." in _text(app)
    assert shown(app, "Memory") == "1GB"
    _button(app, "Train").click().run()
    row = store.runs()[0]
    asked = {"source": f"{tmp_path}/*.parquet", "memory": 10**9, "choices": {}}
    assert store.folder(row.id).read_json("dataset.json") == asked
    assert row.name.endswith(f"on {tmp_path}/*.parquet")
    store.request_cancel(row.id)
    spec = replace(row.spec, folds=0, fit=replace(row.spec.fit, epochs=1, batch_size=4096))
    run = store.begin(spec, Process.current())
    store.folder(run.id).write_json("dataset.json", store.folder(row.id).read_json("dataset.json") or {})
    last = list(perform(store, run, execute, Process.current()))[-1]
    assert isinstance(last, Finished)
    assert last.summary["rows"] == {"train": 192_000, "valid": 24_000, "test": 24_000}
    said = {
        "performance": ("The scores above are of all 24,000 rows", "Decision threshold", "from the disk, 240,000 rows"),
        "interactions": ("is of a sample of 200,000 of the 240,000 rows",),
        "examples": ("2,000 sampled test rows",),
        "start": ("Counted on a sample of 200,000 of 240,000 rows",),
        "runs": ("(all rows, from the disk)",),
    }
    for view, expected in said.items():
        page = opened(view, run=run.id)
        assert not page.exception
        words = (
            _text(page)
            + "".join(slider.label for slider in page.slider)
            + "".join(one.value.to_csv() for one in page.dataframe)
        )
        for text in expected:
            assert text in words, (view, text, words)


def test_what_needs_all_rows_in_memory_is_refused_where_they_stay_on_the_disk(
    opened: Opened, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = clicks(300)
    sha, other = (store.import_table(few[n::2].to_csv(index=False).encode(), f"{n}.csv").sha256 for n in (0, 1))
    monkeypatch.setattr(visitor, "may_name_files", lambda: True)
    store.note_whole(sha, Whole("/nowhere/*.parquet", 10**12))
    app = opened("train", table=sha)
    _button(app, "Train").click().run()
    assert "1,000,000,000,000 rows need 32000.9GB of memory" in _text(app)
    store.note_whole(sha, Whole("/nowhere/*.parquet", 10**6))
    app = opened("train", table=sha, test_table=other)
    _button(app, "Train").click().run()
    assert "Separate tables to validate or test on need all rows in memory" in _text(app)
    assert not store.runs()
