"""The search page in a real browser: a query typed, moments shown, one played, nothing asked of any other machine.

Leaves its pictures in build/screenshots.
"""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from towers import tiny_dual

from vlrlt.embed import load_embedder
from vlrlt.index.build import index_paths
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.toy.make import make_toy_kitchen

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'vlrlt[dev]'")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
PATIENCE_S = 120

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]


@pytest.fixture
def address(tmp_path: Path, library_dir: Path) -> Iterator[str]:
    """Of a running page."""
    save_checkpoint(tiny_dual(), tmp_path / "model")
    make_toy_kitchen(tmp_path / "toy", num_videos=1, seed=3, num_workers=1)
    index_paths([tmp_path / "toy"], library_dir=library_dir, embedder=load_embedder(str(tmp_path / "model")))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path / "log.txt"
    (tmp_path / "html.py").write_text("raise RuntimeError('a module of the working directory was imported')")
    command = [sys.executable, "-P", "-m", "vlrlt", "ui", "--library", "library", "--port", str(port)]
    with (
        log.open("w") as output,
        subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output) as page,
    ):
        try:
            wait_for_health(f"http://127.0.0.1:{port}", page)
            yield f"http://127.0.0.1:{port}"
        finally:
            page.terminate()
            assert page.wait(30) == 0, "SIGTERM must end the page and its Streamlit child in good order"
    said = log.read_text()
    assert not [line for line in said.splitlines() if "warn" in line.lower() or "deprecat" in line.lower()], said


def wait_for_health(address: str, page: "subprocess.Popen[bytes]") -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        assert page.poll() is None, "the page has ended"
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
                assert answer.read() == b"ok"
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"{address} does not answer")


def test_words_typed_into_the_page_become_moments_that_play(address: str, library_dir: Path) -> None:
    complaints: list[str] = []
    strangers: list[str] = []
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(1000 * PATIENCE_S)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: strangers.append(request.url) if is_stranger(request.url) else None)
        page.goto(f"{address}/?tail=1", timeout=1000 * PATIENCE_S)

        page.get_by_placeholder("Describe it like a caption").fill("open fridge")
        page.keyboard.press("Enter")  # the archive is one video, of which five moments are shown
        page.wait_for_function(
            """() => { const shown = [...document.querySelectorAll(".st-key-results img")];
                       return shown.length === 2 * 5 && shown.every(p => p.complete && p.naturalWidth === 480); }"""
        )
        assert "q=open+fridge" in page.url or "q=open%20fridge" in page.url
        page.screenshot(path=SCREENSHOTS / "search.png")

        page.get_by_role("button", name="Play").first.click()
        page.wait_for_function("(document.querySelector('video') || {}).readyState >= 2")
        page.wait_for_function("document.querySelector('video').currentTime > 0")
        video = page.locator("video").evaluate(
            "v => ({duration: v.duration, width: v.videoWidth, source: v.currentSrc})"
        )
        assert 0 < video["duration"] < 40
        assert video["width"] > 0
        films = [film.read_bytes() for film in (library_dir / "cache").glob("*.mp4")]
        assert [page.request.get(video["source"]).body()] == films, "the preview, never the archive's file"
        page.screenshot(path=SCREENSHOTS / "player.png")
        browser.close()
    assert complaints == []
    assert strangers == []


def is_stranger(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))
