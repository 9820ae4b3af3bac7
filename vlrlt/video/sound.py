"""The sound of a piece of video, on the clock of its pictures."""

from collections.abc import Iterator
from pathlib import Path

import av
from av.filter import Graph

from vlrlt.types import ClipSpan
from vlrlt.video.container import one_line, open_container
from vlrlt.video.pyav import SEEKABLE_CONTAINERS

_RATES_HZ = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
"""What AAC players play; another rate becomes the first."""

_SEEK_MARGIN_S = 10.0
"""Aimed so long before the piece: what comes too early is trimmed, what was jumped over is lost."""


class Sound:
    """The sound of a piece of a video as float frames, gaps filled with silence; a context manager.

    More than two channels are mixed down to two.

    Attributes:
        rate_hz: samples per second; None: the video has no sound.
        layout: "mono" or "stereo".
        problem: why there is none, or less than there should be; final once `frames` is exhausted.

    Raises:
        DecodeError: the file cannot be opened.
    """

    def __init__(self, path: Path, span: ClipSpan, *, video_start_s: float) -> None:
        """Open the file.

        Args:
            path: the video.
            span: seconds of the video's own clock.
            video_start_s: presentation time of its first picture on the container's clock.
        """
        self._container, _ = open_container(path, with_sound=True)
        self._span = span
        self._start_s = video_start_s + span.start_s
        self._stream = next(iter(self._container.streams.audio), None)
        self.problem: str | None = None
        self.rate_hz: int | None = None
        self.layout = "stereo"
        if self._stream is None:
            return
        if self._stream.codec_context is None or not self._stream.codec_context.rate:
            self.problem = "no decoder for its sound may run here"
            return
        rate_hz = self._stream.codec_context.rate
        self.rate_hz = rate_hz if rate_hz in _RATES_HZ else _RATES_HZ[0]
        self.layout = "mono" if self._stream.codec_context.layout.nb_channels == 1 else "stereo"

    def frames(self) -> Iterator[av.AudioFrame]:
        """Frames whose first sample, pts 0, sounds at the start of the span; they end with it."""
        if self._stream is None or self.rate_hz is None:
            return
        graph = self._graph(self._stream)
        try:
            if self._container.format.name.split(",")[0] in SEEKABLE_CONTAINERS and self._span.start_s > _SEEK_MARGIN_S:
                self._container.seek(round((self._start_s - _SEEK_MARGIN_S) * av.time_base))
            for frame in self._container.decode(self._stream):
                if frame.time is not None and frame.time >= self._start_s + self._span.duration_s:
                    break
                graph.push(frame)
                yield from _ready(graph)
        except Exception as error:  # PyAV raises a dozen unrelated types on damaged files
            self.problem = one_line(error)
        graph.push(None)
        yield from _ready(graph)

    def _graph(self, stream: av.AudioStream) -> Graph:
        graph = Graph()
        end_s = self._start_s + self._span.duration_s
        filters = (
            ("atrim", f"start={self._start_s:.6f}:end={end_s:.6f}"),
            ("asetpts", f"PTS-{self._start_s:.6f}/TB"),
            ("aresample", f"{self.rate_hz}:async=1:first_pts=0"),
            ("aformat", f"sample_fmts=fltp:sample_rates={self.rate_hz}:channel_layouts={self.layout}"),
            ("abuffersink", None),
        )
        graph.link_nodes(graph.add_abuffer(template=stream), *(graph.add(name, args) for name, args in filters))
        graph.configure()
        return graph

    def close(self) -> None:
        """Give back the file."""
        self._container.close()

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ready(graph: Graph) -> Iterator[av.AudioFrame]:
    """What the filters have finished."""
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        if isinstance(frame, av.AudioFrame):
            yield frame
