"""Collections: what people keep is there for every door, and outlives another model, moving and indexing anew."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from colour import ColourEmbedder, write_colours
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.errors import ConfigError, NotFoundError
from vlrlt.index.library.kept import Collections
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.model_choice import use_model
from vlrlt.serve.app import create_app
from vlrlt.service import Library
from vlrlt.types import ClipSpan
from vlrlt.video.sampling import ClipSampling


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_colours(tmp_path / "archive" / "a.mp4", [("red", 2), ("blue", 3), ("green", 1)])
    write_colours(tmp_path / "archive" / "b.mp4", [("white", 2), ("blue", 1)])
    index_paths([tmp_path / "archive"], library_dir=tmp_path / "library", embedder=ColourEmbedder())
    return tmp_path / "archive"


@pytest.fixture
def library(archive: Path) -> Path:
    return archive.parent / "library"


@pytest.fixture
def service(library: Path) -> Iterator[Library]:
    with Library(library, model=ColourEmbedder()) as service:
        yield service


def test_a_collection_outlives_another_model_moving_and_a_new_index(archive: Path, library: Path) -> None:
    with Library(library, model=ColourEmbedder()) as service:
        for hit in service.search("blue", duplicates=True).hits:
            service.collections.keep("blue", hit, title="blue", rating=4, note="a note", tags=("sky", "sky", "sea"))
        before = service.collections.moments("blue")
    assert [(Path(str(one.video)).name, one.start_s, one.end_s) for one in before] == [("a.mp4", 2, 5), ("b.mp4", 2, 3)]
    assert {(one.rating, one.note, one.tags, one.title) for one in before} == {(4, "a note", ("sky", "sea"), "blue")}
    (archive / "moved").mkdir()
    shutil.move(archive / "a.mp4", archive / "moved" / "film.mp4")
    other = ColourEmbedder(sampling=ClipSampling(clip_s=2.0, stride_s=2.0, num_frames=2))
    index_paths([archive], library_dir=library, embedder=other)
    use_model(library, other.fingerprint, forget_others=True)
    after = Collections(library).moments("blue")
    assert [(one.id, one.span, one.tags) for one in after] == [(one.id, one.span, one.tags) for one in before]
    assert Path(str(after[0].video)).name == "film.mp4"
    with Library(library, model=other) as service:
        assert service.moment_at(after[0].video_id, after[0].span).span == after[0].span


def test_order_change_and_removal(service: Library) -> None:
    collections = service.collections
    (red,), (green,), (blue, _) = (service.search(word, duplicates=True).hits[:2] for word in ("red", "green", "blue"))
    ids = [collections.keep("mine", moment).id for moment in (red, green, blue)]
    collections.change(ids[2], place=1, rating=5)
    assert [one.id for one in collections.moments("mine")] == [ids[2], ids[0], ids[1]]
    assert [one.id for one in collections.moments("mine", min_rating=5)] == [ids[2]]
    changed = collections.change(ids[2], span=ClipSpan(2.5, 3.5), note="trimmed", tags=("short",))
    assert (changed.span, changed.rating, changed.note, changed.tags) == (ClipSpan(2.5, 3.5), 5, "trimmed", ("short",))
    assert collections.change(ids[2], rating="none").rating is None
    assert collections.keep("mine", red, tags=("again",)).id == ids[0], "the same seconds are one moment"
    assert [one.id for one in collections.moments("mine", tag="again")] == [ids[0]]
    with pytest.raises(ConfigError, match="already has these seconds of the video"):
        collections.change(ids[2], span=red.span)
    collections.remove(ids[1])
    assert [one.id for one in collections.moments("mine")] == [ids[2], ids[0]]
    collections.delete("mine")
    assert collections.all() == {}
    for forgotten in (lambda: collections.moments("mine"), lambda: collections.delete("mine")):
        with pytest.raises(NotFoundError, match="no collection 'mine'; collections are: none"):
            forgotten()
    with pytest.raises(NotFoundError, match="no kept moment"):
        collections.remove(ids[0])


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"name": "a/b"}, "a collection needs a name"),
        ({"rating": 6}, "a rating must be a whole number from 1 to 5"),
        ({"tags": ["<b>"]}, "32 tags at most"),
        ({"note": "x" * 2001}, "2000 characters at most"),
    ],
)
def test_what_is_refused_changes_nothing(service: Library, about: dict[str, Any], message: str) -> None:
    (red,) = service.search("red").hits
    with pytest.raises(ConfigError, match=message):
        service.collections.keep(about.pop("name", "mine"), red, **about)
    assert service.collections.all() == {}


def test_two_processes_keep_moments_while_a_third_indexes(
    service: Library, library: Path, start_process: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    program = (
        "import sys; from pathlib import Path; from vlrlt.index.library.kept import Collections\n"
        "from vlrlt.types import ClipSpan\n"
        "for at in range(20):\n"
        "    Collections(Path(sys.argv[1])).add('many', video_id=sys.argv[2], span=ClipSpan(at, at + 1))\n"
    )
    with Ledger.open(library):
        command = [sys.executable, "-c", program, str(library)]
        both = [start_process([*command, who]) for who in ("one", "two")]
        assert [process.wait(timeout=60) for process in both] == [0, 0]
    places = service.collections._execute("SELECT count(*), count(DISTINCT place) FROM kept_moments")
    assert places == [(40, 40)], "each has a place of its own"


def run(*arguments: object, stdin: str = "") -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_line_keeps_lists_changes_and_exports(service: Library, library: Path, tmp_path: Path) -> None:
    hits = json.dumps(service.search("blue", duplicates=True).as_json())
    run("collection", "add", "blue", "-", "--library", library, "--tag", "sky", stdin=hits)
    said = run("collection", "add", "blue", "a.mp4@0-1.5", "--library", library, "--rating", 5, "--note", "a start")
    assert said.split(maxsplit=1)[1].strip() == "a.mp4  00:00.0-00:01.5  *****  a start"
    assert run("collection", "list", "--library", library) == "blue: 3 moments\n"
    shown = json.loads(run("collection", "show", "blue", "--library", library, "--json"))
    assert [(hit["start_s"], hit["tags"]) for hit in shown["hits"]] == [(2, ["sky"]), (2, ["sky"]), (0, [])]
    last = shown["hits"][-1]["id"]
    run("collection", "change", last, "--library", library, "--place", 1, "--end", "00:01", "--tag", "red")
    run("export", "collection:blue", "--library", library, "--out", tmp_path / "blue.json")
    again = json.loads((tmp_path / "blue.json").read_text())["hits"]
    assert [(Path(hit["video"]).name, hit["start_s"], hit["end_s"]) for hit in again] == [
        ("a.mp4", 0, 1),
        ("a.mp4", 2, 5),
        ("b.mp4", 2, 3),
    ]
    piped = run("collection", "show", "blue", "--library", library, "--tag", "red", "--json")
    run("export", "-", "--out", tmp_path / "red.csv", stdin=piped)
    assert len((tmp_path / "red.csv").read_text().splitlines()) == 2
    service.collections.export("blue", tmp_path / "blue.fcpxml")
    assert (tmp_path / "blue.fcpxml").read_text().count("<asset-clip") == 3
    wrong = CliRunner().invoke(app, ["collection", "change", str(last), "--library", str(library), "--end", "soon"])
    assert (wrong.exit_code, "a time must be seconds or mm:ss" in wrong.stderr) == (2, True)
    run("collection", "remove", last, "--library", library)
    run("collection", "delete", "blue", "--library", library)
    assert run("collection", "list", "--library", library) == "none\n"
    wrong = CliRunner().invoke(app, ["collection", "show", "blue", "--library", str(library)])
    assert (wrong.exit_code, "no collection 'blue'" in wrong.stderr) == (2, True)


def test_what_the_library_has_forgotten_is_said(service: Library, archive: Path, library: Path) -> None:
    (hit,) = service.search("white").hits
    service.collections.keep("mine", hit)
    (archive / "b.mp4").unlink()
    with Ledger.open(library) as ledger:
        ledger.forget_files([archive / "b.mp4"])
    (kept,) = service.collections.moments("mine")
    assert kept.video is None
    with pytest.raises(NotFoundError, match="the library has forgotten the video of moment"):
        service.collections.pieces("mine")


def test_the_api_keeps_shows_changes_and_exports(library: Path) -> None:
    with Library(library, model=ColourEmbedder()) as service, TestClient(create_app(service)) as client:
        (hit, _) = client.post("/v1/search", json={"text": ["blue"], "duplicates": True}).json()["hits"]
        body = {"clip": hit["clip"], "start_s": 2.5, "end_s": 4, "title": "blue", "tags": ["sky"], "rating": 3}
        kept = client.post("/v1/collections/best", json=body).json()
        assert (kept["video"], kept["start_s"], kept["end_s"], kept["rating"]) == ("a.mp4", 2.5, 4, 3)
        assert str(library.parent) not in json.dumps(kept)
        assert client.get("/v1/collections").json() == {"collections": {"best": 1}}
        changed = client.patch(f"/v1/moments/{kept['id']}", json={"rating": "none", "note": "n", "end_s": 4.5}).json()
        assert (changed["rating"], changed["note"], changed["end_s"], changed["tags"]) == (None, "n", 4.5, ["sky"])
        assert client.get("/v1/collections/best?tag=sky").json()["hits"] == [changed]
        assert client.get("/v1/collections/best?min_rating=1").json()["hits"] == []
        edl = client.get("/v1/collections/best/export?format=edl")
        assert "FROM CLIP NAME: a.mp4" in edl.text
        assert str(library.parent) not in edl.text
        assert client.patch(f"/v1/moments/{kept['id']}", json={"rating": 9}).status_code == 422
        assert client.delete(f"/v1/moments/{kept['id']}").status_code == 204
        assert client.get("/v1/collections/best").json() == {"query": "best", "hits": []}
        assert client.delete("/v1/collections/best").status_code == 204
        for answer in (client.get("/v1/collections/best"), client.delete(f"/v1/moments/{kept['id']}")):
            assert answer.status_code == 404
