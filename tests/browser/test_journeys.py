"""What users do, in a real browser: each journey on a server and a store of its own."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from threading import Event
from urllib.parse import parse_qs, quote, urlparse

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, FilePayload, Page, WebSocketRoute, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.browser.conftest import FINISHED, PATIENCE, ROOT, Server, file_input, settled
from tests.waiting import wait

pytestmark = pytest.mark.slow

SHOPPERS = ROOT.parent / "shared" / "data" / "online_shoppers_intention.csv"
CHARTS = '[data-testid="stVegaLiteChart"] svg, [data-testid="stVegaLiteChart"] canvas'

"""Milliseconds that a run may take."""


def _open(page: Page, server: Server, path: str = "") -> Page:
    page.goto(f"{server.url}/{path}")
    return settled(page)


def _run_in(url: str) -> str:
    return parse_qs(urlparse(url).query)["run"][0]


def _train_sample(page: Page) -> str:
    page.get_by_role("button", name="Train this live").click()
    page.wait_for_url(re.compile(r"/train\?.*run="))
    return _run_in(page.url)


def _train_slowly(page: Page, server: Server) -> str:
    """Start a run on the sample that would take minutes."""
    settings = '{"epochs":5000,"patience":1000,"batch_size":32}'
    _open(page, server, f"train?preset=custom&custom={settings}")
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_url(re.compile(r"/train\?.*run="))
    expect(page.get_by_text("training, epoch")).to_be_visible()
    return _run_in(page.url)


def test_the_sample_trains_live_and_its_matrix_appears(server: Server, page: Page) -> None:
    _open(page, server)
    for finding in ("Top pair", "FM or DNN", "Worst-calibrated slice"):
        expect(page.get_by_text(finding).first).to_be_visible()
    _train_sample(page)
    expect(page.get_by_text("Logloss", exact=True)).to_be_visible()
    expect(page.get_by_text("Field matrix", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="See the pairs")).to_be_visible(timeout=FINISHED)
    expect(page.get_by_text("· finished")).to_be_visible(timeout=FINISHED)
    expect(page.locator(CHARTS).first).to_be_visible()


def test_a_table_of_ones_own_ends_at_its_strongest_pair(server: Server, page: Page, tmp_path: Path) -> None:
    table = SHOPPERS if SHOPPERS.exists() else _shop_sessions(tmp_path / "sessions.csv")
    _open(page, server)
    page.get_by_role("button", name="Use my CSV").click()
    file_input(page).set_input_files(table)
    expect(page.get_by_text(re.compile(r"rows, label Revenue 1\d\.\d% positive")).first).to_be_visible()
    page.get_by_role("button", name="Train with the suggested roles").click()
    expect(page.get_by_text("Top pair").first).to_be_visible(timeout=FINISHED)
    page.get_by_role("button", name="See the pairs").click()
    page.wait_for_url(re.compile(r"/interactions\?.*run="))
    pairs = page.get_by_text(re.compile(r"\w+ × \w+")).filter(visible=True)
    expect(pairs.first).to_be_visible(timeout=FINISHED)
    settled(page)


def test_a_click_at_the_moment_a_run_ends_is_not_lost(server: Server, page: Page) -> None:
    held: list[str | bytes] = []
    holding = Event()
    sockets: list[WebSocketRoute] = []

    def relay(socket: WebSocketRoute) -> None:
        behind = socket.connect_to_server()
        behind.on_message(lambda message: held.append(message) if holding.is_set() else socket.send(message))
        sockets.append(socket)

    page.route_web_socket(re.compile("_stcore/stream"), relay)
    custom = quote('{"folds":3}')
    _open(page, server, f"train?preset=custom&custom={custom}")
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_url(re.compile(r"/train\?.*run="))
    run, store = _run_in(page.url), _store(server)
    pairs = page.get_by_role("button", name="See the pairs")
    expect(pairs).to_be_visible(timeout=FINISHED)
    until = time.monotonic() + FINISHED / 1000
    while store.run(run).state == "running" and time.monotonic() < until:
        page.wait_for_timeout(20)
    holding.set()  # the browser goes on showing the page of the active run,
    page.wait_for_timeout(2_000)  # while the server draws the page of the ended one
    pairs.click()
    while held:  # in their order: more may come in between
        sockets[-1].send(held.pop(0))
    holding.clear()
    page.wait_for_url(re.compile(r"/interactions\?.*run="))


def test_a_look_that_comes_after_its_page_was_left_does_not_empty_the_next(server: Server, page: Page) -> None:
    held: list[str | bytes] = []
    behind: list[WebSocketRoute] = []
    leaving, left = Event(), Event()

    def sent(message: str | bytes) -> None:
        asked = BackMsg.FromString(_bytes(message))
        if leaving.is_set() and asked.rerun_script.is_auto_rerun and not left.is_set():
            held.append(message)
        else:
            behind[-1].send(message)

    def received(socket: WebSocketRoute, message: str | bytes) -> None:
        socket.send(message)
        arrived = ForwardMsg.FromString(_bytes(message))
        if leaving.is_set() and arrived.WhichOneof("type") == "new_session":
            pages.append(arrived.new_session.page_script_hash)
            if pages[-1] != pages[0] and not left.is_set():  # the next page is being drawn
                left.set()
                behind[-1].send(held[0])

    def relay(socket: WebSocketRoute) -> None:
        behind.append(socket.connect_to_server())
        behind[-1].on_message(lambda message: received(socket, message))
        socket.on_message(sent)

    pages: list[str] = []
    page.route_web_socket(re.compile("_stcore/stream"), relay)
    _open(page, server, 'train?preset=custom&custom={"folds":20,"epochs":4}')
    page.get_by_role("button", name="Train", exact=True).click()
    pairs = page.get_by_role("button", name="See the pairs")
    expect(pairs).to_be_visible(timeout=FINISHED)
    leaving.set()
    while not held:
        page.wait_for_timeout(20)
    pairs.click()
    page.wait_for_url(re.compile(r"/interactions\?.*run="))
    expect(page.get_by_text("Field matrix", exact=True)).to_be_visible()
    page.wait_for_timeout(3_000)  # the page looks again how far its checks are
    assert left.is_set()
    expect(page.get_by_text("Field matrix", exact=True)).to_be_visible()
    expect(page.get_by_text("Strongest pairs", exact=True)).to_be_visible()
    assert settled(page).title()


def _bytes(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


def test_a_page_is_at_most_two_steps_back_however_many_choices_go_with_it(server: Server, page: Page) -> None:
    _open(page, server, "interactions?ranked=learned&marks=on&pair=device~placement&surface=on&matrix_fields=x")
    before = page.evaluate("history.length")
    page.get_by_role("link", name="Examples").click()
    page.wait_for_url(re.compile(r"/examples\?.*ranked=learned"))
    settled(page)
    assert page.evaluate("history.length") <= before + 2
    page.go_back()
    page.go_back()
    page.wait_for_url(re.compile(r"/interactions\?.*ranked=learned"))
    expect(page.get_by_text("Field matrix", exact=True)).to_be_visible()


def test_a_refresh_a_second_tab_and_a_restarted_server_find_the_run(
    server: Server, page: Page, browser: Browser
) -> None:
    _open(page, server, "train?preset=quick&model=fm")
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_url(re.compile(r"run="))
    address, run = page.url, _run_in(page.url)
    expect(page.get_by_text("FM, quick on clicks.csv · finished")).to_be_visible(timeout=FINISHED)
    page.reload()
    expect(settled(page).get_by_text("· finished")).to_be_visible()
    second = browser.new_context().new_page()
    second.goto(address)
    expect(second.get_by_text("· finished")).to_be_visible()
    second.context.close()
    server.restart()
    _open(page, server, f"runs?run={run}&selected={run}")
    expect(page.get_by_label("Notes")).to_be_visible()
    page.get_by_role("link", name="Train").click()
    expect(page.get_by_text("· finished")).to_be_visible()
    assert _run_in(page.url) == run


def test_cancel_stops_the_epoch_that_is_running(server: Server, page: Page) -> None:
    run = _train_slowly(page, server)
    store = _store(server)
    page.get_by_role("button", name="Cancel").click()
    wait(lambda: store.database.rows("SELECT 1 FROM runs WHERE id = ? AND cancel_requested = 1", (run,)))
    done = len(store.events(run, kinds=["epoch"]))
    wait(lambda: store.run(run).state != "running")
    assert store.run(run).state == "cancelled"
    assert len(store.events(run, kinds=["epoch"])) <= done + 1  # one may end while we count
    expect(page.get_by_text("· cancelled")).to_be_visible()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_a_killed_worker_shows_lost_and_resume_goes_on(server: Server, page: Page) -> None:
    run = _train_slowly(page, server)
    expect(page.get_by_text(re.compile(r"epoch [2-9]\d* of")).first).to_be_visible()
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
    expect(page.get_by_text("· lost")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text(re.compile(r"training, epoch [2-9]\d* of")).first).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("· cancelled")).to_be_visible()
    assert _store(server).run(run).state == "cancelled"


def test_training_goes_on_when_the_tab_is_closed(server: Server, page: Page, browser: Browser) -> None:
    _open(page, server)
    run = _train_sample(page)
    page.goto("about:blank")
    store = _store(server)
    wait(lambda: store.run(run).state not in ("queued", "running"))
    assert store.run(run).state == "finished"


def test_two_visitors_of_a_hosted_app_see_each_others_runs_only_through_a_link(
    tmp_path: Path, browser: Browser
) -> None:
    server = Server(tmp_path / "home", "app/server.py", DEEPFM_PRIVATE="1")
    expect.set_options(timeout=PATIENCE)
    try:
        one, other = (browser.new_context(viewport={"width": 1400, "height": 1000}).new_page() for _ in range(2))
        _open(one, server)
        run = _train_sample(one)
        expect(one.get_by_text("DeepFM on clicks.csv ·").first).to_be_visible()
        _open(one, server, f"runs?run={run}")
        expect(one.get_by_text("Tick runs in the first column")).to_be_visible()
        _open(other, server, "runs")
        expect(other.get_by_text("No runs yet")).to_be_visible()
        _open(other, server, f"train?run={run}")
        expect(other.get_by_text("is not yours")).to_be_visible()
        one.get_by_role("button", name="Share this run").click()
        one.get_by_role("button", name="Make a link").click()
        link = one.get_by_text("?run=share-").first
        expect(link).to_be_visible()
        other.goto(link.inner_text().strip())
        expect(other.get_by_text("DeepFM on clicks.csv · shared").first).to_be_visible()
        _open(other, server, f"train?{urlparse(other.url).query}")
        expect(other.get_by_text("DeepFM on clicks.csv ·").first).to_be_visible()
        expect(other.get_by_role("button", name="Cancel")).to_have_count(0)
    finally:
        server.close()


def test_two_tabs_of_a_new_visitor_are_one_owner(tmp_path: Path, browser: Browser) -> None:
    server = Server(tmp_path / "home", "app/server.py", DEEPFM_PRIVATE="1")
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    expect.set_options(timeout=PATIENCE)
    try:
        tabs = [context.new_page(), context.new_page()]
        for tab in tabs:  # both before either has shown anything
            tab.goto(f"{server.url}/data", wait_until="commit")
        for tab in tabs:
            settled(tab)
        for number, tab in enumerate(tabs):
            content = b"x,y\n" + b"a,0\nb,1\n" * (50 + number)
            file: FilePayload = {"name": f"tab{number}.csv", "mimeType": "text/csv", "buffer": content}
            file_input(tab).set_input_files(file)
            expect(tab.get_by_role("heading", name=f"tab{number}.csv")).to_be_visible()
        owners = {table.owner for table in _store(server).tables() if table.name.startswith("tab")}
        (cookie,) = (cookie for cookie in context.cookies() if cookie["name"] == "deepfm_visitor")
        assert owners == {cookie["value"]}
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    finally:
        context.close()
        server.close()


def _store(server: Server):
    from deepfm_core.store.store import Store

    return Store(server.home)


def _shop_sessions(path: Path, rows: int = 6_000) -> Path:
    """Write a table like the sessions of a shop: CRLF, TRUE and FALSE, numbers with many zeros."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "ProductRelated": rng.poisson(20, rows),
            "PageValues": np.where(rng.random(rows) < 0.7, 0, rng.exponential(20, rows)).round(3),
            "BounceRates": (rng.integers(0, 40, rows) / 200).round(3),
            "Month": rng.choice(["Feb", "Mar", "May", "Nov", "Dec"], rows),
            "Browser": rng.integers(1, 9, rows),
            "VisitorType": rng.choice(["New_Visitor", "Returning_Visitor"], rows),
            "Weekend": rng.choice(["TRUE", "FALSE"], rows),
        }
    )
    together = (frame["Month"] == "Nov") & (frame["VisitorType"] == "New_Visitor")
    logit = -2.6 + 1.5 * (frame["PageValues"] > 0) + 1.5 * together
    frame["Revenue"] = np.where(rng.random(rows) < 1 / (1 + np.exp(-logit)), "TRUE", "FALSE")
    path.write_bytes(frame.to_csv(index=False, lineterminator="\r\n").rstrip().encode())
    return path


def test_the_pairs_are_opened_while_they_are_still_checked_on_held_out_rows(server: Server, page: Page) -> None:
    _open(page, server, 'train?preset=custom&custom={"folds":20,"epochs":4}')
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_role("button", name="See the pairs").click(timeout=FINISHED)
    page.wait_for_url(re.compile(r"/interactions\?.*run="))
    expect(page.get_by_text("Field matrix", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile("clear above noise")).first).to_be_visible()
