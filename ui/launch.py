"""Starts the search page: Streamlit as a child process that answers this machine only."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import vlrlt
from vlrlt.extras import require
from vlrlt.service import Service

LIBRARY_VARIABLE = "VLRLT_UI_LIBRARY"
"""Environment variable that tells the page its library."""
MODEL_VARIABLE = "VLRLT_UI_MODEL"
"""Environment variable that tells the page which model to ask; absent: the library's own."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_APP = Path(__file__).with_name("app.py")
_OPTIONS = {
    "server.address": "127.0.0.1",
    "server.headless": "true",
    "server.enableXsrfProtection": "true",
    "server.enableCORS": "true",
    "server.fileWatcherType": "none",  # it would import and walk all of torch to look for changed files
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "type",
    "client.toolbarMode": "minimal",
    "runner.magicEnabled": "false",
}


def launch_ui(library_dir: Path, *, port: int = 8501, model: str | None = None) -> int:
    """Serve the search page of a library at http://127.0.0.1:PORT until it is interrupted.

    Args:
        library_dir: an existing library.
        port: of this machine, 1 to 65535.
        model: what load_embedder takes; None: the model that the library was indexed with.

    Returns:
        The exit code of Streamlit; 0 after an interruption or SIGTERM.

    Raises:
        LibraryError: there is no library there.
        MissingExtraError: streamlit is not installed.
    """
    require("streamlit", extra="ui")
    Service(library_dir).close()  # a wrong path is an error here, not on a page that nobody has opened yet
    paths = [str(Path(vlrlt.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), LIBRARY_VARIABLE: str(library_dir.resolve())}
    if model is not None:
        environment[MODEL_VARIABLE] = model
    options = [f"--{name}={value}" for name, value in (_OPTIONS | {"server.port": str(port)}).items()]
    # -P: nothing in the working directory may stand in for a module of Streamlit.
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(_APP), *options]
    with subprocess.Popen(command, env=environment) as page:  # noqa: S603  our own command
        handlers = {number: signal.signal(number, lambda *_: page.terminate()) for number in _STOP_SIGNALS}
        try:
            return page.wait()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
