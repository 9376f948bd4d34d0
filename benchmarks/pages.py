"""How long a person waits: `python benchmarks/pages.py`. Prints the table of docs/benchmarks.md.

Starts the app as `streamlit run app/main.py` with an empty store, opens it in a fresh Chromium, and trains the sample
table live on a warm worker. Needs the system's Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from deepfm_core.store.process import Process  # noqa: E402 (needs the path above)
from deepfm_core.store.store import Store  # noqa: E402

PORT = 8690
ADDRESS = f"http://localhost:{PORT}"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
AT_REST = '[data-testid="stApp"][data-test-script-state="notRunning"]'


@contextmanager
def served(home: Path) -> Iterator[None]:
    command = [str(Path(sys.executable).with_name("streamlit")), "run", "app/main.py", f"--server.port={PORT}"]
    server = subprocess.Popen(
        [*command, "--server.headless=true"],
        cwd=ROOT,
        env={**os.environ, "DEEPFM_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"{ADDRESS}/_stcore/health", timeout=1)
                break
            time.sleep(0.01)
        yield
    finally:
        server.terminate()
        server.wait()
        for row in Store(home).database.rows("SELECT worker FROM workers"):
            with suppress(ProcessLookupError):
                os.kill(Process.parse(row["worker"]).pid, signal.SIGKILL)


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def waits(page: Page, store: Store) -> dict[str, float]:
    healthy = time.monotonic()
    page.goto(f"{ADDRESS}/", wait_until="commit")
    page.get_by_text("Worst-calibrated slice").wait_for()
    found = time.monotonic()
    page.locator(AT_REST).wait_for()
    settled = time.monotonic()
    while not store.worker_state().idle:
        time.sleep(0.05)
    time.sleep(2)
    clicked = time.monotonic()
    page.get_by_role("button", name="Train this live").click()
    page.wait_for_url("**/train**")
    page.get_by_text("Logloss").first.wait_for()
    page.locator("[data-testid=stVegaLiteChart] svg .mark-symbol path").first.wait_for(state="attached")
    point = time.monotonic()
    page.get_by_text("Field matrix", exact=True).wait_for()
    matrix = time.monotonic()
    page.get_by_role("button", name="See the pairs").wait_for(timeout=200_000)
    return {
        "server healthy → findings on screen": found - healthy,
        "server healthy → first view settled": settled - healthy,
        "click → first loss point, warm worker": point - clicked,
        "click → first field matrix": matrix - clicked,
        "click → run finished, evidence included": time.monotonic() - clicked,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    measured = []
    for _ in range(parser.parse_args().times):
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, served(Path(folder)):
            browser = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
            measured.append(waits(browser.new_page(viewport={"width": 1400, "height": 900}), Store(Path(folder))))
            browser.close()
    print("| | median seconds | least | most |\n|---|---|---|---|")
    for name in measured[0]:
        values = [one[name] for one in measured]
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
