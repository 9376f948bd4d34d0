"""Settings are declared once: what says something of them says the same, and no field of a run goes without."""

from __future__ import annotations

import argparse
import csv
import re
from dataclasses import fields
from pathlib import Path

import pytest

from deepfm_core.cli.parser import parser
from deepfm_core.errors import SpecError
from deepfm_core.experiments.run_diff import setting_differences
from deepfm_core.schema.schema import LabelRole, Schema
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec, SplitSpec
from deepfm_core.spec.search_space import FACTORS
from deepfm_core.spec.settings import SETTINGS, Setting, by_home, setting_named
from deepfm_core.spec.value_kinds import Crosses, Flag, Number, Whole, Widths

ROOT = Path(__file__).resolve().parents[2]
SPEC = RunSpec("a" * 64, "t.csv", Schema(LabelRole("clicked", "1", "0"), ()))
BESIDE = {"model": {"name"}, "split": {"by", "column"}, "fit": set()}
"""Fields that are no settings: which model it is, and how rows are divided."""
TABLES = {f"{part}table{name}" for part in ("", "valid_", "test_") for name in ("", "_name")}
ON_THE_COMMAND_LINE = [setting for setting in SETTINGS if setting.option]


def names(home: str) -> set[str]:
    return {setting.name for setting in SETTINGS if setting.home == home}


@pytest.mark.parametrize(("home", "part"), [("model", ModelSpec), ("fit", FitSpec), ("split", SplitSpec)])
def test_every_field_of_a_part_is_a_setting_and_the_other_way_round(home: str, part: type) -> None:
    assert {field.name for field in fields(part)} - BESIDE[home] == names(home)


def test_every_field_of_a_run_is_a_setting_a_table_or_a_part() -> None:
    assert {field.name for field in fields(RunSpec)} - TABLES - {"schema", "split", "model", "fit"} == names("run")


def test_no_two_settings_have_a_name_or_a_title_in_common() -> None:
    assert len({setting.name for setting in SETTINGS}) == len({setting.title for setting in SETTINGS}) == len(SETTINGS)
    assert {setting.takes_along for setting in SETTINGS} - {""} <= {setting.name for setting in SETTINGS}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_run_that_says_nothing_has_values_in_range_and_those_that_are_said_to_be_usual(setting: Setting) -> None:
    value = setting.of(SPEC)
    setting.require(value)
    if isinstance(setting.values, Whole | Number) and setting.usual and value is not None:
        assert setting.usual == str(value)


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_the_command_line_has_the_options_of_settings_with_their_help(verb: str) -> None:
    verbs = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    options = {action.dest: action for action in verbs.choices[verb]._actions}
    for setting in ON_THE_COMMAND_LINE:
        assert setting.option is not None
        assert (setting.name in options) == (verb in setting.option.verbs)
        if setting.name in options:
            assert options[setting.name].option_strings == flags(setting)
            assert (options[setting.name].help or "").startswith(setting.explained)


def flags(setting: Setting) -> list[str]:
    """Give the options of a setting: what can be switched on can be switched off."""
    return [setting.flag, *([f"--no-{setting.flag[2:]}"] if isinstance(setting.values, Flag) else [])]


@pytest.mark.parametrize("setting", ON_THE_COMMAND_LINE, ids=lambda setting: setting.name)
def test_the_table_of_options_says_what_the_setting_says(setting: Setting) -> None:
    assert setting.option is not None
    page = (ROOT / "docs/command-line.md").read_text(encoding="utf-8").replace("`", "")
    head = f"{', '.join(flags(setting))} {setting.option.metavar}".strip()
    row = re.search(rf"^\| {re.escape(head)} \| (.*?) \| (.*?)( \(\[.*)? \|$", page, re.M)
    assert row is not None
    assert (row[1], row[2]) == (setting.usual or "preset", setting.explained)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"embedding_size": 0}, "Embedding size is 0. Use 1 to 512."),
        ({"layers": (64, 9000)}, "Layers is '64, 9000'. Use widths of 1 to 8192, such as 64,32."),
        ({"activation": "gelu"}, "Activation is 'gelu'. Use one of relu, tanh, sigmoid, linear."),
        ({"dropout": 1.0}, "Dropout is 1.0. Use the share of units to drop, 0 to below 1."),
        ({"dropout": float("nan")}, "Dropout is nan. Use the share of units to drop, 0 to below 1."),
        ({"patience": 0}, "Patience is 0. Use 1 or more epochs."),
        ({"least_gain": 1.0}, "Least gain is 1.0. Use a share of the validation score, 0 to below 1, such as 5e-5."),
        ({"batch_size": 0}, "Batch size is 0. Use 1 to 1000000 rows."),
        ({"learning_rate": 0.0}, "Learning rate is 0.0. Use a number above 0, up to 10, such as 1e-3."),
        (
            {"first_order_rate": 101.0},
            "First-order rate is 101.0. Use a factor of the learning rate above 0, up to 100",
        ),
        ({"l2": -1.0}, "L2 is -1.0. Use a number, 0 or more, such as 1e-5."),
        ({"embedding_l2": -1.0}, "Embedding L2 is -1.0. Use a number, 0 or more, such as 1e-3, or leave it out."),
        ({"min_count": 0}, "Minimum count is 0. Use 1 or more rows."),
        ({"folds": 1}, "Folds is 1. Use 2 to 20, or 0, or leave it out."),
        ({"seed": -1}, "Seed is -1. Use 0 or more."),
        ({"valid": 1.0}, "Validation share is 1.0. Use a share of the rows, 0 to below 1, such as 0.1."),
        ({"embeding": 3}, "Setting is 'embeding'. Use one of activation, "),
    ],
)
def test_a_value_out_of_range_is_named_with_its_setting_and_what_to_use(chosen: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=re.escape(said)):
        SPEC.with_settings(chosen)


def test_chosen_values_go_where_they_live_and_take_their_followers_along() -> None:
    spec = SPEC.with_settings({"layers": (7,), "epochs": 2, "seed": 3, "test": 0.2, "embedding_l2": 0.5})
    assert (spec.model.layers, spec.fit.epochs, spec.seed, spec.split.test) == ((7,), 2, 3, 0.2)
    assert spec.with_settings({"l2": 0.1}).fit.l2_embeddings == 0.1
    assert spec.with_settings({"l2": 0.1, "embedding_l2": 0.2}).fit.l2_embeddings == 0.2
    with pytest.raises(SpecError, match="Setting is 'seed'"):
        by_home({"seed": 1}, ("model", "fit"))


@pytest.mark.parametrize("value", [(), (64,), (64, 32)])
def test_widths_are_read_as_they_are_written(value: tuple[int, ...]) -> None:
    assert Widths(99).read(Widths(99).text(value)) == value


@pytest.mark.parametrize("value", [(), (("a", "b"),), (("a, or b", "c"), ("d", "e")), (("a\nb", "c\rd"),)])
def test_crosses_are_read_as_they_are_written(value: tuple[tuple[str, str], ...]) -> None:
    assert Crosses().read(Crosses().text(value)) == value


def test_crosses_of_a_link_may_stand_on_lines_and_long_ones_get_a_sentence() -> None:
    for end in ("\n", "\r", "\r\n"):
        assert Crosses().read(f"a*b{end}c*d") == (("a", "b"), ("c", "d"))
    usual = csv.field_size_limit(1000)  # other code of the process may have raised it
    try:
        with pytest.raises(
            SpecError, match=r"Crosses cannot be read: field larger than field limit .* Use pairs of fields"
        ):
            Crosses().read("x" * 2000)
    finally:
        csv.field_size_limit(usual)


def test_a_text_that_is_no_value_gets_the_settings_own_sentence() -> None:
    with pytest.raises(SpecError, match=r"^Layers is '64;32'. Use widths of 1 to 8192, such as 64,32\.$"):
        setting_named("layers").from_text("64;32")


@pytest.mark.parametrize(
    ("values", "fitting", "other"), [(Whole(), 3, True), (Whole(), 3, 3.0), (Number(), 0.5, "0.5"), (Flag(), True, 1)]
)
def test_a_kind_knows_its_values(values: Whole | Number | Flag, fitting: object, other: object) -> None:
    assert values.is_one(fitting)
    assert not values.is_one(other)


def test_factors_and_run_differences_are_called_as_their_settings() -> None:
    assert {FACTORS[name].title for name in ("embedding_size", "learning_rate", "l2")} == {
        setting_named(name).title for name in ("embedding_size", "learning_rate", "l2")
    }
    other = SPEC.with_settings({"batch_norm": True, "l2": 1.0, "min_count": 4, "valid": 0.2})
    told = setting_differences(other, SPEC)["setting"]
    assert set(told) == {"batch normalisation", "L2", "minimum count", "validation share"}
