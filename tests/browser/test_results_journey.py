"""Reading a finished run in a real browser: clicks in charts, the same by keyboard, links that open the same view."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Server, settled

pytestmark = pytest.mark.slow

CHART = '[data-testid="stVegaLiteChart"]'


def _open(page: Page, server: Server, path: str) -> Page:
    page.goto(f"{server.url}/{path}")
    return settled(page)


def _heading(page: Page, name: str) -> Locator:
    return page.get_by_role("heading", name=name, exact=True)


def test_a_pair_is_chosen_by_a_click_in_either_chart_by_keyboard_and_by_link(server: Server, page: Page) -> None:
    _open(page, server, "interactions")
    expect(_heading(page, "device × placement")).to_be_visible()

    page.locator('[aria-label^="price × age"]').first.click(force=True)
    expect(_heading(page, "price × age")).to_be_visible()
    expect(page).to_have_url(re.compile(r"pair=price~age"))

    page.locator('[aria-label^="hour with user_segment"]').first.click(force=True)
    expect(_heading(page, "hour × user_segment")).to_be_visible()

    page.get_by_role("combobox", name="Pair").click()
    page.keyboard.type("campaign × weekday")
    page.keyboard.press("Enter")
    expect(_heading(page, "campaign × weekday")).to_be_visible()

    page.locator('[aria-label^="price × age"]').first.click(force=True)  # the chart's own last choice, chosen again
    expect(_heading(page, "price × age")).to_be_visible()

    page.reload()
    expect(_heading(page, "price × age")).to_be_visible()


def test_a_table_is_handed_out_by_the_button_that_leaves_no_formula_alone(server: Server, page: Page) -> None:
    _open(page, server, "data")
    page.get_by_test_id("stDataFrame").first.hover()
    expect(page.get_by_label("Show/hide columns").first).to_be_visible()
    expect(page.get_by_label("Download as CSV").first).to_be_attached()
    expect(page.get_by_label("Download as CSV").filter(visible=True)).to_have_count(0)


@pytest.mark.parametrize("width", [1400, 400])
def test_what_a_click_on_a_pair_does_is_in_view(server: Server, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    _open(page, server, "interactions")
    for pair, heading in (("price × age", "price × age"), ("hour with user_segment", "hour × user_segment")):
        page.locator(f'[aria-label^="{pair}"]').first.click(force=True)  # in the list, then in the matrix below it
        expect(_heading(page, heading)).to_be_in_viewport()


def test_a_field_on_the_diagonal_shows_what_its_levels_do_alone(server: Server, page: Page) -> None:
    _open(page, server, "interactions?pair=device~device")
    expect(_heading(page, "device")).to_be_visible()
    expect(_heading(page, "Main effect by level")).to_be_visible()


def test_rows_of_an_area_are_listed_and_a_clicked_row_opens(server: Server, page: Page) -> None:
    _open(page, server, "examples")
    expect(page.get_by_role("button", name=re.compile(r"Open row \d"))).to_be_visible()  # the end of the page
    plane = page.locator(CHART).first
    expect(plane.locator("canvas, svg").first).to_be_visible()
    box = plane.bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.6 * box["height"], steps=8)
    page.mouse.up()
    expect(page.get_by_role("heading", name=re.compile(r"rows in the area"))).to_be_visible()

    page.get_by_role("button", name="Nearest to even").click()
    expect(page).to_have_url(re.compile(r"row=\d+"))
    expect(page.get_by_role("heading", name=re.compile(r"rows in the area"))).to_be_visible()


def test_what_if_runs_the_model_and_is_kept_in_the_link(server: Server, page: Page) -> None:
    _open(page, server, "examples")
    page.get_by_role("combobox", name="Fields to change").click()
    page.keyboard.type("device")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(_heading(page, "Every value of device")).to_be_visible()
    page.get_by_role("combobox", name="device", exact=True).click()
    page.keyboard.type("television")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"television"))
    expect(page.get_by_text("with your changes")).to_be_visible()
    expect(page.locator('[aria-label*="device = television"]').first).to_be_attached()  # the ledger beside it follows
    address = page.url
    page.goto(address)
    expect(_heading(page, "Every value of device")).to_be_visible()


def test_the_threshold_moves_the_counts_at_once(server: Server, page: Page) -> None:
    _open(page, server, "performance")
    hits = page.locator('[data-testid="stMetric"]').filter(has_text="True positives")
    before = hits.inner_text()
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(5):
        slider.press("ArrowLeft")
    expect(hits).not_to_have_text(before)


def test_a_feature_is_chosen_by_a_click_by_keyboard_and_by_link_and_drawn_in_three_dimensions(
    server: Server, page: Page
) -> None:
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    _open(page, server, "embeddings")
    expect(_heading(page, "Partners of placement = story")).to_be_visible()

    page.locator('[aria-label="device = phone"]').first.click(force=True)
    expect(_heading(page, "Partners of device = phone")).to_be_visible()
    expect(page).to_have_url(re.compile(r"feature=device~phone"))

    page.get_by_role("combobox", name="Feature", exact=True).click()
    page.keyboard.type("weekday = Sunday")
    page.keyboard.press("Enter")
    expect(_heading(page, "Partners of weekday = Sunday")).to_be_visible()
    assert not [url for url in loaded if "Plotly" in url]

    page.get_by_text("In three dimensions").click()
    expect(page.locator(".js-plotly-plot")).to_be_visible()
    page.reload()
    expect(page.locator(".js-plotly-plot")).to_be_visible()
    assert all(url.startswith((server.url, "data:", "blob:")) for url in loaded)


def test_a_field_of_the_drawing_says_its_numbers_and_the_identity_follows_the_choice(
    server: Server, page: Page
) -> None:
    _open(page, server, "learn")
    page.locator('[aria-label^="placement = "]').first.click(force=True)
    expect(page).to_have_url(re.compile(r"field=placement"))
    expect(page.get_by_text("Its strongest pair in this row is with")).to_be_visible()
    page.get_by_role("button", name="Split other rows on Examples").click()
    expect(_heading(page, "Examples")).to_be_visible()
