"""Make the screenshots of the documentation: `python docs/images/make_screenshots.py`; needs Chromium."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.browser.conftest import CHROMIUM_OPTIONS, Server, settled  # noqa: E402 (needs the path above)

PAGES = {"interactions": 1150}
"""Pages to take, and how many pixels of them from the top."""
WIDTH = 1400
COLOURS = 256
DRAWN_MS = 2_500
"""Time for charts to be drawn after the script has run."""


def main() -> None:
    """Serve the app on the bundled run, and take its pages in light colours."""
    chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder) / "home")
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS)
        try:
            for name, height in PAGES.items():
                page = browser.new_page(viewport={"width": WIDTH, "height": height}, color_scheme="light")
                page.goto(f"{server.url}/{name}")
                settled(page)
                page.wait_for_timeout(DRAWN_MS)
                save(page.screenshot(), HERE / f"{name}.png")
        finally:
            browser.close()
            server.close()


def save(taken: bytes, path: Path) -> None:
    """Write a screenshot with few colours, a third of its size."""
    image = Image.open(io.BytesIO(taken)).convert("RGB")
    image.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {image.width} × {image.height}, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
