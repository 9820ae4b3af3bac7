"""Models from outside: PACKAGE.MODULE:FACTORY, the name of an entry point of `vlrlt.embedders`, or the URL of a server.

To load one is to run its code, or to send pictures to its server. So a name does it that an operator has typed, and
never one that a library, a file or a request holds (`check_trusted`). What such a model gives is checked first.

Shape legend: B clips or texts, S outputs of a clip, D embedding.
"""

import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import parse_qsl

import numpy as np

from vlrlt.embedder import Embedder, EmbedderSettings, EmbedsVideos
from vlrlt.errors import CheckpointError, ConfigError, VlrltError
from vlrlt.formats import printable_line
from vlrlt.remote import RemoteEmbedder, is_url
from vlrlt.types import ClipEmbeddings, Float32Array, Precision, UInt8Array
from vlrlt.video.sampling import ClipSampling, MotionSampling
from vlrlt.video.transforms import Preprocess

if TYPE_CHECKING:
    from vlrlt.tokens.run_length import TokenPolicy

GROUP = "vlrlt.embedders"
TRUSTED_VARIABLE = "VLRLT_TRUSTED_MODELS"
"""Names, separated by blanks, that the operator trusts wherever they come from."""
_CODE = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<factory>[^\W\d]\w*)")
_KNOWN_FORMS = "PACKAGE.MODULE:FACTORY or PACKAGE.MODULE:FACTORY?KEY=VALUE&KEY=VALUE"
_UNIT_TOLERANCE = 1e-3


def is_plug_in(model: str) -> bool:
    """Whether a name means code outside of vlrlt, or a server; nothing is imported to tell."""
    name = model.partition("?")[0]
    return is_url(model) or _CODE.fullmatch(name) is not None or _entry_point(name) is not None


def check_trusted(model: str) -> None:
    """Refuse a name that a library holds, unless the operator has listed it.

    Raises:
        ConfigError: it is not listed in VLRLT_TRUSTED_MODELS.
    """
    if model not in os.environ.get(TRUSTED_VARIABLE, "").split():
        raise ConfigError(
            f"the library was indexed with {model!r}, which is not part of vlrlt; if you trust it, name it yourself: "
            f"--model {model!r}, or list it in the variable {TRUSTED_VARIABLE}"
        )


def split_name(model: str) -> tuple[str, dict[str, str]]:
    """The part of a name before `?`, and its options.

    Raises:
        ConfigError: the options are malformed, or one is given twice.
    """
    name, _, query = model.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=64) if query else []
    except ValueError as error:
        raise ConfigError(f"the options of {model!r} are malformed: {error}; try {_KNOWN_FORMS}") from error
    if len(dict(pairs)) < len(pairs):
        raise ConfigError(f"{model!r} gives an option twice")
    return name, dict(pairs)


def load_plug_in(settings: EmbedderSettings) -> "PluggedEmbedder":
    """Import a factory and call it.

    Args:
        settings: what it is told; its name says where it is.

    Raises:
        CheckpointError: it cannot be imported, it fails, or what it makes is no embedder.
        ConfigError: it does not do what the settings ask for.
    """
    is_remote = is_url(settings.name)
    factory = RemoteEmbedder if is_remote else _import(settings.name.partition("?")[0], model=settings.name)
    try:
        made = factory(settings)
    except VlrltError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody else's code raises
        raise CheckpointError(f"{settings.name} cannot be created: {_one_line(error)}") from error
    return PluggedEmbedder(made, settings=settings)


def _import(name: str, *, model: str) -> Callable[[EmbedderSettings], Any]:
    found = _CODE.fullmatch(name)
    entry_point = None if found else _entry_point(name)
    try:
        if entry_point is not None:
            factory = entry_point.load()
        elif found is not None:
            factory = getattr(importlib.import_module(found["module"]), found["factory"])
        else:
            raise ConfigError(f"{model!r} is not the name of a model's code; try {_KNOWN_FORMS}")
    except VlrltError:
        raise
    except (Exception, SystemExit) as error:
        raise CheckpointError(
            f"{model!r} cannot be imported: {_one_line(error)}; install its package in the environment "
            "of vlrlt, or set PYTHONPATH to its folder"
        ) from error
    if not callable(factory):
        raise CheckpointError(f"{model!r} is a {type(factory).__name__}; it must be a class or a function")
    made: Callable[[EmbedderSettings], Any] = factory
    return made


def _entry_point(name: str) -> EntryPoint | None:
    """The entry point of a name; nothing is imported."""
    return next(iter(entry_points(group=GROUP, name=name)), None)


class PluggedEmbedder(EmbedsVideos):
    """Somebody else's embedder, whose facts and vectors are checked.

    Args:
        embedder: what a factory has made.
        settings: what it was made with.

    Raises:
        CheckpointError: a part of the protocol is missing or wrong.
        ConfigError: it does not do what the settings ask for.
    """

    def __init__(self, embedder: Embedder, *, settings: EmbedderSettings) -> None:
        _check_protocol(embedder, settings.name)
        self._embedder = embedder
        self.name = settings.name
        self.fingerprint, self.embed_dim = embedder.fingerprint, int(embedder.embed_dim)
        self.sampling, self.preprocess = embedder.sampling, embedder.preprocess
        self.policy: TokenPolicy | None = embedder.policy
        self.captions, self.precision = tuple(embedder.captions), embedder.precision
        self._check_obeys(settings)

    def _check_obeys(self, settings: EmbedderSettings) -> None:
        asked: tuple[tuple[str, object], ...] = (
            ("policy", settings.policy),
            ("sampling", settings.sampling),
            ("precision", None if settings.precision == "auto" else settings.precision),
        )
        for name, wanted in asked:
            got = getattr(self, name)
            if wanted is not None and wanted != got:
                raise ConfigError(f"{self.name} ignores the {name}: requested {wanted}, it has {got}")

    def embed_clips(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
        """As the protocol has it.

        Raises:
            CheckpointError: it fails, or gives no unit vectors.
        """
        made = self._call(lambda: self._embedder.embed_clips(rgb_BTHWC))
        if not isinstance(made, ClipEmbeddings):
            raise CheckpointError(f"{self.name}: embed_clips must give ClipEmbeddings, got a {type(made).__name__}")
        num_clips = len(rgb_BTHWC)
        self._check_vectors(made.vectors_BD, (num_clips, self.embed_dim), what="vectors_BD")
        num_outputs = 1
        if made.outputs_BSD is not None:
            num_outputs = made.outputs_BSD.shape[1] if np.ndim(made.outputs_BSD) == 3 else -1
            self._check_vectors(made.outputs_BSD, (num_clips, num_outputs, self.embed_dim), what="outputs_BSD")
        changed = made.changed_BS
        if changed is not None and (np.shape(changed) != (num_clips, num_outputs) or not np.isfinite(changed).all()):
            raise CheckpointError(f"{self.name}: changed_BS must be finite, of shape {(num_clips, num_outputs)}")
        if np.shape(made.num_tokens_B) != (num_clips,) or made.num_dense_tokens < 1:
            raise CheckpointError(
                f"{self.name}: num_tokens_B must have one number per clip, and num_dense_tokens must be positive"
            )
        return made

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """As the protocol has it; raises as embed_clips."""
        if not texts:
            return np.zeros((0, self.embed_dim), np.float32)
        vectors_BD: Float32Array = self._call(lambda: self._embedder.embed_texts(texts))
        self._check_vectors(vectors_BD, (len(texts), self.embed_dim), what="embed_texts")
        return vectors_BD

    def _call(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401  checked by who calls
        try:
            return work()
        except (VlrltError, MemoryError):
            raise
        except Exception as error:
            if "out of memory" in str(error).lower():  # a smaller batch may fit
                raise
            raise CheckpointError(f"{self.name} failed: {_one_line(error)}") from error

    def _check_vectors(self, vectors: object, shape: tuple[int, ...], *, what: str) -> None:
        if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.shape != shape:
            got = f"{vectors.dtype} {vectors.shape}" if isinstance(vectors, np.ndarray) else type(vectors).__name__
            raise CheckpointError(f"{self.name}: {what} must be a float32 array of shape {shape}, got {got}")
        lengths = np.linalg.norm(vectors, axis=-1)
        if not np.allclose(lengths, 1, atol=_UNIT_TOLERANCE, rtol=0):
            worst = lengths.flat[np.abs(np.nan_to_num(lengths.ravel(), nan=np.inf) - 1).argmax()]
            raise CheckpointError(f"{self.name}: {what} must hold unit vectors, one has the length {worst:.4g}")


def _check_protocol(embedder: object, name: str) -> None:
    """Name every part of the protocol that is missing or of another kind."""
    kinds: Mapping[str, tuple[Callable[[Any], bool], str]] = {
        "fingerprint": (_is_fingerprint, "8 to 64 hexadecimal digits; see vlrlt.fingerprint_of"),
        "embed_dim": (lambda value: isinstance(value, int) and 0 < value < 2**16, "a number, 1 to 65535"),
        "sampling": (lambda value: isinstance(value, ClipSampling | MotionSampling), "ClipSampling or MotionSampling"),
        "preprocess": (lambda value: isinstance(value, Preprocess), "a Preprocess"),
        "policy": (lambda value: value is None or type(value).__name__ == "TokenPolicy", "a TokenPolicy or None"),
        "captions": (lambda value: all(isinstance(text, str) for text in value), "a tuple of texts"),
        "precision": (lambda value: value in get_args(Precision), f"one of {', '.join(get_args(Precision))}"),
        "embed_clips": (callable, "a method"),
        "embed_texts": (callable, "a method"),
    }
    wrong = []
    for part, (fits, wanted) in kinds.items():
        try:
            value = getattr(embedder, part)
            if not fits(value):
                wrong.append(f"{part} must be {wanted}, got {value!r:.80}")
        except (Exception, SystemExit) as error:  # a property of somebody else's
            wrong.append(f"{part} must be {wanted}: {_one_line(error)}")
    if wrong:
        raise CheckpointError(f"{name} is not an embedder: {'; '.join(wrong)}")


def _is_fingerprint(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8,64}", value) is not None


def _one_line(error: BaseException) -> str:
    return printable_line(f"{type(error).__name__}: {' '.join(str(error).split())}")[:500]
