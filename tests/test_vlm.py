"""Questions to a vision-language model: a real HTTP server speaks the protocol, well, badly and worse."""

import base64
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chat_server import DONE, ChatServer, chat_server, chunk
from colour import ColourEmbedder, write_colours
from PIL import Image

from vlrlt.ask.answer import Answer
from vlrlt.ask.question import parse_question
from vlrlt.ask.vlm import MAX_REPLY_CHARS, Endpoint, VlmAnswerer
from vlrlt.errors import ConfigError, EndpointError
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths
from vlrlt.service import Library
from vlrlt.types import TimedText

QUESTION = parse_question("Is there blue?")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as server:
        yield server


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vlm")
    write_colours(folder / "archive" / "a.mp4", [("red", 2), ("blue", 3)])
    write_colours(folder / "archive" / "b.mp4", [("white", 2), ("blue", 1)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=ColourEmbedder())
    return folder / "library"


@pytest.fixture
def answerer(library: Path, server: ChatServer) -> Iterator[VlmAnswerer]:
    with Library(library, model=ColourEmbedder()) as service:
        endpoint = Endpoint(url=f"http://127.0.0.1:{server.server_port}/v1", model="looker", key="secret")
        yield VlmAnswerer(service, endpoint, deadline_s=2)


def test_frames_go_out_and_a_cited_answer_comes_back_piece_by_piece(
    library: Path, answerer: VlmAnswerer, server: ChatServer
) -> None:
    server.say(chunk("Blue is "), chunk("shown [2]. "), chunk("It lasts [1]."), DONE)
    *pieces, answer = answerer.stream(QUESTION)
    assert pieces == ["Blue is ", "shown [2]. ", "It lasts [1]."]
    assert isinstance(answer, Answer)
    assert (answer.found, answer.text, answer.engine) == (True, "Blue is shown [1]. It lasts [2].", "vlm")
    ((path, body, key),) = server.requests
    assert (path, body["model"], body["stream"], key) == ("/v1/chat/completions", "looker", True, "Bearer secret")
    parts = body["messages"][1]["content"]
    pictures = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert len(pictures) == 3 * 2
    image = Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2])))
    red, _, blue = image.convert("RGB").getpixel((10, 10))  # type: ignore[misc]
    assert blue > 200 > 60 > red
    times = [part["text"] for part in parts if part["type"] == "text"][1:]
    assert times[0] == "Moment [1], a.mp4 at 00:02.5"
    assert str(library.parent) not in json.dumps(body), "names only, never paths"
    assert "secret" not in answerer.notice()
    assert f"127.0.0.1:{server.server_port}" in answerer.notice()


def test_what_is_said_in_a_moment_goes_out_with_it(library: Path, server: ChatServer, tmp_path: Path) -> None:
    copy = shutil.copytree(library, tmp_path / "library")
    with Ledger.open_existing(copy) as ledger, ledger._transaction():  # as who reads a channel does
        (video,) = (file.content_hash for file in ledger.files() if file.path.stem == "a")
        spoken = [(1.0, "too early"), (2.5, "this is the sea " + "x" * 1000), (4.9, "and the end")]
        lines = [TimedText(start_s=at_s, end_s=at_s + 0.5, text=text, channel="speech") for at_s, text in spoken]
        ledger.texts.add(video, lines, maker="test")
    server.say(chunk("Blue [1]."), DONE)
    with Library(copy, model=ColourEmbedder()) as service:
        endpoint = Endpoint(url=f"http://127.0.0.1:{server.server_port}/v1", model="looker")
        VlmAnswerer(service, endpoint, deadline_s=2).answer(QUESTION)
    ((_, body, _),) = server.requests
    texts = [part["text"] for part in body["messages"][1]["content"] if part["type"] == "text"]
    (said,) = (text for text in texts if text.startswith("Transcript"))
    first, second, third = said.splitlines()
    assert first == "Transcript of moment [1]:"
    assert second.startswith("00:02.5 speech: this is the sea x")
    assert len(second) < 400
    assert third == "00:04.9 speech: and the end"


@pytest.mark.parametrize(
    ("reply", "text", "found"),
    [
        ("It is blue [1]. It is green [7]. It is nice.", "It is blue [1].", True),
        ("It is blue [1][9].", "the model's reply does not cite a moment", False),
        ("Certainly! It is blue.", "the model's reply does not cite a moment", False),
        ("NOT FOUND", "not found in the moments that the model saw", False),
        ("", "the model's reply does not cite a moment", False),
    ],
)
def test_what_cites_nothing_is_left_out(
    answerer: VlmAnswerer, server: ChatServer, reply: str, text: str, found: bool
) -> None:
    server.say(chunk(reply), DONE)
    answer = answerer.answer(QUESTION)
    assert (answer.text, answer.found) == (text, found)


def test_a_json_schema_is_asked_for_and_held(answerer: VlmAnswerer, server: ChatServer) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["blue", "red"]}}, "required": ["colour"]}
    server.say(chunk('```json\n{"value": {"colour": "blue"}, "citations": [1]}\n```'), DONE)
    answer = answerer.answer(QUESTION, schema=schema)
    assert (answer.value, answer.found, len(answer.citations)) == ({"colour": "blue"}, True, 1)
    assert json.dumps(schema) in server.requests[0][1]["messages"][0]["content"]
    server.say(chunk('{"value": null, "citations": []}'), DONE)
    assert not answerer.answer(QUESTION, schema=schema).found
    for bad in (
        '{"value": {"colour": "green"}, "citations": [1]}',
        "blue",
        "[1]",
        '{"value": {"colour": "red"}, "citations": 3}',
    ):
        server.say(chunk(bad), DONE)
        with pytest.raises(EndpointError, match="does not fit the JSON schema"):
            answerer.answer(QUESTION, schema=schema)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((b"data: {not json\n\n", DONE), "does not speak the chat completions protocol"),
        ((b'data: {"error": "out of memory"}\n\n', DONE), "does not speak the chat completions protocol"),
        ((b'data: {"choices": 7}\n\n', DONE), "does not speak the chat completions protocol"),
        ((chunk("It is"),), "closed the connection before its reply was complete"),
        ((b"<html>hello</html>",), "closed the connection before its reply was complete"),
        ((chunk("x" * (MAX_REPLY_CHARS + 1)), DONE), "sent more than"),
        ((b"data: " + b"x" * (5 * MAX_REPLY_CHARS),), "a line without an end"),
        ((b"data: " + b"[" * 100_000 + b"\n\n", DONE), "does not speak the chat completions protocol"),
    ],
)
def test_malformed_and_hostile_replies(
    answerer: VlmAnswerer, server: ChatServer, parts: tuple[bytes, ...], message: str
) -> None:
    server.say(*parts)
    with pytest.raises(EndpointError, match=message):
        answerer.answer(QUESTION)


def test_an_error_page_is_shown_in_one_line(answerer: VlmAnswerer, server: ChatServer) -> None:
    server.status = 503
    server.say(b"model\nis loading" + b"!" * 10_000)
    with pytest.raises(EndpointError, match=r"answered 503: model is loading!{280,290}$"):
        answerer.answer(QUESTION)


def drip(write: Callable[[bytes], object]) -> None:
    for _ in range(100):
        write(chunk("a"))
        time.sleep(0.05)


@pytest.mark.parametrize(("reply", "message"), [(lambda _: time.sleep(4), "timed out"), (drip, "in time")])
def test_silence_and_dripping_end_in_time(
    answerer: VlmAnswerer, server: ChatServer, reply: Callable[[Callable[[bytes], object]], object], message: str
) -> None:
    server.reply = reply
    started_s = time.monotonic()
    with pytest.raises(EndpointError, match=message):
        answerer.answer(QUESTION)
    assert time.monotonic() - started_s < 8


def test_nobody_there(library: Path) -> None:
    with Library(library, model=ColourEmbedder()) as service:
        answerer = VlmAnswerer(service, Endpoint(url="http://127.0.0.1:9/v1", model="m"))
        with pytest.raises(EndpointError, match="cannot be used"):
            answerer.answer(QUESTION)


def test_the_endpoint_is_off_unless_it_is_set() -> None:
    for environment in ({}, {"VLRLT_VLM_URL": "http://x/v1"}, {"VLRLT_VLM_URL": "file:///etc", "VLRLT_VLM_MODEL": "m"}):
        with pytest.raises(ConfigError, match="VLRLT_VLM_URL"):
            Endpoint.from_environment(environment)
    set_up = {"VLRLT_VLM_URL": "https://h/v1/", "VLRLT_VLM_MODEL": "m", "VLRLT_VLM_KEY": "k"}
    assert Endpoint.from_environment(set_up) == Endpoint(url="https://h/v1", model="m", key="k")
