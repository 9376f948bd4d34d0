"""What version 0.1 has left behind opens, answers and goes on as it did then: run folders, a store, pickles.

The documents, and what that version answered from them, are in fixtures/v0_1; make.py there says how they were made.
They are never made anew. Where this machine adds up as the one that made them (`arithmetic`), every printed digit is
the same, but for what the labels say: that is estimated anew, to seven digits. Elsewhere the matrix products of another
processor may differ in the last bits, so a tolerance is allowed.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from streamlit.testing.v1 import AppTest

from deepfm_core.__main__ import main
from deepfm_core.classifier import DeepFMClassifier
from deepfm_core.evidence.verdicts import holding, put_first
from deepfm_core.experiments.comparison import model_table
from deepfm_core.experiments.study import StudyPlan, study_table
from deepfm_core.runs.explain_stage import split_by_other
from deepfm_core.runs.findings import findings
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.events import EpochDone
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store
from tests.conftest import ROOT
from tests.fixtures.v0_1.arithmetic import arithmetic

pytestmark = pytest.mark.slow

EARLIER = Path(__file__).resolve().parents[1] / "fixtures" / "v0_1"
EXPECTED = EARLIER / "expected"


def loaded(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


MADE = loaded(EXPECTED / "store" / "made.json")
SAME_ARITHMETIC = arithmetic() == loaded(EXPECTED / "arithmetic.json")
ELSEWHERE = {"rtol": 1e-5, "atol": 1e-6}
"""What is allowed on another processor: a few units in the last place of float32, and as many after an optimiser."""
FITTED_ELSEWHERE = {"rtol": 0.05, "atol": 0.05}
"""What is allowed of a model that is fitted on another processor: PNN* makes of such units the third digit."""
ESTIMATED = {"rtol": 1e-7, "atol": 1e-9}
"""What is allowed of what the labels say, which is estimated anew: its sums may be taken in another order."""
FINISHED = RunFolder(EARLIER / "home" / "runs" / MADE["finished"])
TEST_AUC = loaded(FINISHED.path / "summary.json")["test"]["auc"]
HIGHEST = pd.read_parquet(FINISHED.frame_path("examples"))["probability"].max()
RUNS = sorted(path.name for path in (EARLIER / "runs").iterdir())
CLASSIFIERS = sorted(path.stem for path in (EARLIER / "classifiers").glob("*.pickle"))
NAMES = {"solid": "significant", "yardstick": "baseline"}
"""Columns that had another name then. The command line writes them under both names."""
STATES = {"finished": "finished", "cancelled": "cancelled", "queued": "queued", "chosen": "queued"}


def require_same(now: str | pd.DataFrame, expected: Path, *, computed: bool = True) -> None:
    """Compare a printed table with the one that was printed then; what is only read is the same on every machine.

    The verdict of a pair is a sentence, whose words may change; the figures it is made of are compared.
    """
    text = now if isinstance(now, str) else now.to_csv(index=False)
    require_same_digits(text, expected.read_text("utf-8"), exact=SAME_ARITHMETIC or not computed)


def require_same_digits(now: str, then: str, *, exact: bool, elsewhere: Mapping[str, float] = ELSEWHERE) -> None:
    """Compare two printed tables: as texts, or as numbers within what another processor may do.

    What is clear above noise is judged anew: today no pair of a table with few rows of one label is.
    """
    types, allowed = (str, {"check_exact": True}) if exact else (None, elsewhere)
    found, expected = (pd.read_csv(StringIO(one), dtype=types, keep_default_na=not exact) for one in (now, then))
    judged = ["verdict", "significant"]
    found, expected = (names_of_today(table).drop(columns=judged, errors="ignore") for table in (found, expected))
    pd.testing.assert_frame_equal(found, expected, **allowed)


def require_same_estimates(now: pd.DataFrame, then: pd.DataFrame) -> None:
    """Compare two tables of what the labels say."""
    elsewhere = ESTIMATED if SAME_ARITHMETIC else ELSEWHERE
    require_same_digits(now.to_csv(index=False), then.to_csv(index=False), exact=False, elsewhere=elsewhere)


def names_of_today(table: pd.DataFrame) -> pd.DataFrame:
    """Give columns their names of today; one that is there under both is the same."""
    both = {then: now for then, now in NAMES.items() if then in table and now in table}
    for then, now in both.items():
        pd.testing.assert_series_equal(table[then], table[now], check_names=False)
    return table.drop(columns=list(both)).rename(columns=NAMES)


def require_near(now: float, then: float) -> None:
    assert now == then if SAME_ARITHMETIC else now == pytest.approx(then, rel=ELSEWHERE["rtol"])


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Give what the command line prints."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert status == 0, err
        return out

    return run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the store of then."""
    monkeypatch.setenv("DEEPFM_HOME", str(tmp_path))
    return shutil.copytree(EARLIER / "home", tmp_path, dirs_exist_ok=True)


# Run folders


@pytest.mark.parametrize("verb", ["predict", "explain", "interactions"])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_folder_answers_as_it_did(name: str, verb: str, tmp_path: Path, printed: Callable[..., str]) -> None:
    run = shutil.copytree(EARLIER / "runs" / name, tmp_path / "run")
    rows = [] if verb == "interactions" else [EARLIER / "checked.csv"]
    require_same(printed(verb, run, *rows), EXPECTED / "runs" / name / f"{verb}.csv", computed=verb != "interactions")


@pytest.mark.parametrize("name", RUNS)
def test_a_run_folder_s_documents_are_read_whole(name: str) -> None:
    folder = RunFolder(EARLIER / "runs" / name)
    spec = folder.spec()
    assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    then = loaded(folder.path / "spec.json")
    assert (spec.model.name, spec.seed, spec.folds) == (name, 0, then["folds"])
    assert {role.column: str(role.kind) for role in spec.schema.roles} == {
        role["column"]: role["kind"] for role in then["schema"]["roles"]
    }
    assert spec.model.layers == (8, 4)
    assert [list(pair) for pair in spec.model.crosses] == then["model"]["crosses"]
    assert folder.frames() == tuple(sorted(path.stem for path in (folder.path / "frames").iterdir()))
    for frame in folder.frames():
        stored = pd.read_parquet(folder.path / "frames" / f"{frame}.parquet")
        pd.testing.assert_frame_equal(folder.frame(frame), names_of_today(stored))
    summary = folder.summary()
    assert summary is not None
    assert summary["test"] == loaded(folder.path / "summary.json")["test"]


@pytest.mark.parametrize("name", RUNS)
def test_what_was_found_in_a_run_is_what_its_file_says(name: str) -> None:
    found, then = findings(RunFolder(EARLIER / "runs" / name)), loaded(EARLIER / "runs" / name / "findings.json")
    assert found.pair is not None
    pairs = RunFolder(EARLIER / "runs" / name).frame("pairs")
    assert pairs is not None
    held = pairs[holding(pairs)]  # of these the strongest that the model has at its size is told first since
    pair = then["pair"] if held.empty else put_first(held, "strength").iloc[0]
    assert (found.pair.field_a, found.pair.field_b) == (pair["field_a"], pair["field_b"])
    assert found.pair.strength == pair["strength"]
    assert found.pair.clear is not None
    assert found.pair.unsure is not None  # counted with the clear ones then
    passed = found.pair.clear + found.pair.unsure
    assert (found.pair.pairs, passed) == (then["pair"]["pairs"], then["pair"]["told_apart"])
    shares = None if found.spread is None else [found.spread.fm, found.spread.dnn]
    assert shares == (then["spread"] and [then["spread"]["fm"], then["spread"]["dnn"]])
    assert (found.worst is None) == (then["worst"] is None)


# The store


def test_the_store_lists_what_it_did(home: Path, printed: Callable[..., str]) -> None:
    listed = pd.read_csv(StringIO(printed("runs")), dtype=str)
    folders = [Path(folder) for folder in listed.pop("folder")]
    assert folders == [home / "runs" / run_id for run_id in listed["id"]]
    require_same(listed, EXPECTED / "store" / "runs.csv", computed=False)
    with closing(Store(home)) as store:
        assert {name: store.run(MADE[name]).state for name in STATES} == STATES
        assert [entry.name for entry in store.tables()] == ["table.csv"]
        assert [row.name for row in store.comparisons.all("local", "models")] == ["Two models"]
        assert [row.name for row in store.comparisons.all("local", "settings")] == ["Two settings"]


@pytest.mark.parametrize("verb", ["predict", "explain", "interactions"])
def test_a_run_of_the_store_answers_as_it_did(home: Path, verb: str, printed: Callable[..., str]) -> None:
    rows = [] if verb == "interactions" else [EARLIER / "checked.csv"]
    now = printed(verb, MADE["finished"], *rows)
    require_same(now, EXPECTED / "store" / "finished" / f"{verb}.csv", computed=verb != "interactions")


def test_the_events_of_the_store_s_runs_are_read(home: Path) -> None:
    with closing(Store(home)) as store:
        epochs = [
            (row.id, event.epoch, event.train_logloss, event.valid_logloss)
            for row in store.runs()
            for event in (stored.event for stored in store.events(row.id))
            if isinstance(event, EpochDone)
        ]
    now = pd.DataFrame(epochs, columns=["run", "epoch", "train_logloss", "valid_logloss"])
    require_same(now, EXPECTED / "store" / "epochs.csv", computed=False)


def test_the_table_of_the_comparison_is_the_same(home: Path) -> None:
    with closing(Store(home)) as store:
        now = model_table(store, store.comparisons.runs(MADE["comparison"]))
    require_same(now, EXPECTED / "store" / "comparison.csv")


def test_the_table_of_the_study_is_the_same(home: Path) -> None:
    with closing(Store(home)) as store:
        plan = StudyPlan.from_dict(store.comparisons.of(MADE["study"]).plan)
        now = study_table(store.comparisons.runs(MADE["study"]), plan)
    require_same(now, EXPECTED / "store" / "study.csv", computed=False)


def test_what_the_labels_say_of_the_stored_table_is_what_was_answered(home: Path, printed: Callable[..., str]) -> None:
    """The answer of then is found under the program's digest, so later code answers anew: with the same figures."""
    answer = pd.read_parquet(home / "answers" / MADE["answers"]["observed"] / "answer.parquet")
    kinds = {"piecewise": "price", "bucketised": "age", "dense": "speed", "ignore": "session,site,score"}
    roles = [text for kind, columns in kinds.items() for text in (f"--{kind}", columns)]
    table = home / "tables" / MADE["table"] / "original"
    asked = ["--observed-only", "--label", "clicked", "--positive", "yes", *roles]
    now = pd.read_csv(StringIO(printed("interactions", table, *asked)), dtype=str, keep_default_na=False)
    require_same_estimates(now[list(answer)], answer)


def test_another_run_splits_the_rows_as_was_answered(home: Path) -> None:
    answer = pd.read_parquet(home / "answers" / MADE["answers"]["other split"] / "answer.parquet")
    with closing(Store(home)) as store:
        run, other = (store.folder(run_id) for run_id in (MADE["finished"], MADE["answers"]["by"]))
        now = split_by_other(run, other, store.table)
    require_same_digits(now.to_csv(index=False), answer.to_csv(index=False), exact=SAME_ARITHMETIC)


def test_the_cancelled_and_the_queued_runs_go_on_to_the_weights_of_then(home: Path) -> None:
    """One begins from the second phase of an FNN, one was given back by its worker, one has its setting to choose."""
    with closing(Store(home)) as store:
        assert store.folder(MADE["cancelled"]).checkpoint.exists()
        assert store.folder(MADE["queued"]).checkpoint.exists()
        store.resume(MADE["cancelled"])
        line = [sys.executable, "-m", "deepfm_core", "worker", "--home", str(home), "--idle", "0"]
        done = subprocess.run(line, cwd=ROOT, env={**os.environ}, capture_output=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        for name in ("cancelled", "queued", "chosen"):
            require_same_end(store, MADE[name], EXPECTED / "resumed" / name)


def require_same_end(store: Store, run_id: str, expected: Path) -> None:
    row = store.run(run_id)
    assert row.state == "finished", row.message
    assert row.spec == store.folder(run_id).spec()
    if SAME_ARITHMETIC:  # otherwise a search may come to a setting that is a little different
        assert row.spec == RunSpec.from_dict(loaded(expected / "spec.json"))
    then = loaded(expected / "summary.json")
    assert {name: row.summary[name] for name in ("epochs", "best_epoch", "parameters")} == {
        name: then[name] for name in ("epochs", "best_epoch", "parameters")
    }
    require_near(row.summary["valid"]["logloss"], then["valid"]["logloss"])
    require_near(row.summary["test"]["logloss"], then["test"]["logloss"])
    weights, weights_then = load_file(store.folder(run_id).model), load_file(expected / "model.safetensors")
    assert set(weights) == set(weights_then)
    allowed = {"rtol": 0, "atol": 0} if SAME_ARITHMETIC else ELSEWHERE
    for name, values in weights.items():
        np.testing.assert_allclose(values, weights_then[name], err_msg=name, **allowed)


@pytest.mark.parametrize(
    ("view", "choices", "shown"),
    [
        ("data", {"table": MADE["table"]}, "table.csv"),
        ("train", {"run": MADE["cancelled"]}, "FNN on table.csv"),
        ("performance", {"run": MADE["finished"]}, f"{TEST_AUC:.3f}"),
        ("interactions", {"run": MADE["finished"]}, "placement × interests"),
        ("examples", {"run": MADE["finished"]}, f"{HIGHEST:.6f}"),
        ("compare", {"comparison": MADE["comparison"]}, "**Two models**"),
        ("study", {"study": MADE["study"]}, "**Two settings**"),
        ("runs", {"all": "1"}, "Kept for later versions."),
    ],
)
def test_a_page_shows_what_the_store_holds(
    home: Path, opened: Callable[..., AppTest], view: str, choices: dict[str, str], shown: str
) -> None:
    app = opened(view, **choices)
    assert not app.exception
    assert not app.error
    assert shown in everything_in(app)


def everything_in(app: AppTest) -> str:
    """Give all texts of a page, tables' cells and what boxes offer included."""
    texts = [str(getattr(element, "value", "")) for element in (*app.main, *app.sidebar)]
    metrics = [str(metric.value) for metric in app.metric]
    return "\n".join([*texts, *metrics, *(frame.value.to_string() for frame in app.dataframe)])


# The classifier


@pytest.fixture(params=CLASSIFIERS)
def pickled(request: pytest.FixtureRequest) -> tuple[DeepFMClassifier, Path]:
    """A classifier as it was fitted then, and the folder of what it answered."""
    classifier = pickle.loads((EARLIER / "classifiers" / f"{request.param}.pickle").read_bytes())
    return classifier, EXPECTED / "classifiers" / request.param


def rows_then() -> pd.DataFrame:
    return pd.read_parquet(EARLIER / "classifiers" / "rows.parquet").drop(columns="clicked").tail(40)


def test_a_pickled_classifier_is_one_of_today(pickled: tuple[DeepFMClassifier, Path]) -> None:
    classifier, expected = pickled
    then = loaded(expected / "rest.json")
    assert type(classifier) is DeepFMClassifier
    assert classifier.schema_ == Schema.from_dict(then["schema"])
    assert classifier.spec_ == RunSpec.from_dict(then["spec"])
    assert classifier.classes_.tolist() == then["classes"]
    assert classifier.best_epoch_ == then["best_epoch"]
    assert list(classifier.notes_) == then["notes"]
    assert classifier.get_params()["model"] == expected.name
    history = classifier.history_.drop(columns="seconds")
    require_same(history, expected / "history.csv", computed=False)


def test_a_pickled_classifier_answers_as_it_did(pickled: tuple[DeepFMClassifier, Path]) -> None:
    classifier, expected = pickled
    X = rows_then()
    probability = pd.DataFrame(classifier.predict_proba(X), columns=["no", "yes"], index=X.index)
    answers = probability.assign(logit=classifier.decision_function(X), predicted=classifier.predict(X))
    require_same(answers.to_csv(), expected / "predict.csv")
    require_same(classifier.explain(X).to_csv(), expected / "explain.csv")
    require_same(classifier.terms(X.head(10)), expected / "terms.csv")
    require_same_estimates(classifier.interactions(), pd.read_csv(expected / "interactions.csv"))


def test_a_pickled_classifier_is_pickled_again_and_fitted_again(pickled: tuple[DeepFMClassifier, Path]) -> None:
    classifier, expected = pickled
    again = pickle.loads(pickle.dumps(classifier))
    require_same(again.explain(rows_then()).to_csv(), expected / "explain.csv")
    frame = pd.read_parquet(EARLIER / "classifiers" / "rows.parquet")
    again.fit(frame.drop(columns="clicked"), frame["clicked"])
    now, then = again.explain(rows_then()).to_csv(), (expected / "explain.csv").read_text("utf-8")
    require_same_digits(now, then, exact=SAME_ARITHMETIC, elsewhere=FITTED_ELSEWHERE)
