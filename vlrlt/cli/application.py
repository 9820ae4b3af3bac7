"""Commands around the application: doctor, explain, demo, serve, mcp, ui."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vlrlt.cli.root import (
    Budget,
    Device,
    Force,
    Json,
    LibraryDir,
    Model,
    Policy,
    Threshold,
    app,
    check_new,
    given,
    say,
    token_policy,
)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this installation. Exit code 1 if indexing or search cannot work. Nothing is downloaded.

    Example: vlrlt doctor
    """
    from vlrlt.doctor import run_checks

    checks = run_checks()
    works = all(check.verdict != "broken" for check in checks)
    if as_json:
        say(json.dumps({"ok": works, "checks": [check.as_json() for check in checks]}))
    else:
        for check in checks:
            advice = f"\n{'':24}-> {check.advice}" if check.advice else ""
            say(f"{check.verdict:8} {check.name:14} {check.found}{advice}")
    if not works:
        raise typer.Exit(1)


@app.command()
def explain(  # noqa: PLR0913  one for each option
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .png or .jpg for one clip, an .mp4 for all clips.")],
    start: Annotated[float, typer.Option(min=0, help="Second of the video at which to begin.")] = 0.0,
    end: Annotated[float | None, typer.Option(help="Second at which to stop. Default: 30 seconds later.")] = None,
    model: Model = None,
    device: Device = "auto",
    policy: Policy = None,
    threshold_255: Threshold = None,
    budget_tokens: Budget = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw the patches of a video that run-length tokenization keeps, and how long each lasts.

    Example: vlrlt explain day1.mp4 --out day1.png --start 60
    """
    from vlrlt.embed import load_embedder
    from vlrlt.embedder import DEFAULT_MODEL
    from vlrlt.explain import explain as draw
    from vlrlt.types import ClipSpan

    check_new(out, force=force)
    embedder = load_embedder(
        model or DEFAULT_MODEL, device=device, policy=token_policy(policy, threshold_255, budget_tokens)
    )
    drawn = draw(video, out, embedder=embedder, span=ClipSpan(start, start + 30 if end is None else end))
    if as_json:
        say(json.dumps({"video": str(video), "out": str(out), "clips": [tokens.as_json() for tokens in drawn]}))
        return
    say("\n".join(tokens.as_text() for tokens in drawn) + f"\n-> {out}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the videos, the library and the report.")] = Path(
        "runs/demo"
    ),
    ui: Annotated[bool, typer.Option("--ui", help="Then open the library in the browser.")] = False,
) -> None:
    """Render a small archive, index it, answer six queries and write a report with pictures.

    Example: vlrlt demo --out demo --ui
    """
    from vlrlt.demo.run import run_demo

    run_demo(out)
    if ui:
        from vlrlt.ui.launch import launch_ui

        raise typer.Exit(launch_ui(out / "library", roots=[f"archive={out / 'archive'}"]))


@app.command()
def serve(
    library: LibraryDir,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Other machines need VLRLT_SERVE_TOKEN (32 characters or more).")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
    root: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DIR", help="A folder that clients may index. Repeatable.")
    ] = None,
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Serve a library over HTTP. /docs describes the API. Clients name clips and folders, never paths.

    Example: vlrlt serve --library lib --root videos=$HOME/Videos
    """
    from vlrlt.serve.listen import launch_server

    launch_server(library, host=host, port=port, roots=root or (), model=model, device=device)


@app.command()
def mcp(library: LibraryDir, model: Model = None, device: Device = "auto") -> None:
    """Give assistants search, ask and preview: a Model Context Protocol server on stdin and stdout.

    Example: vlrlt mcp --library lib
    """
    from vlrlt.serve.mcp import create_server
    from vlrlt.service import Library

    with Library(library, model=model, device=device) as service:
        create_server(service).run("stdio")


@app.command()
def ui(
    library: LibraryDir,
    host: Annotated[
        str | None, typer.Option(show_default="127.0.0.1", help="Address to listen on. Other machines need --auth.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, show_default="8501", help="Port to listen on.")] = None,
    root: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DIR", help="A folder that visitors may index. Repeatable.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of finished evaluations and trainings to compare.")
    ] = None,
    auth: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="OIDC provider and list of visitors (see docs/how-to/deploy.md)."),
    ] = None,
    model: Model = None,
) -> None:
    """Open a library in the browser: search, ask, look inside clips, compare runs.

    Example: vlrlt ui --library lib --root videos=$HOME/Videos
    """
    from vlrlt.ui.launch import launch_ui

    options = given(host=host, port=port, model=model, roots=root, runs_dir=runs, auth_file=auth)
    raise typer.Exit(launch_ui(library, **options))
