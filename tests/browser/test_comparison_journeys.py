"""Comparing models and studying settings in a real browser, on a server and a store of its own."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import FINISHED, Server, file_input, settled
from tests.conftest import clicks

pytestmark = pytest.mark.slow

"""Milliseconds that all runs of a journey may take."""


def _open(page: Page, server: Server, path: str) -> Page:
    page.goto(f"{server.url}/{path}")
    return settled(page)


def _cell(page: Page, text: str) -> Locator:
    """Find a cell of a table, which is drawn on a canvas and read aloud from a hidden grid."""
    return page.locator('[data-testid="stDataFrame"] [role="gridcell"]').filter(has_text=re.compile(f"^{text}$")).first


def test_a_comparison_starts_from_a_fresh_upload_and_its_table_is_read(
    server: Server, page: Page, tmp_path: Path
) -> None:
    clicks(3000).to_csv(tmp_path / "mine.csv", index=False)
    _open(page, server, "data?models=lr,fm,deepfm&preset=quick")
    file_input(page).set_input_files(tmp_path / "mine.csv")
    expect(page.get_by_text(re.compile(r"3,000 rows, label clicked")).first).to_be_visible()
    page.get_by_role("button", name="Compare models").click()
    page.wait_for_url(re.compile(r"/compare\?"))
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_url(re.compile(r"comparison="))
    expect(page.get_by_text("all 4 runs finished")).to_be_visible(timeout=FINISHED)
    expect(page.get_by_text(re.compile(r"Use (LR|FM|DeepFM):")).first).to_be_visible()
    expect(page.get_by_text(re.compile("[Gg]radient boosting, the baseline")).first).to_be_visible()
    for model in ("LR", "FM", "DeepFM", "Gradient boosting"):
        expect(_cell(page, model)).to_be_attached()
    address = page.url
    server.restart()
    page.goto(address)
    expect(page.get_by_text("all 4 runs finished")).to_be_visible()


def test_a_comparison_goes_on_after_its_worker_was_killed(server: Server, page: Page) -> None:
    _open(page, server, "compare?models=lr,fm,dnn")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text(re.compile(r"is training")).first).to_be_visible()
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("all 4 runs finished")).to_be_visible(timeout=FINISHED)


def test_a_search_is_started_cancelled_and_resumed(server: Server, page: Page) -> None:
    values = quote(json.dumps({"keep": "0.4, 1.0"}))
    _open(page, server, f"study?factors=keep,activation&values={values}&design=search&trials=60&preset=quick")
    page.get_by_role("button", name="Study", exact=True).click()
    page.wait_for_url(re.compile(r"study="))
    expect(page.get_by_text(re.compile(r"· [1-9]\d* of 60 runs finished")).first).to_be_visible(timeout=FINISHED)
    page.get_by_role("button", name="Cancel all").click()
    expect(page.get_by_text(re.compile(r"\d+ stopped")).first).to_be_visible()
    expect(page.get_by_role("button", name="Cancel all")).to_have_count(0)
    said = page.get_by_text(re.compile(r"· \d+ of 60 runs finished")).inner_text()
    done = int(re.findall(r"(\d+) of 60", said)[0])
    assert done < 60
    page.get_by_role("button", name="Resume").click()
    more = re.compile(rf"· (?!{done} )\d+ of 60 runs finished")
    expect(page.get_by_text(more)).to_be_visible(timeout=FINISHED)
    expect(
        page.get_by_text(re.compile("Best by validation|has the best validation|end with the same model")).first
    ).to_be_visible()
    page.get_by_role("button", name="Cancel all").click()
    expect(page.get_by_role("button", name="Cancel all")).to_have_count(0)
    page.get_by_role("button", name="Use these settings in Train").click()
    page.wait_for_url(re.compile(r"/train\?.*preset=custom"))
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_visible()
