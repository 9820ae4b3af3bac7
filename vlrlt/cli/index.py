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
    Threshold,
    app,
    notify,
    say,
    token_policy,
)
from vlrlt.errors import ConfigError, StoppedError

if TYPE_CHECKING:
    from vlrlt.embed import Embedder
    from vlrlt.index.run.engine import Engine


@app.command()
def index(  # noqa: PLR0913  one for each option
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Videos and folders that hold some.")],
    library: LibraryDir,
    model: Model = None,
    device: Device = "auto",
    precision: Precision = None,
    clip_seconds: Annotated[
        float | None, typer.Option(help="Clips at equal distances, of this length; otherwise looks follow motion.")
    ] = None,
    stride_seconds: Annotated[float | None, typer.Option(help="From one clip's start to the next.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames per clip.")] = None,
    policy: Policy = None,
    threshold_255: Threshold = None,
    budget_tokens: Budget = None,
    store: Annotated[
        str | None, typer.Option(metavar="STORE", help="Where vectors are searched: faiss, or qdrant://HOST:PORT/NAME.")
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try files again that failed before.")] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a batch, counted as if none were dropped: bounds memory.")
    ] = None,
    max_shift_seconds: MaxShift = 0.0,
    workers: Annotated[int | None, typer.Option(min=1, help="Decoder processes; otherwise one a core.")] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where the work is done: on this machine, or on a Ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a running Ray cluster; otherwise one is started here.")
    ] = None,
    shared: Annotated[
        str | None, typer.Option(metavar="URL", help="fsspec folder through which videos reach the Ray workers.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate time and size from a sample, write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring a library up to date with the videos below PATH. Running it again does only what is new.

    What is not given is as in the library, or as the model has it. The videos themselves are never changed. Another
    model than the library's is indexed beside it, until `vlrlt use` lets it answer.

    Example: vlrlt index ~/Videos /mnt/camera/day1.mp4 --library lib
    Example: vlrlt index /mnt/archive --library lib --engine ray --ray-address auto
    """
    from vlrlt.index.library.ledger import library_models
    from vlrlt.index.run.build import index_paths
    from vlrlt.index.run.control import is_paused
    from vlrlt.index.run.encode import MAX_TOKENS
    from vlrlt.index.run.estimate import estimate
    from vlrlt.index.run.model_choice import choose_embedder
    from vlrlt.progress import index_progress
    from vlrlt.service.jobs import end_with_the_server

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
    if is_paused(library):
        notify(f"paused; go on with: vlrlt resume --library {library}")
    try:
        with _engine(engine, workers, ray_address, shared, embedder, device) as chosen, index_progress() as show:
            report = index_paths(
                paths,
                **options,
                engine=chosen,
                store=store,
                retry_failed=retry_failed,
                max_tokens=max_tokens or MAX_TOKENS,
                on_progress=show,
            )
    except (KeyboardInterrupt, StoppedError):
        notify("interrupted; what is committed is kept, run the same command again to go on")
        raise typer.Exit(INTERRUPTED) from None
    say(report.as_text(), err=True)
    active = library_models(library)[0]
    if active.fingerprint != embedder.fingerprint:
        say(
            f"{library} is searched with {active.model!r} ({active.fingerprint[:12]}); let this model answer with: "
            f"vlrlt use {embedder.fingerprint[:12]} --library {library}",
            err=True,
        )
    if as_json:
        say(json.dumps(report.as_json()))
    if report.failures:
        raise typer.Exit(SOME_FAILED)


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
            raise ConfigError("--ray-address and --shared are for --engine ray")
        return nullcontext(LocalEngine(workers))
    from vlrlt.index.run.engine_ray import RayEngine

    return RayEngine(settings_of(embedder), device=device, address=address, shared=shared, num_cpus=workers)


@app.command()
def status(
    library: LibraryDir,
    as_json: Json = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Print Prometheus metrics, for a textfile collector.")
    ] = False,
) -> None:
    """Say what a library holds, and which files could not be read.

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
