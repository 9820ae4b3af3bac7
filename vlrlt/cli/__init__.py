"""The command `vlrlt`."""

import sys

from vlrlt.cli import index, search, models, application  # noqa: F401, I001  they add their commands, in this order
from vlrlt.cli.root import app

__all__ = ["app", "main"]


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names need not be Unicode
    app()
