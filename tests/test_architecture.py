"""The map: which part may know which, and what the documentation must keep up with."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from deepfm_core.cli.parser import parser
from deepfm_core.workers.worker import parser as worker_parser

ROOT = Path(__file__).resolve().parents[1]
CORE, APP = ROOT / "deepfm_core", ROOT / "app"
MODULES = sorted([*CORE.rglob("*.py"), *APP.rglob("*.py")])
CHART_LIBRARIES = {"altair", "plotly", "matplotlib", "vega_datasets"}

ROOMS = (
    "tables",
    "schema",
    "spec",
    "encoding",
    "synthetic",
    "metrics",
    "evidence",
    "models",
    "training",
    "explain",
    "store",
    "runs",
    "export",
    "experiments",
    "workers",
    "cli",
)
"""The rooms of the core in their order: each may import those before it. Below all: errors and other _*.py."""
ABOVE = ("_estimator_checks", "classifier", "__main__")
"""Modules of the core that may import every room."""
MAY_NOT_IMPORT = {
    "deepfm_core": {"streamlit", "app", *CHART_LIBRARIES},
    "deepfm_core/errors.py": {"deepfm_core"},
    "deepfm_core/_files.py": {f"deepfm_core.{room}" for room in ROOMS},
    "deepfm_core/_parallel.py": {"deepfm_core"},
    "deepfm_core/_private.py": {"deepfm_core"},
    "app": {"deepfm_core.schema.infer"},  # it takes long: the store has it done (`Store.look_at_table`)
    "app/charts": {"streamlit", "torch", "deepfm_core.models", "deepfm_core.store", "deepfm_core.runs"},
}
"""What a folder or module never imports, at its top or within a function."""

APP_ROOMS = ("charts/grammar", "charts", "charts/interactions", "widgets", "state", "shared", "export", "views")
"""The rooms of the app in their order. The pages within views/ do not know each other."""
MOST_MODULES = 14
"""Modules of a room: as many as one takes in at a glance."""
VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common", "handler"}


@cache
def imported(module: Path, *, at_once: bool = False, types_too: bool = False) -> set[str]:
    """Give the full names of all that a module imports, anywhere in it or only `at_once` as it is imported itself.

    What stands under `if TYPE_CHECKING:` counts with `types_too` alone.
    """
    names: set[str] = set()
    tree = ast.parse(module.read_text(encoding="utf-8"))
    tree.body = [
        node
        for node in tree.body
        if types_too or not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    ]
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, parts: set[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def modules_of(part: str) -> list[Path]:
    path = ROOT / part
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("part", MAY_NOT_IMPORT)
def test_a_part_does_not_know_what_is_none_of_its_business(part):
    wrong = {
        f"{module.relative_to(ROOT)} imports {name}"
        for module in modules_of(part)
        for name in imported(module)
        if within(name, MAY_NOT_IMPORT[part])
    }
    assert not wrong


def rooms_known(folder: Path) -> dict[str, set[str]]:
    """Give, by module of a folder and what lies in it, the modules and packages of the project that it imports."""
    return {
        str(module.relative_to(ROOT)): {
            name for name in imported(module, types_too=True) if within(name, {"app", "deepfm_core"})
        }
        for module in sorted(folder.rglob("*.py"))
    }


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_the_core_knows_only_those_before_it(room):
    later = {f"deepfm_core.{name}" for name in (*ROOMS[ROOMS.index(room) + 1 :], *ABOVE)}
    known = rooms_known(CORE / room)
    assert known
    assert not {f"{module}: {name}" for module, names in known.items() for name in names if within(name, later)}


@pytest.mark.parametrize("room", APP_ROOMS)
def test_a_room_of_the_app_knows_only_those_before_it(room):
    dotted = [f"app.{name.replace('/', '.')}" for name in APP_ROOMS]
    place = APP_ROOMS.index(room)
    own, later = dotted[place], set(dotted[place + 1 :])
    known = rooms_known(APP / room)
    assert known
    wrong = {
        f"{module}: {name}"
        for module, names in known.items()
        for name in names
        if within(name, later) and not within(name, {own})
        if room_of(module) == own  # charts/grammar and charts/interactions have lines of their own
    }
    assert not wrong


def room_of(module: str) -> str:
    """Give the dotted name of the room a module stands in."""
    return ".".join(Path(module).parent.parts)


def test_only_the_room_of_clusters_knows_ray_and_only_who_is_asked_for_it_knows_the_room():
    room = CORE / "workers" / "cluster"
    ray = {path for path in MODULES if within("ray", {name.partition(".")[0] for name in imported(path)})}
    assert {path.parent for path in ray} == {room}
    cluster = {"deepfm_core.workers.cluster"}
    known = {path for path in MODULES if any(within(name, cluster) for name in imported(path))}
    asked = {CORE / "workers" / "worker.py", CORE / "cli" / "train.py"}
    assert {path for path in known if path.parent != room} == asked
    assert not any(within(name, cluster) for path in asked for name in imported(path, at_once=True))


def test_pages_do_not_know_each_other():
    wrong = {
        f"{module}: {name}"
        for module, names in rooms_known(APP / "views").items()
        for name in names
        if within(name, {"app.views"}) and not within(name, {room_of(module)})
    }
    assert not wrong


@pytest.mark.parametrize("base", [CORE, APP, ROOT / "tests"], ids=lambda path: path.name)
def test_a_room_has_no_more_modules_than_one_takes_in_at_a_glance(base):
    rooms = [base, *(folder for folder in base.rglob("*") if folder.is_dir() and any(folder.glob("*.py")))]
    counts = {str(room.relative_to(ROOT)): len(list(room.glob("[!_]*.py"))) for room in rooms}
    assert not {room: count for room, count in counts.items() if count > MOST_MODULES}


def test_tests_stand_in_the_rooms_of_what_they_test():
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    assert folders <= {*ROOMS, "app", "browser"}


def test_only_the_app_imports_streamlit():
    outside = [
        path for folder in ("deepfm_core", "benchmarks", "sample_data") for path in (ROOT / folder).rglob("*.py")
    ]
    assert not [path for path in outside if within("streamlit", imported(path))]


def private_names_of_others(module: Path) -> set[str]:
    """Give the underscored names that a module imports from a package not ours, or reads from one it imports."""
    tree, packages = ast.parse(module.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    reads = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names = {name for name in imported(module) if not within(name, {"app", "deepfm_core", "__future__"})}
    names |= {name for name in reads if name.partition(".")[0] in packages}
    return {name for name in names if re.fullmatch(r"[\w.]+\._[a-z][\w.]*", name)} - {
        "os._exit"
    }  # which Python documents


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_of_others_stand_in_one_module(module):
    assert bool(private_names_of_others(module)) is (module == CORE / "_private.py")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_insides_of_streamlit_are_changed_in_one_module(module):
    changes = "setattr(scriptrunner" in module.read_text(encoding="utf-8")
    assert changes is (module == APP / "_private.py")


def loaded_by(module: Path, seen: set[str]) -> set[str]:
    """Give all that importing a module imports, the project's own modules followed."""
    for name in imported(module, at_once=True) - seen:
        seen.add(name)
        path = ROOT / name.replace(".", "/")
        for own in (path.with_suffix(".py"), path.parent.with_suffix(".py")):
            if own.exists() and within(name, {"app", "deepfm_core"}):
                loaded_by(own, seen)
    return seen


@pytest.mark.parametrize("view", sorted((APP / "views").glob("*/*.py")), ids=lambda path: path.stem)
def test_the_first_paint_of_a_page_needs_no_torch(view):
    heavy = {name for name in loaded_by(view, set()) if within(name, {"torch", "sklearn", "safetensors", "plotly"})}
    assert not heavy


@pytest.mark.parametrize("view", sorted((APP / "views/interactions").glob("*.py")), ids=lambda path: path.stem)
def test_the_first_paint_of_interactions_needs_no_scipy(view):
    assert not {name for name in loaded_by(view, set()) if within(name, {"scipy"})}


@pytest.mark.slow
def test_the_core_stands_without_the_app(tmp_path):
    code = "import deepfm_core.classifier, deepfm_core.runs.engine, sys; sys.exit('streamlit' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_named_for_a_noun(module):
    assert not VAGUE & set(module.stem.split("_"))


@pytest.mark.parametrize("forbidden", ["import pickle", "joblib", "torch.load(", "torch.save(", "unsafe_allow_html"])
def test_what_is_never_done(forbidden):
    assert not [module for module in MODULES if forbidden in module.read_text(encoding="utf-8")]


DOORS = {
    "deepfm_core/tables/export.py": (".to_csv(", "csv.writer(", "csv.DictWriter("),
    "app/widgets/figure.py": (".download_button(",),
}
"""Where tables leave, and the words by which they would leave elsewhere."""


@pytest.mark.parametrize(("door", "words"), DOORS.items())
def test_tables_leave_by_one_door(door, words):
    assert any(word in (ROOT / door).read_text(encoding="utf-8") for word in words)
    outside = [module for module in MODULES if module != ROOT / door]
    assert not [path for path in outside if any(word in path.read_text(encoding="utf-8") for word in words)]


def documented(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_every_option_of_the_command_line_is_documented_and_every_documented_option_exists():
    verbs = set(re.findall(r"^    (\w+)(?:  |$)", parser().format_help(), re.M))
    helps = [parser().format_help(), *(help_of(verb) for verb in verbs - {"worker"}), worker_parser().format_help()]
    options = {option for text in helps for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)}
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", documented("command-line.md")))
    assert told == options - {"--help"}
    assert {verb for verb in verbs if f"## `{verb}" in documented("command-line.md")} == verbs
    assert {"train", "worker"} < verbs


def help_of(verb: str) -> str:
    """Give what a command prints when it is asked for help."""
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit):
        parser().parse_args([verb, "--help"])
    return printed.getvalue()


def frames_in_the_documentation() -> dict[str, set[str]]:
    """Give the frames of docs/store.md with their columns."""
    rows = re.findall(r"^\| `(\w+)` \| (?:.*?) \| (.*) \|$", documented("store.md").split("## Frames")[1], re.M)
    return {name: set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", columns))) for name, columns in rows}


def test_every_frame_of_a_run_is_documented_with_its_columns_and_the_other_way_round():
    told = frames_in_the_documentation()
    there = {path.stem: set(pq.read_schema(path).names) for path in (ROOT / "sample_data/run/frames").glob("*.parquet")}
    assert set(told) == set(there)
    own = there["example_cells"] - {"row"}  # the table's own columns
    for name, columns in told.items():
        assert columns == there[name] - (own if name == "example_cells" else set()), name


def called_back(tree: ast.Module) -> list[ast.FunctionDef]:
    """Give the functions of a module that widgets call back, by `on_click=` and its kin or through `_ACTIONS`."""
    keywords = [node for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    given = [keyword.value for keyword in keywords if (keyword.arg or "").startswith("on_")]
    listed = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "_ACTIONS" for target in node.targets)
    ]
    names = {part.id for value in (*given, *listed) for part in ast.walk(value) if isinstance(part, ast.Name)}
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names]


def test_callbacks_draw_nothing_where_a_fragment_would_replace_the_title() -> None:
    drawing = {"errors_shown", "show_error", "error", "warning", "info", "keep_worker"}
    seen = 0
    for path in APP.rglob("*.py"):
        for function in called_back(ast.parse(path.read_text(encoding="utf-8"))):
            calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
            names = {getattr(call, "id", getattr(call, "attr", "")) for call in calls}
            assert not names & drawing, f"{path.name}: {function.name} draws; say errors by `errors_said`"
            seen += 1
    assert seen > 10


def test_the_readme_names_what_is_there():
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("## Where things are")[1].split("```")[1]
    folder = ROOT
    for line in tree.strip().splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            folder = ROOT / name if name.endswith("/") else ROOT
        path = folder / name if line.startswith(" ") else ROOT / name
        assert "*" in name or path.exists(), name
    parts = {f"{path.name}/" for path in CORE.iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert parts <= set(tree.split())


def test_the_readme_lists_the_rooms_in_the_order_of_their_imports() -> None:
    core = (ROOT / "README.md").read_text(encoding="utf-8").split("\ndeepfm_core/ ", 1)[1]
    assert tuple(re.findall(r"^  (\w+)/ ", core, re.MULTILINE)) == ROOMS


def test_every_file_of_a_run_is_documented():
    files = {path.name for path in (ROOT / "sample_data/run").iterdir() if path.is_file()}
    assert not {name for name in files if f"| `{name}` |" not in documented("store.md")}


def test_every_link_between_documents_leads_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken


def test_decisions_are_numbered_one_after_another():
    records = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(record.name[:3]) for record in records] == list(range(1, len(records) + 1))
    titled = [re.match(r"# (?:(\d{3}): )?\w", record.read_text(encoding="utf-8")) for record in records]
    assert {
        found and (found[1] or record.name[:3]) == record.name[:3]
        for found, record in zip(titled, records, strict=True)
    } == {True}


def test_every_document_named_in_the_code_is_there():
    named = {
        (path.relative_to(ROOT), page)
        for path in [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
        for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert not {f"{path}: {page}" for path, page in named if not (ROOT / page).exists()}
