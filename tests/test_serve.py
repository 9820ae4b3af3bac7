"""The HTTP API over a real library: shapes, errors, media with ranges, jobs and guards."""

import asyncio
import base64
import io
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from colour import COLOURS, ColourEmbedder, write_colours
from fastapi.testclient import TestClient
from PIL import Image

from vlrlt.embed import load_embedder
from vlrlt.errors import ConfigError
from vlrlt.index.run.build import index_paths
from vlrlt.serve.app import create_app
from vlrlt.serve.guard import MAX_BODY_BYTES, Guard, check_exposure
from vlrlt.serve.listen import launch_server
from vlrlt.service import Library
from vlrlt.service.network import parse_root

TOKEN = "t" * 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    write_colours(folder / "archive" / "a.mp4", [("red", 2), ("blue", 3), ("green", 1)])
    write_colours(folder / "archive" / "b.mp4", [("white", 2), ("blue", 1)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=ColourEmbedder())
    return folder


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with Library(folder / "library", model=ColourEmbedder()) as service:
        app = create_app(service, roots={"videos": folder / "archive"})
        with TestClient(app, raise_server_exceptions=False) as client:
            yield client


def test_search_gives_moments_with_addresses_and_no_paths(client: TestClient, folder: Path) -> None:
    found = client.post("/v1/search", json={"text": ["blue"], "duplicates": True, "k": 1}).json()
    assert found["found"]
    (hit,) = found["hits"]
    assert (hit["video"], hit["start_s"], hit["end_s"]) == ("a.mp4", 2, 5)
    assert str(folder) not in json.dumps(found)
    second = client.post(
        "/v1/search", json={"text": ["blue"], "duplicates": True, "k": 1, "page": found["next_page"]}
    ).json()
    assert second["hits"][0]["video"] == "b.mp4"
    assert second["hits"][0]["rank"] == 2


def test_every_kind_of_query(client: TestClient) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), COLOURS["green"]).save(picture, "PNG")
    shown = {"image": base64.b64encode(picture.getvalue()).decode(), "tail": True, "per_video": None, "k": 1}
    first = client.post("/v1/search", json=shown).json()
    second = client.post("/v1/search", json=shown | {"page": first["next_page"]}).json()
    assert [hit["rank"] for hit in second["hits"]] == [2]
    (green,) = client.post("/v1/search", json={"image": base64.b64encode(picture.getvalue()).decode()}).json()["hits"]
    assert (green["video"], green["start_s"], green["confidence"]) == ("a.mp4", 5, None)
    clip = {"video_id": green["video_id"], "start_s": 5, "end_s": 6}
    assert client.post("/v1/search", json={"clip": clip, "k": 1}).json()["hits"][0]["start_s"] == 5
    assert client.post("/v1/search", json={"like": [green["clip"]], "k": 1}).json()["hits"][0]["start_s"] == 5
    then = client.post("/v1/search", json={"text": ["red"], "then": ["green"], "within_s": 10}).json()["hits"][0]
    assert (then["start_s"], then["end_s"], len(then["steps"])) == (0, 6, 2)
    only_b = {"text": ["blue"], "filter": {"paths": ["b.*"]}, "group_by": "video"}
    assert [group["video"] for group in client.post("/v1/search", json=only_b).json()["videos"]] == ["b.mp4"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({}, 422, "Config"),
        ({"text": ["red"], "image": "!"}, 422, "Config"),
        ({"image": base64.b64encode(b"no picture").decode()}, 422, "Decode"),
        ({"like": ["00000000000000ff"]}, 404, "NotFound"),
        ({"clip": {"video_id": "../../etc/passwd", "start_s": 0, "end_s": 1}}, 404, "NotFound"),
        ({"text": ["red"], "page": "0" * 16 + "-" + "0" * 16 + "-1"}, 422, "Config"),
        ({"text": ["red"], "filter": {"where": ["nonsense"]}}, 422, "Config"),
    ],
)
def test_errors_are_typed(client: TestClient, body: dict[str, object], status: int, kind: str) -> None:
    response = client.post("/v1/search", json=body)
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)


def test_an_unknown_field_says_where_the_known_ones_are(client: TestClient) -> None:
    refused = client.post("/v1/search", json={"query": "red"})
    assert "body.query: unknown field; /docs and /openapi.json" in refused.json()["error"]["message"]


@pytest.mark.parametrize("body", [{"text": ["x"], "path": "/etc"}, {"text": ["x"], "k": 0}, {"text": "x" * 3000}])
def test_bodies_that_do_not_fit_the_schema(client: TestClient, body: dict[str, object]) -> None:
    refused = client.post("/v1/search", json=body)
    assert (refused.status_code, refused.json()["error"]["type"]) == (422, "Validation")
    assert (
        next(name for name in ("path", "k", "text") if name in body and body[name] != ["x"])
        in refused.json()["error"]["message"]
    )


def test_errors_of_the_frameworks_have_the_same_shape(client: TestClient) -> None:
    assert client.get("/nothing").json() == {"error": {"type": "NotFound", "message": "Not Found"}}
    assert client.get("/v1/search").json()["error"]["type"] == "MethodNotAllowed"
    described = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in described["components"]["schemas"]
    assert "4XX" in described["paths"]["/v1/search"]["post"]["responses"]


def test_one_text_need_not_be_a_list(client: TestClient) -> None:
    listed, plain = ({"text": text, "then": then} for text, then in ((["red"], ["green"]), ("red", "green")))
    assert client.post("/v1/search", json=plain).json()["hits"] == client.post("/v1/search", json=listed).json()["hits"]
    described = client.get("/openapi.json").json()["components"]["schemas"]["SearchBody"]["properties"]
    assert not any("default" in described[name] for name in ("text", "without", "then")), "clients send it as a text"


def test_another_model_is_a_conflict(folder: Path) -> None:
    from vlrlt.video.sampling import ClipSampling

    other = ColourEmbedder(sampling=ClipSampling(clip_s=2, stride_s=1, num_frames=2))
    with Library(folder / "library", model=other) as service, TestClient(create_app(service)) as client:
        response = client.post("/v1/search", json={"text": ["red"]})
        assert (response.status_code, response.json()["error"]["type"]) == (409, "IndexMismatch")


def test_thumbnails_and_previews_by_clip_id_with_ranges(client: TestClient) -> None:
    hit = client.post("/v1/search", json={"text": ["red"], "k": 1}).json()["hits"][0]
    picture = Image.open(io.BytesIO(client.get(hit["thumbnail_url"]).content)).convert("RGB")
    red, green, _ = picture.getpixel((5, 5))  # type: ignore[misc]
    assert red > 200 > 60 > green
    whole = client.get(hit["preview_url"])
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    part = client.get(hit["preview_url"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert client.get(hit["preview_url"], headers={"Range": "bytes=99999999-"}).status_code == 416


@pytest.mark.parametrize("clip", ["..%2f..%2fetc%2fpasswd", "....", "%00", "0000000000000001", "ABCDEF0000000000"])
def test_nothing_but_clips_is_ever_read(client: TestClient, clip: str) -> None:
    for kind in ("thumbnail", "preview", "animation", "cut", "similar"):
        assert client.get(f"/v1/clips/{clip}/{kind}").status_code in (404, 422)


def test_a_cut_by_clip_id_says_what_was_written_and_leaves_nothing_behind(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hit = client.post("/v1/search", json={"text": ["green"], "k": 1}).json()["hits"][0]
    address = f"/v1/clips/{hit['clip']}/cut"
    exact = client.get(address)
    assert (exact.headers["vlrlt-mode"], exact.headers["vlrlt-start-s"]) == ("exact", "5.000")
    with av.open(io.BytesIO(exact.content), "r") as container:
        red, green, _ = next(container.decode(video=0)).to_ndarray(format="rgb24").mean((0, 1))
        assert green > 200 > 60 > red
    copied = client.get(address, params={"mode": "copy", "start_s": 5.5, "end_s": 6})
    assert (copied.headers["vlrlt-mode"], copied.headers["vlrlt-start-s"]) == ("copy", "5.000"), "a key frame"
    assert client.get(address, params={"start_s": 0, "end_s": 601}).status_code == 422
    assert client.get(address, params={"start_s": 50, "end_s": 60}).status_code == 422
    assert client.get("/v1/clips/00000000000000ff/cut").status_code == 404
    assert client.get(f"/v1/clips/{hit['clip']}/animation").headers["content-type"] == "image/webp"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["m3u", "csv", "json", "vtt", "edl", "fcpxml", "otio", "png"])
def test_lists_name_videos_without_their_folders(client: TestClient, folder: Path, kind: str) -> None:
    hit = client.post("/v1/search", json={"text": ["green"], "k": 1}).json()["hits"][0]
    body = {"format": kind, "title": "green", "pieces": [{"clip": hit["clip"], "start_s": 4.5}]}
    exported = client.post("/v1/export", json=body)
    assert exported.status_code == 200, exported.text
    assert str(folder).encode() not in exported.content
    if kind in ("m3u", "csv", "json"):
        assert b"a.mp4" in exported.content
        assert b"4.5" in exported.content


def test_moments_like_a_clip_without_itself(client: TestClient) -> None:
    hit = client.post("/v1/search", json={"text": ["blue"], "k": 1}).json()["hits"][0]
    found = client.get(f"/v1/clips/{hit['clip']}/similar").json()["hits"]
    assert [(other["video"], other["start_s"]) for other in found] == [("b.mp4", 2)]


def test_repeated_scenes(client: TestClient, folder: Path) -> None:
    found = client.get("/v1/duplicates").json()
    ((repetition),) = found["duplicates"]
    assert [(one["video"], one["start_s"], one["end_s"]) for one in repetition["stretches"]] == [
        ("a.mp4", 2, 5),
        ("b.mp4", 2, 3),
    ]
    assert str(folder) not in json.dumps(found)
    assert client.get("/v1/duplicates", params={"min_s": 2}).json()["total"] == 0


def test_saved_searches(client: TestClient) -> None:
    body = {"text": ["blue"], "duplicates": True, "k": 1, "filter": {"paths": ["*.mp4"]}}
    assert client.put("/v1/searches/sea and sky", json=body).status_code == 200
    saved = client.get("/v1/searches").json()["searches"]["sea and sky"]
    assert (saved["text"], saved["k"], saved["filter"]["paths"], saved["per_video"]) == (["blue"], 1, ["*.mp4"], 5)
    first = client.get("/v1/searches/sea and sky/hits").json()
    assert first["hits"][0]["video"] == "a.mp4"
    second = client.get("/v1/searches/sea and sky/hits", params={"page": first["next_page"]}).json()
    assert second["hits"][0]["video"] == "b.mp4"
    assert client.post("/v1/search", json=saved).json()["hits"] == first["hits"]
    with_file = client.put("/v1/searches/x", json={"image": "aGk="})
    assert (with_file.status_code, with_file.json()["error"]["type"]) == (422, "Config")
    assert client.put("/v1/searches/x", json={}).status_code == 422, "nothing to find"
    assert client.put("/v1/searches/..%2fx", json=body).status_code in (404, 422)
    assert client.delete("/v1/searches/sea and sky").status_code == 204
    assert client.get("/v1/searches/sea and sky/hits").status_code == 404
    assert client.get("/v1/searches").json() == {"searches": {}}


def test_questions(client: TestClient) -> None:
    answer = client.post("/v1/ask", json={"question": "How long is there blue in video a?"}).json()
    assert (answer["value"], answer["found"], answer["citations"][0]["video"]) == (3, True, "a.mp4")
    events = client.post("/v1/ask", json={"question": "Is there red?", "stream": True}).text
    assert events.startswith("event: answer\ndata: ")
    assert json.loads(events.removeprefix("event: answer\ndata: "))["value"] == "yes"
    refused = client.post("/v1/ask", json={"question": "Why?", "vlm": True})
    assert (refused.status_code, "has no vision-language model" in refused.json()["error"]["message"]) == (422, True)


def test_videos(client: TestClient) -> None:
    listed = client.get("/v1/videos", params={"limit": 1, "offset": 1}).json()
    assert listed["total"] == 2
    ((video),) = listed["videos"]
    assert (video["video"], video["duration_s"], video["vectors"]) == ("b.mp4", 3, 2)


def test_health_and_metrics(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok", "model": "colours"}
    client.post("/v1/search", json={"text": ["red"]})
    shown = client.get("/metrics").text
    assert 'vlrlt_requests_total{route="/v1/search",status="200"} 1.0' in shown
    assert client.get("/openapi.json").json()["info"]["title"] == "vlrlt"


def test_an_index_job_runs_reports_and_is_idempotent(tmp_path: Path) -> None:
    write_colours(tmp_path / "archive" / "a.mp4", [("red", 2)])
    index_paths([tmp_path / "archive"], library_dir=tmp_path / "library", embedder=load_embedder())
    write_colours(tmp_path / "archive" / "b.mp4", [("green", 2)])
    with Library(tmp_path / "library") as service:
        app = create_app(service, roots={"videos": tmp_path / "archive"})
        with TestClient(app) as client:
            missing = client.post("/v1/jobs/index", json={"root": "etc"})
            assert missing.status_code == 422
            job = client.post("/v1/jobs/index", json={"root": "videos"}, headers={"Idempotency-Key": "k"})
            assert job.status_code == 202
            again = client.post("/v1/jobs/index", json={"root": "videos"}, headers={"Idempotency-Key": "k"})
            assert again.json()["id"] == job.json()["id"]
            events = client.get(f"/v1/jobs/{job.json()['id']}/events").text
            last = json.loads(events.strip().split("\n\n")[-1].partition("data: ")[2])
            assert (last["state"], last["report"]["indexed"], last["report"]["skipped"]) == ("done", 1, 1)
            assert client.get("/v1/videos").json()["total"] == 2
            assert client.get(f"/v1/jobs/{'0' * 32}").status_code == 404
            stopped = client.post("/v1/jobs/index", json={"root": "videos"}).json()
            assert client.post("/v1/jobs/index", json={"root": "videos"}).status_code == 503
            assert client.post(f"/v1/jobs/{stopped['id']}/cancel").json()["state"] == "cancelled"


def test_a_token_is_wanted_everywhere_but_for_health(folder: Path) -> None:
    with (
        Library(folder / "library", model=ColourEmbedder()) as service,
        TestClient(create_app(service, token=TOKEN)) as client,
    ):
        assert client.get("/healthz").status_code == 200
        assert client.get("/").json()["docs"] == "/docs"
        assert client.get("/docs").status_code == 200
        described = client.get("/openapi.json").json()
        assert described["security"] == [{"token": []}]
        assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
        assert described["paths"]["/healthz"]["get"]["security"] == []
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"bearer {TOKEN}"}):
            for path in ("/v1/videos", "/metrics", "/v1/clips/0000000000000001/thumbnail"):
                assert client.get(path, headers=headers).status_code == 401
        assert client.get("/v1/videos", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_other_host_names_are_refused(folder: Path) -> None:
    with (
        Library(folder / "library", model=ColourEmbedder()) as service,
        TestClient(create_app(service, hosts=("127.0.0.1",))) as client,
    ):
        evil = client.get("/healthz", headers={"Host": "evil.example"})
        assert (evil.status_code, evil.json()["error"]["type"]) == (400, "UnknownHost")
        assert client.get("/healthz", headers={"Host": "127.0.0.1:8080"}).status_code == 200


def test_listening_beyond_this_machine_needs_a_token() -> None:
    check_exposure("127.0.0.1", None)
    check_exposure("0.0.0.0", TOKEN)
    with pytest.raises(ConfigError, match="refusing to listen on"):
        check_exposure("0.0.0.0", None)
    with pytest.raises(ConfigError, match="32 characters or more, got 5"):
        check_exposure("127.0.0.1", "short")


def test_an_address_in_use_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            launch_server(tmp_path, host="127.0.0.1", port=port, roots=(), model=None, device="cpu")


def test_roots_parse(tmp_path: Path) -> None:
    assert parse_root(f"a={tmp_path}") == ("a", tmp_path.resolve())
    for text in ("a", "=x", f"a={tmp_path}/missing"):
        with pytest.raises(ConfigError, match="NAME=DIR"):
            parse_root(text)


def test_requests_are_limited_in_size_and_rate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("vlrlt.serve.guard.time", SimpleNamespace(monotonic=lambda: now_s))
    with (
        Library(folder / "library", model=ColourEmbedder()) as service,
        TestClient(create_app(service, requests_per_s=2)) as client,
    ):
        large = client.post("/v1/search", content=b"x" * (MAX_BODY_BYTES + 1))
        assert (large.status_code, large.json()["error"]["type"]) == (413, "TooLarge")
        unsaid = client.post("/v1/search", content=(b"x" * 2**20 for _ in range(20)))
        assert unsaid.status_code == 413
        assert [client.get("/v1/videos").status_code for _ in range(4)] == [200, 200, 429, 429]
        now_s = 0.5
        assert [client.get("/v1/videos").status_code for _ in range(2)] == [200, 429]


def test_a_client_that_dawdles_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlrlt.serve.guard.BODY_DEADLINE_S", 0.05)
    sent: list[dict[str, object]] = []

    async def never() -> dict[str, object]:
        await asyncio.sleep(5)
        return {}

    async def send(message: object) -> None:
        sent.append(dict(message))  # type: ignore[call-overload]

    async def app(*_: object) -> None:
        raise AssertionError("the application must not see it")

    scope = {"type": "http", "path": "/v1/search", "headers": [], "client": ("1.2.3.4", 5)}
    asyncio.run(Guard(app, token=None, requests_per_s=10)(scope, never, send))
    assert sent[0]["status"] == 408


def test_many_clients_at_once(client: TestClient) -> None:
    results: list[int] = []

    def ask() -> None:
        results.append(client.post("/v1/search", json={"text": ["blue"]}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 20
