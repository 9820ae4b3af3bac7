"""Indexing on a Ray cluster: the same stages as on one machine, elsewhere.

Decoding and encoding run in actors of their own, so that a decoder that dies does not take a model with it. Frames go
from a decoding to an encoding actor; this process gets spans and vectors, in the order of an undisturbed local run, and
remains the only one that writes to the library. A video is cut at the chunks of the ledger, which are decoded at the
same time. The workers need vlrlt[ray] and the model; vlrlt is not sent to them.

    this process     ordered(): chunk 0 | chunk 1 | ... -> VideoIndexer -> Ledger
    decode actor     DecodeProcess -> batches of clips that are not still
    encode actor     Encoder -> vectors

Actors that die are started again and their work is done again: nothing counts before the ledger has it.
"""

import itertools
import os
import queue
import secrets
import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import xxhash

from vlrlt.errors import ConfigError, DecodeError, DecodeTimeoutError
from vlrlt.extras import require
from vlrlt.index.library.catalog import LibrarySettings
from vlrlt.index.run.encode import Encoder, Outputs
from vlrlt.index.run.run_report import Counters
from vlrlt.types import NO_FRAMES, Clip, UInt8Array, VideoInfo
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.worker import DecodeProcess

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder

_ENCODER_SHARE = 4
"""Without GPUs, one of so many logical CPUs encodes and the others decode."""
_MAX_TRIES = 3
"""Of a chunk whose actor was lost; a cluster that loses more is not for this video now."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """A batch of vectors, and what it cost."""

    outputs: list[Outputs]
    """Of each clip."""
    looks: int
    tokens: int
    dense_tokens: int
    encode_s: float


@dataclass(frozen=True, kw_only=True)
class RemoteClip(Clip):
    """A clip whose frames are elsewhere."""

    batch: Encoded | None = None
    """What the encoder has made of its batch; None: it is static."""

    @property
    def is_static(self) -> bool:
        """As Clip has it."""
        return self.batch is None


@dataclass(frozen=True, kw_only=True)
class _ChunkDone:
    """What came of decoding a stretch of video."""

    info: VideoInfo | None = None
    clips: tuple[RemoteClip, ...] = ()
    end: dict[str, Any] = field(default_factory=dict)
    error: DecodeError | None = None


class RayEngine:
    """Decoding and encoding actors; a context manager.

    Token authentication is on: a cluster that is started here gets a token of its own, one that is named by its address
    wants the one in RAY_AUTH_TOKEN or ~/.ray/auth_token.

    Args:
        settings: the model, which every encoding actor loads for itself.
        device: where; "cpu" or "auto" for the CPU, "cuda" for a GPU of the cluster for each actor.
        address: of a cluster, such as "auto" or "ray://head:10001"; None: one on this machine, for this run.
        shared: fsspec URL of a folder that all machines reach; videos pass through it. None: the archive has the same
            path everywhere.
        num_cpus: logical CPUs of the cluster that is started here; None: the cores of this machine.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the cluster or the shared folder cannot be reached, there are too few CPUs or GPUs, or a worker
            cannot load the model.
    """

    def __init__(
        self,
        settings: LibrarySettings,
        *,
        device: str = "auto",
        address: str | None = None,
        shared: str | None = None,
        num_cpus: int | None = None,
    ) -> None:
        if shared is not None:
            _make_shared(shared)
        self._ray = _start_ray(address, num_cpus=num_cpus)
        self._shared = shared
        resources = self._ray.cluster_resources()
        on_gpu = device.startswith("cuda")
        num_cpus = int(resources.get("CPU", 0))
        num_encoders = int(resources.get("GPU", 0)) if on_gpu else max(1, num_cpus // _ENCODER_SHARE)
        self.num_decoders = num_cpus - num_encoders
        if not num_encoders or self.num_decoders < 1:
            self.close()
            raise ConfigError(
                f"the Ray cluster has {num_cpus} CPUs and {int(resources.get('GPU', 0))} GPUs; --engine ray needs two "
                "CPUs, and a GPU for --device cuda"
            )
        # No num_cpus: what runs on a machine that is lost starts again on those that are left, however full they are.
        lasting = {"max_restarts": -1, "scheduling_strategy": "SPREAD"}
        encode_actor = self._ray.remote(EncodeActor).options(
            **lasting, max_task_retries=_MAX_TRIES, num_gpus=int(on_gpu)
        )
        decode_actor = self._ray.remote(DecodeActor).options(**lasting)
        threads = _num_threads()
        self._encoders = [encode_actor.remote(settings, device, threads) for _ in range(num_encoders)]
        self._next_encoder = itertools.cycle(self._encoders)
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.num_decoders):
            self._free.put(decode_actor.remote())
        self._threads = ThreadPoolExecutor(self.num_decoders, thread_name_prefix="ray-chunk")
        self._wait_for_models()

    def _wait_for_models(self) -> None:
        """Say now what no worker could do for any video."""
        try:
            self._ray.get([encoder.ready.remote() for encoder in self._encoders])
        except self._ray.exceptions.RayError as error:
            self.close()
            raise ConfigError(f"a Ray worker cannot start: {str(error).strip().splitlines()[-1]}") from error

    def encoder(self, embedder: "Embedder", counters: Counters, *, max_tokens: int) -> "RayEncoder":
        """The encoding stage as VideoIndexer wants it."""
        return RayEncoder(embedder, counters, max_tokens=max_tokens)

    def ordered(
        self, requests: Iterable[ClipRequest], *, encoder: Encoder
    ) -> "Generator[tuple[RemoteVideo, ClipRequest]]":
        """As DecodePool.ordered: videos in their order, as many begun ahead as there are decoding actors."""
        begun: deque[tuple[RemoteVideo, ClipRequest]] = deque()
        coming = iter(requests)
        while True:
            while len(begun) < self.num_decoders and (request := next(coming, None)) is not None:
                self._publish(request.path)
                begun.append((RemoteVideo(self, request, encoder.batch_clips), request))
            if not begun:
                return
            video, request = begun.popleft()
            yield video, request
            self._withdraw(request.path)

    def _publish(self, path: Path) -> None:
        """Put a video where every machine can read it; one that cannot be read is missed there."""
        if self._shared is not None:
            files, root = _shared_files(self._shared)
            with suppress(OSError):
                files.put_file(str(path), f"{root}/{_shared_name(path)}")

    def _withdraw(self, path: Path) -> None:
        if self._shared is not None:
            files, root = _shared_files(self._shared)
            with suppress(OSError):
                files.rm_file(f"{root}/{_shared_name(path)}")

    def start(self, request: ClipRequest, batch_clips: int) -> "Future[_ChunkDone]":
        """Have a stretch decoded and encoded."""
        return self._threads.submit(self._chunk, request, batch_clips)

    def _chunk(self, request: ClipRequest, batch_clips: int) -> _ChunkDone:
        errors = self._ray.exceptions
        for _ in range(_MAX_TRIES):
            actor = self._free.get()
            try:
                return self._chunk_on(actor, request, batch_clips)
            except errors.RayTaskError as error:
                raise error.cause from None
            except errors.RayError as error:
                reason = f"its Ray worker was lost: {str(error).splitlines()[0]}"
            finally:
                self._free.put(actor)
        return _ChunkDone(error=_passing(request.path, reason))

    def _chunk_on(self, actor: Any, request: ClipRequest, batch_clips: int) -> _ChunkDone:  # noqa: ANN401
        """Let an actor decode; give its batches to encoding actors as they come."""
        done = _ChunkDone()
        batches: list[Any] = []
        placed: list[tuple[Clip, int | None]] = []
        stream = actor.chunk.options(num_returns="streaming").remote(request, batch_clips, self._shared)
        for reference in stream:
            message = self._ray.get(reference)
            if message["kind"] == "info":
                done = replace(done, info=replace(message["info"], path=request.path))
            elif message["kind"] == "batch":
                placed += [(clip, None if is_static else len(batches)) for clip, is_static in message["clips"]]
                if message["num_frames"]:  # they come next; they are not fetched by us
                    batches.append(next(self._next_encoder).encode.remote(next(stream)))
            elif message["kind"] == "error":
                done = replace(done, error=DecodeError.from_json(message["error"], path=request.path))
            else:
                done = replace(done, end=message)
        encoded = self._ray.get(batches)
        clips = (RemoteClip(**vars(clip), batch=None if at is None else encoded[at]) for clip, at in placed)
        return replace(done, clips=tuple(clips))

    def close(self) -> None:
        """Let the actors go, and the cluster if it was started here."""
        if hasattr(self, "_threads"):
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RemoteVideo:
    """One video of a Ray engine; stands for DecodeProcess and DecodedVideo at once."""

    def __init__(self, engine: RayEngine, request: ClipRequest, batch_clips: int) -> None:
        self.partial_reason: str | None = None
        self.decode_s = self.resize_s = 0.0
        self._engine = engine
        self._request = request
        self._batch_clips = batch_clips
        self._first = engine.start(self._part(request.start_s), batch_clips)

    def open(self, _request: ClipRequest) -> "RemoteVideo":
        """The video itself, as DecodeProcess.open.

        Raises:
            DecodeError: it cannot be read.
        """
        done = self._first.result()
        if done.info is None:
            raise done.error or _passing(self._request.path, "its Ray worker did not answer")
        self.info = done.info
        return self

    def __iter__(self) -> Iterator[Clip]:
        """Yield clips as one decoder would give them, chunk by chunk.

        Raises:
            DecodeError: as DecodedVideo.
        """
        starts_s = self._chunk_starts_s()
        ahead: deque[Future[_ChunkDone]] = deque([self._first])
        for number, start_s in enumerate(starts_s):
            while len(ahead) <= self._engine.num_decoders and number + len(ahead) < len(starts_s):
                ahead.append(self._engine.start(self._part(starts_s[number + len(ahead)]), self._batch_clips))
            done = ahead.popleft().result()
            if start_s != starts_s[-1] and (done.error or not _covers(done.clips, self._part(start_s))):
                # What one decoder makes of the damage is what counts.
                rest = replace(self._request, start_s=start_s)
                yield from self._given(self._engine.start(rest, self._batch_clips).result())
                return
            yield from self._given(done)

    def _given(self, done: _ChunkDone) -> Iterator[Clip]:
        self.decode_s += done.end.get("decode_s", 0.0)
        self.resize_s += done.end.get("resize_s", 0.0)
        self.partial_reason = done.end.get("partial_reason")
        yield from done.clips
        if done.error:
            raise done.error

    def _chunk_starts_s(self) -> list[float]:
        first, chunk_s = self._request.chunk_of(self._request.start_s), self._request.chunk_s
        last = self._request.chunk_of(max(self._request.start_s, self.info.duration_s - 1e-3))
        return [self._request.start_s, *(number * chunk_s for number in range(first + 1, last + 1))]

    def _part(self, start_s: float) -> ClipRequest:
        """From a time up to the next chunk."""
        stop_s = (self._request.chunk_of(start_s) + 1) * self._request.chunk_s
        return replace(self._request, start_s=start_s, stop_s=stop_s)


def _covers(clips: Sequence[Clip], request: ClipRequest) -> bool:
    """Whether clips reach to where the request ends."""
    return bool(clips) and request.stop_s is not None and clips[-1].own.end_s >= request.stop_s - 1e-3


class RayEncoder(Encoder):
    """The encoding stage of a run whose vectors are made elsewhere."""

    def encode_clips(self, clips: Sequence[Clip]) -> list[Outputs]:
        """As Encoder; the clips are one batch of a RemoteVideo."""
        batches = {clip.batch for clip in clips if isinstance(clip, RemoteClip) and clip.batch is not None}
        if not batches:
            return []
        (encoded,) = batches
        self._counters.tokens += encoded.tokens
        self._counters.dense_tokens += encoded.dense_tokens
        self._counters.encode_s += encoded.encode_s
        self._counters.looks += encoded.looks
        return encoded.outputs


class DecodeActor:
    """Decodes stretches of video, in a child process as everywhere."""

    def __init__(self) -> None:
        self._process = DecodeProcess()

    def chunk(self, request: ClipRequest, batch_clips: int, shared: str | None) -> Iterator[Any]:
        """Messages: info; batch and then its frames, again and again; end or error."""
        try:
            with _local_copy(request.path, shared) as path:
                self._process.start(replace(request, path=path))
                decoded = self._process.open(replace(request, path=path))
                yield {"kind": "info", "info": decoded.info}
                batch: list[Clip] = []
                chunk = request.chunk_of(request.start_s)
                for clip in decoded:
                    is_full = sum(not waiting.is_static for waiting in batch) == batch_clips
                    if batch and (is_full or request.chunk_of(clip.own.start_s) != chunk):
                        yield from _messages(batch)
                        batch = []
                    chunk = request.chunk_of(clip.own.start_s)
                    batch.append(clip)
                yield from _messages(batch)
                yield {
                    "kind": "end",
                    "partial_reason": decoded.partial_reason,
                    "decode_s": decoded.decode_s,
                    "resize_s": decoded.resize_s,
                }
        except DecodeError as error:
            yield {"kind": "error", "error": error.as_json()}


class EncodeActor:
    """Holds the model."""

    def __init__(self, settings: LibrarySettings, device: str, threads: int) -> None:
        import torch

        from vlrlt.embed import load_embedder

        torch.set_num_threads(threads)
        policy = settings.token_policy()
        embedder = load_embedder(
            settings.model,
            device=device,
            policy=policy,
            sampling=settings.sampling,
            precision=settings.precision,
        )
        if embedder.fingerprint != settings.fingerprint:
            raise ConfigError(f"a Ray worker has a different model {settings.model!r}: {embedder.fingerprint[:12]}")
        self._counters = Counters()
        self._encoder = Encoder(embedder, self._counters)

    def ready(self) -> None:
        """Answer; that is, the model is loaded."""

    def encode(self, clips: list[UInt8Array]) -> Encoded:
        """What the encoding stage makes of a batch."""
        before = replace(self._counters)
        return Encoded(
            outputs=self._encoder.encode_ragged(clips),
            looks=sum(map(len, clips)),
            tokens=self._counters.tokens - before.tokens,
            dense_tokens=self._counters.dense_tokens - before.dense_tokens,
            encode_s=self._counters.encode_s - before.encode_s,
        )


def _messages(batch: list[Clip]) -> Iterator[Any]:
    """What clips stand for, and then the frames of those that are encoded."""
    frames = [clip.rgb_THWC for clip in batch if not clip.is_static]
    described = [(replace(clip, rgb_THWC=NO_FRAMES), clip.is_static) for clip in batch]
    yield {"kind": "batch", "clips": described, "num_frames": len(frames)}
    if frames:
        yield frames


def _start_ray(address: str | None, *, num_cpus: int | None) -> Any:  # noqa: ANN401
    """Connect to a cluster, or start one that nobody without its token can talk to; returns the module ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # what matters of them is in our own
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray = require("ray", extra="ray")
    options: dict[str, Any] = (
        {"num_cpus": num_cpus, "include_dashboard": False} if address is None else {"address": address}
    )
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except Exception as error:  # ConnectionError, ValueError, RuntimeError and Ray's own
        raise ConfigError(f"no Ray cluster at {address or 'this machine'}: {str(error).splitlines()[0]}") from error
    return ray


def _num_threads() -> int:
    """Threads of this process's encoder: the workers take as many, so that sums are added in the same order."""
    import torch

    return int(torch.get_num_threads())


def _make_shared(shared: str) -> None:
    """Say now, not after an hour, that a shared folder cannot be used."""
    files, root = _shared_files(shared)
    try:
        files.makedirs(root, exist_ok=True)
    except Exception as error:  # every storage has errors of its own
        raise ConfigError(f"--shared {shared} cannot be used: {type(error).__name__}: {error}") from error


def _shared_files(shared: str) -> tuple[Any, str]:
    """File system and path of an fsspec URL."""
    try:
        files, root = require("fsspec", extra="ray").core.url_to_fs(shared)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"--shared {shared} cannot be used: {error}; try a folder or another fsspec URL") from error
    return files, root


def _shared_name(path: Path) -> str:
    return f"{xxhash.xxh3_128_hexdigest(os.fsencode(path))}{path.suffix}"


@contextmanager
def _local_copy(path: Path, shared: str | None) -> Iterator[Path]:
    """The video itself, or a copy from the shared folder."""
    if shared is None:
        yield path
        return
    files, root = _shared_files(shared)
    with tempfile.TemporaryDirectory(prefix="vlrlt-") as folder:
        copy = Path(folder) / _shared_name(path)
        try:
            files.get_file(f"{root}/{copy.name}", str(copy))
        except OSError as error:
            raise _passing(path, f"{shared}: {error}") from error
        yield copy


def _passing(path: Path, reason: str) -> DecodeError:
    return DecodeTimeoutError(path, stage="decode", reason=reason)
