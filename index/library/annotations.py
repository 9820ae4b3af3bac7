"""Import timed texts and metadata of sidecar files and cameras into the catalog.

A row belongs to a video's content, not to its path: it outlives moving and indexing anew.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from vlrlt.errors import AnnotationError, ConfigError
from vlrlt.index.library.schema import Tables
from vlrlt.index.library.sidecars import MetadataValue, Sidecar, is_sidecar, read_sidecar
from vlrlt.index.library.timed_texts import TimedTexts
from vlrlt.index.library.video_names import VideoNames
from vlrlt.types import CameraFacts


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import has done."""

    files: int
    videos: int
    """That something is known of now."""
    texts: int
    metadata: int
    """Keys with their values."""
    unmatched: tuple[str, ...]
    """Names of videos in the files that the library does not have."""
    problems: tuple[str, ...]
    """What is wrong with files that were found in a folder and not taken."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt import --json`."""
        return {**vars(self), "unmatched": list(self.unmatched), "problems": list(self.problems)}

    def as_text(self) -> str:
        """The same for people."""
        lines = [f"{self.files} files: {self.texts} texts and {self.metadata} metadata values of {self.videos} videos"]
        if self.unmatched:
            names = ", ".join(self.unmatched[:5]) + (" ..." if len(self.unmatched) > 5 else "")
            lines.append(f"{len(self.unmatched)} names do not belong to an indexed video: {names}")
        lines += [f"not imported: {problem}" for problem in self.problems]
        return "\n".join(lines)


class Annotations(Tables):
    """What sidecars say, and cameras where sidecars do not."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        super().__init__(connection, path)
        self._texts = TimedTexts(connection, path)

    def import_files(self, paths: Iterable[Path]) -> ImportReport:
        """Take over what sidecar files say; what the same file said before is replaced.

        Args:
            paths: files, or folders in which to look for them. A file that is named must be readable; of those in a
                folder that are not, the report tells.

        Raises:
            ConfigError: a path does not exist.
            AnnotationError: a file that was named cannot be read.
        """
        videos = self._videos_by_name()
        report = {"files": 0, "texts": 0, "metadata": 0}
        seen: set[str] = set()
        unmatched: set[str] = set()
        problems: list[str] = []
        for path, named in _find_sidecars(paths):
            if not named and path.suffix.lower() == ".json" and not videos.find(path.stem, beside=path):
                continue  # of something else
            try:
                sidecar = read_sidecar(path)
            except AnnotationError as error:
                if named:
                    raise
                problems.append(str(error))
                continue
            known = self._store(sidecar, videos, report)
            report["files"] += 1
            seen |= known
            unmatched |= {name for name in (*sidecar.texts, *sidecar.metadata) if not videos.find(name, beside=path)}
        return ImportReport(videos=len(seen), unmatched=tuple(sorted(unmatched)), problems=tuple(problems), **report)

    def metadata(self) -> dict[str, dict[str, MetadataValue]]:
        """Content hash -> key -> value; where a sidecar and the camera disagree, the sidecar is right."""
        found = {
            content_hash: camera_metadata(CameraFacts.from_json(json.loads(facts)))
            for content_hash, facts in self._rows("SELECT content_hash, facts FROM cameras")
        }
        for content_hash, key, value in self._rows("SELECT content_hash, key, value FROM metadata"):
            found.setdefault(content_hash, {})[key] = json.loads(value)
        return found

    def sidecar_of(self, content_hash: str) -> dict[str, MetadataValue]:
        """What sidecars say of one video."""
        rows = self._rows("SELECT key, value FROM metadata WHERE content_hash = ?", (content_hash,))
        return {key: json.loads(value) for key, value in rows}

    def without_camera(self) -> tuple[tuple[Path, str], ...]:
        """Path and content hash of the searchable files that are there and whose header nobody has read."""
        rows = self._rows(
            "SELECT path, content_hash FROM files WHERE missing_since IS NULL AND content_hash IN "
            "(SELECT content_hash FROM videos WHERE state <> 'failed') AND content_hash NOT IN "
            "(SELECT content_hash FROM cameras) GROUP BY content_hash ORDER BY path"
        )
        return tuple((Path(os.fsdecode(path)), content_hash) for path, content_hash in rows)

    def note_camera(self, content_hash: str, facts: CameraFacts) -> None:
        """Keep what the header of a file says."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO cameras VALUES (?, ?)", (content_hash, json.dumps(facts.as_json()))
            )

    def version(self) -> str:
        """Changes when metadata do."""
        return json.dumps(self.metadata(), sort_keys=True)

    def _videos_by_name(self) -> VideoNames:
        """The searchable videos."""
        rows = self._rows(
            "SELECT path, content_hash FROM files JOIN videos USING (content_hash) JOIN models USING (fingerprint) "
            "WHERE active AND state <> 'failed'"
        )
        return VideoNames((Path(os.fsdecode(path)), content_hash) for path, content_hash in rows)

    def _store(self, sidecar: Sidecar, videos: VideoNames, report: dict[str, int]) -> set[str]:
        """All that one file says, or nothing; returns the content hashes of its videos."""
        known: set[str] = set()
        source = os.fsencode(sidecar.path.resolve()).decode(errors="backslashreplace")
        with self._transaction():
            self._connection.execute("DELETE FROM texts WHERE maker = ? AND channel = 'sidecar'", (source,))
            for name, lines in sidecar.texts.items():
                for content_hash in videos.find(name, beside=sidecar.path):
                    self._texts.add(content_hash, lines, maker=source)
                    report["texts"] += len(lines)
                    known.add(content_hash)
            for name, facts in sidecar.metadata.items():
                for content_hash in videos.find(name, beside=sidecar.path):
                    values = [(content_hash, key, json.dumps(value)) for key, value in facts.items()]
                    self._connection.executemany("INSERT OR REPLACE INTO metadata VALUES (?, ?, ?)", values)
                    report["metadata"] += len(values)
                    known.add(content_hash)
        return known


def camera_metadata(facts: CameraFacts) -> dict[str, MetadataValue]:
    """What a camera says, by the keys that filters and sidecars use."""
    known: dict[str, MetadataValue | None] = {
        "recorded_at": facts.created_at,
        "camera": facts.device,
        "timecode": facts.timecode,
        "reel": facts.reel,
        "fps": None if facts.rate is None else round(float(facts.rate), 3),
        "latitude": facts.latitude,
        "longitude": facts.longitude,
        "altitude_m": facts.altitude_m,
        "audio_tracks": float(facts.audio_tracks),
        "chapters": float(facts.chapters) or None,
        "hdr": facts.transfer,
        "interlaced": facts.interlaced or None,
    }
    return {key: value for key, value in known.items() if value is not None}


def _find_sidecars(paths: Iterable[Path]) -> list[tuple[Path, bool]]:
    """Files, and whether each was named rather than found in a folder."""
    found: dict[Path, bool] = {}
    for path in paths:
        if path.is_dir():
            found |= {file: False for file in sorted(_files_below(path)) if is_sidecar(file)}
        elif path.exists():
            found[path] = True
        else:
            raise ConfigError(f"{path} does not exist; give sidecar files or folders")
    return list(found.items())


def _files_below(folder: Path) -> Iterator[Path]:
    """All files, also those of linked folders; a link that leads back is not followed twice."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        yield from (Path(parent) / name for name in names)
