"""Commands around the application: doctor, demo, ui."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vlrlt.cli.root import Json, Library, app


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
