"""SentencePiece vocabularies: fitted, read, and texts as ids. No torch here: it takes seconds to import.

Shape legend: B texts, L token ids of a text.
"""

import io
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece

from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.types import Int64Array

PAD_ID, UNKNOWN_ID = 0, 1


def fit_vocabulary(captions: Iterable[str], *, vocab_size: int) -> bytes:
    """Fit a SentencePiece unigram vocabulary on captions, lower-cased.

    Args:
        captions: the training texts.
        vocab_size: at most this many pieces; fewer when the captions do not yield as many.

    Returns:
        The serialised SentencePiece model (a protocol buffer), the same bytes for the same captions.

    Raises:
        ConfigError: there is no caption, or too few characters for any vocabulary.
    """
    lines = sorted({caption.strip().lower() for caption in captions if caption.strip()})
    if not lines:
        raise ConfigError("a vocabulary needs captions, got none")
    out = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=out,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="nmt_nfkc_cf",
            pad_id=PAD_ID,
            unk_id=UNKNOWN_ID,
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigError(
            f"cannot fit a vocabulary of {vocab_size} pieces on {len(lines)} captions: {error}"
        ) from error
    return out.getvalue()


def load_vocabulary(vocabulary: bytes) -> sentencepiece.SentencePieceProcessor:
    """Read what fit_vocabulary has made.

    Raises:
        CheckpointError: it is damaged.
    """
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(vocabulary)
    except RuntimeError as error:
        raise CheckpointError(f"the SentencePiece vocabulary is damaged: {error}") from error
    return processor


def token_ids(
    processor: sentencepiece.SentencePieceProcessor, texts: Sequence[str], *, context_length: int
) -> Int64Array:
    """Ids (B, context_length), padded and cut; an empty text is one unknown token."""
    ids_BL = np.full((len(texts), context_length), PAD_ID, np.int64)
    for row, text in enumerate(texts):
        ids = processor.encode(text)[:context_length] or [UNKNOWN_ID]
        ids_BL[row, : len(ids)] = ids
    return ids_BL
