"""Training data out of a library: clips with captions in a tar, and a choice of moments that differ."""

import io
import itertools
import json
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
from colour import COLOURS, ColourEmbedder, write_colours
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.errors import ConfigError
from vlrlt.export.export import export_file
from vlrlt.export.piece import Piece
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.curate import farthest_first
from vlrlt.service import Library
from vlrlt.types import ClipSpan, Float32Array


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    write_colours(folder / "archive" / "a.mp4", [("red", 2), ("blue", 2), ("red", 2), ("green", 2)])
    write_colours(folder / "archive" / "b.mp4", [("blue", 2), ("white", 2), ("red", 1)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=ColourEmbedder())
    return folder / "library"


def samples(path: Path) -> dict[str, dict[str, bytes]]:
    """What a loader of WebDataset makes of a tar: files beside each other that have one name are one sample."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as archive:
        for key, members in itertools.groupby(archive, key=lambda member: member.name.partition(".")[0]):
            assert key not in found, "the files of a sample lie beside each other"
            files = [(one.name.partition(".")[2], archive.extractfile(one)) for one in members]
            found[key] = {suffix: file.read() for suffix, file in files if file is not None}
    return found


def colour_of(film: bytes) -> str:
    with av.open(io.BytesIO(film), "r") as container:
        rgb = next(container.decode(video=0)).to_ndarray(format="rgb24").mean((0, 1))
    return min(COLOURS, key=lambda name: float(np.abs(rgb - COLOURS[name]).sum()))


def test_a_tar_has_each_clip_with_its_caption(library: Path, tmp_path: Path) -> None:
    archive = library.parent / "archive"
    pieces = [
        Piece(video=archive / "a.mp4", span=ClipSpan(2, 4), title="something blue", hit={"score": 0.5}),
        Piece(video=archive / "b.mp4", span=ClipSpan(2, 4), title="ünd weiß"),
    ]
    (out,) = export_file(pieces, tmp_path / "clips.tar", title="")
    first, second = samples(out).values()
    assert (colour_of(first["mp4"]), first["txt"].decode()) == ("blue", "something blue")
    assert (colour_of(second["mp4"]), second["txt"].decode()) == ("white", "ünd weiß")
    about = json.loads(first["json"])
    assert about == {"caption": "something blue", "score": 0.5, "video": "a.mp4", "start_s": 2.0, "end_s": 4.0}
    with pytest.raises(ConfigError, match="exists"):
        export_file(pieces, out, title="")
    with pytest.raises(ConfigError, match="no dataset to write"):
        export_file([], tmp_path / "none.tar", title="")
    assert [path.name for path in tmp_path.iterdir()] == ["clips.tar"]


def plainly(vectors_ND: Float32Array, n: int, threshold: float) -> list[int]:
    """Farthest first, with every pair compared."""
    chosen = [0]
    while len(chosen) < n:
        rest = [at for at in range(len(vectors_ND)) if at not in chosen]
        nearest = [max(float(vectors_ND[at] @ vectors_ND[one]) for one in chosen) for at in rest]
        if not rest or min(nearest) >= threshold:
            break
        chosen.append(rest[int(np.argmin(nearest))])
    return sorted(chosen)


@pytest.mark.parametrize("n", [1, 3, 10, 60])
def test_the_choice_is_that_of_comparing_every_pair(n: int) -> None:
    rng = np.random.default_rng(5)
    vectors_ND = rng.normal(size=(40, 6)).astype(np.float32)
    vectors_ND[20:30] = vectors_ND[:10] + 0.01 * rng.normal(size=(10, 6))
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    chosen = farthest_first(vectors_ND, n, threshold=0.98)
    assert list(chosen) == plainly(vectors_ND, n, 0.98)
    cosines = vectors_ND[list(chosen)] @ vectors_ND[list(chosen)].T - np.eye(len(chosen))
    assert cosines.max() < 0.98
    assert farthest_first(vectors_ND[:0], n, threshold=0.98) == ()
    with pytest.raises(ConfigError, match="1 moment or more, got 0"):
        farthest_first(vectors_ND, 0, threshold=0.98)


def test_pick_leaves_out_what_shows_the_same(library: Path, tmp_path: Path) -> None:
    with Library(library, model=ColourEmbedder()) as service:
        film, other = service.find_video("a.mp4"), service.find_video("b.mp4")
        places = [(film, 0), (film, 2), (film, 4), (film, 6), (other, 0), (other, 2), (other, 4)]
        moments = [service.moment_at(video, ClipSpan(start_s, start_s + 1)) for video, start_s in places]
        picked = service.pick(moments, 50)
        assert picked == tuple(moments[place] for place in (0, 1, 3, 5)), "red, blue, green and white, each once"
        assert service.pick(moments, 2)[0] == moments[0]
        assert len(service.pick(moments, 2)) == 2
    archive = library.parent / "archive"
    asked = [f"{archive / 'a.mp4'}@0-2", f"{archive / 'a.mp4'}@4-6", f"{archive / 'b.mp4'}@2-4"]
    command = ["export", *asked, "--library", str(library), "--pick", "5", "--out", str(tmp_path / "picked.tar")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert [colour_of(one["mp4"]) for one in samples(tmp_path / "picked.tar").values()] == ["red", "white"]
    without = CliRunner().invoke(app, ["export", asked[0], "--pick", "1", "--out", str(tmp_path / "x.csv")])
    assert (without.exit_code, "say which with --library" in without.stderr) == (2, True)
