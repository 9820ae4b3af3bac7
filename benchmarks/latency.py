"""From words to JSON on a large library: in a warm process, over HTTP, and from a cold start.

    python benchmarks/latency.py --n 1000000 --out DIR --json

The library holds the made-up vectors of search_scale.py as clips of 2 seconds in videos of 33 minutes, with all rows
of a catalog, and belongs to the embedded model, which embeds the words of every query. Queries are the model's
captions, each asked once, 10 hits. `took` is wall time; `cpu` is what it costs on a busy machine. Targets: 30 ms p50
warm, 2.5 s for a cold search, 0.3 s for --help; memory and disk below 4 GB.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from api_load import served
from made_library import make_library
from processes import cpu_s

from vlrlt.embed import load_embedder
from vlrlt.embedder import DEFAULT_MODEL
from vlrlt.index.search.request import SearchRequest
from vlrlt.service import Library
from vlrlt.types import ClipSpan

SPANS = [ClipSpan(float(start), start + 2.0) for start in range(2000)]
"""Of the clips of every video."""
COLD_RUNS = 5


def percentiles(times_s: list[float]) -> dict[str, float]:
    """In milliseconds."""
    p50_ms, p95_ms = 1000 * np.percentile(times_s, [50, 95])
    return {"p50_ms": round(float(p50_ms), 2), "p95_ms": round(float(p95_ms), 2)}


def timed(ask: Callable[[str], object], queries: list[str]) -> dict[str, float]:
    """Wall time of each query."""
    times_s = []
    for query in queries:
        started_s = time.perf_counter()
        ask(query)
        times_s.append(time.perf_counter() - started_s)
    return percentiles(times_s)


def warm(library_dir: Path, queries: list[str]) -> dict[str, float]:
    """In one process: words to the JSON of a result."""
    with Library(library_dir, device="cpu") as service:

        def ask(query: str) -> str:
            return json.dumps(service.search(SearchRequest(text=(query,))).as_json())

        started_s = time.perf_counter()
        ask("warm up")
        opened_s = time.perf_counter() - started_s
        cpu_started_s = time.process_time()
        found = timed(ask, queries)
        cpu_ms = 1000 * (time.process_time() - cpu_started_s) / len(queries)
    peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found | {"cpu_ms": round(cpu_ms, 2), "open_s": round(opened_s, 2), "peak_bytes": peak_bytes}


def over_http(library_dir: Path, queries: list[str]) -> dict[str, float]:
    """One client that asks a server, one query after the other."""
    with served(library_dir) as (url, process), httpx.Client(base_url=url, timeout=60) as client:
        client.post("/v1/search", json={"text": "warm up"}).raise_for_status()
        cpu_started_s = cpu_s(process.pid)
        found = timed(lambda query: client.post("/v1/search", json={"text": query}).raise_for_status(), queries)
        return found | {"server_cpu_ms": round(1000 * (cpu_s(process.pid) - cpu_started_s) / len(queries), 2)}


def cold(*arguments: str) -> dict[str, float]:
    """A command in a process of its own: the best and the median run."""
    walls_s, cpus_s = [], []
    for _ in range(COLD_RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started_s = time.perf_counter()
        subprocess.run([sys.executable, "-m", "vlrlt", *arguments], check=True, capture_output=True)  # noqa: S603
        walls_s.append(time.perf_counter() - started_s)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {
        "best_s": round(min(walls_s), 3),
        "median_s": round(float(np.median(walls_s)), 3),
        "cpu_s": round(min(cpus_s), 3),
    }


def main() -> None:
    """Make the library, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000, help="clips, a multiple of 2000")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--out", type=Path, help="keeps the library (330 bytes a clip); the next run only opens it")
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout")
    options = parser.parse_args()
    captions = load_embedder(DEFAULT_MODEL, device="cpu").captions
    queries = [captions[at % len(captions)] for at in range(0, 7 * options.queries, 7)]
    with TemporaryDirectory() as temporary:
        library_dir = (options.out or Path(temporary)) / f"{options.n}"
        make_library(
            library_dir, num_clips=options.n, spans=SPANS, path_of=lambda number: Path(f"/made/up/{number:09d}.mp4")
        )
        report: dict[str, Any] = {"clips": options.n, "queries": len(queries)}
        report["warm"] = warm(library_dir, queries)
        report["http"] = over_http(library_dir, queries)
        report["cold_search"] = cold("search", "open fridge", "--library", str(library_dir), "--json")
        report["help"] = cold("--help")
        report["disk_bytes"] = sum(file.stat().st_size for file in library_dir.rglob("*") if file.is_file())
    print(json.dumps(report) if options.json else json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
