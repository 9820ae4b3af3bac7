"""The model of a library: found, checked against its fingerprint, and loaded only as far as a search needs.

Shape legend: M background queries, D embedding.
"""

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from vlrlt.errors import CheckpointError, ConfigError, MissingExtraError
from vlrlt.index.library.catalog import LibrarySettings, mismatch
from vlrlt.index.search.confidence import background_texts
from vlrlt.index.search.query_vectors import TextEmbedder
from vlrlt.models.moment_head import MomentHead
from vlrlt.models.text_onnx import OnnxText
from vlrlt.service.cache import find_cached, forget_cached, new_cached
from vlrlt.service.heads import find_head, head_stamp
from vlrlt.types import Float32Array

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder


class LibraryModel:
    """Loads the model of a library once; what can be computed anew is kept in the cache.

    Safe to use from several threads: those that need the model wait for the one that loads it.

    Args:
        library_dir: the library.
        model: an embedder, or what load_embedder takes; None: the model that the library was indexed with.
        device: where to run it.
    """

    def __init__(self, library_dir: Path, *, model: "str | Embedder | None", device: str) -> None:
        self._library_dir = library_dir
        self._model = model
        self._device = device
        self._embedder: Embedder | None = None
        self._lock = threading.Lock()

    def find(self, settings: LibrarySettings) -> "Embedder":
        """The model, or what embeds texts as it does without torch; it must be the library's own at every search.

        Raises:
            IndexMismatchError: the library belongs to another model.
        """
        with self._lock:
            if self._embedder is None:
                on_cpu = self._device in ("auto", "cpu")  # who names another device wants the whole model there
                text_only = self._read_text_tower(settings) if self._model is None and on_cpu else None
                self._embedder = text_only or self._load(settings)
            return self._checked(self._embedder, settings)

    def head(self, settings: LibrarySettings) -> MomentHead | None:
        """The moment head that fits how the videos were looked at; raises CheckpointError if it is damaged."""
        return find_head(self._library_dir, settings)

    def head_stamp(self, settings: LibrarySettings) -> str:
        """Changes when the library gets another head."""
        return head_stamp(self._library_dir, settings)

    def whole(self, settings: LibrarySettings) -> "Embedder":
        """The model with all that it can do; raises as `find`."""
        embedder = self.find(settings)
        with self._lock:
            return embedder.whole if isinstance(embedder, TextEmbedder) else embedder

    def background(self, embedder: "Embedder") -> Float32Array:
        """(M, D) of the background queries, from the cache if they are there: a text tower takes seconds for them.

        Raises:
            CheckpointError: the tokenizer is on a hub that cannot be reached.
            ConfigError: the model cannot read text.
        """
        texts = background_texts(embedder.captions)
        name = xxhash.xxh3_128_hexdigest("\n".join((embedder.fingerprint, *texts)).encode())
        name = f"background-{name}.npy"
        path = find_cached(self._library_dir, name)
        with contextlib.suppress(OSError, ValueError, EOFError):
            if path is not None:
                vectors_MD: Float32Array = np.load(path, allow_pickle=False)
                if vectors_MD.shape == (len(texts), embedder.embed_dim):
                    return vectors_MD
        vectors_MD = embedder.embed_texts(texts)
        with contextlib.suppress(OSError), new_cached(self._library_dir, name) as unfinished:  # only a copy
            np.save(unfinished, vectors_MD, allow_pickle=False)
        return vectors_MD

    def _load(self, settings: LibrarySettings) -> "Embedder":
        """The whole model; the text tower of the library's own is written down for later searches."""
        if self._model is not None and not isinstance(self._model, str):
            return self._model
        from vlrlt.embed import DualEncoderEmbedder, load_embedder

        embedder = load_embedder(
            self._model or settings.model,
            recorded=self._model is None,
            device=self._device,
            policy=settings.token_policy(),
            sampling=settings.sampling,
            precision=settings.precision,
        )
        name = _text_name(settings)
        if not isinstance(embedder, DualEncoderEmbedder):
            return embedder
        if embedder.fingerprint == settings.fingerprint and find_cached(self._library_dir, name) is None:
            # only a copy, to start faster
            with contextlib.suppress(CheckpointError, ConfigError, OSError), new_cached(self._library_dir, name) as out:
                embedder.export_text(out)
        return embedder

    def _read_text_tower(self, settings: LibrarySettings) -> "Embedder | None":
        """The library's model without torch, if an earlier search has written its text tower down."""
        path = find_cached(self._library_dir, _text_name(settings))
        if path is None:
            return None
        try:
            text = OnnxText(path)
        except MissingExtraError:
            return None
        except Exception:  # of another version; ONNX Runtime has no common error class
            with contextlib.suppress(OSError):
                forget_cached(path)
            return None
        return TextEmbedder(settings, text=text, load=lambda: self._checked(self._load(settings), settings))

    def _checked(self, embedder: "Embedder", settings: LibrarySettings) -> "Embedder":
        if embedder.fingerprint != settings.fingerprint:
            raise mismatch(self._library_dir, settings, model=embedder.name, fingerprint=embedder.fingerprint)
        return embedder


def _text_name(settings: LibrarySettings) -> str:
    return f"text-{settings.fingerprint}.onnx"
