"""The command `vlrlt`: options in, results on stdout, everything else on stderr.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 done but some files could not be read, 130 interrupted.
Nothing heavy is imported before a command runs, so that help is immediate.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from vlrlt.errors import ConfigError, MissingExtraError, VlrltError

if TYPE_CHECKING:
    from vlrlt.embed import Embedder
    from vlrlt.index.search import Query
    from vlrlt.tokens.run_length import TokenPolicy

_INTERRUPTED = 130
_SOME_FAILED = 3


class _Commands(TyperGroup):
    """Turns our errors into one line and an exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except VlrltError as error:
            typer.echo(f"vlrlt: {error}", err=True)
            usage = isinstance(error, ConfigError) and not isinstance(error, MissingExtraError)
            raise typer.Exit(2 if usage else 1) from error
        except KeyboardInterrupt:
            typer.echo("vlrlt: interrupted", err=True)
            raise typer.Exit(_INTERRUPTED) from None


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
toy_app = typer.Typer(no_args_is_help=True, help="The toy kitchen: rendered cooking videos with exact annotations.")
eval_app = typer.Typer(no_args_is_help=True, help="Benchmarks.")
app.add_typer(toy_app, name="toy")
app.add_typer(eval_app, name="eval")

Library = Annotated[Path, typer.Option("--library", metavar="DIR", help="Folder of the library.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="'default', a model folder, or an open_clip name like ViT-B-16/openai."),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout.")]


@app.callback()
def _vlrlt() -> None:
    """Index a video archive, find moments by natural language, fine-tune the encoder.

    Example: vlrlt index ~/Videos --library lib && vlrlt search "open the fridge" --library lib
    """


@app.command()
def index(  # noqa: PLR0913  one for each option
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Videos and folders that hold some.")],
    library: Library,
    model: Model = None,
    device: Device = "auto",
    clip_seconds: Annotated[float | None, typer.Option(help="Length of a clip.")] = None,
    stride_seconds: Annotated[float | None, typer.Option(help="From one clip's start to the next.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames per clip.")] = None,
    policy: Annotated[
        Literal["threshold", "budget", "random", "none"] | None, typer.Option(help="Which tokens are dropped.")
    ] = None,
    threshold_255: Annotated[
        float | None, typer.Option("--threshold-255", help="Grey levels, for the policy 'threshold'.")
    ] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Tokens per clip, for 'budget' and 'random'.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try files again that failed before.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a library up to date with the videos below PATH. Running it again does only what is new.

    What is not given is as in the library, or as the model has it. The videos themselves are never changed.

    Example: vlrlt index ~/Videos /mnt/camera/day1.mp4 --library lib
    """
    from vlrlt.index.build import index_paths
    from vlrlt.progress import index_progress

    sampling = {"clip_s": clip_seconds, "stride_s": stride_seconds, "num_frames": frames}
    embedder = _embedder_for(
        library,
        model=model,
        device=device,
        policy=_policy(policy, threshold_255, budget_tokens),
        sampling={name: value for name, value in sampling.items() if value is not None},
    )
    try:
        with index_progress() as show:
            report = index_paths(
                paths, library_dir=library, embedder=embedder, retry_failed=retry_failed, on_progress=show
            )
    except KeyboardInterrupt:
        typer.echo("vlrlt: interrupted; finished videos are kept, run the same command again to go on", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    typer.echo(report.as_text(), err=True)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    if report.failures:
        raise typer.Exit(_SOME_FAILED)


@app.command()
def search(
    library: Library,
    query: Annotated[str | None, typer.Argument(metavar="[QUERY]", help="What to find, in words.")] = None,
    clip: Annotated[
        str | None, typer.Option(metavar="FILE[@START-END]", help="A piece of video as the query; seconds or mm:ss.")
    ] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture as the query.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many moments.")] = 10,
    model: Model = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find the moments of a library that fit words, a picture or a piece of video best.

    The percentile is the share of the library's clips that fit worse; scores compare within one query only.

    Example: vlrlt search "open the fridge" --library lib -k 5
    Example: vlrlt search --clip day1.mp4@01:10-01:14 --library lib
    """
    from vlrlt.service import Service

    with Service(library, model=model, device=device) as service:
        result = service.search(_query(query, clip, image), k=top_k)
    typer.echo(json.dumps(result.as_json()) if as_json else result.as_text())


@app.command()
def status(library: Library, as_json: Json = False) -> None:
    """Say what a library holds, and which files could not be read.

    Example: vlrlt status --library lib
    """
    from vlrlt.service import Service

    with Service(library) as service:
        found = service.status()
    typer.echo(json.dumps(found.as_json()) if as_json else found.as_text())


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this installation; exit code 1 if indexing or search cannot work. Nothing is downloaded.

    Example: vlrlt doctor
    """
    from vlrlt.doctor import run_checks

    checks = run_checks()
    works = all(check.verdict != "broken" for check in checks)
    if as_json:
        typer.echo(json.dumps({"ok": works, "checks": [check.as_json() for check in checks]}))
    else:
        for check in checks:
            advice = f"\n{'':24}-> {check.advice}" if check.advice else ""
            typer.echo(f"{check.verdict:8} {check.name:14} {check.found}{advice}")
    if not works:
        raise typer.Exit(1)


@toy_app.command("make")
def toy_make(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Gets the folders videos and annotations.")],
    videos: Annotated[int, typer.Option(min=1, help="How many videos.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same videos.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render.")] = 2,
) -> None:
    """Render first-person cooking videos and their annotation files in the format of EPIC-KITCHENS-100.

    Example: vlrlt toy make --out toy --videos 8 --seed 1
    """
    from vlrlt.progress import count_progress
    from vlrlt.toy.make import make_toy_kitchen

    with count_progress("videos") as show:
        toy = make_toy_kitchen(out, num_videos=videos, seed=seed, num_workers=workers, progress=show)
    typer.echo(
        f"{toy.num_videos} videos, {toy.video_s:.0f} s: {toy.num_train_actions} actions in {toy.num_train_videos} for "
        f"training, {toy.num_test_actions} in {toy.num_test_videos} for testing, in {out}"
    )


@eval_app.command("epic-mir")
def eval_epic_mir(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder with annotations and videos.")],
    split: Annotated[Literal["train", "test"], typer.Option(help="Which annotation files.")] = "test",
    model: Model = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score a model on EPIC-KITCHENS-100 multi-instance retrieval: mAP and nDCG, both ways.

    Example: vlrlt toy make --out toy --videos 8 && vlrlt eval epic-mir --data toy
    """
    from vlrlt.embed import DEFAULT_MODEL, load_embedder
    from vlrlt.epic import EpicData
    from vlrlt.evaluate import evaluate_epic_mir
    from vlrlt.progress import count_progress

    embedder = load_embedder(model or DEFAULT_MODEL, device=device)
    with count_progress("clips") as show:
        report = evaluate_epic_mir(EpicData(data), embedder, split=split, on_progress=show)
    typer.echo(json.dumps(report.as_json()) if as_json else report.as_text())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def train(ctx: typer.Context) -> None:
    """Train a model: all arguments go to Lightning's command line, `vlrlt train fit --help` shows them.

    Example: vlrlt train fit -c configs/train/toy.yaml
    """
    if ctx.args in ([], ["--help"]):
        typer.echo(ctx.get_help())
        return
    from vlrlt.train.cli import main as train_main

    train_main(ctx.args)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Gets the videos, the library and the report.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Render a small archive, index it, answer six queries and write a report with pictures.

    Example: vlrlt demo --out demo
    """
    from vlrlt.demo import run_demo

    run_demo(out)


@app.command()
def ui(
    library: Library,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the web page, on this machine only.")] = 8501,
) -> None:
    """Open the search page of a library in the browser.

    Example: vlrlt ui --library lib
    """
    from vlrlt.ui.launch import launch_ui

    raise typer.Exit(launch_ui(library, port=port))


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names need not be Unicode
    app()


def _policy(
    kind: Literal["threshold", "budget", "random", "none"] | None,
    threshold_255: float | None,
    budget_tokens: int | None,
) -> "TokenPolicy | None":
    """The token policy of the options; None: none was given."""
    if kind is None and threshold_255 is None and budget_tokens is None:
        return None
    from vlrlt.tokens.run_length import TokenPolicy

    if threshold_255 is not None and kind not in (None, "threshold"):
        raise ConfigError(f"--threshold-255 is for the policy 'threshold', not {kind!r}")
    policy = TokenPolicy(kind=kind or ("threshold" if budget_tokens is None else "budget"), budget_tokens=budget_tokens)
    return policy if threshold_255 is None else replace(policy, threshold_255=threshold_255)


def _embedder_for(
    library: Path, *, model: str | None, device: str, policy: "TokenPolicy | None", sampling: dict[str, Any]
) -> "Embedder":
    """The library's own model, or the one that is asked for, with the options that were given."""
    from vlrlt.embed import DEFAULT_MODEL, load_embedder
    from vlrlt.index.build import model_source
    from vlrlt.index.catalog import writable_settings
    from vlrlt.service import bound_policy

    bound = writable_settings(library)
    if bound is not None and (model is None or model_source(model) == bound.model):
        model, own_sampling, policy = bound.model, bound.sampling, policy or bound_policy(bound)
    else:
        model, own_sampling = model or DEFAULT_MODEL, None
    embedder = load_embedder(model, device=device, policy=policy, sampling=own_sampling)
    if not sampling:
        return embedder
    stride_s = min(embedder.sampling.stride_s, sampling.get("clip_s", embedder.sampling.clip_s))
    changed = replace(embedder.sampling, **{"stride_s": stride_s} | sampling)
    return load_embedder(model, device=device, policy=policy, sampling=changed)


def _query(text: str | None, clip: str | None, image: Path | None) -> "Query":
    from vlrlt.index.search import ImageQuery, TextQuery, parse_clip

    if sum(given is not None for given in (text, clip, image)) != 1:
        raise ConfigError("give either words, or --clip FILE[@START-END], or --image FILE")
    if clip is not None:
        return parse_clip(clip)
    return ImageQuery(image) if image is not None else TextQuery(str(text))
