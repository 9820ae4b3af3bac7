"""Commands for collections of moments: collection add, list, show, change, remove, delete."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlrlt.cli.export import read_pieces
from vlrlt.cli.root import Json, LibraryDir, collection_app, given, say
from vlrlt.errors import ConfigError
from vlrlt.formats import TIME_PATTERN, counted, format_span, parse_time

if TYPE_CHECKING:
    from vlrlt.index.library.kept import KeptMoment

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection.")]
MomentId = Annotated[int, typer.Argument(metavar="ID", help="The number of a moment, as collection show lists it.")]
Rating = Annotated[int | None, typer.Option(min=1, max=5, help="Rating from 1 to 5.")]
Note = Annotated[str | None, typer.Option(metavar="TEXT", help="A note.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag. Repeatable.")]


@collection_app.command("add")
def add(
    name: Name,
    what: Annotated[list[str], typer.Argument(metavar="WHAT...", help="The same as WHAT of vlrlt cut.")],
    library: LibraryDir,
    rating: Rating = None,
    note: Note = None,
    tag: Tags = None,
    as_json: Json = False,
) -> None:
    """Put moments into a collection, which is created if it does not exist.

    Example: vlrlt search "open the fridge" --library lib --json | vlrlt collection add fridge - --library lib
    Example: vlrlt collection add best day1.mp4@01:10-01:14 --library lib --rating 5 --tag interview
    """
    from vlrlt.service import Library

    with Library(library) as service:
        kept = []
        for piece in read_pieces(what, service):
            video_id = service.find_video(str(piece.video))
            about = {"title": piece.title, **given(rating=rating, note=note, tags=tag)}
            kept.append(service.collections.add(name, video_id=video_id, span=piece.span, **about))
    if not kept:
        raise ConfigError("there is nothing to add: the result has no hits")
    say(json.dumps({"collection": name, "hits": [one.as_json() for one in kept]}) if as_json else _listed(kept))


@collection_app.command("list")
def list_(library: LibraryDir, as_json: Json = False) -> None:
    """List the collections and how many moments each has.

    Example: vlrlt collection list --library lib
    """
    from vlrlt.index.library.kept import Collections

    known = Collections(library).all()
    lines = "\n".join(f"{name}: {counted(count, 'moment')}" for name, count in known.items())
    say(json.dumps({"collections": known}) if as_json else lines or "none")


@collection_app.command("show")
def show(
    name: Name,
    library: LibraryDir,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Only moments with this tag.")] = None,
    min_rating: Annotated[
        int | None, typer.Option(min=1, max=5, help="Only moments with at least this rating.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the moments of a collection in its order. Its JSON is a result, which vlrlt cut and export take.

    Example: vlrlt collection show best --library lib --tag interview
    Example: vlrlt collection show best --library lib --min-rating 4 --json | vlrlt export - --out best.fcpxml
    """
    from vlrlt.index.library.kept import Collections

    kept = Collections(library).moments(name, tag=tag, min_rating=min_rating)
    say(json.dumps({"query": name, "hits": [one.as_json() for one in kept]}) if as_json else _listed(kept) or "empty")


@collection_app.command("change")
def change(  # noqa: PLR0913  one for each option
    moment: MomentId,
    library: LibraryDir,
    rating: Annotated[int | None, typer.Option(min=0, max=5, help="Rating from 1 to 5; 0 removes it.")] = None,
    note: Note = None,
    tag: Tags = None,
    place: Annotated[int | None, typer.Option(min=1, help="Place in the collection; 1 is first.")] = None,
    start: Annotated[str | None, typer.Option(metavar="TIME", help="New start, in seconds or mm:ss.")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="New end.")] = None,
    as_json: Json = False,
) -> None:
    """Change rating, note, tags, place or seconds of a moment; omitted options stay unchanged. --tag replaces all tags.

    Example: vlrlt collection change 3 --library lib --rating 4 --place 1 --end 01:15.5
    """
    from vlrlt.index.library.kept import Collections
    from vlrlt.types import ClipSpan

    collections = Collections(library)
    before = collections.get(moment)
    span = ClipSpan(before.start_s if start is None else _time(start), before.end_s if end is None else _time(end))
    about = given(rating="none" if rating == 0 else rating, note=note, tags=tag, place=place)
    changed = collections.change(moment, span=span, **about)
    say(json.dumps(changed.as_json()) if as_json else _line(changed))


@collection_app.command("remove")
def remove(
    moments: Annotated[list[int], typer.Argument(metavar="ID...", help="Numbers of moments.")], library: LibraryDir
) -> None:
    """Remove moments from their collections. The videos stay unchanged.

    Example: vlrlt collection remove 3 4 --library lib
    """
    from vlrlt.index.library.kept import Collections

    collections = Collections(library)
    for moment in moments:
        collections.remove(moment)
    say(f"{counted(len(moments), 'moment')} removed")


@collection_app.command("delete")
def delete(name: Name, library: LibraryDir) -> None:
    """Delete a collection with its tags, ratings and notes. The videos stay unchanged.

    Example: vlrlt collection delete fridge --library lib
    """
    from vlrlt.index.library.kept import Collections

    Collections(library).delete(name)
    say(f"collection {name!r} is deleted")


def _time(text: str) -> float:
    if not re.fullmatch(TIME_PATTERN, text):
        raise ConfigError(f"a time must be seconds or mm:ss, like 75.5 or 01:15.5, got {text!r:.50}")
    return parse_time(text)


def _listed(kept: "list[KeptMoment] | tuple[KeptMoment, ...]") -> str:
    return "\n".join(map(_line, kept))


def _line(kept: "KeptMoment") -> str:
    stars = "*" * (kept.rating or 0)
    about = "  ".join(filter(None, (kept.title, stars, " ".join(f"#{tag}" for tag in kept.tags), kept.note)))
    video = Path(kept.video).name if kept.video else f"(forgotten video {kept.video_id})"
    return f"{kept.id:<4} {video}  {format_span(kept.start_s, kept.end_s)}  {about}".rstrip()
