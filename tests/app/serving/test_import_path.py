"""Many visitors in one process: their pages set the import path at once, and nobody looks for changed modules."""

from __future__ import annotations

import ast
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import CodeType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[3]


def setting(file: str) -> CodeType:
    """Give the statement of a file that sets the import path."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.Assign) and "sys.path" in ast.unparse(node))
    return compile(ast.Module([found], []), file, "exec")


@pytest.mark.parametrize("file", ["app/main.py", "app/server.py"])
def test_pages_that_begin_at_once_keep_the_import_path(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [str(tmp_path / f"packages-{number}") for number in range(40)]
    monkeypatch.chdir(ROOT)
    system = SimpleNamespace(path=[str(ROOT / "app"), "", str(ROOT), *packages])  # three entries become one
    statement, names = setting(file), {"sys": system, "ROOT": ROOT, "Path": Path, "str": str}
    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(exec, statement, dict(names)) for _ in range(200)]:
            done.result()
    assert system.path == [str(ROOT), *packages]


def test_no_session_looks_through_all_modules_for_changes() -> None:
    """Streamlit does so after a session's first page, within the loop that serves everybody."""
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert config["server"]["fileWatcherType"] == "none"
