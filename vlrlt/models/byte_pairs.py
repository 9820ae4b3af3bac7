"""CLIP's byte-pair vocabulary, read without torch: the ids of open_clip's SimpleTokenizer, by the tokenizers library.

Shape legend: B texts, L token ids of a text.
"""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vlrlt.extras import require
from vlrlt.types import Int64Array

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

START, END = "<start_of_text>", "<end_of_text>"


def byte_pair_vocabulary(tokenizer: "SimpleTokenizer") -> str:
    """The vocabulary and merges of a tokenizer of open_clip as JSON of the tokenizers library.

    Raises:
        MissingExtraError: tokenizers is not installed.
    """
    tokenizers = require("tokenizers", extra="onnx")
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    model = tokenizers.models.BPE(vocab=tokenizer.encoder, merges=merges, end_of_word_suffix="</w>")
    pairs = tokenizers.Tokenizer(model)
    pairs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pairs.add_special_tokens([START, END])
    return str(pairs.to_str())


class BytePairTokenizer:
    """Texts to ids.

    Args:
        vocabulary: of byte_pair_vocabulary.
        word_pattern: what a word is: a regular expression of the package regex, open_clip's own.
        context_length: L.

    Raises:
        MissingExtraError: tokenizers or what cleans texts as open_clip does is not installed.
    """

    def __init__(self, vocabulary: str, *, word_pattern: str, context_length: int) -> None:
        self._pairs = require("tokenizers", extra="onnx").Tokenizer.from_str(vocabulary)
        self._fix_text = require("ftfy", extra="onnx").fix_text
        regex = require("regex", extra="onnx")
        self._words = regex.compile(word_pattern, regex.IGNORECASE).findall
        self._start_id, self._end_id = map(self._pairs.token_to_id, (START, END))
        self._context_length = context_length

    def __call__(self, texts: Sequence[str]) -> Int64Array:
        """Ids (B, L), padded with 0; what is too long is cut and ends with END."""
        ids_BL = np.zeros((len(texts), self._context_length), np.int64)
        for row, text in enumerate(texts):
            clean = " ".join(html.unescape(html.unescape(self._fix_text(text))).split()).lower()
            pairs = self._pairs.encode(self._words(clean), is_pretokenized=True, add_special_tokens=False)
            ids = [self._start_id, *pairs.ids[: self._context_length - 2], self._end_id]
            ids_BL[row, : len(ids)] = ids
        return ids_BL
