"""Where the time from a click to the first loss point goes: `python benchmarks/start.py`. For docs/benchmarks.md.

Starts the app with an empty store, opens it in a fresh Chromium, clicks *Train this live* on a warm worker, and lays
on one clock what the store and the browser say. Needs the system's Chromium.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from pages import ADDRESS, OPTIONS, chromium, served
from playwright.sync_api import Page, sync_playwright

from deepfm_core.store.store import Store

WATCH = """
window.seen = {};
const once = name => { if (!(name in window.seen)) window.seen[name] = Date.now() };
addEventListener('click', event => { if (event.target.innerText?.includes('Train this live')) once('click') }, true);
const chart = '[data-testid=stVegaLiteChart]';
const look = () => {
  if (!('click' in window.seen && location.pathname.endsWith('/train'))) return;
  once('the page Train opens');
  for (const text of document.querySelectorAll('p')) {
    if (text.innerText === 'Logloss') once('the place of the chart is there');
    if (text.innerText === 'Field matrix' && 'first loss point' in window.seen) once('field matrix');
  }
  if (document.querySelector(chart + ' svg .mark-symbol path') && 'the place of the chart is there' in window.seen)
    once('first loss point');
};
new MutationObserver(look).observe(document, {subtree: true, childList: true, characterData: true});
"""
STORE = {
    "stage read": "worker: reads the table",
    "stage encode": "worker: encodes",
    "stage fit": "worker: makes the model",
    "started": "worker: trains",
    "progress": "worker: first loss in the store",
    "epoch": "worker: first epoch in the store",
}


def moments(page: Page, store: Store) -> dict[str, float]:
    """Give, in milliseconds after the click, when each thing happened."""
    page.add_init_script(WATCH)
    page.goto(f"{ADDRESS}/", wait_until="commit")
    page.get_by_text("Worst-calibrated slice").wait_for()
    while not store.worker_state().idle:
        time.sleep(0.05)
    time.sleep(3)
    page.get_by_role("button", name="Train this live").click()
    page.wait_for_function("'field matrix' in window.seen")
    seen = page.evaluate("window.seen")
    run = store.runs()[0]
    when = {"page: run in the queue": run.queued, "worker: takes it": run.started or 0.0}
    for stored in store.events(run.id):
        event = stored.event.to_dict()
        kind = f"stage {event.get('name')}" if stored.event.kind == "stage" else stored.event.kind
        if kind in STORE:
            when.setdefault(STORE[kind], stored.time)
    result = {name: value * 1000 - seen["click"] for name, value in when.items()}
    return result | {f"browser: {name}": value - seen["click"] for name, value in seen.items() if name != "click"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    measured = []
    for _ in range(parser.parse_args().times):
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, served(Path(folder)):
            browser = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
            measured.append(moments(browser.new_page(viewport={"width": 1400, "height": 900}), Store(Path(folder))))
            browser.close()
    print("| milliseconds after the click | median | least | most |\n|---|---|---|---|")
    for name in sorted(measured[0], key=lambda name: statistics.median(one[name] for one in measured)):
        values = [one[name] for one in measured]
        print(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |")


if __name__ == "__main__":
    main()
