"""The command `vlrlt`."""

import re
import sys

import typer

from vlrlt.cli import (  # noqa: F401
    application,
    ask,
    collection,
    data,
    evaluate,
    export,
    index,
    library,
    models,
    models_hub,
    search,
)
from vlrlt.cli.root import app

__all__ = ["PANELS", "app", "main"]

PANELS = {
    "First steps": ("demo", "doctor"),
    "Index an archive": ("index", "status", "failures", "watch", "pause", "resume", "stop", "import"),
    "Find moments": ("search", "ask", "transcript", "similar", "duplicates", "searches"),
    "Export results": ("collection", "cut", "export"),
    "Serve a library": ("ui", "serve", "mcp"),
    "Maintain a library": ("use", "calibrate", "verify", "compact", "prune", "snapshot"),
    "Models": ("models", "train", "eval", "data", "convert", "explain", "toy"),
}
"""The commands in the order of the help, by what people want."""


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names need not be Unicode
    app()


def _arrange_help(of: typer.Typer) -> None:
    """Sort the commands into panels; let the paragraphs of their docstrings wrap, while examples keep their lines."""
    panel_of = {name: panel for panel, names in PANELS.items() for name in names}
    places = list(panel_of)
    for command in of.registered_commands:
        command.name = command.name or command.callback.__name__  # type: ignore[union-attr]
        command.help = re.sub(r"(?<=\S)\n +(?!Example:)(?=\S)", " ", command.callback.__doc__ or "")
        command.rich_help_panel = panel_of.get(command.name) if of is app else None
    if of is app:
        of.registered_commands.sort(key=lambda command: places.index(str(command.name)))
    for group in of.registered_groups:
        group.rich_help_panel = panel_of[str(group.name)]
        if group.typer_instance is not None:
            _arrange_help(group.typer_instance)


_arrange_help(app)
