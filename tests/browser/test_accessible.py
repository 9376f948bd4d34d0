"""Every page for people with other senses and hands, judged by axe-core, and its width on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.conftest import PATIENCE, ROOT, Server, settled

pytestmark = pytest.mark.slow

VIEWS = sorted(path.parent.name for path in (ROOT / "app" / "views").glob("*/__init__.py"))
NAMES = ["" if name == "start" else name for name in VIEWS] + ["train?preset=custom"]
REFUSED = ("serious", "critical")


def _findings(page: Page) -> list[str]:
    """Give what axe finds: all that is serious, and headings that skip a level."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    bad = [each for each in found if each["impact"] in REFUSED or each["id"] == "heading-order"]
    return [f"{each['id']}: {node['html'][:200]}" for each in bad for node in each["nodes"]]


def _drawn(page: Page) -> Page:
    """Wait until a page's charts are drawn, too, and nothing runs again because of them."""
    settled(page)
    chart, waiting = "[data-testid=stVegaLiteChart]", "[data-testid=stSkeleton], [data-stale=true]"
    page.wait_for_function(
        f"() => [...document.querySelectorAll('{chart}')].every(c => c.querySelector('svg, canvas'))"
        f" && !document.querySelector('{waiting}')"
    )
    settled(page)
    return page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(server: Server, browser: Browser, theme: Any) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, color_scheme=theme)
    context.set_default_timeout(PATIENCE)
    found = {}
    for name in NAMES:
        page = context.new_page()
        page.goto(f"{server.url}/{name}")
        found[name or "start"] = _findings(_drawn(page))
        page.close()
    context.close()
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_no_page_is_wider_than_a_phone(server: Server, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 400, "height": 900})
    context.set_default_timeout(PATIENCE)
    for name in NAMES:
        page = context.new_page()
        page.goto(f"{server.url}/{name}")
        _drawn(page)
        wide, there = page.evaluate(
            "() => { const m = document.querySelector('[data-testid=stMain]'); return [m.scrollWidth, m.clientWidth]; }"
        )
        assert wide <= there, name
        page.close()
    context.close()
