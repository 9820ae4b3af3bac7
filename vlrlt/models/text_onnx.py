"""A text tower in one ONNX file that needs no torch: the graph, its vocabulary and the captions of its model.

Shape legend: B texts, L token ids, D embedding.
"""

import base64
import json
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlrlt.extras import require
from vlrlt.models.vocabulary import load_vocabulary, token_ids
from vlrlt.types import Float32Array

if TYPE_CHECKING:
    from vlrlt.models.dual_encoder import DualEncoder

OPSET = 17
_ABOUT = "vlrlt"
"""Key of our metadata in the file."""


def export_text(model: "DualEncoder", path: Path, *, captions: Sequence[str] = ()) -> bool:
    """Write the text side of a model.

    Args:
        model: its text tower must read a SentencePiece vocabulary; other tokenizers come with torch.
        path: the file; it appears at once and whole.
        captions: that the model was trained on, where those are all that it understands.

    Returns:
        False: the tower is of another kind, nothing is written.

    Raises:
        MissingExtraError: onnx is not installed.
        OSError: the file cannot be written.
    """
    import torch

    from vlrlt.models.text import SentencePieceText

    if not isinstance(model.text, SentencePieceText):
        return False
    onnx = require("onnx", extra="onnx")
    partial = path.with_name(f"{uuid.uuid4()}.onnx")
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(value=False)  # one fused operator that ONNX does not have
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter without onnxscript is the old one
            torch.onnx.export(
                model.text,
                (model.text.tokenize(["a", "b"]),),
                str(partial),
                input_names=["ids_BL"],
                output_names=["features_BD"],
                dynamic_axes={"ids_BL": {0: "B"}, "features_BD": {0: "B"}},
                opset_version=OPSET,
                dynamo=False,
            )
        graph = onnx.load(str(partial))
        about = {
            "vocabulary": base64.b64encode(model.text.vocabulary).decode(),
            "context_length": model.text.config.context_length,
            "captions": list(captions),
        }
        onnx.helper.set_model_props(graph, {_ABOUT: json.dumps(about)})
        onnx.save(graph, str(partial))
        partial.rename(path)
    finally:
        torch.backends.mha.set_fastpath_enabled(value=fast_path)
        partial.unlink(missing_ok=True)
    return True


class OnnxText:
    """The text side of a model, read from a file of export_text.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        CheckpointError: its vocabulary is damaged.
        Exception: what onnxruntime raises for a file that it cannot read.
    """

    def __init__(self, path: Path) -> None:
        runtime = require("onnxruntime", extra="onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1  # one short text: threads take longer to start
        self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        about = json.loads(self._session.get_modelmeta().custom_metadata_map[_ABOUT])
        self._processor = load_vocabulary(base64.b64decode(about["vocabulary"]))
        self._context_length = int(about["context_length"])
        self.captions = tuple(about["captions"])

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Unit vectors (B, D) of texts, at least one; equal to those of torch to 1e-5."""
        ids_BL = token_ids(self._processor, texts, context_length=self._context_length)
        features_BD: Float32Array = self._session.run(None, {"ids_BL": ids_BL})[0]
        vectors_BD: Float32Array = features_BD / np.linalg.norm(features_BD, axis=1, keepdims=True)
        return vectors_BD
