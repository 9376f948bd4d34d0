"""What leaves the app, in a real browser: ratings become a label, a run becomes a report, new rows get scores.

What cannot be made says why.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Download, Page, expect

from deepfm_core.export.bundle import bundle_bytes, import_bundle
from deepfm_core.export.model_card import Facts
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store
from tests.browser.conftest import FINISHED, ROOT, Server, file_input, settled

pytestmark = pytest.mark.slow


def _ratings(path: Path, seed: int, rows: int) -> Path:
    """Write ratings from 1 to 5 that depend on a pair of fields."""
    draw = np.random.default_rng(seed)
    device, place = draw.integers(0, 3, rows), draw.integers(0, 4, rows)
    rating = np.clip(np.round(3 + 1.2 * np.where(device == place, 1, -0.5) + draw.normal(0, 1, rows)), 1, 5)
    columns = {
        "device": np.array(["phone", "tablet", "laptop"])[device],
        "place": np.array(["feed", "story", "search", "mail"])[place],
        "rating": rating.astype(int),
    }
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_ratings_are_a_label_the_run_leaves_as_a_report_and_new_rows_are_scored(
    server: Server, page: Page, tmp_path: Path
) -> None:
    page.goto(f"{server.url}/data")
    settled(page)
    table = _ratings(tmp_path / "ratings.csv", 0, 2_000)
    file_input(page).set_input_files(table)
    expect(page.get_by_role("heading", name="ratings.csv")).to_be_visible()
    if not page.get_by_role("combobox", name="Positive when").count():
        _choose(page, "Label", "rating")
    _choose(page, "Positive when", ">=4")
    expect(page.get_by_text(re.compile(r"2,000 rows, label rating 2\d\.\d% positive")).first).to_be_visible()
    page.get_by_role("button", name="Train with the suggested roles").click()
    expect(page.get_by_text("· finished")).to_be_visible(timeout=FINISHED)

    page.get_by_role("button", name="Export").first.click()
    with page.expect_download() as waited:
        page.get_by_role("button", name=re.compile("Report")).click()
    report = Path(waited.value.path()).read_text(encoding="utf-8")
    assert "device × place" in report

    page.get_by_role("link", name="Score").click()
    page.wait_for_url(re.compile(r"/score"))
    settled(page)
    new = _ratings(tmp_path / "tomorrow.csv", 1, 300)
    file_input(page, "Table to score").set_input_files(new)
    expect(page.get_by_text("300 rows").first).to_be_visible(timeout=FINISHED)
    with page.expect_download() as waited:
        page.get_by_role("button", name="Download all rows as CSV").click()
    scored = pd.read_csv(waited.value.path())
    assert len(scored) == 300
    assert scored["probability"].between(0, 1).all()
    assert scored["probability"].groupby(scored["device"] + scored["place"]).mean().max() > 0.5


def test_the_sample_leaves_and_an_export_that_fails_says_why(page: Page, tmp_path: Path) -> None:
    home = tmp_path / "home"
    store = Store(home)
    run = import_bundle(store, bundle_bytes(Facts.of(RunFolder(ROOT / "sample_data" / "run"), "mine")))
    server = Server(home)
    try:
        page.goto(f"{server.url}/")
        settled(page)
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as waited:
            page.get_by_role("button", name="Report").click()
        assert waited.value.suggested_filename == "sample run.html"

        store.folder(run).model.unlink()
        page.goto(f"{server.url}/train?run={run}")
        settled(page)
        page.get_by_role("button", name="Export").click()
        saved: list[Download] = []
        page.on("download", lambda download: saved.append(download))
        page.get_by_role("button", name="Scoring script").click()
        said = "Scoring script: the file was not made.*model.safetensors is gone.*train the run again"
        expect(page.get_by_role("alert").filter(has_text=re.compile(said))).to_be_visible()
        assert not saved
    finally:
        server.close()


def _choose(page: Page, box: str, value: str) -> None:
    page.get_by_role("combobox", name=box).click()
    page.keyboard.type(value)
    page.keyboard.press("Enter")
    settled(page)
