"""How far one walks through the code: modules, rooms, cycles, and the modules that five journeys enter.

    python benchmarks/structure.py

A journey enters a module when it calls a function of it. Import time does not count. The sample table is used.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SAMPLE = ROOT / "sample_data" / "clicks.csv"
PACKAGES = ("deepfm_core", "app")


def main() -> None:
    """Print the counts, then the journeys."""
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    rooms = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules)
    largest = rooms.most_common(1)[0]
    print(f"modules {len(modules)}")
    print(f"largest room {largest[1]} ({largest[0]})")
    print(f"pairs of packages that import each other {len(cycles(modules))}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["DEEPFM_HOME"] = f"{folder}/home"
        for name, journey in JOURNEYS.items():
            with (
                entered() as names,
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                journey(Path(folder))
            print(f"{name}: {len(names)} modules")
            if "--names" in sys.argv:
                print("   ", *sorted(names))


def cycles(modules: list[Path]) -> set[tuple[str, str]]:
    """Give the pairs of packages of which each imports the other, imports for types included."""
    known = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules}
    edges = {
        (module.rsplit(".", 1)[0], target.rsplit(".", 1)[0])
        for module, path in known.items()
        for target in imports(path, known)
    }
    return {(a, b) for a, b in edges if a < b and (b, a) in edges and not b.startswith(f"{a}.")}


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the project's modules that a module imports anywhere."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = f"{package}.{node.module}" if node.level else str(node.module)
            for alias in node.names:
                yield from (name for name in (f"{base}.{alias.name}", base) if name in known)


@contextlib.contextmanager
def entered() -> Iterator[set[str]]:
    """Collect the names of the project's modules of which a function is called meanwhile, in any thread."""
    names: set[str] = set()
    codes: dict[Any, str | None] = {}

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_flags & inspect.CO_NEWLOCALS:  # bodies of modules and classes have none
            return
        if code not in codes:
            name = _of_ours(frame)
            if name is not None and _loads(frame):
                return  # not yet known of this code: it may be called again once its module is there
            codes[code] = name
            names.update({name} - {None})

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield names
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def _of_ours(frame: FrameType) -> str | None:
    """Name the project's module that a call enters; None for a module of others."""
    module = str(frame.f_globals.get("__name__"))
    return module if module.split(".")[0] in PACKAGES else None


def _loads(frame: FrameType) -> bool:
    """Say whether the call is part of loading a module, as a decorator's or a registry's is."""
    outer: FrameType | None = frame
    while outer is not None and outer.f_globals.get("__name__") != "importlib._bootstrap":
        outer = outer.f_back
    return outer is not None


def upload_to_encoded(_: Path) -> None:
    """Keep the sample in a store, find its roles, divide its rows, fit an encoder and encode them."""
    from deepfm_core.encoding.encoder import Encoder
    from deepfm_core.encoding.splits import load_parts
    from deepfm_core.schema.infer import infer_schema
    from deepfm_core.spec.run import RunSpec
    from deepfm_core.store.store import Store

    store = Store.default()
    sha = store.import_table(SAMPLE.read_bytes(), SAMPLE.name, "me").sha256
    table = store.table(sha, "me")
    spec = RunSpec(sha, table.name, infer_schema(table))
    parts = load_parts(spec, lambda _: table)
    encoder = Encoder.fit(parts.train.table.frame, spec.schema, rows=parts.train.rows)
    for part in (parts.train, parts.valid, parts.test):
        part.encode(encoder)


def command(folder: Path) -> None:
    """Train for one epoch on the command line."""
    from deepfm_core.__main__ import main as run

    run(["train", str(SAMPLE), "--label", "clicked", "--epochs", "1", "--out", str(folder / "run")])


def interactions(_: Path) -> None:
    """Open the page Interactions on the run that comes with the app."""
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=120)
    page.switch_page(PAGE)
    assert not page.run().exception


def classifier(_: Path) -> None:
    """Fit the classifier for one epoch."""
    import pandas as pd

    from deepfm_core.classifier import DeepFMClassifier

    clicks = pd.read_csv(SAMPLE)
    DeepFMClassifier(epochs=1, random_state=0).fit(clicks.drop(columns="clicked"), clicks["clicked"])


PAGE = "views/interactions/interactions.py"
JOURNEYS: dict[str, Callable[[Path], None]] = {
    "upload to encoded table": upload_to_encoded,
    "train on the command line": command,
    "Interactions, from folder to chart": interactions,
    "the classifier's fit": classifier,
}

if __name__ == "__main__":
    main()
