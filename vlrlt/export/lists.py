"""Lists of pieces as text: playlist, table, JSON, chapters."""

import csv
import html
import io
import json
from collections.abc import Sequence

from vlrlt.errors import ConfigError
from vlrlt.export.piece import Piece, by_video

COLUMNS = (
    "rank",
    "video",
    "start_s",
    "end_s",
    "title",
    "score",
    "percentile",
    "confidence",
    "sources",
    "text",
    "clip",
    "video_id",
)
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def as_m3u(pieces: Sequence[Piece]) -> str:
    """A playlist that plays only the pieces in VLC, and the whole videos in players that know no EXTVLCOPT.

    Source: https://wiki.videolan.org/M3U
    """
    lines = ["#EXTM3U"]
    for piece in pieces:
        lines += [
            f"#EXTINF:{round(piece.span.duration_s)},{piece.label}",
            f"#EXTVLCOPT:start-time={piece.span.start_s:.3f}",
            f"#EXTVLCOPT:stop-time={piece.span.end_s:.3f}",
            piece.url,
        ]
    return "\n".join(lines) + "\n"


def as_csv(pieces: Sequence[Piece]) -> str:
    """One row for each piece, with all that the search has said of it. No cell is a formula to a spreadsheet.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for piece in pieces:
        row = {**piece.as_json(), "title": piece.title, "sources": " ".join(piece.hit.get("sources", ()))}
        writer.writerow({name: _no_formula(value) for name, value in row.items()})
    return text.getvalue()


def _no_formula(value: object) -> object:
    """Text that a spreadsheet would compute begins with an apostrophe, which it takes for "this is text"."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_SIGNS) else value


def as_json(pieces: Sequence[Piece], *, title: str) -> str:
    """Readable again as a saved result: by `vlrlt cut`, `vlrlt export`, or any program."""
    return json.dumps({"query": title, "hits": [piece.as_json() for piece in pieces]}, indent=2) + "\n"


def as_chapters(pieces: Sequence[Piece]) -> str:
    """WebVTT chapters of one video, by start; where two overlap the first ends early, as chapters must not.

    Source: https://www.w3.org/TR/webvtt1/

    Raises:
        ConfigError: the pieces are of several videos.
    """
    videos = by_video(pieces)
    if len(videos) != 1:
        raise ConfigError(
            f"chapters belong to one video, but these moments come from {len(videos)} videos; export into a "
            "folder, or filter by video"
        )
    ((chapters),) = videos.values()
    ends_s = [following.span.start_s for following in chapters[1:]] + [chapters[-1].span.end_s]
    cues = [
        f"{number}\n{_vtt_time(piece.span.start_s)} --> {_vtt_time(min(piece.span.end_s, end_s))}\n{_vtt_text(piece)}\n"
        for number, (piece, end_s) in enumerate(zip(chapters, ends_s, strict=True), start=1)
        if min(piece.span.end_s, end_s) > piece.span.start_s
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _vtt_time(time_s: float) -> str:
    minutes, milliseconds = divmod(round(time_s * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


def _vtt_text(piece: Piece) -> str:
    return html.escape(" ".join(piece.title.split()) or piece.video.stem, quote=False)
