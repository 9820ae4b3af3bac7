"""Collections of moments with tags, ratings and notes, tables of the catalog.

A moment is seconds of a video's content, no vector and no path: it outlives another model, indexing anew and moving.
Any process may change collections, even while another indexes.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from vlrlt.errors import ConfigError, NotFoundError
from vlrlt.index.library.shared import NAME, SharedTables
from vlrlt.types import ClipSpan

MAX_NOTE_CHARS = 2000
MAX_TAGS = 32
RATINGS = range(1, 6)
_SELECT = (
    "SELECT id, collection, content_hash, (SELECT path FROM files WHERE files.content_hash = kept_moments.content_hash "
    "ORDER BY missing_since IS NOT NULL, path LIMIT 1), start_s, end_s, title, rating, note, tags, added_at "
    "FROM kept_moments"
)


@dataclass(frozen=True, kw_only=True)
class KeptMoment:
    """A moment in a collection."""

    id: int
    """Names it in its library."""
    collection: str
    video_id: str
    video: str | None
    """Path; None: the library has forgotten the video."""
    start_s: float
    end_s: float
    title: str
    """What it shows: the query that found it."""
    rating: int | None
    """1 to 5."""
    note: str
    tags: tuple[str, ...]
    added_at: str
    """ISO 8601 in UTC."""

    @property
    def span(self) -> ClipSpan:
        """Its seconds."""
        return ClipSpan(self.start_s, self.end_s)

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape; `vlrlt cut` and `export` read it as a hit."""
        return {
            "id": self.id,
            "collection": self.collection,
            "video": self.video,
            "video_id": self.video_id,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "text": self.title or None,
            "rating": self.rating,
            "note": self.note,
            "tags": list(self.tags),
            "added_at": self.added_at,
        }


class Collections(SharedTables):
    """The collections of a library."""

    def all(self) -> dict[str, int]:
        """Their names, in order, and how many moments each has."""
        rows = self._execute(
            "SELECT name, count(kept_moments.id) FROM collections LEFT JOIN kept_moments ON collection = name "
            "GROUP BY name ORDER BY name"
        )
        return dict(rows)

    def moments(self, name: str, *, tag: str | None = None, min_rating: int | None = None) -> tuple[KeptMoment, ...]:
        """The moments of a collection in its order.

        Args:
            name: of the collection.
            tag: only those that have it.
            min_rating: only those that have at least this one.

        Raises:
            NotFoundError: there is no such collection.
        """
        self._check_known(name)
        found = map(_moment, self._execute(f"{_SELECT} WHERE collection = ? ORDER BY place, id", (name,)))
        return tuple(
            moment
            for moment in found
            if (tag is None or tag in moment.tags) and (min_rating is None or (moment.rating or 0) >= min_rating)
        )

    def get(self, moment_id: int) -> KeptMoment:
        """One moment.

        Raises:
            NotFoundError: there is none with this id.
        """
        for row in self._execute(f"{_SELECT} WHERE id = ?", (moment_id,)):
            return _moment(row)
        raise NotFoundError(f"no kept moment {moment_id}; vlrlt collection show NAME lists their ids")

    def add(
        self,
        name: str,
        *,
        video_id: str,
        span: ClipSpan,
        title: str = "",
        rating: int | None = None,
        note: str = "",
        tags: Iterable[str] = (),
    ) -> KeptMoment:
        """Put a moment at the end of a collection, which is made if there is none of that name.

        A moment that is in it already stays where it is, and gets what is given of title, rating, note and tags.

        Raises:
            ConfigError: the name has other signs than letters, digits, spaces, ".", "_" and "-"; or a rating, note or
                tag is not allowed.
            LibraryError: the library cannot be written.
        """
        if not re.fullmatch(NAME, name):
            raise ConfigError(f"a collection needs a name of letters, digits, spaces, . and -, got {name!r:.100}")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        ((number,),) = self._execute(
            "INSERT OR IGNORE INTO collections VALUES (:name, :now); "
            "INSERT INTO kept_moments SELECT NULL, :name, 1 + ifnull(max(place), 0), :video, :start_s, :end_s, :title, "
            ":rating, :note, :tags, :now FROM kept_moments WHERE collection = :name AND true "
            "ON CONFLICT (collection, content_hash, start_s, end_s) DO UPDATE SET "
            "title = ifnull(nullif(excluded.title, ''), title), rating = ifnull(excluded.rating, rating), "
            "note = ifnull(nullif(excluded.note, ''), note), tags = ifnull(nullif(excluded.tags, '[]'), tags) "
            "RETURNING id",
            {
                "name": name,
                "now": now,
                "video": video_id,
                "start_s": span.start_s,
                "end_s": span.end_s,
                "title": _checked_note(title),
                "rating": _checked_rating(rating),
                "note": _checked_note(note),
                "tags": _checked_tags(tags),
            },
        )
        return self.get(number)

    def change(
        self,
        moment_id: int,
        *,
        rating: int | Literal["none"] | None = None,
        note: str | None = None,
        tags: Iterable[str] | None = None,
        place: int | None = None,
        span: ClipSpan | None = None,
    ) -> KeptMoment:
        """Change what is given of a moment; None leaves it as it is.

        Args:
            moment_id: of the moment.
            rating: 1 to 5; "none" takes it away.
            note: the new one.
            tags: all of them.
            place: where it stands from now on, 1 is first.
            span: its new seconds.

        Raises:
            NotFoundError: there is no such moment.
            ConfigError: a value is not allowed, or the collection has these seconds already.
        """
        moment = self.get(moment_id)
        new_rating = moment.rating if rating is None else None if rating == "none" else _checked_rating(rating)
        new_span = span or moment.span
        before = self.moments(moment.collection)
        others = [one.id for one in before if one.id != moment_id]
        if any(one.id != moment_id and (one.video_id, one.span) == (moment.video_id, new_span) for one in before):
            raise ConfigError(f"{moment.collection!r} already has these seconds of the video")
        at = [one.id for one in before].index(moment_id) if place is None else max(0, place - 1)
        others.insert(at, moment_id)
        self._execute(
            "UPDATE kept_moments SET rating = :rating, note = :note, tags = :tags, start_s = :start_s, end_s = :end_s "
            "WHERE id = :id; UPDATE kept_moments SET place = "
            "(SELECT key FROM json_each(:order) WHERE value = kept_moments.id) WHERE collection = :name",
            {
                "id": moment_id,
                "rating": new_rating,
                "name": moment.collection,
                "order": json.dumps(others),
                "note": moment.note if note is None else _checked_note(note),
                "tags": _checked_tags(moment.tags if tags is None else tags),
                "start_s": new_span.start_s,
                "end_s": new_span.end_s,
            },
        )
        return self.get(moment_id)

    def remove(self, moment_id: int) -> None:
        """Take a moment out of its collection.

        Raises:
            NotFoundError: there is no such moment.
        """
        self.get(moment_id)
        self._execute("DELETE FROM kept_moments WHERE id = ?", (moment_id,))

    def delete(self, name: str) -> None:
        """Forget a collection with all of its moments.

        Raises:
            NotFoundError: there is no such collection.
        """
        self._check_known(name)
        self._execute(
            "DELETE FROM kept_moments WHERE collection = :name; DELETE FROM collections WHERE name = :name",
            {"name": name},
        )

    def _check_known(self, name: str) -> None:
        names = self.all()
        if name not in names:
            raise NotFoundError(f"no collection {name!r:.100}; collections are: {', '.join(names) or 'none'}")


def _moment(row: tuple[Any, ...]) -> KeptMoment:
    number, collection, content_hash, path, start_s, end_s, title, rating, note, tags, added_at = row
    return KeptMoment(
        id=number,
        collection=collection,
        video_id=content_hash,
        video=None if path is None else os.fsdecode(path),
        start_s=start_s,
        end_s=end_s,
        title=title,
        rating=rating,
        note=note,
        tags=tuple(json.loads(tags)),
        added_at=added_at,
    )


def _checked_rating(rating: int | None) -> int | None:
    if rating is not None and rating not in RATINGS:
        raise ConfigError(f"a rating must be a whole number from 1 to 5, got {rating!r}")
    return rating


def _checked_note(note: str) -> str:
    if len(note) > MAX_NOTE_CHARS:
        raise ConfigError(f"a title or a note has {MAX_NOTE_CHARS} characters at most, got {len(note)}")
    return note.encode(errors="replace").decode()


def _checked_tags(tags: Iterable[str]) -> str:
    """Each once, in their order, as JSON."""
    listed = list(dict.fromkeys(" ".join(tag.split()) for tag in tags))
    if len(listed) > MAX_TAGS or not all(re.fullmatch(NAME, tag) for tag in listed):
        allowed = f"{MAX_TAGS} tags at most, of letters, digits, spaces, . and -"
        raise ConfigError(f"a moment has {allowed}; got {listed!r:.200}")
    return json.dumps(listed)
