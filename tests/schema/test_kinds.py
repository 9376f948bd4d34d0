"""The registry of kinds: everything is said of a kind in its entry and its class, and nothing else names one."""

from __future__ import annotations

import ast
import copy
import json
import pickle
from pathlib import Path

import pytest

from deepfm_core.encoding.encoder import MODULES
from deepfm_core.encoding.field import CLASSES
from deepfm_core.schema.kinds import Content, Kind

ROOT = Path(__file__).resolve().parents[2]
MAY_NAME_KINDS = {
    "deepfm_core/schema/column_rules.py": "says which kinds are suggested",
    "deepfm_core/encoding/categorical.py": "fits and encodes them",
    "deepfm_core/encoding/numeric.py": "fits and encodes them",
    "deepfm_core/synthetic/worlds.py": "draws columns of three kinds, whatever others there are",
}
USED = [kind for kind in Kind if kind.is_used]


def named_in(source: str) -> set[str]:
    """Give the kinds that Python source names, as `Kind.NUMERIC`, `Kind["NUMERIC"]` or `Kind("numeric")`."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(ast.Name("Kind") | ast.Attribute(attr="Kind"), name) if name in Kind.__members__:
                names.add(name)
            case ast.Subscript(ast.Name("Kind"), ast.Constant(str(name))) | ast.Call(
                ast.Name("Kind"), [ast.Constant(str(name))]
            ):
                names.add(name)
    return names


def test_every_way_to_name_a_kind_is_found():
    assert named_in("Kind.DENSE; schema.Kind.IGNORE; Kind['NUMERIC']; Kind('piecewise'); Kind(name); Kind.entry") == {
        "DENSE",
        "IGNORE",
        "NUMERIC",
        "piecewise",
    }


def test_a_new_kind_touches_its_entry_and_its_class_alone():
    sources = [path for folder in ("deepfm_core", "app") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): named_in(path.read_text(encoding="utf-8")) for path in sources}
    assert {path for path, names in found.items() if names} == set(MAY_NAME_KINDS)


@pytest.mark.parametrize("kind", USED)
def test_every_kind_that_enters_the_model_has_a_class_of_its_own(kind):
    assert CLASSES[kind].kind is kind
    assert CLASSES[kind] in {entry for module in MODULES for entry in vars(module).values() if isinstance(entry, type)}


def test_classes_are_there_for_no_other_kind():
    assert set(CLASSES) == set(USED)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_is_its_name_wherever_it_is_written(kind):
    assert Kind(kind.value) is Kind(str(kind)) is pickle.loads(pickle.dumps(kind)) is copy.deepcopy(kind) is kind
    assert json.loads(json.dumps([kind])) == [f"{kind}"] == [kind.value]


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_left_out_has_no_field_and_what_is_used_says_what_it_is(kind):
    assert kind.help
    assert kind.is_used or not kind.is_embedded
    assert [kind.takes_any_text, kind.is_number, kind.is_several, kind.is_time] == [
        kind.entry.content is content for content in Content
    ]
