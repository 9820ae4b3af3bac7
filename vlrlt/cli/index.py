"""Commands that build and inspect a library: index, status."""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlrlt.cli.root import (
    INTERRUPTED,
    SOME_FAILED,
    Budget,
    Device,
    Exclude,
    Include,
    Json,
    LibraryDir,
    MaxShift,
    Model,
    Policy,
    Precision,
    ScreenText,
    Speech,
    Threshold,
    app,
    notify,
    say,
    token_policy,
)
from vlrlt.errors import ConfigError, StoppedError

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder
    from vlrlt.index.run.engine import Engine
    from vlrlt.index.run.run_report import IndexReport


@app.command()
def index(  # noqa: PLR0913  one for each option
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Videos, or folders of videos.")],
    library: LibraryDir,
    model: Model = None,
    device: Device = "auto",
    precision: Precision = None,
    clip_seconds: Annotated[
        float | None, typer.Option(help="Cut videos into clips of this length. Default: looks follow motion.")
    ] = None,
    stride_seconds: Annotated[
        float | None, typer.Option(help="Time from the start of one clip to the start of the next.")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames in a clip.")] = None,
    policy: Policy = None,
    threshold_255: Threshold = None,
    budget_tokens: Budget = None,
    store: Annotated[
        str | None, typer.Option(metavar="STORE", help="Vector store: faiss, or qdrant://HOST:PORT/NAME.")
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Retry files that failed earlier.")] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Maximum number of tokens in a batch, before any are dropped. Lower it to save memory."
        ),
    ] = None,
    max_shift_seconds: MaxShift = 0.0,
    speech: Speech = None,
    screen_text: ScreenText = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Decoder processes. Default: one for each core.")] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Run on this machine, or on a Ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address of a Ray cluster. Default: start one here.")
    ] = None,
    shared: Annotated[
        str | None, typer.Option(metavar="URL", help="Folder (fsspec URL) through which videos reach the Ray workers.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate time and size from a sample and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Index the videos below PATH. A second run indexes only what is new or has changed.

    Options that you leave out keep the value that the library has, or for a new library the value that suits the model.
    vlrlt only reads the videos. If you name another model than the library's, its vectors are kept beside the others
    until you switch with vlrlt use.

    Example: vlrlt index ~/Videos /mnt/camera/day1.mp4 --library lib
    Example: vlrlt index ~/Videos --library lib --speech whisper/small --screen-text
    Example: vlrlt index /mnt/archive --library lib --engine ray --ray-address auto
    """
    from vlrlt.index.run.estimate import estimate
    from vlrlt.index.run.model_choice import choose_embedder
    from vlrlt.service.jobs import end_with_the_server
    from vlrlt.words.choose import choose_readers

    end_with_the_server()
    sampling = {"clip_s": clip_seconds, "stride_s": stride_seconds, "num_frames": frames}
    embedder = choose_embedder(
        library,
        model=model,
        device=device,
        precision=precision,
        policy=token_policy(policy, threshold_255, budget_tokens),
        sampling={name: value for name, value in sampling.items() if value is not None},
        notify=notify,
    )
    options: dict[str, Any] = {
        "library_dir": library,
        "embedder": embedder,
        "include": include or (),
        "exclude": exclude or (),
        "max_shift_s": max_shift_seconds,
    }
    if dry_run:
        forecast = estimate(paths, workers=workers, **options)
        say(json.dumps(forecast.as_json()) if as_json else forecast.as_text())
        return
    options |= {
        "readers": choose_readers(speech=speech, screen_text=screen_text, device=device),
        "store": store,
        "retry_failed": retry_failed,
    }
    if max_tokens is not None:
        options["max_tokens"] = max_tokens
    report = _run(paths, options, _engine(engine, workers, ray_address, shared, embedder, device))
    say(report.as_text(), err=True)
    _tell_who_answers(library, embedder)
    if as_json:
        say(json.dumps(report.as_json()))
    if report.failures or any(reading.failures for reading in report.readings):
        raise typer.Exit(SOME_FAILED)


def _run(paths: list[Path], options: dict[str, Any], engine: "AbstractContextManager[Engine]") -> "IndexReport":
    from vlrlt.index.run.build import index_paths
    from vlrlt.index.run.control import is_paused
    from vlrlt.progress import index_progress

    library = options["library_dir"]
    if is_paused(library):
        notify(f"paused; to continue, run: vlrlt resume --library {library}")
    try:
        with engine as chosen, index_progress() as show:
            return index_paths(paths, **options, engine=chosen, on_progress=show)
    except (KeyboardInterrupt, StoppedError):
        notify("interrupted; everything committed is kept; run the same command again to continue")
        raise typer.Exit(INTERRUPTED) from None


def _tell_who_answers(library: Path, embedder: "Embedder") -> None:
    """Say how to switch, if another model than the one that has just indexed answers searches."""
    from vlrlt.index.library.ledger import library_models

    active = library_models(library)[0]
    if active.fingerprint != embedder.fingerprint:
        say(
            f"{library} is searched with {active.model!r} ({active.fingerprint[:12]}); to search with the new model, "
            f"run: vlrlt use {embedder.fingerprint[:12]} --library {library}",
            err=True,
        )


def _engine(
    name: Literal["local", "ray"],
    workers: int | None,
    address: str | None,
    shared: str | None,
    embedder: "Embedder",
    device: str,
) -> "AbstractContextManager[Engine]":
    from vlrlt.index.run.build import settings_of
    from vlrlt.index.run.engine import LocalEngine

    if name == "local":
        if address is not None or shared is not None:
            raise ConfigError("--ray-address and --shared need --engine ray")
        return nullcontext(LocalEngine(workers))
    from vlrlt.index.run.engine_ray import RayEngine

    return RayEngine(settings_of(embedder), device=device, address=address, shared=shared, num_cpus=workers)


@app.command()
def status(
    library: LibraryDir,
    as_json: Json = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Print metrics for Prometheus (textfile collector).")
    ] = False,
) -> None:
    """Show what a library holds and which files could not be read.

    Example: vlrlt status --library lib
    """
    from vlrlt.service import Library

    with Library(library) as service:
        found = service.status()
    if metrics:
        from vlrlt.service.prometheus import prometheus_text

        say(prometheus_text(found), nl=False)
    else:
        say(json.dumps(found.as_json()) if as_json else found.as_text())
