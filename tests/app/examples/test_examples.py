"""The page Examples on a table whose numbers are written with signs, marks and units."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from deepfm_core.runs.engine import execute
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.workers.lane import perform

pytestmark = pytest.mark.slow

Opened = Callable[..., AppTest]
ROWS = 300
NUMBERS = ("pay", "share", "weight", "chance", "rooms")


def written() -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Draw a table as text, and the numbers that its columns hold."""
    rng = np.random.default_rng(0)
    numbers = {
        "pay": np.round(rng.uniform(20_000, 150_000, ROWS), 2),
        "share": np.round(rng.uniform(1, 60, ROWS), 1),
        "weight": np.round(rng.uniform(1, 90, ROWS), 3),
        "chance": np.round(rng.uniform(0, 0.004, ROWS), 6),
        "rooms": rng.integers(1, 40, ROWS).astype(float),
    }
    frame = pd.DataFrame(
        {
            "pay": [f"${value:,.2f}" for value in numbers["pay"]],
            "share": [f"{value:.1f}%" for value in numbers["share"]],
            "weight": [f"{value:.3f}".replace(".", ",") for value in numbers["weight"]],
            "chance": [f"{value:.6f}" for value in numbers["chance"]],
            "rooms": [str(int(value)) for value in numbers["rooms"]],
            "self": rng.choice(["north", "south"], ROWS),  # the name of an argument of pandas' methods
        }
    )
    frame["clicked"] = np.where(rng.random(ROWS) < numbers["pay"] / 160_000, "yes", "no")
    return frame, numbers


@pytest.fixture
def run(store: Store) -> str:
    sha = store.import_table(written()[0].to_csv(index=False).encode(), "written.csv").sha256
    schema = infer_schema(store.table(sha), "clicked", said={"weight": "decimal comma"})
    schema = schema.with_kinds(dict.fromkeys(NUMBERS, Kind.PIECEWISE))
    assert schema.role("pay").notation.unit == "$"
    assert schema.role("weight").notation.decimal == ","
    model = ModelSpec(embedding_size=2, layers=(4,))
    spec = RunSpec(sha, "written.csv", schema, model=model, fit=FitSpec(epochs=1), min_count=1)
    me, made = Process.current(), store.enqueue(spec, "written")
    claimed = store.claims.next(me)
    assert claimed is not None
    list(perform(store, claimed, execute, me))
    assert store.run(made).status == "finished"
    return made


def cells_of(store: Store, run: str, row: int) -> dict[str, str]:
    frame = pd.read_parquet(store.folder(run).path / "frames" / "example_cells.parquet")
    return {str(name): str(text) for name, text in frame[frame["row"] == row].iloc[0].items()}


def link(app: AppTest, name: str) -> dict[str, object]:
    """Give a choice of several values that the URL holds."""
    text = app.query_params[name]
    values: dict[str, object] = json.loads(text if isinstance(text, str) else text[0])
    return values


def listed(app: AppTest) -> pd.DataFrame:
    return next(table.value for table in app.dataframe if "surprise" in table.value)


def test_numbers_of_any_notation_are_listed_and_changed_as_the_model_reads_them(
    opened: Opened, store: Store, run: str
) -> None:
    numbers = written()[1]
    app = opened("examples", run=run)
    assert not app.exception
    rows = listed(app)
    for name in NUMBERS:
        np.testing.assert_allclose(rows[name], numbers[name][rows["row"]])
    assert set(rows["self"]) == {"north", "south"}

    row = int(rows["row"].iloc[0])
    own = cells_of(store, run, row)
    app = opened("examples", run=run, row=str(row))
    changed = next(box for box in app.multiselect if box.label == "Fields to change")
    changed.set_value(["pay", "share", "weight"]).run()
    assert not app.error
    shown = {box.label.split(" (")[0]: box for box in app.number_input}  # `pay ($)`
    assert {name: shown[name].value for name in ("pay", "share", "weight")} == {
        name: pytest.approx(numbers[name][row]) for name in ("pay", "share", "weight")
    }
    assert link(app, "if") == {name: own[name] for name in ("pay", "share", "weight")}
    assert "No term of the logit changes." in [caption.value for caption in app.caption]

    for value, text in ((1.5, "1,5"), (12.345, "12,345"), (1234.5, "1234,5")):
        next(box for box in app.number_input if box.label == "weight").set_value(value).run()
        assert not app.error
        assert link(app, "if")["weight"] == text
        assert next(box for box in app.number_input if box.label == "weight").value == value
    found = re.search(r"1,234\.5 is outside the training range, ([\d.]+) to ([\d.]+)\.", app.warning[0].value)
    assert found is not None
    assert {float(end) for end in found.groups()} <= set(numbers["weight"])
    for value in (3.0, -5.0):
        next(box for box in app.number_input if box.label == "weight").set_value(value).run()
    next(box for box in app.number_input if box.label == "weight").set_value(None).run()
    assert link(app, "if")["weight"] == ""  # missing, and not what was typed before
    assert next(box for box in app.number_input if box.label == "weight").value is None
    next(box for box in app.number_input if box.label == "weight").set_value(1234.5).run()
    next(box for box in app.number_input if box.label == r"pay (\$)").set_value(900_000.5).run()
    assert "900,000.5 is outside the training range, " in app.warning[0].value


def shown_rows(app: AppTest) -> int:
    """Give how many rows pass the filter, as the page says."""
    return next(int(c.value.split()[0]) for c in app.caption if "sampled rows pass" in c.value)


def test_the_list_is_filtered_by_numbers_of_any_size_and_the_filter_is_kept(
    opened: Opened, store: Store, run: str
) -> None:
    app = opened("examples", run=run)
    rows = listed(app)
    box = next(box for box in app.multiselect if box.label == "Filter rows by")
    box.set_value(["chance", "rooms", "self"]).run()
    sliders = {slider.label: slider for slider in app.slider}
    chance, rooms = sliders["chance"], sliders["rooms"]
    assert chance.step == pytest.approx((rows["chance"].max() - rows["chance"].min()) / 200)
    assert chance.proto.format == "%.4g"
    assert (rooms.value, rooms.step, rooms.proto.format) == (
        (int(rows["rooms"].min()), int(rows["rooms"].max())),
        1,
        "%d",
    )
    assert shown_rows(app) == len(rows)

    columns = json.loads(next(table.proto.columns for table in app.dataframe if "surprise" in table.value))
    assert {columns[name]["type_config"]["format"] for name in NUMBERS} == {"%.12g"}

    chance.set_range(0.001, 0.002)
    rooms.set_range(5, 30)
    next(box for box in app.multiselect if box.label == "self").set_value(["north"])
    app.run()
    kept = rows[rows["chance"].between(0.001, 0.002) & rows["rooms"].between(5, 30) & (rows["self"] == "north")]
    assert 0 < len(kept) < len(rows)
    said = {"chance": [0.001, 0.002], "rooms": [5, 30], "self": ["north"]}
    assert link(app, "filter") == said
    assert shown_rows(app) == len(kept)

    app.switch_page("views/performance/performance.py").run()
    app.switch_page("views/examples/examples.py").run()
    assert not app.exception
    assert (link(app, "filter"), shown_rows(app)) == (said, len(kept))
    elsewhere = opened("examples", run=run, filter=json.dumps(said))
    assert (link(elsewhere, "filter"), shown_rows(elsewhere)) == (said, len(kept))

    next(slider for slider in app.slider if slider.label == "chance").set_range(
        rows["chance"].min(), rows["chance"].max()
    ).run()
    assert link(app, "filter") == {**said, "chance": []}


@pytest.mark.parametrize("said", ['{"rooms": [9, 2]}', '{"rooms": ["a", "b"]}', '{"rooms": 3}', '{"rooms": {"a": 1}}'])
def test_a_filter_of_a_link_that_cannot_be_read_is_said(opened: Opened, run: str, said: str) -> None:
    app = opened("examples", run=run, filter=said)
    assert not app.exception
    assert "The link's filter of `rooms` cannot be read. The default is used instead." in [i.value for i in app.info]
