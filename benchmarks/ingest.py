"""What indexing costs beside the plain recipe, and what it finds: one run, the same machine, weights and queries.

    python benchmarks/ingest.py --videos DIR [--weights DIR] [--half 0|1|all] [--out DIR] [--minutes 60] [--json]

The folder --videos holds manifest.tsv (columns file, kind, use, caption, dup_group, duration_s). Its captioned videos
are looped, packet by packet, without encoding them again, until they last at least --minutes together: once all
("mixed", fixed and moving cameras), once those of fixed cameras ("fixed", see FIXED_KINDS). A hash of the scene's name
puts a video into half 0, on which it was chosen how close looks lie, or half 1. All use the ViT of bridge.py:

    plain          decord decodes every frame, one a second goes through timm's ViT, vectors into a FAISS flat index
    default        `vlrlt index` as it comes, mixed videos: looks that follow motion, run-length tokens, frame runs
    default_fixed  the same on videos of fixed cameras
    dense, dense_fixed   the same looks without run lengths: all tokens, each look with its own vector
    mixed, fixed   clips at equal distances, key frames where one lies near enough
    still_day      one picture of a fixed camera for 24 hours, as it comes: what vlrlt needs, and how much it keeps

speedup is a ratio of wall seconds, for an otherwise idle machine; cpu_speedup, of CPU seconds with those of child
processes, holds on a busy one too: all ways take turns, a quarter of the files at a time. recall is the mean of R@1,
R@5 and R@10 of the captions. vlrlt's is that of Library.search, video by video; a video of the plain recipe scores as
its best vector. recall_delta is vlrlt minus plain in points, with the 95 % interval of a bootstrap over captions.
plain_peak_rss_mb is that of plain's own process, since decord keeps what it has decoded; peak_rss_mb, of the other.
"""

import argparse
import csv
import hashlib
import json
import math
import multiprocessing
import os
import resource
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import torch
from bridge import PREPROCESS, BridgeEmbedder
from quality.curves import interval

from vlrlt.embed import find_precision
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths, settings_of
from vlrlt.index.search.request import SearchRequest
from vlrlt.metrics import first_relevant_ranks
from vlrlt.progress import index_progress
from vlrlt.service import Library
from vlrlt.tokens.run_length import DENSE, TokenPolicy
from vlrlt.types import Float32Array, Float64Array
from vlrlt.video.decode import open_decoder
from vlrlt.video.sampling import ClipSampling, MotionSampling, Sampling

FIXED_KINDS = ("surveillance", "kitchen", "gesture", "object")
MOTION, RUN_LENGTHS = MotionSampling(), TokenPolicy()


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to index one archive."""

    archive: Literal["mixed", "fixed", "still_day"]
    sampling: Sampling = MOTION
    policy: TokenPolicy = RUN_LENGTHS
    max_shift_s: float = 0.0
    joined: bool = True
    """Whether outputs that agree become one vector."""


ARMS = {
    "default": Arm(archive="mixed"),
    "default_fixed": Arm(archive="fixed"),
    "dense": Arm(archive="mixed", policy=DENSE, joined=False),
    "dense_fixed": Arm(archive="fixed", policy=DENSE, joined=False),
    "mixed": Arm(archive="mixed", sampling=ClipSampling(clip_s=16.0, stride_s=16.0, num_frames=4), max_shift_s=5.0),
    "fixed": Arm(archive="fixed", sampling=ClipSampling(clip_s=30.0, stride_s=30.0, num_frames=2), max_shift_s=7.5),
    "still_day": Arm(archive="still_day"),
}
"""Most encoders put a key frame every 250 frames at the latest: max_shift_s of 5 s is half of that."""
_BATCH_FRAMES = 64
_NUM_TURNS = 4
_NEVER_AGREE = 2.0
"""No cosine reaches it."""


@dataclass(frozen=True, kw_only=True)
class Looped:
    """A file of the benchmark's archive."""

    path: Path
    caption: str
    scene: str


@dataclass(kw_only=True)
class Cost:
    """What one way has taken for an archive so far."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    video_s: float = 0.0
    peak_rss_mb: float = 0.0
    num_vectors: int = 0


def read_manifest(videos_dir: Path) -> list[dict[str, str]]:
    """Captioned videos that last for at least two seconds."""
    with (videos_dir / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [row for row in rows if row["use"] == "yes" and row["caption"] and float(row["duration_s"]) >= 2]


def loop(source: Path, target: Path, *, times: int) -> bool:
    """Write a file's packets so many times one after the other; False where that cannot be done."""
    import decord

    try:
        with av.open(str(target), "w") as output:
            shift_s, out = 0.0, None
            for _ in range(times):
                with av.open(str(source)) as container:
                    stream = container.streams.video[0]
                    out = out or output.add_stream_from_template(stream)
                    end_s = 0.0
                    for packet in container.demux(stream):
                        if packet.dts is None or packet.pts is None:
                            continue
                        tick_s = float(packet.time_base)
                        end_s = max(end_s, (packet.pts + (packet.duration or 0)) * tick_s)
                        shift_ticks = round(shift_s / tick_s)
                        packet.pts, packet.dts = packet.pts + shift_ticks, packet.dts + shift_ticks
                        packet.stream = out
                        output.mux(packet)
                    shift_s += end_s
        with open_decoder(target) as decoder:  # some streams survive no second header
            next(decoder.frames_at([0.0]))
        return len(decord.VideoReader(str(target))) > 1
    except Exception as error:  # whatever the archive's files provoke: the benchmark goes on without this one
        print(f"  left out {source.name}: {error}")
        target.unlink(missing_ok=True)
        return False


def make_archive(rows: Sequence[dict[str, str]], videos_dir: Path, out: Path, *, minutes: float) -> list[Looped]:
    """All files equally often, --minutes together."""
    out.mkdir(parents=True, exist_ok=True)
    times = math.ceil(minutes * 60 / sum(float(row["duration_s"]) for row in rows))
    files = []
    for number, row in enumerate(rows):
        path = out / f"{number:03d}.mkv"
        if path.exists() or loop(videos_dir / row["file"], path, times=times):
            files.append(Looped(path=path, caption=row["caption"], scene=row["dup_group"] or row["file"]))
    return files


def half_of(scene: str) -> int:
    """0 or 1, the same on every machine."""
    return hashlib.sha256(scene.encode()).digest()[0] % 2


def recalls(best_QV: Float64Array, files: Sequence[Looped]) -> Float64Array:
    """Mean of R@1, R@5 and R@10, (Q,)."""
    relevant_QV = np.array([[query.scene == file.scene for file in files] for query in files])
    ranks_Q = first_relevant_ranks(best_QV, relevant_QV)
    return np.asarray(np.mean([ranks_Q <= k for k in (1, 5, 10)], axis=0), np.float64)


def plain_file(path: Path, weights_dir: Path) -> tuple[Cost, Float32Array]:
    """The plain recipe on one file: what it took, and its vectors."""
    import faiss

    embedder = plain_embedder(weights_dir)
    started_s, cpu_started_s = time.perf_counter(), time.process_time()
    vectors_ND = plain_vectors(path, embedder)
    faiss.IndexFlatIP(embedder.embed_dim).add(vectors_ND)
    wall_s, took_s = time.perf_counter() - started_s, time.process_time() - cpu_started_s
    return Cost(wall_s=wall_s, cpu_s=took_s, peak_rss_mb=peak_rss_mb(), num_vectors=len(vectors_ND)), vectors_ND


@cache
def plain_embedder(weights_dir: Path) -> BridgeEmbedder:
    """Loaded once, and warm."""
    embedder = BridgeEmbedder(weights_dir)
    embedder.embed_by_timm(np.zeros((1, 224, 224, 3), np.uint8))
    return embedder


def peak_rss_mb() -> float:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plain_vectors(path: Path, embedder: BridgeEmbedder) -> Float32Array:
    """(N, D), one vector for each second."""
    import decord

    reader = decord.VideoReader(str(path))
    next_s, squares, parts = 0.0, [], []
    for number in range(len(reader)):
        frame = reader[number]
        if reader.get_frame_timestamp(number)[0] >= next_s:
            next_s += 1.0
            squares.append(PREPROCESS(frame.asnumpy()))
        if squares and (len(squares) == _BATCH_FRAMES or number + 1 == len(reader)):
            parts.append(embedder.embed_by_timm(np.stack(squares)))
            squares = []
    return np.concatenate(parts)


def cpu_s() -> float:
    """CPU seconds of this process and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Indexed:
    """One arm's library, which grows."""

    def __init__(self, arm: Arm, weights_dir: Path, library_dir: Path) -> None:
        precision = find_precision("auto", torch.device("cpu"))
        self.embedder = BridgeEmbedder(weights_dir, policy=arm.policy, sampling=arm.sampling, precision=precision)
        self.library_dir = library_dir
        self.cost = Cost()
        self._max_shift_s = arm.max_shift_s
        if not arm.joined:
            library_dir.mkdir(parents=True)
            with Ledger.open(library_dir) as ledger:
                ledger.bind(settings_of(self.embedder), agreement=lambda: _NEVER_AGREE)

    def add(self, paths: Sequence[Path]) -> None:
        """Index some files."""
        before_s = cpu_s()
        with index_progress() as show:
            report = index_paths(
                paths,
                library_dir=self.library_dir,
                embedder=self.embedder,
                max_shift_s=self._max_shift_s,
                on_progress=show,
            )
        print(report.as_text())
        if report.failed:
            raise SystemExit(f"{report.failed} of {len(paths)} files were not indexed")
        self.cost.cpu_s += cpu_s() - before_s
        self.cost.wall_s += report.wall_s
        self.cost.video_s += report.video_s
        self.cost.num_vectors += report.vectors


def best_of(texts_QD: Float32Array, vectors: Sequence[Float32Array]) -> Float64Array:
    """(Q, V): every video scores as its best vector."""
    return np.stack([(texts_QD @ vectors_ND.T).max(1) for vectors_ND in vectors], axis=1).astype(np.float64)


def search_all(library_dir: Path, files: Sequence[Looped], embedder: BridgeEmbedder) -> Float64Array:
    """(Q, V): minus the rank of each video in the product's answer to each caption."""
    places = {str(file.path.resolve()): place for place, file in enumerate(files)}
    best_QV = np.full((len(files), len(files)), -1.0 - len(files))
    with Library(library_dir, model=embedder) as library:
        for query, file in enumerate(files):
            words = SearchRequest(text=(file.caption,), k=len(files), per_video=1, tail=True, duplicates=True)
            for moment in library.search(words):
                best_QV[query, places[moment.video]] = -moment.rank
    return best_QV


def compare(
    libraries: dict[str, Indexed], files: Sequence[Looped], weights_dir: Path, plain: Executor
) -> dict[str, dict[str, Any]]:
    """All ways over one archive: they take turns, so that what else the machine does meets all of them."""
    plain_cost, plain_found = Cost(), {}
    for turn in range(_NUM_TURNS):
        paths = [file.path for file in files[turn::_NUM_TURNS]]
        for path in paths:
            cost, plain_found[path] = plain.submit(plain_file, path, weights_dir).result()
            plain_cost.wall_s += cost.wall_s
            plain_cost.cpu_s += cost.cpu_s
            plain_cost.num_vectors += cost.num_vectors
            plain_cost.peak_rss_mb = max(plain_cost.peak_rss_mb, cost.peak_rss_mb)
        for library in libraries.values():
            library.add(paths)
    embedder = next(iter(libraries.values())).embedder
    texts_QD = embedder.embed_texts([file.caption for file in files])
    plain_Q = recalls(best_of(texts_QD, [plain_found[file.path] for file in files]), files)
    return {name: figures_of(library, files, plain_cost, plain_Q) for name, library in libraries.items()}


def figures_of(library: Indexed, files: Sequence[Looped], plain: Cost, plain_Q: Float64Array) -> dict[str, Any]:
    """One arm beside the plain recipe."""
    vlrlt_Q = recalls(search_all(library.library_dir, files, library.embedder), files)
    hours = library.cost.video_s / 3600
    return {
        "speedup": plain.wall_s / library.cost.wall_s,
        "cpu_speedup": plain.cpu_s / library.cost.cpu_s,
        "recall_delta": 100 * float((vlrlt_Q - plain_Q).mean()),
        "recall_delta_95": interval(100 * (vlrlt_Q - plain_Q), np.random.default_rng(0)),
        "plain_s": plain.wall_s,
        "plain_cpu_s": plain.cpu_s,
        "plain_peak_rss_mb": plain.peak_rss_mb,
        "vlrlt_s": library.cost.wall_s,
        "vlrlt_cpu_s": library.cost.cpu_s,
        "video_s": library.cost.video_s,
        "plain_recall": float(plain_Q.mean()),
        "vlrlt_recall": float(vlrlt_Q.mean()),
        "plain_vectors_per_hour": plain.num_vectors / hours,
        "vlrlt_vectors_per_hour": library.cost.num_vectors / hours,
        "precision": library.embedder.precision,
        "files": len(files),
    }


def make_still_day(videos_dir: Path, row: dict[str, str], path: Path) -> Path:
    """The first picture of a video, 10 times a second for 24 hours, a key frame every 10 s."""
    minute = path.with_name("minute.mkv")
    with open_decoder(videos_dir / row["file"]) as decoder, av.open(str(minute), "w") as output:
        rgb_HWC = next(decoder.frames_at([0.0])).rgb_HWC
        stream = output.add_stream("libx264", rate=10, options={"g": "100", "preset": "veryfast"})
        stream.height, stream.width = (side_px // 2 * 2 for side_px in rgb_HWC.shape[:2])
        for _ in range(600):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(rgb_HWC)))
        output.mux(stream.encode(None))
    if not loop(minute, path, times=24 * 60):
        raise SystemExit(f"{path} cannot be written")
    return path


def index_still_day(path: Path, weights_dir: Path, library_dir: Path) -> dict[str, float]:
    """What a day of a camera that sees nothing happen costs."""
    library = Indexed(ARMS["still_day"], weights_dir, library_dir)
    library.add([path])
    stored = sum(part.stat().st_size for part in library_dir.rglob("*") if part.is_file())
    return {
        "hours": library.cost.video_s / 3600,
        "wall_s": library.cost.wall_s,
        "cpu_s": library.cost.cpu_s,
        "vectors": library.cost.num_vectors,
        "library_kb": stored / 1024,
    }


def main() -> None:
    """Run all arms."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder with manifest.tsv")
    parser.add_argument("--weights", type=Path, help="folder with the bridge's weights; --videos/../weights without")
    parser.add_argument("--half", choices=("0", "1", "all"), default="1", help="scenes that take part")
    parser.add_argument("--out", type=Path, default=Path("build/ingest"), help="gets archives and libraries")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of each archive")
    parser.add_argument("--only", nargs="+", choices=tuple(ARMS), default=tuple(ARMS), help="arms")
    parser.add_argument("--json", action="store_true", help="print all figures as one last line of JSON")
    args = parser.parse_args()
    weights_dir = args.weights or args.videos.parent / "weights"
    torch.manual_seed(0)
    rows = read_manifest(args.videos)
    rows = [row for row in rows if args.half in ("all", str(half_of(row["dup_group"] or row["file"])))]
    chosen = {"mixed": rows, "fixed": [row for row in rows if row["kind"] in FIXED_KINDS]}
    figures: dict[str, Any] = {"half": args.half}
    libraries_dir = args.out / f"libraries-{time.time_ns()}"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as plain:
        for archive, of_archive in chosen.items():
            names = [name for name in args.only if ARMS[name].archive == archive]
            if names:
                folder = args.out / f"{archive}-{args.half}-{args.minutes:g}"
                files = make_archive(of_archive, args.videos, folder, minutes=args.minutes)
                libraries = {name: Indexed(ARMS[name], weights_dir, libraries_dir / name) for name in names}
                figures |= compare(libraries, files, weights_dir, plain)
    if "still_day" in args.only:
        day = args.out / "still-day.mkv"
        if not day.exists():
            make_still_day(args.videos, next(row for row in rows if row["kind"] == "surveillance"), day)
        figures["still_day"] = index_still_day(day, weights_dir, libraries_dir / "still_day")
    for name, of_name in figures.items():
        print(name, json.dumps(of_name))
    figures["peak_rss_mb"] = peak_rss_mb()
    if args.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
