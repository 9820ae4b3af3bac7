"""Your own videos: a CSV file with the columns video,start_s,end_s,caption, or a JSONL file with those keys.

start_s and end_s may be left empty (JSONL: absent or null): the whole video. video is a path under VIDEOS_DIR, with or
without its suffix.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos, Split, caption_actions, find_video
from vlrlt.datasets.relevancy import Action
from vlrlt.datasets.tables import Row, read_lines, read_rows
from vlrlt.errors import AnnotationError

COLUMNS = ("video", "start_s", "end_s", "caption")


@dataclass(frozen=True)
class CaptionFile(CaptionedVideos):
    """One file for each split; equal captions describe the same."""

    title = "this dataset"

    videos_dir: Path
    train_file: Path | None = None
    val_file: Path | None = None
    test_file: Path | None = None

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that were given a file."""
        return tuple(self._files)

    def spans(self, split: Split) -> tuple[CaptionedSpan, ...]:
        """The lines of a split's file; a video is a group."""
        self.require(split)
        path = self._files[split]
        rows = list(_jsonl_rows(path) if path.suffix == ".jsonl" else read_rows(path, COLUMNS))
        actions = caption_actions(row.cells["caption"] for row in rows)
        return tuple(_span(row, action) for row, action in zip(rows, actions, strict=True))

    def video_path(self, video_id: str) -> Path:
        """The file of a video, or its folder of chunks."""
        exact = self.videos_dir / video_id
        return exact if exact.exists() else find_video(video_id, (self.videos_dir,))

    @property
    def _files(self) -> dict[Split, Path]:
        files: dict[Split, Path | None] = {"train": self.train_file, "val": self.val_file, "test": self.test_file}
        return {split: file for split, file in files.items() if file is not None}


def _span(row: Row, action: Action) -> CaptionedSpan:
    start_s = row.number("start_s") if row.cells["start_s"] else 0.0
    stop_s = row.number("end_s") if row.cells["end_s"] else None
    if stop_s is not None and stop_s <= start_s:
        raise row.error("end_s", f"later than start_s {start_s}")
    return CaptionedSpan(
        span_id=f"{row.path.name}:{row.line}",
        video_id=row.text("video"),
        start_s=start_s,
        stop_s=stop_s,
        caption=row.text("caption"),
        action=action,
        group=row.cells["video"],
    )


def _jsonl_rows(path: Path) -> Iterator[Row]:
    for line, text in enumerate(read_lines(path), start=1):
        try:
            item = json.loads(text)
        except ValueError as error:
            raise AnnotationError(f"{path}:{line}: not JSON: {error}") from error
        if not isinstance(item, dict) or not {"video", "caption"} <= item.keys():
            raise AnnotationError(f"{path}:{line}: must be an object with {', '.join(COLUMNS)}, got {text!r}")
        yield Row(path, line, {name: "" if item.get(name) is None else str(item[name]) for name in COLUMNS})
