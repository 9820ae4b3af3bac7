"""Descriptions of moments in one video each: Ego4D NLQ and GoalStep, Charades-STA, QVHighlights, as published.

Sources: github.com/EGO4D/episodic-memory (NLQ), facebookresearch/ego4d-goalstep (step_grounding/tools turns its files
into those of NLQ in the same order), jiyanggao/TALL (Charades-STA), jayleicn/moment_detr (QVHighlights).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlrlt.datasets.base import find_video
from vlrlt.datasets.tables import read_json_object, read_lines
from vlrlt.errors import AnnotationError
from vlrlt.types import ClipSpan

Window = tuple[float, float]
"""[start_s, end_s); annotations have some that end when they start, and those nothing can overlap."""
_CHARADES_LINE = re.compile(r"(?P<video>\S+) +(?P<start>\d+(?:\.\d+)?) +(?P<end>\d+(?:\.\d+)?) *## *(?P<text>.*\S)")
SALIENT = 4
"""QVHighlights: "very good", of 0 to 4."""


@dataclass(frozen=True, kw_only=True)
class MomentQuery:
    """What to find in one video."""

    keys: Mapping[str, Any]
    """What the official files know it by."""
    path: Path
    """The video's file."""
    text: str
    windows: tuple[Window, ...]
    """Right answers, in seconds of the part."""
    part: ClipSpan | None = None
    """The seconds of the file that are searched, where it holds more than what was annotated; None: all of it."""
    salient: frozenset[int] = field(default_factory=frozenset)
    """QVHighlights: numbers of the clips of 2 s that at least one of three people calls very good."""


def read_nlq(file: Path, videos_dir: Path) -> tuple[MomentQuery, ...]:
    """nlq_{train,val}.json of Ego4D. A clip is a file CLIP_UID.mp4, or its part of VIDEO_UID.mp4.

    Raises:
        AnnotationError: a file is missing, or an entry is not as published.
    """
    queries: list[MomentQuery] = []
    for video in _videos(file):
        for clip in _list(file, video, "clips"):
            path, part = _clip_or_video(file, clip, video, videos_dir)
            for annotation in _list(file, clip, "annotations"):
                for number, item in enumerate(_list(file, annotation, "language_queries")):
                    if not str(item.get("query") or "").strip():
                        continue  # the published files have a few without words; their numbers count
                    window = _window(file, item, "clip_start_sec", "clip_end_sec")
                    keys = {
                        "clip_uid": clip["clip_uid"],
                        "annotation_uid": annotation.get("annotation_uid"),
                        "query_idx": number,
                    }
                    text = str(item["query"]).strip()
                    queries.append(MomentQuery(keys=keys, path=path, text=text, windows=(window,), part=part))
    return _some(file, queries)


def read_goalstep(file: Path, videos_dir: Path) -> tuple[MomentQuery, ...]:
    """goalstep_{train,valid}.json: every step and substep, by its description; the file of a video is the whole of it.

    Raises:
        AnnotationError: a file is missing, or an entry is not as published.
    """
    queries: list[MomentQuery] = []
    for video in _videos(file):
        uid = str(video.get("video_uid"))
        path = find_video(uid, (videos_dir,))
        annotation_uid = f"{uid}_{video.get('start_time')}_{video.get('end_time')}"
        for number, step in enumerate(_steps(file, video)):
            keys = {"clip_uid": uid, "annotation_uid": annotation_uid, "query_idx": number}
            window = _window(file, step, "start_time", "end_time")
            text = str(step.get("step_description") or "").strip()
            queries.append(MomentQuery(keys=keys, path=path, text=text, windows=(window,)))
    return _some(file, queries)


def read_charades_sta(file: Path, videos_dir: Path) -> tuple[MomentQuery, ...]:
    """charades_sta_{train,test}.txt: VIDEO START END##SENTENCE.

    Raises:
        AnnotationError: a file is missing, or a line is not as published.
    """
    queries = []
    for number, line in enumerate(read_lines(file), start=1):
        found = _CHARADES_LINE.fullmatch(line.strip())
        if found is None:
            raise AnnotationError(f"{file}:{number}: must be VIDEO START END##SENTENCE, got {line!r:.100}")
        video_id, text, window = found["video"], found["text"], (float(found["start"]), float(found["end"]))
        path = find_video(video_id, (videos_dir,))
        keys = {"video": video_id, "line": number}
        queries.append(MomentQuery(keys=keys, path=path, text=text, windows=(window,)))
    return _some(file, queries)


def read_qvhighlights(file: Path, videos_dir: Path) -> tuple[MomentQuery, ...]:
    """highlight_{train,val}_release.jsonl; a video is a file VID.mp4 of at most 150 s.

    Raises:
        AnnotationError: a file is missing, or a line is not as published.
    """
    queries = []
    for number, line in enumerate(read_lines(file), start=1):
        try:
            item = json.loads(line)
            windows = tuple((float(start), float(end)) for start, end in item["relevant_windows"])
            clips = zip(item["relevant_clip_ids"], item["saliency_scores"], strict=True)
            salient = frozenset(int(clip) for clip, scores in clips if max(scores) >= SALIENT)
            keys = {"qid": item["qid"], "query": item["query"], "vid": item["vid"]}
            text, video_id = str(item["query"]), str(item["vid"])
        except (ValueError, KeyError, TypeError) as error:
            raise AnnotationError(f"{file}:{number}: does not have the published format: {error!r}") from error
        path = find_video(video_id, (videos_dir,))
        queries.append(MomentQuery(keys=keys, path=path, text=text, windows=windows, salient=salient))
    return _some(file, queries)


def _videos(file: Path) -> list[dict[str, Any]]:
    return _list(file, read_json_object(file), "videos")


def _list(file: Path, item: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = item.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise AnnotationError(f"{file}: {key} must be a list of JSON objects, got {found!r:.60}")
    return found


def _steps(file: Path, video: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each step, then its substeps."""
    for step in _list(file, video, "segments"):
        yield step
        yield from _list(file, step, "segments")


def _window(file: Path, item: dict[str, Any], start: str, end: str) -> Window:
    try:
        window = (float(item[start]), float(item[end]))
    except (KeyError, TypeError, ValueError) as error:
        raise AnnotationError(f"{file}: {start} and {end} must be seconds, in {item!r:.100}") from error
    if not all(map(math.isfinite, window)):
        raise AnnotationError(f"{file}: {start} and {end} must be finite, got {window}")
    return window


def _clip_or_video(
    file: Path, clip: dict[str, Any], video: dict[str, Any], videos_dir: Path
) -> tuple[Path, ClipSpan | None]:
    try:
        return find_video(str(clip.get("clip_uid")), (videos_dir,)), None
    except AnnotationError:
        path = find_video(str(video.get("video_uid")), (videos_dir,))
    start_s, end_s = _window(file, clip, "video_start_sec", "video_end_sec")
    if not 0 <= start_s < end_s:
        raise AnnotationError(f"{file}: clip {clip.get('clip_uid')} must end after it starts, got {start_s}, {end_s}")
    return path, ClipSpan(start_s, end_s)


def _some(file: Path, queries: list[MomentQuery]) -> tuple[MomentQuery, ...]:
    if not queries:
        raise AnnotationError(f"{file}: has no query with words and times; test files without answers cannot be scored")
    return tuple(queries)
