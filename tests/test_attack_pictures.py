"""Pictures and films made to crash, hang or flood whoever looks at them: each is one clear error, within its limits."""

import io
import os
import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from colour import ColourEmbedder, write_colours
from hostile import png_header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vlrlt.errors import DecodeError
from vlrlt.index.run.build import index_paths
from vlrlt.service import Library
from vlrlt.video.limited import MAX_CHILDREN
from vlrlt.video.limits import MAX_MEMORY_BYTES, rss_bytes
from vlrlt.video.media import thumbnail
from vlrlt.video.picture import FORMATS, read_picture
from vlrlt.video.transforms import Preprocess

SQUARE = Preprocess(image_size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(touched) (w) file\nshowpage\n%%EOF\n"


def picture_bytes(kind: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
    Image.fromarray(noise).convert("1" if kind == "MSP" else "RGB").save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_that_may_be_read_is_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(picture_bytes(kind))
    assert read_picture(tmp_path / "picture", SQUARE).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["ICNS", "DDS", "PPM", "TGA", "PCX", "SGI", "JPEG2000", "ICO", "MSP", "PDF", "EPS"])
def test_other_formats_are_refused_whatever_the_file_is_called(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(picture_bytes(kind))
    with pytest.raises(
        DecodeError, match="it is not a picture in one of the formats JPEG, PNG, WEBP, GIF, BMP, AVIF, TIFF"
    ):
        read_picture(file, SQUARE)


def test_postscript_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would start the first `gs` of the path."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert shutil.which("gs") == str(tmp_path / "gs")
    (tmp_path / "query.jpg").write_bytes(POSTSCRIPT)
    with pytest.raises(DecodeError):
        read_picture(tmp_path / "query.jpg", SQUARE)
    assert not (tmp_path / "ran").exists()


def test_a_small_file_of_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    """30,000 x 30,000 pixels in a few hundred kilobytes: 2.7 GB as soon as anything decodes them."""
    bomb = png_header(30_000, 30_000)
    assert len(bomb) < 2**20
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(DecodeError, match=r"900000000 pixels|30000 x 30000 pixels are more than"):
        read_picture(tmp_path / "bomb.png", SQUARE)
    (tmp_path / "large.png").write_bytes(png_header(12_000, 12_000))
    with pytest.raises(DecodeError, match="12000 x 12000 pixels are more than 134217728"):
        read_picture(tmp_path / "large.png", SQUARE)


def _mutated(seed: int) -> bytes:
    """A picture of an allowed format with bytes replaced, cut out or doubled."""
    choice = random.Random(seed)
    content = bytearray(picture_bytes(choice.choice(FORMATS)))
    for _ in range(choice.randint(1, 8)):
        at = choice.randrange(len(content))
        action = choice.randrange(3)
        if action == 0:
            content[at] = choice.randrange(256)
        elif action == 1:
            del content[at : at + choice.randint(1, 40)]
        else:
            content[at:at] = content[at : at + 8] or b"\xff"
    return bytes(content)


def _reads_or_says_why(content: bytes, folder: Path) -> None:
    (folder / "mutated").write_bytes(content)
    try:
        square_HWC = read_picture(folder / "mutated", SQUARE)
    except DecodeError:
        return
    assert square_HWC.shape == (32, 32, 3)


def test_nothing_foreign_is_decoded_in_the_process_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_colours(tmp_path / "archive" / "a.mp4", [("red", 2), ("blue", 2)])
    index_paths([tmp_path / "archive"], library_dir=tmp_path / "library", embedder=ColourEmbedder())
    (tmp_path / "red.png").write_bytes(picture_bytes("PNG"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded in this process")

    monkeypatch.setattr("vlrlt.video.pyav.PyAVDecoder.__init__", refuse)
    monkeypatch.setattr("av.open", refuse)
    monkeypatch.setattr("PIL.Image.open", refuse)
    with Library(tmp_path / "library", model=ColourEmbedder()) as library:
        (hit, *_) = library.search(images=tmp_path / "red.png", k=1, tail=True).hits
        library.search(clips=f"{tmp_path / 'archive' / 'a.mp4'}@0-1")
        assert library.thumbnail(hit)
        assert library.strip(hit)
        assert library.preview(hit).stat().st_size > 0
        assert library.animation(hit).stat().st_size > 0
        library.cut(hit, tmp_path / "cut.mp4")
        library.cut(hit, tmp_path / "copy.mp4", mode="copy")
        library.export([hit], tmp_path / "board.png", title="red")
        library.export([hit], tmp_path / "list.edl", title="red")


FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(seed=st.integers(0, 2**32))
@settings(FUZZ, max_examples=40)
def test_mutated_pictures_are_read_or_one_error(seed: int, tmp_path: Path) -> None:
    _reads_or_says_why(_mutated(seed), tmp_path)


@pytest.mark.attack
@given(content=st.one_of(st.integers(0, 2**32).map(_mutated), st.binary(max_size=2000)))
@settings(FUZZ, max_examples=2000)
def test_very_many_mutated_pictures(content: bytes, tmp_path: Path) -> None:
    _reads_or_says_why(content, tmp_path)


def write_large_film(path: Path) -> Path:
    """Two frames of 16,000 x 8,000 pixels, as large as a frame may be."""
    with av.open(path, "w") as output:
        stream = output.add_stream("mjpeg", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 16_000, 8_000, "yuvj420p"
        frame = av.VideoFrame(16_000, 8_000, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        for number in range(2):
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.linux
@pytest.mark.attack
def test_ten_at_once_of_a_huge_film_take_no_more_memory_than_the_children_may(tmp_path: Path) -> None:
    """They took 12 GB, inside the server."""
    film = write_large_film(tmp_path / "huge.avi")
    own_before = rss_bytes(os.getpid())
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            peak.append(sum(rss_bytes(int(child)) for child in children))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(10) as pool:
        pictures = list(pool.map(lambda at: thumbnail(film, at % 2), range(10)))
    ended.set()
    watcher.join()
    assert all(picture.startswith(b"\xff\xd8") for picture in pictures)
    assert 2**28 < max(peak) < MAX_CHILDREN * MAX_MEMORY_BYTES / 2
    assert rss_bytes(os.getpid()) - own_before < 2**28, "nothing is decoded in this process"
