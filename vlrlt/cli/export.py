"""Commands that export results: cut, export."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlrlt.cli.root import Device, Force, Json, Model, app, say
from vlrlt.cli.search_options import takes_request
from vlrlt.errors import ConfigError
from vlrlt.formats import counted

if TYPE_CHECKING:
    from vlrlt.export.piece import Piece
    from vlrlt.service import Library

What = Annotated[
    list[str],
    typer.Argument(
        metavar="WHAT...",
        help="FILE@START-END, the clip of a hit, collection:NAME, or a result of search or ask --json: a file, or -.",
    ),
]
OptionalLibrary = Annotated[
    Path | None,
    typer.Option(
        "--library",
        metavar="DIR",
        help="Library that holds the clips. It also finds videos by name, and moved videos.",
    ),
]
_COLLECTION = "collection:"
Pad = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Add this much before and after each piece.")]


@app.command()
def cut(
    what: What,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="A film (.mp4, .mkv), an animation (.gif, .webp), a picture or a folder.",
        ),
    ],
    library: OptionalLibrary = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy without encoding, from the preceding key frame: fast and lossless.")
    ] = False,
    as_: Annotated[
        Literal["film", "animation", "picture"],
        typer.Option("--as", help="Kind of file for each piece if --out is a folder."),
    ] = "film",
    pad: Pad = 0.0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Cut pieces out of videos, with their sound.

    An exact cut encodes the piece again. With --copy the piece is copied as it is stored and therefore begins at the
    preceding key frame; cut prints the seconds that it wrote. vlrlt only reads the archive.

    Example: vlrlt cut day1.mp4@01:10-01:14.5 --out fridge.mp4
    Example: vlrlt search "open the fridge" --library lib --json | vlrlt cut - --out clips --copy
    """
    from vlrlt.export.cut import cut_video
    from vlrlt.export.pictures import ANIMATION_SUFFIXES, STILL_SUFFIXES, write_animation, write_still

    _, pieces, archive = _find(what, library)
    outs = _outputs([piece.padded(pad) for piece in pieces], out, archive, kind=as_, copy=copy)
    written: list[dict[str, Any]] = []
    for piece, path in outs:
        suffix = path.suffix.lower()
        if suffix in (*ANIMATION_SUFFIXES, *STILL_SUFFIXES):
            if copy:
                raise ConfigError(
                    f"--copy works for films only, but {path.name} is a picture; leave out --copy or write a film"
                )
            write = write_animation if suffix in ANIMATION_SUFFIXES else write_still
            write(piece.video, piece.span, path, force=force)
            written.append({"video": str(piece.video), "out": str(path)})
            line = str(path)
        else:
            film = cut_video(piece.video, piece.span, path, mode="copy" if copy else "exact", force=force)
            written.append(film.as_json())
            line = film.as_text()
        if not as_json:
            say(line)
    if as_json:
        say(json.dumps({"pieces": written}))


@app.command()
@takes_request("k")
def export(  # noqa: PLR0913  one for each option
    options: dict[str, Any],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="A file: .m3u, .csv, .json, .edl, .fcpxml, .otio, .vtt, .png (storyboard) or .tar (dataset).",
        ),
    ],
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[WHAT]...", help="The same as WHAT of vlrlt cut.")
    ] = None,
    query: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Search for this text. vlrlt search takes more kinds of query.")
    ] = None,
    library: OptionalLibrary = None,
    pick: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only the N moments that differ most; leaves out near-duplicates."),
    ] = None,
    pad: Pad = 0.0,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Title of the list. Default: the query.")] = None,
    force: Force = False,
    model: Model = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write moments as a playlist, table, timeline for editors, chapters, storyboard or dataset.

    The suffix of --out chooses the format. If --out is a folder, it gets WebVTT chapters for each video. EDL, FCPXML
    and OTIO count by the timecode of the camera. OTIO needs pip install 'vlrlt[edit]'. A .tar holds the clips with
    their captions for training (WebDataset).

    Example: vlrlt search "open the fridge" --library lib --json | vlrlt export - --out fridge.m3u
    Example: vlrlt export collection:best --library lib --out best.fcpxml
    Example: vlrlt export --query "open the fridge" --library lib -k 20 --out fridge.edl
    Example: vlrlt export --query "open the fridge" --library lib -k 500 --pick 100 --out fridge.tar
    """
    from vlrlt.export.export import export_file

    found_title, pieces, archive = _find(what or (), library)
    if query is not None:
        if library is None:
            raise ConfigError("--query needs the --library to search")
        found = _search(library, query, options, model=model, device=device)
        found_title, pieces, archive = query, (*pieces, *found), {*archive, *(piece.video for piece in found)}
    if not pieces:
        raise ConfigError("there is nothing to export: " + ("give WHAT or --query" if query is None else "no hits"))
    if pick is not None:
        pieces = _pick(library, pieces, pick)
    _check_outside(out, archive)
    padded = [piece.padded(pad) for piece in pieces]
    outs = export_file(padded, out, title=title or found_title, force=force)
    if as_json:
        say(json.dumps({"out": [str(path) for path in outs], "pieces": len(pieces)}))
    else:
        say("\n".join(map(str, outs)))
        say(f"{counted(len(pieces), 'piece')} in {counted(len(outs), 'file')}")


def _pick(library: Path | None, pieces: "tuple[Piece, ...]", n: int) -> "tuple[Piece, ...]":
    """The n pieces that differ most."""
    from vlrlt.service import Library

    if library is None:
        raise ConfigError("--pick compares moments of a library; say which with --library")
    with Library(library) as service:
        moments = [service.moment_at(service.find_video(str(piece.video)), piece.span) for piece in pieces]
        chosen = service.pick(moments, n)
    return tuple(piece for piece, moment in zip(pieces, moments, strict=True) if any(moment is one for one in chosen))


def _search(
    library: Path, query: str, options: dict[str, Any], *, model: str | None, device: str
) -> "tuple[Piece, ...]":
    from vlrlt.export.piece import piece_of
    from vlrlt.index.search.request import SearchRequest
    from vlrlt.service import Library

    with Library(library, model=model, device=device) as service:
        result = service.search(SearchRequest.parse(options | {"text": query}))
        return tuple(service.informed(piece_of(hit, title=query)) for hit in result.hits)


def _find(what: Sequence[str], library: Path | None) -> "tuple[str, tuple[Piece, ...], set[Path]]":
    """Title and pieces of the arguments, and the videos that are known to be of an archive."""
    from vlrlt.service import Library

    if library is None:
        return _read_all(what, None)
    with Library(library) as service:
        title, pieces, archive = _read_all(what, service)
        return title, tuple(map(service.informed, pieces)), {*archive, *service.paths()}


def _read_all(what: Sequence[str], service: "Library | None") -> "tuple[str, tuple[Piece, ...], set[Path]]":
    from vlrlt.export.piece import read_result

    titles: list[str] = []
    pieces: list[Piece] = []
    archive: set[Path] = set()
    for text in what:
        if text.startswith(_COLLECTION):
            name = text.removeprefix(_COLLECTION)
            if service is None:
                raise ConfigError(f"{text} is a collection of a library; name the library with --library")
            titles.append(name)
            pieces += service.collections.pieces(name)
        elif text == "-" or (text.lower().endswith(".json") and "@" not in Path(text).name):
            result = _load(text)
            titles.append(str(result.get("query") or result.get("question") or ""))
            found = [_moved(piece, service) for piece in read_result(result)]
            archive |= {piece.video for piece in found}
            pieces += found
        else:
            pieces.append(_read(text, service))
    return ", ".join(filter(None, titles)), tuple(pieces), archive


def read_pieces(what: Sequence[str], service: "Library") -> "tuple[Piece, ...]":
    """The pieces of arguments as vlrlt cut takes them."""
    return _read_all(what, service)[1]


def _read(text: str, service: "Library | None") -> "Piece":
    """The piece that one argument names."""
    from vlrlt.export.piece import Piece, piece_of
    from vlrlt.index.search.language import parse_clip

    if re.fullmatch(r"[0-9a-f]{16}", text):
        if service is None:
            raise ConfigError(f"{text} is a clip of a library; name the library with --library")
        return piece_of(service.clip(text), title="")
    clip = parse_clip(text)
    if clip.span is None:
        raise ConfigError(f"{text}: the seconds are missing; give, for example, {text}@01:10-01:14")
    return Piece(video=_by_name(clip.path, service), span=clip.span, title="")


def _by_name(path: Path, service: "Library | None") -> Path:
    """The library's video whose path ends so, as hits print it; the path itself where there is such a file."""
    if service is None or path.exists():
        return path
    known = [video for video in sorted(service.paths()) if video.parts[-len(path.parts) :] == path.parts]
    if len(known) > 1:
        raise ConfigError(
            f"the library has {len(known)} videos named {path}; give the path of one, for example {known[0]}"
        )
    return known[0] if known else path


def _moved(piece: "Piece", service: "Library | None") -> "Piece":
    """A hit of a saved result, with its video where the library has it now."""
    if service is None or "clip" not in piece.hit:
        return piece
    return replace(piece, video=Path(service.clip(str(piece.hit["clip"])).video))


def _load(text: str) -> dict[str, Any]:
    try:
        result = json.loads(sys.stdin.read() if text == "-" else Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{text} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{'stdin' if text == '-' else text} is not JSON: {error}") from error
    if not isinstance(result, dict):
        raise ConfigError("a result must be a JSON object as vlrlt search --json prints it")
    return result


def _outputs(
    pieces: "Sequence[Piece]", out: Path, archive: Iterable[Path], *, kind: str, copy: bool
) -> "list[tuple[Piece, Path]]":
    """Where each piece goes: to the file, or to a file of its own in the folder."""
    _check_outside(out, archive)
    if not pieces:
        raise ConfigError("there is nothing to cut: the result has no hits")
    if out.suffix and not out.is_dir():
        if len(pieces) > 1:
            raise ConfigError(f"{len(pieces)} pieces do not fit into one file, {out}; give --out a folder")
        return [(pieces[0], out)]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be created: {error.strerror}") from error
    endings = {"film": ".mp4", "animation": ".webp", "picture": ".jpg"}
    return [
        (
            piece,
            out / f"{number:03d}-{piece.file_stem}{piece.video.suffix if copy and kind == 'film' else endings[kind]}",
        )
        for number, piece in enumerate(pieces, start=1)
    ]


def _check_outside(out: Path, archive: Iterable[Path]) -> None:
    from vlrlt.export.output import check_outside

    check_outside(out, archive)
