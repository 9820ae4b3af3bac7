"""The HTTP API under load: `python benchmarks/api_load.py --json`.

50 clients ask the server of a toy library, each once a second with another query, first while nothing else happens and
then while the server runs an index job. Prints the times of both, and errors. Exit code 1: an answer was wrong or
missing, or p95 beside the job is more than --max-ratio times the idle p50.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from vlrlt.toy.make import make_toy_kitchen

VERBS = ("open", "close", "cut", "pour", "stir", "turn on", "turn off", "wash")
NOUNS = ("fridge", "tap", "tomato", "milk", "pot", "cup", "egg", "knife")
START_S = 120.0


@dataclass
class Times:
    """Of the answers to one round of requests."""

    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Percentiles in milliseconds."""
        p50_ms, p95_ms, p99_ms = 1000 * np.percentile(self.latencies_s or [np.nan], [50, 95, 99])
        return {
            "requests": len(self.latencies_s) + len(self.errors),
            "errors": len(self.errors),
            "p50_ms": round(float(p50_ms), 1),
            "p95_ms": round(float(p95_ms), 1),
            "p99_ms": round(float(p99_ms), 1),
        }


async def ask_for(client: httpx.AsyncClient, times: Times, *, seconds: float, pause_s: float, seed: int) -> None:
    """One client: a query, a pause, and again."""
    chance = random.Random(seed)  # noqa: S311
    await asyncio.sleep(chance.random() * pause_s)
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        body = {"text": [f"{chance.choice(VERBS)} {chance.choice(NOUNS)}"], "tail": True, "k": 5}
        started_s = time.perf_counter()
        try:
            response = await client.post("/v1/search", json=body)
            if response.status_code != 200 or not response.json()["hits"]:
                times.errors.append(f"{response.status_code}: {response.text[:200]}")
            else:
                times.latencies_s.append(time.perf_counter() - started_s)
        except httpx.HTTPError as error:
            times.errors.append(repr(error))
        await asyncio.sleep(pause_s)


async def round_of(url: str, *, clients: int, seconds: float, pause_s: float) -> Times:
    """All clients at once, for some seconds."""
    times = Times()
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        await asyncio.gather(
            *(ask_for(client, times, seconds=seconds, pause_s=pause_s, seed=seed) for seed in range(clients))
        )
    return times


async def measure(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Idle, beside a job, and one client alone."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await round_of(url, clients=5, seconds=2, pause_s=0.1)  # warm
        alone = await round_of(url, clients=1, seconds=5, pause_s=0.05)
        idle = await round_of(url, clients=options.clients, seconds=options.seconds, pause_s=options.pause_s)
        job = (await client.post("/v1/jobs/index", json={"root": "videos"})).json()
        busy = await round_of(url, clients=options.clients, seconds=options.seconds, pause_s=options.pause_s)
        state = (await client.get(f"/v1/jobs/{job['id']}")).json()["state"]
        await client.post(f"/v1/jobs/{job['id']}/cancel")
    ratio = float(np.percentile(busy.latencies_s, 95) / np.percentile(idle.latencies_s, 50))
    return {
        "clients": options.clients,
        "pause_s": options.pause_s,
        "alone": alone.as_json(),
        "idle": idle.as_json(),
        "beside_job": busy.as_json(),
        "job_ran_all_the_time": state == "running",
        "p95_beside_job_over_idle_p50": round(ratio, 2),
        "errors": (alone.errors + idle.errors + busy.errors)[:5],
    }


@contextmanager
def served(library_dir: Path, *arguments: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server of a library, ready: its address and its process."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "vlrlt", "serve", "--library", str(library_dir), "--port", str(port), *arguments]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})  # noqa: S603
    try:
        wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(timeout=60)


def main() -> None:
    """Serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pause-s", type=float, default=1.0, help="between an answer and the client's next query")
    parser.add_argument("--videos", type=int, default=30, help="that the job indexes")
    parser.add_argument("--max-ratio", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vlrlt-load-") as name:
        folder = Path(name)
        make_toy_kitchen(folder / "toy", num_videos=options.videos, seed=3)
        videos = sorted((folder / "toy").rglob("*.MP4")) or sorted((folder / "toy").rglob("*.mp4"))
        first = folder / "first"
        first.mkdir()
        (first / videos[0].name).symlink_to(videos[0])
        vlrlt = [sys.executable, "-m", "vlrlt"]
        library = ["--library", str(folder / "library")]
        subprocess.run([*vlrlt, "index", str(first), *library, "--json"], check=True, capture_output=True)  # noqa: S603
        with served(folder / "library", "--root", f"videos={folder / 'toy'}") as (url, _server):
            report = asyncio.run(measure(url, options))
    print(json.dumps(report) if options.json else json.dumps(report, indent=2))
    failed = report["errors"] or report["p95_beside_job_over_idle_p50"] > options.max_ratio
    sys.exit(1 if failed else 0)


def wait_for(url: str) -> None:
    """Until the server is ready."""
    until_s = time.perf_counter() + START_S
    while True:
        try:
            httpx.get(f"{url}/readyz", timeout=10).raise_for_status()
        except httpx.HTTPError:
            if time.perf_counter() > until_s:
                raise
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    main()
