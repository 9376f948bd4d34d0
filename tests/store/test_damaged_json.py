"""Whatever JSON stands in the store, only the project's own errors come of it, and the rest is listed as before."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deepfm_core._files import DAMAGE, read_object
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import DeepFMError, RunError
from deepfm_core.experiments.study import StudyPlan
from deepfm_core.spec.events import EpochDone, Fitted, event_from_dict
from deepfm_core.spec.presets import run_name
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.process import Process
from deepfm_core.store.query import OBSERVED
from deepfm_core.store.records import ComparisonRow
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store
from deepfm_core.tables.table import ReadReport
from tests.small_engine import spec

DEEP = "[" * 100_000
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(1e999) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Give the path to each value within another."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def changed(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    values = copy.deepcopy(values)
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return values


WHOLE = json.loads(json.dumps(spec().to_dict()))


@given(st.sampled_from(places(WHOLE)), VALUES)
def test_a_spec_with_any_value_in_any_place_is_one_or_is_refused(path: tuple[Any, ...], value: Any) -> None:
    try:
        read = read_object(json.dumps(changed(WHOLE, path, value)), "The spec", "Delete it.", RunSpec.from_dict)
    except RunError:
        return
    assert RunSpec.from_dict(json.loads(json.dumps(read.to_dict()))) == read
    run_name(read).encode()


@given(st.text() | st.binary().map(lambda content: content.decode("latin-1")))
@example(DEEP)
@example('{"a": "\\ud800"}')
@example("9" * 5000)
@example("[1]")
@example("")
def test_any_text_is_an_object_or_is_refused(text: str) -> None:
    try:
        assert isinstance(read_object(text, "It", "Delete it."), dict)
    except RunError:
        return


@given(VALUES, VALUES)
def test_a_report_and_an_event_of_any_values_are_ones_or_are_damage(one: Any, other: Any) -> None:
    for read in (
        lambda: ReadReport.from_dict({"notes": one, "skipped": other}),
        lambda: event_from_dict("epoch", {"epoch": one, "best": other}),
    ):
        try:
            read()
        except DAMAGE:
            continue


@pytest.fixture(scope="module")
def encoder(trained: Path) -> Any:
    return json.loads((trained / "encoder.json").read_text(encoding="utf-8"))


@given(data=st.data())
def test_an_encoder_with_any_value_in_any_place_is_one_or_is_refused(
    encoder: Any, trained: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "encoder"
    folder.mkdir(exist_ok=True)
    (folder / "encoder.arrow").write_bytes((trained / "encoder.arrow").read_bytes())
    path = data.draw(st.sampled_from(places(encoder)))
    (folder / "encoder.json").write_text(json.dumps(changed(encoder, path, data.draw(VALUES))), encoding="utf-8")
    try:
        Encoder.load(folder / "encoder.json")
    except RunError:
        return


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-200])])
def test_a_damaged_arrow_file_of_an_encoder_is_an_error_of_the_project(
    trained: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    for name in ("encoder.json", "encoder.arrow"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    damage(tmp_path / "encoder.arrow")
    with pytest.raises(RunError, match=r"encoder.json is damaged or .*Train it again"):
        Encoder.load(tmp_path / "encoder.json")


def test_an_encoder_whose_counts_are_of_other_features_is_damaged(encoder: Any, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "encoder.arrow").write_bytes((trained / "encoder.arrow").read_bytes())
    fewer = {**encoder, "fields": encoder["fields"][1:]}
    (tmp_path / "encoder.json").write_text(json.dumps(fewer), encoding="utf-8")
    with pytest.raises(RunError, match=r"its fields have [0-9,]+ features, and its counts are of others"):
        Encoder.load(tmp_path / "encoder.json")


@pytest.mark.parametrize("plan", ["{}", "[]", '{"seeds": "x", "preset": "quick"}', '{"seeds": 1, "preset": []}'])
def test_a_damaged_plan_is_an_error_of_the_project(plan: str) -> None:
    row = ComparisonRow("a", "Mine", "local", "models", plan, 0.0)
    for read in (lambda: row.plan, lambda: row.planned(StudyPlan.from_dict)):
        with pytest.raises(RunError, match=r"Comparison `Mine`: its plan cannot be read \(.*\)\. Delete it, and make"):
            read()


@pytest.mark.parametrize("content", ["", "[1]", "{", DEEP, '{"a": "\\ud800"', '{"split": 5}'])
def test_a_damaged_file_of_a_run_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "spec.json").write_text(content)
    with pytest.raises(RunError, match=r"spec\.json"):
        RunFolder(tmp_path).spec()


@pytest.mark.parametrize("content", ["", "{}", DEEP, '{"table": 5}', "null"])
def test_a_damaged_row_is_listed_as_damaged_and_the_others_as_before(tmp_path: Path, content: str) -> None:
    with closing(Store(tmp_path)) as store:
        good, bad = store.enqueue(spec()), store.enqueue(spec())
        store.database.change("UPDATE runs SET spec = ? WHERE id = ?", (content, bad))
        states = {run.id: run.state for run in store.runs()}
        assert states == {good: "queued", bad: "damaged"}
        assert [run.spec.table_name for run in store.runs()] == ["damaged", "steady"]
        with pytest.raises(RunError, match=f"Run `{bad}`: its spec cannot be read"):
            store.run(bad).spec  # noqa: B018 (reading it is the test)
        store.purge(older_than=-1)
        store.delete(bad)
        assert [run.id for run in store.runs()] == [good]


def test_an_event_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        run_id = store.enqueue(spec())
        store.claims.next(Process.current())
        for epoch in (1, 2, 3):
            store.append_event(run_id, EpochDone(epoch, 0.1, 0.2, None, 1.0, best=False))
        store.database.change("UPDATE events SET content = '{' WHERE seq = 2")
        assert [stored.seq for stored in store.events(run_id)] == [1, 3]


def test_a_question_that_cannot_be_read_fails_with_a_sentence(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        question = store.questions.of(OBSERVED, table="a" * 64)
        question._enter()
        store.database.change("UPDATE questions SET asked = '['")
        assert store.questions.next(Process.current(), "labels") is None
        assert "cannot be read" in str(question.standing().problem)
        store.questions.folder.mkdir()
        question.path.write_bytes(b"no answer")
        assert question.answer() is None


@pytest.mark.parametrize("step", ["import", "enqueue"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    with closing(Store(tmp_path)) as store:
        monkeypatch.setattr("deepfm_core._files.sync", full)
        with pytest.raises(DeepFMError, match=r"No space left on device\. Check free space"):
            store.enqueue(spec()) if step == "enqueue" else store.import_table(b"click,hour\n1,08\n0,09\n", "a.csv")
        assert store.runs() == []
        assert store.tables() == []
        left = [path for folder in ("runs", "tables") for path in (tmp_path / folder).glob("*")]
        assert left == []


def test_a_list_of_json_is_a_tuple_of_an_event() -> None:
    event = Fitted(2, 2, 1.5, 800.0, stopped_early=False, best_epochs=(2,))
    assert isinstance(event_from_dict("fitted", json.loads(json.dumps(event.to_dict()))), Fitted)
