"""The command `vlrlt`."""

import sys

# The order of the imports is the order of the commands in the help.
# isort: off
from vlrlt.cli import index, library, search, export, ask, models, models_hub, evaluate, data, application  # noqa: F401

# isort: on
from vlrlt.cli.root import app

__all__ = ["app", "main"]


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names need not be Unicode
    app()
