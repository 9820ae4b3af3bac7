"""Commands that search a library: search, similar, duplicates, searches, import."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlrlt.cli.root import SOME_FAILED, Device, Force, Json, LibraryDir, Model, app, given, notify, say
from vlrlt.cli.search_options import takes_request
from vlrlt.formats import counted

if TYPE_CHECKING:
    from vlrlt.index.search.request import SearchRequest
    from vlrlt.service import SearchResult


@app.command()
@takes_request()
def search(
    library: LibraryDir,
    options: dict[str, Any],
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Also find what matches this text. Repeatable."),
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", rich_help_panel="Output", help="Save this search under a name (see vlrlt searches)."
        ),
    ] = None,
    model: Model = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find the moments that best match words, pictures or pieces of video.

    The words of QUERY are one query, in quotation marks or not; --also adds others, and scores are their mean.

    Each hit shows a confidence and a percentile, the share of the searched clips that match worse. Scores compare hits
    of one query only. If nothing matches confidently, search says so; --tail shows the nearest moments anyway.

    Example: vlrlt search "open the fridge" --library lib -k 5
    Example: vlrlt search "open the fridge" --then "pour milk" --within 20 --library lib
    Example: vlrlt search "wash a plate" --not "wash a pan" --path '*/2024/*' --moving 0.3 --library lib
    Example: vlrlt search --clip day1.mp4@01:10-01:14 --library lib
    Example: vlrlt search "someone drops a cup" --rerank vlm --tail --library lib
    """
    from vlrlt.index.search.request import SearchRequest
    from vlrlt.service import Library

    texts = [" ".join(options.pop("text", ())), *(also or ())]
    request = SearchRequest.parse(options | {"text": [text for text in texts if text]})
    if save:
        request.as_json()  # what cannot be saved is said before the search
    _warn_of_frames(request)
    with Library(library, model=model, device=device) as service:
        result = service.search(request)
        if save:
            service.saved.save(save, request)
            again = shlex.join(["vlrlt", "searches", "--run", save, "--library", str(library)])
            notify(f"saved; to run it again: {again}")
    _show(result, as_json=as_json)


def _warn_of_frames(request: "SearchRequest") -> None:
    """Say what leaves the machine, before it does."""
    if request.rerank is not None:
        from vlrlt.ask.vlm import FRAMES_PER_MOMENT, Endpoint

        most = FRAMES_PER_MOMENT * request.rerank_most
        notify(f"sending the words and up to {most} frames of found moments to {Endpoint.from_environment().url}")


def _show(result: "SearchResult", *, as_json: bool) -> None:
    say(json.dumps(result.as_json()) if as_json else result.as_text())


@app.command()
@takes_request("k", "per_video", "group_by", "page")
def similar(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="The clip of a hit, as search --json prints it.")],
    library: LibraryDir,
    options: dict[str, Any],
    as_json: Json = False,
) -> None:
    """Find moments that look like a clip of the library, without the moment that holds the clip.

    To combine a clip with words or filters, use vlrlt search --like CLIP.

    Example: vlrlt similar 0123456789abcdef --library lib -k 5
    """
    from vlrlt.service import Library

    with Library(library) as service:
        result = service.similar(clip, **options)
    _show(result, as_json=as_json)


@app.command()
def duplicates(
    library: LibraryDir,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="COSINE",
            min=0,
            max=1,
            show_default="0.98",
            help="Minimum similarity of two clips that show the same scene.",
        ),
    ] = None,
    min_seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Leave out scenes shorter than this.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find scenes that several videos share: versions, excerpts, title sequences.

    Files with the same bytes are one video to vlrlt and are not listed; copies that were encoded again are listed. In
    libraries of up to 20,000 clips every clip is compared with every other, in larger ones with those nearby. 100,000
    clips take 5 seconds of CPU time, a million two minutes.

    Example: vlrlt duplicates --library lib --min-seconds 5
    """
    from vlrlt.index.search.repeats import THRESHOLD
    from vlrlt.service import Library

    with Library(library) as service:
        found = service.duplicates(**given(threshold=threshold, min_s=min_seconds))
    if as_json:
        say(
            json.dumps(
                {"threshold": threshold or THRESHOLD, "duplicates": [repetition.as_json() for repetition in found]}
            )
        )
    else:
        say("\n".join(repetition.as_text() for repetition in found) or "no scene occurs twice")


@app.command()
@takes_request("page")
def searches(
    library: LibraryDir,
    options: dict[str, Any],
    run: Annotated[str | None, typer.Option(metavar="NAME", help="Run a saved search again.")] = None,
    delete: Annotated[str | None, typer.Option(metavar="NAME", help="Delete a saved search.")] = None,
    as_json: Json = False,
) -> None:
    """List saved searches, run one again, or delete one.

    Example: vlrlt search "open the fridge" --library lib --save fridge && vlrlt searches --run fridge --library lib
    """
    from vlrlt.service import Library

    with Library(library) as service:
        if delete is not None:
            service.saved.delete(delete)
        if run is not None:
            _show(service.search_saved(run, **options), as_json=as_json)
            return
        saved = service.saved.all()
    if as_json:
        say(json.dumps({"searches": {name: request.as_json() for name, request in saved.items()}}))
    else:
        say("\n".join(f"{name}: {request.query()}" for name, request in saved.items()) or "none")


@app.command()
def transcript(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="Path or name of the video, or the video_id of a hit.")],
    library: LibraryDir,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--in",
            metavar="subtitles|speech|screen",
            help="Only lines of this source. Repeatable. Default: all.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a file: .srt or .vtt subtitles, .txt or .json.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Print what is said and written in a video, line by line, or write it as subtitles.

    Example: vlrlt transcript holiday.mp4 --library lib --out holiday.srt
    """
    from vlrlt.export.output import check_outside, new_file
    from vlrlt.export.transcript import transcript_text
    from vlrlt.service import Library

    with Library(library) as service:
        lines = service.transcript(service.find_video(video), **given(sources=tuple(sources) if sources else None))
        archive = service.paths()
    if out is None and not lines and not as_json:
        notify(f"no lines found for {video}; vlrlt index --speech, vlrlt index --screen-text and vlrlt import add some")
        return
    if out is None:
        say(transcript_text(lines, kind="json" if as_json else "txt").removesuffix("\n"))
        return
    check_outside(out, archive)
    text = transcript_text(lines, kind=out.suffix.lower().removeprefix("."))
    with new_file(out, force=force) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    notify(f"wrote {out}: {counted(len(lines), 'line')}")


@app.command("import")
def import_sidecars(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders that hold them.")],
    library: LibraryDir,
    as_json: Json = False,
) -> None:
    """Add subtitles, narrations and metadata of indexed videos to the library, to search them and to filter by them.

    A file belongs to the video of the same name: film.srt, film.en.vtt or film.json belongs to film.mp4. A CSV file
    names the video in its column video or video_id. If it has the columns start_timestamp, stop_timestamp and
    narration, it holds narrations as EPIC-KITCHENS does; otherwise each column is a metadata key. The options --after
    and --before use the key recorded_at (2024-05-01T18:30), or what the camera says. Other files are listed, and the
    exit code is 3.

    Example: vlrlt import ~/Videos --library lib
    """
    from vlrlt.index.library.ledger import Ledger

    with Ledger.open_existing(library) as catalog:
        report = catalog.annotations.import_files(paths)
        catalog.keep_copy()
    say(json.dumps(report.as_json()) if as_json else report.as_text())
    if report.problems:
        raise typer.Exit(SOME_FAILED)
