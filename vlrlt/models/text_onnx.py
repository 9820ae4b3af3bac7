"""A text tower in one ONNX file that needs no torch: the graph, its vocabulary and the captions of its model.

Shape legend: B texts, L token ids, D embedding.
"""

import base64
import json
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlrlt.atomic import replacing
from vlrlt.errors import ConfigError
from vlrlt.extras import require
from vlrlt.models.byte_pairs import BytePairTokenizer, byte_pair_vocabulary
from vlrlt.models.vocabulary import load_vocabulary, token_ids
from vlrlt.types import Float32Array, Int64Array

if TYPE_CHECKING:
    from vlrlt.models.dual_encoder import DualEncoder
    from vlrlt.models.text import TextTower

OPSET = 17
_ABOUT = "vlrlt"
"""Key of our metadata in the file."""
_MAX_PARAMETERS = 200_000_000
"""A larger one takes gigabytes of memory to write, and as long to open as torch to import."""


def export_text(model: "DualEncoder", path: Path, *, captions: Sequence[str] = ()) -> None:
    """Write the text side of a model.

    Args:
        model: its text tower must read a SentencePiece vocabulary, or CLIP's byte pairs as most of open_clip do.
        path: the file; it appears at once and whole.
        captions: that the model was trained on, where those are all that it understands.

    Raises:
        ConfigError: the tower is of another kind, or too large for one file.
        MissingExtraError: onnx or tokenizers is not installed.
        OSError: the file cannot be written.
    """
    import torch

    about = {**_vocabulary_of(model.text), "captions": list(captions)}
    onnx = require("onnx", extra="onnx")
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(value=False)  # one fused operator that ONNX does not have
        with replacing(path) as unfinished, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter without onnxscript is the old one
            torch.onnx.export(
                model.text,
                (model.text.tokenize(["a", "b"]),),
                str(unfinished),
                input_names=["ids_BL"],
                output_names=["features_BD"],
                dynamic_axes={"ids_BL": {0: "B"}, "features_BD": {0: "B"}},
                opset_version=OPSET,
                dynamo=False,
            )
            addition = onnx.ModelProto()
            onnx.helper.set_model_props(addition, {_ABOUT: json.dumps(about)})
            with unfinished.open("ab") as file:  # protocol buffers one after the other are read as one
                file.write(addition.SerializeToString())
    finally:
        torch.backends.mha.set_fastpath_enabled(value=fast_path)


def _vocabulary_of(text: "TextTower") -> dict[str, Any]:
    """What turns texts into ids, as `_tokenizer_from` reads it."""
    from vlrlt.models.text import OpenClipText, SentencePieceText

    if isinstance(text, SentencePieceText):
        vocabulary = base64.b64encode(text.vocabulary).decode()
        return {"sentencepiece": vocabulary, "context_length": text.config.context_length}
    byte_pairs = text.byte_pairs() if isinstance(text, OpenClipText) else None
    if byte_pairs is None:
        raise ConfigError(
            "only text towers with a SentencePiece vocabulary or with CLIP's byte pairs run without torch; this one "
            "needs torch"
        )
    if sum(parameter.numel() for parameter in text.parameters()) > _MAX_PARAMETERS:
        raise ConfigError(f"a text tower of more than {_MAX_PARAMETERS:,} parameters needs torch")
    return {
        "byte_pairs": byte_pair_vocabulary(byte_pairs),
        "word_pattern": byte_pairs.pat.pattern,
        "context_length": byte_pairs.context_length,
    }


def _tokenizer_from(about: dict[str, Any]) -> Callable[[Sequence[str]], Int64Array]:
    context_length = int(about["context_length"])
    if "byte_pairs" in about:
        return BytePairTokenizer(about["byte_pairs"], word_pattern=about["word_pattern"], context_length=context_length)
    processor = load_vocabulary(base64.b64decode(about["sentencepiece"]))
    return partial(token_ids, processor, context_length=context_length)


class OnnxText:
    """The text side of a model, read from a file of export_text.

    Raises:
        MissingExtraError: onnxruntime or tokenizers is not installed.
        CheckpointError: its vocabulary is damaged.
        Exception: what onnxruntime raises for a file that it cannot read.
    """

    def __init__(self, path: Path) -> None:
        runtime = require("onnxruntime", extra="onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1  # one short text: threads take longer to start
        self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        about = json.loads(self._session.get_modelmeta().custom_metadata_map[_ABOUT])
        self.token_ids = _tokenizer_from(about)
        self.captions = tuple(about["captions"])

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Unit vectors (B, D) of texts, at least one; equal to those of torch to 1e-5."""
        features_BD: Float32Array = self._session.run(None, {"ids_BL": self.token_ids(texts)})[0]
        vectors_BD: Float32Array = features_BD / np.linalg.norm(features_BD, axis=1, keepdims=True)
        return vectors_BD
