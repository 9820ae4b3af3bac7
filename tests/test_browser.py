"""The application in a real browser: a query typed, moments shown, one played, nothing asked of any other machine.

Leaves its pictures in build/screenshots. Every page is walked through by test_ui_walk.py (make test-ui).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, DESKTOP, Visitor, running_ui
from towers import tiny_dual

from vlrlt.embed import load_embedder
from vlrlt.index.run.build import index_paths
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.toy.make import make_toy_kitchen

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'vlrlt[dev]'")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]


@pytest.fixture
def address(tmp_path: Path, library_dir: Path) -> Iterator[str]:
    """Of a running application."""
    save_checkpoint(tiny_dual(), tmp_path / "model")
    make_toy_kitchen(tmp_path / "toy", num_videos=1, seed=3, num_workers=1)
    index_paths([tmp_path / "toy"], library_dir=library_dir, embedder=load_embedder(str(tmp_path / "model")))
    (tmp_path / "html.py").write_text("raise RuntimeError('a module of the working directory was imported')")
    with running_ui(Path("library"), tmp_path / "log.txt", cwd=tmp_path) as found:
        yield found


def test_words_typed_into_the_page_become_moments_that_play(address: str, library_dir: Path) -> None:
    with playwright.sync_playwright() as driver:
        browser = Visitor(driver, size=DESKTOP)
        page = browser.page
        browser.open(f"{address}/?tail=1")
        page.get_by_placeholder("Describe it like a caption").fill("open fridge")
        browser.press("Enter")  # the archive is one video, of which five moments are shown
        page.wait_for_function(
            """() => { const shown = [...document.querySelectorAll(".st-key-results img")];
                       return shown.length === 2 * 5 && shown.every(p => p.complete && p.naturalWidth === 480); }"""
        )
        assert "q=open+fridge" in page.url or "q=open%20fridge" in page.url
        browser.picture("search")

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
        browser.picture("player")
        browser.leave()
