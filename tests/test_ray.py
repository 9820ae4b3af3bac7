"""Indexing on Ray gives the library of a local run, bit for bit, whatever dies meanwhile. Run by `make test-ray`."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour import write_colours

from vlrlt.embed import load_embedder
from vlrlt.embedder import Embedder
from vlrlt.errors import ConfigError
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.library.segments import read_segment
from vlrlt.index.run import indexer
from vlrlt.index.run.build import index_paths, settings_of
from vlrlt.index.run.engine_ray import RayEngine
from vlrlt.video.clip_request import ClipRequest

pytestmark = [
    pytest.mark.ray,
    # Not imported before it is needed: Ray looks for its token then.
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: make test-ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CHUNK_S = 8.0
"""Short, so that videos have several."""


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer, "CHUNK_S", CHUNK_S)


@pytest.fixture(scope="module", autouse=True)
def _eager_workers() -> None:
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves on a busy machine


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder(device="cpu")


@pytest.fixture(scope="module")
def engine(embedder: Embedder) -> Iterator[RayEngine]:
    with RayEngine(settings_of(embedder), num_cpus=6) as started:
        yield started


@pytest.fixture(scope="module")
def archive(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Moving video, a still stretch across chunks, a change just at a chunk's edge, and broken files."""
    folder = tmp_path_factory.mktemp("archive")
    for video in sorted((toy_data / "videos").rglob("*.mp4")):
        (folder / video.name).symlink_to(video)
    write_colours(folder / "still.mp4", [("red", 3), ("blue", 30), ("green", 5)])
    write_colours(folder / "edge.mp4", [("red", 8), ("blue", 8), ("green", 8)])
    whole = (folder / "edge.mp4").read_bytes()
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "cut.ts").write_bytes(whole[: len(whole) // 2])
    return folder


def contents(library_dir: Path) -> dict[str, Any]:
    """Every file with its state, spans and the bytes of its vectors."""
    with Catalog.open_reader(library_dir) as catalog:
        snapshot = catalog.snapshot()
        problems = {str(video.path): (video.state, video.stage, video.reason) for video in catalog.problems()}
    clips, dim = snapshot.frame_runs, snapshot.settings.embed_dim
    vectors_ND = np.concatenate([read_segment(library_dir, part, embed_dim=dim) for part in snapshot.segments])
    order_N = np.argsort(clips.ids_N)
    return {
        "clips": [
            (clips.videos[clips.video_N[n]], clips.start_s_N[n], clips.end_s_N[n], vectors_ND[n].tobytes())
            for n in order_N
        ],
        "problems": problems,
    }


@pytest.fixture(scope="module")
def local(archive: Path, embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    library_dir = tmp_path_factory.mktemp("local") / "library"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexer, "CHUNK_S", CHUNK_S)
        index_paths([archive], library_dir=library_dir, embedder=embedder)
    return contents(library_dir)


def test_a_cluster_that_is_not_there(embedder: Embedder) -> None:
    with pytest.raises(ConfigError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        RayEngine(settings_of(embedder), address="127.0.0.1:1")


@pytest.mark.parametrize("url", ["s4://bucket/videos", "file:///dev/null/videos"])
def test_a_shared_folder_that_cannot_be_used(embedder: Embedder, url: str) -> None:
    with pytest.raises(ConfigError, match=rf"--shared {url} cannot be used: "):
        RayEngine(settings_of(embedder), shared=url)


def test_a_model_that_the_workers_do_not_have(
    embedder: Embedder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    elsewhere = replace(settings_of(embedder), model=str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match=r"^a Ray worker cannot start: .*elsewhere' is neither a model folder"):
        RayEngine(elsewhere, num_cpus=2)
    assert "Traceback" not in capfd.readouterr().err


def test_gives_the_library_of_a_local_run(
    archive: Path, library_dir: Path, embedder: Embedder, engine: RayEngine, local: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    actors: dict[str, set[str]] = defaultdict(set)
    chunk_on = engine._chunk_on

    def noted(actor: Any, request: ClipRequest, batch_clips: int) -> Any:
        actors[request.path.name].add(repr(actor))
        return chunk_on(actor, request, batch_clips)

    monkeypatch.setattr(engine, "_chunk_on", noted)
    report = index_paths([archive], library_dir=library_dir, embedder=embedder, engine=engine)
    assert report.tokens < report.dense_tokens
    assert report.static_looks > 0
    assert contents(library_dir) == local
    assert len(actors["still.mp4"]) > 1, "a long video is split across workers"
    again = index_paths([archive], library_dir=library_dir, embedder=embedder, engine=engine)
    assert (again.indexed, again.vectors) == (0, 0)


def test_videos_pass_through_shared_storage(
    archive: Path, library_dir: Path, tmp_path: Path, embedder: Embedder, engine: RayEngine, local: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "shared").mkdir()
    monkeypatch.setattr(engine, "_shared", f"file://{tmp_path}/shared")
    index_paths([archive], library_dir=library_dir, embedder=embedder, engine=engine)
    assert contents(library_dir)["clips"] == local["clips"]
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "let_in"),
    [({}, True), ({"RAY_AUTH_TOKEN": "0" * 64}, False), ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""}, False)],
)
def test_nobody_without_the_token_can_talk_to_it(engine: RayEngine, changed: dict[str, str], *, let_in: bool) -> None:
    assert (os.environ["RAY_AUTH_MODE"], len(os.environ["RAY_AUTH_TOKEN"])) == ("token", 64)
    address = engine._ray.get_runtime_context().gcs_address
    code = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False); print(ray.cluster_resources())"
    command = [sys.executable, "-c", code, address]
    visitor = subprocess.run(command, env=os.environ | changed, capture_output=True, text=True, check=False)
    assert ("'CPU': 6.0" in visitor.stdout) == let_in, visitor.stderr


def workers_of(name: str) -> list[int]:
    """Processes of this run's cluster whose title begins with ray::NAME."""
    token = os.environ["RAY_AUTH_TOKEN"].encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                title, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
            except OSError:
                continue
            if title.startswith(f"ray::{name}".encode()) and token in environment:
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("victim", ["DecodeActor", "EncodeActor"])
def test_workers_are_killed(
    archive: Path, library_dir: Path, embedder: Embedder, engine: RayEngine, local: dict[str, Any], victim: str
) -> None:
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while len(killed) < 2 and not done.wait(1.0):
            if pids := workers_of(victim):
                killed.append(random.choice(pids))
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    index_paths([archive], library_dir=library_dir, embedder=embedder, engine=engine)
    done.set()
    killer.join()
    assert killed
    assert contents(library_dir) == local


def test_a_machine_is_lost(
    archive: Path, library_dir: Path, embedder: Embedder, engine: RayEngine, local: dict[str, Any]
) -> None:
    engine.close()  # one cluster for each process; this test is the last one that needs it
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "include_dashboard": False})
    lost = cluster.add_node(num_cpus=3)
    with RayEngine(settings_of(embedder), address=cluster.address) as two_machines:
        killer = threading.Timer(3.0, cluster.remove_node, [lost], {"allow_graceful": False})
        killer.start()
        index_paths([archive], library_dir=library_dir, embedder=embedder, engine=two_machines)
        killer.join()
    cluster.shutdown()
    assert contents(library_dir) == local
