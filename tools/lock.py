"""Make requirements*.txt and requirements.lock from pyproject.toml and the packages installed here: `make lock`.

What is pinned is what the tests ran with, and torch may come from a local build: so nothing is resolved anew. To take
up another version, install it, run the tests, then run this.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements.lock"
CUDA_ONLY = ("nvidia-", "cuda-", "triton")  # what torch brings where its build is for CUDA; a lock fits both builds
MADE = "# Made from pyproject.toml by `make lock`. Do not edit.\n"


def main() -> None:
    """Write the files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pins = locked(project)
    for name, text in {LOCK: lock_file(pins), **requirement_files(project, pins)}.items():
        (ROOT / name).write_text(text, encoding="utf-8")


def locked(project: Mapping[str, Any]) -> dict[str, str]:
    """Give name and version of all that pyproject.toml leads to in this environment.

    Peers stand for themselves: they are installed without what they ask for. What only a build of torch for CUDA
    brings is left out.

    Raises:
        PackageNotFoundError: something is not installed; `make test` installs it.
    """
    table = project["project"]
    names = closure(
        [*table["dependencies"], *(text for extra in table["optional-dependencies"].values() for text in extra)]
    )
    names |= {_name(text) for text in project["dependency-groups"]["peers"]}
    names = {name for name in names if not name.startswith(CUDA_ONLY)}
    return {name: version(name).partition("+")[0] for name in sorted(names)}  # 2.13.0 of a build 2.13.0+cpu


def closure(requirements: Iterable[str]) -> set[str]:
    """Give the names of all installed packages that the requirements lead to, themselves included."""
    waiting = [_with_extras(text) for text in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        for wanted in set(waiting.pop()) - seen:
            seen.add(wanted)
            waiting.extend(_asked_by(*wanted))
    return {name for name, _ in seen}


def _asked_by(name: str, extra: str) -> Iterator[list[tuple[str, str]]]:
    for text in requires(name) or ():
        marker = Requirement(text).marker
        if marker is None or marker.evaluate({"extra": extra}):
            yield _with_extras(text)


def _with_extras(text: str) -> list[tuple[str, str]]:
    return [(_name(text), extra) for extra in ("", *Requirement(text).extras)]


def _name(text: str) -> str:
    return canonicalize_name(Requirement(text).name)


def lock_file(pins: Mapping[str, str]) -> str:
    """Write the lock: every package with its version, to be given to pip as `--constraint`."""
    return MADE + "".join(f"{name}=={number}\n" for name, number in pins.items())


def pins_of(lock: str) -> dict[str, str]:
    """Read what `lock_file` wrote."""
    return dict(line.split("==") for line in lock.splitlines() if not line.startswith("#"))


def requirement_files(project: Mapping[str, Any], pins: Mapping[str, str]) -> dict[str, str]:
    """Write what `make run` and `make test` install: text by file name.

    What is asked for is pinned, and all that it leads to is held by the lock.
    """
    table = project["project"]
    extras = table["optional-dependencies"]
    held = f"{MADE}--constraint {LOCK}\n"
    program = [*table["dependencies"], *extras["app"], *extras["search"], *extras["excel"]]
    tests = [*extras["dev"], *extras["onnx"], *extras["mlflow"], *extras["postgres"], *extras["accounts"]]
    return {
        "requirements.txt": held + _pinned(program, pins),
        "requirements-cluster.txt": held + _pinned(extras["cluster"], pins),
        "requirements-dev.txt": f"{MADE}--requirement requirements.txt\n" + _pinned(tests, pins),
        "requirements-peers.txt": (
            f"{MADE}# To be installed with --no-deps.\n" + _pinned(project["dependency-groups"]["peers"], pins)
        ),
    }


def _pinned(requirements: Iterable[str], pins: Mapping[str, str]) -> str:
    return "".join(f"{_asked(Requirement(text))}=={pins[_name(text)]}\n" for text in requirements)


def _asked(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}"


if __name__ == "__main__":
    main()
