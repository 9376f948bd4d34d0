"""Pages that meet what nobody meant: odd names, broken links, other runs, tables that cannot be trained on."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from deepfm_core.runs.store import Store
from tests.test_pages_results import finished_copy, frame_changed, text_of

Opened = Callable[..., AppTest]


def _noise_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Let the pair that looks strongest, and was learned most, be noise."""
    noise = frame["strength"].to_numpy().argmax()
    learned = frame["learned"].max() + frame["learned"].where(frame.index == frame.index[noise], 0)
    return frame.assign(solid=frame["solid"].astype(bool) & (frame.index != frame.index[noise]), learned=learned)


def test_a_noise_pair_that_was_learned_most_is_not_called_the_strongest(opened: Opened, store: Store) -> None:
    run = finished_copy(store, lambda folder: frame_changed(folder, "pairs", _noise_first))
    pairs = pd.read_parquet(store.folder(run).path / "frames" / "pairs.parquet")
    noise = pairs.loc[pairs["strength"].idxmax()]
    said = text_of(opened("interactions", run=run, ranked="learned"))
    assert "The strongest is **" in said
    assert f"The strongest is **{noise['field_a']} × {noise['field_b']}**" not in said


def test_a_first_visit_to_a_run_that_is_not_finished_is_remembered(
    opened: Opened, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setattr("streamlit.runtime.context.ContextProxy.cookies", {})  # a browser that has none yet
    run = finished_copy(store, lambda _folder: None)
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET status = 'queued', summary = '{}' WHERE id = ?", (run,))
    app = opened("performance", run=run)
    assert "is waiting for a worker" in text_of(app)
    assert any("deepfm_visitor=" in element.proto.body for element in app.get("html"))
