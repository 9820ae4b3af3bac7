"""Search at scale: recall, latency, memory and build time of the library's own vector store.

    python benchmarks/search_scale.py --n 1000000 --json

The vectors are made, in chunks: a power-law spectrum (participation ratio about 96 of 512 dimensions), topics, videos
and shots nested in each other, one cone that all clips share. Text-like queries lie in another cone (the modality gap)
at a cosine of about 0.3 to the clip that they describe; clip queries are other cuts of a stored shot. Neither kind is
what the store tunes itself on. True neighbours come from comparing with every vector. Latency is wall time of one
search for 10 hits; CPU time is what it costs on a busy machine. Memory is what this
process has gained since before the library was opened, mapped pages of the index included.
Shape legend: N clips, Q queries, D embedding.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from processes import resident_bytes

from vlrlt.index.library.catalog import FrameRunTable, LibrarySettings, Segment, Snapshot
from vlrlt.index.library.segments import write_segment
from vlrlt.index.vectors import selfcheck
from vlrlt.index.vectors.faiss_store import FaissStore
from vlrlt.index.vectors.stored import StoredVectors
from vlrlt.types import Float32Array
from vlrlt.video.sampling import ClipSampling

FINGERPRINT = "5ca1e" + "0" * 27
CHUNK_CLIPS = 20_000
CLIPS_PER_SHOT, SHOTS_PER_VIDEO, TOPICS = 5, 80, 400


class World:
    """A made-up archive. Every chunk can be made again from its number."""

    def __init__(self, embed_dim: int, *, seed: int) -> None:
        self.embed_dim, self.seed = embed_dim, seed
        rng = np.random.default_rng(seed)
        spectrum_D = (1 + np.arange(embed_dim)) ** -0.375
        self._spectrum_D = (spectrum_D / np.linalg.norm(spectrum_D)).astype(np.float32)
        self._topics = self._draw(rng, TOPICS)
        self._clip_cone_D, self._text_cone_D = unit(self._draw(rng, 2))

    def chunk(self, number: int) -> Float32Array:
        """Vectors of CHUNK_CLIPS clips, (CHUNK_CLIPS, D)."""
        rng = np.random.default_rng((self.seed, number))
        shots = CHUNK_CLIPS // CLIPS_PER_SHOT
        videos = shots // SHOTS_PER_VIDEO
        video_VD = 0.6 * self._topics[rng.integers(TOPICS, size=videos)] + 0.5 * self._draw(rng, videos)
        shot_SD = np.repeat(video_VD, SHOTS_PER_VIDEO, axis=0) + 0.5 * self._draw(rng, shots)
        clips_ND = np.repeat(shot_SD, CLIPS_PER_SHOT, axis=0) + 0.35 * self._draw(rng, CHUNK_CLIPS)
        return unit(clips_ND + self._clip_cone_D)

    def queries(self, num: int, *, num_clips: int) -> dict[str, Float32Array]:
        """Both kinds, (num, D) each, about clips that are drawn evenly."""
        rng = np.random.default_rng((self.seed, 1, num))
        about = np.sort(rng.integers(num_clips, size=num))
        chunks = {number: self.chunk(number) for number in np.unique(about // CHUNK_CLIPS)}
        clips_QD = np.stack([chunks[clip // CHUNK_CLIPS][clip % CHUNK_CLIPS] for clip in about])
        content_QD = unit(clips_QD - clips_QD @ self._clip_cone_D[:, None] * self._clip_cone_D)
        text_QD = unit(0.7 * content_QD + 0.7 * self._draw(rng, num))
        return {
            "clip": unit(clips_QD + 0.35 * self._draw(rng, num)),
            "text": unit(self._text_cone_D + 0.6 * text_QD),
        }

    def _draw(self, rng: np.random.Generator, num: int) -> Float32Array:
        return rng.standard_normal((num, self.embed_dim), dtype=np.float32) * self._spectrum_D


def unit(vectors_QD: Float32Array) -> Float32Array:
    """Rows of length one."""
    return np.asarray(vectors_QD / np.linalg.norm(vectors_QD, axis=1, keepdims=True), np.float32)


def make_segments(library_dir: Path, world: World, num_clips: int) -> list[Segment]:
    """Segments on disk; those of an earlier run are used again."""
    listed = library_dir / "segments.json"
    segments = [Segment(**facts) for facts in json.loads(listed.read_text())] if listed.exists() else []
    for number in range(len(segments), -(-num_clips // CHUNK_CLIPS)):
        rows = min(CHUNK_CLIPS, num_clips - number * CHUNK_CLIPS)
        segments.append(write_segment(library_dir, world.chunk(number)[:rows], fingerprint=FINGERPRINT))
        listed.write_text(json.dumps([asdict(segment) for segment in segments]))
    return segments


def snapshot_of(world: World, num_clips: int, segments: list[Segment]) -> Snapshot:
    """What a catalog would say about them."""
    ids_N = np.random.default_rng(world.seed).permutation(num_clips).astype(np.int64)
    none_N = np.zeros(0)  # the store asks for ids only
    return Snapshot(
        settings=LibrarySettings(
            model="made up",
            fingerprint=FINGERPRINT,
            embed_dim=world.embed_dim,
            sampling=ClipSampling(clip_s=5, stride_s=5, num_frames=8),
            policy=None,
            precision="float32",
        ),
        generation="0" * 16,
        segments=tuple(segments),
        frame_runs=FrameRunTable(
            ids_N=ids_N,
            video_N=ids_N[:0],
            start_s_N=none_N,
            end_s_N=none_N,
            kept_share_N=none_N,
            videos=(),
            video_ids=(),
        ),
    )


def build_seconds(library_dir: Path, snapshot: Snapshot) -> float:
    """Train, fill, tune and write the index."""
    started_s = time.perf_counter()
    FaissStore(library_dir, snapshot)
    return time.perf_counter() - started_s


def measure(library_dir: Path, snapshot: Snapshot, queries: dict[str, Float32Array]) -> dict[str, Any]:
    """Open the built library as a server would, and ask."""
    before_bytes = resident_bytes([os.getpid()])
    started_s = time.perf_counter()
    store = FaissStore(library_dir, snapshot)
    open_s = time.perf_counter() - started_s
    stored = StoredVectors(library_dir, snapshot)
    answers = {name: list(timed_searches(store, queries_QD)) for name, queries_QD in queries.items()}
    ram_bytes = resident_bytes([os.getpid()]) - before_bytes
    truth = selfcheck.true_hits(stored, np.concatenate([*queries.values()]))
    found: dict[str, Any] = {
        "index": store.info.kind,
        "reason": store.info.reason,
        "self_check": store.info.recall_at_10,
        "open_s": open_s,
    }
    for (name, answered), truth_QK in zip(answers.items(), np.split(truth, len(queries)), strict=True):
        times_ms, cpu_ms = zip(*(answer[1:] for answer in answered), strict=True)
        hits = [
            np.isin(truth_K, positions_K).mean() for truth_K, (positions_K, *_) in zip(truth_QK, answered, strict=True)
        ]
        found[name] = {
            "recall_at_10": float(np.mean(hits)),
            "p50_ms": float(np.percentile(times_ms, 50)),
            "p95_ms": float(np.percentile(times_ms, 95)),
            "cpu_ms": float(np.mean(cpu_ms)),
        }
    found["ram_bytes_per_clip"] = ram_bytes / len(store)
    return found


def timed_searches(store: FaissStore, queries_QD: Float32Array) -> Iterator[tuple[Any, float, float]]:
    """Positions, wall and CPU milliseconds of each query; the first pass warms up."""
    for query_D in queries_QD:
        store.search(query_D, k=10)
    for query_D in queries_QD:
        started_s, cpu_started_s = time.perf_counter(), time.process_time()
        hits = store.search(query_D, k=10)
        took_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_started_s
        yield hits.positions_K, 1000 * took_s, 1000 * cpu_s


def main() -> None:
    """Build, then measure in a process that did not build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[100_000], help="how many clips; several in turn")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keeps the libraries (2 KB a clip); the next run only opens them")
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout")
    args = parser.parse_args()
    reports = [run(num_clips, args) for num_clips in args.n]
    if args.json:
        print(json.dumps(reports[0] if len(reports) == 1 else reports))
    else:
        for report in reports:
            print(json.dumps(report, indent=2))


def run(num_clips: int, args: argparse.Namespace) -> dict[str, Any]:
    """Everything about one size."""
    world = World(args.dim, seed=args.seed)
    with TemporaryDirectory() as temporary:
        library_dir = (args.out or Path(temporary)) / f"{num_clips}x{args.dim}-{args.seed}"
        snapshot = snapshot_of(world, num_clips, make_segments(library_dir, world, num_clips))
        print(f"{num_clips:,} vectors written, building", file=sys.stderr)
        build_s = None  # it was built before
        if not (library_dir / "faiss").exists():
            with multiprocessing.get_context("spawn").Pool(1) as child:  # what building needs must not stay in here
                build_s = child.apply(build_seconds, (library_dir, snapshot))
        report = measure(library_dir, snapshot, world.queries(args.queries, num_clips=num_clips))
        disk = sum(file.stat().st_size for file in (library_dir / "faiss").rglob("*") if file.is_file())
    return {"n": num_clips, "dim": args.dim, "build_s": build_s, "index_bytes_per_clip": disk / num_clips} | report


if __name__ == "__main__":
    main()
