"""MkDocs hook: the page of the commands is written by the commands themselves."""

from collections.abc import Iterator
from typing import Any

import typer

from vlrlt.cli import app

_PLACE = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401
    """Put the help of every command where the page says so."""
    return markdown.replace(_PLACE, "\n".join(_sections())) if _PLACE in markdown else markdown


def _sections() -> Iterator[str]:
    root = typer.main.get_command(app)
    yield from _help(root, typer.Context(root, info_name="vlrlt", max_content_width=110, terminal_width=110))


def _help(command: Any, context: typer.Context) -> Iterator[str]:  # noqa: ANN401  of click, which typer may vendor
    children = getattr(command, "commands", {})
    if context.parent is not None:
        yield f"## {context.command_path}\n"
    for line in (command.help or "").split("\n"):
        yield f"    {line.strip()}" if line.strip().startswith("Example:") else line.strip()
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [record for record in records if record and record[0] != "--help"]
    if rows and not children:
        yield "\n| option | |\n| --- | --- |"
        yield from (f"| `{_cell(name)}` | {_cell(text)} |" for name, text in rows)
    yield ""
    for name, child in children.items():
        yield from _help(child, typer.Context(child, info_name=name, parent=context))


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
