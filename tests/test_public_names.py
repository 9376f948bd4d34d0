"""The public names of the package: what they are, how they come, and that their documentation runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deepfm_core

ROOT = Path(__file__).resolve().parents[1]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, deepfm_core; print(*sorted({'torch', 'pandas', 'numpy', 'sklearn', 'pyarrow'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_public_name_is_what_its_module_holds_and_no_module_hides_it() -> None:
    modules = {path.stem for path in (ROOT / "deepfm_core").iterdir()}
    assert not modules & set(deepfm_core.__all__)
    assert set(deepfm_core.__all__) <= set(dir(deepfm_core))
    assert list(deepfm_core.__all__) == sorted(deepfm_core.__all__)
    for name in deepfm_core.__all__:
        value = getattr(deepfm_core, name)
        assert (value.__name__, value.__module__) == (name, f"deepfm_core.{deepfm_core._MODULES[name]}")


def test_type_checkers_are_told_the_same_names() -> None:
    tree = ast.parse(Path(deepfm_core.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.asname: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == {name: f"deepfm_core.{module}" for name, module in deepfm_core._MODULES.items()}


def test_a_name_that_is_not_public_is_said_to_be_none() -> None:
    with pytest.raises(AttributeError, match=r"`deepfm_core` has no public name `predict`\. Use one of dir"):
        deepfm_core.predict  # noqa: B018


def library() -> str:
    return (ROOT / "docs" / "library.md").read_text(encoding="utf-8")


def test_every_public_name_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `(\w+)` \| ", library(), re.M)
    assert sorted([*documented, "DeepFMClassifier"]) == list(deepfm_core.__all__)


@pytest.mark.slow
def test_the_snippets_of_the_documentation_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", library(), re.S), 1):
        exec(compile(code, f"docs/library.md, snippet {number}", "exec"), names)
    assert {"model", "pairs", "trained"} <= set(names)
