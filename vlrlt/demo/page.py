"""The report of the demo: a contact sheet of the answers, and one HTML file with answers and numbers."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageFont

from vlrlt import __version__
from vlrlt.datasets.epic import Narration
from vlrlt.evaluate.epic_mir import EpicMirReport
from vlrlt.formats import data_url, format_span, format_time
from vlrlt.index.run.run_report import IndexReport
from vlrlt.types import Moment


@dataclass(frozen=True, kw_only=True)
class DemoHit:
    """A moment that a query found, and what the annotations say of it."""

    moment: Moment
    action: Narration | None
    """The annotated action that it shows; None: nothing happens there."""
    right: bool
    """It shows an action of the verb and noun that were asked for."""
    still: bytes
    """JPEG of its middle."""
    film: bytes
    """mp4 of all of it."""

    @property
    def annotated(self) -> str:
        """The action in words."""
        return "no action" if self.action is None else self.action.narration

    @property
    def times(self) -> str:
        """For example 00:12.0 - 00:14.5."""
        return format_span(self.moment.start_s, self.moment.end_s)

    @property
    def video_name(self) -> str:
        """Without folder and suffix."""
        return Path(self.moment.video).stem


@dataclass(frozen=True, kw_only=True)
class DemoQuery:
    """A query and what came back."""

    text: str
    num_actions: int
    """Annotated actions of its verb and noun in the archive."""
    num_found: int
    """Those of them that an answer shows."""
    answers: tuple[DemoHit, ...]
    """The best first."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to spend tokens, its cost and its quality."""

    name: str
    num_frames: int
    tokens_per_clip: float
    report: EpicMirReport


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """Everything that a demo has found out."""

    model: str
    index: IndexReport
    questions: tuple[DemoQuery, ...]
    variants: tuple[Variant, ...]
    """The model as it is comes first."""
    commands: tuple[str, ...]
    """What to try next."""


def render_html(report: DemoReport) -> str:
    """The report as one HTML file: pictures and films are inside, it loads nothing."""
    environment = Environment(
        loader=PackageLoader("vlrlt"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"time": format_time, "data_uri": data_url}
    return environment.get_template("report.html.j2").render(report=report, version=__version__)


_TITLE_PX, _LABEL_PX, _MARGIN_PX = 64, 230, 20
_THUMB_PX = (288, 216)
_FRAME_PX = 5
_CAPTION_PX = 46
_INK, _FAINT, _PAPER = "#1c2430", "#667085", "#ffffff"
_GREEN, _GREY = "#1f9d55", "#c5cbd5"


def draw_contact_sheet(questions: Sequence[DemoQuery]) -> Image.Image:
    """One row for each query, the best answer first; right ones are framed green."""
    cell_width_px, cell_height_px = _THUMB_PX[0] + _MARGIN_PX, _THUMB_PX[1] + _CAPTION_PX + _MARGIN_PX
    num_columns = max(len(question.answers) for question in questions)
    size_px = (
        2 * _MARGIN_PX + _LABEL_PX + num_columns * cell_width_px,
        _TITLE_PX + _MARGIN_PX + len(questions) * cell_height_px,
    )
    sheet = Image.new("RGB", size_px, _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN_PX, _MARGIN_PX), "Moments found by words", fill=_INK, font=ImageFont.load_default(26))
    draw.text(
        (size_px[0] - _MARGIN_PX, _MARGIN_PX + 6),
        "green: the annotations say the same",
        fill=_GREEN,
        font=ImageFont.load_default(18),
        anchor="ra",
    )
    for row, question in enumerate(questions):
        top_px = _TITLE_PX + _MARGIN_PX + row * cell_height_px
        draw.text((_MARGIN_PX, top_px), question.text, fill=_INK, font=ImageFont.load_default(24))
        found = f"{question.num_found} of {question.num_actions} found"
        draw.text((_MARGIN_PX, top_px + 34), found, fill=_FAINT, font=ImageFont.load_default(17))
        for column, answer in enumerate(question.answers):
            left_px = _MARGIN_PX + _LABEL_PX + column * cell_width_px
            _draw_answer(sheet, draw, answer, left_px=left_px, top_px=top_px)
    return sheet


def _draw_answer(sheet: Image.Image, draw: ImageDraw.ImageDraw, answer: DemoHit, *, left_px: int, top_px: int) -> None:
    """Thumbnail with a frame, times, score, and what is annotated there."""
    width_px, height_px = _THUMB_PX
    frame = (left_px - _FRAME_PX, top_px - _FRAME_PX, left_px + width_px + _FRAME_PX, top_px + height_px + _FRAME_PX)
    draw.rectangle(frame, fill=_GREEN if answer.right else _GREY)
    with Image.open(io.BytesIO(answer.still)) as still:
        sheet.paste(still.resize(_THUMB_PX, Image.Resampling.LANCZOS), (left_px, top_px))
    font, bottom_px = ImageFont.load_default(16), top_px + height_px + _FRAME_PX + 4
    draw.text((left_px, bottom_px), f"{answer.video_name}  {answer.times}", fill=_INK, font=font)
    right_px = left_px + width_px
    draw.text((right_px, bottom_px), f"{answer.moment.score:.3f}", fill=_FAINT, font=font, anchor="ra")
    draw.text((left_px, bottom_px + 20), answer.annotated, fill=_GREEN if answer.right else _FAINT, font=font)
