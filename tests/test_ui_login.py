"""Login by a real OpenID Connect provider (oidc-provider-mock), in Chromium: who may come in, who may not."""

import json
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import CHROMIUM, DESKTOP, Visitor, free_port, running_ui, wait_for
from colour import write_colours
from towers import tiny_dual

from vlrlt.embed import load_embedder
from vlrlt.index.run.build import index_paths
from vlrlt.models.checkpoint import save_checkpoint

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'vlrlt[dev]'")
pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.skipif(find_spec("oidc_provider_mock") is None, reason="pip install oidc-provider-mock"),
]
AUTH = """
allowed = ["ann@example.org", "@lab.example.org"]

[auth]
redirect_uri = "{address}/oauth2callback"
cookie_secret = "{secret}"
client_id = "vlrlt"
client_secret = "x"
server_metadata_url = "{provider}/.well-known/openid-configuration"
"""


@pytest.fixture
def provider() -> Iterator[str]:
    """The address of a provider that lets people say who they are, and one whose address it has not verified."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    with subprocess.Popen(command) as server:
        wait_for(f"{address}/.well-known/openid-configuration", server)
        claims = json.dumps({"email": "ann@example.org", "email_verified": False}).encode()
        put = urllib.request.Request(
            f"{address}/users/mallory", claims, {"Content-Type": "application/json"}, method="PUT"
        )
        urllib.request.urlopen(put).close()
        yield address
        server.terminate()


@pytest.fixture
def address(provider: str, tmp_path: Path, library_dir: Path) -> Iterator[str]:
    """Of the application, whose visitors have to log in."""
    save_checkpoint(tiny_dual(), tmp_path / "model")
    write_colours(tmp_path / "archive" / "sky.mp4", [("red", 4)])
    index_paths([tmp_path / "archive"], library_dir=library_dir, embedder=load_embedder(str(tmp_path / "model")))
    port = free_port()
    auth = tmp_path / "auth.toml"
    auth.write_text(AUTH.format(address=f"http://127.0.0.1:{port}", secret=secrets.token_hex(32), provider=provider))
    with running_ui(library_dir, tmp_path / "log.txt", "--auth", str(auth), cwd=tmp_path, port=port) as found:
        yield found


def log_in(browser: Visitor, name: str) -> None:
    browser.page.get_by_role("button", name="Log in").click()
    browser.page.get_by_placeholder("sub").fill(name)
    browser.page.get_by_role("button", name="Authorize", exact=True).click()
    browser.page.get_by_test_id("stApp").wait_for()
    browser.settle()


def is_outside(browser: Visitor) -> bool:
    found = browser.page.get_by_placeholder("Describe it"), browser.page.get_by_role("link", name="Library")
    return not any(element.count() for element in found)


def end_session(browser: Visitor) -> None:
    """At the provider, to which logging out leads."""
    browser.page.get_by_role("button", name="End session").click()
    browser.page.get_by_role("button", name="Log in").wait_for()
    assert is_outside(browser)


def test_who_is_on_the_list_comes_in_and_nobody_else(address: str, provider: str) -> None:
    with playwright.sync_playwright() as driver:
        browser = Visitor(driver, size=DESKTOP)
        browser.open(f"{address}/library?q=red")
        assert is_outside(browser)
        browser.picture("login")
        for name in ("eve@example.org", "mallory"):
            log_in(browser, name)
            browser.page.get_by_text("This account may not use this library").wait_for()
            assert is_outside(browser), name
            browser.picture("login-refused")
            browser.page.get_by_role("button", name="Log out").click()
            end_session(browser)
        log_in(browser, "ann@example.org")
        browser.page.get_by_placeholder("Describe it").wait_for()
        browser.page.get_by_role("link", name="Log out").first.click()
        end_session(browser)
        ours = [said for said in browser.complaints if "jsdelivr" not in said and provider not in said]
        browser.complaints[:] = ours  # the provider's page has a style from elsewhere and no icon
        browser.leave()
