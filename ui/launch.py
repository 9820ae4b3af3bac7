"""Starts the application: Streamlit as a child process that answers this machine only, unless login is set up."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import vlrlt
from vlrlt.errors import ConfigError
from vlrlt.extras import require
from vlrlt.service import Library
from vlrlt.service.network import listen, parse_root
from vlrlt.service.web import LOOPBACK_HOSTS
from vlrlt.ui.access import MAX_UPLOAD_MB, check_access, public_host

LIBRARY_VARIABLE = "VLRLT_UI_LIBRARY"
"""Environment variable that tells the application its library."""
MODEL_VARIABLE = "VLRLT_UI_MODEL"
"""Which model to ask; absent: the library's own."""
ROOTS_VARIABLE = "VLRLT_UI_ROOTS"
"""NAME=DIR of folders that may be indexed from the application, one a line."""
RUNS_VARIABLE = "VLRLT_UI_RUNS"
"""Folder of finished evaluations and trainings."""
AUTH_VARIABLE = "VLRLT_UI_AUTH"
"""File of the OIDC provider and the allow-list; absent: no login."""

ACCENT = "#c2410c"
"""What is chosen or marked. White on it has a contrast of 5.2 to 1; light and dark pages differ by 5.2 and 3.5."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OPTIONS = {
    "server.headless": True,
    "server.enableXsrfProtection": True,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "server.maxUploadSize": MAX_UPLOAD_MB,
    "server.fileWatcherType": "none",  # it would import and walk all of torch to look for changed files
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "type",
    "client.toolbarMode": "minimal",
    "runner.magicEnabled": False,
    "theme.light.primaryColor": ACCENT,
    "theme.dark.primaryColor": ACCENT,
}


def launch_ui(
    library_dir: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    model: str | None = None,
    roots: Sequence[str] = (),
    runs_dir: Path | None = None,
    auth_file: Path | None = None,
) -> int:
    """Serve the application on a library at http://HOST:PORT until it is interrupted.

    Args:
        library_dir: an existing library.
        host: address to listen on.
        port: 1 to 65535.
        model: what load_embedder takes; None: the model that the library was indexed with.
        roots: NAME=DIR of folders that may be indexed from the application.
        runs_dir: where finished evaluations and trainings are; None: there are none to compare.
        auth_file: OIDC provider and allow-list (see vlrlt.ui.access); None: no login.

    Returns:
        The exit code of Streamlit; 0 after an interruption or SIGTERM.

    Raises:
        ConfigError: others could reach it without login, a setting weakens it, a root or runs_dir is no folder, or the
            address cannot be had.
        LibraryError: there is no library there.
        MissingExtraError: streamlit is not installed.
    """
    require("streamlit", extra="ui")
    check_access(host, auth_file, environment=os.environ)
    for root in roots:
        parse_root(root)
    if runs_dir is not None and not runs_dir.is_dir():
        raise ConfigError(f"--runs needs a folder of finished runs, got {str(runs_dir)!r}")
    listen(host, port).close()
    Library(library_dir).close()  # a wrong path is an error here, not on a page that nobody has opened yet
    paths = [str(Path(vlrlt.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        LIBRARY_VARIABLE: str(library_dir.resolve()),
        ROOTS_VARIABLE: "\n".join(roots),
    }
    given = {MODEL_VARIABLE: model, RUNS_VARIABLE: runs_dir, AUTH_VARIABLE: auth_file}
    environment |= {name: str(value) for name, value in given.items() if value is not None}
    secrets = {} if auth_file is None else {"secrets.files": [str(auth_file.resolve())]}
    options = _OPTIONS | {"server.address": host, "server.port": port} | secrets
    hosts = [*LOOPBACK_HOSTS, *([] if auth_file is None else [public_host(auth_file)])]
    told = {"host": host, "port": port, "hosts": hosts, "options": options}
    # -P: nothing in the working directory may stand in for a module of Streamlit.
    return _run([sys.executable, "-P", "-m", "vlrlt.ui.server", json.dumps(told)], environment)


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    """The exit code of a child that gets the signals which this process gets."""
    with subprocess.Popen(command, env=environment) as page:  # noqa: S603  our own command
        handlers = {number: signal.signal(number, lambda *_: page.terminate()) for number in _STOP_SIGNALS}
        try:
            code = page.wait()
            return 0 if -code in _STOP_SIGNALS else code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
