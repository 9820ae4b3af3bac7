"""The searches of an open library: one searcher for each state of it, and rankings that can be paged through."""

import re
import threading
import time
from dataclasses import replace
from functools import partial

from vlrlt.errors import ConfigError, PageExpiredError
from vlrlt.index.search.request import SearchRequest
from vlrlt.index.search.searcher import Ranking, Searcher, is_match
from vlrlt.notebook import Thumbnail
from vlrlt.service.model import LibraryModel
from vlrlt.service.reader import LibraryReader, Loaded
from vlrlt.service.results import SearchResult

KEPT_RANKINGS = 32
"""So many searches can be paged through while the library changes."""


class Searches:
    """Safe to use from several threads.

    Args:
        reader: of the library.
        model: likewise.
        thumbnail: makes the pictures of hits in notebooks.
    """

    def __init__(self, reader: LibraryReader, model: LibraryModel, *, thumbnail: Thumbnail) -> None:
        self._reader = reader
        self._model = model
        self._thumbnail = thumbnail
        self._searcher: Searcher | None = None
        self._searcher_state: Loaded | None = None
        self._rankings: dict[tuple[str, str], Ranking] = {}
        self._lock = threading.Lock()

    def open(self) -> tuple[Searcher, str]:
        """A searcher over the library as it is now, and the name of this state."""
        loaded = self._reader.now()
        with self._lock:
            if self._searcher is not None and self._searcher_state is loaded:
                return self._searcher, loaded.state
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
        )
        with self._lock:
            self._searcher, self._searcher_state = searcher, loaded
        return searcher, loaded.state

    def search(self, request: SearchRequest) -> SearchResult:
        """One page of a search; raises as Library.search."""
        query, key, k = request.query(), request.ranking_key(), request.k
        searcher, state = self.open()
        state, first = (state, 0) if request.page is None else self._parse_page(request.page, key, state)
        started_s = time.perf_counter()
        ranking = self._rankings.get((state, key)) or searcher.rank(request)
        moments = ranking[first : first + k + 1]
        took_ms = 1000 * (time.perf_counter() - started_s)
        with self._lock:
            self._rankings[state, key] = ranking
            while len(self._rankings) > KEPT_RANKINGS:
                del self._rankings[next(iter(self._rankings))]
        return SearchResult(
            query=str(query),
            model=searcher.model,
            took_ms=took_ms,
            found=any(map(is_match, moments)),
            unknown_words=searcher.unknown_words(query),
            num_searched=ranking.num_searched,
            num_undated=searcher.undated(request.filter),
            hits=tuple(replace(moment, thumbnail=self._thumbnail) for moment in moments[:k]),
            next_page=f"{state}-{key}-{first + k}" if len(moments) > k else None,
            group_by=request.group_by,
        )

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
