"""The process that serves the application: Streamlit, and beforehand what its first visitor would wait for."""

import contextlib
import importlib
import sys
import threading

from streamlit.web import cli

from vlrlt.errors import VlrltError
from vlrlt.ui import page

LOAD_MODEL_AFTER_S = 5.0
"""Importing torch slows everything in this process down: whoever opens the page at once sees it before that begins."""
_LIGHT = ("search", "ask", "library")
"""Views that bring no torch."""


def main() -> None:
    """Streamlit's own command line, with the library open; the model follows in the background."""
    for name in _LIGHT:
        importlib.import_module(f"vlrlt.ui.views.{name}")
    with contextlib.suppress(VlrltError):  # the page tells it
        page.open_library().videos()
    loader = threading.Timer(LOAD_MODEL_AFTER_S, _load_model)
    loader.daemon = True
    loader.start()
    cli.main(prog_name="streamlit")


def _load_model() -> None:
    try:
        page.open_library().searcher()
    except VlrltError as error:  # the first search tells its visitor; this is for who has started the server
        sys.stderr.write(f"vlrlt: {error}\n")


if __name__ == "__main__":
    main()
