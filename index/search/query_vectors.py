"""Turn queries into vectors. Legend: D embedding."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vlrlt.errors import DecodeError
from vlrlt.index.library.catalog import LibrarySettings
from vlrlt.index.search.language import ClipQuery, ImageQuery, TextQuery
from vlrlt.models.text_onnx import OnnxText
from vlrlt.types import ClipEmbeddings, Float32Array, UInt8Array
from vlrlt.video.picture import read_picture
from vlrlt.video.sampling import query_sampling
from vlrlt.video.worker import DecodeProcess

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder
    from vlrlt.tokens.run_length import TokenPolicy
    from vlrlt.video.transforms import Preprocess


class TextEmbedder:
    """The model of a library, as far as words need it: its text tower without torch, the rest when pictures come.

    Args:
        settings: of the library.
        text: the text tower.
        load: gives the whole model.
    """

    def __init__(self, settings: LibrarySettings, *, text: OnnxText, load: "Callable[[], Embedder]") -> None:
        self.name, self.fingerprint, self.embed_dim = settings.model, settings.fingerprint, settings.embed_dim
        self.sampling, self.precision = settings.sampling, settings.precision
        self.captions = text.captions
        self._text = text
        self._load = load

    @property
    def policy(self) -> "TokenPolicy | None":
        """How the whole model drops tokens."""
        return self.whole.policy

    @cached_property
    def preprocess(self) -> "Preprocess":
        """How pictures reach the encoder."""
        return self.whole.preprocess

    def embed_clips(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
        """Unit vectors of preprocessed clips, by the whole model."""
        return self.whole.embed_clips(rgb_BTHWC)

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Unit vectors (B, D) of texts."""
        return self._text.embed(texts)

    @cached_property
    def whole(self) -> "Embedder":
        """The whole model; it brings torch."""
        return self._load()


def embed_query(query: TextQuery | ImageQuery | ClipQuery, embedder: "Embedder") -> Float32Array:
    """The unit vector of a query, (D,). Pictures and video are read by processes of their own, like the archive.

    Raises:
        DecodeError: the picture or video cannot be read.
        ConfigError: the piece lies outside its video.
    """
    if isinstance(query, TextQuery):
        return mean_direction(embedder.embed_texts([query.text]))
    if isinstance(query, ImageQuery):
        square_HWC = read_picture(query.path, embedder.preprocess)
        return mean_direction(embedder.embed_clips(square_HWC[None, None]).vectors_BD)
    with DecodeProcess() as decoder:
        clips = decoder.clips(
            query.path, sampling=query_sampling(embedder.sampling), preprocess=embedder.preprocess, within=query.span
        )
        vectors = [embedder.embed_clips(clip.rgb_THWC[None]).vectors_BD for clip in clips]
    if not vectors:
        raise DecodeError(query.path, stage="decode", reason=clips.partial_reason or "it has no frames")
    return mean_direction(np.concatenate(vectors))


def mean_direction(vectors_ND: Float32Array) -> Float32Array:
    """The mean of unit vectors as one unit vector, (D,)."""
    mean_D = vectors_ND.mean(axis=0)
    return np.asarray(mean_D / np.linalg.norm(mean_D), np.float32)
