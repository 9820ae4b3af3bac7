"""Starts the server: checks who could reach it, loads the model, listens."""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from vlrlt.ask.vlm import Endpoint
from vlrlt.extras import require
from vlrlt.serve.guard import check_exposure
from vlrlt.service import Library
from vlrlt.service.network import LOOPBACK, listen, parse_root
from vlrlt.service.web import LOOPBACK_HOSTS

TOKEN_VARIABLE = "VLRLT_SERVE_TOKEN"  # noqa: S105  the name of a variable


def launch_server(
    library_dir: Path, *, host: str, port: int, roots: Sequence[str], model: str | None, device: str
) -> None:
    """Serve a library until interrupted.

    Args:
        library_dir: the library.
        host: address to listen on.
        port: likewise.
        roots: NAME=DIR of folders that clients may have indexed.
        model: instead of the library's own.
        device: of the model.

    Raises:
        ConfigError: others could reach it without a token, the address cannot be had, a root is malformed, or an extra
            is not installed.
        LibraryError: there is no library.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    check_exposure(host, token)
    folders = dict(map(parse_root, roots))
    require("uvicorn", extra="serve")
    require("fastapi", extra="serve")
    from vlrlt.serve.app import create_app
    from vlrlt.service.connections import run_server

    endpoint = Endpoint.from_environment() if "VLRLT_VLM_URL" in os.environ else None
    hosts = LOOPBACK_HOSTS if host in LOOPBACK else ()
    with listen(host, port) as listening, Library(library_dir, model=model, device=device) as service:
        service.searcher()  # fails here rather than at the first request
        stopping = threading.Event()
        app = create_app(service, roots=folders, token=token, hosts=hosts, endpoint=endpoint, stopping=stopping)
        shown = f"[{host}]" if ":" in host else host
        sys.stderr.write(f"http://{shown}:{port}/v1, described at http://{shown}:{port}/docs; Ctrl-C ends it\n")
        run_server(app, listening, stopping=stopping)
