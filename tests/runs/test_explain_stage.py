"""The explain stage while it waits for what the data shows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from deepfm_core.runs import explain_stage
from deepfm_core.runs.explain_stage import Evidence, explain
from deepfm_core.spec.events import Event, Stage
from tests.worlds import MIXED, encoded


class Stopped(Exception):  # noqa: N818
    """The run is cancelled."""


class Explained:
    """Explanations that cost nothing."""

    def __init__(self) -> None:
        self.found = False

    def findings(self, _observed: pd.DataFrame | None) -> None:
        self.found = True

    terms = purified = attribution = levels = lambda _self: None


@pytest.fixture
def explained(monkeypatch: pytest.MonkeyPatch) -> Explained:
    made = Explained()
    monkeypatch.setattr(explain_stage._Explanation, "begun", lambda *_: made)
    return made


def stage(evidence: Evidence) -> list[Event]:
    return list(explain(Path(), None, encoded(MIXED, 5, 0), None, evidence, 0))  # type: ignore[arg-type]


def test_progress_of_the_evidence_is_reported_while_it_is_waited_for(explained: Explained) -> None:
    shares = iter([0.2, 0.3, 0.301, 0.6, 1.0])
    now = [0.2]

    def pause() -> None:
        now[0] = next(shares)

    events = stage(Evidence(lambda: now[0] == 1.0, pd.DataFrame, lambda: now[0], pause))
    fractions = [event.fraction for event in events if isinstance(event, Stage)]
    assert fractions == sorted(fractions)
    before = next(place for place, fraction in enumerate(fractions) if fraction == pytest.approx(0.5))
    assert fractions[before + 1 :] == pytest.approx([0.5 + 0.5 * 0.1 / 0.8, 0.5 + 0.5 * 0.4 / 0.8, 1.0])
    assert explained.found


def test_a_cancel_ends_the_wait(explained: Explained) -> None:
    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        stage(Evidence(lambda: False, pd.DataFrame, lambda: 0.0, stop))
    assert not explained.found


def test_evidence_that_is_there_comes_before_the_slow_explanations(explained: Explained) -> None:
    events = stage(Evidence(lambda: True, pd.DataFrame, lambda: 1.0, lambda: None))
    fractions = [event.fraction for event in events if isinstance(event, Stage)]
    assert fractions == pytest.approx([0.1, 0.6, 0.7, 0.8, 0.9, 1.0])
