"""What the project asks for: one list, and the pinned files made from it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import lock

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = lock.pins_of((ROOT / lock.LOCK).read_text(encoding="utf-8"))
OWN = {"deepfm_core", "app", "benchmarks", "tests", "tools"}
ASKED = [
    *PROJECT["project"]["dependencies"],
    *(text for extra in PROJECT["project"]["optional-dependencies"].values() for text in extra),
    *PROJECT["dependency-groups"]["peers"],
]


def test_the_requirements_are_those_of_the_project_at_the_versions_of_the_lock() -> None:
    for name, text in lock.requirement_files(PROJECT, PINS).items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, f"{name}: run `make lock`."
    assert lock.lock_file(PINS) == (ROOT / lock.LOCK).read_text(encoding="utf-8")


def test_the_lock_holds_all_that_is_installed_for_the_project() -> None:
    here = lock.locked(PROJECT)
    assert here == {name: PINS.get(name) for name in here}
    assert PINS["torch"] == "2.13.0"


@pytest.mark.parametrize("asked", ASKED)
def test_a_pin_lies_in_the_range_of_the_project(asked: str) -> None:
    requirement = Requirement(asked)
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_every_requirement_says_what_it_is_for() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for asked in ASKED:
        assert re.search(rf'"{re.escape(asked)}",  # \w', text), asked


@cache
def brought() -> Mapping[str, list[str]]:
    """Give the packages that bring each top-level module."""
    return packages_distributions()


def imported_by(folder: Path) -> set[str]:
    """Give the top-level names of all that the modules of a folder import; fixtures were made by earlier code."""
    modules = [path for path in folder.rglob("*.py") if "fixtures" not in path.parts]
    nodes = [node for path in modules for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_them = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in plain | from_them}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("deepfm_core", ("search", "mlflow", "postgres", "cluster")),
        ("app", ("app",)),
        ("tests", ("app", "search", "onnx", "mlflow", "postgres", "accounts", "cluster", "dev")),
        ("tools", ("dev",)),
    ],
)
def test_what_is_imported_is_asked_for(folder: str, extras: tuple[str, ...]) -> None:
    asked = [text for extra in extras for text in PROJECT["project"]["optional-dependencies"][extra]]
    asked += PROJECT["project"]["dependencies"] + (PROJECT["dependency-groups"]["peers"] if folder == "tests" else [])
    names = {canonicalize_name(Requirement(text).name) for text in asked}
    for module in imported_by(ROOT / folder) - set(sys.stdlib_module_names) - OWN:
        assert {canonicalize_name(name) for name in brought()[module]} & names, module
