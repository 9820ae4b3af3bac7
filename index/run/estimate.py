"""Estimate the cost of a run from a sample, without writing anything."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.filesize import decimal as format_bytes

from vlrlt.errors import DecodeError
from vlrlt.formats import format_time
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.library.files import file_stamp, walk_videos
from vlrlt.index.run.agreement import measure_agreement
from vlrlt.index.run.encode import outputs_of
from vlrlt.index.run.frame_runs import FrameRunJoiner, join_clip
from vlrlt.types import ClipSpan
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.sampling import check_max_shift
from vlrlt.video.worker import DecodeProcess

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder

_SAMPLE_FILES = 8
_SAMPLE_S = 30.0
_ROW_BYTES = 200
"""Of catalog and index beside the vector itself."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would do. Times and sizes are guesses from a few files."""

    files: int
    """New or changed files."""
    known: int
    """Files that would be skipped."""
    bytes: int
    """Of the new files."""
    video_s: float
    vectors: int
    tokens: int
    wall_s: float
    library_bytes: int
    """That the library would grow by."""
    sampled: int
    """Files that the guess rests on."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt index --dry-run --json`."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}

    def as_text(self) -> str:
        """The same for people."""
        found = f"{self.files} new files ({format_bytes(self.bytes)}), {self.known} known"
        if not self.files:
            return f"{found}: nothing to do"
        if not self.sampled:
            return f"{found}: no sampled file can be read"
        return (
            f"{found}: about {format_time(self.video_s)} of video, {self.vectors} vectors, {self.tokens:,} tokens\n"
            f"about {format_time(self.wall_s)} on this machine, {format_bytes(self.library_bytes)} in the library "
            f"(guessed from {self.sampled} files; still scenes cost less)"
        )


def estimate(
    paths: Iterable[Path],
    *,
    library_dir: Path,
    embedder: "Embedder",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_shift_s: float = 0.0,
    workers: int | None = None,
) -> Estimate:
    """Guess what index_paths would do with the same arguments.

    Raises:
        ConfigError: a path does not exist, or looks follow motion and max_shift_s is given.
    """
    check_max_shift(embedder.sampling, max_shift_s)
    walk = walk_videos(paths, library_dir=library_dir, include=include, exclude=exclude)
    new = _new_files(walk.files, library_dir, embedder)
    sample = [new[place] for place in np.linspace(0, len(new) - 1, min(_SAMPLE_FILES, len(new))).astype(int)]
    agreement = measure_agreement(embedder)
    costs = [cost for path in sample if (cost := _cost(path, embedder, agreement, max_shift_s)) is not None]
    sampled_bytes = sum(cost.bytes for cost in costs)
    num_bytes = sum(path.stat().st_size for path in new)
    sampled_s = sum(cost.looked_at_s for cost in costs) or 1.0
    video_s = num_bytes * sum(cost.duration_s for cost in costs) / sampled_bytes if sampled_bytes else 0.0
    decode_s = sum(cost.decode_s for cost in costs) / (workers or os.cpu_count() or 1)
    vectors = round(video_s * sum(cost.vectors for cost in costs) / sampled_s)
    return Estimate(
        files=len(new),
        known=len(walk.files) - len(new),
        bytes=num_bytes,
        video_s=video_s,
        vectors=vectors,
        tokens=round(video_s * sum(cost.tokens for cost in costs) / sampled_s),
        wall_s=video_s * max(decode_s, sum(cost.encode_s for cost in costs)) / sampled_s,
        library_bytes=vectors * (2 * 2 * embedder.embed_dim + _ROW_BYTES),
        sampled=len(costs),
    )


@dataclass(frozen=True, kw_only=True)
class _Cost:
    bytes: int
    duration_s: float
    looked_at_s: float
    decode_s: float
    encode_s: float
    tokens: int
    vectors: int


def _new_files(files: Sequence[Path], library_dir: Path, embedder: "Embedder") -> list[Path]:
    """Those that no unchanged file of the library is; what was moved counts as new here."""
    if not (library_dir / "catalog.db").exists():
        return [path for path in files if path.is_file()]
    with Catalog.open_reader(library_dir) as catalog:
        bound = catalog.settings()
        same_model = bound is not None and bound.fingerprint == embedder.fingerprint
        new = []
        for path in files:
            known = catalog.video_at(path) if same_model else None
            if path.is_file() and (known is None or known.stamp != file_stamp(path)):
                new.append(path)
        return new


def _cost(path: Path, embedder: "Embedder", agreement: float, max_shift_s: float) -> _Cost | None:
    """Of a piece in the middle of a file; None: it cannot be read."""
    encode_s, tokens, vectors, joiner = 0.0, 0, 1, FrameRunJoiner(agreement=agreement)
    try:
        with DecodeProcess() as process:
            duration_s = process.probe(path).duration_s
            length_s = min(duration_s, _SAMPLE_S)
            within = ClipSpan((duration_s - length_s) / 2, (duration_s + length_s) / 2)
            request = ClipRequest(
                path=path,
                sampling=embedder.sampling,
                preprocess=embedder.preprocess,
                within=within,
                max_shift_s=max_shift_s,
            )
            process.start(request)
            decoded = process.open(request)
            for clip in decoded:
                started_s = time.perf_counter()
                embeddings = embedder.embed_clips(clip.rgb_THWC[None])
                encode_s += time.perf_counter() - started_s
                tokens += int(embeddings.num_tokens_B.sum())
                vectors += len(join_clip(joiner, clip, *outputs_of(embeddings)[0]))
    except DecodeError:
        return None
    return _Cost(
        bytes=path.stat().st_size,
        duration_s=duration_s,
        looked_at_s=length_s,
        decode_s=decoded.decode_s + decoded.resize_s,
        encode_s=encode_s,
        tokens=tokens,
        vectors=vectors,
    )
