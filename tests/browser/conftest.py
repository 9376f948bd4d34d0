"""A server started as users start it, and a browser to use it with."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.waiting import wait

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000
"""Milliseconds a journey waits for an outcome: machines that test are slow, and what is measured is measured apart."""
FINISHED = 240_000
"""Milliseconds a journey waits for a run, and for the page that shows it first."""


class Server:
    """The app as `streamlit run app/main.py` serves it, or another entry, with a store of its own."""

    def __init__(self, home: Path, entry: str = "app/main.py", *, start: bool = True, **environment: str) -> None:
        self.home = home
        self._entry = entry
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._environment = {**os.environ, "DEEPFM_HOME": str(home), **environment}
        if start:
            self.start()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("streamlit")), "run", self._entry]
        options = [f"--server.port={self.port}", "--server.headless=true"]
        with (self.home.parent / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *options], cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        wait(self._healthy)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def restart(self) -> None:
        self.stop()
        self.start()

    def workers(self) -> list[int]:
        """Return the process ids of the store's workers."""
        if not (self.home / "runs.db").exists():  # nobody was let in
            return []
        with sqlite3.connect(self.home / "runs.db") as database:
            names = [row[0] for row in database.execute("SELECT worker FROM workers")]
        return [process for name in names if (process := _process_id(name))]

    def close(self) -> None:
        self.stop()
        for process in self.workers():
            _end(process)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def _process_id(worker: str) -> int | None:
    from deepfm_core.store.process import Process

    process = Process.parse(worker)
    return process.pid if process.alive() else None


def _end(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of its own for each journey."""
    served = Server(tmp_path / "home")
    yield served
    served.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    assert found, "The browser tests need Chromium. Install it, for instance with `apt-get install chromium`."
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=CHROMIUM_OPTIONS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield context.new_page()
    context.close()


def settled(page: Page) -> Page:
    """Wait until a page's script has run, and see that nothing on it has failed."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=FINISHED)
    assert not page.locator('[data-testid="stException"]').count()
    return page


def file_input(page: Page, label: str = "Your table") -> Locator:
    """Find where a file is put in, by its label: the browser may draw another uploader of the page first."""
    return page.get_by_test_id("stFileUploader").filter(has_text=label).locator("input")
