"""Refine moments after the search: add text hits, and remove repetitions and the irrelevant tail."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from vlrlt.index.search.moments import TOUCH_S, Found
from vlrlt.types import Float32Array

RANK_CONSTANT = 60
"""k of reciprocal rank fusion, 1 / (k + rank) (Cormack et al., SIGIR 2009)."""
FUSED_MOMENTS = 200
"""So many of the best moments of each source are fused; later ones keep their order."""
DUPLICATE_COSINE = 0.9995
"""Moments of different videos whose best clips are this similar show the same."""
FRUITLESS = 50
ROUNDING = 1e-5
"""The same cosine differs by less, however it is computed: where most runs show what is asked for, none is a tail."""
DIVERSE_MOMENTS = 200
"""So many of the best moments are put into a diverse order."""


def fuse_text(pictures: Iterator[Found], texts: Sequence[Found], video_of: Callable[[int], int]) -> Iterator[Found]:
    """Fuse moments of the vectors with lines of text by their ranks; a line counts as far as it fits.

    Args:
        pictures: the best first.
        texts: the best first, each with its line and the one source that has it.
        video_of: video of a clip position.
    """
    if not texts:
        yield from pictures
        return
    moments = list(islice(pictures, FUSED_MOMENTS))
    weights = [_rank_weight(rank) for rank in range(len(moments))]
    for rank, text in enumerate(texts):
        weight = _rank_weight(rank) * (1.0 if text.text is None else text.text.fit.share)
        for at, moment in enumerate(moments):
            if video_of(moment.seed) == video_of(text.seed) and _overlap(moment, text):
                if text.sources[0] not in moment.sources:  # a second line of one source tells nothing new
                    sources = (*moment.sources, *text.sources)
                    moments[at] = replace(moment, sources=sources, text=moment.text or text.text)
                    weights[at] += weight
                break
        else:
            moments.append(text)
            weights.append(weight)
    order = sorted(range(len(moments)), key=lambda at: -weights[at])
    yield from (moments[at] for at in order)
    for moment in pictures:
        if not any(video_of(moment.seed) == video_of(text.seed) and _overlap(moment, text) for text in texts):
            yield moment


def _rank_weight(rank: int) -> float:
    return 1 / (RANK_CONSTANT + 1 + rank)


def _overlap(first: Found, second: Found) -> bool:
    return first.start_s < second.end_s - TOUCH_S and second.start_s < first.end_s - TOUCH_S


def collapse_duplicates(
    moments: Iterable[Found], *, vector_of: Callable[[int], Float32Array], video_of: Callable[[int], int]
) -> Iterator[Found]:
    """Leave out moments that show what a better one of another video shows."""
    vectors: list[Float32Array] = []
    videos: list[int] = []
    for moment in moments:
        vector_D, video = vector_of(moment.seed), video_of(moment.seed)
        if vectors:
            alike = np.stack(vectors) @ vector_D >= DUPLICATE_COSINE
            if any(same and other != video for same, other in zip(alike, videos, strict=True)):
                continue
        vectors.append(vector_D)
        videos.append(video)
        yield moment


def limit_per_video(moments: Iterable[Found], *, limit: int, video_of: Callable[[int], int]) -> Iterator[Found]:
    """At most so many moments of one video."""
    counts: Counter[int] = Counter()
    for moment in moments:
        video = video_of(moment.seed)
        counts[video] += 1
        if counts[video] <= limit:
            yield moment


def diversify(
    moments: Iterator[Found], *, diversity: float, vector_of: Callable[[int], Float32Array]
) -> Iterator[Found]:
    """Order by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): good, and unlike what came before.

    Args:
        moments: the best first.
        diversity: 0 keeps the order, 1 looks at differences only.
        vector_of: unit vector of a clip position.
    """
    pool = list(islice(moments, DIVERSE_MOMENTS))
    if pool:
        vectors_ND = np.stack([vector_of(moment.seed) for moment in pool])
        likeness_NN = vectors_ND @ vectors_ND.T
        # Ranks, because cosines with words and cosines among clips are not on one scale.
        relevance_N = np.linspace(1, 0, len(pool))
        likeness_NN = (likeness_NN - likeness_NN.min()) / max(float(np.ptp(likeness_NN)), 1e-6)
        nearest_N = np.zeros(len(pool))
        left = list(range(len(pool)))
        while left:
            best = max(left, key=lambda at: ((1 - diversity) * relevance_N[at] - diversity * nearest_N[at], -at))
            left.remove(best)
            nearest_N = np.maximum(nearest_N, likeness_NN[best])
            yield pool[best]
    yield from moments


def cut_tail(moments: Iterable[Found], *, median: float, least_confidence: float) -> Iterator[Found]:
    """Leave out what fits too little.

    Args:
        moments: the best first.
        median: score of the library; the tail begins half way to it from the first moment's score.
        least_confidence: what is less sure is left out. Score and confidence mostly fall: after FRUITLESS moments in a
            row that are left out no other is looked at, so that a large library is not gone through to its end.
    """
    fruitless, least_score = 0, -math.inf
    for rank, moment in enumerate(moments):
        if rank == 0:
            least_score = (moment.score + median) / 2 - ROUNDING
        if moment.score >= least_score and (moment.confidence is None or moment.confidence >= least_confidence):
            fruitless = 0
            yield moment
        else:
            fruitless += 1
            if fruitless == FRUITLESS:
                return
