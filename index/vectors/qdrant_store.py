"""The Qdrant store: a collection on a server or a cluster, for libraries that outgrow one machine.

One point for each clip: its id is the clip id, so that sending it twice changes nothing; its payload names the segment
that it comes from. What the collection lacks is found by counting points for each segment, which also repairs batches
that a crash has cut in half, and a collection that was lost is filled again from the segments.
Legend: N clips of the snapshot, K hits, D embedding.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from vlrlt.errors import ConfigError, LibraryError, VlrltError
from vlrlt.extras import require
from vlrlt.index.library.catalog import Segment, Snapshot
from vlrlt.index.vectors.protocol import SAMPLE_VECTORS, Hits, Mask, PositionArray, StoreInfo, best, evenly
from vlrlt.index.vectors.stored import StoredVectors
from vlrlt.types import Float32Array

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_SEGMENT = "segment"
_BATCH_POINTS = 512
_PORT = 6333
_TIMEOUT_S = 60
_KEY_VARIABLE = "QDRANT_API_KEY"


def info_of(url: str) -> StoreInfo:
    """How a library is searched there, without asking the server."""
    return StoreInfo(kind=url, reason="approximate (HNSW over int8 codes), on a Qdrant server", recall_at_10={})


def check_server(url: str, *, library_dir: Path) -> None:
    """Ask a server for anything, before hours of work count on it; raises as QdrantStore."""
    with _mapped_errors(url):
        client, _ = _connect(url, default_name=library_dir.resolve().name)
        client.get_collections()
        client.close()


class QdrantStore:
    """A VectorStore on a Qdrant server.

    Args:
        url: qdrant://HOST[:PORT][/NAME], qdrants:// for TLS, or qdrant:///FOLDER for the client's own mode without a
            server, which compares every clip and is for trying out. NAME is the library's folder name if absent. The
            key of the server is read from QDRANT_API_KEY.
        library_dir: the library, whose segments fill the collection.
        snapshot: of its catalog.

    Raises:
        ConfigError: the URL is not of that form.
        MissingExtraError: qdrant-client is not installed.
        LibraryError: the server cannot be reached or refuses, or a segment is damaged.
    """

    def __init__(self, url: str, library_dir: Path, snapshot: Snapshot) -> None:
        self.info = info_of(url)
        self._url = url
        self._stored = StoredVectors(library_dir, snapshot)
        self._ids_N = snapshot.frame_runs.ids_N
        self._order_N = np.argsort(self._ids_N)
        self._segments = snapshot.segments
        self._first_G = np.cumsum([0, *(segment.rows for segment in snapshot.segments)])
        with _mapped_errors(self._url):
            self._client, name = _connect(url, default_name=library_dir.resolve().name)
        self._collection = f"{name}-{snapshot.settings.fingerprint[:12]}"
        self.sample_SD = self._stored.at(evenly(len(self), most=SAMPLE_VECTORS))

    def __len__(self) -> int:
        return len(self._stored)

    def search(self, query_D: Float32Array, *, k: int, within_N: Mask | None = None) -> Hits:
        """As VectorStore has it; a filter becomes one on segments, and on ids where it cuts through one."""
        if not len(self) or (within_N is not None and not within_N.any()):
            return Hits(np.zeros(0, np.int64), np.zeros(0, np.float32))
        passing = None if within_N is None or within_N.all() else self._filter(within_N)
        with _mapped_errors(self._url):
            found = self._client.query_points(
                self._collection, query=query_D.tolist(), query_filter=passing, limit=k, with_payload=False
            ).points
        ids_K = np.array([point.id for point in found], np.int64)
        place_K = np.searchsorted(self._ids_N, ids_K, sorter=self._order_N)
        positions_K = self._order_N[np.minimum(place_K, len(self) - 1)]
        known_K = self._ids_N[positions_K] == ids_K  # the server may be ahead of this snapshot
        positions_K = positions_K[known_K]
        return best(positions_K, self.vectors(positions_K) @ query_D, k)

    def vectors(self, positions_K: PositionArray) -> Float32Array:
        """As VectorStore has it, from the segments."""
        return self._stored.at(positions_K)

    def snapshot(self) -> str:
        """Have the server take a snapshot of the collection; its name there.

        Raises:
            LibraryError: the server cannot, or there is no server.
        """
        with _mapped_errors(self._url):
            taken = self._client.create_snapshot(self._collection)
        if taken is None:
            raise LibraryError(f"{self._url}: the server did not take a snapshot of {self._collection}; see its log")
        return str(taken.name)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def sync(self) -> None:
        """Make the collection hold exactly the clips of the snapshot; only for the writer, who has the newest one.

        Raises:
            LibraryError: the server cannot be reached or refuses, or a segment is damaged.
        """
        models = _models()
        with _mapped_errors(self._url):
            if not self._client.collection_exists(self._collection):
                self._create()
            counted = self._client.facet(
                self._collection, _SEGMENT, limit=2 * len(self._segments) + 1000, exact=True
            ).hits
            there = {str(hit.value): hit.count for hit in counted}
            for number, segment in enumerate(self._segments):
                if there.get(segment.uuid) != segment.rows:
                    self._send(number, segment)
            gone = sorted(there.keys() - {segment.uuid for segment in self._segments})
            if gone:  # after sending: a clip that has moved to another segment carries that segment's name by now
                condition = models.FieldCondition(key=_SEGMENT, match=models.MatchAny(any=gone))
                selector = models.FilterSelector(filter=models.Filter(must=[condition]))
                self._client.delete(self._collection, selector, wait=True)

    def _create(self) -> None:
        """A collection whose exact vectors lie on disk and whose int8 codes stay in memory."""
        models = _models()
        self._client.create_collection(
            self._collection,
            vectors_config=models.VectorParams(
                size=self._stored.embed_dim,
                distance=models.Distance.DOT,
                datatype=models.Datatype.FLOAT16,
                on_disk=True,
            ),
            quantization_config=models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            ),
        )
        with warnings.catch_warnings():  # the client's own mode needs no payload index and says so
            warnings.filterwarnings("ignore", message="Payload indexes have no effect", category=UserWarning)
            self._client.create_payload_index(self._collection, _SEGMENT, models.PayloadSchemaType.KEYWORD, wait=True)

    def _send(self, number: int, segment: Segment) -> None:
        """Put all clips of a segment there, durably."""
        models = _models()
        positions = np.arange(self._first_G[number], self._first_G[number + 1])
        for chunk in np.array_split(positions, len(positions) // _BATCH_POINTS + 1):
            if len(chunk):
                batch = models.Batch(
                    ids=self._ids_N[chunk].tolist(),
                    vectors=self._stored.at(chunk, verified=True).tolist(),
                    payloads=[{_SEGMENT: segment.uuid}] * len(chunk),
                )
                self._client.upsert(self._collection, batch, wait=True)

    def _filter(self, within_N: Mask) -> Any:  # noqa: ANN401
        """The clips inside, or all but those outside, whichever is said shorter."""
        models = _models()
        inside, outside = self._conditions(within_N), self._conditions(~within_N)
        if _size(inside) <= _size(outside):
            return models.Filter(should=inside)
        return models.Filter(must_not=outside)

    def _conditions(self, chosen_N: Mask) -> list[Any]:
        """Whole segments by name, the clips of others by id."""
        models = _models()
        rows_G = np.diff(self._first_G)
        chosen_G = np.diff(np.append(0, np.cumsum(chosen_N))[self._first_G])
        whole_G = (chosen_G == rows_G) & (rows_G > 0)
        names = [self._segments[number].uuid for number in np.flatnonzero(whole_G)]
        ids = self._ids_N[chosen_N & ~np.repeat(whole_G, rows_G)].tolist()
        conditions: list[Any] = []
        if names:
            conditions.append(models.FieldCondition(key=_SEGMENT, match=models.MatchAny(any=names)))
        if ids:
            conditions.append(models.HasIdCondition(has_id=ids))
        return conditions


@contextmanager
def _mapped_errors(url: str) -> Iterator[None]:
    """Raise the client's errors as LibraryError with the server's name."""
    try:
        yield
    except VlrltError:
        raise
    except Exception as error:  # httpx, gRPC and the client itself each have their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LibraryError(
            f"{url}: {reason}; is the server up, and {_KEY_VARIABLE} right? All vectors are in the library"
        ) from error


def _size(conditions: Sequence[Any]) -> int:
    return sum(len(getattr(condition, "has_id", None) or condition.match.any) for condition in conditions)


def _connect(url: str, *, default_name: str) -> "tuple[QdrantClient, str]":
    """A client and the name of the library's collections."""
    parts = urlsplit(url)
    try:
        port = parts.port or _PORT
    except ValueError:
        port = None
    if parts.scheme not in ("qdrant", "qdrants") or port is None or parts.username or parts.query:
        raise ConfigError(
            f"a store is qdrant://HOST[:PORT][/NAME], qdrants:// for TLS, or faiss, got {url!r}; a key goes into "
            f"{_KEY_VARIABLE}"
        )
    client: type[QdrantClient] = require("qdrant_client", extra="qdrant").QdrantClient
    if not parts.hostname:
        return client(path=parts.path), default_name
    connected = client(
        host=parts.hostname,
        port=port,
        https=parts.scheme == "qdrants",
        api_key=os.environ.get(_KEY_VARIABLE),
        timeout=_TIMEOUT_S,
        check_compatibility=False,
    )
    return connected, parts.path.strip("/") or default_name


def _models() -> Any:  # noqa: ANN401
    return require("qdrant_client", extra="qdrant").models
