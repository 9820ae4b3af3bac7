"""What alerts have told: each moment once, whatever the library is indexed with later."""

import json
from collections.abc import Collection

from vlrlt.index.library.shared import SharedTables
from vlrlt.types import ClipSpan

_FINISHED = (
    "SELECT content_hash FROM videos JOIN models USING (fingerprint) WHERE active AND state IN ('indexed', 'partial')"
)


class AlertLog(SharedTables):
    """Which videos each alert has looked through, and which moments it has told of them."""

    def begin(self, search: str) -> None:
        """Begin an alert by its search's name: what is in the library now is not new. Only the first time counts.

        Raises:
            LibraryError: the library cannot be written.
        """
        self._execute(
            f"INSERT OR IGNORE INTO alert_checks SELECT :search, content_hash FROM ({_FINISHED}) "
            "WHERE NOT EXISTS (SELECT 1 FROM alerts WHERE search = :search); "
            "INSERT OR IGNORE INTO alerts VALUES (:search)",
            {"search": search},
        )

    def unchecked(self, search: str) -> tuple[str, ...]:
        """Content hashes of the finished videos that the alert has not looked through."""
        rows = self._execute(
            f"{_FINISHED} AND content_hash NOT IN (SELECT content_hash FROM alert_checks WHERE search = ?) "
            "ORDER BY videos.id",
            (search,),
        )
        return tuple(content_hash for (content_hash,) in rows)

    def was_told(self, search: str, video_id: str, span: ClipSpan) -> bool:
        """Whether a moment that overlaps these seconds was told."""
        return bool(
            self._execute(
                "SELECT 1 FROM alert_moments WHERE search = ? AND content_hash = ? AND start_s < ? AND end_s > ?",
                (search, video_id, span.end_s, span.start_s),
            )
        )

    def note_told(self, search: str, video_id: str, span: ClipSpan) -> None:
        """A moment was told."""
        self._execute("INSERT INTO alert_moments VALUES (?, ?, ?, ?)", (search, video_id, span.start_s, span.end_s))

    def note_checked(self, search: str, video_ids: Collection[str]) -> None:
        """All moments of these videos were told."""
        self._execute(
            "INSERT OR IGNORE INTO alert_checks SELECT ?, value FROM json_each(?)",
            (search, json.dumps(list(video_ids))),
        )
