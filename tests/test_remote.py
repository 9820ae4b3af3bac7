"""A model behind a server: real HTTP, in both protocols; replies that are wrong; runs that go on where they were."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour import COLOURS, write_colours
from embedding_server import EXTRA, EmbeddingServer, embedding_server

import vlrlt
from vlrlt import remote
from vlrlt.embed import load_embedder
from vlrlt.embedder import Embedder
from vlrlt.errors import ConfigError, EndpointError
from vlrlt.service import Library
from vlrlt.video.sampling import ClipSampling

API = pytest.mark.parametrize("api", ["vllm", "infinity"])
DIM = len(COLOURS)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    monkeypatch.setattr(remote, "_WAITS_S", (0.0, 0.0, 0.0))
    with embedding_server() as running:
        yield running


def name(server: EmbeddingServer, **options: object) -> str:
    asked = {"model": "colours", "dim": DIM, "size_px": 32} | options
    return f"{server.url}?{'&'.join(f'{key}={value}' for key, value in asked.items())}"


def load(server: EmbeddingServer, **options: object) -> Embedder:
    return load_embedder(name(server, **options))


def picture(*colours: str) -> np.ndarray:
    """(1, T, 32, 32, 3)."""
    return np.stack([np.full((32, 32, 3), COLOURS[colour], np.uint8) for colour in colours])[None]


@API
def test_clips_and_texts_share_a_space(server: EmbeddingServer, api: str) -> None:
    embedder = load(server, api=api)
    made = embedder.embed_clips(np.concatenate([picture("red", "red"), picture("blue", "green")]))
    assert made.outputs_BSD is not None
    assert made.outputs_BSD.shape == (2, 2, DIM)
    texts = embedder.embed_texts(["red", "blue", "green"])
    assert made.vectors_BD[0] @ texts[0] > 0.99
    assert made.outputs_BSD[1, 0] @ texts[1] > 0.99
    assert made.outputs_BSD[1, 1] @ texts[2] > 0.99
    assert made.vectors_BD[1] @ texts[1] == pytest.approx(np.sqrt(0.5), abs=0.01)
    many = embedder.embed_texts([*COLOURS] * 5)
    np.testing.assert_allclose(many @ many[:DIM].T, np.tile(np.eye(DIM), (5, 1)), atol=0.02)


def test_requests_are_those_of_the_servers(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLRLT_EMBED_KEY", "secret")
    load(server, query_prompt="Find%20", document_prompt="A%20frame.").embed_clips(picture("red"))
    (text, key), (image, _) = server.requests
    assert key == "Bearer secret"
    assert (text["model"], text["encoding_format"]) == ("colours", "float")
    assert text["messages"] == [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    kinds = [part["type"] for part in image["messages"][0]["content"]]
    assert kinds == ["image_url", "text"]
    assert image["messages"][0]["content"][1]["text"] == "A frame."
    server.requests.clear()
    embedder = load(server, api="infinity")
    embedder.embed_clips(np.tile(picture("red"), (20, 1, 1, 1, 1)))
    assert sorted(len(body["input"]) for body, _ in server.requests) == [1, 4, 16]
    assert {body["modality"] for body, _ in server.requests} == {"text", "image"}


def test_query_prompts_go_before_texts(server: EmbeddingServer) -> None:
    embedder = load(server, query_prompt="Find%20")
    server.requests.clear()
    embedder.embed_texts(["red"])
    assert server.requests[0][0]["messages"][0]["content"][0]["text"] == "Find red"


def test_a_shorter_vector_is_a_model_of_its_own(server: EmbeddingServer) -> None:
    short = load(server)
    whole = load_embedder(f"{server.url}?model=colours&size_px=32")
    assert (short.embed_dim, whole.embed_dim) == (DIM, DIM + EXTRA)
    assert np.linalg.norm(short.embed_clips(picture("red")).vectors_BD) == pytest.approx(1)
    prints = {short.fingerprint, whole.fingerprint}
    prints |= {
        load(server, **{option: value}).fingerprint
        for option, value in (("revision", "2"), ("query_prompt", "x"), ("document_prompt", "x"), ("resize", "squash"),
                              ("size_px", 64), ("model", "other"), ("api", "infinity"))
    }  # fmt: skip
    assert len(prints) == 9
    assert load(server).fingerprint == short.fingerprint
    sampling = ClipSampling(clip_s=1, stride_s=1, num_frames=2)
    assert load_embedder(name(server), sampling=sampling).fingerprint != short.fingerprint


@API
def test_an_archive_is_indexed_and_a_broken_run_goes_on(
    server: EmbeddingServer, api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, colour in enumerate(("red", "green", "blue")):
        write_colours(tmp_path / "archive" / f"{number}-{colour}.mp4", [(colour, 3)])
    library, model = tmp_path / "library", name(server, api=api)
    sent: list[int] = []

    def fail_later(reply: dict[str, Any]) -> dict[str, Any] | tuple[int, bytes]:
        with Library(library) as opened:
            sent.append(opened.counts().indexed)
        return (503, b"down") if sent[-1] == 2 else reply

    vlrlt.index([tmp_path / "archive" / "0-red.mp4"], library=library, model=model)
    server.change = fail_later
    with pytest.raises(EndpointError, match="503: down"):
        vlrlt.index([tmp_path / "archive"], library=library, model=model)
    with Library(library) as opened:
        assert opened.counts().indexed == 2, "what was committed stays"
    server.change = lambda reply: reply
    before = server.num_images
    report = vlrlt.index([tmp_path / "archive"], library=library, model=model)
    assert (report.indexed, report.skipped) == (1, 2)
    assert server.num_images > before
    with Library(library, model=model) as opened:
        assert Path(opened.search("blue", k=1)[0].video).stem == "2-blue"
    # its name in the library alone connects to nobody
    server.requests.clear()
    with Library(library) as opened, pytest.raises(ConfigError, match="not part of vlrlt"):
        opened.search("blue")
    assert server.requests == []
    monkeypatch.setenv("VLRLT_TRUSTED_MODELS", model)
    with Library(library) as opened:
        assert Path(opened.search("blue", k=1)[0].video).stem == "2-blue"


def test_what_may_pass_is_tried_again_and_what_may_not_is_not(server: EmbeddingServer) -> None:
    replies: list[Any] = [(503, b"busy"), (429, b"slow down"), None]

    def busy_twice(reply: dict[str, Any]) -> Any:
        return replies.pop(0) or reply if replies else reply

    server.change = busy_twice
    assert load(server).embed_dim == DIM
    assert len(server.requests) == 3
    server.change = lambda _: (401, b"no\nkey")
    server.requests.clear()
    with pytest.raises(EndpointError, match="answered 401: no key"):
        load(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((200, b"<html>"), "does not reply in JSON"),
        ((200, b"[]"), "does not speak the embeddings protocol"),
        ({"data": []}, "gave 0 vectors for 1 inputs"),
        ({"data": [{"index": 1, "embedding": [1.0]}]}, "gave 1 vectors for 1 inputs"),
        ({"data": [{"index": 0, "embedding": "AAAA"}]}, "does not speak the embeddings protocol"),
        ({"data": [{"index": 0, "embedding": []}]}, "gave vectors of shape"),
        ({"data": [{"index": 0, "embedding": [0.0, 0.0]}]}, "zero or not finite"),
        ({"data": [{"index": 0, "embedding": [float("nan"), 1.0]}]}, "zero or not finite"),
        ({"data": [{"index": 0, "embedding": [1e300, 1.0]}]}, "zero or not finite"),
        ((302, b""), "answered 302"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_replies_that_are_none(server: EmbeddingServer, reply: Any, said: str) -> None:
    server.change = lambda _: reply
    with pytest.raises(EndpointError, match=re.escape(said)):
        load(server, dim=1)


def test_vectors_of_another_length_are_refused_later_too(server: EmbeddingServer) -> None:
    embedder = load(server)
    server.change = lambda reply: {"data": [one | {"embedding": one["embedding"][:3]} for one in reply["data"]]}
    with pytest.raises(EndpointError, match="gave vectors of shape"):
        embedder.embed_texts(["red"])


def test_a_reply_without_an_end_is_cut_off(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_REPLY_BYTES", 1000)
    server.change = lambda _: (200, b" " * 100_000)
    with pytest.raises(EndpointError, match="does not end its reply"):
        load(server)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("http://127.0.0.1:9/v1", "give the server's model"),
        ("http://127.0.0.1:9/v1?model=x&api=grpc", "give the server's model"),
        ("http://127.0.0.1:9/v1?model=x&dims=3", "the option dims"),
        ("http://127.0.0.1:9/v1?model=x&dim=0", "dim must be"),
        ("http://127.0.0.1:9/v1?model=x&size_px=big", "size_px must be"),
        ("http://127.0.0.1:9/v1?model=x&resize=crop", "resize must be"),
        ("http://127.0.0.1:9/v1?model=x&api=infinity&document_prompt=y", "leave document_prompt out"),
        ("http://user:secret@127.0.0.1:9/v1?model=x", "without user and password"),
        ("http://127.0.0.1:99999/v1?model=x", "is no URL"),
    ],
)
def test_names_that_are_malformed(model: str, said: str, server: EmbeddingServer) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_embedder(model.replace("127.0.0.1:9/", f"127.0.0.1:{server.server_port}/"))


def test_a_server_that_is_not_there_is_one_line(server: EmbeddingServer) -> None:
    with pytest.raises(EndpointError, match="cannot be used") as failed:
        load_embedder("http://127.0.0.1:9/v1?model=x")
    assert "\n" not in str(failed.value)
