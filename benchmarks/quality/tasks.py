"""What is asked, and how well each arm answers: one value in [0, 1] a query, so that arms can be compared in pairs.

Shape legend: Q queries, N clips, V videos, F frames of an arm, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from bridge import SAMPLING, BridgeEmbedder

from quality.archive import CAMERAS, Footage
from quality.arms import PATCHES_PER_FRAME, Encoded
from quality.events import Event
from vlrlt.metrics import first_relevant_ranks
from vlrlt.types import ClipSpan, Float32Array, Float64Array
from vlrlt.video.sampling import clip_spans

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A video without its pixels: what every arm made of it."""

    scene: str
    caption: str
    camera: str
    duration_s: float
    decode_s: float
    encoded: dict[str, Encoded]

    @property
    def spans(self) -> tuple[ClipSpan, ...]:
        """Its clips, as the index cuts them."""
        return clip_spans(self.duration_s, SAMPLING)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one arm needs for the videos of one split."""

    kept: float
    """Share of the tokens of the frames that it looks at."""
    encode_s_per_video_minute: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """All arms on the queries of one split of one task."""

    task: str
    split: str
    values_Q: dict[str, Float64Array]
    """Of each arm and query, in [0, 1]; the mean is the quality."""
    costs: dict[str, Cost]


def entry_of(footage: Footage, encoded: dict[str, Encoded]) -> Entry:
    """Forget the pixels."""
    return Entry(
        scene=footage.scene,
        caption=footage.caption,
        camera=footage.camera,
        duration_s=footage.duration_s,
        decode_s=footage.decode_s,
        encoded=encoded,
    )


def measure_costs(entries: Sequence[Entry]) -> dict[str, Cost]:
    """Tokens and time of every arm."""
    video_s = sum(entry.duration_s for entry in entries)
    costs = {}
    for arm in entries[0].encoded:
        encoded = [entry.encoded[arm] for entry in entries]
        costs[arm] = Cost(
            kept=sum(one.num_tokens for one in encoded) / sum(len(one.times_F) * PATCHES_PER_FRAME for one in encoded),
            encode_s_per_video_minute=sum(one.cpu_s for one in encoded) / video_s * 60,
        )
    return costs


def search_text(entries: Sequence[Entry], embedder: BridgeEmbedder) -> list[Result]:
    """Captions as queries, every video scores as its best clip; the value is 1 / rank of the first of the scene."""
    queries = [entry for entry in entries if entry.caption]
    if not queries:
        return []
    texts_QD = embedder.embed_texts([entry.caption for entry in queries])
    found_QV = np.array([[query.scene == entry.scene for entry in entries] for query in queries])
    num_clips_V = [len(entry.spans) for entry in entries]
    values = {}
    for arm in entries[0].encoded:
        clips_ND = np.concatenate([clip_vectors(entry, arm) for entry in entries])
        similarity_QV = np.maximum.reduceat(texts_QD @ clips_ND.T, np.cumsum([0, *num_clips_V[:-1]]), axis=1)
        values[arm] = 1 / first_relevant_ranks(similarity_QV, found_QV)
    return _split("text", values, np.array([entry.camera for entry in queries]), entries)


def search_scene(entries: Sequence[Entry]) -> list[Result]:
    """Every clip as a query for the other clips of its scene that share no second with it: average precision."""
    spans_N = [(video, span) for video, entry in enumerate(entries) for span in entry.spans]
    video_N = np.array([video for video, _ in spans_N])
    start_N, end_N = (np.array([getattr(span, name) for _, span in spans_N]) for name in ("start_s", "end_s"))
    scene_N = np.array([entries[video].scene for video in video_N])
    shared_NN = (video_N[:, None] == video_N) & (start_N[:, None] < end_N - 1e-6) & (start_N < end_N[:, None] - 1e-6)
    relevant_NN = (scene_N[:, None] == scene_N) & ~shared_NN
    asked_Q = np.flatnonzero(relevant_NN.any(1))
    values = {}
    for arm in entries[0].encoded:
        clips_ND = np.concatenate([clip_vectors(entry, arm) for entry in entries])
        similarity_QN = np.where(shared_NN, -np.inf, clips_ND @ clips_ND.T)[asked_Q]
        values[arm] = average_precision(similarity_QN, relevant_NN[asked_Q])
    cameras_Q = np.array([entries[video].camera for video in video_N[asked_Q]])
    return _split("same scene", values, cameras_Q, entries)


def search_events(entries: Sequence[Entry], events: Sequence[Event], embedder: BridgeEmbedder) -> list[Result]:
    """Events as queries for the clip in which they happen, among all clips of all quiet videos: 1 / rank.

    A clip scores as its best frame or as its vector; the query is an example of the event or its caption.
    """
    spans_N = [(video, span) for video, entry in enumerate(entries) for span in entry.spans]
    found_QN = np.array(
        [
            [video == event.video and span.start_s < event.span.end_s and event.span.start_s < span.end_s]
            for event in events
            for video, span in spans_N
        ]
    ).reshape(len(events), -1)
    captioned_Q = np.array([bool(event.caption) for event in events])
    kind_Q = np.array([event.kind for event in events])
    asked: dict[str, Float32Array] = {"": np.stack([event.example_D for event in events])}
    if captioned_Q.any():
        asked["in words, "] = embedder.embed_texts([event.caption or "?" for event in events])
    values: dict[tuple[str, str], dict[str, Float64Array]] = {}
    for arm in entries[0].encoded:
        for words, queries_QD in asked.items():
            for scoring, similarity_QN in {
                "best frame": best_frames(entries, arm, queries_QD),
                "clip vector": queries_QD @ np.concatenate([clip_vectors(entry, arm) for entry in entries]).T,
            }.items():
                values.setdefault((words, scoring), {})[arm] = 1 / first_relevant_ranks(similarity_QN, found_QN)
    costs = measure_costs(entries)
    results = []
    for (words, scoring), of_arms in values.items():
        for kind in dict.fromkeys(kind_Q):
            asked_Q = (kind_Q == kind) & (captioned_Q if words else True)
            if asked_Q.any():
                of_kind = {arm: value_Q[asked_Q] for arm, value_Q in of_arms.items()}
                split = f"{kind}, {words}{scoring}"
                results.append(Result(task="short event", split=split, values_Q=of_kind, costs=costs))
    return results


def average_precision(similarity_QN: Float32Array, relevant_QN: npt.NDArray[np.bool_]) -> Float64Array:
    """(Q,) of each query; minus infinity ranks last."""
    order_QN = np.argsort(-similarity_QN, axis=1, kind="stable")
    ranked_QN = np.take_along_axis(relevant_QN, order_QN, axis=1)
    precision_QN = np.cumsum(ranked_QN, axis=1) / np.arange(1, ranked_QN.shape[1] + 1)
    precision_Q: Float64Array = (precision_QN * ranked_QN).sum(1) / ranked_QN.sum(1)
    return precision_Q


def clip_vectors(entry: Entry, arm: str) -> Float32Array:
    """(N, D) unit vectors of a video's clips: the mean of the frames inside, or the nearest frame."""
    one = entry.encoded[arm]
    return unit(np.stack([one.vectors_FD[frames_of(one, span)].mean(0) for span in entry.spans]))


def best_frames(entries: Sequence[Entry], arm: str, queries_QD: Float32Array) -> Float32Array:
    """(Q, N) similarity of every clip's best frame."""
    columns = []
    for entry in entries:
        one = entry.encoded[arm]
        similarity_QF = queries_QD @ unit(one.vectors_FD).T
        columns += [similarity_QF[:, frames_of(one, span)].max(1) for span in entry.spans]
    similarity_QN: Float32Array = np.stack(columns, axis=1)
    return similarity_QN


def frames_of(one: Encoded, span: ClipSpan) -> npt.NDArray[np.int64]:
    """Indices of an arm's frames inside a clip; where there is none, the last before it, or else the first."""
    inside_F = np.flatnonzero((one.times_F >= span.start_s) & (one.times_F < span.end_s))
    if len(inside_F):
        return inside_F
    return np.array([max(0, np.searchsorted(one.times_F, span.start_s) - 1)])


def unit(vectors_ND: Float32Array) -> Float32Array:
    """Rows of length 1."""
    scaled: Float32Array = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return scaled


def _split(
    task: str, values: dict[str, Float64Array], camera_Q: npt.NDArray[np.str_], entries: Sequence[Entry]
) -> list[Result]:
    """All queries together, and those of each camera; costs are those of the camera's videos."""
    results = []
    for split in (ALL, *CAMERAS):
        asked_Q = np.ones(len(camera_Q), bool) if split == ALL else camera_Q == split
        if asked_Q.any():
            here = [entry for entry in entries if split in (ALL, entry.camera)]
            of_split = {arm: value_Q[asked_Q] for arm, value_Q in values.items()}
            results.append(Result(task=task, split=split, values_Q=of_split, costs=measure_costs(here)))
    return results
