"""From a query to ranked moments, over one state of a library.

Shape legend: N clips, K candidates, S sampled clips, D embedding.
"""

import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlrlt.index.library.catalog import FrameRunTable
from vlrlt.index.library.timed_texts import TextHit
from vlrlt.index.search.confidence import CONFIDENT, Confidence
from vlrlt.index.search.filters import Filter, Metadata, recorded_s
from vlrlt.index.search.judging import RunContext, judged_moments
from vlrlt.index.search.language import (
    CombinedQuery,
    Query,
    SequenceQuery,
    SimilarQuery,
    SimpleQuery,
    TextQuery,
    parse_clip_id,
)
from vlrlt.index.search.moments import Found, Scores, grow_moments
from vlrlt.index.search.query_vectors import embed_query, mean_direction
from vlrlt.index.search.refine import collapse_duplicates, cut_tail, diversify, fuse_text, limit_per_video
from vlrlt.index.search.request import SOURCE_OF, SearchRequest
from vlrlt.index.search.sequence import find_sequences
from vlrlt.index.vectors.protocol import SAMPLE_VECTORS, Mask, VectorStore, evenly
from vlrlt.models.moment_head import MomentHead
from vlrlt.types import Channel, Float32Array, Float64Array, Int64Array, Moment
from vlrlt.video.sampling import ClipSampling

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder

TEXT_MATCH = 0.75
"""A line that fits this well is a match: it holds so much of what the words weigh."""
KEPT_TEXTS, KEPT_VECTORS = 256, 2048
"""What one search, and the next one, asks for again."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much was searched."""

    vectors: int
    videos: int
    video_s: float


def is_match(moment: Moment) -> bool:
    """Whether a moment is more than the nearest there is: the words stand there, or are likely shown there."""
    if moment.text_fit is not None and moment.text_fit >= TEXT_MATCH:
        return True
    return "picture" in moment.sources and (moment.confidence is None or moment.confidence >= CONFIDENT)


class Ranking:
    """Moments of one search, found as they are asked for and then kept: every page comes from one ranking."""

    def __init__(self, moments: Iterator[Moment], *, num_searched: int) -> None:
        self.num_searched = num_searched
        """Clips."""
        self._moments = moments
        self._known: list[Moment] = []
        self._lock = threading.Lock()

    def __getitem__(self, ranks: slice) -> tuple[Moment, ...]:
        with self._lock:
            self._known += islice(self._moments, max(0, ranks.stop - len(self._known)))
        return tuple(self._known[ranks])


class FindText(Protocol):
    """TimedTexts.search, of the library as it is now."""

    def __call__(
        self, text: str, *, channels: Collection[Channel], videos: Collection[str] | None
    ) -> Sequence[TextHit]:
        """The lines that fit, the best first."""


class Searcher:
    """One state of a library, its model and the distribution of its vectors."""

    def __init__(
        self,
        *,
        clips: FrameRunTable,
        store: VectorStore,
        metadata: Metadata,
        find_text: "FindText",
        embedder: "Embedder",
        background: Callable[[], Float32Array],
        head: MomentHead | None = None,
    ) -> None:
        self.frame_runs = clips
        self.model = embedder.name
        self._store = store
        self._metadata = metadata
        self._find_text = find_text
        self._embedder = embedder
        self._background = background
        self._head = head
        self._vector_of_text: Callable[[str], Float32Array] = lru_cache(KEPT_TEXTS)(
            lambda text: embed_query(TextQuery(text), embedder)
        )
        self._vector_at: Callable[[int], Float32Array] = lru_cache(KEPT_VECTORS)(
            lambda position: store.vectors(np.array([position]))[0]
        )
        self._texts: tuple[tuple[str, ...], Float32Array] = ((), np.empty((0, embedder.embed_dim), np.float32))

    def rank(self, request: SearchRequest) -> Ranking:
        """Rank the moments of a request, regardless of its page.

        Raises:
            ConfigError: a filter is malformed, or a clip that the request names is not in the library.
            DecodeError: the request's picture or video cannot be read.
        """
        within_N = request.filter.mask(self.frame_runs, self._metadata)
        num_searched = len(self.frame_runs.ids_N) if within_N is None else int(within_N.sum())
        moments = self._moments(request, within_N) if num_searched else iter(())
        return Ranking(
            (self._to_moment(rank, found) for rank, found in enumerate(moments, start=1)), num_searched=num_searched
        )

    def vector(self, query: SimpleQuery | CombinedQuery) -> Float32Array:
        """The unit vector of a query, (D,)."""
        if isinstance(query, CombinedQuery):
            scaled = []
            for part in query.parts:
                vector_D = self.vector(part.query)
                spread = float((self._store.sample_SD @ vector_D).std()) if len(self._store.sample_SD) else 1.0
                scaled.append(part.weight / max(spread, 1e-6) * vector_D)
            sum_D = np.sum(scaled, axis=0)
            return np.asarray(sum_D / max(float(np.linalg.norm(sum_D)), 1e-12), np.float32)
        if isinstance(query, SimilarQuery):
            return self._vector_at(self.position(query.clip_id))
        return self._vector_of_text(query.text) if isinstance(query, TextQuery) else embed_query(query, self._embedder)

    @property
    def clip_s(self) -> float:
        """Seconds of video of one output; 0: each output belongs to one look."""
        sampling = self._embedder.sampling
        return sampling.clip_s if isinstance(sampling, ClipSampling) else 0.0

    def clip_at(self, position: int) -> Moment:
        """The clip at a position of the table as a moment."""
        return self.frame_runs.moment(position)

    def runs_between(self, video: str, start_s: float, end_s: float) -> Int64Array:
        """Positions of the clips of a video whose middle lies in [start_s, end_s), by start."""
        positions_K = self._clips_of.get(video, np.empty(0, np.int64))
        middles_s_K = self._middles_s(positions_K)
        return positions_K[(middles_s_K >= start_s) & (middles_s_K < end_s)]

    def coverage(self, within: Filter) -> Coverage:
        """How much of the library a filter lets pass."""
        within_N = within.mask(self.frame_runs, self._metadata)
        kept = self.frame_runs if within_N is None else self.frame_runs.take(np.flatnonzero(within_N))
        ends_s_V = np.zeros(len(self.frame_runs.videos))
        np.maximum.at(ends_s_V, kept.video_N, kept.end_s_N)
        return Coverage(vectors=len(kept.ids_N), videos=int(np.count_nonzero(ends_s_V)), video_s=float(ends_s_V.sum()))

    def undated(self, within: Filter) -> int:
        """How many videos do not pass a filter only because it is not known when they were recorded."""
        return within.undated(self.frame_runs, self._metadata)

    def vectors(self, positions_K: Int64Array) -> Float32Array:
        """Vectors of clips, (K, D)."""
        return self._store.vectors(positions_K)

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Unit vectors of texts, (len(texts), D); those of the last call are kept."""
        if self._texts[0] != tuple(texts):
            self._texts = (tuple(texts), self._embedder.embed_texts(texts))
        return self._texts[1]

    def sample_of(self, video: str) -> Float32Array:
        """Vectors of clips that stand for a video of the library, (S, D)."""
        positions_K = self._clips_of[video]
        return self.vectors(positions_K[evenly(len(positions_K), most=SAMPLE_VECTORS)])

    def confidence(self, text_D: Float32Array, clip_D: Float32Array, *, searched_SD: Float32Array) -> float:
        """Probability that a clip shows what words say, compared with others that were searched."""
        return self._confidence.judge(text_D, searched_SD)(clip_D)

    def recorded_s(self, video_id: str) -> float:
        """When a video was recorded, in seconds since 1970; NaN: that is unknown."""
        return recorded_s(self._metadata.get(video_id, {}))

    def known_forms(self, text: str) -> str:
        """The text with words in the form that the model knows, where its vocabulary is closed."""
        return self._confidence.known_forms(text)

    def position(self, clip_id: int) -> int:
        """Where a clip is in the table.

        Raises:
            ConfigError: the library has no such clip.
        """
        return self.frame_runs.position(clip_id)

    def score(self, query: SimpleQuery | CombinedQuery, within_N: Mask | None = None) -> Scores:
        """The scores of the clips that may be found."""
        return Scores(self._store, self.vector(query), within_N)

    @property
    def is_calibrated(self) -> bool:
        """Whether a confidence is a probability: a moment head has learned it, or the model names what it knows.

        For other models it only tells whether anything fits (docs/experiments/questions.md).
        """
        return self._head is not None or bool(self._embedder.captions)

    def looks_around(self, query: SimpleQuery | CombinedQuery) -> bool:
        """Whether runs are ranked with their surroundings: for words, by a model that sees single looks.

        A model that encodes clips sees what is around: in the toy kitchen more of it brings wrong videos.
        """
        return _is_words(query) and not self.clip_s

    def context(self, query: SimpleQuery | CombinedQuery, scores: Scores, *, spacing_s: float) -> RunContext:
        """What a moment head is shown around runs of a query in words."""
        text_D = mean_direction(np.stack([self.vector(text) for text in _text_parts(query)]))
        compare = self._confidence.features(text_D, scores.sample_SD)
        return RunContext(scores, self.frame_runs, self._store, compare, spacing_s=spacing_s)

    def unknown_words(self, query: Query) -> tuple[str, ...]:
        """Words of a query that the model does not know."""
        texts = [part.text for part in _text_parts(query)]
        return tuple(word for text in texts for word in self._confidence.unknown_words(text))

    def _moments(self, request: SearchRequest, within_N: Mask | None) -> Iterator[Found]:
        """The whole pipeline, lazily."""
        query = request.query()
        if isinstance(query, SequenceQuery):
            moments = self._sequences(query, request, within_N)
        else:
            moments = self._grown(query, request, within_N)
        if request.hidden:
            hidden = [self.clip_at(self.position(parse_clip_id(clip))) for clip in request.hidden]
            moments = (found for found in moments if not self._shows(found, hidden))
        if not request.duplicates:
            moments = collapse_duplicates(moments, vector_of=self._vector_at, video_of=self._video_at)
        if request.per_video is not None:
            moments = limit_per_video(moments, limit=request.per_video, video_of=self._video_at)
        if request.diversity:
            moments = diversify(moments, diversity=request.diversity, vector_of=self._vector_at)
        return moments

    def _grown(
        self, query: SimpleQuery | CombinedQuery, request: SearchRequest, within_N: Mask | None
    ) -> Iterator[Found]:
        """Moments of all sources; the irrelevant tail begins half way from the best score to the median."""
        scores = self.score(query, within_N)
        judge = self.confidence_of(query, scores)
        moments: Iterator[Found] = iter(())
        if "picture" in request.sources:
            grown = grow_moments(scores, self.frame_runs, surrounded=self.looks_around(query))
            if self._head is not None and _is_words(query) and not self.unknown_words(query):
                context = self.context(query, scores, spacing_s=self._head.spacing_s)
                moments = judged_moments(grown, head=self._head, context=context, runs=self.frame_runs)
            else:
                moments = (replace(found, confidence=judge(found.seed)) for found in grown)
            if not request.tail:
                moments = cut_tail(moments, median=scores.median, least_confidence=CONFIDENT)
        if isinstance(query, TextQuery):
            moments = fuse_text(moments, self._text_moments(query, scores, request, within_N), self._video_at)
        return moments

    def _sequences(self, query: SequenceQuery, request: SearchRequest, within_N: Mask | None) -> Iterator[Found]:
        steps = [self.score(step, within_N) for step in query.steps]
        judges = [self.confidence_of(step, scores) for step, scores in zip(query.steps, steps, strict=True)]
        for found in find_sequences(steps, self.frame_runs, within_s=query.within_s):
            sure = [judge(seed) for judge, seed in zip(judges, found.step_seeds, strict=True)]
            confidence = min((known for known in sure if known is not None), default=None)
            if request.tail or confidence is None or confidence >= CONFIDENT:
                yield replace(found, confidence=confidence)

    def confidence_of(self, query: SimpleQuery | CombinedQuery, scores: Scores) -> Callable[[int], float | None]:
        """Tells of a position how sure it is that the words of the query are shown there; None: there are no words."""
        texts = _text_parts(query)
        if not texts:
            return lambda _position: None
        if self.unknown_words(query):
            return lambda _position: 0.0
        text_D = mean_direction(np.stack([self.vector(text) for text in texts]))
        judge = self._confidence.judge(text_D, scores.sample_SD)
        return lambda position: judge(self._vector_at(position))

    def _text_moments(
        self, query: TextQuery, scores: Scores, request: SearchRequest, within_N: Mask | None
    ) -> list[Found]:
        """Lines of text, in clips that may be found."""
        channels = [channel for channel, source in SOURCE_OF.items() if source in request.sources]
        if not channels:
            return []
        table = self.frame_runs
        videos = None if within_N is None else [table.video_ids[at] for at in np.unique(table.video_N[within_N])]
        moments = []
        for hit in self._find_text(query.text, channels=channels, videos=videos):
            line = hit.line
            position = self._clip_at(hit.video, (line.start_s + line.end_s) / 2)
            score = -math.inf if position is None else scores.of(position)
            if position is not None and score > -math.inf:
                moments.append(
                    Found(
                        seed=position,
                        score=score,
                        percentile=scores.percentile(score),
                        start_s=line.start_s,
                        end_s=line.end_s,
                        sources=(SOURCE_OF[line.channel],),
                        text=hit,
                    )
                )
        return moments

    def _shows(self, found: Found, clips: Sequence[Moment]) -> bool:
        """Whether a moment overlaps one of some clips."""
        video = self.frame_runs.videos[self._video_at(found.seed)]
        return any(clip.video == video and found.start_s < clip.end_s and clip.start_s < found.end_s for clip in clips)

    def _to_moment(self, rank: int, found: Found) -> Moment:
        video = self._video_at(found.seed)
        return Moment(
            rank=rank,
            score=found.score,
            percentile=found.percentile,
            confidence=found.confidence,
            clip_id=int(self.frame_runs.ids_N[found.seed]),
            video=self.frame_runs.videos[video],
            video_id=self.frame_runs.video_ids[video],
            start_s=found.start_s,
            end_s=found.end_s,
            sources=found.sources,
            **({} if found.text is None else _text_of(found.text)),
            steps=found.steps,
        )

    @cached_property
    def _confidence(self) -> Confidence:
        """Made for the first words: some models read none, and find clips and pictures all the same."""
        return Confidence(self._background(), captions=self._embedder.captions)

    @cached_property
    def _clips_of(self) -> dict[str, Int64Array]:
        """Path of a video -> positions of its clips, by start; those of an unfinished one may lie apart."""
        order_N = np.argsort(self.frame_runs.video_N, kind="stable")
        edges = np.flatnonzero(np.diff(self.frame_runs.video_N[order_N])) + 1
        parts = np.split(order_N, edges) if len(order_N) else []
        return {self.frame_runs.videos[self.frame_runs.video_N[part[0]]]: part for part in parts}

    def _clip_at(self, video: str, time_s: float) -> int | None:
        """Position of the clip of a video whose middle is nearest to a time; None: it has no clips."""
        if video not in self._clips_of:
            return None
        positions_K = self._clips_of[video]
        return int(positions_K[np.abs(self._middles_s(positions_K) - time_s).argmin()])

    def _middles_s(self, positions_K: Int64Array) -> Float64Array:
        return (self.frame_runs.start_s_N[positions_K] + self.frame_runs.end_s_N[positions_K]) / 2

    def _video_at(self, position: int) -> int:
        return int(self.frame_runs.video_N[position])


def _is_words(query: SimpleQuery | CombinedQuery) -> bool:
    """Whether nothing but words tells what shall be found."""
    parts = [part.query for part in query.parts] if isinstance(query, CombinedQuery) else [query]
    return all(isinstance(part, TextQuery) for part in parts)


def _text_of(hit: TextHit) -> dict[str, Any]:
    """A line as a moment has it."""
    fit = {"text_marks": hit.fit.marks, "text_fit": hit.fit.share, "seek_s": hit.seek_s}
    return {"text": hit.line.text, **fit}


def _text_parts(query: Query) -> tuple[TextQuery, ...]:
    """The words of what shall be found."""
    if isinstance(query, SequenceQuery):
        return tuple(text for step in query.steps for text in _text_parts(step))
    if isinstance(query, CombinedQuery):
        return tuple(part.query for part in query.parts if isinstance(part.query, TextQuery) and part.weight > 0)
    return (query,) if isinstance(query, TextQuery) else ()
