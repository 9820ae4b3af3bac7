"""Examples of a benchmark as one HTML page with pictures: queries, answers and the correct answers."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos
from vlrlt.errors import DecodeError
from vlrlt.formats import data_url
from vlrlt.metrics import FloatArray
from vlrlt.types import Float64Array
from vlrlt.video.chunks import read_frames

NUM_EXAMPLES = 24
NUM_ANSWERS = 5
_WIDTH_PX = 240


@dataclass(frozen=True)
class Card:
    """A text, a clip, or both."""

    text: str
    picture: bytes | None = None
    """JPEG."""
    score: float | None = None
    fits: float = 0.0
    """How right it is, in [0, 1]: 1 is framed green, a part of it yellow."""


@dataclass(frozen=True)
class Example:
    """One query with its best answers, the best first."""

    query: Card
    answers: tuple[Card, ...]


def write_gallery(path: Path, *, title: str, examples: Sequence[Example]) -> None:
    """Write the page; pictures are inside, it loads nothing."""
    environment = Environment(
        loader=PackageLoader("vlrlt"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["jpeg"] = data_url
    page = environment.get_template("gallery.html.j2").render(title=title, examples=examples)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def spread(num_rows: int) -> list[int]:
    """Up to NUM_EXAMPLES rows, evenly spread over all."""
    step = max(1, num_rows // NUM_EXAMPLES)
    return list(range(0, num_rows, step))[:NUM_EXAMPLES]


def best(scores_C: FloatArray) -> list[int]:
    """The NUM_ANSWERS highest columns, the best first."""
    return [int(column) for column in (-scores_C).argsort(kind="stable")[:NUM_ANSWERS]]


def still(dataset: CaptionedVideos, span: CaptionedSpan) -> bytes | None:
    """The middle of a span as a small JPEG; None if it cannot be read.

    Raises:
        AnnotationError: the video is missing.
    """

    def middle(duration: Callable[[], float]) -> Float64Array:
        return np.array([(span.start_s + (duration() if span.stop_s is None else span.stop_s)) / 2])

    try:
        (frame,) = read_frames(dataset.video_path(span.video_id), middle, backend="pyav")
    except DecodeError:
        return None
    image = Image.fromarray(frame.rgb_HWC)
    image.thumbnail((_WIDTH_PX, _WIDTH_PX))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return content.getvalue()
