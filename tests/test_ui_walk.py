"""A walk through every page of the application in Chromium: desktop and phone, light and dark, mouse and keyboard.

Its pictures lie in build/screenshots; look at them. Complaints of the browser, of Streamlit or of Python fail it.
"""

import csv
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, DESKTOP, PATIENCE_S, PHONE, Visitor, no_warnings, running_ui
from chat_server import DONE, ChatServer, chat_server, chunk

from vlrlt.embed import load_embedder
from vlrlt.index.library.annotations import ImportReport
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths
from vlrlt.toy.make import make_toy_kitchen
from vlrlt.ui.runs import COST

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'vlrlt[dev]'")
pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

NUM_VIDEOS = 3
LOGS = Path(__file__).parents[1] / "docs" / "logs"


@pytest.fixture(scope="module")
def model() -> Iterator[ChatServer]:
    """A vision-language model that the application knows of."""
    with chat_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLRLT_VLM_URL", f"http://127.0.0.1:{server.server_port}/v1")
        patch.setenv("VLRLT_VLM_MODEL", "looker")
        yield server


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, model: ChatServer) -> Iterator[str]:
    """Of the application on a toy library with narrations, a broken file, and videos that are still to be indexed."""
    folder = tmp_path_factory.mktemp("ui")
    make_toy_kitchen(folder / "toy", num_videos=NUM_VIDEOS + 1, seed=2026, num_workers=1)
    videos = sorted((folder / "toy" / "videos").glob("*.mp4"))
    (folder / "later").mkdir()
    shutil.move(videos[-1], folder / "later")
    (folder / "toy" / "videos" / "broken *x*.mp4").write_bytes(b"no video")
    index_paths([folder / "toy" / "videos"], library_dir=folder / "library", embedder=load_embedder("default"))
    assert narrate(folder).texts > 0
    leave_runs(folder / "runs")
    options = ("--root", f"later={folder / 'later'}", "--runs", str(folder / "runs"))
    with running_ui(folder / "library", folder / "log.txt", *options, cwd=folder) as found:
        yield found


def narrate(folder: Path) -> ImportReport:
    """The annotations of both splits as one sidecar file."""
    tables = [folder / "toy" / "annotations" / f"EPIC_100_retrieval_{split}.csv" for split in ("train", "test")]
    rows = [row for table in tables for row in csv.DictReader(table.read_text().splitlines())]
    with (folder / "narrations.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with Ledger.open(folder / "library") as ledger:
        return ledger.annotations.import_files([folder / "narrations.csv"])


def leave_runs(runs_dir: Path) -> None:
    runs_dir.mkdir()
    for name, value in (("rlt", 0.9), ("dense", 0.8)):
        (runs_dir / f"{name}.json").write_text(json.dumps({"benchmark": "epic-mir", "mAP": value, "nDCG": value / 2}))
        shutil.copy(LOGS / "toy-stage1.csv", runs_dir / f"{name}.csv")
    rows = [{"task": "text", "arm": f"arm {n}", COST: 2.0**n, "quality": 0.1 * n} for n in range(1, 6)]
    (runs_dir / "quality_cost.json").write_text(json.dumps(rows))


@pytest.fixture(params=["desktop", "desktop-dark", "phone", "phone-dark"])
def visitor(request: pytest.FixtureRequest) -> Iterator[tuple[Visitor, str]]:
    """A browser, and what its pictures are called."""
    size = PHONE if request.param.startswith("phone") else DESKTOP
    with playwright.sync_playwright() as driver:
        browser = Visitor(driver, size=size, colours="dark" if request.param.endswith("dark") else "light")
        yield browser, request.param
        browser.leave()


def test_every_page(address: str, visitor: tuple[Visitor, str]) -> None:
    browser, name = visitor
    browser.open(address)
    browser.inspect(f"{name}-start")
    page = browser.page
    page.get_by_placeholder("Describe it like a caption").fill("open fridge")
    browser.press("Enter")
    page.wait_for_function("document.querySelectorAll('.st-key-results img').length >= 2")
    browser.settle()
    browser.inspect(f"{name}-search")
    page.get_by_role("button", name="Filters").click()
    browser.settle()
    browser.inspect(f"{name}-filters")
    browser.press("Escape")
    page.get_by_placeholder("Describe it like a caption").fill("a flying elephant")
    browser.press("Enter")
    page.get_by_text("No confident match").wait_for()
    browser.settle()
    browser.inspect(f"{name}-no-match")
    for title in ("Ask", "Library", "Look inside", "Compare"):
        browser.go_to(title)
        if title == "Ask":
            page.get_by_placeholder("Ask about the videos").fill("How many times did I open the fridge?")
            browser.press("Enter")
            page.get_by_text("Searched").wait_for()
        if title in ("Library", "Look inside", "Compare"):
            page.wait_for_function("document.querySelectorAll('[data-testid=stVegaLiteChart] svg').length > 0")
        browser.settle()
        no_warnings(browser)
        browser.inspect(f"{name}-{title.lower().replace(' ', '-')}")
    browser.go_to("Look inside")
    page.get_by_role("tab", name="A map of the clips").click()
    points = page.locator(".st-key-map path[aria-roledescription=circle]")
    points.first.wait_for()
    browser.settle()
    if name.startswith("desktop"):  # a finger does not point without touching
        points.nth(10).hover(force=True)
        page.wait_for_function("document.querySelector('.st-key-thumbnail-pointed img')?.naturalWidth > 0")
    browser.inspect(f"{name}-map")


def test_play_by_keyboard_and_by_link(address: str, visitor: tuple[Visitor, str]) -> None:
    browser, name = visitor
    if name not in ("desktop", "phone"):
        pytest.skip("one in each size")
    browser.open(address)
    page = browser.page
    browser.tab_to("input[placeholder^=Describe]")
    page.keyboard.type("open fridge")
    browser.press("Enter")
    page.get_by_role("button", name="Play").first.wait_for()
    browser.tab_to("[class*=st-key-play-] button")
    browser.press("Enter")
    page.wait_for_function("document.querySelector('video')?.currentTime > 0")
    browser.settle()
    browser.inspect(f"{name}-player")
    assert "play=" in page.url
    first = page.url
    browser.press("ArrowRight")
    page.wait_for_function("first => location.href !== first", arg=first)
    browser.open(first)
    page.wait_for_function("document.querySelector('video')?.readyState >= 2")
    page.wait_for_function("first => location.href === first", arg=first)
    browser.press("Escape")
    page.wait_for_function("!document.querySelector('video') && !location.href.includes('play=')")
    no_warnings(browser)


def test_what_a_language_model_says_is_seen_while_it_comes(address: str, model: ChatServer) -> None:
    go_on = threading.Event()

    def reply(write: Callable[[bytes], object]) -> None:
        write(chunk("The *fridge* is "))
        go_on.wait(PATIENCE_S)
        write(chunk("opened [1]."))
        write(DONE)

    model.reply = reply
    with playwright.sync_playwright() as driver:
        browser = Visitor(driver, size=DESKTOP)
        page = browser.page
        browser.open(f"{address}/ask")
        page.get_by_text("Ask the language model").click()
        page.get_by_text(f"{model.server_port}").wait_for()
        page.get_by_placeholder("Ask about the videos").fill("Is the fridge opened?")
        page.keyboard.press("Enter")
        page.get_by_text("The *fridge* is", exact=True).wait_for()
        browser.picture("desktop-streaming")
        go_on.set()
        page.get_by_text("The *fridge* is opened [1].").first.wait_for()
        browser.settle()
        assert page.get_by_text("The *fridge* is opened [1].").count() == 1, "the reply as it came is gone"
        browser.picture("desktop-streamed")
        browser.leave()


def test_a_library_is_searched_while_it_is_indexed(address: str) -> None:
    with playwright.sync_playwright() as driver:
        browser = Visitor(driver, size=DESKTOP)
        page = browser.page
        browser.open(f"{address}/library")
        page.get_by_text("Add videos or continue").click()
        page.get_by_role("button", name="Index", exact=True).click()
        page.get_by_text(re.compile("Starting|Scanning|Indexing")).first.wait_for()
        browser.picture("desktop-indexing")
        searcher = Visitor(driver, size=DESKTOP)
        for words in ("open fridge", "cut tomato", "pour milk"):
            searcher.open(f"{address}/?q={words.replace(' ', '+')}&tail=1")
            searcher.page.wait_for_function("document.querySelectorAll('.st-key-results img').length >= 2")
            no_warnings(searcher)
        browser.open(f"{address}/library")
        page.wait_for_function(f"document.body.innerText.match(/Videos\\s+{NUM_VIDEOS + 1}\\b/)")
        browser.picture("desktop-indexed")
        searcher.leave()
        browser.leave()
