"""The sound of a piece of video, on the file's clock."""

from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import cast

import av
from av.filter import Graph

from vlrlt.types import ClipSpan
from vlrlt.video.container import one_line, open_container
from vlrlt.video.frame_pass import SEEKABLE_CONTAINERS
from vlrlt.video.packet_reader import MOST_ERRORS, FileClock, PacketReader

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

    def __init__(self, path: Path, span: ClipSpan, *, clock: FileClock) -> None:
        """Open the file.

        Args:
            path: the video.
            span: seconds of the file's clock.
            clock: of the file.
        """
        self._container, _ = open_container(path, with_sound=True)
        self._span = span
        self._clock = clock
        self._start_s = clock.zero_s + span.start_s
        self._stream = next(iter(self._container.streams.audio), None)
        self.problem: str | None = None
        self.rate_hz: int | None = None
        self.layout = "stereo"
        if self._stream is None:
            return
        if self._stream.codec_context is None or not self._stream.codec_context.rate:
            self.problem = "the decoder for its sound is not allowed"
            return
        rate_hz = self._stream.codec_context.rate
        self.rate_hz = rate_hz if rate_hz in _RATES_HZ else _RATES_HZ[0]
        self.layout = "mono" if self._stream.codec_context.layout.nb_channels == 1 else "stereo"

    def frames(self) -> Iterator[av.AudioFrame]:
        """Frames whose first sample, pts 0, sounds at the start of the span; they end with it."""
        if self._stream is None or self.rate_hz is None:
            return
        if self._can_seek():
            self._container.seek(round((self._start_s - _SEEK_MARGIN_S) * av.time_base))
        reader = PacketReader(self._container, self._stream, clock=self._clock)
        num_samples = 0
        for _, alike in groupby(self._due(reader), key=_properties):  # broadcasters change the number of channels
            for frame in self._converted(alike, from_sample=num_samples):
                num_samples += frame.samples
                yield frame
        if reader.num_lost:
            self.problem = f"packets of sound that cannot be decoded: {reader.num_lost}: {reader.first_error}"

    def _due(self, reader: PacketReader) -> Iterator[av.AudioFrame]:
        """What is decoded up to the end of the span, after up to MOST_ERRORS packets in a row that cannot be."""
        errors = 0
        for packet in cast("Iterator[av.Packet[av.AudioStream]]", iter(reader)):
            try:
                frames = packet.decode()
            except Exception as error:  # PyAV raises a dozen unrelated types on damaged files
                reader.lose(error)
                errors += 1
                if errors == MOST_ERRORS:
                    return
                continue
            errors = 0
            for frame in frames:
                if frame.time is not None and frame.time >= self._start_s + self._span.duration_s:
                    return
                yield frame

    def _converted(self, frames: Iterator[av.AudioFrame], *, from_sample: int) -> Iterator[av.AudioFrame]:
        first = next(frames)
        try:
            graph = self._graph(first, from_sample=from_sample)
            for frame in chain([first], frames):
                graph.push(frame)
                yield from _ready(graph)
            graph.push(None)
            yield from _ready(graph)
        except Exception as error:  # as above
            self.problem = one_line(error)

    def _can_seek(self) -> bool:
        is_seekable = self._container.format.name.split(",")[0] in SEEKABLE_CONTAINERS
        return is_seekable and self._span.start_s > _SEEK_MARGIN_S and not self._clock.restarts

    def _graph(self, first: av.AudioFrame, *, from_sample: int) -> Graph:
        graph = Graph()
        end_s = self._start_s + self._span.duration_s
        filters = (
            ("atrim", f"start={self._start_s:.6f}:end={end_s:.6f}"),
            ("asetpts", f"PTS-{self._start_s:.6f}/TB"),
            ("aresample", f"{self.rate_hz}:async=1:first_pts={from_sample}"),
            ("aformat", f"sample_fmts=fltp:sample_rates={self.rate_hz}:channel_layouts={self.layout}"),
            ("abuffersink", None),
        )
        source = graph.add_abuffer(
            sample_rate=first.sample_rate, format=first.format, layout=first.layout, time_base=first.time_base
        )
        graph.link_nodes(source, *(graph.add(name, args) for name, args in filters))
        graph.configure()
        return graph

    def close(self) -> None:
        """Give back the file."""
        self._container.close()

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _properties(frame: av.AudioFrame) -> tuple[object, ...]:
    """What a graph is made for."""
    return frame.sample_rate, frame.format.name, frame.layout.name, frame.time_base


def _ready(graph: Graph) -> Iterator[av.AudioFrame]:
    """What the filters have finished."""
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        if isinstance(frame, av.AudioFrame):
            yield frame
