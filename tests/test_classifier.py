"""The scikit-learn classifier: its conventions, real tables, and that it is the same model as a run's."""

from __future__ import annotations

import pickle
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from deepfm_core.classifier import DeepFMClassifier
from deepfm_core.encoding import memory
from deepfm_core.encoding.sharding import MemoryPlan, Sharding
from deepfm_core.errors import DeepFMError, RunError, SchemaError, SpecError, TableError, TableWarning
from tests.conftest import ROOT, Command, clicks

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"epochs": 3, "batch_size": 128, "learning_rate": 1e-2}


def sample(rows: int = 4000) -> tuple[pd.DataFrame, pd.Series]:
    frame = pd.read_csv(ROOT / "sample_data" / "clicks.csv", nrows=rows)
    return frame, frame.pop("clicked")


@pytest.fixture(scope="module")
def fitted() -> DeepFMClassifier:
    frame = clicks()
    return DeepFMClassifier(random_state=0, **SMALL).fit(frame.drop(columns="clicked"), frame["clicked"])


@parametrize_with_checks([DeepFMClassifier(epochs=20, learning_rate=0.01, layers=(16,), random_state=0)])
def test_it_keeps_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


def test_it_is_the_model_that_the_command_line_trains(command: Command, table: Path, tmp_path: Path):
    options = ["--seed", 3, "--test", 0, "--epochs", 2, "--batch-size", 128, "--quiet"]
    done = command("train", table, "--label", "clicked", "--out", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    done = command("predict", tmp_path / "run", table)
    frame = pd.read_csv(table)
    X, y = frame.drop(columns="clicked"), frame["clicked"]
    classifier = DeepFMClassifier(epochs=2, batch_size=128, random_state=3).fit(X, y)
    theirs = [float(line.split(",")[1]) for line in done.stdout.splitlines()[1:]]
    assert classifier.predict_proba(X)[:, 1] == pytest.approx(theirs, abs=1e-6)


def test_it_learns_in_a_pipeline_under_cross_validation():
    X, y = sample()
    columns = ColumnTransformer([("keep", "passthrough", [c for c in X.columns if c != "site"])])
    columns.set_output(transform="pandas")
    pipeline = make_pipeline(columns, DeepFMClassifier(preset="quick", random_state=0))
    assert cross_val_score(pipeline, X, y, cv=3, scoring="roc_auc").mean() > 0.65


def test_explanations_add_up_to_the_logit_and_keep_the_rows_names(fitted: DeepFMClassifier):
    X = clicks(50, seed=1).drop(columns="clicked").set_axis([f"row {i}" for i in range(50)])
    logit = fitted.decision_function(X)
    whole = fitted.explain(X)
    assert list(whole.index) == list(X.index)
    assert (whole["fm_logit"] + whole["dnn_logit"]).to_numpy() == pytest.approx(logit, abs=1e-5)
    assert whole["probability"].to_numpy() == pytest.approx(fitted.predict_proba(X)[:, 1])
    addends = fitted.terms(X).groupby("row", sort=False)["value"].sum()
    assert list(addends.index) == list(X.index)
    assert addends.to_numpy() == pytest.approx(logit, abs=1e-5)


def test_interactions_rank_the_planted_pair_first(fitted: DeepFMClassifier):
    pairs = fitted.interactions()
    assert {pairs["field_a"][0], pairs["field_b"][0]} == {"device", "placement"}
    assert pairs["strength"].is_monotonic_decreasing
    assert len(pairs) == 10
    assert not pairs.drop(columns="proxy_of").isna().any(axis=None)
    assert pairs["verdict"][0].startswith("the data shows it, ")
    assert not {"held_out_z", "knock_out_logloss"} & set(pairs)


def test_columns_of_any_type_are_taken_and_may_be_missing_or_new_in_prediction():
    rng = np.random.default_rng(0)
    rows = 400
    X = pd.DataFrame(
        {
            "times": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10_000, rows), "h"),
            "codes": pd.array(rng.integers(0, 5, rows), "Int64"),
            "flags": rng.random(rows) < 0.5,
            "kinds": pd.Categorical(rng.choice(["a", "b"], rows)),
            "lists": [list(rng.choice(["p", "q", "r"], rng.integers(1, 3), replace=False)) for _ in range(rows)],
            3: rng.normal(size=rows),
        }
    )
    X.columns = [str(name) for name in X.columns]
    y = np.where(X["flags"] == (X["kinds"] == "a"), "yes", "no")
    classifier = DeepFMClassifier(kinds={"codes": "categorical"}, random_state=0, **SMALL).fit(X, y)
    kinds = {role.column: role.kind.value for role in classifier.schema_.roles}
    assert kinds == {
        "times": "timestamp",
        "codes": "categorical",
        "flags": "categorical",
        "kinds": "categorical",
        "lists": "multi-valued",
        "3": "piecewise",
    }
    other = X.head(3).astype(object)
    other.iloc[0] = None
    other.iloc[1, 3] = "never seen"
    assert np.isfinite(classifier.predict_proba(other)).all()
    assert set(classifier.predict(X)) <= {"no", "yes"}


def test_whole_numbers_keep_their_feature_when_a_missing_value_turns_them_into_floats():
    frame = clicks(600)
    X = frame.drop(columns="clicked").assign(code=np.arange(600) % 7)
    classifier = DeepFMClassifier(kinds={"code": "categorical"}, random_state=0, **SMALL).fit(X, frame["clicked"])
    floats = X.astype({"code": float})
    assert np.array_equal(classifier.decision_function(X), classifier.decision_function(floats))


def test_codes_keep_their_feature_when_they_are_written_with_a_point():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"region": rng.integers(1, 9, 2000), "other": rng.choice(["a", "b"], 2000)})
    y = rng.random(2000) < np.where(X["region"] % 2, 0.6, 0.2)
    classifier = DeepFMClassifier(random_state=0, **SMALL).fit(X, y)
    floats = X.assign(region=X["region"].map(lambda code: f"{code}.0"))
    np.testing.assert_array_equal(classifier.predict_proba(floats), classifier.predict_proba(X))
    assert np.ptp(classifier.predict_proba(X)[:, 1]) > 0.1


def test_a_column_that_gives_the_label_away_is_kept_with_a_warning():
    frame = clicks(600)
    X = frame[["device"]].assign(answer=np.where(frame["clicked"] == 1, "a", "b"))
    with pytest.warns(TableWarning, match="`answer`: alone it predicts the label with AUC 1.000: make sure"):
        classifier = DeepFMClassifier(random_state=0, **SMALL).fit(X, frame["clicked"])
    assert "known before the label" in classifier.schema_.role("answer").warning
    assert classifier.score(X, frame["clicked"]) > 0.9


def test_cells_that_training_did_not_prepare_for_are_warned_of(fitted: DeepFMClassifier):
    X = clicks(200, seed=5).drop(columns="clicked")
    with warnings.catch_warnings():
        warnings.simplefilter("error", TableWarning)
        fitted.predict_proba(X)
    with pytest.warns(TableWarning, match=r"field `site`: 100% of the cells .200 of 200. hold values that training"):
        fitted.predict_proba(X.assign(site="new"))
    with pytest.warns(TableWarning, match=r"field `price`: 100% of the cells .200 of 200. have no value"):
        fitted.explain(X.assign(price=np.nan))


def test_a_chosen_penalty_is_that_of_weights_and_embeddings():
    frame = clicks(300)
    X, y = frame.drop(columns="clicked"), frame["clicked"]
    preset = DeepFMClassifier(**SMALL).fit(X, y).spec_.fit
    chosen = DeepFMClassifier(l2=1e-4, **SMALL).fit(X, y).spec_.fit
    assert preset.l2_embeddings != preset.l2
    assert (chosen.l2, chosen.l2_embeddings) == (1e-4, 1e-4)


def test_crossed_columns_have_a_weight_for_each_combination_and_the_network_its_settings():
    X = clicks(600).drop(columns="clicked")
    y = (X["device"] == "phone") == (X["placement"] == "feed")  # no main effect, and nothing a first-order term sees
    plain = DeepFMClassifier("lr", random_state=0, epochs=20, learning_rate=0.05).fit(X, y)
    settings: dict[str, Any] = {
        "layers": (4,),
        "activation": "tanh",
        "batch_norm": True,
        "epochs": 20,
        "learning_rate": 0.05,
    }
    crossed = DeepFMClassifier("wide-deep", crosses=[("device", "placement")], random_state=0, **settings).fit(X, y)
    spec = crossed.spec_.model
    assert (spec.crosses, spec.activation, spec.batch_norm) == ((("device", "placement"),), "tanh", True)
    assert crossed.score(X, y) > 0.98 > plain.score(X, y)
    terms = crossed.terms(X.head(20))
    assert set(terms.loc[terms["field_a"] == "device × placement", "term"]) == {"first-order"}
    assert crossed.interactions()["field_a"].notna().all()
    assert terms.groupby("row")["value"].sum().to_numpy() == pytest.approx(
        crossed.decision_function(X.head(20)), abs=1e-5
    )


def test_torch_is_left_as_it_was():
    torch.manual_seed(1)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    frame = clicks(300)
    DeepFMClassifier(dropout=0.5, **SMALL).fit(frame.drop(columns="clicked"), frame["clicked"])
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("settings", "labels", "said"),
    [
        ({}, [0, 1, 2], "Only binary classification is supported"),
        ({}, [0, 0, 0], "there is only one class"),
        ({"model": "xdeepfm"}, [0, 1, 0], "Model is 'xdeepfm'"),
        ({"preset": "fast"}, [0, 1, 0], "Preset is 'fast'"),
        ({"kinds": {"device": "text"}}, [0, 1, 0], "Kind of column `device` is 'text'"),
        ({"kinds": {"colour": "categorical"}}, [0, 1, 0], "column `colour`: there is no such column"),
        ({"kinds": {"device": "numeric"}}, [0, 1, 0], "column `device`"),
        ({"model": "wide-deep", "crosses": ["device*hour"]}, [0, 1, 0], "Cross is 'device\\*hour'. Name two columns"),
        ({"model": "wide-deep", "crosses": [("device", "colour")]}, [0, 1, 0], "colour"),
        ({"crosses": [("device", "placement")]}, [0, 1, 0], "Only wide-deep has crossed fields"),
        ({"validation_fraction": 1.0}, [0, 1, 0], "Validation share is 1.0"),
    ],
)
def test_what_cannot_be_used_is_named(settings, labels, said):
    X = clicks(300).drop(columns="clicked")
    with pytest.raises(ValueError, match=said) as error:
        DeepFMClassifier(**settings).fit(X, np.resize(labels, 300))
    assert isinstance(error.value, DeepFMError) or "binary" in said


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("layers", "abc", "layers is 'abc'. Use a list of whole numbers, such as (64, 32)."),
        ("layers", [64, "x"], "layers is [64, 'x']. Use a list of whole numbers, such as (64, 32)."),
        ("layers", 5, "layers is 5. Use a list of whole numbers, such as (64, 32)."),
        ("crosses", "device", "crosses is 'device'. Use a list of pairs of columns, such as [('device', 'hour')]."),
        ("embedding_size", 2.5, "embedding_size is 2.5. Use a whole number."),
        ("epochs", True, "epochs is True. Use a whole number."),
        ("min_count", None, "min_count is None. Use a whole number."),
        ("learning_rate", "fast", "learning_rate is 'fast'. Use a number."),
        ("batch_norm", "yes", "batch_norm is 'yes'. Use True or False."),
        ("kinds", ["device"], "Kinds is ['device']. Use kinds by column name, such as {'hour': 'categorical'}."),
        ("random_state", "a", "Random state is 'a'. Use a whole number, a RandomState or None."),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value_and_the_remedy(parameter: str, value: Any, said: str):
    X, y = sample(200)
    with pytest.raises(SpecError) as raised:
        DeepFMClassifier(**{parameter: value}).fit(X, y)
    assert str(raised.value) == said
    assert isinstance(raised.value, ValueError)


def test_numbers_of_numpy_are_numbers():
    X, y = sample(300)
    numbers: dict[str, Any] = {"embedding_size": np.int64(4), "layers": np.array([8, 4]), "dropout": np.float32(0.1)}
    model = DeepFMClassifier(epochs=1, random_state=0, **numbers).fit(X, y)
    assert model.spec_.model.layers == (8, 4)


def test_a_frame_without_rows_is_said_to_have_none():
    X, y = sample(200)
    with pytest.raises(ValueError, match="X: there are no rows"):
        DeepFMClassifier().fit(X.iloc[:0], y.iloc[:0])


def small() -> tuple[pd.DataFrame, pd.Series]:
    frame = clicks(600)
    return frame.drop(columns="clicked"), frame["clicked"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (lambda y: pd.array(y == 1, "boolean"), np.array([False, True])),
        (lambda y: pd.array(y, "Int64"), np.array([0, 1])),
        (lambda y: pd.array(y, "Float64"), np.array([0.0, 1.0])),
        (lambda y: pd.array(np.where(y == 1, "yes", "no"), "string[pyarrow]"), np.array(["no", "yes"], dtype=object)),
        (lambda y: pd.Categorical(np.where(y == 1, "yes", "no")), np.array(["no", "yes"], dtype=object)),
        (lambda y: y.astype("int64[pyarrow]"), np.array([0, 1])),
    ],
    ids=["boolean", "Int64", "Float64", "string", "category", "arrow"],
)
def test_classes_are_of_the_labels_own_type(labels, classes: np.ndarray):
    X, y = small()
    fitted = DeepFMClassifier(random_state=0, **SMALL).fit(X, labels(y))
    assert fitted.classes_.dtype == classes.dtype
    assert fitted.classes_.tolist() == classes.tolist()
    assert set(fitted.predict(X).tolist()) <= set(classes.tolist())


@pytest.mark.parametrize("absent", [np.nan, None, pd.NA], ids=str)
def test_a_missing_label_is_refused_without_a_warning_of_numpy(absent: object):
    X, y = small()
    labels = y.astype(object)
    labels.iloc[5] = absent
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(ValueError, match=r"Input y contains NaN: 1 label is missing, of \d+\. Leave these rows"):
            DeepFMClassifier(**SMALL).fit(X, labels)


def test_settings_go_by_the_rows_that_are_learned_from():
    X, y = small()
    twice = pd.concat([X, X], ignore_index=True), pd.concat([y, y], ignore_index=True)
    fits = [DeepFMClassifier(copies="drop", epochs=1).fit(*each).spec_.fit for each in ((X, y), twice)]
    assert fits[0] == fits[1]


def test_weights_of_rows_are_refused_in_a_sentence():
    X, y = small()
    with pytest.raises(TypeError, match=r"fit does not take sample_weight: rows cannot be weighted\. Leave it out, or"):
        DeepFMClassifier(**SMALL).fit(X, y, sample_weight=np.ones(len(y)))


def test_a_pickle_leaves_the_training_rows_out_unless_they_are_asked_for():
    X, y = small()
    fitted = DeepFMClassifier(random_state=0, **SMALL).fit(X, y)
    kept = DeepFMClassifier(random_state=0, keep_training_rows=True, **SMALL).fit(X, y)
    again, with_rows = (pickle.loads(pickle.dumps(each)) for each in (fitted, kept))
    assert len(pickle.dumps(fitted)) + 40 * len(X) < len(pickle.dumps(kept))
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
    pd.testing.assert_frame_equal(with_rows.interactions(), fitted.interactions())
    with pytest.raises(RunError, match=r"pickled without its training rows\. Give rows to ask: interactions\(X, y\)"):
        again.interactions()
    asked = again.interactions(X, y)
    assert list(asked.columns) == list(fitted.interactions().columns)
    strengths = fitted.interactions().set_index(["field_a", "field_b"])["strength"]
    assert asked.set_index(["field_a", "field_b"])["strength"].to_dict() == pytest.approx(strengths.to_dict(), abs=0.02)


def test_rows_are_asked_with_their_labels_or_not_at_all(fitted: DeepFMClassifier) -> None:
    frame = clicks()
    for X, y in ((frame.drop(columns="clicked"), None), (None, frame["clicked"])):
        with pytest.raises(ValueError, match=r"Give both, `interactions\(X, y\)`, or neither"):
            fitted.interactions(X, y)


def test_labels_written_otherwise_are_the_same_labels(fitted: DeepFMClassifier) -> None:
    frame = clicks()
    X, y = frame.drop(columns="clicked"), frame["clicked"]
    right = fitted.score(X, y)
    assert right == np.mean(fitted.predict(X) == y)
    for other in (y.astype(str), y.astype(float), y.astype(bool).astype(int), list(y), y.map({0: "0.0", 1: " 1 "})):
        assert fitted.score(X, other) == right
    asked = fitted.interactions(X, y)
    pd.testing.assert_frame_equal(fitted.interactions(X, y.astype(str)), asked)
    with pytest.raises(SchemaError, match="row 0: not a label"):
        fitted.score(X, ["yes"] + ["0"] * (len(y) - 1))
    again = pickle.loads(pickle.dumps(fitted))
    del again.__dict__["_label"]  # as pickled before there was one
    assert pickle.loads(pickle.dumps(again)).score(X, y) == right


def test_ratings_judge_and_ask_as_they_were_fitted() -> None:
    frame = clicks()
    X = frame.drop(columns="clicked")
    ratings = frame["clicked"] * 3 + np.arange(len(frame)) % 2 + 1  # 1, 2, 4, 5
    rated = DeepFMClassifier(positive=">=4", random_state=0, keep_training_rows=True, **SMALL).fit(X, ratings)
    right = np.mean((rated.decision_function(X) > 0) == (ratings >= 4))
    assert rated.score(X, ratings) == rated.score(X, ratings >= 4) == right
    assert rated.score(X[ratings == 1], ratings[ratings == 1]) > 0.5  # one class is enough to judge
    assert len(rated.interactions(X, ratings)) == len(rated.interactions())
    zeros_and_ones = (ratings >= 4).astype(int)
    assert rated.score(X, zeros_and_ones) == rated.score(X, zeros_and_ones.astype(float)) == right


def test_labels_of_the_two_classes_are_these_however_they_read(fitted: DeepFMClassifier) -> None:
    frame = clicks()
    X, y = frame.drop(columns="clicked"), frame["clicked"]
    for negative, positive in (("None", "Some"), ("yes", "Yes"), ("1", "01"), (False, True)):
        of_these = y.map({0: negative, 1: positive})
        model = DeepFMClassifier(random_state=0, **SMALL).fit(X, of_these)
        assert model.score(X, of_these) == np.mean(model.predict(X) == of_these)
    assert model.score(X, y) == model.score(X, y == 1) == fitted.score(X, y == 1)


def test_labels_that_judge_nothing_are_refused(fitted: DeepFMClassifier) -> None:
    frame = clicks()
    X, y = frame.drop(columns="clicked"), frame["clicked"]
    with pytest.raises(NotFittedError):
        DeepFMClassifier().score(X, y)
    with pytest.raises(ValueError, match="the target y is None"):
        fitted.score(X, None)
    for ask in (fitted.score, fitted.interactions):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            ask(X, y[:10])


def test_an_array_after_a_frame_goes_by_position_and_the_other_way_round(fitted: DeepFMClassifier):
    X = clicks(50, seed=3).drop(columns="clicked")
    for method in ("predict_proba", "predict", "decision_function", "explain", "terms"):
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            by_place = getattr(fitted, method)(X.to_numpy())
        pd.testing.assert_frame_equal(pd.DataFrame(by_place), pd.DataFrame(getattr(fitted, method)(X)))
    numbers = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 3)), columns=["p", "q", "r"])
    y = (numbers["p"] + numbers["q"] > 0).astype(int)
    on_array = DeepFMClassifier(random_state=0, **SMALL).fit(numbers.to_numpy(), y)
    with pytest.warns(UserWarning, match="X has feature names, but DeepFMClassifier was fitted without"):
        by_name = on_array.predict_proba(numbers)
    assert np.array_equal(by_name, on_array.predict_proba(numbers.to_numpy()))
    counted = numbers.set_axis(range(3), axis=1)
    on_numbers = DeepFMClassifier(random_state=0, **SMALL).fit(counted, y)
    assert np.array_equal(on_numbers.predict_proba(counted), on_numbers.predict_proba(counted.to_numpy()))


def test_a_separator_may_stand_behind_the_kind():
    X, y = small()
    X = X.assign(interests=X["interests"].str.replace("|", "@"))
    fitted = DeepFMClassifier(random_state=0, kinds={"interests": "multi-valued:@"}, **SMALL).fit(X, y)
    assert fitted.schema_.role("interests").separator == "@"
    with pytest.raises(SpecError, match="Kind of column `device` is 'categorical:@'"):
        DeepFMClassifier(kinds={"device": "categorical:@"}).fit(X, y)


def test_a_name_that_stands_twice_is_refused_by_name() -> None:
    frame = pd.DataFrame([["a", 1, 2]] * 40, columns=["x", "y", "y"])
    with pytest.raises(SchemaError, match="X: a column name stands twice: `y`"):
        DeepFMClassifier().fit(frame, [0, 1] * 20)


def test_files_train_and_score_like_the_frames_they_hold(tmp_path: Path) -> None:
    frame = clicks().astype(str)
    for day, rows in (("1", frame.iloc[:300]), ("2", frame.iloc[300:])):
        (tmp_path / f"day={day}").mkdir()
        rows.to_csv(tmp_path / f"day={day}" / "rows.csv", index=False)
    of_files = DeepFMClassifier(random_state=0, **SMALL).fit(f"{tmp_path}/day=*/*.csv", "clicked")
    assert not of_files.schema_.role("day").kind.is_used
    whole = frame.assign(day=["1"] * 300 + ["2"] * (len(frame) - 300))
    of_frame = DeepFMClassifier(random_state=0, **SMALL).fit(frame.drop(columns="clicked"), frame["clicked"])
    assert list(of_files.classes_) == ["0", "1"]
    expected = of_frame.predict_proba(frame.drop(columns="clicked"))
    np.testing.assert_allclose(of_files.predict_proba(tmp_path), expected, atol=1e-6)
    np.testing.assert_allclose(of_files.predict_proba(whole.drop(columns="clicked")), expected, atol=1e-6)
    assert list(of_files.explain(f"{tmp_path}/day=1/*.csv").index) == list(range(300))
    assert of_files.score(tmp_path, "clicked") == of_frame.score(frame.drop(columns="clicked"), frame["clicked"])
    one = f"{tmp_path}/day=1/rows.csv"  # which is no dataset, so it has no day
    np.testing.assert_allclose(of_files.predict_proba(one), expected[:300], atol=1e-6)
    again = of_files.interactions(tmp_path, "clicked")
    assert set(again["field_a"]) | set(again["field_b"]) <= set(whole.columns)


def test_rows_of_files_without_a_label_are_left_out_and_said(tmp_path: Path) -> None:
    frame = clicks().astype(str)
    frame.loc[[3, 7], "clicked"] = ["", "NA"]
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.warns(TableWarning, match="2 of 1,500 rows have no label and are left out"):
        fitted = DeepFMClassifier(random_state=0, **SMALL).fit(tmp_path / "rows.csv", "clicked")
    assert list(fitted.classes_) == ["0", "1"]


def test_files_need_the_name_of_the_label(tmp_path: Path) -> None:
    clicks().to_csv(tmp_path / "rows.csv", index=False)
    for label in ("click", None, [0, 1]):
        with pytest.raises(SchemaError, match="Name the column of the labels") as refused:
            DeepFMClassifier().fit(tmp_path / "rows.csv", label)
        assert len(str(refused.value)) < 200


def test_copies_of_rows_are_kept_with_a_warning_unless_they_are_to_be_left_out() -> None:
    rows = clicks(400)
    twice = pd.concat([rows, rows])
    X, y = twice.drop(columns="clicked"), twice["clicked"]
    with pytest.warns(TableWarning, match=r'400 of 800 rows are copies of others.*\(`copies="drop"`\)'):
        DeepFMClassifier(epochs=1, random_state=0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TableWarning)
        once = DeepFMClassifier(epochs=1, random_state=0, copies="drop").fit(X, y)
    assert "400 of 800 rows are copies of others" in once.notes_[0]
    assert once.notes_[0].endswith('(`copies="keep"`).')


def test_no_message_of_a_file_names_an_option_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "ragged.csv").write_text("a,b,clicked\n" + "1,2\n1,2,3,4,5\n" * 40)
    with pytest.warns(TableWarning) as warned, pytest.raises(DeepFMError) as refused:
        DeepFMClassifier().fit(tmp_path / "ragged.csv", "clicked")
    said = [str(refused.value), *(str(one.message) for one in warned)]
    assert any("If it is a row, say so." in text for text in said)
    assert not any("--" in text for text in said)


def on_disk(folder: Path, monkeypatch: pytest.MonkeyPatch, rows: int = 3000) -> tuple[pd.DataFrame, str]:
    """Write files of whose rows the classifier believes that they do not fit."""
    frame = clicks(rows).astype(str)
    for number, part in enumerate(np.array_split(np.arange(rows), 3)):
        frame.iloc[part].to_parquet(folder / f"{number}.parquet", index=False)
    monkeypatch.setattr(memory, "bytes_in_memory", lambda _: 10**15)
    return frame, f"{folder}/*.parquet"


@pytest.mark.parametrize("given", [{}, {"positive": "0"}])
def test_rows_of_files_that_do_not_fit_train_and_score_as_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    frame, files = on_disk(tmp_path, monkeypatch)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)
        inside = DeepFMClassifier(random_state=0, **SMALL, **given).fit(frame.drop(columns="clicked"), frame["clicked"])
        disk = DeepFMClassifier(random_state=0, memory="2GB", **SMALL, **given).fit(files, "clicked")
    assert any("The encoded rows stay on the disk" in note for note in disk.notes_)
    assert list(disk.classes_) == list(inside.classes_)
    assert disk.schema_.roles == inside.schema_.roles
    assert disk.spec_.fit == inside.spec_.fit
    assert disk.best_epoch_ == inside.best_epoch_
    pd.testing.assert_frame_equal(disk.history_.drop(columns="seconds"), inside.history_.drop(columns="seconds"))
    expected = inside.predict_proba(frame.drop(columns="clicked"))
    np.testing.assert_array_equal(disk.predict_proba(frame.drop(columns="clicked")), expected)
    monkeypatch.setattr(MemoryPlan, "of", classmethod(lambda cls, *_: cls(700, 1 << 30, 10_000)))
    np.testing.assert_allclose(disk.predict_proba(files), expected, atol=1e-6)
    assert disk.score(files, "clicked") == inside.score(frame.drop(columns="clicked"), frame["clicked"])
    names = ["field_a", "field_b", "strength"]
    pd.testing.assert_frame_equal(disk.interactions()[names], inside.interactions()[names])
    assert not list((tmp_path / "temporary").glob("deepfm-*"))
    frame.loc[2205, "clicked"] = "maybe"
    frame.iloc[2000:].to_parquet(tmp_path / "2.parquet", index=False)
    with pytest.raises(SchemaError, match=r"\*\.parquet, counted after 2,000 rows: .*row 205.*`maybe`"):
        disk.score(files, "clicked")


def test_what_does_not_go_with_rows_on_the_disk_is_said_with_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, files = on_disk(tmp_path, monkeypatch)
    with pytest.raises(RunError, match=r'too little for 3,000 rows\. Use `memory="851MB"` or more'):
        DeepFMClassifier(memory="100MB").fit(files, "clicked")
    with pytest.raises(SpecError, match="Write a size such as 2GB"):
        DeepFMClassifier(memory="much").fit(files, "clicked")
    with pytest.raises(SpecError, match="Leave out `copies`"):
        DeepFMClassifier(memory="2GB", copies="drop").fit(files, "clicked")
    with pytest.raises(SpecError, match="Leave out `crosses`"):
        DeepFMClassifier("wide-deep", memory="2GB", crosses=[("device", "site")]).fit(files, "clicked")
    with pytest.raises(SchemaError, match="Did you mean `clicked`"):
        DeepFMClassifier(memory="2GB").fit(files, "click")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(RunError, match="name another folder in `TMPDIR`; then fit again"):
        DeepFMClassifier(memory="2GB").fit(files, "clicked")


def test_a_file_that_vanishes_while_a_fit_reads_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, files = on_disk(tmp_path, monkeypatch)
    divide = Sharding.divide

    def without_a_file(passes: Sharding) -> Iterator[float]:
        (tmp_path / "2.parquet").unlink()
        yield from divide(passes)

    monkeypatch.setattr(Sharding, "divide", without_a_file)
    with pytest.raises(TableError, match=r"vanished while the dataset was read \(file `2\.parquet`\)"):
        DeepFMClassifier(memory="2GB").fit(files, "clicked")
