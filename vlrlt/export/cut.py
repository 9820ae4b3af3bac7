"""Cut a piece out of a video: exactly, by encoding it again, or fast, by copying what is stored from a key frame on."""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
from av.codec.context import Flags
from av.container import OutputContainer

from vlrlt.errors import ConfigError, CorruptVideoError, DecodeError
from vlrlt.export.output import new_file
from vlrlt.formats import format_span, format_time
from vlrlt.types import ClipSpan
from vlrlt.video.container import one_line, open_container
from vlrlt.video.limited import Limits, call_limited
from vlrlt.video.media import film_cpu_s
from vlrlt.video.orientation import display_matrix
from vlrlt.video.packet_reader import FileClock, PacketReader
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.sound import Sound

CutMode = Literal["exact", "copy"]

EXACT_SUFFIXES = (".mp4", ".mov", ".mkv", ".m4v")
"""Containers of exact cuts: H.264 and AAC."""

_TIME_BASE = Fraction(1, 90_000)
_X264 = {"preset": "veryfast", "crf": "18", "bf": "0"}
"""Without B-frames the file stores how long the last picture stays."""
_SEEK_MARGINS_S = (0.0, 2.0, 20.0)
"""How long before the piece to look for its key frame, in turn; then from the beginning of the file."""

_MIN_LARGEST_BYTES = 2**32
"""A cut may have so many bytes, and four times those of its video on top."""

_Packet = tuple[float, int, "av.Packet[Any]"]
"""Seconds at which it is due, a number that breaks ties, and the packet."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A film that was cut out of a video."""

    video: Path
    out: Path
    mode: CutMode
    asked: ClipSpan
    start_s: float
    """Where it really begins in the video: with `copy` at the key frame before the asked time."""
    end_s: float
    """Where it really ends."""
    sound: bool
    problem: str | None
    """What is missing and why; None: nothing."""

    def __str__(self) -> str:
        return self.as_text()

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of one piece of `vlrlt cut --json`."""
        return {
            "video": str(self.video),
            "out": str(self.out),
            "mode": self.mode,
            "asked_start_s": round(self.asked.start_s, 3),
            "asked_end_s": round(self.asked.end_s, 3),
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "sound": self.sound,
            "problem": self.problem,
        }

    def as_text(self) -> str:
        """One line."""
        span = format_span(self.start_s, self.end_s, decimals=2)
        asked = format_span(self.asked.start_s, self.asked.end_s, decimals=2)
        how = "exact, encoded again" if self.mode == "exact" else f"copied, requested {asked}"
        sound = "with sound" if self.sound else "silent"
        return f"{self.out}: {span} of {self.video.name} ({how}), {sound}" + (
            f"; {self.problem}" if self.problem else ""
        )


def cut_video(path: Path, span: ClipSpan, out: Path, *, mode: CutMode = "exact", force: bool = False) -> Cut:
    """Cut a piece out of a video, with its sound.

    "exact" encodes again (H.264, AAC): at time t the film shows what the video shows at `span.start_s + t`, at the
    video's own frame times, upright by the same display matrix. "copy" takes the stored packets from the key frame at
    or before the start: fast and without loss, but more than was asked for.

    A limited child does it.

    Args:
        path: the video.
        span: seconds of its clock; what lies beyond its end is left out.
        out: the film; its suffix is the container.
        mode: how.
        force: whether a file that is there may be replaced.

    Raises:
        ConfigError: out is the video itself, exists, cannot be written or cannot hold these codecs; or the span begins
            after the video's end.
        DecodeError: the video cannot be read there.
    """
    if os.path.exists(out) and out.samefile(path):  # noqa: PTH110  Path raises for names that are too long
        raise ConfigError(f"{out} is the video itself, which vlrlt only reads; write to another file")
    if mode == "exact" and out.suffix.lower() not in EXACT_SUFFIXES:
        raise ConfigError(f"a cut must end in one of {', '.join(EXACT_SUFFIXES)}, got {out.name!r}; try {out.stem}.mp4")
    limits = Limits(path=path, cpu_s=film_cpu_s(span.duration_s), max_file_bytes=_largest_bytes(path))
    with new_file(out, force=force) as unfinished:
        wanted = (span.start_s, span.end_s)
        start_s, end_s, sound, problem = call_limited(_write_cut, limits, path, wanted, unfinished, out.name, mode)
    return Cut(video=path, out=out, mode=mode, asked=span, start_s=start_s, end_s=end_s, sound=sound, problem=problem)


def _largest_bytes(path: Path) -> int:
    try:
        return _MIN_LARGEST_BYTES + 4 * path.stat().st_size
    except OSError as error:
        raise DecodeError(path, stage="open", reason=error.strerror or str(error)) from error


def _write_cut(
    path: Path, span_s: tuple[float, float], unfinished: Path, name: str, mode: CutMode
) -> tuple[float, float, bool, str | None]:
    """Seconds at which the film really begins and ends, whether it has sound, and what is missing."""
    span = ClipSpan(*span_s)
    with PyAVDecoder(path) as decoder:
        if span.start_s >= decoder.info.duration_s:
            lasts = f"{path} lasts {format_time(decoder.info.duration_s, decimals=2)}"
            raise ConfigError(f"{lasts}, so it has no frame in {format_span(span.start_s, span.end_s, decimals=2)}")
        wanted = ClipSpan(span.start_s, min(span.end_s, decoder.info.duration_s))
        try:
            with av.open(str(unfinished), "w", container_options=_options(unfinished)) as output:
                write = _encode if mode == "exact" else _copy
                written, sound, problem = write(decoder, wanted, output)
        except av.FFmpegError as error:
            raise ConfigError(f"{name}: cannot be written: {one_line(error)}; try another suffix, e.g. .mkv") from error
        except ValueError as error:
            raise ConfigError(f"{name}: {error}; try another suffix, e.g. .mkv") from error
    return written.start_s, written.end_s, sound, problem


def _options(out: Path) -> dict[str, str]:
    return {"movflags": "+faststart"} if out.suffix.lower() in (".mp4", ".mov", ".m4v") else {}


def _encode(decoder: PyAVDecoder, span: ClipSpan, output: OutputContainer) -> tuple[ClipSpan, bool, str | None]:
    """Encode pictures and sound, interleaved by time."""
    info = decoder.info
    with Sound(info.path, span, clock=decoder.file_clock) as sound:
        pictures = _encoded_pictures(decoder, span, output)
        first = next(pictures)
        audio = _encoded_sound(sound, output)
        for _, _, packet in heapq.merge([first], pictures, audio):
            output.mux(packet)
        return span, sound.rate_hz is not None, decoder.partial_reason or sound.problem


def _encoded_pictures(decoder: PyAVDecoder, span: ClipSpan, output: OutputContainer) -> Iterator[_Packet]:
    """Add the stream of pictures, then yield its packets."""
    info = decoder.info
    stream: av.VideoStream | None = None
    for frame, from_s, until_s in decoder.view.film(decoder.pictures_between(span.start_s, span.end_s)):
        if stream is None:
            stream = output.add_stream(
                "libx264", rate=min(round(info.average_fps), 240) or 25, options=_X264, time_base=_TIME_BASE
            )
            stream.width, stream.height, stream.pix_fmt = _even(frame.width), _even(frame.height), "yuv420p"
            stream.codec_context.flags |= Flags.frame_duration
            stream.set_display_matrix(display_matrix(frame))
            if decoder.pixel_aspect:
                stream.codec_context.sample_aspect_ratio = decoder.pixel_aspect
        picture = frame.reformat(stream.width, stream.height, "yuv420p", interpolation="BICUBIC")
        if not stream.codec_context.is_open:
            _copy_colours(picture, stream)
        picture.time_base, picture.pict_type = _TIME_BASE, av.video.frame.PictureType.NONE
        picture.pts = round((from_s - span.start_s) / _TIME_BASE)
        picture.duration = round((until_s - span.start_s) / _TIME_BASE) - picture.pts
        yield from _due(stream.encode(picture))
    if stream is None:
        reason = decoder.partial_reason or f"there is no frame at {span.start_s:.2f} s"
        raise CorruptVideoError(info.path, stage="decode", reason=reason)
    yield from _due(stream.encode(None))


def _copy_colours(picture: av.VideoFrame, stream: av.VideoStream) -> None:
    """Tell players how the picture's numbers are meant, as the video did."""
    context = stream.codec_context
    context.color_range, context.colorspace = picture.color_range, picture.colorspace
    context.color_primaries, context.color_trc = picture.color_primaries, picture.color_trc


def _encoded_sound(sound: Sound, output: OutputContainer) -> Iterator[_Packet]:
    if sound.rate_hz is None:
        return iter(())
    stream = output.add_stream("aac", rate=sound.rate_hz, layout=sound.layout)

    def packets() -> Iterator[_Packet]:
        for frame in sound.frames():
            yield from _due(stream.encode(frame))
        yield from _due(stream.encode(None))

    return packets()


def _even(size_px: int) -> int:
    """The even number below; H.264 in yuv420p has no odd sizes."""
    return max(2, size_px // 2 * 2)


def _due(packets: "list[av.Packet[Any]]") -> Iterator[_Packet]:
    for packet in packets:
        yield _seconds(packet, packet.dts or 0), id(packet), packet


def _copy(decoder: PyAVDecoder, span: ClipSpan, output: OutputContainer) -> tuple[ClipSpan, bool, str | None]:
    """Copy packets from the key frame at or before the start to the last that is shown before the end."""
    path, clock = decoder.info.path, decoder.file_clock
    if clock.restarts:
        raise ConfigError(f"the clock of {path} restarts, so players would lose the copied part; cut it exactly")
    origin_s = clock.zero_s
    key_s, aim_s = _key_frame(path, max(span.start_s, decoder.info.start_s) + origin_s, clock)
    container, pictures = open_container(path, with_sound=True)
    with container:
        sound = next(iter(container.streams.audio), None)
        copies: dict[int, Any] = {pictures.index: output.add_stream_from_template(pictures)}
        if sound is not None:
            copies[sound.index] = output.add_stream_from_template(sound)
        _seek(container, aim_s)
        until_s, open_streams, started = key_s, set(copies), False
        for packet, due_ticks in _packets(container, clock, pictures, *([] if sound is None else [sound])):
            shown_ticks = _shown(packet, path)
            due_s, shown_s = _seconds(packet, due_ticks), _seconds(packet, shown_ticks)
            if due_s >= span.end_s + origin_s:
                open_streams.discard(packet.stream_index)
                if not open_streams:
                    break
            is_picture = packet.stream_index == pictures.index
            started = started or (is_picture and packet.is_keyframe and shown_s == key_s)
            if packet.stream_index in open_streams and shown_s >= key_s and (started or not is_picture):
                if is_picture:
                    until_s = max(until_s, shown_s + _seconds(packet, packet.duration or 0))
                shift = round(key_s / packet.time_base)
                packet.pts, packet.dts = shown_ticks - shift, due_ticks - shift
                packet.stream = copies[packet.stream_index]
                output.mux(packet)
    return ClipSpan(key_s - origin_s, until_s - origin_s), sound is not None, decoder.partial_reason


def _key_frame(path: Path, start_s: float, clock: FileClock) -> tuple[float, float | None]:
    """When the last key frame at or before a time is shown, on the container's clock, and what to aim at to find it."""
    for aim_s in (*(start_s - margin_s for margin_s in _SEEK_MARGINS_S), None):
        container, stream = open_container(path)
        with container:
            _seek(container, aim_s)
            key_s = None
            for packet, due_ticks in _packets(container, clock, stream):
                if _seconds(packet, due_ticks) > start_s:
                    break
                if packet.is_keyframe and (shown_s := _seconds(packet, _shown(packet, path))) <= start_s:
                    key_s = shown_s
            if key_s is not None:
                return key_s, aim_s
    raise CorruptVideoError(path, stage="seek", reason=f"there is no key frame before {start_s:.2f} s")


def _packets(
    container: av.container.InputContainer, clock: FileClock, *streams: "av.VideoStream | av.AudioStream"
) -> "Iterator[tuple[av.Packet[Any], int]]":
    """All packets with their decoding times, of which Matroska does not store the first ones."""
    waiting: dict[int, list[av.Packet[Any]]] = {stream.index: [] for stream in streams}
    for packet in PacketReader(container, *streams, clock=clock):
        if not packet.size or packet.pts is packet.dts is None:
            continue
        early = waiting[packet.stream_index]
        early.append(packet)
        if packet.dts is not None:
            for before, undated in enumerate(early, start=1 - len(early)):
                yield undated, packet.dts + before * (packet.duration or 1)
            early.clear()


def _seek(container: av.container.InputContainer, aim_s: float | None) -> None:
    """To a key frame before a time, where FFmpeg can; None: stay at the beginning."""
    if aim_s is not None:
        container.seek(round(aim_s * av.time_base))


def _shown(packet: "av.Packet[Any]", path: Path) -> int:
    if packet.pts is None:
        raise ConfigError(f"{path} does not store the times of its frames, so it cannot be copied; cut it exactly")
    return packet.pts


def _seconds(packet: "av.Packet[Any]", ticks: int) -> float:
    return float(ticks * (packet.time_base or 0))
