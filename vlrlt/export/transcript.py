"""Speech and text of a video as subtitles or plain text."""

import html
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import webvtt

from vlrlt.errors import ConfigError
from vlrlt.formats import format_time
from vlrlt.types import ClipSpan, TimedText

TranscriptFormat = Literal["txt", "srt", "vtt", "json"]


def transcript_text(lines: Sequence[TimedText], *, kind: str) -> str:
    """The lines of a video as a file.

    Args:
        lines: by time.
        kind: "txt": a line for each, with its time; "srt" and "vtt": subtitles; "json".

    Raises:
        ConfigError: kind is none of these.
    """
    if kind not in get_args(TranscriptFormat):
        raise ConfigError(f"a transcript must be one of {', '.join(get_args(TranscriptFormat))}, got {kind!r}")
    if kind == "json":
        return json.dumps({"lines": [line.as_json() for line in lines]}) + "\n"
    if kind == "txt":
        return "".join(f"{format_time(line.start_s, decimals=1)}  {line.text}\n" for line in lines)
    as_cue = _vtt_cue if kind == "vtt" else _srt_cue
    captions = [webvtt.Caption(_time(line.start_s), _time(line.end_s), as_cue(line.text)) for line in lines]
    out = io.StringIO()
    webvtt.WebVTT(captions=captions).write(out, format=kind)
    return out.getvalue().rstrip("\n") + "\n"


def shifted(lines: Sequence[TimedText], span: ClipSpan) -> tuple[TimedText, ...]:
    """The lines on the clock of a film that shows the seconds of a span."""
    return tuple(
        replace(
            line,
            start_s=max(0.0, line.start_s - span.start_s),
            end_s=min(line.end_s, span.end_s) - span.start_s,
            word_starts_s=(),
        )
        for line in lines
        if span.start_s < line.end_s and line.start_s < span.end_s
    )


def _vtt_cue(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False)


def _srt_cue(text: str) -> str:
    """SubRip escapes nothing: an arrow would be taken for the times of a cue, a tag for its form."""
    return " ".join(text.replace("-->", "->").replace("<", "\N{FULLWIDTH LESS-THAN SIGN}").split())


def _time(time_s: float) -> str:
    minutes, milliseconds = divmod(round(time_s * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
