"""The SentencePiece vocabulary and tower: same captions, same bytes; padding and neighbours change nothing."""

import random
import re

import pytest
import torch
from towers import CAPTIONS, TINY_TEXT, tiny_dual

from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.models.text import SentencePieceText
from vlrlt.models.vocabulary import PAD_ID, UNKNOWN_ID, fit_vocabulary

VOCABULARY = fit_vocabulary(CAPTIONS, vocab_size=60)


@pytest.fixture
def tower() -> SentencePieceText:
    text = tiny_dual().text
    assert isinstance(text, SentencePieceText)
    return text


def test_the_same_captions_give_the_same_bytes_in_any_order_case_and_number() -> None:
    captions = [*CAPTIONS, *(caption.upper() for caption in CAPTIONS), "", f"  {CAPTIONS[0]}\n"]
    random.shuffle(captions)
    assert fit_vocabulary(iter(captions), vocab_size=60) == VOCABULARY
    assert fit_vocabulary([*CAPTIONS, "stir the soup"], vocab_size=60) != VOCABULARY


def test_a_vocabulary_may_hold_fewer_pieces_than_asked_for() -> None:
    tower = SentencePieceText.with_vocabulary(TINY_TEXT, VOCABULARY)
    assert 20 <= tower.config.vocab_size < TINY_TEXT.vocab_size
    assert tower.token_embedding.num_embeddings == tower.config.vocab_size
    assert tower.vocabulary == VOCABULARY


@pytest.mark.parametrize(
    ("captions", "vocab_size", "message"),
    [
        ([], 60, "a vocabulary needs captions, got none"),
        ([" ", "\t"], 60, "a vocabulary needs captions, got none"),
        (CAPTIONS, 3, "cannot fit a vocabulary of 3 pieces on 4 captions: "),
        (CAPTIONS, 0, "cannot fit a vocabulary of 0 pieces on 4 captions: "),
        (["\u200b"], 60, "cannot fit a vocabulary of 60 pieces on 1 captions: "),
    ],
)
def test_captions_that_cannot_be_fitted_are_refused(captions: list[str], vocab_size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_vocabulary(captions, vocab_size=vocab_size)


@pytest.mark.parametrize("damaged", [b"", b"not a model", VOCABULARY[:100], VOCABULARY[50:]])
def test_a_damaged_vocabulary_is_refused(damaged: bytes) -> None:
    with pytest.raises(CheckpointError, match="the SentencePiece vocabulary is damaged: "):
        SentencePieceText(TINY_TEXT, vocabulary=damaged)


def test_a_vocabulary_of_another_size_is_refused() -> None:
    message = r"the tokenizer has \d+ pieces, the model 60; they come from different checkpoints"
    with pytest.raises(CheckpointError, match=message):
        SentencePieceText(TINY_TEXT, vocabulary=VOCABULARY)


def test_ids_are_padded_behind_the_text(tower: SentencePieceText) -> None:
    ids_BL = tower.tokenize(["the", "open the fridge", ""])
    assert ids_BL.shape == (3, 8)
    assert ids_BL.dtype == torch.int64
    for ids in ids_BL.tolist():
        num_real = sum(token != PAD_ID for token in ids)
        assert num_real >= 1
        assert PAD_ID not in ids[:num_real]


def test_upper_case_and_compatibility_characters_are_folded(tower: SentencePieceText) -> None:
    ids_BL = tower.tokenize(["open the fridge", "OPEN The Fridge", "  \uff4fpen  the\tfridge "])
    assert ids_BL[0].tolist() == ids_BL[1].tolist() == ids_BL[2].tolist()


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_text_is_one_unknown_token(tower: SentencePieceText, text: str) -> None:
    assert tower.tokenize([text])[0].tolist() == [UNKNOWN_ID] + [PAD_ID] * 7
    assert tower(tower.tokenize([text])).isfinite().all()


@pytest.mark.parametrize("text", ["☃", "<pad>", "<unk>", "\x00", "🍳🍳", "日本"])
def test_unknown_characters_are_unknown_and_never_padding(tower: SentencePieceText, text: str) -> None:
    ids = tower.tokenize([text])[0].tolist()
    assert UNKNOWN_ID in ids
    assert PAD_ID not in ids[: 8 - ids.count(PAD_ID)]


def test_a_long_text_is_cut_at_the_context_length(tower: SentencePieceText) -> None:
    ids_BL = tower.tokenize(["open the fridge", "open the fridge" + " and close the fridge" * 500])
    assert ids_BL.shape == (2, 8)
    assert ids_BL[0].tolist() == ids_BL[1].tolist()
    assert PAD_ID not in ids_BL[1].tolist()


def test_no_texts_are_no_rows(tower: SentencePieceText) -> None:
    assert tower.tokenize([]).shape == (0, 8)


@pytest.mark.parametrize("gradients", [True, False])  # torch has another code path for each
def test_a_batch_equals_its_texts_one_by_one_without_padding(tower: SentencePieceText, gradients: bool) -> None:
    tower.double()
    ids_BL = tower.tokenize(["a", "red plate", "", "open the fridge"])
    with torch.set_grad_enabled(gradients):
        batch_BE = tower(ids_BL)
        for ids_L, features_E in zip(ids_BL, batch_BE, strict=True):
            valid_1L = ids_L[ids_L != PAD_ID][None]
            torch.testing.assert_close(tower(valid_1L)[0], features_E, rtol=1e-10, atol=1e-10)


def test_words_and_their_order_matter(tower: SentencePieceText) -> None:
    features_BE = tower(tower.tokenize(["red plate", "plate red", "red onion", "red plate"]))
    assert torch.equal(features_BE[0], features_BE[3])
    assert (features_BE[0] - features_BE[1]).abs().max() > 1e-3
    assert (features_BE[0] - features_BE[2]).abs().max() > 1e-3


def test_gradients_reach_every_weight_but_those_of_padding(tower: SentencePieceText) -> None:
    ids_BL = tower.tokenize(["a", *CAPTIONS])
    tower.train()(ids_BL).square().sum().backward()
    embedding = tower.token_embedding.weight.grad
    assert embedding is not None
    used = set(ids_BL.flatten().tolist()) - {PAD_ID}
    assert {row for row in range(len(embedding)) if embedding[row].any()} == used
    missing = [name for name, weight in tower.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert missing == []


def test_the_message_of_a_failed_fit_says_why() -> None:
    with pytest.raises(ConfigError, match=re.escape("Vocabulary size is smaller than required_chars")):
        fit_vocabulary(CAPTIONS, vocab_size=5)
