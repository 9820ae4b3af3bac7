"""The searches of an open library: one searcher for each state, and rankings with pages."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import xxhash

from vlrlt.ask.second_look import LookReport, SecondLook, described_by
from vlrlt.ask.vlm import Endpoint
from vlrlt.errors import ConfigError, PageExpiredError
from vlrlt.index.search.request import SearchRequest
from vlrlt.index.search.searcher import Ranking, Searcher, is_match
from vlrlt.notebook import Thumbnail
from vlrlt.service.model import LibraryModel
from vlrlt.service.reader import LibraryReader
from vlrlt.service.results import SearchResult
from vlrlt.service.verdicts import Verdicts
from vlrlt.types import Moment

KEPT_RANKINGS = 32
"""So many searches can be paged through while the library changes."""


@dataclass(frozen=True)
class _Ranked:
    """A ranking, and what a second look at it has cost."""

    ranking: Ranking
    look: LookReport | None = None


class Searches:
    """Safe to use from several threads.

    Args:
        reader: of the library.
        model: likewise.
        thumbnail: makes the pictures of hits for notebooks and for second looks.
        verdicts: of earlier second looks.
    """

    def __init__(self, reader: LibraryReader, model: LibraryModel, *, thumbnail: Thumbnail, verdicts: Verdicts) -> None:
        self._reader = reader
        self._verdicts = verdicts
        self._model = model
        self._thumbnail = thumbnail
        self._searcher: Searcher | None = None
        self._state: str | None = None
        self._rankings: dict[tuple[str, str], _Ranked] = {}
        self._lock = threading.Lock()

    def open(self) -> tuple[Searcher, str]:
        """A searcher over the library as it is now, and the name of this state."""
        loaded = self._reader.now()
        stamp = self._model.head_stamp(loaded.snapshot.settings)
        state = xxhash.xxh3_64_hexdigest(f"{loaded.state} {stamp}".encode())
        with self._lock:
            if self._searcher is not None and self._state == state:
                return self._searcher, state
        embedder = self._model.find(loaded.snapshot.settings)  # takes seconds at first; only searches wait for it
        with self._reader.catalog() as catalog:
            metadata = catalog.annotations.metadata()
        searcher = Searcher(
            clips=loaded.snapshot.frame_runs,
            store=loaded.store,
            metadata=metadata,
            find_text=self._reader.find_text,
            embedder=embedder,
            background=partial(self._model.background, embedder),
            head=self._model.head(loaded.snapshot.settings),
        )
        with self._lock:
            self._searcher, self._state = searcher, state
        return searcher, state

    def search(self, request: SearchRequest) -> SearchResult:
        """One page of a search; raises as Library.search."""
        query, key, k = request.query(), request.ranking_key(), request.k
        searcher, state = self.open()
        state, first = (state, 0) if request.page is None else self._parse_page(request.page, key, state)
        started_s = time.perf_counter()
        kept = self._rankings.get((state, key))
        if kept is not None and not first and kept.look is not None and kept.look.unverified:
            kept = None  # what could not be verified then may be now
        ranked = kept or self._rank(searcher, request)
        moments = ranked.ranking[first : first + k + 1]
        took_ms = 1000 * (time.perf_counter() - started_s)
        with self._lock:
            self._rankings[state, key] = ranked
            while len(self._rankings) > KEPT_RANKINGS:
                del self._rankings[next(iter(self._rankings))]
        return SearchResult(
            query=str(query),
            model=searcher.model,
            took_ms=took_ms,
            found=any(map(is_match, moments)),
            unknown_words=searcher.unknown_words(query),
            num_searched=ranked.ranking.num_searched,
            is_empty=not len(searcher.frame_runs.ids_N),
            num_undated=searcher.undated(request.filter),
            hits=tuple(self._shown(moment, searcher) for moment in moments[:k]),
            next_page=f"{state}-{key}-{first + k}" if len(moments) > k else None,
            group_by=request.group_by,
            second_look=ranked.look,
        )

    def _rank(self, searcher: Searcher, request: SearchRequest) -> _Ranked:
        """The moments that fit, and where it is asked for the first of them in the order of a second look."""
        ranking = searcher.rank(request)
        if request.rerank is None:
            return _Ranked(ranking)
        endpoint, described = Endpoint.from_environment(), described_by(request)
        look = SecondLook(endpoint=endpoint, thumbnail=self._thumbnail, key=self._content_key)
        with self._verdicts.of(described, endpoint) as known:
            first, report = look.look(described, ranking[: request.rerank_most], known)
        rest = _from(ranking, request.rerank_most)
        return _Ranked(Ranking(chain(first, rest), num_searched=ranking.num_searched), report)

    def _shown(self, moment: Moment, searcher: Searcher) -> Moment:
        """With its picture, and without a confidence that is only a guess."""
        confidence = moment.confidence if searcher.is_calibrated else None
        return replace(moment, thumbnail=self._thumbnail, confidence=confidence)

    def _content_key(self, moment: Moment) -> str:
        content_hash = self._reader.known_video(moment).content_hash
        return f"{content_hash} {moment.start_s:.3f} {moment.end_s:.3f}"

    def _parse_page(self, page: str, key: str, state: str) -> tuple[str, int]:
        """State and first rank of a page token."""
        match = re.fullmatch(r"([0-9a-f]{16})-([0-9a-f]{16})-(\d{1,9})", page)
        if match is None or match[2] != key:
            raise ConfigError(
                f"page {page!r} does not belong to this search; give the next_page of a result with the same options"
            )
        if match[1] != state and (match[1], key) not in self._rankings:
            raise PageExpiredError("the library has changed since that page was made; search again from the first page")
        return match[1], int(match[3])


def _from(ranking: Ranking, rank: int) -> Iterator[Moment]:
    """The moments behind the first ones, as they are asked for."""
    while moments := ranking[rank : rank + 1]:
        yield from moments
        rank += 1
