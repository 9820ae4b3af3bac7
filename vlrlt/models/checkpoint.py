"""A checkpoint is a folder: model.safetensors, config.json and what the text tower needs.

tokenizer.model and captions.txt for a SentencePiece tower: its vocabulary, and what it was trained on; the folder text/
with a Hugging Face tower's own config and tokenizer.

Nothing is ever unpickled. Loading is strict: a mismatch names every key.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_type_hints

import safetensors.torch
import torch
import xxhash

from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.models.config import NoTextConfig, OpenClipTextConfig, SentencePieceTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.huggingface import HuggingFaceText, HuggingFaceTextConfig
from vlrlt.models.text import NoText, OpenClipText, SentencePieceText, TextTower
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.weights import check_shapes, load_weights, read_weights
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.types import Precision
from vlrlt.video.sampling import sampling_class
from vlrlt.video.transforms import Preprocess

FORMAT_VERSION = 1
WEIGHTS_FILE, CONFIG_FILE, TOKENIZER_FILE = "model.safetensors", "config.json", "tokenizer.model"
CAPTIONS_FILE, TEXT_DIR = "captions.txt", "text"
"""captions.txt: one caption a line."""
_KINDS: dict[type[TextTower], str] = {
    SentencePieceText: "sentencepiece",
    OpenClipText: "open_clip",
    HuggingFaceText: "huggingface",
    NoText: "none",
}
_NUMBERS: dict[object, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,), NoneType: (NoneType,)}
_Config = TypeVar("_Config")


def save_checkpoint(
    model: DualEncoder, folder: Path, *, dtype: torch.dtype = torch.float32, captions: Iterable[str] = ()
) -> None:
    """Write a model; the files of an older checkpoint in that folder are replaced.

    Args:
        model: what to save.
        folder: made if it is absent.
        dtype: of the stored weights; float16 halves the file.
        captions: that the model was trained on. One with a vocabulary of its own knows no other words; search says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in model.state_dict().items()}
    # not save_file: only their owner could read its files
    (folder / WEIGHTS_FILE).write_bytes(safetensors.torch.save(weights))
    if isinstance(model.text, SentencePieceText):
        (folder / TOKENIZER_FILE).write_bytes(model.text.vocabulary)
        lines = sorted({" ".join(caption.split()) for caption in captions} - {""})
        (folder / CAPTIONS_FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    elif isinstance(model.text, HuggingFaceText):
        model.text.save_files(folder / TEXT_DIR)
    (folder / CONFIG_FILE).write_text(json.dumps(_config_json(model), indent=2) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path) -> DualEncoder:
    """Read a model folder, in float32, in eval mode.

    Raises:
        CheckpointError: a file is absent or damaged, the format is newer than this program, or weights and
            architecture do not match; every missing, unexpected or misshapen key is named.
    """
    config = _read_json(folder / CONFIG_FILE)
    if config.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder}: format version {config.get('format_version')!r}, this program reads {FORMAT_VERSION}; "
            f"update vlrlt or export the model again"
        )
    try:
        inference = InferenceConfig(
            preprocess=_preprocess_from_json(config["preprocess"]),
            sampling=_typed(sampling_class(config["sampling"]), config["sampling"]),
            policy=_typed(TokenPolicy, config["token_policy"]),
        )
        weights = read_weights(folder / WEIGHTS_FILE)
        with torch.device("meta"):  # an architecture that the weights do not fit is not built: it may be of any size
            check_shapes(_build(config, folder, inference), weights, source=str(folder))
        model = _build(config, folder, inference)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:  # whatever a wrong value leads to
        raise CheckpointError(f"{folder / CONFIG_FILE}: {error!r:.500}") from error
    load_weights(model, weights, source=str(folder))
    return model.eval()


def _build(config: dict[str, Any], folder: Path, inference: InferenceConfig) -> DualEncoder:
    """The untrained model that a configuration describes."""
    video_config = _typed(VideoEncoderConfig, config["video"])
    video = VideoEncoder(video_config, mean=inference.preprocess.mean, std=inference.preprocess.std)
    return DualEncoder(video=video, text=_build_text(dict(config["text"]), folder), inference=inference)


def read_captions(folder: Path) -> tuple[str, ...]:
    """What a model with a vocabulary of its own was trained on; empty: its vocabulary is open, or it does not say."""
    try:
        return tuple((folder / CAPTIONS_FILE).read_text(encoding="utf-8").splitlines())
    except OSError:
        return ()


def fingerprint(model: DualEncoder, *, precision: Precision = "float32") -> str:
    """Hash of weights, architecture, preprocessing, sampling, token policy and precision: 32 hexadecimal digits."""
    config = _config_json(model) | {"precision": precision}
    digest = xxhash.xxh3_128(json.dumps(config, sort_keys=True).encode())
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _config_json(model: DualEncoder) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "video": asdict(model.video.config),
        "text": {"kind": _KINDS[type(model.text)], **asdict(model.text.config)},
        "preprocess": asdict(model.inference.preprocess),
        "sampling": asdict(model.inference.sampling),
        "token_policy": asdict(model.inference.policy),
    }


def _preprocess_from_json(values: dict[str, Any]) -> Preprocess:
    return _typed(Preprocess, {**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def _typed(kind: type[_Config], values: dict[str, Any]) -> _Config:
    """A configuration from JSON. Its numbers are what they should be: in Python true is a size of 1, false one of 0."""
    hints = get_type_hints(kind)
    for name, value in dict(values).items():
        hint = hints.get(name)
        parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        wanted = [number for part in parts for number in _NUMBERS.get(part, ())]
        if wanted and type(value) not in wanted:
            names = " or ".join(number.__name__ for number in wanted)
            raise ConfigError(f"{name} must be {names}, got {value!r:.100}")
    return kind(**values)


def _build_text(config: dict[str, Any], folder: Path) -> TextTower:
    kind = config.pop("kind")
    if kind == "sentencepiece":
        try:
            vocabulary = (folder / TOKENIZER_FILE).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot read {TOKENIZER_FILE}: {error.strerror}") from error
        return SentencePieceText(_typed(SentencePieceTextConfig, config), vocabulary=vocabulary)
    if kind == "open_clip":
        from vlrlt.models.open_clip import build_open_clip_text  # open_clip takes seconds to import

        return build_open_clip_text(_typed(OpenClipTextConfig, config))
    if kind == "huggingface":
        return HuggingFaceText.from_files(folder / TEXT_DIR, _typed(HuggingFaceTextConfig, config))
    if kind == "none":
        return NoText(_typed(NoTextConfig, config))
    raise ConfigError(f"text tower must be one of {', '.join(_KINDS.values())}, got {kind!r}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; a model folder holds {CONFIG_FILE}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(config).__name__}")
    return config
