"""Scores of found moments: R@k at an overlap, mIoU, mAP and HIT@1 of Ego4D NLQ, Charades-STA and QVHighlights.

Overlap is intersection over union in time (IoU). Legend: K moments that were found, W right answers, T thresholds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlrlt.datasets.queries import MomentQuery, Window
from vlrlt.evaluate.report import MetricReport
from vlrlt.types import Float64Array

KS, IOUS = (1, 5), (0.3, 0.5, 0.7)
NUM_FOUND = 10
"""Moments of a query that are looked at; QVHighlights' code takes as many."""
_MAP_IOUS = tuple(np.round(np.arange(0.5, 1.0, 0.05), 2).tolist())
_STRICT = ("ego4d-nlq", "goalstep")
"""An overlap must exceed the threshold there; elsewhere it may equal it, as the official codes have it."""
_NUM_RANDOM = 100
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class FoundMoments:
    """What a search found for one query, the best first."""

    windows: tuple[Window, ...]
    """In seconds of the query's part."""
    length_s: float
    """Of what was searched."""
    best_clip: int | None = None
    """Number of the clip of 2 s that scores highest; None: nothing was found."""


def overlaps(found_K2: Sequence[Window], right_W2: Sequence[Window]) -> Float64Array:
    """IoU of every moment that was found with every right answer, (K, W)."""
    found, right = np.reshape(found_K2, (-1, 1, 2)).astype(float), np.reshape(right_W2, (1, -1, 2)).astype(float)
    shared = np.minimum(found[..., 1], right[..., 1]) - np.maximum(found[..., 0], right[..., 0])
    shared = shared.clip(min=0.0)
    union = (found[..., 1] - found[..., 0]) + (right[..., 1] - right[..., 0]) - shared
    iou_KW: Float64Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou_KW


def detection_ap(iou_KW: Float64Array, threshold: float) -> float:
    """Interpolated average precision of ranked moments (VOC 2011), as QVHighlights and ActivityNet score it.

    A moment is right if a right answer overlaps it by the threshold or more that no better one has taken.
    """
    taken: set[int] = set()
    is_right_K = np.zeros(len(iou_KW), bool)
    for rank, iou_W in enumerate(iou_KW):
        free = [place for place in iou_W.argsort()[::-1].tolist() if place not in taken and iou_W[place] >= threshold]
        if free:
            taken.add(free[0])
            is_right_K[rank] = True
    precision_K = is_right_K.cumsum() / np.arange(1, len(is_right_K) + 1)
    best_from_K = np.maximum.accumulate(precision_K[::-1])[::-1]
    return float(best_from_K[is_right_K].sum() / max(1, iou_KW.shape[1]))


def score_moments(
    benchmark: str,
    queries: Sequence[MomentQuery],
    found: Sequence[FoundMoments],
    *,
    model: str,
) -> MetricReport:
    """R@1 and R@5 at IoU 0.3, 0.5 and 0.7 and mIoU; with several answers or clips that were judged, mAP and HIT@1.

    Args:
        benchmark: name of its command.
        queries: with their right answers.
        found: for each query.
        model: who answered.
    """
    strict = benchmark in _STRICT
    random = np.random.default_rng(_SEED)
    chances = [_metrics(queries, [_elsewhere(one, random) for one in found], strict=strict) for _ in range(_NUM_RANDOM)]
    metrics = _metrics(queries, found, strict=strict)
    return MetricReport(
        benchmark=benchmark,
        model=model,
        about=f"{len(queries)} queries, {len({query.path for query in queries})} videos",
        metrics=metrics,
        random={name: float(np.mean([chance[name] for chance in chances])) for name in metrics},
        text_only=None,
        counts={"queries": len(queries), "found": sum(bool(one.windows) for one in found)},
        cost=None,
    )


def _metrics(queries: Sequence[MomentQuery], found: Sequence[FoundMoments], *, strict: bool) -> dict[str, float]:
    ious = [overlaps(one.windows[:NUM_FOUND], query.windows) for query, one in zip(queries, found, strict=True)]
    best_of_k = {k: np.array([iou_KW[:k].max(initial=0.0) for iou_KW in ious]) for k in KS}
    metrics = {
        f"R@{k}_IoU={iou:g}": float((best_Q > iou if strict else best_Q >= iou).mean())
        for k, best_Q in best_of_k.items()
        for iou in IOUS
    }
    metrics["mIoU"] = float(best_of_k[1].mean())
    if any(query.salient for query in queries):
        by_iou = [np.mean([detection_ap(iou_KW, iou) for iou_KW in ious]) for iou in _MAP_IOUS]
        metrics |= {"mAP": float(np.mean(by_iou)), "mAP_IoU=0.5": float(by_iou[0]), "mAP_IoU=0.75": float(by_iou[5])}
        hits = [one.best_clip in query.salient for query, one in zip(queries, found, strict=True)]
        metrics["HIT@1"] = float(np.mean(hits))
    return metrics


def _elsewhere(found: FoundMoments, random: np.random.Generator) -> FoundMoments:
    """Moments as long as those found, anywhere."""
    lengths = [end_s - start_s for start_s, end_s in found.windows]
    starts = [random.uniform(0, max(found.length_s - length_s, 0)) for length_s in lengths]
    best_clip = None if found.best_clip is None else int(random.integers(max(1, int(found.length_s / 2))))
    return FoundMoments(
        windows=tuple((start_s, start_s + length_s) for start_s, length_s in zip(starts, lengths, strict=True)),
        length_s=found.length_s,
        best_clip=best_clip,
    )


def nlq_submission(queries: Sequence[MomentQuery], found: Sequence[FoundMoments]) -> Mapping[str, Any]:
    """What Ego4D's own evaluation of natural language queries reads."""
    return {
        "version": "1.0",
        "challenge": "ego4d_nlq_challenge",
        "results": [
            {**query.keys, "predicted_times": [list(window) for window in one.windows]}
            for query, one in zip(queries, found, strict=True)
            if one.windows
        ],
    }
