"""Timed texts of a library's videos: tables of the catalog, and their search.

A row belongs to a video's content, not to its path: it outlives moving and indexing anew.
"""

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import apsw

from vlrlt.index.library.schema import TOKENIZER, Tables
from vlrlt.index.library.text_query import (
    LEAST_SHARE,
    Fit,
    Term,
    Token,
    deciding,
    fit_lines,
    parse_terms,
    weighted,
)
from vlrlt.types import Channel, TimedText

TEXT_HITS = 200
"""So many lines of text take part in a search at most."""
CHANNELS: tuple[Channel, ...] = get_args(Channel)
ReadingState = Literal["unfinished", "read", "failed"]
_COUNTED = 50_000
"""A term that is in more lines than this weighs as one that is in so many."""


@dataclass(frozen=True, kw_only=True)
class TextHit:
    """A line of text that fits a query."""

    video: str
    """Path."""
    line: TimedText
    fit: Fit

    @property
    def seek_s(self) -> float:
        """When the first word of the query is said; the line's start if that is unknown."""
        if not self.line.word_starts_s or not self.fit.marks:
            return self.line.start_s
        before = len(self.line.text[: self.fit.marks[0][0]].split())
        return self.line.word_starts_s[min(before, len(self.line.word_starts_s) - 1)]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How far a channel of a video has been read."""

    channel: Channel
    maker: str
    done_s: float
    state: ReadingState
    reason: str | None


class TimedTexts(Tables):
    """Lines with their times, and how far each channel has been read."""

    def add(self, content_hash: str, lines: Sequence[TimedText], *, maker: str) -> None:
        """Add lines of a video; the caller holds a transaction."""
        self._connection.executemany(
            "INSERT INTO texts VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(content_hash, line.channel, maker, line.start_s, line.end_s, line.language, line.confidence),
                    json.dumps([round(at_s, 2) for at_s in line.word_starts_s]) if line.word_starts_s else None,
                    line.text,
                )
                for line in lines
            ],
        )

    def reading(self, content_hash: str, channel: Channel) -> Reading | None:
        """How far a channel of a video has been read; None: nobody has begun."""
        rows = self._rows(
            "SELECT channel, maker, done_s, state, reason FROM readings WHERE content_hash = ? AND channel = ?",
            (content_hash, channel),
        )
        for channel, maker, done_s, state, reason in rows:
            return Reading(channel=channel, maker=maker, done_s=done_s, state=state, reason=reason)
        return None

    def begin_reading(self, content_hash: str, channel: Channel, *, maker: str) -> None:
        """Forget what was read of a channel of a video, and note who reads it now."""
        with self._transaction():
            mark = (content_hash, channel)
            self._connection.execute("DELETE FROM texts WHERE content_hash = ? AND channel = ?", mark)
            self._connection.execute(
                "INSERT OR REPLACE INTO readings VALUES (?, ?, ?, 0, 'unfinished', NULL)", (*mark, maker)
            )

    def commit_reading(self, content_hash: str, lines: Sequence[TimedText], reading: Reading) -> None:
        """Add what was read of a video and note how far that is, all or nothing."""
        with self._transaction():
            self.add(content_hash, lines, maker=reading.maker)
            self._connection.execute(
                "UPDATE readings SET done_s = ?, state = ?, reason = ? WHERE content_hash = ? AND channel = ?",
                (reading.done_s, reading.state, reading.reason, content_hash, reading.channel),
            )

    def unread(self) -> tuple[tuple[str, Reading], ...]:
        """What could not be read, or not all of it: paths and why, by path."""
        rows = self._rows(
            "SELECT path, channel, maker, done_s, state, reason FROM readings JOIN files USING (content_hash) "
            "WHERE state = 'failed' ORDER BY path"
        )
        return tuple(
            (
                os.fsdecode(path),
                Reading(channel=channel, maker=maker, done_s=done_s, state=state, reason=reason),
            )
            for path, channel, maker, done_s, state, reason in rows
        )

    def counts(self) -> dict[Channel, tuple[int, int]]:
        """Lines and videos of each channel that has some."""
        rows = self._rows("SELECT channel, count(*), count(DISTINCT content_hash) FROM texts GROUP BY channel")
        return {channel: (lines, videos) for channel, lines, videos in rows}

    def of_video(self, content_hash: str, channels: Collection[Channel] = CHANNELS) -> tuple[TimedText, ...]:
        """All that is said and written in a video, by time."""
        rows = self._rows(
            f"SELECT {_LINE} FROM texts WHERE content_hash = ? AND channel IN (SELECT value FROM json_each(?)) "
            "ORDER BY start_s, end_s, id",
            (content_hash, json.dumps(list(channels))),
        )
        return tuple(_line(*row) for row in rows)

    def search(
        self,
        text: str,
        *,
        channels: Collection[Channel] = CHANNELS,
        videos: Collection[str] | None = None,
        limit: int = TEXT_HITS,
    ) -> tuple[TextHit, ...]:
        """Lines that hold at least half of what a query weighs, the best (BM25) first; see text_query.py.

        Args:
            text: the query: words, "phrases" and the beginnings of words with an asterisk.
            channels: that are searched.
            videos: content hashes of those that are searched; None: all.
            limit: of lines.
        """
        terms = parse_terms(text, self._tokenize)
        counts = [self._count(term) for term in terms]
        known = weighted(terms, counts=counts, num_lines=self._num_lines())
        present = [term for term, count in zip(known, counts, strict=True) if count]
        absent = [term for term, count in zip(known, counts, strict=True) if not count]
        if not present:
            return ()
        narrowed = "" if videos is None else "AND content_hash IN (SELECT value FROM json_each(:videos)) "
        rows = self._rows(
            f"SELECT (SELECT path FROM files WHERE files.content_hash = texts.content_hash "
            f"ORDER BY missing_since IS NOT NULL, path LIMIT 1), {_LINE} "
            "FROM texts_fts JOIN texts ON texts.id = texts_fts.rowid "
            "WHERE texts_fts MATCH :terms AND channel IN (SELECT value FROM json_each(:channels)) "
            f"{narrowed}AND content_hash IN (SELECT content_hash FROM videos JOIN models USING (fingerprint) "
            "WHERE active AND state <> 'failed') ORDER BY rank, texts.id LIMIT :limit",
            {
                "terms": " OR ".join(term.as_match() for term in deciding(present)),
                "channels": json.dumps(list(channels)),
                "limit": limit,
                **({} if videos is None else {"videos": json.dumps(list(videos))}),
            },
        )
        lines = [(os.fsdecode(path), _line(*row)) for path, *row in rows]
        fits = fit_lines([line.text for _, line in lines], present, absent, self._tokenize)
        least = LEAST_SHARE * sum(term.weight for term in present) / sum(term.weight for term in known)
        hits = [
            TextHit(video=video, line=line, fit=fit)
            for (video, line), fit in zip(lines, fits, strict=True)
            if fit.share >= least - 1e-9
        ]
        return tuple(sorted(hits, key=lambda hit: -hit.fit.score))

    def vocabulary(self, *, limit: int) -> tuple[str, ...]:
        """The commonest distinct lines of sidecar files."""
        rows = self._rows(
            "SELECT text FROM texts WHERE channel = 'sidecar' GROUP BY text ORDER BY count(*) DESC, text LIMIT ?",
            (limit,),
        )
        return tuple(text for (text,) in rows)

    def version(self) -> str:
        """Changes when texts do."""
        ((count, last),) = self._rows("SELECT count(*), max(id) FROM texts")
        return f"{count} {last}"

    def _count(self, term: Term) -> int:
        """In how many lines a term occurs, _COUNTED at most."""
        ((count,),) = self._rows(
            "SELECT count(*) FROM (SELECT 1 FROM texts_fts WHERE texts_fts MATCH ? LIMIT ?)",
            (term.as_match(), _COUNTED),
        )
        return int(count)

    def _num_lines(self) -> int:
        """At least so many there were; counting them all takes longer than a search."""
        ((last,),) = self._rows("SELECT max(id) FROM texts")
        return int(last or 0)

    def _tokenize(self, text: str) -> list[Token]:
        tokenizer = self._connection.fts5_tokenizer(*TOKENIZER)
        tokens = tokenizer(text.encode(), apsw.FTS5_TOKENIZE_DOCUMENT, None, include_colocated=False)
        return cast(list[Token], tokens)


_LINE = "start_s, end_s, texts.text, channel, language, confidence, word_starts_s"


def _line(
    start_s: float,
    end_s: float,
    text: str,
    channel: Channel,
    language: str | None,
    confidence: float | None,
    word_starts_s: str | None,
) -> TimedText:
    return TimedText(
        start_s=start_s,
        end_s=end_s,
        text=text,
        channel=channel,
        language=language,
        confidence=confidence,
        word_starts_s=tuple(json.loads(word_starts_s)) if word_starts_s else (),
    )
