"""A second look: a real server judges real frames; right judgements mend the order, wrong ones harm it by a bound."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from colour import COLOURS, ColourEmbedder, write_colours
from critic import Critic, Reply, critic, lying, says, truthful
from hypothesis import given
from typer.testing import CliRunner

from vlrlt.ask.second_look import TRUST, SecondLook, described_by, likelihood_of, reordered
from vlrlt.ask.vlm import Endpoint
from vlrlt.cli import app
from vlrlt.errors import ConfigError, EndpointError
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.request import SearchRequest
from vlrlt.service import Library
from vlrlt.types import Float32Array, Moment

ORDER = ("cyan", "white", "green", "blue", "red")
"""How the weak model ranks what is there when it is asked for blue."""


class WeakEmbedder(ColourEmbedder):
    """Takes blue for cyan, and somewhat for white and green."""

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        names = list(COLOURS)
        weights = {name: 0.5 - 0.05 * place for place, name in enumerate(ORDER)}
        blurred_D = np.array([weights.get(name, 0.0) for name in names], np.float32)
        vectors_BD = super().embed_texts(texts)
        vectors_BD[[text == "blue" for text in texts]] = blurred_D / np.linalg.norm(blurred_D)
        return vectors_BD


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("looks")
    for name in ORDER:
        write_colours(folder / "archive" / f"{name}.mp4", [(name, 2)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=WeakEmbedder())
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Critic]:
    with critic() as running:
        monkeypatch.setenv("VLRLT_VLM_URL", running.url)
        monkeypatch.setenv("VLRLT_VLM_MODEL", "critic")
        yield running


@pytest.fixture
def library(archive: Path, tmp_path: Path) -> Iterator[Library]:
    """A copy, so that no test finds the answers of another in the cache."""
    import shutil

    copy = shutil.copytree(archive / "library", tmp_path / "copy")
    with Library(copy, model=WeakEmbedder()) as opened:
        yield opened


SEARCH: dict[str, Any] = {"text": "blue", "tail": True}


def names(hits: Sequence[Moment]) -> list[str]:
    return [Path(hit.video).stem for hit in hits]


def test_a_right_critic_mends_the_order_and_says_what_it_cost(library: Library, server: Critic) -> None:
    plain = library.search(**SEARCH)
    assert names(plain.hits) == list(ORDER)
    assert server.bodies == []
    assert {hit.verdict for hit in plain} == {None}
    assert plain.second_look is None

    looked = library.search(**SEARCH, rerank="vlm")
    assert names(looked.hits) == ["blue", "cyan", "white", "green", "red"]
    assert [hit.rank for hit in looked] == [1, 2, 3, 4, 5]
    assert [hit.verdict for hit in looked] == ["confirmed", *["rejected"] * 4]
    assert [hit.likelihood for hit in looked] == [1, 0, 0, 0, 0]
    report = looked.second_look
    assert report is not None
    assert (report.confirmed, report.rejected, report.unverified) == (1, 4, 0)
    assert (report.requests, report.known, report.prompt_tokens, report.completion_tokens) == (5, 0, 5000, 5)
    assert report.cost is None
    assert report.problem is None
    body = server.bodies[0]
    assert (body["model"], body["temperature"]) == ("critic", 0)
    assert sum(part["type"] == "image_url" for part in body["messages"][1]["content"]) == 3
    assert str(library.library_dir.parent) not in json.dumps(body), "no paths"


def test_a_lying_critic_drops_nothing_and_harms_by_a_bound(library: Library, server: Critic) -> None:
    server.judge = lying
    looked = library.search(**SEARCH, rerank="vlm")
    assert sorted(names(looked.hits)) == sorted(ORDER), "nothing is dropped"
    before = {name: rank for rank, name in enumerate(ORDER, start=1)}
    for hit in looked:
        assert hit.rank <= TRUST**2 * before[Path(hit.video).stem]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=60))
def test_no_answers_whatever_move_a_moment_further_than_the_bound(likelihoods: list[float | None]) -> None:
    moments = [
        Moment(
            rank=rank, score=0, percentile=0, clip_id=rank, video="v", video_id="v", start_s=0, end_s=1, likelihood=p
        )
        for rank, p in enumerate(likelihoods, start=1)
    ]
    after = reordered(moments)
    assert sorted(moment.clip_id for moment in after) == list(range(1, len(moments) + 1))
    assert [moment.rank for moment in after] == list(range(1, len(moments) + 1))
    for moment in after:  # its rank of before is its clip_id
        assert moment.rank <= TRUST**2 * moment.clip_id
    if len(set(likelihoods)) <= 1:
        assert [moment.clip_id for moment in after] == [moment.rank for moment in after]


def test_order_gets_better_with_a_critic_that_is_right_most_of_the_time() -> None:
    """Mean reciprocal rank of one right moment among 50, over many draws: right 9 times of 10, and a coin."""
    random = np.random.default_rng(0)
    first = np.clip(random.geometric(0.15, 400), 1, 50)

    def mean_reciprocal(accuracy: float) -> float:
        found = []
        for right in first:
            is_said = random.random(50) < accuracy
            moments = [
                Moment(
                    rank=rank, score=0, percentile=0, clip_id=rank, video="v", video_id="v", start_s=0, end_s=1,
                    likelihood=float((rank == right) == is_said[rank - 1]),
                )
                for rank in range(1, 51)
            ]  # fmt: skip
            found.append(next(1 / moment.rank for moment in reordered(moments) if moment.clip_id == right))
        return float(np.mean(found))

    without = float(np.mean(1 / first))
    assert mean_reciprocal(1.0) > without + 0.3
    assert mean_reciprocal(0.9) > without + 0.15
    assert mean_reciprocal(0.5) > without - 0.15
    assert mean_reciprocal(0.0) > without / TRUST**2


def test_answers_are_kept_by_content_and_question(library: Library, server: Critic) -> None:
    library.search(**SEARCH, rerank="vlm")
    first = len(server.bodies)
    with Library(library.library_dir, model=WeakEmbedder()) as anew:  # nothing is in memory
        again = anew.search(**SEARCH, rerank="vlm")
        assert len(server.bodies) == first
        assert again.second_look is not None
        assert (again.second_look.known, again.second_look.requests) == (5, 0)
        assert names(again.hits)[0] == "blue"
        anew.search(text="red", tail=True, rerank="vlm")
        assert len(server.bodies) == 2 * first, "another question is asked"


def test_pages_come_from_one_order_and_are_paid_for_once(library: Library, server: Critic) -> None:
    found = library.search(**SEARCH, rerank="vlm", k=2)
    pages = names(found.hits)
    while found.next_page:
        found = library.search(**SEARCH, rerank="vlm", k=2, page=found.next_page)
        pages += names(found.hits)
    assert pages == ["blue", "cyan", "white", "green", "red"]
    assert len(server.bodies) == 5


def test_only_the_first_are_looked_at(library: Library, server: Critic) -> None:
    looked = library.search(**SEARCH, rerank="vlm", rerank_most=2)
    assert len(server.bodies) == 2
    assert names(looked.hits) == list(ORDER)
    assert [hit.verdict for hit in looked] == ["rejected", "rejected", None, None, None]


def test_likelihoods_weigh_more_finely_than_words(library: Library, server: Critic) -> None:
    shares = {"blue": 0.9, "white": 0.6, "cyan": 0.4, "green": 0.1, "red": 0.0}
    server.judge = lambda _, seen: says("Yes", likelihood=shares[seen[0]])
    looked = library.search(**SEARCH, rerank="vlm")
    assert {Path(hit.video).stem: round(hit.likelihood or 0, 3) for hit in looked} == shares
    assert [hit.verdict for hit in looked if Path(hit.video).stem == "white"] == ["confirmed"]


def test_an_endpoint_without_likelihoods_is_asked_without(library: Library, server: Critic) -> None:
    def strict(described: str, seen: list[str]) -> Any:
        return (400, "no logprobs here") if "logprobs" in server.bodies[-1] else truthful(described, seen)

    server.judge = strict
    looked = library.search(**SEARCH, rerank="vlm", rerank_most=1)
    assert [body.get("logprobs") for body in server.bodies] == [True, None]
    assert looked[0].verdict == "rejected"


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ((500, "out of\norder"), "answered 500: out of order"),
        ((200, "not json"), "does not speak the chat completions protocol"),
        ((200, "[]"), "does not speak the chat completions protocol"),
        ((200, '{"choices": []}'), "does not speak the chat completions protocol"),
        ((200, '{"choices": [{"message": {"content": 3}}]}'), "does not speak the chat completions protocol"),
        (says("perhaps"), "neither yes nor no"),
        (says("<think> yes"), "neither yes nor no"),
    ],
)
def test_what_is_no_answer_leaves_the_order_and_is_told(
    library: Library, server: Critic, reply: Any, problem: str
) -> None:
    server.judge = lambda *_: reply
    looked = library.search(**SEARCH, rerank="vlm")
    assert names(looked.hits) == list(ORDER)
    assert {hit.verdict for hit in looked} == {"unverified"}
    assert looked.second_look is not None
    assert looked.second_look.unverified == 5
    assert problem in str(looked.second_look.problem)
    assert "\n" not in looked.second_look.as_text()
    server.judge = truthful  # the next try is a new one
    assert names(library.search(**SEARCH, rerank="vlm").hits)[0] == "blue"


def test_a_server_that_is_down_is_not_asked_for_ever(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLRLT_VLM_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("VLRLT_VLM_MODEL", "critic")
    looked = library.search(**SEARCH, rerank="vlm")
    assert names(looked.hits) == list(ORDER)
    assert looked.second_look is not None
    assert "cannot be used" in str(looked.second_look.problem)


def test_time_is_bounded(library: Library, server: Critic) -> None:
    def slow(*_: object) -> Reply:
        time.sleep(5)
        return says("yes")

    server.judge = slow
    moments = library.search(**SEARCH).hits
    endpoint = Endpoint(url=server.url, model="critic")
    look = SecondLook(endpoint=endpoint, thumbnail=library.thumbnail, key=str, deadline_s=1.0)
    for moment in moments:
        library.thumbnail(moment)
    started_s = time.monotonic()
    after, report = look.look("blue", moments, {})
    assert time.monotonic() - started_s < 5
    assert [moment.verdict for moment in after] == ["unverified"] * 5
    assert report.requests <= 4


def test_money_is_bounded_and_told(library: Library, server: Critic, monkeypatch: pytest.MonkeyPatch) -> None:
    server.judge = lambda *_: says("yes", tokens=(1_000_000, 500_000))
    monkeypatch.setenv("VLRLT_VLM_PRICE", "0.5 2")
    monkeypatch.setenv("VLRLT_VLM_MAX_COST", "1")
    looked = library.search(**SEARCH, rerank="vlm")
    report = looked.second_look
    assert report is not None
    assert 1 <= report.requests <= 4, "those that were under way when the first had cost 1.5"
    assert report.cost == pytest.approx(1.5 * report.requests)
    assert "VLRLT_VLM_MAX_COST = 1 is spent" in str(report.problem)
    assert "cost " in report.as_text()
    server.judge = lambda *_: says("yes", tokens=None)
    unknown = library.search(text="red", tail=True, rerank="vlm").second_look
    assert unknown is not None
    assert unknown.cost is None
    assert "does not say how many tokens" in str(unknown.problem)


@pytest.mark.parametrize(
    "variables",
    [
        {"VLRLT_VLM_PRICE": "1"},
        {"VLRLT_VLM_PRICE": "-1 2"},
        {"VLRLT_VLM_PRICE": "nan 2"},
        {"VLRLT_VLM_PRICE": "cheap dear"},
        {"VLRLT_VLM_MAX_COST": "1"},
    ],
)
def test_prices_that_are_none_are_refused(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="VLRLT_VLM_PRICE"):
        Endpoint.from_environment({"VLRLT_VLM_URL": "http://x/v1", "VLRLT_VLM_MODEL": "m"} | variables)


def test_what_is_described_is_what_was_asked_for() -> None:
    request = SearchRequest.parse({"text": ["open the fridge^2", "a hand"], "then": "pour milk", "without": "a cat"})
    assert described_by(request) == "open the fridge and a hand, then pour milk, without a cat"
    with pytest.raises(ConfigError, match="needs a text query"):
        described_by(SearchRequest.parse({"like": "00000000000000ff", "rerank": "vlm"}))


def test_a_second_look_is_asked_for_each_time(library: Library) -> None:
    request = SearchRequest.parse(SEARCH | {"rerank": "vlm", "rerank_most": 3})
    assert not {"rerank", "rerank_most"} & request.as_json().keys()
    for wrong in ({"rerank": "gpt"}, {"rerank_most": 0}, {"rerank_most": 10_000}):
        with pytest.raises(ConfigError, match="rerank"):
            SearchRequest.parse(wrong)
    with pytest.raises(ConfigError, match="VLRLT_VLM_URL"):
        library.search(**SEARCH, rerank="vlm")


def test_replies_that_are_damaged_are_errors_of_ours() -> None:
    assert likelihood_of(says("YES, it does")) == 1
    assert likelihood_of(says("no", likelihood=0.25)) == pytest.approx(0.25)
    assert likelihood_of(says("nothing of it")) is None
    damaged = says("yes", likelihood=0.5)
    damaged["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"] = "much"
    with pytest.raises(EndpointError):
        likelihood_of(damaged)
    endless = says("yes", likelihood=0.5)
    for other in endless["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        other["logprob"] = math.nan
    assert likelihood_of(endless) in (0.0, 1.0)


def test_the_command_line_says_what_leaves_and_prints_verdicts(
    archive: Path, server: Critic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from vlrlt.service.model import LibraryModel

    copy = shutil.copytree(archive / "library", tmp_path / "copy")

    def weak_model(folder: Path, *, model: object, device: str) -> LibraryModel:
        return LibraryModel(folder, model=WeakEmbedder(), device=device)

    monkeypatch.setattr("vlrlt.service.library.LibraryModel", weak_model)
    command = ["search", "blue", "--tail", "--rerank", "vlm", "--rerank-most", "4", "--library", str(copy)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert f"sending the words and up to 12 frames of found moments to {server.url}" in result.stderr
    first = result.stdout.splitlines()[0]
    assert "blue.mp4" in first
    assert "  confirmed 100%  " in first
    assert "second look: 1 confirmed, 3 rejected, 0 unverified; 4 requests" in result.stdout
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (found["hits"][0]["verdict"], found["hits"][0]["likelihood"]) == ("confirmed", 1)
    assert found["hits"][4]["verdict"] is None
    assert found["second_look"]["known"] == 4


def test_over_http_only_if_the_server_is_set_up(library: Library, server: Critic) -> None:
    from fastapi.testclient import TestClient

    from vlrlt.serve.app import create_app

    body = {"text": "blue", "tail": True, "rerank": "vlm", "rerank_most": 5}
    with TestClient(create_app(library), base_url="http://localhost") as client:
        refused = client.post("/v1/search", json=body)
        assert (refused.status_code, "has no vision-language" in refused.json()["error"]["message"]) == (422, True)
        assert server.bodies == []
    with TestClient(create_app(library, endpoint=Endpoint.from_environment()), base_url="http://localhost") as client:
        found = client.post("/v1/search", json=body).json()
        assert [hit["verdict"] for hit in found["hits"]] == ["confirmed", *["rejected"] * 4]
        assert found["second_look"]["requests"] == 5
        assert client.post("/v1/search", json=body | {"rerank": "gpt"}).status_code == 422


def test_for_assistants(library: Library, server: Critic) -> None:
    import anyio

    pytest.importorskip("mcp", reason="needs the extra mcp")
    from vlrlt.serve.mcp import create_server

    tool = create_server(library)

    async def call() -> Any:
        return await tool.call_tool("search", {"query": "blue", "tail": True, "rerank": "vlm"})

    anyio.run(call)
    assert len(server.bodies) >= 1
