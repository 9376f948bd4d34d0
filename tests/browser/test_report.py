"""A report opened from disk, without a network: light, dark, narrow and on paper."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from deepfm_core.export.formats import export
from deepfm_core.store.run_folder import RunFolder
from tests.browser.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    export(RunFolder(ROOT / "sample_data" / "run"), "report", path)
    return path.as_uri()


@pytest.mark.parametrize("width", [400, 700, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_opens_from_disk_and_fits(browser: Browser, report: str, scheme, width) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True)
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.goto(report)
    assert asked == [report]
    assert not problems
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 21, 24)"}[scheme]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cut = "[...document.querySelectorAll('pre')].filter(shown => shown.scrollWidth > shown.clientWidth).length"
    assert page.evaluate(cut) == 0  # paper does not scroll
    page.close()
