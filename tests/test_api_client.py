"""A client that is generated from the OpenAPI description talks to a real server: `make test-api`."""

import importlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import uvicorn
from colour import ColourEmbedder, write_colours

from vlrlt.index.run.build import index_paths
from vlrlt.serve.app import create_app
from vlrlt.service import Library

GENERATOR = os.environ.get("OPENAPI_PYTHON_CLIENT") or shutil.which("openapi-python-client")
pytestmark = [
    pytest.mark.api,
    pytest.mark.skipif(GENERATOR is None, reason="openapi-python-client is not installed; make test-api installs it"),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("client")
    write_colours(folder / "archive" / "a.mp4", [("red", 2), ("blue", 3)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=ColourEmbedder())
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with Library(folder / "library", model=ColourEmbedder()) as service:
        server = uvicorn.Server(uvicorn.Config(create_app(service), port=port, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def generated(url: str, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The package that the generator writes."""
    folder = tmp_path_factory.mktemp("generated")
    description = folder / "openapi.json"
    description.write_bytes(httpx.get(f"{url}/openapi.json").content)
    command = [
        str(GENERATOR),
        "generate",
        "--path",
        str(description),
        "--output-path",
        str(folder / "out"),
        "--meta",
        "none",
    ]
    path = f"{Path(str(GENERATOR)).absolute().parent}{os.pathsep}{os.environ['PATH']}"  # it calls ruff beside it
    run = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Warning" not in run.stdout + run.stderr, run.stdout
    (folder / "out").rename(folder / "vlrlt_generated_client")
    sys.path.insert(0, str(folder))
    return importlib.import_module("vlrlt_generated_client")


def test_a_generated_client_searches_and_saves(generated: ModuleType, url: str) -> None:
    models = importlib.import_module(f"{generated.__name__}.models")
    search = importlib.import_module(f"{generated.__name__}.api.search.search_v1_search_post")
    save = importlib.import_module(f"{generated.__name__}.api.search.save_v1_searches_name_put")
    hits = importlib.import_module(f"{generated.__name__}.api.search.hits_v1_searches_name_hits_get")
    cut = importlib.import_module(f"{generated.__name__}.api.media.cut_v1_clips_clip_id_cut_get")
    with generated.Client(base_url=url) as client:
        body = models.SearchBody(text=["blue"], k=1)
        found = search.sync(client=client, body=body)
        (hit,) = found["hits"]
        assert (found["found"], hit["video"], hit["start_s"]) == (True, "a.mp4", 2)
        assert save.sync("sea", client=client, body=body)["text"] == ["blue"]
        assert hits.sync("sea", client=client)["hits"] == [hit]
        film = cut.sync_detailed(hit["clip"], client=client)
        assert (film.status_code, film.headers["vlrlt-mode"]) == (200, "exact")
        refused = search.sync_detailed(client=client, body=models.SearchBody())
        assert refused.status_code == 422
