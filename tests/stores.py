"""A library of vectors alone: what every vector store is opened on, and what it must find."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlrlt.index.library.catalog import FrameRunTable, LibrarySettings, Segment, Snapshot, generation_of
from vlrlt.index.library.segments import write_segment
from vlrlt.index.vectors.protocol import VectorStore
from vlrlt.types import Float32Array
from vlrlt.video.sampling import ClipSampling

DIM = 32


def unit_vectors(num: int, seed: int) -> Float32Array:
    """Around 20 centres, as stored: float16."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((20, DIM))
    vectors_ND = centres[rng.integers(20, size=num)] + 0.7 * rng.standard_normal((num, DIM))
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return vectors_ND.astype(np.float16).astype(np.float32)


class Archive:
    """Videos that come and go, and the snapshot that a catalog would give of them."""

    def __init__(self, library_dir: Path) -> None:
        self.library_dir = library_dir
        self._videos: dict[int, tuple[Segment, Float32Array]] = {}

    def add(self, *videos: int, clips: int = 100) -> None:
        for video in videos:
            vectors_ND = unit_vectors(clips, seed=video)
            self._videos[video] = write_segment(self.library_dir, vectors_ND, fingerprint="f" * 32), vectors_ND

    def remove(self, *videos: int) -> None:
        for video in videos:
            del self._videos[video]

    @property
    def vectors_ND(self) -> Float32Array:
        return np.concatenate([np.zeros((0, DIM), np.float32), *(vectors for _, vectors in self._videos.values())])

    @property
    def snapshot(self) -> Snapshot:
        segments = tuple(segment for segment, _ in self._videos.values())
        sizes = [len(vectors_ND) for _, vectors_ND in self._videos.values()]
        ids = [hash((video, row)) >> 2 for video, size in zip(self._videos, sizes, strict=True) for row in range(size)]
        start_s_N = np.concatenate([np.zeros(0), *(np.arange(size, dtype=np.float64) for size in sizes)])
        return Snapshot(
            settings=LibrarySettings(
                model="m",
                fingerprint="f" * 32,
                embed_dim=DIM,
                sampling=ClipSampling(clip_s=1, stride_s=1, num_frames=1),
                policy=None,
                precision="float32",
            ),
            generation=generation_of(segments),
            segments=segments,
            frame_runs=FrameRunTable(
                ids_N=np.abs(np.array(ids, np.int64)),
                video_N=np.repeat(np.arange(len(sizes)), sizes),
                start_s_N=start_s_N,
                end_s_N=start_s_N + 1,
                kept_share_N=np.zeros(len(ids)),
                videos=tuple(f"/videos/{video}.mp4" for video in self._videos),
                video_ids=tuple(map(str, self._videos)),
            ),
        )


def queries(num: int = 20) -> Float32Array:
    return unit_vectors(num, seed=12345)


def check(store: VectorStore, vectors_ND: Float32Array, *, within: Sequence[int] | None = None) -> None:
    """Ten hits of twenty queries against brute force: all scores true, nearly all hits found, all where it is exact."""
    allowed = np.arange(len(vectors_ND)) if within is None else np.asarray(within)
    within_N = None if within is None else np.isin(np.arange(len(vectors_ND)), allowed)
    assert len(store) == len(vectors_ND)
    found = 0
    for query_D in queries():
        scores_N = vectors_ND @ query_D
        hits = store.search(query_D, k=10, within_N=within_N)
        np.testing.assert_allclose(hits.scores_K, scores_N[hits.positions_K], atol=2e-6)
        assert (np.diff(hits.scores_K) <= 0).all()
        assert np.isin(hits.positions_K, allowed).all()
        assert len(np.unique(hits.positions_K)) == len(hits.positions_K) == min(10, len(allowed))
        true_K = allowed[np.argsort(-scores_N[allowed], kind="stable")][:10]
        found += len(np.intersect1d(true_K, hits.positions_K))
    least = 1.0 if not store.info.recall_at_10 else 0.9
    assert found >= least * 20 * min(10, len(allowed))
