"""Finding described moments by the product's own search, over one video each: `vlrlt eval ego4d-nlq` and others.

The videos are indexed into a library like any other, and every query is a search in one of them. Nothing is trained.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlrlt.ask.question import parse_question
from vlrlt.ask.wording import caption
from vlrlt.datasets.queries import MomentQuery
from vlrlt.evaluate.moments import NUM_FOUND, FoundMoments
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.run_report import IndexProgress
from vlrlt.index.search.filters import Filter
from vlrlt.index.search.language import TextQuery
from vlrlt.index.search.request import SearchRequest
from vlrlt.index.search.searcher import Searcher
from vlrlt.service import Library
from vlrlt.types import ClipSpan, Moment

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder

_CLIP_S = 2.0
"""Of QVHighlights."""
_TEMPLATES = tuple(
    (re.compile(pattern, re.IGNORECASE), described)
    for pattern, described in (
        (r"(?:which|what|how many) (?P<noun>.+?) did i (?P<verb>\S+)(?P<rest>.*)", r"\g<verb> \g<noun>\g<rest>"),
        (r"where (?:is|was|were) (?P<noun>.+?) (?:before|after) i (?P<verb>\S+) (?:it|them)", r"\g<verb> \g<noun>"),
        (r"in (?:what|which) \w+ did i (?:last )?see (?P<noun>.+)", r"\g<noun>"),
    )
)
"""Ego4D's templates that nobody would ask `vlrlt ask`, whose grammar knows the others: "What X did I Y?", "Where is X
before / after event Y?", "In what location did I see X?"."""


def find_moments(
    queries: Sequence[MomentQuery],
    *,
    library_dir: Path,
    embedder: "Embedder",
    on_index: Callable[[IndexProgress], None] | None = None,
    on_query: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[FoundMoments]:
    """Index the videos of queries where that was not done yet, and search for every query.

    Args:
        queries: what to find.
        library_dir: of the library; it is made, or completed.
        embedder: the model.
        on_index: as index_paths takes it.
        on_query: called with the number of queries that are done, and of all.

    Returns:
        What was found for each; nothing in a video that cannot be read.

    Raises:
        IndexMismatchError: the library belongs to another model.
        LibraryError: it is locked, damaged or cannot be written.
    """
    paths = sorted({query.path.resolve() for query in queries})
    index_paths(paths, library_dir=library_dir, embedder=embedder, on_progress=on_index)
    found = []
    with Library(library_dir, model=embedder) as library:
        videos = {video.path.resolve(): video for video in library.videos()}
        searcher = library.searcher()
        for number, query in enumerate(queries, start=1):
            video = videos.get(query.path.resolve())
            if video is None:
                found.append(FoundMoments(windows=(), length_s=0.0))
            else:
                part = query.part or ClipSpan(0.0, video.duration_s)
                found.append(_find(searcher, query, video_id=video.video_id, part=part))
            on_query(number, len(queries))
    return found


def words_of(text: str) -> str:
    """What a query asks for, in the words of a caption; a description stays as it is.

    >>> words_of("Where did I put the plate?")
    'put plate'
    >>> words_of("Which plate did I wash in the sink?")
    'wash plate in sink'
    """
    asked = text.strip().rstrip("?!. ")
    for pattern, described in _TEMPLATES:
        found = pattern.fullmatch(asked)
        if found is not None:
            return caption(found.expand(described))
    question = parse_question(text)
    return text if question.kind == "open" else question.event


def _find(searcher: Searcher, query: MomentQuery, *, video_id: str, part: ClipSpan) -> FoundMoments:
    only = Filter(videos=(video_id,))
    words = searcher.known_forms(words_of(query.text))
    request = SearchRequest(
        text=(words,), filter=only, sources=("picture",), per_video=None, duplicates=True, tail=True
    )
    most = NUM_FOUND if query.part is None else 100 * NUM_FOUND
    inside = list(_inside(searcher.rank(request)[:most], part))[:NUM_FOUND]
    return FoundMoments(
        windows=tuple((moment.start_s - part.start_s, moment.end_s - part.start_s) for moment in inside),
        length_s=part.duration_s,
        best_clip=_best_clip(searcher, words, only, part) if query.salient else None,
    )


def _inside(moments: Iterable[Moment], part: ClipSpan) -> Iterable[Moment]:
    """Moments as far as they lie in a part of the video."""
    for moment in moments:
        start_s, end_s = max(moment.start_s, part.start_s), min(moment.end_s, part.end_s)
        if start_s < end_s:
            yield moment.within(ClipSpan(start_s, end_s))


def _best_clip(searcher: Searcher, words: str, only: Filter, part: ClipSpan) -> int | None:
    """Number of the clip of 2 s with the highest score; its score is the mean of its frame runs, by their time."""
    runs, within_N = searcher.frame_runs, only.mask(searcher.frame_runs, {})
    positions_K = np.flatnonzero(within_N if within_N is not None else np.ones(len(runs.ids_N), bool))
    scores = searcher.score(TextQuery(words), within_N)
    score_K = scores.of_all(positions_K)
    start_C = part.start_s + _CLIP_S * np.arange(int(part.duration_s / _CLIP_S))
    shared_CK = np.minimum(runs.end_s_N[positions_K], start_C[:, None] + _CLIP_S)
    shared_CK = (shared_CK - np.maximum(runs.start_s_N[positions_K], start_C[:, None])).clip(min=0.0)
    if not shared_CK.any():
        return None
    mean_C = shared_CK @ score_K / np.maximum(shared_CK.sum(1), 1e-9)
    return int(np.where(shared_CK.any(1), mean_C, -np.inf).argmax())
