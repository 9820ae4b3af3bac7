"""Text in the picture: read where and when something new appears, noted for as long as it stands there.

Words are made of stripes, which a plain reader counts; PP-OCR reads real letters where it is installed.
"""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
import pytest
from colour import ColourEmbedder
from PIL import Image, ImageDraw, ImageFont
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.reading import read_channels
from vlrlt.service import Library
from vlrlt.types import ClipSpan, TimedText, UInt8Array
from vlrlt.video.new_pictures import MOVING_LOOKS, PATCH_PX, Watcher, new_pictures
from vlrlt.words.screen import ScreenReader, Seen, _is_same

HEIGHT_PX, WIDTH_PX = 288, 384
GREY = 128
STRIPE_PX, WORD_PX = 6, 40
Word = tuple[int, int, int]
"""How many stripes, and where their left upper corner is."""


def picture(words: Sequence[Word]) -> UInt8Array:
    grey_HW = np.full((HEIGHT_PX, WIDTH_PX), GREY, np.uint8)
    for stripes, left, top in words:
        bars = np.tile(np.repeat([0, 255], STRIPE_PX), stripes)
        grey_HW[top : top + WORD_PX, left : left + len(bars)] = bars
    return np.repeat(grey_HW[..., None], 3, axis=2)


class StripeReader:
    """Counts the dark stripes of each word in a picture; one word in a row."""

    name = "stripes"
    fingerprint = "stripes 1"
    shapes: ClassVar[list[tuple[int, ...]]] = []

    def __call__(self, rgb_HWC: UInt8Array) -> Sequence[Seen]:
        self.shapes.append(rgb_HWC.shape)
        grey_HW = rgb_HWC[..., 0].astype(int)
        is_word_HW = np.abs(grey_HW - GREY) > 60
        rows = np.flatnonzero(np.diff([0, *is_word_HW.any(axis=1).astype(int), 0]))
        found = []
        for top, bottom in rows.reshape(-1, 2):
            columns = np.flatnonzero(is_word_HW[(top + bottom) // 2])
            is_dark = grey_HW[(top + bottom) // 2, columns[0] : columns[-1] + 1] < GREY
            stripes = int(is_dark[0]) + sum(not before and after for before, after in pairwise(is_dark))
            found.append(Seen(str(stripes), 0.9, (int(columns[0]), int(top), int(columns[-1]) + 1, int(bottom))))
        return found


def write(path: Path, seconds: Sequence[UInt8Array]) -> Path:
    """A film of five frames a second that shows each picture for one second."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=5, options={"preset": "ultrafast", "crf": "15"})
        stream.height, stream.width, _ = seconds[0].shape
        stream.pix_fmt = "yuv420p"
        for number in range(5 * len(seconds)):
            frame = av.VideoFrame.from_ndarray(seconds[number // 5], format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def lines_of(path: Path, duration_s: float) -> tuple[list[TimedText], ScreenReader]:
    reader = ScreenReader(StripeReader())
    parts = list(reader.read(path, start_s=0, duration_s=duration_s))
    assert [part.problem for part in parts] == [None] * len(parts)
    return [line for part in parts for line in part.lines], reader


def texts(lines: Sequence[TimedText]) -> list[tuple[str, float, float]]:
    return [(line.text, line.start_s, line.end_s) for line in lines]


SIGN, SECOND = (5, 30, 20), (9, 60, 150)


def test_a_sign_that_stands_is_read_once(tmp_path: Path) -> None:
    both = range(8, 14)
    seconds = [picture([SIGN, SECOND] if second in both else [SIGN]) for second in range(20)]
    lines, reader = lines_of(write(tmp_path / "sign.mp4", seconds), 20)
    assert texts(lines) == [("5", 0, 20), ("9", 8, 14)]
    assert {line.channel for line in lines} == {"screen"}
    assert reader.num_calls == 2, "once a second would be twenty"


def test_only_the_part_that_is_new_is_read(tmp_path: Path) -> None:
    seconds = [picture([SIGN] if second < 3 else [SIGN, SECOND]) for second in range(6)]
    StripeReader.shapes.clear()
    lines_of(write(tmp_path / "x.mp4", seconds), 6)
    _, (height_px, width_px, _) = StripeReader.shapes
    assert height_px <= 5 * PATCH_PX
    assert width_px < WIDTH_PX


def test_a_text_that_becomes_another_ends(tmp_path: Path) -> None:
    seconds = [picture([(3 + second // 4, 30, 20)]) for second in range(12)]
    lines, _ = lines_of(write(tmp_path / "x.mp4", seconds), 12)
    assert texts(lines) == [("3", 0, 4), ("4", 4, 8), ("5", 8, 12)]


def test_a_picture_without_edges_is_never_read(tmp_path: Path) -> None:
    seconds = [np.full((HEIGHT_PX, WIDTH_PX, 3), 40 * (second % 5), np.uint8) for second in range(10)]
    lines, reader = lines_of(write(tmp_path / "x.mp4", seconds), 10)
    assert (lines, reader.num_calls) == ([], 0)


def test_what_never_comes_to_rest_is_read_at_every_second_look() -> None:
    rng, watcher = np.random.default_rng(0), Watcher()
    new = [watcher.look(rng.integers(0, 255, (64, 96)).astype(np.uint8))[1].any() for _ in range(21)]
    assert sum(new) == 1 + 20 // MOVING_LOOKS


def test_noise_below_the_threshold_is_no_change() -> None:
    rng, watcher = np.random.default_rng(0), Watcher()
    base_HW = rng.integers(20, 235, (70, 90)).astype(np.int16)
    changes = [
        watcher.look((base_HW + rng.integers(-9, 10, base_HW.shape)).astype(np.uint8))[0].any() for _ in range(9)
    ]
    assert changes == [True] + [False] * 8


def test_looks_come_back_from_the_child_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", [picture([SIGN]), picture([SIGN]), picture([SECOND]), picture([SECOND])])
    (first, second), problem = new_pictures(path, ClipSpan(0, 4))
    assert problem is None
    assert (first.time_s, second.time_s) == (0, 2)
    assert first.rgb_HWC is not None
    assert np.abs(first.rgb_HWC.astype(int) - picture([SIGN])).mean() < 3
    assert second.changed_PQ.shape == (HEIGHT_PX // PATCH_PX, WIDTH_PX // PATCH_PX)
    assert second.new_PQ[(SECOND[2] + 20) // PATCH_PX, (SECOND[1] + 40) // PATCH_PX]
    assert not second.new_PQ[SIGN[2] // PATCH_PX].any(), "it is gone: there is nothing to read"
    assert second.changed_PQ[SIGN[2] // PATCH_PX].any()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Seen("Gate 12", 1, (0, 0, 50, 10)), Seen("Gate 13", 1, (0, 0, 50, 10)), False),
        (Seen("Departures", 1, (0, 0, 50, 10)), Seen("Departnres", 1, (2, 0, 52, 10)), True),
        (Seen("Departures", 1, (0, 0, 50, 10)), Seen("Departnres", 1, (0, 90, 50, 99)), False),
        (Seen("Exit", 1, (0, 0, 50, 10)), Seen("Exit", 1, (90, 90, 150, 99)), True),
    ],
)
def test_readings_of_one_text(one: Seen, other: Seen, same: bool) -> None:
    assert _is_same(one, other) is same


def test_what_is_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    write(tmp_path / "archive" / "a.mp4", [picture([SIGN] if second < 4 else []) for second in range(6)])
    library_dir = tmp_path / "library"
    index_paths([tmp_path / "archive"], library_dir=library_dir, embedder=ColourEmbedder())
    (report,) = read_channels([tmp_path / "archive"], library_dir=library_dir, readers=[ScreenReader(StripeReader())])
    assert (report.channel, report.read, report.lines, report.busy_s) == ("screen", 1, 1, 1.0)
    with Library(library_dir, model=ColourEmbedder()) as service:
        (hit,) = service.search("5", sources="screen")
        assert (hit.start_s, hit.end_s, hit.sources, hit.text) == (0, 4, ("screen",), "5")


# Real letters


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    font = ImageFont.load_default(size=40)

    def slide(draw: Callable[[ImageDraw.ImageDraw], None]) -> UInt8Array:
        image = Image.new("RGB", (960, 540), (245, 245, 240))
        draw(ImageDraw.Draw(image))
        return np.asarray(image)

    budget = slide(lambda page: page.text((80, 120), "Quarterly budget review", fill=(20, 20, 40), font=font))
    thanks = slide(lambda page: page.text((80, 300), "Thank you", fill=(20, 20, 40), font=font))
    (tmp_path / "archive").mkdir()
    write(tmp_path / "archive" / "slides.mp4", [budget] * 6 + [thanks] * 4)
    return tmp_path


def test_slides_are_read_by_the_command(slides: Path) -> None:
    pytest.importorskip("rapidocr", reason="needs the extra ocr")
    library = slides / "library"
    command = ["index", str(slides / "archive"), "--library", str(library), "--screen-text", "--json"]
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.stderr
    (reading,) = json.loads(run.stdout.splitlines()[-1])["readings"]
    assert (reading["channel"], reading["read"], reading["lines"], reading["busy_s"]) == ("screen", 1, 2, 2.0)
    with Library(library, model="default") as service:
        (hit,) = service.search("budget", sources="screen")
        assert (hit.text, hit.start_s, hit.end_s) == ("Quarterly budget review", 0, 6)
        assert service.search("thank*", sources="screen")[0].start_s == 6
