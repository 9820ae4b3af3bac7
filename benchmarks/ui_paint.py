"""How soon a visitor of `vlrlt ui` sees something useful: `python benchmarks/ui_paint.py --json`.

A made library (the vectors of search_scale.py, one toy video under many names, narrations), the real server and a
headless Chromium (pip install playwright; apt-get install chromium). Useful is the start page with its box and
examples, and a search with its first picture. Times are seconds of the page's own clock since the navigation began; the
first visitor comes as soon as the server says that it is healthy, the others find it warm, each with an empty browser
cache. CPU seconds, of server and browser until then, tell on a busy machine what wall times do not.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from made_library import make_library
from playwright.sync_api import Browser, sync_playwright
from processes import cpu_s

from vlrlt.index.library.ledger import Ledger
from vlrlt.service import Library
from vlrlt.toy.make import make_toy_kitchen
from vlrlt.types import ClipSpan

CLIPS_PER_VIDEO, CLIP_S, STRIDE_S = 40, 2.0, 0.5
TEXTS = ("open fridge", "close fridge", "cut tomato", "pour milk", "turn on tap", "stir pot")
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
PATIENCE_S = 120
WATCH = """
(() => {
  const seen = window.seen = {};
  const note = (name, is) => { if (is && !(name in seen)) seen[name] = performance.now() / 1000; };
  const look = () => {
    note("start_s", document.querySelector("input[placeholder^=Describe]")
         && document.querySelector("[data-testid=stPills], [data-testid=stButtonGroup]"));
    const pictures = [...document.querySelectorAll(".st-key-results img")].filter(p => p.complete && p.naturalWidth);
    note("search_s", pictures.length);
  };
  new MutationObserver(look).observe(document, {childList: true, subtree: true, attributes: true});
  document.addEventListener("load", look, true);
})();
"""
"""Notes when something useful is there, in the page itself: asking from outside would come late."""


def make_archive(folder: Path, *, num_clips: int) -> None:
    """An archive of links to one toy video, and a library of clips with made vectors, half of them narrated."""
    make_toy_kitchen(folder / "toy", num_videos=1, seed=3, num_workers=1)
    (film,) = (folder / "toy" / "videos").glob("*.mp4")
    archive, library_dir = folder / "archive", folder / "library"
    archive.mkdir()
    spans = [ClipSpan(STRIDE_S * number, STRIDE_S * number + CLIP_S) for number in range(CLIPS_PER_VIDEO)]
    rows = ["video_id,start_timestamp,stop_timestamp,narration"]
    for number in range(num_clips // CLIPS_PER_VIDEO):
        (archive / f"v{number:05d}.mp4").symlink_to(film)
        texts = zip(spans[::2], (TEXTS * CLIPS_PER_VIDEO)[number % len(TEXTS) :], strict=False)
        rows += [f"v{number:05d},00:{span.start_s:05.2f},00:{span.end_s:05.2f},{text}" for span, text in texts]
    (folder / "narrations.csv").write_text("\n".join(rows) + "\n")
    make_library(library_dir, num_clips=num_clips, spans=spans, path_of=lambda number: archive / f"v{number:05d}.mp4")
    with Ledger.open(library_dir) as ledger:
        ledger.annotations.import_files([folder / "narrations.csv"])
    with Library(library_dir) as service:
        service.videos()  # builds the index, as a run of `vlrlt index` does at its end


@contextmanager
def serving(library_dir: Path) -> Iterator[tuple[str, int]]:
    """Address and process of a server that is healthy."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-P", "-m", "vlrlt", "ui", "--library", str(library_dir), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:  # noqa: S603
        try:
            until_s = time.monotonic() + PATIENCE_S
            while time.monotonic() < until_s and server.poll() is None:
                with suppress(OSError):
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()  # noqa: S310
                    break
                time.sleep(0.05)
            yield address, server.pid
        finally:
            server.send_signal(signal.SIGTERM)


def visit(browser: Browser, address: str, moment: str, *, server: int) -> dict[str, float]:
    """One visitor who has never been there: when the moment came, and what server and browser worked until then."""

    def spent_s() -> tuple[float, float]:
        of_server, own = cpu_s(server), time.process_time()
        return of_server, cpu_s(os.getpid()) - of_server - own

    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.add_init_script(WATCH)
    before = spent_s()
    page.goto(address, timeout=1000 * PATIENCE_S, wait_until="commit")
    page.wait_for_function(f"window.seen.{moment} !== undefined", timeout=1000 * PATIENCE_S, polling=20)
    server_s, browser_s = (after - earlier for after, earlier in zip(spent_s(), before, strict=True))
    found = {moment: page.evaluate(f"window.seen.{moment}"), "server_cpu_s": server_s, "browser_cpu_s": browser_s}
    context.close()
    return {name: round(value, 2) for name, value in found.items()}


def measure(library_dir: Path, *, visits: int) -> dict[str, Any]:
    """The first visitor's start page and search, then the median of others."""
    shutil.rmtree(library_dir / "cache", ignore_errors=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    pages = {"start_s": "", "search_s": "/?q=open+fridge&tail=1"}
    with sync_playwright() as driver, driver.chromium.launch(executable_path=chromium, args=list(OPTIONS)) as browser:
        started_s = time.perf_counter()
        with serving(library_dir) as (address, server):
            healthy_s = time.perf_counter() - started_s
            first = {name: visit(browser, address + page, name, server=server) for name, page in pages.items()}
            others: dict[str, dict[str, float]] = {}
            for name, page in pages.items():
                all_visits = [visit(browser, address + page, name, server=server) for _ in range(visits)]
                others[name] = {key: statistics.median(one[key] for one in all_visits) for key in all_visits[0]}
    return {"healthy_s": round(healthy_s, 2), "first": first, "others": others}


def main() -> None:
    """Make a library unless there is one, serve it, visit it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="how many clips")
    parser.add_argument("--visits", type=int, default=5, help="of the warm server, of each page")
    parser.add_argument("--out", type=Path, help="keeps the library; the next run only opens it")
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.out or Path(temporary)) / f"ui-{args.n}"
        if not folder.exists():
            folder.mkdir(parents=True)
            make_archive(folder, num_clips=args.n)
        report = {"n": args.n} | measure(folder / "library", visits=args.visits)
    print(json.dumps(report, indent=None if args.json else 2))


if __name__ == "__main__":
    main()
