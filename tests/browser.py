"""A running application and a headless Chromium, for the tests that look at pages."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
PATIENCE_S = 120
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
_DRAWN = """() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && document.querySelectorAll('[data-testid=stMainBlockContainer] [data-testid=stElementContainer]').length > 1
    && !document.querySelector('[data-testid=stSkeleton]')
    && [...document.images].every(picture => picture.complete)"""


@contextmanager
def running_ui(library: Path, log: Path, *options: str, cwd: Path) -> Iterator[str]:
    """The address of `vlrlt ui`; ends it, and refuses warnings in what it has said."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-P", "-m", "vlrlt", "ui", "--library", str(library), "--port", str(port), *options]
    with log.open("w") as output, subprocess.Popen(command, cwd=cwd, stdout=output, stderr=output) as server:
        try:
            _wait_for_health(address, server)
            yield address
        finally:
            server.terminate()
            assert server.wait(30) == 0, "SIGTERM must end the server and its Streamlit child in good order"
    said = log.read_text()
    assert not [line for line in said.splitlines() if "warn" in line.lower() or "deprecat" in line.lower()], said


def _wait_for_health(address: str, server: "subprocess.Popen[bytes]") -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        assert server.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
                assert answer.read() == b"ok"
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"{address} does not answer")


class Visitor:
    """A browser on the application; notes what browsers complain of, and requests to other machines.

    Args:
        driver: of Playwright.
        size: of its window.
        colours: what its user prefers.
    """

    def __init__(self, driver: Any, *, size: dict[str, int], colours: Literal["light", "dark"] = "light") -> None:
        self.complaints: list[str] = []
        self._browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        self.page = self._browser.new_context(viewport=size, color_scheme=colours).new_page()
        self.page.set_default_timeout(1000 * PATIENCE_S)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._watch)

    def open(self, address: str) -> None:
        self.page.goto(address, timeout=1000 * PATIENCE_S)
        self.settle()

    def settle(self) -> None:
        """Wait until the page is drawn."""
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(_DRAWN)
        self.page.wait_for_timeout(300)

    def go_to(self, title: str) -> None:
        """By the menu on top, which a phone hides behind a button."""
        opener = self.page.get_by_test_id("stExpandSidebarButton")
        if opener.count() and opener.first.is_visible():
            opener.first.click()
            self.page.wait_for_timeout(500)
        self.page.get_by_role("link", name=title).first.click()
        self.page.wait_for_timeout(500)
        if self.page.viewport_size["width"] < DESKTOP["width"]:
            self.page.get_by_test_id("stSidebarCollapseButton").get_by_role("button").click()
        self.settle()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def leave(self) -> None:
        self._browser.close()
        assert self.complaints == []

    def _hear(self, message: Any) -> None:
        # A page below the root looks for the server beside itself first: Streamlit's way of finding it.
        looks_for_server = "/_stcore/" in (message.location or {}).get("url", "")
        if message.type == "error" and not looks_for_server:
            self.complaints.append(message.text)

    def _watch(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.complaints.append(f"asked another machine: {request.url}")


def no_warnings(visitor: Visitor, boxes: Sequence[str] = ("stAlertContentWarning", "stException")) -> None:
    """The page itself says nothing of the kind."""
    for box in boxes:
        assert visitor.page.get_by_test_id(box).count() == 0
