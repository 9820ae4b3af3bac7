"""Commands that look things up in a library: search, similar, duplicates, searches, import."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vlrlt.cli.root import SOME_FAILED, Device, Json, Library, Model, app
from vlrlt.errors import ConfigError

if TYPE_CHECKING:
    from vlrlt.service import SearchResult

_FILTERS = "Filters"
_SHOW = "What is shown"
Page = Annotated[str | None, typer.Option(metavar="TOKEN", rich_help_panel=_SHOW, help="next_page of the page before.")]
GroupBy = Annotated[Literal["moment", "video"], typer.Option(rich_help_panel=_SHOW)]


@app.command()
def search(  # noqa: PLR0913  every option is one of the query language
    library: Library,
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUERY]...", help="What to find, in words; 'open the fridge^2' weighs 2."),
    ] = None,
    clip: Annotated[
        list[str] | None, typer.Option(metavar="FILE[@START-END]", help="A piece of video to find; seconds or mm:ss.")
    ] = None,
    image: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A picture to find.")] = None,
    like: Annotated[list[str] | None, typer.Option(metavar="CLIP", help="More like this: the clip of a hit.")] = None,
    unlike: Annotated[list[str] | None, typer.Option(metavar="CLIP", help="Less like the clip of a hit.")] = None,
    without: Annotated[list[str] | None, typer.Option("--not", metavar="TEXT", help="What not to show.")] = None,
    then: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="What comes after it.")] = None,
    within: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="From one step to the next.")] = 30.0,
    path: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", rich_help_panel=_FILTERS, help="Of the video's path or name: '*/2024/*'."),
    ] = None,
    not_path: Annotated[list[str] | None, typer.Option(metavar="GLOB", rich_help_panel=_FILTERS)] = None,
    video: Annotated[
        list[str] | None, typer.Option(metavar="ID", rich_help_panel=_FILTERS, help="video_id of a hit.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="TIME", rich_help_panel=_FILTERS, help="Recorded then or later: 2024-05-01.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="TIME", rich_help_panel=_FILTERS, help="Recorded earlier.")
    ] = None,
    min_duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", rich_help_panel=_FILTERS, help="Of the video.")
    ] = None,
    max_duration: Annotated[float | None, typer.Option(metavar="SECONDS", rich_help_panel=_FILTERS)] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", rich_help_panel=_FILTERS, help="On metadata: camera=gopro, 'rating>=3'."),
    ] = None,
    moving: Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0, max=1, rich_help_panel=_FILTERS, help="Least share of moving tokens."),
    ] = None,
    still: Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0, max=1, rich_help_panel=_FILTERS, help="Largest share of moving tokens."),
    ] = None,
    source: Annotated[
        Literal["visual", "text"] | None,
        typer.Option(rich_help_panel=_SHOW, help="Pictures, or subtitles and narrations; both if not given."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, rich_help_panel=_SHOW, help="How many moments.")] = 10,
    per_video: Annotated[
        int, typer.Option(min=0, rich_help_panel=_SHOW, help="Moments of one video at most; 0: no limit.")
    ] = 5,
    diversity: Annotated[
        float, typer.Option(min=0, max=1, rich_help_panel=_SHOW, help="Above 0: moments that differ come first.")
    ] = 0.0,
    group_by: GroupBy = "moment",
    duplicates: Annotated[
        bool, typer.Option("--duplicates", rich_help_panel=_SHOW, help="Also copies of a scene in other videos.")
    ] = False,
    tail: Annotated[bool, typer.Option("--tail", rich_help_panel=_SHOW, help="Also what fits too little.")] = False,
    page: Page = None,
    save: Annotated[
        str | None, typer.Option(metavar="NAME", rich_help_panel=_SHOW, help="Keep this search; see vlrlt searches.")
    ] = None,
    model: Model = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find the moments of a library that fit words, pictures or pieces of video best.

    Each hit says how sure it is, and which share of the searched clips fits worse (percentile); scores compare within
    one query only. Without a confident match that is said, and --tail shows the nearest moments.

    Example: vlrlt search "open the fridge" --library lib -k 5
    Example: vlrlt search "open the fridge" --then "pour milk" --within 20 --library lib
    Example: vlrlt search "wash a plate" --not "wash a pan" --path '*/2024/*' --moving 0.3 --library lib
    Example: vlrlt search --clip day1.mp4@01:10-01:14 --library lib
    """
    from vlrlt.index.search.filters import Filter
    from vlrlt.index.search.language import compose, parse_clip, parse_clip_id
    from vlrlt.index.search.request import SearchRequest
    from vlrlt.index.search.searcher import SOURCES, SearchOptions
    from vlrlt.service import Service

    if save and (clip or image):
        raise ConfigError("--save keeps words and clips of the library, not files; name hits by --like instead")

    asked = compose(
        text=query or (),
        images=image or (),
        clips=[parse_clip(text) for text in clip or ()],
        like=[parse_clip_id(text) for text in like or ()],
        unlike=[parse_clip_id(text) for text in unlike or ()],
        without=without or (),
        then=then or (),
        within_s=within,
    )
    options = SearchOptions(
        filter=Filter(
            paths=tuple(path or ()),
            not_paths=tuple(not_path or ()),
            videos=tuple(video or ()),
            recorded_after=after,
            recorded_before=before,
            min_duration_s=min_duration,
            max_duration_s=max_duration,
            where=tuple(where or ()),
            moving=moving,
            still=still,
        ),
        sources=(source,) if source else SOURCES,
        per_video=per_video or None,
        diversity=diversity,
        duplicates=duplicates,
        tail=tail,
    )
    with Service(library, model=model, device=device) as service:
        result = service.search(asked, k=top_k, options=options, page=page)
        if save:
            words = {"text": query, "like": like, "unlike": unlike, "without": without, "then": then}
            request = SearchRequest(
                **{name: tuple(value or ()) for name, value in words.items()},
                within_s=within,
                options=options,
                k=top_k,
                group_by=group_by,
            )
            service.saved.save(save, request)
            typer.echo(f"vlrlt: saved as {save!r}; vlrlt searches --run searches for it again", err=True)
    _show(result, group_by=group_by, as_json=as_json)


def _show(result: "SearchResult", *, group_by: Literal["moment", "video"], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.as_json(group_by=group_by)))
    else:
        typer.echo(result.as_text(group_by=group_by))


@app.command()
def similar(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="The clip of a hit, as --json shows it.")],
    library: Library,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, rich_help_panel=_SHOW, help="How many moments.")] = 10,
    per_video: Annotated[
        int, typer.Option(min=0, rich_help_panel=_SHOW, help="Moments of one video at most; 0: no limit.")
    ] = 5,
    group_by: GroupBy = "moment",
    page: Page = None,
    as_json: Json = False,
) -> None:
    """Find moments that look like a clip of the library; the moment that it is part of is left out.

    With other words or filters beside it: vlrlt search --like CLIP.

    Example: vlrlt similar 0123456789abcdef --library lib -k 5
    """
    from vlrlt.index.search.language import parse_clip_id
    from vlrlt.index.search.searcher import SearchOptions
    from vlrlt.service import Service

    options = SearchOptions(per_video=per_video or None, duplicates=True)
    with Service(library) as service:
        result = service.similar(parse_clip_id(clip), k=top_k, options=options, page=page)
    _show(result, group_by=group_by, as_json=as_json)


@app.command()
def duplicates(
    library: Library,
    threshold: Annotated[
        float, typer.Option(metavar="COSINE", min=0, max=1, help="From which two clips show the same.")
    ] = 0.98,
    min_seconds: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Leave out shorter scenes.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Find scenes that different videos have in common: versions, excerpts, title sequences.

    Files of the same content are one video here: indexed once, not listed. Copies that were encoded again are.
    Compares clips that lie near each other, all with all in a library of up to 20,000: 5 seconds of CPU time for 1e5
    clips of 512 numbers, two minutes for 1e6.

    Example: vlrlt duplicates --library lib --min-seconds 5
    """
    from vlrlt.service import Service

    with Service(library) as service:
        found = service.duplicates(threshold=threshold, min_s=min_seconds)
    if as_json:
        typer.echo(json.dumps({"threshold": threshold, "duplicates": [repetition.as_json() for repetition in found]}))
    else:
        typer.echo("\n".join(repetition.as_text() for repetition in found) or "no scene is there twice")


@app.command()
def searches(
    library: Library,
    run: Annotated[str | None, typer.Option(metavar="NAME", help="Search again for what was saved.")] = None,
    delete: Annotated[str | None, typer.Option(metavar="NAME", help="Forget a saved search.")] = None,
    page: Page = None,
    as_json: Json = False,
) -> None:
    """List the searches that vlrlt search --save has kept, run one again, or forget one.

    Example: vlrlt search "open the fridge" --library lib --save fridge && vlrlt searches --run fridge --library lib
    """
    from vlrlt.service import Service

    with Service(library) as service:
        if delete is not None:
            service.saved.delete(delete)
        if run is not None:
            result = service.search_saved(run, page=page)
            _show(result, group_by=service.saved.get(run).group_by, as_json=as_json)
            return
        saved = service.saved.all()
    if as_json:
        typer.echo(json.dumps({"searches": {name: request.as_json() for name, request in saved.items()}}))
    else:
        typer.echo("\n".join(f"{name}: {request.query()}" for name, request in saved.items()) or "none")


@app.command("import")
def import_sidecars(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders to look for them.")],
    library: Library,
    as_json: Json = False,
) -> None:
    """Take subtitles, narrations and metadata of indexed videos into the library, to search and to filter by.

    A file belongs to the video of the same name: film.srt, film.en.vtt, film.json for film.mp4. A CSV names the video
    in its column video or video_id: with start_timestamp, stop_timestamp and narration it holds narrations (as
    EPIC-KITCHENS has them), otherwise every column is a metadata key. recorded_at (2024-05-01T18:30) is the key for
    --after and --before. Files in a folder that are none of these are listed, and the exit code is 3.

    Example: vlrlt import ~/Videos --library lib
    """
    from vlrlt.index.library.ledger import Ledger

    with Ledger.open_existing(library) as catalog:
        report = catalog.annotations.import_files(paths)
    typer.echo(json.dumps(report.as_json()) if as_json else report.as_text())
    if report.problems:
        raise typer.Exit(SOME_FAILED)
