"""The process of the application: it loads what the first visitor would wait for, then starts Streamlit."""

import contextlib
import importlib
import json
import sys
import threading
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from streamlit.web import bootstrap

from vlrlt.errors import VlrltError
from vlrlt.service.connections import run_server
from vlrlt.service.network import listen
from vlrlt.ui import page
from vlrlt.ui.gate import Gate

LOAD_MODEL_AFTER_S = 5.0
"""Importing torch slows everything in this process down: whoever opens the page at once sees it before that begins."""
_APP = Path(__file__).with_name("app.py")
_LIGHT = ("search", "ask", "library")
"""Views that bring no torch."""


def main() -> None:
    """Serve the application as the JSON of the first argument says; the model follows in the background."""
    told = json.loads(sys.argv[1])
    bootstrap.load_config_options(told["options"])
    for name in _LIGHT:
        importlib.import_module(f"vlrlt.ui.views.{name}")
    with contextlib.suppress(VlrltError):  # the page tells it
        page.open_library().videos()
    loader = threading.Timer(LOAD_MODEL_AFTER_S, _load_model)
    loader.daemon = True
    loader.start()
    application = st.App(_APP, middleware=[Middleware(Gate, hosts=told["hosts"])])
    with listen(told["host"], told["port"]) as listening:
        sys.stderr.write(f"http://{told['host']}:{told['port']}; Ctrl-C ends it\n")
        run_server(application, listening, stopping=threading.Event(), websockets="websockets-sansio")


def _load_model() -> None:
    try:
        page.open_library().searcher()
    except VlrltError as error:  # the first search tells its visitor; this is for who has started the server
        sys.stderr.write(f"vlrlt: {error}\n")


if __name__ == "__main__":
    main()
