"""Hugging Face text towers: pooled as told, padding changes nothing, a checkpoint folder is all that is needed."""

from pathlib import Path

import pytest
import torch
from towers import INFERENCE, TINY, half_static_clips

from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.models.checkpoint import load_checkpoint, save_checkpoint
from vlrlt.models.huggingface import HuggingFaceText, HuggingFaceTextConfig
from vlrlt.train.towers import HuggingFaceStart, build_model

transformers = pytest.importorskip("transformers", reason="needs pip install 'vlrlt[hf]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "open", "close", "the", "fridge", "cut", "onion"]


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A BERT of a few thousand random weights with a vocabulary of ten words, as a Hugging Face folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    ids = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    folder = tmp_path / "bert"
    transformers.BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_ignores_padding_and_neighbours(pretrained: Path, pooling: str) -> None:
    config = HuggingFaceTextConfig(embed_dim=8, pooling=pooling, context_length=6)  # type: ignore[arg-type]
    tower = HuggingFaceText.from_pretrained(str(pretrained), config).eval()
    texts = ["open the fridge", "cut", "close the fridge the fridge the fridge"]
    ids_BL = tower.tokenize(texts)
    assert ids_BL.shape == (3, 6)
    assert (ids_BL[1] == -1).sum() == 3
    with torch.inference_mode():
        together_BE = tower(ids_BL)
        for text, row_E in zip(texts, together_BE, strict=True):
            torch.testing.assert_close(tower(tower.tokenize([text]))[0], row_E, rtol=1e-4, atol=1e-5)
        hidden = tower.encoder(input_ids=ids_BL[:1, :5]).last_hidden_state[0]
        want = (hidden[0] if pooling == "cls" else hidden.mean(0)) @ tower.projection.weight.T
        torch.testing.assert_close(together_BE[0], want, rtol=1e-4, atol=1e-5)


def test_all_that_learns_gets_a_gradient(pretrained: Path) -> None:
    tower = HuggingFaceText.from_pretrained(str(pretrained), HuggingFaceTextConfig(embed_dim=8))
    tower(tower.tokenize(["open the fridge"])).sum().backward()
    assert [
        name for name, parameter in tower.named_parameters() if parameter.requires_grad and parameter.grad is None
    ] == []


def test_a_checkpoint_folder_needs_nothing_else(pretrained: Path, tmp_path: Path) -> None:
    start = HuggingFaceStart(source=str(pretrained), config=HuggingFaceTextConfig(embed_dim=TINY.embed_dim))
    model = build_model(video=TINY, text=start, inference=INFERENCE, captions=list, init_from=None).eval()
    save_checkpoint(model, tmp_path / "model")
    for file in pretrained.iterdir():
        file.unlink()
    again = load_checkpoint(tmp_path / "model")
    ids = model.text.tokenize(["open the fridge"])
    assert torch.equal(again.text.tokenize(["open the fridge"]), ids)
    with torch.inference_mode():
        assert torch.equal(again.encode_text(ids), model.encode_text(ids))
        clips = torch.from_numpy(half_static_clips(1))
        assert torch.equal(again.encode_video(clips), model.encode_video(clips))


def test_what_cannot_be_loaded_says_so(pretrained: Path, tmp_path: Path) -> None:
    config = HuggingFaceTextConfig(embed_dim=8)
    with pytest.raises(CheckpointError, match="cannot load a Hugging Face text encoder from"):
        HuggingFaceText.from_pretrained(str(tmp_path / "absent"), config)
    with pytest.raises(ConfigError, match="without a projection embed_dim must be the encoder's width 16, got 8"):
        HuggingFaceText.from_pretrained(str(pretrained), HuggingFaceTextConfig(embed_dim=8, projection=False))
    with pytest.raises(ConfigError, match="pooling must be mean or cls"):
        HuggingFaceTextConfig(embed_dim=8, pooling="max")  # type: ignore[arg-type]
