"""Fetching, pinning, checking, and then staying offline: against a real HTTP server that speaks the hub's protocol."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hub_server
import open_clip
import pytest
from hub_server import COMMIT, NAME, NEXT_COMMIT, REPOSITORY, WEIGHTS, Hub
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.errors import CheckpointError
from vlrlt.evaluate.encoding_speed import measure_realtime
from vlrlt.models.hub import LOCK_FILE, fetch_weights, find_locked, pull, tokenizer_folder
from vlrlt.models.known import KNOWN_MODELS, RECOMMENDED_MODEL

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
        patch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", list(open_clip.factory._MODEL_CONFIG_PATHS))
        patch.setattr(open_clip.pretrained, "_PRETRAINED", dict(open_clip.pretrained._PRETRAINED))
        hub_server.register(tmp_path_factory.mktemp("registry"))
        yield


@pytest.fixture
def hub(registered: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.local_hub(hub_server.model_files(), monkeypatch) as hub:
        yield hub


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def test_the_first_download_is_locked(hub: Hub, cache: Path) -> None:
    assert find_locked(NAME, cache_dir=cache) is None
    locked = pull(NAME, cache_dir=cache)
    assert (locked.repository, locked.revision) == (REPOSITORY, COMMIT)
    assert set(locked.sha256) == set(hub.files)
    assert fetch_weights(NAME, cache_dir=cache).read_bytes() == hub.files[WEIGHTS]
    assert json.loads((cache / LOCK_FILE).read_text())["models"][0]["sha256"] == locked.sha256
    folder = tokenizer_folder(NAME.partition("/")[0], cache_dir=cache)
    assert folder is not None
    assert (folder / "tokenizer.json").read_bytes() == hub.files["tokenizer.json"]


def test_what_is_locked_needs_no_request(hub: Hub, cache: Path) -> None:
    locked = pull(NAME, cache_dir=cache)
    hub.requests.clear()
    hub.commit = NEXT_COMMIT
    assert pull(NAME, cache_dir=cache) == locked
    fetch_weights(NAME, cache_dir=cache)
    assert hub.requests == []


def test_a_lost_file_comes_back_at_the_locked_revision(hub: Hub, cache: Path) -> None:
    locked = pull(NAME, cache_dir=cache)
    weights = fetch_weights(NAME, cache_dir=cache)
    weights.resolve().unlink()
    hub.commit = NEXT_COMMIT
    assert find_locked(NAME, cache_dir=cache) is None
    assert pull(NAME, cache_dir=cache) == locked
    assert all(f"/resolve/{NEXT_COMMIT}/" not in request for request in hub.requests)


def test_a_damaged_file_is_found_removed_and_fetched_again(hub: Hub, cache: Path) -> None:
    pull(NAME, cache_dir=cache)
    weights = fetch_weights(NAME, cache_dir=cache).resolve()
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    with pytest.raises(
        CheckpointError, match=rf"{WEIGHTS} has SHA-256 \w+, but \S+{LOCK_FILE} says \w+; the file was removed"
    ):
        pull(NAME, cache_dir=cache)
    pull(NAME, cache_dir=cache)
    assert weights.read_bytes() == hub.files[WEIGHTS]


def test_another_file_than_the_locked_one_is_refused(hub: Hub, cache: Path) -> None:
    pull(NAME, cache_dir=cache)
    fetch_weights(NAME, cache_dir=cache).resolve().unlink()
    hub.files[WEIGHTS] = b"something else"
    with pytest.raises(CheckpointError, match="if this happens twice, do not trust the source"):
        fetch_weights(NAME, cache_dir=cache)
    assert find_locked(NAME, cache_dir=cache) is None


def test_a_download_that_is_not_what_the_hub_states_is_refused(hub: Hub, cache: Path) -> None:
    hub.stated_sha256 = "0" * 64
    with pytest.raises(CheckpointError, match=f"the hub or the lock file says {'0' * 64}"):
        pull(NAME, cache_dir=cache)
    assert not (cache / LOCK_FILE).exists()


def test_a_repository_without_safetensors_is_refused(hub: Hub, cache: Path) -> None:
    del hub.files[WEIGHTS]
    with pytest.raises(CheckpointError, match=f"{REPOSITORY} has no {WEIGHTS}; other formats are pickles"):
        pull(NAME, cache_dir=cache)


def test_an_unreachable_hub_is_one_line(registered: None, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the hub client's retries
    with pytest.raises(CheckpointError, match=rf"{REPOSITORY}/{WEIGHTS} is not in \S+ and \S+ cannot be reached; "):
        pull(NAME, cache_dir=cache)


def test_a_damaged_lock_file_is_named(registered: None, cache: Path) -> None:
    cache.mkdir()
    (cache / LOCK_FILE).write_text("{")
    with pytest.raises(CheckpointError, match=f"{LOCK_FILE} cannot be read: .*; repair or remove it"):
        fetch_weights(NAME, cache_dir=cache)


def test_an_unknown_name_lists_the_tags() -> None:
    with pytest.raises(
        CheckpointError, match=r"open_clip does not know 'ViT-B-32/nonsense'; tags of 'ViT-B-32': openai, "
    ):
        pull("ViT-B-32/nonsense")


OFFLINE = """
import os, sys
from pathlib import Path
import hub_server, numpy as np
hub_server.register(Path(sys.argv[1]))
def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"a connection was attempted: {event} {args}")
sys.addaudithook(refuse)
from vlrlt.embed import load_embedder
embedder = load_embedder(hub_server.NAME, device="cpu")
assert embedder.preprocess.mean == hub_server.MEAN, embedder.preprocess
size = embedder.preprocess.image_size_px
embedder.embed_clips(np.zeros((1, embedder.sampling.num_frames, size, size, 3), np.uint8))
print(embedder.embed_texts(["open the fridge", "fridge"]).shape)
"""


@pytest.mark.parametrize("offline", ["1", "0"])
def test_after_the_pull_no_connection_is_attempted(hub: Hub, cache: Path, tmp_path: Path, offline: str) -> None:
    """Not even without HF_HUB_OFFLINE: what is locked is not asked for."""
    pull(NAME, cache_dir=cache)
    environment = os.environ | {
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": offline,
        "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
    }
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "(2, 16)\n"


def test_speed_is_measured_without_weights(registered: None) -> None:
    assert measure_realtime(NAME.partition("/")[0], device="cpu", num_runs=1) > 0


# What is published


def test_the_known_models_are_in_the_registry_of_open_clip() -> None:
    names = [model.name for model in KNOWN_MODELS]
    assert RECOMMENDED_MODEL in names
    assert len(set(names)) == len(names)
    for model in KNOWN_MODELS:
        architecture, _, tag = model.name.partition("/")
        assert open_clip.get_pretrained_cfg(architecture, tag)["hf_hub"].endswith("/"), model.name
        assert 0 < model.coco_recall < 1
        assert model.source.startswith("https://")
        assert model.revision is None or len(model.revision) == 40


# Commands


def test_models_list_and_info(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    text = CliRunner().invoke(app, ["models", "list"]).stdout
    assert f"Recommended for real videos: {RECOMMENDED_MODEL}." in text
    listed = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)["models"]
    assert [model["name"] for model in listed] == [model.name for model in KNOWN_MODELS]
    assert [model["name"] for model in listed if model["recommended"]] == [RECOMMENDED_MODEL]
    assert {(model["here"], model["locked"], model["realtime"]) for model in listed} == {(False, None, None)}
    info = CliRunner().invoke(app, ["models", "info", "ViT-B-32/openai"]).stdout
    assert "download_MB       605" in info
    unknown = CliRunner().invoke(app, ["models", "info", "nonsense"])
    assert (
        unknown.exit_code,
        unknown.stderr.startswith("vlrlt: 'nonsense' is not in vlrlt models list"),
    ) == (2, True)


def test_models_pull(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    found = json.loads(CliRunner().invoke(app, ["models", "pull", NAME, "--json"]).stdout)
    assert (found["name"], found["revision"], found["cache"]) == (NAME, COMMIT, str(cache))
    again = CliRunner().invoke(app, ["models", "pull", NAME]).stdout.splitlines()
    assert again[0] == f"{NAME} is here: {REPOSITORY} at {COMMIT}"
    assert again[1] == f"  {found['sha256'][WEIGHTS]}  {WEIGHTS}"
