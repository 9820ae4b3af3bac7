"""A list of pieces as a file; its suffix names the kind."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vlrlt.errors import ConfigError
from vlrlt.export import lists
from vlrlt.export.dataset import write_dataset
from vlrlt.export.edl import as_edl
from vlrlt.export.fcpxml import as_fcpxml
from vlrlt.export.otio import as_otio
from vlrlt.export.output import new_file
from vlrlt.export.pictures import write_storyboard
from vlrlt.export.piece import Piece, by_video
from vlrlt.export.sequence import build_sequence

_Writer = Callable[[Sequence[Piece], str], str]
TEXT_FORMATS: dict[str, _Writer] = {
    "m3u": lambda pieces, _title: lists.as_m3u(pieces),
    "csv": lambda pieces, _title: lists.as_csv(pieces),
    "json": lambda pieces, title: lists.as_json(pieces, title=title),
    "vtt": lambda pieces, _title: lists.as_chapters(pieces),
    "edl": lambda pieces, title: as_edl(build_sequence(pieces, title=title)),
    "fcpxml": lambda pieces, title: as_fcpxml(build_sequence(pieces, title=title)),
    "otio": lambda pieces, title: as_otio(build_sequence(pieces, title=title)),
}
FORMATS = (*TEXT_FORMATS, "png", "tar")


def export_text(pieces: Sequence[Piece], *, title: str, kind: str) -> str:
    """The pieces as the text of a playlist, table, timeline or chapters.

    Args:
        pieces: in the order in which they are to come.
        title: of the whole: the query.
        kind: one of TEXT_FORMATS.

    Raises:
        ConfigError: kind is none of them, or the pieces do not fit it.
        DecodeError: a timeline needs to know a video that cannot be read.
    """
    if kind not in TEXT_FORMATS:
        raise ConfigError(f"a list must be one of {', '.join(FORMATS)}, got {kind!r}")
    return TEXT_FORMATS[kind](pieces, title)


def export_file(pieces: Sequence[Piece], out: Path, *, title: str, force: bool = False) -> tuple[Path, ...]:
    """Write the pieces to a file: a list (TEXT_FORMATS), a storyboard (.png), or clips with captions (.tar).

    Args:
        pieces: in the order in which they are to come.
        out: the file; or a folder (it exists, or has no suffix), which gets the WebVTT chapters of each video.
        title: of the whole: the query.
        force: whether files that are there may be replaced.

    Returns:
        The files that were written.

    Raises:
        ConfigError: the suffix is none of these, the pieces do not fit it, or a file exists or cannot be written.
        DecodeError: a video cannot be read.
    """
    if out.is_dir() or not out.suffix:
        outs = {}
        for number, (video, found) in enumerate(by_video(pieces).items(), start=1):
            name = f"{video.stem}.vtt"
            outs[out / name if out / name not in outs else out / f"{video.stem}-{number}.vtt"] = found
        for chapters, found in outs.items():
            _write(chapters, export_text(found, title=title, kind="vtt"), force=force)
        return tuple(outs)
    kind = out.suffix.lower().removeprefix(".")
    if kind == "png":
        write_storyboard(pieces, out, force=force)
    elif kind == "tar":
        write_dataset(pieces, out, force=force)
    else:
        _write(out, export_text(pieces, title=title, kind="m3u" if kind == "m3u8" else kind), force=force)
    return (out,)


def _write(out: Path, text: str, *, force: bool) -> None:
    with new_file(out, force=force) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")
