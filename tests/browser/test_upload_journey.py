"""Uploads that go wrong, in a real browser: each gets its sentence, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import FINISHED, Server, file_input, settled

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
    file_input(page).set_input_files(large)
    expect(page.get_by_text("File must be 200.0MB or smaller.")).to_be_visible()
    expect(page.get_by_text("20,000 rows, label")).to_be_visible()  # the table shown before is still there
    binary = tmp_path / "picture.csv"
    binary.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    file_input(page).set_input_files(binary)
    expect(page.get_by_text("picture.csv").last).to_be_visible()
    expect(page.get_by_text("the file is binary, not text").first).to_be_visible()
    good = tmp_path / "good.csv"
    good.write_text("ad,click\n" + "".join(f"{'abc'[i % 3]},{i % 5 // 4}\n" for i in range(200)))
    file_input(page).set_input_files(good)
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
    file_input(page).set_input_files(table)
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


def choose(page: Page, label: str, typed: str) -> None:
    """Choose in a box how the file is to be read."""
    page.get_by_role("combobox", name=label, exact=True).click()
    page.keyboard.type(typed)
    page.keyboard.press("Enter")


def test_each_choice_of_how_a_file_is_read_reads_it_again_at_once(server: Server, page: Page, tmp_path: Path) -> None:
    rows = "".join(f"{['да', 'нет'][i % 2]};{'абв'[i % 3]}{i % 7};{i % 5 // 4}\n" for i in range(60))
    table = tmp_path / "messy.csv"
    table.write_bytes(f"Отчёт за май\nместо;слово;клик\n{rows};;\n;;\n".encode("cp1251"))
    page.goto(f"{server.url}/data")
    settled(page)
    file_input(page).set_input_files(table)
    expect(page.get_by_role("heading", name="60 rows, label клик 20.0% positive")).to_be_visible()
    read = page.get_by_test_id("stExpander").filter(has_text="How the file was read")
    expect(read).to_contain_text("How the file was read: cp1251, semicolon between cells, names in line 2")
    expect(page.get_by_text("The file is not UTF-8. It was read as cp1251; if letters look wrong")).to_be_visible()
    read.locator("summary").click()
    choose(page, "Encoding", "koi8-r")
    expect(read).to_contain_text("How the file was read: koi8-r")
    expect(page.get_by_role("heading", name="60 rows, label ЙКХЙ 20.0% positive")).to_be_visible()
    page.get_by_role("button", name="Find it all again").click()
    expect(read).to_contain_text("How the file was read: cp1251")
    read.locator("summary").click()  # as nothing is said of the file any more, the choices are folded away
    choose(page, "Rows", "Keep every record")
    expect(page.get_by_role("heading", name="62 rows, label клик 20.0% positive")).to_be_visible()
    choose(page, "Delimiter", "Tab")
    expect(page.get_by_text("does not stand in this line").first).to_be_visible()
    expect(page.get_by_text("The table is still as it was read before.")).to_be_visible()


def test_a_click_while_a_file_is_read_does_not_lose_it(server: Server, page: Page, tmp_path: Path) -> None:
    line = '{{"place": {}, "words": ["{}", "b"], "price": {}, "click": {}}}\n'.format
    table = tmp_path / "slow.jsonl"
    table.write_text("".join(line(i % 7, i % 311, i / 8, i % 5 // 4) for i in range(200_000)))
    page.goto(f"{server.url}/data")
    settled(page)
    file_input(page).set_input_files(table)
    expect(page.get_by_text("Reading slow.jsonl")).to_be_visible()
    page.get_by_role("textbox", name="Search fields").fill("device")
    page.keyboard.press("Enter")
    expect(page.get_by_text("200,000 rows, label click")).to_be_visible(timeout=FINISHED)
