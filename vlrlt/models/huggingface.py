"""Hugging Face text encoders (BERT, MiniLM, MPNet, ...) as text towers: the only file that imports transformers.

Shape legend: B texts, L token ids of a text, D width, E embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.extras import require

_PADDING = -1
_NO_CODE = {"trust_remote_code": False}
"""A folder whose config names code of its own (auto_map) is refused; otherwise transformers asks at the terminal."""


@dataclass(frozen=True, kw_only=True)
class HuggingFaceTextConfig:
    """What is done with the encoder's outputs."""

    embed_dim: int
    context_length: int = 64
    pooling: Literal["mean", "cls"] = "mean"
    """mean: over the real tokens; cls: the first token."""
    projection: bool = True
    """A linear layer from the encoder's width to embed_dim; without it both must be equal."""

    def __post_init__(self) -> None:
        if self.pooling not in get_args(Literal["mean", "cls"]) or self.embed_dim < 1 or self.context_length < 1:
            raise ConfigError(f"text tower: pooling must be mean or cls, sizes 1 or more; got {self}")


class HuggingFaceText(nn.Module):
    """A transformers encoder with its own tokenizer.

    Args:
        config: pooling and size of the embedding.
        encoder: a transformers model whose output has last_hidden_state.
        tokenizer: its fast tokenizer.
    """

    def __init__(self, config: HuggingFaceTextConfig, *, encoder: Any, tokenizer: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.config = config
        self.encoder = encoder
        self._tokenizer = tokenizer
        pooler = getattr(encoder, "pooler", None)
        if pooler is not None:  # unused here; several processes wait for the gradient of all that learns
            pooler.requires_grad_(requires_grad=False)
        width = int(encoder.config.hidden_size)
        if not config.projection and width != config.embed_dim:
            raise ConfigError(
                f"without a projection embed_dim must be the encoder's width {width}, got {config.embed_dim}"
            )
        self.projection = nn.Linear(width, config.embed_dim, bias=False) if config.projection else nn.Identity()

    @classmethod
    def from_pretrained(cls, source: str, config: HuggingFaceTextConfig) -> "HuggingFaceText":
        """Weights and tokenizer of a folder or of the Hugging Face hub (HF_HOME and HF_HUB_OFFLINE are honoured).

        Raises:
            CheckpointError: they cannot be loaded; only safetensors are.
            MissingExtraError: transformers is not installed.
        """
        transformers = require("transformers", extra="hf")
        try:
            encoder = transformers.AutoModel.from_pretrained(source, use_safetensors=True, **_NO_CODE)
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **_NO_CODE)
        except Exception as error:  # transformers and the hub raise many types
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"cannot load a Hugging Face text encoder from {source!r}: {reason}") from error
        return cls(config, encoder=encoder, tokenizer=tokenizer)

    @classmethod
    def from_files(cls, folder: Path, config: HuggingFaceTextConfig) -> "HuggingFaceText":
        """An untrained tower from what save_files wrote, to be filled from a checkpoint.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        transformers = require("transformers", extra="hf")
        try:
            architecture = transformers.AutoConfig.from_pretrained(folder, **_NO_CODE)
            encoder = transformers.AutoModel.from_config(architecture, **_NO_CODE)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **_NO_CODE)
        except Exception as error:  # as above
            raise CheckpointError(f"{folder}: {' '.join(str(error).split())[:300]}") from error
        return cls(config, encoder=encoder, tokenizer=tokenizer)

    def save_files(self, folder: Path) -> None:
        """Write the encoder's architecture and the tokenizer, without weights."""
        self.encoder.config.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Ids (B, L), cut at context_length; -1 is padding."""
        encoded = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.config.context_length, return_tensors="pt"
        )
        ids_BL: Tensor = encoded["input_ids"].masked_fill(encoded["attention_mask"] == 0, _PADDING)
        return ids_BL

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Embeddings (B, E), not normalised."""
        valid_BL = ids_BL != _PADDING
        hidden_BLD = self.encoder(
            input_ids=ids_BL.clamp(min=0), attention_mask=valid_BL.to(torch.int64)
        ).last_hidden_state
        if self.config.pooling == "cls":
            pooled_BD = hidden_BLD[:, 0]
        else:
            valid_BL1 = valid_BL.unsqueeze(-1).to(hidden_BLD.dtype)
            pooled_BD = (hidden_BLD * valid_BL1).sum(1) / valid_BL1.sum(1).clamp(min=1)
        features_BE: Tensor = self.projection(pooled_BD)
        return features_BE
