"""Copies that can be made again are believed only while they are what was written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vlrlt.atomic import replacing
from vlrlt.embed import load_embedder
from vlrlt.index.run.build import index_paths
from vlrlt.service import Library, SearchResult
from vlrlt.service.cache import CHECKSUM_SUFFIX, find_cached, forget_cached, new_cached

CONTENT = bytes(range(256)) * 100


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def lose_the_checksum(file: Path) -> None:
    file.with_name(file.name + CHECKSUM_SUFFIX).unlink()


def damage_the_checksum(file: Path) -> None:
    file.with_name(file.name + CHECKSUM_SUFFIX).write_bytes(b"\xff\xfe")


DAMAGES = (flip_a_bit, empty, cut_short, lose_the_checksum, damage_the_checksum)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_as_good_as_absent_and_is_replaced(damage: Callable[[Path], None], tmp_path: Path) -> None:
    for _ in range(2):
        assert find_cached(tmp_path, "copy.bin") is None
        with new_cached(tmp_path, "copy.bin") as unfinished:
            unfinished.write_bytes(CONTENT)
        path = find_cached(tmp_path, "copy.bin")
        assert path is not None
        assert path.read_bytes() == CONTENT
        damage(path)
    assert find_cached(tmp_path, "copy.bin") is None
    forget_cached(tmp_path / "cache" / "copy.bin")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_fails_half_way_leaves_all_as_it_was(tmp_path: Path) -> None:
    def write_half() -> None:
        with replacing(tmp_path / "file.txt") as unfinished:
            unfinished.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file.txt").write_text("before")
    with pytest.raises(RuntimeError):
        write_half()
    assert (tmp_path / "file.txt").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture(scope="module")
def searched(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library whose cache holds all that searches keep: a text tower without torch, and background vectors."""
    library_dir = tmp_path_factory.mktemp("cache") / "library"
    video = min((toy_data / "videos").iterdir())
    index_paths([video], library_dir=library_dir, embedder=load_embedder(device="cpu"))
    search(library_dir)
    return library_dir


def search(library_dir: Path) -> SearchResult:
    with Library(library_dir, device="cpu") as library:
        return library.search("open fridge", k=20, tail=True)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pattern", ["text-*.onnx", "background-*.npy"])
def test_damage_in_the_cache_changes_no_search(
    pattern: str, damage: Callable[[Path], None], searched: Path, tmp_path: Path
) -> None:
    """One flipped bit of a text tower changed the hits; an empty file of vectors ended every search."""
    library_dir = tmp_path / "library"
    shutil.copytree(searched, library_dir)
    before = search(library_dir)
    (file,) = (library_dir / "cache").glob(pattern)
    whole = file.read_bytes()
    damage(file)
    after = search(library_dir)
    assert [hit.clip for hit in after.hits] == [hit.clip for hit in before.hits]
    assert np.array([hit.score for hit in after.hits]) == pytest.approx([hit.score for hit in before.hits], abs=1e-5)
    assert find_cached(library_dir, file.name) == file, "what was damaged is written again"
    if pattern == "background-*.npy":
        assert file.read_bytes()[:128] == whole[:128]
