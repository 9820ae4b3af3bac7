"""Pictures as people see them: HDR as SDR by tone-mapping, fields as frames. What models see stays as it is stored.

HDR becomes light by the transfer of ITU-R BT.2100, its peak is bent into SDR by a curve that leaves the darker half as
it is (Mobius, as FFmpeg's filter tonemap has it), and its primaries become those of BT.709. White is 203 cd/m2 (ITU-R
BT.2408).
"""

import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import av
import numpy as np
from av.filter import Graph
from PIL import Image, ImageFilter

from vlrlt.types import Float64Array, UInt8Array

Transfer = Literal["pq", "hlg"]
HDR_TRANSFERS: dict[int, Transfer] = {16: "pq", 18: "hlg"}
"""Transfer characteristics of ITU-T H.273."""

_WHITE_CD_M2, _PEAK_CD_M2 = 203.0, 1000.0
_KNEE = 0.5
"""Of SDR's white: darker light stays as it is."""
_SDR_GAMMA = 2.2
_BT2020_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
)
"""ITU-R BT.2087: linear light."""
_CUBE_SIDE = 33
_FULL_RANGE = 2
"""AVCOL_RANGE_JPEG."""

_TimedPicture = tuple[av.VideoFrame, float, float]
"""A picture, and the seconds at which it comes and goes."""


def tone_mapped(hdr_N3: Float64Array, transfer: Transfer) -> Float64Array:
    """SDR of HDR, both (N, 3) RGB as it is stored, in [0, 1]."""
    light_N3 = (_pq_light(hdr_N3) if transfer == "pq" else _hlg_light(hdr_N3)) / _WHITE_CD_M2
    brightest_N1 = np.maximum(light_N3.max(-1, keepdims=True), 1e-6)
    bent_N3 = light_N3 * (_bent(brightest_N1) / brightest_N1)
    return np.asarray(np.clip(bent_N3 @ _BT2020_TO_BT709.T, 0, 1) ** (1 / _SDR_GAMMA), np.float64)


def _bent(light: Float64Array) -> Float64Array:
    """Mobius: the identity up to the knee, from there on smoothly towards 1 at the peak."""
    knee, peak = _KNEE, _PEAK_CD_M2 / _WHITE_CD_M2
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    above = (b**2 + 2 * b * knee + knee**2) / (b - a) * (light + a) / (light + b)
    return np.where(light <= knee, light, np.minimum(above, 1.0))


def _pq_light(stored: Float64Array) -> Float64Array:
    """Light in cd/m2 of perceptual quantisation (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = np.clip(stored, 0, 1) ** (1 / m2)
    return np.asarray(10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1), np.float64)


def _hlg_light(stored: Float64Array) -> Float64Array:
    """Light in cd/m2 of hybrid log-gamma on a screen of 1000 cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    stored = np.clip(stored, 0, 1)
    scene = np.where(stored <= 0.5, stored**2 / 3, (np.exp((stored - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return np.asarray(_PEAK_CD_M2 * scene * np.maximum(luminance, 1e-6)[..., None] ** 0.2, np.float64)


@cache
def _cube(transfer: Transfer) -> Float64Array:
    """(side**3, 3) what tone_mapped makes of a grid of colours, red fastest."""
    steps = np.linspace(0, 1, _CUBE_SIDE)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    return tone_mapped(np.stack([red.ravel(), green.ravel(), blue.ravel()], -1), transfer)


@dataclass(frozen=True)
class Viewing:
    """How a video's pictures are made visible."""

    transfer: Transfer | None
    """None: it is SDR."""
    interlaced: bool

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """Of a decoded picture, which says it of itself."""
        return cls(HDR_TRANSFERS.get(int(frame.color_trc)), frame.interlaced_frame)

    def image(self, image: Image.Image) -> Image.Image:
        """An RGB picture, at the size at which it is shown, as SDR."""
        if self.transfer is None:
            return image
        return image.filter(ImageFilter.Color3DLUT(_CUBE_SIDE, _cube(self.transfer).ravel().tolist()))

    def one_moment(self, rgb_HWC: UInt8Array) -> UInt8Array:
        """A picture of one field, its lines doubled: two fields of a frame are two moments."""
        if not self.interlaced or len(rgb_HWC) < 4:
            return rgb_HWC
        return np.repeat(rgb_HWC[::2], 2, axis=0)[: len(rgb_HWC)]

    def film(self, pictures: Iterator[_TimedPicture]) -> Iterator[_TimedPicture]:
        """The pictures of a film, which keep their times; those that need nothing are passed on untouched."""
        if self.transfer is None and not self.interlaced:
            yield from pictures
            return
        waiting: deque[tuple[float, float]] = deque()
        with tempfile.TemporaryDirectory(prefix="vlrlt-") as folder:
            graph: Graph | None = None
            for number, (frame, from_s, until_s) in enumerate(pictures):
                graph = graph or self._graph(frame, Path(folder))
                waiting.append((from_s, until_s))
                frame.pts = number
                graph.push(frame)
                yield from _pulled(graph, waiting)
            if graph is not None:
                graph.push(None)
                yield from _pulled(graph, waiting)

    def _graph(self, frame: av.VideoFrame, folder: Path) -> Graph:
        """Filters for frames like this one."""
        graph = Graph()
        size: dict[str, Any] = {
            "width": frame.width,
            "height": frame.height,
            "format": frame.format,
            "time_base": Fraction(1),
        }
        nodes = [graph.add_buffer(**size)]
        if self.interlaced:
            nodes.append(graph.add("bwdif", "mode=send_frame:deint=interlaced"))
        if self.transfer is not None:
            cube = folder / "sdr.cube"
            cube.write_text(_cube_file(self.transfer))
            tags = "colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084"
            nodes += [
                graph.add("setparams", f"range={'pc' if int(frame.color_range) == _FULL_RANGE else 'tv'}:{tags}"),
                graph.add("format", "pix_fmts=gbrp16le"),
                graph.add("lut3d", f"file={cube}"),
                graph.add("setparams", "color_primaries=bt709:color_trc=bt709"),
                graph.add("scale", "out_color_matrix=bt709:out_range=tv"),
                graph.add("format", "pix_fmts=yuv420p"),
            ]
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph


def _cube_file(transfer: Transfer) -> str:
    """A table of colours in the format that Adobe's Cube LUT Specification 1.0 has."""
    lines = (f"{red:.5f} {green:.5f} {blue:.5f}" for red, green, blue in _cube(transfer))
    return "\n".join((f"LUT_3D_SIZE {_CUBE_SIDE}", *lines)) + "\n"


AS_STORED = Viewing(transfer=None, interlaced=False)
"""SDR of whole frames."""


def _pulled(graph: Graph, waiting: "deque[tuple[float, float]]") -> Iterator[_TimedPicture]:
    while waiting:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        yield frame, *waiting.popleft()
