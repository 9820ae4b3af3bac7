"""Commands that maintain a library: watch, failures, use, verify, compact, prune, pause and the like."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from vlrlt.cli.root import (
    INTERRUPTED,
    SOME_FAILED,
    Device,
    Exclude,
    Include,
    Json,
    LibraryDir,
    MaxShift,
    Model,
    ScreenText,
    Speech,
    app,
    given,
    notify,
    say,
)
from vlrlt.errors import ConfigError, LibraryBusyError, StoppedError, VlrltError
from vlrlt.formats import counted, printable_line

_Made = TypeVar("_Made")


@app.command()
def watch(  # noqa: PLR0913  one for each option
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Videos, or folders of videos.")],
    library: LibraryDir,
    model: Model = None,
    device: Device = "auto",
    include: Include = None,
    exclude: Exclude = None,
    max_shift_seconds: MaxShift = 0.0,
    speech: Speech = None,
    screen_text: ScreenText = False,
    settle_seconds: Annotated[float, typer.Option(min=0, help="Index when nothing has changed for this long.")] = 30.0,
    alert: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Report new moments of this saved search. Repeatable."),
    ] = None,
    alert_command: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Program for each new moment; it gets JSON on stdin.")
    ] = None,
    alert_webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Address to which each new moment is sent as JSON by POST.")
    ] = None,
) -> None:
    """Index PATH now and again whenever something below it changes, until Ctrl-C.

    While another vlrlt writes to the library, watch waits. Changes that a network share does not report are found
    within an hour. watch runs on this machine only; for a cluster, run vlrlt index --engine ray from a timer.

    With --alert, watch reports each new moment once, even if its video is indexed again. Moments that are in the
    library before the first alert of that name are not new. The alert contains the path of the video.

    Example: vlrlt watch /mnt/camera --library lib
    Example: vlrlt watch /mnt/camera --library lib --alert fire --alert-webhook https://example.org/fire
    """
    from vlrlt.index.run.build import index_paths
    from vlrlt.index.run.model_choice import choose_embedder
    from vlrlt.index.run.watch import changes
    from vlrlt.progress import index_progress
    from vlrlt.words.choose import choose_readers

    wait_s = max(1.0, settle_seconds)
    tell = _alerts(library, alert, command=alert_command, webhook=alert_webhook, device=device)
    load = partial(choose_embedder, library, model=model, device=device, notify=notify)
    try:
        embedder = _when_free(load, wait_s=wait_s)
        readers = choose_readers(speech=speech, screen_text=screen_text, device=device)
        for _ in changes(paths, library_dir=library, settle_s=settle_seconds):
            with index_progress() as show:
                run = partial(
                    index_paths,
                    paths,
                    library_dir=library,
                    embedder=embedder,
                    readers=readers,
                    include=include or (),
                    exclude=exclude or (),
                    max_shift_s=max_shift_seconds,
                    on_progress=show,
                )
                report = _when_free(run, wait_s=wait_s)
            say(report.as_text(), err=True)
            tell()
    except (KeyboardInterrupt, StoppedError):
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def failures(library: LibraryDir, as_json: Json = False) -> None:
    """List the files that could not be read completely, with the reasons. Exit code 3 if there are any.

    Example: vlrlt failures --library lib
    """
    from vlrlt.index.library.catalog import Catalog

    with Catalog.open_reader(library) as catalog:
        problems, unread = catalog.problems(), catalog.texts.unread()
    if as_json:
        listed = [{"path": path, "channel": reading.channel, "reason": reading.reason} for path, reading in unread]
        say(json.dumps({"failures": [video.problem_json() for video in problems], "unread": listed}))
    else:
        lines = [video.problem_text() for video in problems]
        lines += [f"{printable_line(path)}: {reading.channel} not read: {reading.reason}" for path, reading in unread]
        say("\n".join(lines) or "none")
    if problems or unread:
        raise typer.Exit(SOME_FAILED)


@app.command()
def use(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The name of an indexed model, or the start of its fingerprint.")
    ],
    library: LibraryDir,
    forget_others: Annotated[
        bool, typer.Option("--forget-others", help="Delete the vectors of all other models.")
    ] = False,
) -> None:
    """Switch searches to another model, once everything is indexed with it.

    Example: vlrlt index ~/Videos --library lib --model ViT-B-16/openai && vlrlt use ViT-B-16/openai --library lib
    """
    from vlrlt.index.run.model_choice import use_model

    chosen = use_model(library, model, forget_others=forget_others)
    say(f"searches now use {chosen.model}")


@app.command()
def verify(
    library: LibraryDir,
    read_archive: Annotated[bool, typer.Option("--read-archive", help="Also read and hash every video.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Restore a damaged catalog and recover vectors that it does not list.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the catalog and the checksums of all vectors. The next index repairs what is damaged.

    Damaged vectors are set aside and their videos queued (exit code 3). If the catalog itself is damaged (exit code 1),
    --repair restores it from its copy and from the segments, without decoding a video.

    Example: vlrlt verify --library lib
    """
    from vlrlt.index.run.maintain import verify as run_verify

    report = run_verify(library, read_archive=read_archive, repair=repair)
    say(json.dumps(report.as_json()) if as_json else report.as_text())
    if report.damaged or report.requeued:
        raise typer.Exit(SOME_FAILED)


@app.command()
def compact(library: LibraryDir) -> None:
    """Merge small segments and delete the vectors of forgotten files.

    Example: vlrlt compact --library lib
    """
    from vlrlt.index.run.maintain import compact as run_compact

    before, after = run_compact(library)
    say(f"merged {counted(before, 'segment')} into {after}")


@app.command()
def snapshot(library: LibraryDir) -> None:
    """Ask the library's Qdrant server for a snapshot, which Qdrant's own tools restore.

    If the library has no server, copy its folder instead.

    Example: vlrlt snapshot --library lib
    """
    from vlrlt.index.library.catalog import Catalog
    from vlrlt.index.vectors.choice import snapshot_store

    with Catalog.open_reader(library) as catalog:
        say(snapshot_store(library, catalog.snapshot()))


@app.command()
def prune(
    library: LibraryDir,
    grace_days: Annotated[
        float | None,
        typer.Option(min=0, show_default="7.0", help="Forget only files that have been missing for longer."),
    ] = None,
) -> None:
    """Forget files that no longer exist, with their clips. Files on an unplugged disk are kept.

    Example: vlrlt prune --library lib --grace-days 0
    """
    from vlrlt.index.run.maintain import prune as run_prune

    gone = run_prune(library, **given(grace_s=None if grace_days is None else grace_days * 86_400))
    say("\n".join([f"{counted(len(gone), 'file')} forgotten", *(f"  {path}" for path in gone)]))


@app.command()
def pause(library: LibraryDir) -> None:
    """Pause index runs of a library until vlrlt resume.

    Example: vlrlt pause --library lib
    """
    from vlrlt.index.run.control import ask_run

    ask_run(library, "pause")
    say(f"index runs of {library} are paused, including new ones; to continue, run: vlrlt resume --library {library}")


@app.command()
def resume(library: LibraryDir) -> None:
    """Resume paused index runs.

    Example: vlrlt resume --library lib
    """
    from vlrlt.index.run.control import ask_run

    ask_run(library, "pause", wanted=False)
    say(f"index runs of {library} continue")


@app.command()
def stop(library: LibraryDir) -> None:
    """Stop a running index after the current clip. The next run continues from there.

    Example: vlrlt stop --library lib
    """
    from vlrlt.index.run.control import ask_run, view_run

    ask_run(library, "stop")
    run = view_run(library)
    say(f"{library}: {run.as_text()}" if run else f"no index run of {library} was found; nothing to stop")


def _alerts(
    library: Path, searches: list[str] | None, *, command: str | None, webhook: str | None, device: str
) -> Callable[[], None]:
    """What tells of the moments that are new; it does nothing where no alert was asked for."""
    from vlrlt.service import Library
    from vlrlt.service.alerts import Bell, begin_alerts, tell_new

    if not searches:
        if command is not None or webhook is not None:
            raise ConfigError("--alert-command and --alert-webhook need --alert NAME, the name of a saved search")
        return lambda: None
    bell = Bell(command=command, webhook=webhook)
    with Library(library, device=device) as service:
        begin_alerts(service, searches)

    def tell() -> None:
        try:
            with Library(library, device=device) as service:
                told = tell_new(service, searches, bell.ring)
            if told:
                notify(f"told of {told} new moment{'s' if told > 1 else ''}")
        except VlrltError as error:
            notify(f"{error}; it is tried again after the next change")

    return tell


def _when_free(act: Callable[[], _Made], *, wait_s: float) -> _Made:
    """What it gives as soon as no other vlrlt writes to the library."""
    while True:
        try:
            return act()
        except LibraryBusyError as error:
            notify(str(error))
            time.sleep(wait_s)


@app.command()
def calibrate(
    library: LibraryDir,
    seed: Annotated[int, typer.Option(help="Chooses the videos that are kept back to judge.")] = 0,
    as_json: Json = False,
) -> None:
    """Learn from narrations where moments begin and end, and how sure a search can be.

    Add narrations with vlrlt import first: what happens in at least 8 videos of the library, with start and end. A
    quarter of the videos is kept back, and what was learned is used only if it is better there. It belongs to the
    library and its model; run calibrate again when there are more narrations.

    Example: vlrlt import narrations.csv --library lib && vlrlt calibrate --library lib
    """
    from vlrlt.service import Library

    with Library(library) as service:
        report = service.calibrate(seed=seed)
    say(json.dumps(report.as_json()) if as_json else report.as_text())
