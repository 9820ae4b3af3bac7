"""The interface of models, built in or not. This module does not import torch.

Shape legend: B clips or texts, T frames, H = W image size, C = 3, D embedding.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xxhash

from vlrlt.errors import ConfigError
from vlrlt.types import ClipEmbeddings, ClipSpan, Float32Array, Precision, PrecisionChoice, UInt8Array
from vlrlt.video.sampling import Sampling, query_sampling
from vlrlt.video.transforms import Preprocess
from vlrlt.video.worker import DecodeProcess

if TYPE_CHECKING:
    from vlrlt.tokens.run_length import TokenPolicy

DEFAULT_MODEL = "default"
DEFAULT_MODEL_DIR = Path(__file__).parent / "default_model"
"""The embedded toy-kitchen model; `make train-toy` rebuilds it."""


class Embedder(Protocol):
    """The interface of models for indexing, search and evaluation: one space for clips, pictures and texts."""

    name: str
    """What loads it again: 'default', an open_clip name, a folder, PACKAGE.MODULE:FACTORY."""
    fingerprint: str
    """Of all that its vectors depend on, 8 to 64 hexadecimal digits; vectors of different fingerprints never mix. See
    `fingerprint_of`."""
    embed_dim: int
    """D. Of a Matryoshka model, the length that vectors are cut to."""

    @property
    def sampling(self) -> Sampling:
        """How videos are sampled."""
        ...

    @property
    def captions(self) -> tuple[str, ...]:
        """Its training captions, if it understands no others; empty: its vocabulary is open."""
        ...

    @property
    def policy(self) -> "TokenPolicy | None":
        """How tokens are dropped; None: the model has no run-length tokens."""
        ...

    @property
    def precision(self) -> Precision:
        """The number format of the video encoder."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """How frames are prepared for the encoder."""
        ...

    def embed_clips(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
        """Unit vectors of preprocessed clips, and of their looks if it has any (outputs_BSD).

        T is frames_per_clip(sampling) or fewer, and 1 for a picture. Clips are what is searched: a prompt for documents
        belongs here.
        """
        ...

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Unit vectors (B, D) of texts. Texts are always queries: a query prompt belongs here."""
        ...


@dataclass(frozen=True, kw_only=True)
class EmbedderSettings:
    """Settings for a factory of embedders: `PACKAGE.MODULE:FACTORY?KEY=VALUE` calls FACTORY(settings)."""

    name: str
    """The embedder's name: as it was typed."""
    options: Mapping[str, str] = field(default_factory=dict)
    """KEY=VALUE of the name: vector length, prompts, a file, whatever the factory knows."""
    device: str = "auto"
    """'auto', or a torch device name."""
    precision: PrecisionChoice = "auto"
    """Of the video encoder; 'auto': as the embedder likes."""
    policy: "TokenPolicy | None" = None
    """How to drop tokens; None: as the embedder likes."""
    sampling: Sampling | None = None
    """How to look at videos; None: as the embedder likes."""

    def check_options(self, *known: str) -> None:
        """Reject options that the factory does not know.

        Raises:
            ConfigError: there is one.
        """
        unknown = sorted(self.options.keys() - set(known))
        if unknown:
            raise ConfigError(
                f"{self.name} does not have the option {', '.join(unknown)}; it has {', '.join(known) or 'none'}"
            )


def fingerprint_of(*parts: object) -> str:
    """Hash of what vectors depend on, 32 hexadecimal digits.

    Name everything that changes a vector: the weights (bytes or arrays, or the revision they are pinned to), a version
    of the code, prompts, the vector's length, `preprocess`, `sampling`, `policy` and `precision`.

    Args:
        parts: bytes, arrays, dataclasses, and all that JSON can hold.

    Raises:
        ConfigError: a part is of another kind.
    """
    digest = xxhash.xxh3_128()
    for part in parts:
        kind, content = _content(part)
        digest.update(f"{kind} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _content(part: object) -> tuple[str, bytes]:
    """What a part is, and its bytes; numbers and their texts differ."""
    if isinstance(part, bytes):
        return "bytes", part
    if isinstance(part, np.ndarray):
        return f"{part.dtype.str} {part.shape}", np.ascontiguousarray(part).tobytes()
    kind, plain = "json", part
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        kind, plain = type(part).__name__, dataclasses.asdict(part)
    try:
        return kind, json.dumps(plain, sort_keys=True).encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"fingerprint_of takes bytes, arrays, dataclasses and JSON values, got a {type(part).__name__}"
        ) from error


@dataclass(frozen=True, kw_only=True)
class VideoVectors:
    """The clips of a video as vectors."""

    path: Path
    spans: tuple[ClipSpan, ...]
    """Seconds of each clip."""
    vectors_ND: Float32Array
    """(len(spans), D), unit vectors."""
    partial_reason: str | None
    """Why frames that the file promises are missing; None: all of it was decoded."""


class EmbedsVideos:
    """Gives an embedder `embed_videos`."""

    def embed_videos(
        self: Any,  # an Embedder, which a base class cannot say
        paths: Iterable[str | Path],
        *,
        batch_clips: int = 8,
    ) -> tuple[VideoVectors, ...]:
        """Vectors of whole videos, clip by clip. They are decoded by a process of their own, like an archive.

        Args:
            paths: video files.
            batch_clips: so many clips are encoded at once.

        Raises:
            DecodeError: a video cannot be read at all; of a damaged one, what can be decoded is there.
        """
        with DecodeProcess() as decoder:
            return tuple(_embed_video(self, Path(path).expanduser(), decoder, batch_clips) for path in paths)


def _embed_video(embedder: Embedder, path: Path, decoder: DecodeProcess, batch_clips: int) -> VideoVectors:
    decoded = decoder.clips(path, sampling=query_sampling(embedder.sampling), preprocess=embedder.preprocess)
    clips = iter(decoded)
    spans: list[ClipSpan] = []
    vectors: list[Float32Array] = [np.empty((0, embedder.embed_dim), np.float32)]
    while batch := list(islice(clips, batch_clips)):
        spans += [clip.span for clip in batch]
        vectors.append(embedder.embed_clips(np.stack([clip.rgb_THWC for clip in batch])).vectors_BD)
    return VideoVectors(
        path=path, spans=tuple(spans), vectors_ND=np.concatenate(vectors), partial_reason=decoded.partial_reason
    )
