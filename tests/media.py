"""Small videos made by code: every frame shows its own index, so a test can tell exactly which one it was given.

A picture is a grid of 4 x 4 blocks, blue or yellow: block 0 is yellow and block 15 blue (so that a turned picture is
noticed), the blocks between are the bits of the index, the most significant first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.audio import AudioStream
from av.container import OutputContainer

from vlrlt.types import UInt8Array

Int16Array = npt.NDArray[np.int16]

BLUE = (30, 40, 170)
YELLOW = (220, 200, 40)
_GRID = 4
_NUM_BITS = _GRID * _GRID - 2
_AUDIO_HZ = 8000


def picture(index: int, *, width_px: int = 128, height_px: int = 96) -> UInt8Array:
    """(height_px, width_px, 3) RGB that shows the index, 0 <= index < 2**14."""
    bits = [1, *(index >> shift & 1 for shift in reversed(range(_NUM_BITS))), 0]
    blocks = np.array([YELLOW if bit else BLUE for bit in bits], np.uint8).reshape(_GRID, _GRID, 3)
    rows = np.arange(height_px) * _GRID // height_px
    columns = np.arange(width_px) * _GRID // width_px
    return blocks[rows][:, columns]


def shown_index(rgb_HWC: UInt8Array) -> int:
    """The index that an upright picture shows; fails on anything else."""
    height_px, width_px, _ = rgb_HWC.shape
    centres_y = (np.arange(_GRID) * 2 + 1) * height_px // (2 * _GRID)
    centres_x = (np.arange(_GRID) * 2 + 1) * width_px // (2 * _GRID)
    # Red minus blue is far from zero on both colours, whatever the codec did to them.
    pixels = rgb_HWC[centres_y][:, centres_x].astype(int)
    difference = (pixels[..., 0] - pixels[..., 2]).ravel()
    assert (np.abs(difference) > 60).all(), f"not a picture of an index: {difference}"
    bits = difference > 0
    assert bits[0], "the picture is turned or mirrored"
    assert not bits[-1], "the picture is turned or mirrored"
    return int("".join(str(int(bit)) for bit in bits[1:-1]), 2)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to encode pictures 0, 1, 2, ... into a file whose suffix names the container."""

    codec: str = "libx264"
    options: Mapping[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    size_px: tuple[int, int] = (128, 96)
    """Displayed width and height."""
    rotation_deg: int = 0
    """The pixels are stored turned, and a display matrix says to turn them clockwise by this."""
    pixel_aspect: Fraction | None = None
    """Width of a stored pixel by its height."""
    fps: int = 10
    num_frames: int = 30
    pts_ms: Sequence[int] = ()
    """Presentation times instead of index / fps; there are as many frames."""
    gop: int = 10
    container_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def times_s(self) -> list[float]:
        """When each picture comes on screen, counted from the first."""
        if not self.pts_ms:
            return [index / self.fps for index in range(self.num_frames)]
        return [(pts_ms - self.pts_ms[0]) / 1000 for pts_ms in self.pts_ms]


def write_video(path: Path, recipe: Recipe | None = None) -> Path:
    """Encode a recipe (by default 3 s of H.264 at 10 frames a second) and return path."""
    recipe = recipe or Recipe()
    width_px, height_px = recipe.size_px
    turned = recipe.rotation_deg % 180 != 0
    # Codecs and containers of constant rate take no finer clock.
    time_base = Fraction(1, 1000) if recipe.pts_ms else Fraction(1, recipe.fps)
    ticks = recipe.pts_ms or range(recipe.num_frames)
    with av.open(path, "w", container_options=dict(recipe.container_options)) as output:
        stream = output.add_stream(recipe.codec, rate=recipe.fps, options=dict(recipe.options), time_base=time_base)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = (height_px, width_px) if turned else (width_px, height_px)
        stream.pix_fmt = recipe.pix_fmt
        stream.gop_size = recipe.gop
        if recipe.pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = recipe.pixel_aspect
        if recipe.rotation_deg:
            stream.set_display_rotation(-recipe.rotation_deg)
        for index, pts in enumerate(ticks):
            upright_HWC = picture(index, width_px=width_px, height_px=height_px)
            stored_HWC = np.ascontiguousarray(np.rot90(upright_HWC, recipe.rotation_deg // 90))
            frame = av.VideoFrame.from_ndarray(stored_HWC, format="rgb24")
            frame.pts, frame.time_base = pts, time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_audio(path: Path, *, duration_s: float = 1.0, cover: bool = False) -> Path:
    """AAC without a video stream, with a cover picture if asked, and return path."""
    with av.open(path, "w") as output:
        audio = output.add_stream("aac", rate=_AUDIO_HZ)
        assert isinstance(audio, AudioStream)
        if cover:
            _write_cover(output)
        num_samples = int(duration_s * _AUDIO_HZ)
        for start in range(0, num_samples, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = _AUDIO_HZ, start
            output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    return path


def _write_cover(output: OutputContainer) -> None:
    stream = output.add_stream("mjpeg", rate=1, width=128, height=96, pix_fmt="yuvj420p")
    assert isinstance(stream, av.VideoStream)
    stream.disposition = av.stream.Disposition.attached_pic
    frame = av.VideoFrame.from_ndarray(picture(0), format="rgb24")
    packets = [*stream.encode(frame), *stream.encode(None)]
    output.mux(packets)


def write_sound(path: Path, samples_N: Int16Array, *, rate_hz: int) -> Path:
    """A still grey picture, and sound that begins with it."""
    with av.open(str(path), "w") as output:
        pictures = output.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream("aac", rate=rate_hz, layout="mono")
        grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 128, np.uint8), format="rgb24")
        for number in range(1 + len(samples_N) * 5 // rate_hz):
            grey.pts = number
            output.mux(pictures.encode(grey))
        for first in range(0, len(samples_N), 1024):
            block = av.AudioFrame.from_ndarray(samples_N[None, first : first + 1024], format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = rate_hz, first, Fraction(1, rate_hz)
            output.mux(sound.encode(block))
        output.mux([*pictures.encode(None), *sound.encode(None)])
    return path


def spoil_rest(path: Path, first: int) -> Path:
    """Overwrite all video packets from one on, and return path."""
    with av.open(path) as container:
        num_packets = sum(packet.size > 0 for packet in container.demux(video=0))
    for index in range(first, num_packets):
        spoil_packet(path, index)
    return path


def spoil_packet(path: Path, index: int, *, silently: bool = False) -> Path:
    """Overwrite the bytes of one video packet, so that decoding fails there, and return path.

    Args:
        path: a video; HEVC in mp4 to spoil it silently.
        index: which packet, in the order of the file.
        silently: the packet becomes filler that decodes to nothing, without an error.
    """
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pos is not None]
        packet = packets[index]
        position, size = cast(int, packet.pos), packet.size
    with path.open("r+b") as file:
        file.seek(position)
        filler = (size - 4).to_bytes(4, "big") + bytes([38 << 1, 1])  # length and header of a unit without a picture
        file.write((filler if silently else b"").ljust(size, b"\xff"))
    return path
