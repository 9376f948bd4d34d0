"""The package where it is installed: what it holds, and that it works in a folder that is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import deepfm_core
from deepfm_core.store.store import Store, default_home

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


def test_the_store_stands_in_the_checkout_and_for_an_installed_package_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEEPFM_HOME", raising=False)
    assert default_home() == ROOT / ".deepfm"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("deepfm_core.store.store.__file__", str(tmp_path / "site/deepfm_core/store/store.py"))
    away = default_home()
    assert ROOT not in away.parents
    assert away.name == "deepfm-explorer"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pyproject.toml").write_text('[project]\nname = "another"\n')
    assert default_home() == away


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built and installed into a folder of its own from a copy, which building writes into."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "deepfm_core", source / "deepfm_core", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-compile", "--target", site, source], check=True)
    return site


def command(site: Path, home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the installed `deepfm` in a folder that is no checkout, for a user whose data stand in `home`."""
    environment = {name: value for name, value in os.environ.items() if name != "DEEPFM_HOME"}
    environment |= {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home)}
    environment |= {"XDG_DATA_HOME": str(home / "data"), "XDG_CACHE_HOME": str(home / "cache")}
    return subprocess.run(
        [sys.executable, site / "bin" / "deepfm", *map(str, arguments)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def files(folder: Path) -> Iterator[Path]:
    return (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())


def test_the_installed_package_holds_the_core_its_types_and_its_licence(installed: Path) -> None:
    there = {str(path) for path in files(installed)}
    metadata = f"deepfm_explorer-{deepfm_core.__version__}.dist-info"
    assert {"deepfm_core/py.typed", "bin/deepfm", f"{metadata}/licenses/LICENSE"} <= there
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "deepfm_core").rglob("*.py")}
    assert {name for name in there if name.endswith(".py")} == modules


def test_the_installed_command_says_its_name_and_version(installed: Path, tmp_path: Path) -> None:
    assert command(installed, tmp_path, "--version").stdout == f"deepfm {deepfm_core.__version__}\n"
    assert command(installed, tmp_path, "--help").stdout.startswith("usage: deepfm ")
    assert command(installed, tmp_path, "worker", "--help").stdout.startswith("usage: deepfm worker ")
    assert "See `deepfm train --help`" in command(installed, tmp_path, "train", "--no-such-option").stderr


def test_an_installed_package_trains_and_writes_beside_no_module(installed: Path, tmp_path: Path) -> None:
    before = list(files(installed))
    table = ROOT / "sample_data" / "clicks.csv"
    done = command(installed, tmp_path, "train", table, "--label", "clicked", "--epochs", 1, "--folds", 0, "--quiet")
    assert done.returncode == 0, done.stderr
    assert list(files(installed)) == before
    (run,) = Store(tmp_path / "data" / "deepfm-explorer").runs()
    assert run.state == "finished"
