"""Signing in with OpenID Connect, at a provider that speaks it over HTTP: discovery, codes, signed tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import oidc_provider_mock
import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from deepfm_core.store.store import Store
from tests.browser.conftest import FINISHED, PATIENCE, Server, file_input, settled

pytestmark = pytest.mark.slow

SECRETS = """
[auth]
redirect_uri = "{url}/oauth2callback"
cookie_secret = "{secret}"
client_id = "explorer"
client_secret = "a secret of the client"
server_metadata_url = "{provider}/.well-known/openid-configuration"
"""
CSV = b"x,y\n" + b"a,0\nb,1\n" * 60


@pytest.fixture
def provider() -> Iterator[str]:
    users = [
        oidc_provider_mock.User(sub=name, claims={"email": f"{name}@example.org", "email_verified": True})
        for name in ("ann", "bob")
    ]
    with oidc_provider_mock.run_server_in_thread(user_claims=users) as served:
        yield f"http://localhost:{served.server_port}"


@pytest.fixture
def team(tmp_path: Path, provider: str) -> Iterator[Server]:
    """A shared server whose secrets name the provider, as docs/operations.md has it."""
    operator = tmp_path / "operator"
    settings = {"HOME": str(operator), "DEEPFM_PRIVATE": "1", "DEEPFM_OPERATOR": "ann@example.org"}
    server = Server(tmp_path / "home", "app/server.py", start=False, **settings)
    (operator / ".streamlit").mkdir(parents=True)
    text = SECRETS.format(url=server.url, secret="0123456789abcdef" * 4, provider=provider)
    (operator / ".streamlit" / "secrets.toml").write_text(text)
    server.start()
    yield server
    server.close()


def tab(browser: Browser) -> Page:
    """Open a browser of its own, with no cookie yet, that loads nothing from outside."""
    expect.set_options(timeout=PATIENCE)
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.context.set_default_timeout(PATIENCE)
    page.context.route(re.compile(r"^https?://(?!localhost[:/])"), lambda route: route.abort())
    return page


def opened(page: Page, server: Server, path: str = "") -> Page:
    page.goto(f"{server.url}/{path}")
    return settled(page)


def sign_in(page: Page, server: Server, name: str) -> None:
    opened(page, server)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=name, exact=True).first.click()
    expect(page.get_by_text(f"Signed in as {name}@example.org")).to_be_visible()
    settled(page)


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End session").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def bring(page: Page, server: Server, name: str) -> None:
    opened(page, server, "data")
    file: FilePayload = {"name": name, "mimeType": "text/csv", "buffer": CSV + name.encode() + b",1\n"}
    file_input(page).set_input_files(file)
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_a_team_signs_in_and_each_sees_their_own_in_every_browser(team: Server, browser: Browser) -> None:
    page = tab(browser)
    for path in ("", "data", "runs", "system", "performance?run=bundled"):  # nothing before signing in
        opened(page, team, path)
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        expect(page.get_by_test_id("stSidebarNav")).to_have_count(0)
    sign_in(page, team, "ann")
    bring(page, team, "of_ann.csv")
    with page.expect_download() as waited:
        page.get_by_role("button", name="CSV", exact=True).first.click()
    address = waited.value.url
    assert waited.value.failure() is None
    assert tab(browser).context.request.get(address).status == 404  # her file, asked for by a stranger
    page.get_by_role("button", name="Train with the suggested roles").click()
    page.wait_for_url(re.compile(r"run="))
    (run,) = Store(team.home).runs()
    (table,) = (table for table in Store(team.home).tables() if table.name == "of_ann.csv")
    assert run.owner == table.owner
    assert run.owner.startswith("account-")
    opened(page, team, "system")
    expect(page.get_by_text("Waiting runs").first).to_be_visible()  # Ann is the operator
    sign_out(page)
    for path in ("runs", f"train?run={run.id}", f"data?table={table.sha256}"):
        opened(page, team, path)
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        expect(page.get_by_text("of_ann")).to_have_count(0)

    sign_in(page, team, "bob")  # in the browser that Ann has used
    opened(page, team, "runs")
    expect(page.get_by_text("No runs yet")).to_be_visible()
    for path in (f"train?run={run.id}", f"data?table={table.sha256}"):
        opened(page, team, path)
        expect(page.get_by_text("is not yours").first).to_be_visible()
        expect(page.get_by_text("of_ann")).to_have_count(0)
    opened(page, team, "system")
    expect(page.get_by_text("Waiting runs")).to_have_count(0)
    bring(page, team, "of_bob.csv")
    assert len({table.owner for table in Store(team.home).tables() if table.name.startswith("of_")}) == 2

    other = tab(browser)
    sign_in(other, team, "ann")
    opened(other, team, f"train?run={run.id}")
    expect(other.get_by_text("on of_ann.csv ·").first).to_be_visible(timeout=FINISHED)
    expect(other.get_by_text("of_bob")).to_have_count(0)


def test_whoever_the_provider_does_not_name_stays_outside(team: Server, browser: Browser) -> None:
    page = tab(browser)
    opened(page, team)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    forged = '{"is_logged_in":true,"iss":"x","sub":"ann","email":"ann@example.org"}'
    page.context.add_cookies(
        [{"name": name, "value": forged, "url": team.url} for name in ("_streamlit_user", "deepfm_visitor")]
    )
    for path in ("runs", "oauth2callback?code=guessed&state=guessed"):
        opened(page, team, path)
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_whoever_signs_out_in_one_tab_is_signed_out_in_all(team: Server, browser: Browser) -> None:
    page = tab(browser)
    sign_in(page, team, "ann")
    bring(page, team, "of_ann.csv")
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_role("heading", name="of_ann.csv")).to_be_visible()
    elsewhere = tab(browser)
    sign_in(elsewhere, team, "ann")

    sign_out(page)
    expect(other.get_by_role("button", name="Sign in")).to_be_visible()  # nobody has loaded it again
    expect(other.get_by_text("of_ann")).to_have_count(0)
    settled(elsewhere).get_by_role("link", name="Train").click()
    elsewhere.wait_for_url(re.compile(r"/train"))
    expect(settled(elsewhere).get_by_text("Signed in as ann@example.org")).to_be_visible()  # another browser

    sign_in(page, team, "bob")
    opened(other, team, "runs")
    expect(other.get_by_text("Signed in as bob@example.org")).to_be_visible()
