"""Labels of more than two values: a bound on numbers, or some of the classes."""

import numpy as np
import pytest

from deepfm_core.classifier import DeepFMClassifier
from deepfm_core.errors import SchemaError
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.labels import label_role, labelled_rows, labels_of, named_as_label, suggest_label
from deepfm_core.schema.schema import Schema
from tests.schema.test_blank_labels import table_of

RATINGS = table_of(rating=["5", "3", "4.0", "1", " 4"], x=list("abcab"))
CLASSES = table_of(kind=["gold", "Silver", "bronze", "silver", "gold"], x=list("abcab"))


@pytest.mark.parametrize(
    ("rule", "labels", "outcome", "other"),
    [
        (">=4", [1, 0, 1, 0, 1], "rating ≥ 4", "rating < 4"),
        ("≥ 4", [1, 0, 1, 0, 1], "rating ≥ 4", "rating < 4"),
        (" > 4", [1, 0, 0, 0, 0], "rating > 4", "rating ≤ 4"),
        ("<3.5", [0, 1, 0, 1, 0], "rating < 3.5", "rating ≥ 3.5"),
        ("<=1", [0, 0, 0, 1, 0], "rating ≤ 1", "rating > 1"),
        ("4", [0, 0, 1, 0, 1], "rating = 4", "rating = another value"),
        ("1|5", [1, 0, 0, 1, 0], "rating = 1 or 5", "rating = another value"),
    ],
)
def test_numbers_are_positive_by_a_bound_or_by_their_values(rule, labels, outcome, other):
    schema = infer_schema(RATINGS, "rating", rule)
    assert labels_of(RATINGS.frame, schema.label, "t").tolist() == labels
    assert (schema.label.outcome(), schema.label.outcome(positive=False)) == (outcome, other)
    assert Schema.from_dict(schema.to_dict()) == schema
    assert label_role(RATINGS, "rating", schema.label.said) == schema.label


@pytest.mark.parametrize(("rule", "labels"), [("gold", [1, 0, 0, 0, 1]), ("SILVER|bronze", [0, 1, 1, 1, 0])])
def test_some_classes_are_positive_against_all_others(rule, labels):
    role = label_role(CLASSES, "kind", rule)
    assert labels_of(CLASSES.frame, role, "t").tolist() == labels
    new = table_of(kind=["gold", "platinum"])
    assert labels_of(new.frame, role, "t").tolist() == [labels[0], 0]


def test_a_value_that_reads_like_a_rule_is_a_value():
    ages = table_of(age=["<18", "18-30", ">30", "a|b", "a", "b"])
    for text in ("<18", ">30", "a|b"):
        role = label_role(ages, "age", text)
        assert labels_of(ages.frame, role, "t").tolist() == [float(value == text) for value in ages.frame["age"]]
        assert (role.positive, role.said, role.is_bound) == (text, text, False)
    assert labels_of(ages.frame, label_role(ages, "age", "<18|>30"), "t").tolist() == [1, 0, 1, 0, 0, 0]
    income = table_of(income=[">50K", "<=50K", "<=50K."])
    assert label_role(income, "income", ">50K").rule == ""


def test_long_texts_are_no_label_and_none_is_suggested():
    table = table_of(text=["x" * 100_000, "y"] * 9, clicked=["0", "1"] * 9)
    assert suggest_label(table).column == "clicked"
    with pytest.raises(SchemaError, match="a value has 100,000 characters, more than the limit of 1,000") as refused:
        label_role(table, "text")
    assert len(str(refused.value)) < 300


def test_rows_without_a_label_are_left_out():
    table = table_of(rating=[*"12345" * 10, "", "NA"], x=list("ab") * 26)
    role = label_role(table, "rating", ">=4")
    rows, labels = labelled_rows(table.frame, role, "t")
    assert (len(rows), labels.sum(), role.missing) == (50, 20, 2)
    with pytest.raises(SchemaError, match="row 50 without a label"):
        labels_of(table.frame, role, "t")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (">=9", r"no label is positive by `>=9`\. Choose another rule"),
        (">=0", "every label is positive"),
        ("1|3|4|5", "every label is positive"),
        ("7", r"does not occur \(asked for `7`\)\. Name values of the label, with `\|` between them, or a bound"),
        ("4|7", "does not occur"),
        (None, r"there are 4 classes: .* Say which of them are positive \(`--positive 'a\|b'`\)"),
    ],
)
def test_a_rule_that_leaves_one_class_or_none_is_an_error(rule, said):
    with pytest.raises(SchemaError, match=said):
        label_role(RATINGS, "rating", rule)


def test_a_bound_on_what_is_no_number_names_the_cell():
    with pytest.raises(SchemaError, match=r"row 0 and 1 more is no number, so `>=4` says nothing \(found `gold`\)"):
        label_role(CLASSES, "kind", ">=4")
    role = label_role(RATINGS, "rating", ">=4")
    with pytest.raises(SchemaError, match=r"row 1 is no number, so `>=4` says nothing \(found `good`\)"):
        labels_of(table_of(rating=["5", "good"]).frame, role, "t")


def test_a_named_column_of_few_values_is_asked_about_before_one_of_many():
    numbers = [f"{i / 7:.3f}" for i in range(90)]
    assert named_as_label(table_of(y=numbers, **{"class": list("abc") * 30})) == "class"
    assert named_as_label(table_of(y=numbers, x=numbers)) == "y"


def test_the_classifier_takes_labels_of_more_than_two_values():
    rng = np.random.default_rng(0)
    X, ratings = rng.normal(size=(400, 2)), rng.integers(1, 6, 400)
    model = DeepFMClassifier(positive=">=4", model="lr", epochs=2, random_state=0).fit(X, ratings)
    same = DeepFMClassifier(model="lr", epochs=2, random_state=0).fit(X, ratings >= 4)
    assert model.classes_.tolist() == [False, True]
    np.testing.assert_array_equal(model.predict_proba(X), same.predict_proba(X))
    with pytest.raises(SchemaError, match=r"no label is positive by `>=9`\. Choose another rule"):
        DeepFMClassifier(positive=">=9").fit(X, ratings)


@pytest.mark.parametrize("pair", [(".", "-"), ("..", "."), (">", "<"), ("≥", "≤"), ("+", "-"), ("✓", "✗"), ("'", '"')])
def test_labels_may_be_symbols_alone(pair):
    label = infer_schema(table_of(field=list("abcd") * 15, y=[pair[0], pair[1], pair[1]] * 20), "y").label
    assert {label.positive, label.negative} == set(pair)


def test_a_class_may_hold_the_mark_between_classes():
    films = table_of(kind=["Action|Comedy", "Drama", "Comedy", "Action|Comedy", "Crime"], x=list("abcab"))
    role = label_role(films, "kind", "Action|Comedy|Drama")
    assert labels_of(films.frame, role, "t").tolist() == [1, 1, 0, 1, 0]
    assert label_role(films, "kind", role.said) == role
