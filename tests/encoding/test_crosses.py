"""Crossed fields: what they count, what they encode, and that they reach the first-order term alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from deepfm_core.encoding import categorical as crosses_module
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import SchemaError, SpecError
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import Cross
from deepfm_core.spec.run import ModelSpec
from deepfm_core.spec.value_kinds import parse_crosses
from deepfm_core.store.run_folder import RunFolder
from tests.conftest import Command
from tests.encoding.test_encoder import frame_of, schema_of

FRAME = frame_of(
    device=["phone", "phone", "phone", "desktop", "desktop", ""],
    place=["feed", "feed", "story", "feed", "feed", "feed"],
    price=["1", "2", "3", "4", "5", "6"],
    tags=["a|b", "a", "b", "a", "b", ""],
)
KINDS = {"device": Kind.CATEGORICAL, "place": Kind.CATEGORICAL, "price": Kind.PIECEWISE, "tags": Kind.MULTI_VALUED}


def fitted(*crosses: Cross, **settings: Any) -> Encoder:
    return Encoder.fit(FRAME, schema_of(**KINDS), crosses=crosses, **settings)


def combinations_of(encoder: Encoder, frame: pd.DataFrame, cross: int = 0) -> list[str]:
    ids = encoder.encode(frame, subject="Table").crosses
    field = encoder.layout.crosses[cross]
    return [field.features[number - field.offset] for number in ids[:, cross]]


def test_a_crossed_field_has_a_feature_for_each_combination_that_was_seen() -> None:
    encoder = fitted(("device", "place"))
    (field,) = encoder.layout.crosses
    assert field.name == "device × place"
    assert field.features == ("other", "phone × feed", "desktop × feed", "missing × feed", "phone × story")
    assert combinations_of(encoder, FRAME) == [
        "phone × feed",
        "phone × feed",
        "phone × story",
        "desktop × feed",
        "desktop × feed",
        "missing × feed",
    ]
    fresh = frame_of(device=["desktop", "tablet"], place=["story", "feed"], price=["", ""], tags=["", ""])
    assert combinations_of(encoder, fresh) == ["other", "other"]


def test_rare_combinations_and_those_over_the_limit_share_a_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = fitted(("device", "place"), min_count=2)
    assert combinations_of(encoder, FRAME).count("other") == 2
    monkeypatch.setattr(crosses_module, "MOST_COMBINATIONS", 1)
    assert combinations_of(fitted(("device", "place")), FRAME).count("other") == 4


def test_a_number_is_crossed_by_its_bucket() -> None:
    encoder = fitted(("price", "place"), buckets=2)
    names = combinations_of(encoder, FRAME)
    assert len(set(names[:3])) == 2
    assert names[0] == names[1]
    assert names[3] == names[5]
    assert names[0] != names[3]


def test_several_crossed_fields_stand_beside_each_other_and_survive_json() -> None:
    encoder = fitted(("device", "place"), ("place", "price"))
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict(), default=lambda many: np.array(many).tolist())))
    assert again.layout == encoder.layout
    expected, found = (one.encode(FRAME, subject="Table").crosses for one in (encoder, again))
    np.testing.assert_array_equal(found, expected)
    first, second = encoder.layout.crosses
    assert second.offset == first.size
    assert encoder.layout.crossed == first.size + second.size


def test_an_encoder_without_crosses_is_as_it_was() -> None:
    encoder = fitted()
    assert encoder.layout.crosses == ()
    assert encoder.encode(FRAME, subject="Table").crosses is None


@pytest.mark.parametrize(
    ("cross", "said"),
    [(("device", "nowhere"), "no such field to cross"), (("tags", "device"), "several values a row is crossed")],
)
def test_fields_that_cannot_be_crossed_are_named(cross: Cross, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        fitted(cross)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["device"], "Name two fields"),
        (["a*b*c"], "Name two fields"),
        (["a*"], "Name two fields"),
        (["a*a"], "Name two different fields"),
        (["a*b", "b*a"], "each pair of fields once"),
    ],
)
def test_crosses_that_make_no_sense_are_refused(texts: list[str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        ModelSpec("wide-deep", crosses=parse_crosses(texts))


def test_only_wide_and_deep_has_crosses() -> None:
    assert parse_crosses([" a * b ", ""]) == (("a", "b"),)
    with pytest.raises(SpecError, match="Only wide-deep has crossed fields"):
        ModelSpec("deepfm", crosses=(("a", "b"),))


def test_a_crossed_field_moves_the_first_order_term_alone() -> None:
    encoder = fitted(("device", "place"))
    table = encoder.encode(FRAME, subject="Table")
    model = DeepFM(table.layout, ModelSpec("wide-deep")).eval()
    before = model.terms(Batch.from_table(table))
    with torch.no_grad():
        model.crossed_weights[1] += 0.5
    after = model.terms(Batch.from_table(table))
    moved = (after.first_order - before.first_order).detach().numpy()
    rows = [name == encoder.layout.crosses[0].features[1] for name in combinations_of(encoder, FRAME)]
    np.testing.assert_allclose(moved[:, -1], np.where(rows, 0.5, 0.0), atol=1e-7)
    assert np.abs(moved[:, :-1]).max() == 0
    assert torch.equal(before.dnn, after.dnn)


def test_a_combination_never_trained_counts_as_an_average_one() -> None:
    encoder = fitted(("device", "place"))
    table = encoder.encode(FRAME, subject="Table")
    model = DeepFM(table.layout, ModelSpec("wide-deep")).eval()
    torch.nn.init.normal_(model.crossed_weights)
    model.observe(Batch.from_table(table))
    model.settle()
    weights = model.crossed_weights.detach().numpy()[:, 0]
    assert weights[0] == pytest.approx(weights[table.crosses[:, 0]].mean(), abs=1e-6)


@pytest.mark.slow
def test_the_command_line_crosses_fields(command: Command, table, tmp_path) -> None:
    out = tmp_path / "run"
    options = ("--epochs", 2, "--batch-size", 128, "--folds", 0, "--quiet", "--out", out)
    crossed = ("--model", "wide-deep", "--cross", "device*placement,site*price")
    done = command("train", table, "--label", "clicked", *crossed, *options)
    assert done.returncode == 0, done.stderr
    folder = RunFolder(out)
    assert folder.spec().model.crosses == (("device", "placement"), ("site", "price"))
    terms = folder.frame("example_terms")
    assert {"device × placement", "site × price"} <= set(terms["field_a"].dropna())
    examples = folder.frame("examples")
    sums = terms.groupby("row")["value"].sum()
    np.testing.assert_allclose(sums[examples["row"]], examples["logit"], atol=1e-4)
    assert command("predict", out, table).returncode == 0
    wrong = command("train", table, "--label", "clicked", "--cross", "device*placement", "--out", tmp_path / "no")
    assert wrong.returncode == 2
    assert "Only wide-deep has crossed fields" in wrong.stderr
