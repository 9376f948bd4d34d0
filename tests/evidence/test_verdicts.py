"""Verdicts on pairs: each a case whose answer can be seen."""

from __future__ import annotations

import pandas as pd
import pytest

from deepfm_core.evidence import verdicts


def pair(**values: object) -> pd.DataFrame:
    told: dict[str, object] = {"field_a": "a", "field_b": "b", "strength": 0.3, "strength_high": 0.4, "learned": 0.3}
    return pd.DataFrame([{**told, "significant": True, "held_out_z": None, "proxy_of": "", **values}])


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, verdicts.LEARNED),
        ({"learned": 0.1}, verdicts.NOT_LEARNED),
        ({"held_out_z": 3.0}, verdicts.HOLDS),
        ({"held_out_z": 0.7}, verdicts.UNCONFIRMED),
        ({"held_out_z": 0.7, "learned": 0.0}, verdicts.NOT_LEARNED),
        ({"held_out_z": 3.0, "held_out_slope": 0.4}, verdicts.OVERSTATED),
        ({"held_out_z": 3.0, "held_out_slope": 2.0, "learned": 0.1}, verdicts.HARDLY_LEARNED),
        ({"significant": False, "strength": 0.02, "strength_high": 0.05, "learned": 0.2}, verdicts.NOT_SUPPORTED),
        (
            {"significant": False, "strength": 0.02, "strength_high": 0.05, "learned": 0.2, "held_out_z": 0.1},
            verdicts.DOES_NOT_HOLD,
        ),
        ({"significant": False, "strength": 0.02, "strength_high": 0.05, "learned": 0.03}, verdicts.NOISE),
        ({"significant": False, "proxy_of": "a × c"}, "stands in for a × c"),
    ],
)
def test_a_verdict_weighs_what_was_learned_against_what_the_data_shows(values: dict[str, object], verdict: str) -> None:
    assert verdicts.verdicts(pair(**values)).tolist() == [verdict]


def test_without_evidence_there_is_no_verdict() -> None:
    assert verdicts.verdicts(pair(significant=None)).tolist() == [""]
    assert verdicts.verdicts(pair().drop(columns="significant")).tolist() == [""]
