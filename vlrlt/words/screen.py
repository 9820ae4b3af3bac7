"""Text in the picture: read once where something new appears, and noted for as long as it stands there.

Source: PP-OCR by RapidOCR (https://github.com/RapidAI/RapidOCR).
"""

import difflib
import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xxhash

from vlrlt.extras import require
from vlrlt.types import BoolArray, Channel, ClipSpan, TimedText, UInt8Array
from vlrlt.video.new_pictures import LOOK_S, PATCH_PX, NewPicture, new_pictures
from vlrlt.words.reader import PART_S, ReadPart

LEAST_SCORE = 0.6
"""Of the recognition, in [0, 1]: what is less sure is taken for a pattern."""
SAME_TEXT = 0.8
"""Ratio of equal characters from which two readings at one place are the same text."""
_CALL_S = 60.0
"""One child looks at so much of a video."""
_DIGITS = re.compile(r"\d")
_FORMAT = "1"

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True)
class Seen:
    """A text and where it stands."""

    text: str
    score: float
    box: Box


class Recognizer(Protocol):
    """Reads the text in a picture."""

    name: str
    fingerprint: str

    def __call__(self, rgb_HWC: UInt8Array) -> Sequence[Seen]:
        """What is written in it, from top to bottom."""


class RapidOcr:
    """PP-OCR as ONNX, with the weights of its package.

    Raises:
        MissingExtraError: it is not installed.
    """

    def __init__(self) -> None:
        require("onnxruntime", extra="ocr")
        rapidocr = require("rapidocr", extra="ocr")
        self._engine: Any = rapidocr.RapidOCR(params={"Global.log_level": "critical"})
        self.name = f"rapidocr {importlib.metadata.version('rapidocr')}"
        self.fingerprint = self.name

    def __call__(self, rgb_HWC: UInt8Array) -> Sequence[Seen]:
        """As Recognizer; its own order of colours is BGR."""
        found = self._engine(np.ascontiguousarray(rgb_HWC[..., ::-1]))
        if found.boxes is None:
            return ()
        boxes = [(*corners.min(axis=0).astype(int), *corners.max(axis=0).astype(int)) for corners in found.boxes]
        return tuple(
            Seen(text, float(score), (int(left), int(top), int(right), int(bottom)))
            for text, score, (left, top, right, bottom) in zip(found.txts, found.scores, boxes, strict=True)
        )


@dataclass(frozen=True)
class _Standing:
    """A text that stands in the picture now."""

    seen: Seen
    since_s: float


class ScreenReader:
    """Reads what is written in the picture.

    Args:
        recognizer: reads a picture; None: RapidOCR.
    """

    channel: Channel = "screen"

    def __init__(self, recognizer: Recognizer | None = None) -> None:
        self._recognizer = recognizer or RapidOcr()
        self.name = self._recognizer.name
        self.maker = xxhash.xxh3_128_hexdigest(f"{_FORMAT} {self._recognizer.fingerprint}".encode())
        self.num_calls = 0
        """How often a picture was read."""

    def read(self, path: Path, *, start_s: float, duration_s: float) -> Iterator[ReadPart]:
        """As ChannelReader; a text that stands longer than a part is a line in each."""
        while start_s < duration_s:
            end_s = min(start_s + PART_S, duration_s)
            page = _Page()
            calls_before, problem = self.num_calls, None
            for call_s in np.arange(start_s, end_s, _CALL_S).tolist():
                looks, reason = new_pictures(path, ClipSpan(call_s, min(call_s + _CALL_S, end_s)))
                problem = problem or reason
                for look in looks:
                    page.turn(look, self._see(look))
            busy_s = LOOK_S * (self.num_calls - calls_before)
            yield ReadPart(lines=page.closed(end_s), done_s=end_s, busy_s=min(busy_s, end_s - start_s), problem=problem)
            start_s = end_s

    def _see(self, look: NewPicture) -> Sequence[Seen]:
        """What is written where the picture is new."""
        if look.rgb_HWC is None:
            return ()
        self.num_calls += 1
        left, top, right, bottom = _around(look.new_PQ, look.rgb_HWC.shape)
        found = self._recognizer(look.rgb_HWC[top:bottom, left:right])
        return [
            replace(seen, box=(seen.box[0] + left, seen.box[1] + top, seen.box[2] + left, seen.box[3] + top))
            for seen in found
            if seen.score >= LEAST_SCORE and seen.text.strip()
        ]


class _Page:
    """What stands in the picture, and what has stood there."""

    def __init__(self) -> None:
        self._standing: list[_Standing] = []
        self._lines: list[TimedText] = []

    def turn(self, look: NewPicture, seen: Sequence[Seen]) -> None:
        """Take over what one look has found: texts whose place has changed end, unless they were read again."""
        unmatched = list(seen)
        kept = []
        for standing in self._standing:
            same = next((one for one in unmatched if _is_same(one, standing.seen)), None)
            if same is not None:
                unmatched.remove(same)
                kept.append(replace(standing, seen=max(same, standing.seen, key=lambda one: one.score)))
            elif _covered(standing.seen.box, look.changed_PQ):
                self._end(standing, look.time_s)
            else:
                kept.append(standing)
        self._standing = kept + [_Standing(one, look.time_s) for one in unmatched]

    def closed(self, end_s: float) -> list[TimedText]:
        """All lines, by time; what still stands ends here."""
        for standing in self._standing:
            self._end(standing, end_s)
        self._standing = []
        return sorted(self._lines, key=lambda line: line.start_s)

    def _end(self, standing: _Standing, end_s: float) -> None:
        text = " ".join(standing.seen.text.split())
        line = TimedText(
            start_s=standing.since_s, end_s=end_s, text=text, channel="screen", confidence=standing.seen.score
        )
        if end_s > standing.since_s:
            self._lines.append(line)


def _around(mask_PQ: BoolArray, shape: tuple[int, ...]) -> Box:
    """The pixels around some patches, with one patch of margin."""
    rows, columns = np.flatnonzero(mask_PQ.any(axis=1)), np.flatnonzero(mask_PQ.any(axis=0))
    top, left = (max(0, int(edge[0]) - 1) * PATCH_PX for edge in (rows, columns))
    bottom, right = ((int(edge[-1]) + 2) * PATCH_PX for edge in (rows, columns))
    return left, top, min(right, shape[1]), min(bottom, shape[0])


def _covered(box: Box, mask_PQ: BoolArray) -> bool:
    """Whether a patch under the middle of a box is of a mask."""
    left, top, right, bottom = box
    middle = (top + bottom) // 2 // PATCH_PX
    return bool(mask_PQ[min(middle, len(mask_PQ) - 1), left // PATCH_PX : right // PATCH_PX + 1].any())


def _is_same(one: Seen, other: Seen) -> bool:
    """Whether two readings are of one text: equal wherever they stand, or nearly equal in one place; digits count."""
    if one.text == other.text:
        return True
    if _DIGITS.findall(one.text) != _DIGITS.findall(other.text):
        return False
    (l1, t1, r1, b1), (l2, t2, r2, b2) = one.box, other.box
    overlap = max(0, min(r1, r2) - max(l1, l2)) * max(0, min(b1, b2) - max(t1, t2))
    is_there = overlap > 0.5 * min((r1 - l1) * (b1 - t1), (r2 - l2) * (b2 - t2))
    return is_there and difflib.SequenceMatcher(None, one.text, other.text).ratio() >= SAME_TEXT
