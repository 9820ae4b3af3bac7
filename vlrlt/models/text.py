"""Text towers: open_clip's, Hugging Face encoders, or a small transformer over a SentencePiece vocabulary.

Shape legend: B texts, L token ids of a text, D width, E embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.models.config import NoTextConfig, OpenClipTextConfig, SentencePieceTextConfig
from vlrlt.models.huggingface import HuggingFaceText
from vlrlt.models.vocabulary import PAD_ID, load_vocabulary, token_ids

if TYPE_CHECKING:
    import open_clip
    from open_clip.tokenizer import SimpleTokenizer


class SentencePieceText(nn.Module):
    """Bidirectional transformer over SentencePiece ids, mean-pooled over the real tokens."""

    def __init__(self, config: SentencePieceTextConfig, *, vocabulary: bytes) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self._processor = load_vocabulary(vocabulary)
        if self._processor.vocab_size() != config.vocab_size:
            raise CheckpointError(
                f"the tokenizer has {self._processor.vocab_size()} pieces, the model {config.vocab_size}; "
                f"they come from different checkpoints"
            )
        self.token_embedding = nn.Embedding(config.vocab_size, config.width, padding_idx=PAD_ID)
        self.position_embedding = nn.Parameter(torch.zeros(config.context_length, config.width))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.02)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.num_heads,
            4 * config.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(layer, config.depth, enable_nested_tensor=False)
        self.norm_post = nn.LayerNorm(config.width)
        self.projection = nn.Linear(config.width, config.embed_dim, bias=False)

    @classmethod
    def with_vocabulary(cls, config: SentencePieceTextConfig, vocabulary: bytes) -> Self:
        """An untrained tower for a fitted vocabulary, which may hold fewer pieces than config.vocab_size asked for."""
        return cls(replace(config, vocab_size=load_vocabulary(vocabulary).vocab_size()), vocabulary=vocabulary)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Ids (B, context_length), cut at context_length; an empty text is one unknown token."""
        return torch.from_numpy(token_ids(self._processor, texts, context_length=self.config.context_length))

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Embeddings (B, E), not normalised."""
        valid_BL = ids_BL != PAD_ID
        x_BLD = self.token_embedding(ids_BL) + self.position_embedding[: ids_BL.shape[1]]
        x_BLD = self.norm_post(self.blocks(x_BLD, src_key_padding_mask=~valid_BL))
        valid_BL1 = valid_BL.unsqueeze(-1).to(x_BLD.dtype)
        features_BE: Tensor = self.projection((x_BLD * valid_BL1).sum(1) / valid_BL1.sum(1))
        return features_BE


class OpenClipText(nn.Module):
    """The text side of an open_clip model, with its own tokenizer."""

    def __init__(
        self,
        config: OpenClipTextConfig,
        *,
        model: "open_clip.CLIP | open_clip.CustomTextCLIP",
        load_tokenizer: Callable[[], Callable[[list[str]], Tensor]],
    ) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self._load_tokenizer = load_tokenizer
        for name in (
            "logit_scale",
            "logit_bias",
        ):  # unused here; several processes wait for the gradient of all that learns
            parameter = getattr(model, name, None)
            if parameter is not None:
                parameter.requires_grad_(requires_grad=False)

    @cached_property
    def _tokenizer(self) -> Callable[[list[str]], Tensor]:
        """Loaded for the first text: some come from a hub, and indexing needs none."""
        return self._load_tokenizer()

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Ids as the architecture's tokenizer makes them.

        Raises:
            CheckpointError: the tokenizer is on a hub that cannot be reached.
            MissingExtraError: the tokenizer needs the extra 'hf'.
        """
        return self._tokenizer(list(texts))

    def byte_pairs(self) -> "SimpleTokenizer | None":
        """Its tokenizer if that is CLIP's, in lower case and cut at the end; raises as `tokenize`."""
        from open_clip import tokenizer as of_open_clip

        found = self._tokenizer
        if not isinstance(found, of_open_clip.SimpleTokenizer):
            return None
        plain = found.reduction_fn is None and found.clean_fn is of_open_clip.get_clean_fn("lower")
        return found if plain else None

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Embeddings (B, E), not normalised; equal to open_clip's encode_text."""
        features_BE: Tensor = self.model.encode_text(ids_BL)
        return features_BE


class NoText(nn.Module):
    """In place of a text tower where there is only an image tower: clips and images can be compared, texts cannot."""

    def __init__(self, config: NoTextConfig) -> None:
        super().__init__()
        self.config = config

    def tokenize(self, _texts: Sequence[str]) -> Tensor:
        """Refuse.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "this model has only an image tower and cannot embed text; search with --clip or --image, "
            "or index with a model that has a text tower, such as ViT-B-16/datacomp_xl_s13b_b90k"
        )

    def forward(self, _ids_BL: Tensor) -> Tensor:
        """Refuse, as `tokenize` does."""
        return self.tokenize(())


TextTower = SentencePieceText | OpenClipText | HuggingFaceText | NoText
"""Everything that turns texts into embeddings: tokenize(texts) -> ids, tower(ids) -> (B, E)."""
