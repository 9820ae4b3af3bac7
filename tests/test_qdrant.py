"""The contract of vector stores on Qdrant.

In the client's own mode: no registry carries a server binary, so that a real server has not been tried here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from colour import ColourEmbedder, write_colours
from stores import Archive, check, queries

from vlrlt.errors import ConfigError, LibraryError
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.language import ClipQuery
from vlrlt.index.vectors.choice import FAISS, choose_store, chosen_store, snapshot_store
from vlrlt.index.vectors.faiss_store import FaissStore
from vlrlt.index.vectors.qdrant_store import QdrantStore
from vlrlt.service import Library

pytest.importorskip("qdrant_client", reason="qdrant-client is not installed: pip install 'vlrlt[qdrant]'")

Opener = Callable[[], QdrantStore]


@pytest.fixture
def archive(library_dir: Path) -> Archive:
    return Archive(library_dir)


@pytest.fixture
def reopened(archive: Archive, tmp_path: Path) -> Iterator[Opener]:
    """Open the store on the archive as it is now; one at a time, as the client's own mode has it."""
    opened: list[QdrantStore] = []

    def reopen() -> QdrantStore:
        while opened:
            opened.pop().close()
        store = QdrantStore(f"qdrant://{tmp_path}/qdrant", archive.library_dir, archive.snapshot)
        opened.append(store)
        return store

    yield reopen
    while opened:
        opened.pop().close()


def synced(reopened: Opener) -> QdrantStore:
    store = reopened()
    store.sync()
    return store


def count(store: QdrantStore) -> int:
    return int(store._client.count(store._collection).count)


def test_finds_what_faiss_finds(archive: Archive, reopened: Opener) -> None:
    archive.add(*range(8))
    store, faiss_store = synced(reopened), FaissStore(archive.library_dir, archive.snapshot)
    check(store, archive.vectors_ND)
    for query_D in queries():
        ours, theirs = store.search(query_D, k=50), faiss_store.search(query_D, k=50)
        np.testing.assert_array_equal(ours.positions_K, theirs.positions_K)
        np.testing.assert_allclose(ours.scores_K, theirs.scores_K, atol=1e-6)
    np.testing.assert_array_equal(store.sample_SD, faiss_store.sample_SD)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_filters_become_payload_filters(archive: Archive, reopened: Opener, share: float) -> None:
    archive.add(*range(8))
    within_N = np.random.default_rng(3).random(800) < share
    within_N[100:300] = True  # two whole segments
    within_N[300:400] = False
    check(synced(reopened), archive.vectors_ND, within=np.flatnonzero(within_N).tolist())


def test_nothing_passes_an_empty_filter_everything_a_full_one(archive: Archive, reopened: Opener) -> None:
    archive.add(1)
    store = synced(reopened)
    assert len(store.search(queries(1)[0], k=5, within_N=np.zeros(100, np.bool_)).positions_K) == 0
    check(store, archive.vectors_ND, within=range(100))


def test_an_empty_library_has_no_hits(reopened: Opener) -> None:
    assert len(synced(reopened).search(queries(1)[0], k=5).positions_K) == 0


def test_it_follows_the_catalog(archive: Archive, reopened: Opener) -> None:
    archive.add(1, 2, 3)
    synced(reopened)
    archive.remove(2)
    archive.add(4, 5)
    store = synced(reopened)
    assert count(store) == 400
    check(store, archive.vectors_ND)


def test_syncing_twice_sends_nothing(archive: Archive, reopened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.add(1, 2)
    store = synced(reopened)
    monkeypatch.setattr(QdrantStore, "_send", None)
    store.sync()
    assert count(store) == 200


def test_a_batch_cut_in_half_is_repaired(archive: Archive, reopened: Opener) -> None:
    archive.add(1, 2)
    store = synced(reopened)
    store._client.delete(store._collection, archive.snapshot.frame_runs.ids_N[50:130].tolist())
    assert count(store) == 120
    store = synced(reopened)
    assert count(store) == 200
    check(store, archive.vectors_ND)


def test_a_lost_collection_is_filled_from_the_segments(archive: Archive, reopened: Opener) -> None:
    archive.add(1, 2)
    store = synced(reopened)
    store._client.delete_collection(store._collection)
    with pytest.raises(LibraryError, match=r"not found.*All vectors are in the library"):
        store.search(queries(1)[0], k=5)
    check(synced(reopened), archive.vectors_ND)


def test_a_reader_with_an_old_snapshot_sees_its_own_clips_only(
    archive: Archive, reopened: Opener, tmp_path: Path
) -> None:
    archive.add(1, 2)
    old = archive.snapshot
    archive.add(3)
    synced(reopened).close()
    reader = QdrantStore(f"qdrant://{tmp_path}/qdrant", archive.library_dir, old)
    hits = reader.search(queries(1)[0], k=300)
    reader.close()
    assert len(hits.positions_K) == 200
    assert hits.positions_K.max() < 200


def test_no_snapshot_without_a_server(archive: Archive, reopened: Opener) -> None:
    archive.add(1)
    with pytest.raises(LibraryError, match="Snapshots are not supported in the local Qdrant"):
        synced(reopened).snapshot()


def test_a_server_that_is_not_there(archive: Archive) -> None:
    archive.add(1)
    store = QdrantStore("qdrant://127.0.0.1:9/lib", archive.library_dir, archive.snapshot)
    with pytest.raises(LibraryError, match=r"qdrant://127.0.0.1:9/lib: .*refused; is the server up"):
        store.sync()
    store.close()


@pytest.mark.parametrize("url", ["http://host", "qdrant://user:key@host", "qdrant://host:port", "lancedb", ""])
def test_other_urls_are_refused(archive: Archive, url: str) -> None:
    with pytest.raises(ConfigError, match=r"a store is qdrant://HOST\[:PORT\]\[/NAME\].*QDRANT_API_KEY"):
        QdrantStore(url, archive.library_dir, archive.snapshot)


def test_a_library_remembers_its_store(tmp_path: Path, library_dir: Path) -> None:
    write_colours(tmp_path / "a.mp4", [("red", 2), ("blue", 2), ("green", 2)])
    url = f"qdrant://{tmp_path}/qdrant"
    assert chosen_store(library_dir) == FAISS
    index_paths([tmp_path], library_dir=library_dir, embedder=ColourEmbedder(), store=url)
    assert chosen_store(library_dir) == url
    assert not (library_dir / "faiss").exists()
    with Library(library_dir, model=ColourEmbedder()) as service:
        assert service.status().search is not None
        assert url in service.status().as_text()
        on_qdrant = service.search(clips=ClipQuery(tmp_path / "a.mp4"), k=3).hits
    index_paths([tmp_path], library_dir=library_dir, embedder=ColourEmbedder(), store=FAISS)
    with Library(library_dir, model=ColourEmbedder()) as service:
        assert service.search(clips=ClipQuery(tmp_path / "a.mp4"), k=3).hits == on_qdrant


@pytest.mark.parametrize(
    ("store", "kind", "says"),
    [
        ("milvus://host", ConfigError, "a store is qdrant://HOST"),
        ("qdrant://127.0.0.1:9/lib", LibraryError, "refused; is the server up"),
    ],
)
def test_a_store_that_cannot_be_used_is_said_before_the_work(
    tmp_path: Path, library_dir: Path, store: str, kind: type[Exception], says: str
) -> None:
    write_colours(tmp_path / "a.mp4", [("red", 2)])
    with pytest.raises(kind, match=says):
        index_paths([tmp_path], library_dir=library_dir, embedder=ColourEmbedder(), store=store)
    assert chosen_store(library_dir) == FAISS
    with Catalog.open_reader(library_dir) as catalog:
        assert catalog.counts().vectors == 0
        with pytest.raises(ConfigError, match="does not use a vector server; to back it up, copy the folder"):
            snapshot_store(library_dir, catalog.snapshot())


def test_a_library_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="cannot be written: No such file"):
        choose_store(tmp_path / "nowhere", FAISS)
