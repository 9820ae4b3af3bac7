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
from importlib.resources import files
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
_LAYOUT = """() => {
    const faults = [], box = element => element.getBoundingClientRect();
    const named = element => element.tagName + " " + (element.ariaLabel || element.innerText || element.className);
    const apart = ["stDialog", "stPopoverBody", "stHeader", "stBottom", "stSidebar"]
        .map(name => `[data-testid=${name}]`).join();
    const clipped = (element, x, y) => {  // by a closed expander, a list that scrolls
        for (let outer = element.parentElement; outer; outer = outer.parentElement) {
            const {left, right, top, bottom} = box(outer);
            if (getComputedStyle(outer).overflow !== "visible" && (x < left || x > right || y < top || y > bottom))
                return true;
        }
        return false;
    };
    if (document.documentElement.scrollWidth > innerWidth) faults.push("the page is wider than the window");
    for (const element of document.querySelectorAll("main :is(button, a[href], input, textarea, video)")) {
        const {left, right, top, bottom} = box(element), x = (left + right) / 2, y = (top + bottom) / 2;
        const seen = element.checkVisibility({visibilityProperty: true, opacityProperty: true});
        if (right - left < 2 || !seen || clipped(element, x, y)) continue;
        if (left < -1 || right > innerWidth + 1) faults.push(named(element) + " leaves the window");
        const over = document.elementFromPoint(x, y);
        if (over && over !== element && !element.contains(over) && !over.contains(element) && !over.closest(apart)
            && !element.closest("label")?.contains(over))
            faults.push(named(element) + " is covered by " + named(over));
    }
    for (const picture of document.querySelectorAll("main img")) {
        const {left, right} = box(picture);
        if (left < -1 || right > innerWidth + 1) faults.push(`${named(picture)} ${picture.alt} leaves the window`);
    }
    const cards = [...document.querySelectorAll("[class*=st-key-card-]")].map(card => [card, box(card)]);
    for (const [card, one] of cards) for (const [other, two] of cards)
        if (card !== other && !card.contains(other) && !other.contains(card) && one.left < two.right - 1
            && two.left < one.right - 1 && one.top < two.bottom - 1 && two.top < one.bottom - 1)
            faults.push(named(card) + " overlaps " + named(other));
    return faults;
}"""
"""What is wrong with the boxes of a page, whatever its fonts: too wide, outside, covered, overlapping."""
_ACCESSIBILITY = """axe.run({exclude: ["svg.marks"]},
    {runOnly: ["wcag2a", "wcag2aa"], resultTypes: ["violations"]})"""
"""Charts have a name, what Vega draws inside is not ours."""
_DRAWN = """() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && document.querySelectorAll('[data-testid=stMainBlockContainer] [data-testid=stElementContainer]').length > 1
    && !document.querySelector('[data-testid=stSkeleton]')
    && [...document.images].every(picture => picture.complete)"""


@contextmanager
def running_ui(library: Path, log: Path, *options: str, cwd: Path, port: int | None = None) -> Iterator[str]:
    """The address of `vlrlt ui`; ends it, and refuses warnings in what it has said."""
    port = free_port() if port is None else port
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-P", "-m", "vlrlt", "ui", "--library", str(library), "--port", str(port), *options]
    with log.open("w") as output, subprocess.Popen(command, cwd=cwd, stdout=output, stderr=output) as server:
        try:
            wait_for(f"{address}/_stcore/health", server)
            yield address
        finally:
            server.terminate()
            try:
                assert server.wait(PATIENCE_S) == 0, "SIGTERM must end the server and its Streamlit child in good order"
            finally:
                server.kill()
    said = log.read_text()
    assert not [line for line in said.splitlines() if "warn" in line.lower() or "deprecat" in line.lower()], said


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Until the server answers there."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        assert server.poll() is None, "the server has ended"
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"{url} does not answer")


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

    def tab_to(self, selector: str) -> None:
        """By the keyboard alone, as far as sixty steps."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"the keyboard does not reach {selector}")

    def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def inspect(self, name: str) -> None:
        """Take a picture; the layout must hold, and what axe-core calls serious of names, roles and contrast."""
        self.picture(name)
        assert self.page.evaluate(_LAYOUT) == [], name
        self.page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
        found = self.page.evaluate(_ACCESSIBILITY)
        grave = [fault for fault in found["violations"] if fault["impact"] in ("serious", "critical")]
        told = [(fault["id"], [node["html"][:200] for node in fault["nodes"][:3]]) for fault in grave]
        assert told == [], name

    def leave(self) -> None:
        self._browser.close()
        assert self.complaints == [], self.complaints

    def _hear(self, message: Any) -> None:
        # A page below the root looks for the server beside itself first: Streamlit's way of finding it.
        url = (message.location or {}).get("url", "")
        if message.type == "error" and "/_stcore/" not in url:
            self.complaints.append(f"{message.text} ({url})")

    def _watch(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.complaints.append(f"asked another machine: {request.url}")


def no_warnings(visitor: Visitor, boxes: Sequence[str] = ("stAlertContentWarning", "stException")) -> None:
    """The page itself says nothing of the kind."""
    for box in boxes:
        assert visitor.page.get_by_test_id(box).count() == 0
