"""A model behind an HTTP server as an embedder: http://HOST/v1?model=NAME. Frames are sent as images.

Two protocols, both POST URL/embeddings:

vllm       The embeddings API of vLLM for multimodal models: one chat message a request, with an image or a text.
infinity   That of Infinity, which is OpenAI's with a `modality`: many images or texts a request.

Every look is an image and gets a vector of its own; a clip is their mean. Replies are bounded and checked, requests are
tried again where that may help; what is not answered then ends the run, which goes on where it was when run again.

Shape legend: N images or texts, B clips, T frames, H = W image size, C = 3, D embedding, R what the server gives.
"""

import io
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from vlrlt.embedder import EmbedderSettings, fingerprint_of
from vlrlt.errors import ConfigError, EndpointError
from vlrlt.extras import require
from vlrlt.formats import data_url
from vlrlt.types import ClipEmbeddings, Float32Array, Precision, UInt8Array
from vlrlt.video.sampling import MotionSampling, Sampling
from vlrlt.video.transforms import Preprocess

KEY_VARIABLE = "VLRLT_EMBED_KEY"
AT_ONCE = 8
"""Requests that wait for an answer together."""
BATCH = 16
"""Images or texts of a request to Infinity."""
MAX_REPLY_BYTES = 64_000_000
_TIMEOUT_S = 60.0
_WAITS_S = (1.0, 4.0, 15.0)
"""Before the second, third and fourth try."""
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
_TOKENS_PER_FRAME = 256
"""For batches, which are counted in tokens; the server does not say."""
_JPEG_QUALITY = 95
_MAX_DIM = 65_535
_OPTIONS = ("model", "api", "dim", "size_px", "resize", "query_prompt", "document_prompt", "revision")


def is_url(model: str) -> bool:
    """Whether a name is that of a server."""
    return re.match(r"https?://", model, re.IGNORECASE) is not None


class RemoteEmbedder:
    """Embeds through a server.

    Args:
        settings: its name is the URL; options are those of _OPTIONS, see docs/how-to/other-models.md.

    Raises:
        ConfigError: the URL or an option is malformed.
        EndpointError: the server does not answer as it should.
        MissingExtraError: httpx is not installed.
    """

    policy = None
    precision: Precision = "float32"
    captions: tuple[str, ...] = ()

    def __init__(self, settings: EmbedderSettings) -> None:
        settings.check_options(*_OPTIONS)
        options = dict(settings.options)
        self.name = settings.name
        self._url = _checked_url(settings.name)
        self._model = options.get("model", "")
        self._api = options.get("api", "vllm")
        if not self._model or self._api not in ("vllm", "infinity"):
            raise ConfigError(
                f"{settings.name}: give the server's model and its API: {self._url}?model=NAME&api=vllm, or infinity"
            )
        self._prompts = (options.get("query_prompt", ""), options.get("document_prompt", ""))
        if self._prompts[1] and self._api == "infinity":
            raise ConfigError(f"{settings.name}: Infinity takes images without a text; leave document_prompt out")
        self.sampling: Sampling = settings.sampling or MotionSampling()
        resize = options.get("resize", "shortest")
        if resize not in ("shortest", "squash"):
            raise ConfigError(f"{settings.name}: resize must be shortest or squash, got {resize!r}")
        half = (0.5, 0.5, 0.5)  # the server normalises
        size_px = _number(options, "size_px", default=384)
        self.preprocess = Preprocess(
            image_size_px=size_px, mean=half, std=half, resize_mode="squash" if resize == "squash" else "shortest"
        )
        self._post = _Client(self._url)
        self._raw_dim: int | None = None
        self._raw_dim = self._embed(["a"], self._text_input).shape[1]
        self.embed_dim = _number(options, "dim", default=self._raw_dim)
        if self.embed_dim > self._raw_dim:
            raise ConfigError(f"{settings.name}: dim is {self.embed_dim}, the server's vectors have {self._raw_dim}")
        asked = (self._api, self._model, options.get("revision", ""), *self._prompts, self._raw_dim, self.embed_dim)
        self.fingerprint = fingerprint_of("remote 1", *asked, self.preprocess, self.sampling)

    def embed_clips(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
        """As Embedder.embed_clips; raises EndpointError."""
        num_clips, num_frames = rgb_BTHWC.shape[:2]
        images = [_jpeg_url(rgb_HWC) for rgb_THWC in rgb_BTHWC for rgb_HWC in rgb_THWC]
        outputs_BTD = self._unit(self._embed(images, self._image_input)).reshape(num_clips, num_frames, -1)
        return ClipEmbeddings(
            vectors_BD=_normalised(outputs_BTD.mean(1)),
            outputs_BSD=outputs_BTD,
            num_tokens_B=np.full(num_clips, num_frames * _TOKENS_PER_FRAME),
            num_dense_tokens=num_frames * _TOKENS_PER_FRAME,
        )

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """As Embedder.embed_texts; raises EndpointError."""
        return self._unit(self._embed([self._prompts[0] + text for text in texts], self._text_input))

    def _text_input(self, texts: Sequence[str]) -> dict[str, Any]:
        if self._api == "infinity":
            return {"input": list(texts), "modality": "text"}
        return {"messages": [{"role": "user", "content": [{"type": "text", "text": texts[0]}]}]}

    def _image_input(self, images: Sequence[str]) -> dict[str, Any]:
        if self._api == "infinity":
            return {"input": list(images), "modality": "image"}
        content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": images[0]}}]
        if self._prompts[1]:
            content.append({"type": "text", "text": self._prompts[1]})
        return {"messages": [{"role": "user", "content": content}]}

    def _embed(self, items: Sequence[str], as_input: Callable[[Sequence[str]], dict[str, Any]]) -> Float32Array:
        """(N, R): what the server gives, in the order of the items."""
        size = BATCH if self._api == "infinity" else 1
        groups = [items[start : start + size] for start in range(0, len(items), size)]

        def embed(group: Sequence[str]) -> Float32Array:
            body = {"model": self._model, "encoding_format": "float", **as_input(group)}
            return _vectors(self._post(body), num=len(group), dim=self._raw_dim, url=self._url)

        with ThreadPoolExecutor(min(AT_ONCE, len(groups))) as pool:
            return np.concatenate(list(pool.map(embed, groups)))

    def _unit(self, raw_NR: Float32Array) -> Float32Array:
        return _normalised(raw_NR[:, : self.embed_dim])


class _Client:
    """Posts to a server, again where that may help."""

    def __init__(self, url: str) -> None:
        httpx = require("httpx", extra="ask")
        self._url = url
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._errors = (httpx.HTTPError, httpx.InvalidURL)
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(_TIMEOUT_S, connect=10.0))

    def __call__(self, body: dict[str, Any]) -> Any:  # noqa: ANN401  JSON
        """The reply.

        Raises:
            EndpointError: there is none after all tries, it is refused, too long or no JSON.
        """
        for wait_s in (*_WAITS_S, None):
            try:
                return self._once(body)
            except EndpointError as error:
                if wait_s is None or (error.status is not None and error.status not in _MAY_PASS):
                    raise
                time.sleep(wait_s)
        raise EndpointError(f"{self._url} was not asked")

    def _once(self, body: dict[str, Any]) -> Any:  # noqa: ANN401
        ends_s = time.monotonic() + 2 * _TIMEOUT_S
        read = bytearray()
        try:
            with self._client.stream("POST", f"{self._url}/embeddings", json=body) as response:
                status: int = response.status_code
                for part in response.iter_bytes():
                    read += part
                    if len(read) > MAX_REPLY_BYTES or time.monotonic() > ends_s:
                        raise EndpointError(f"{self._url} does not end its reply", status=413)
        except self._errors as error:
            reason = str(error) or type(error).__name__
            raise EndpointError(f"{self._url} cannot be used: {reason}; is the server running?") from error
        if status != 200:
            said = " ".join(read[:300].decode(errors="replace").split())
            raise EndpointError(f"{self._url} answered {status}: {said}", status=status)
        try:
            return json.loads(read)
        except (ValueError, RecursionError) as error:
            raise EndpointError(f"{self._url} does not reply in JSON: {bytes(read[:80])!r}", status=200) from error


def _vectors(reply: Any, *, num: int, dim: int | None, url: str) -> Float32Array:  # noqa: ANN401  JSON
    """(num, R): the vectors of a reply, checked.

    Raises:
        EndpointError: there are too few or too many, or one is not a list of finite numbers, R of them.
    """
    try:
        given = {int(one["index"]): one["embedding"] for one in reply["data"]}
        if sorted(given) != list(range(num)):
            raise EndpointError(f"{url} gave {len(given)} vectors for {num} inputs", status=200)
        vectors = np.array([given[index] for index in range(num)], np.float32)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EndpointError(f"{url} does not speak the embeddings protocol: {error!r:.100}", status=200) from error
    if vectors.ndim != 2 or not 0 < vectors.shape[1] <= _MAX_DIM or vectors.shape[1] != (dim or vectors.shape[1]):
        raise EndpointError(f"{url} gave vectors of shape {vectors.shape}, expected ({num}, {dim or 'D'})", status=200)
    if not np.isfinite(vectors).all() or not (np.abs(vectors).max(1) > 0).all():
        raise EndpointError(f"{url} gave vectors that are zero or not finite", status=200)
    return vectors


def _checked_url(name: str) -> str:
    """The URL before its options; what it holds is written into the library, so it must hold no password."""
    try:
        parts = urlsplit(name.partition("?")[0])
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"{name!r} is no URL: {error}") from error
    if not parts.hostname or parts.username or parts.password or parts.fragment:
        raise ConfigError(
            "a model's URL is http://HOST:PORT/v1?model=NAME, without user and password; a key belongs in the variable "
            f"{KEY_VARIABLE}"
        )
    return parts.geturl().rstrip("/")


def _number(options: dict[str, str], name: str, *, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_DIM:
        raise ConfigError(f"{name} must be a number from 1 to {_MAX_DIM}, got {text!r}")
    return int(text)


def _jpeg_url(rgb_HWC: UInt8Array) -> str:
    out = io.BytesIO()
    Image.fromarray(rgb_HWC).save(out, "JPEG", quality=_JPEG_QUALITY)
    return data_url(out.getvalue())


def _normalised(values: Float32Array) -> Float32Array:
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, 1e-12), np.float32)
