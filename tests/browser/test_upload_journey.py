"""Uploads that go wrong, in a real browser: each gets its sentence, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, settled

pytestmark = pytest.mark.slow

LIMIT = 200 * 2**20


def test_a_file_over_the_limit_is_refused_with_the_limit_and_a_smaller_one_is_taken(
    server: Server, page: Page, tmp_path: Path
) -> None:
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.truncate(LIMIT + 1)
    page.goto(f"{server.url}/data")
    settled(page)
    page.get_by_test_id("stFileUploader").filter(has_text="Your table").locator("input").set_input_files(large)
    expect(page.get_by_text("File must be 200.0MB or smaller.")).to_be_visible()
    expect(page.get_by_text("20,000 rows, label")).to_be_visible()  # the table shown before is still there
    binary = tmp_path / "picture.csv"
    binary.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    page.get_by_test_id("stFileUploader").filter(has_text="Your table").locator("input").set_input_files(binary)
    expect(page.get_by_text("picture.csv").last).to_be_visible()
    expect(page.get_by_text("the file is binary, not text").first).to_be_visible()
    good = tmp_path / "good.csv"
    good.write_text("ad,click\n" + "".join(f"{'abc'[i % 3]},{i % 5 // 4}\n" for i in range(200)))
    page.get_by_test_id("stFileUploader").filter(has_text="Your table").locator("input").set_input_files(good)
    expect(page.get_by_text("200 rows, label")).to_be_visible()


@pytest.mark.parametrize("has_font", [True, False])
def test_letters_that_the_system_has_no_font_for_are_told(
    server: Server, page: Page, tmp_path: Path, has_font: bool
) -> None:
    # A machine with such fonts and one without: Chinese is drawn as another letter, or as none.
    drawn = "A" if has_font else "\u0378"
    page.add_init_script(
        "const draw = CanvasRenderingContext2D.prototype.fillText;"
        "CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {"
        f"  return draw.call(this, text === '设' ? '{drawn}' : text, ...rest);"
        "};"
    )
    table = tmp_path / "named.csv"
    table.write_text("设备,größe,click\n" + "".join(f"{'abc'[i % 3]},{'de'[i % 2]},{i % 5 // 4}\n" for i in range(200)))
    page.goto(f"{server.url}/data")
    settled(page)
    note = page.locator(".letters-without-a-font")
    expect(note).to_have_count(0)  # the sample has no such letters
    page.get_by_test_id("stFileUploader").filter(has_text="Your table").locator("input").set_input_files(table)
    expect(page.get_by_text("200 rows, label")).to_be_visible()
    expect(note).to_have_count(1)
    if has_font:
        expect(note).to_be_hidden()
    else:
        expect(note).to_contain_text("has no font for Chinese characters. Install one")
        expect(note).to_be_visible()


def test_a_column_is_left_out_by_its_box_and_a_field_shows_its_values(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/data")
    settled(page)
    roles = page.get_by_test_id("stDataFrame").first
    roles.scroll_into_view_if_needed()
    expect(roles.locator("canvas").first).to_be_visible()
    roles.click(position={"x": 36, "y": 35 + 17})  # the box of the first column, `ad`
    expect(page.get_by_text("8 categorical, 1 multi-valued, 2 piecewise, 1 ignored")).to_be_visible()
    page.get_by_role("combobox", name="Field to look at").click()
    page.keyboard.type("device")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="device and clicked = 1")).to_be_visible()
