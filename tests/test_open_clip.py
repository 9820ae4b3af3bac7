"""An open_clip model turned into a run-length dual encoder gives the vectors that open_clip itself gives.

The architectures are tiny and registered here, with random weights far from zero; ViT-B-32 is built once at its real
size. No test needs the network, and some prove that none is asked for.
"""

import json
import logging
import pickle
import re
import socket
import sys
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import open_clip
import pytest
import safetensors.torch
import tokenizers
import torch
import transformers
from hub_server import REPOSITORY, WEIGHTS, local_hub
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from test_checkpoint import Bomb
from torch import Tensor
from towers import half_static_clips, small_timm_models

from vlrlt.embed import load_embedder
from vlrlt.errors import CheckpointError, ConfigError, MissingExtraError
from vlrlt.models.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from vlrlt.models.config import NoTextConfig, OpenClipTextConfig
from vlrlt.models.open_clip import build_open_clip_text, convert_open_clip, load_open_clip
from vlrlt.models.text import NoText
from vlrlt.models.text_onnx import OnnxText, export_text
from vlrlt.models.towers.tower import IMAGE_TOWER_SAMPLING
from vlrlt.tokens.run_length import DENSE, TokenPolicy

TEXTS = ("a photo of a fridge", "two hands cut an onion", "")
VISION = {"image_size": 32, "patch_size": 8, "layers": 2, "width": 64, "head_width": 32}
SMALL_TEXT = {"width": 32, "heads": 2, "layers": 1}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}


def architecture(
    *, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **top: Any
) -> dict[str, Any]:
    return {"embed_dim": 24, "vision_cfg": {**VISION, **(vision or {})}, "text_cfg": {**TEXT, **(text or {})}, **top}


TINY = {
    "tiny": architecture(),
    "tiny-quickgelu": architecture(quick_gelu=True),
    "tiny-slim": architecture(vision={"no_ln_pre": True, "mlp_ratio": 2.0, "norm_kwargs": {"eps": 1e-3}}),
    "tiny-custom-text": architecture(
        custom_text=True, init_logit_bias=-10, text={"pool_type": "last", "no_causal_mask": True}
    ),
    "tiny-after-pool": architecture(vision={"final_ln_after_pool": True, "pos_embed_type": "sin_cos_2d"}),
    "tiny-average": architecture(vision={"pool_type": "avg", "act_kwargs": {"approximate": "tanh"}}),
    "tiny-clipa": architecture(vision={"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True}),
    "tiny-layer-scale": architecture(vision={"ls_init_value": 0.1}),
}
UNSUPPORTED = {
    "bad-resnet": (architecture(vision={"layers": [1, 1, 1, 1]}), "the image tower is a ModifiedResNet; supported are"),
    "bad-timm": (architecture(vision={"timm_model_name": "test_convnext"}), "the image tower is a ConvNeXt; supported"),
    "bad-coca": (
        architecture(
            vision={"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            text={"embed_cls": True, "output_tokens": True},
            multimodal_cfg={**TEXT, "attn_pooler_heads": 2},
            custom_text=True,
        ),
        "the model is a CoCa; supported are open_clip's VisionTransformer (OpenAI, LAION, ",
    ),
    "bad-oblong": (architecture(vision={"image_size": [32, 64]}), "the image tower has images that are not square; "),
    "bad-many": (
        architecture(vision={"image_size": [32, 64], "pool_type": "none"}),
        "the image tower has no pooling, images that are not square; ",
    ),
    "bad-block": (architecture(vision={"scale_attn": True}), "blocks of the kind CustomResidualAttentionBlock"),
}


@pytest.fixture(scope="module", autouse=True)
def _architectures(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("architectures")
    for name, config in {**TINY, **{name: config for name, (config, _) in UNSUPPORTED.items()}}.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def random_model(name: str) -> open_clip.CLIP:
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model


def write_weights(name: str, path: Path) -> open_clip.CLIP:
    model = random_model(name)
    safetensors.torch.save_file(model.state_dict(), path)
    return model


def random_images(num_images: int, size_px: int) -> Tensor:
    return torch.from_numpy(half_static_clips(1, num_frames=num_images, size_px=size_px)[0])


def normalised_NCHW(rgb_NHWC: Tensor, model: open_clip.CLIP) -> Tensor:
    config = open_clip.get_model_preprocess_cfg(model)
    values_NHWC = rgb_NHWC.float() / 255
    return ((values_NHWC - torch.tensor(config["mean"])) / torch.tensor(config["std"])).permute(0, 3, 1, 2)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
@torch.inference_mode()
def test_frames_equal_encode_image_and_texts_encode_text(name: str) -> None:
    model = random_model(name)
    frames = random_images(5, 32)
    expected_SE = model.encode_image(normalised_NCHW(frames, model))
    ids_BL = open_clip.get_tokenizer(name)(list(TEXTS))
    expected_texts_BE = model.encode_text(ids_BL)
    logit_scale = model.logit_scale.clone()

    dual = convert_open_clip(model, architecture=name)

    features = dual.video(frames[None], DENSE)
    assert_close(features.steps_BSE[0], expected_SE)
    unit_SE = expected_SE / expected_SE.norm(dim=1, keepdim=True)
    assert_close(features.clip_BE[0], unit_SE.mean(0) / unit_SE.mean(0).norm())
    assert torch.equal(dual.text.tokenize(TEXTS), ids_BL)
    assert_close(dual.text(ids_BL), expected_texts_BE)
    assert torch.equal(dual.logit_scale, logit_scale)
    assert not dual.training
    assert dual.inference.sampling == IMAGE_TOWER_SAMPLING
    assert dual.inference.policy == TokenPolicy()


@torch.inference_mode()
@pytest.mark.parametrize("name", ["tiny", "tiny-custom-text"])
def test_texts_without_torch_equal_open_clips_own(name: str, tmp_path: Path) -> None:
    """Words, signs, other scripts, broken encodings, any character, texts that are too long."""
    random = Random(0)
    texts = [
        *(
            "it's the dog's 23rd!!",
            "don't I'LL",
            "&amp;amp; &lt;b&gt;",
            "schÃ¶n \ufb01sh",
            "日本語 हिन्दी العربية 😀👍🏽",
        ),
        *("", " \t\n", "<end_of_text> a<start_of_text>b", "İstanbul ẞ \u200b ½ Ⅷ \x85", "many words " * 40, "x" * 300),
        *("".join(chr(random.randrange(32, 0xD800)) for _ in range(random.randrange(1, 20))) for _ in range(500)),
        *("".join(random.choices("etaoin' sh-rd,lu019", k=20)) for _ in range(500)),
    ]
    dual = convert_open_clip(random_model(name), architecture=name)
    export_text(dual, tmp_path / "text.onnx")
    onnx = OnnxText(tmp_path / "text.onnx")
    np.testing.assert_array_equal(onnx.token_ids(texts), dual.text.tokenize(texts))
    expected = dual.encode_text(dual.text.tokenize(texts[:40]))
    np.testing.assert_allclose(onnx.embed(texts[:40]), expected, atol=1e-5)
    np.testing.assert_allclose(onnx.embed(texts[:1]), expected[:1], atol=1e-5)


def test_other_texts_need_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dual = convert_open_clip(random_model("tiny"), architecture="tiny")
    monkeypatch.setattr("vlrlt.models.text_onnx._MAX_PARAMETERS", 1000)
    with pytest.raises(ConfigError, match="of more than 1,000 parameters"):
        export_text(dual, tmp_path / "text.onnx")
    dual.text = NoText(NoTextConfig(embed_dim=24))
    with pytest.raises(ConfigError, match="only text towers with a SentencePiece vocabulary or with CLIP's byte pairs"):
        export_text(dual, tmp_path / "text.onnx")
    assert list(tmp_path.iterdir()) == []


@torch.inference_mode()
def test_a_frame_of_the_real_architecture_equals_encode_image() -> None:
    torch.manual_seed(0)
    with torch.device("meta"):  # 150 million random numbers less
        model = open_clip.create_model("ViT-B-32", device="meta").eval()
    model.to_empty(device="cpu")
    for parameter in model.visual.parameters():
        parameter.normal_(std=0.05)
    frame = random_images(1, 224)
    expected_1E = model.encode_image(normalised_NCHW(frame, model))
    features = convert_open_clip(model, architecture="ViT-B-32").video(frame[None], DENSE)
    assert features.num_tokens_B.tolist() == [49]
    assert_close(features.steps_BSE[0] / expected_1E.norm(), expected_1E / expected_1E.norm())


@torch.inference_mode()
def test_a_static_clip_costs_and_gives_one_image() -> None:
    model = random_model("tiny")
    image = random_images(1, 32)
    expected_E = model.encode_image(normalised_NCHW(image, model))[0]
    features = convert_open_clip(model, architecture="tiny").video(image[None].expand(-1, 8, -1, -1, -1), TokenPolicy())
    assert features.num_tokens_B.tolist() == [16]
    assert_close(features.clip_BE[0], expected_E / expected_E.norm())


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@torch.inference_mode()
def test_preprocessing_and_normalisation_equal_open_clips_own(interpolation: str, resize_mode: str) -> None:
    model = random_model("tiny")
    changes = {
        "interpolation": interpolation,
        "resize_mode": resize_mode,
        "mean": (0.4, 0.5, 0.6),
        "std": (0.2, 0.3, 0.4),
    }
    model.visual.preprocess_cfg = {**open_clip.get_model_preprocess_cfg(model), **changes}
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    visual = model.visual
    dual = convert_open_clip(model, architecture="tiny")
    for width_px, height_px in ((61, 45), (40, 97), (32, 32), (20, 24)):
        rgb_HWC = np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3), np.uint8)
        square = dual.inference.preprocess(rgb_HWC)
        mean_C11, std_C11 = (torch.tensor(changes[name])[:, None, None] for name in ("mean", "std"))
        official_CHW = (transform(Image.fromarray(rgb_HWC)) * std_C11 + mean_C11) * 255
        difference_CHW = (official_CHW - torch.from_numpy(square).permute(2, 0, 1)).abs()
        assert difference_CHW.max() < 2.01, "resizing keeps its bound"
        assert (difference_CHW > 0.5).float().mean() < 0.01
        features = dual.video(torch.from_numpy(square)[None, None], DENSE)
        assert_close(features.steps_BSE[0], visual(transform(Image.fromarray(square))[None]))


@pytest.mark.parametrize("name", TINY)
@torch.inference_mode()
def test_a_fine_tuned_model_is_saved_and_loaded_again(name: str, tmp_path: Path) -> None:
    dual = convert_open_clip(random_model(name), architecture=name)
    untouched = fingerprint(dual)
    for parameter in dual.parameters():
        parameter.mul_(1.01)
    save_checkpoint(dual, tmp_path)
    loaded = load_checkpoint(tmp_path)
    clips = random_images(4, 32)[None]
    assert torch.equal(loaded.encode_video(clips), dual.encode_video(clips))
    assert torch.equal(loaded.encode_text(loaded.text.tokenize(TEXTS)), dual.encode_text(dual.text.tokenize(TEXTS)))
    assert fingerprint(loaded) == fingerprint(dual) != untouched


@torch.inference_mode()
def test_a_local_file_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_weights("tiny", tmp_path / "weights.safetensors")
    expected = fingerprint(convert_open_clip(model, architecture="tiny"))
    caplog.clear()
    assert fingerprint(load_open_clip(f"tiny/{tmp_path}/weights.safetensors")) == expected
    monkeypatch.chdir(tmp_path)
    assert fingerprint(load_open_clip("tiny/weights.safetensors")) == expected
    embedder = load_embedder("tiny/weights.safetensors", device="cpu", precision="float32")
    assert (embedder.name, embedder.fingerprint) == ("tiny/weights.safetensors", expected)
    assert caplog.records == []
    assert logging.getLogger().level == logging.WARNING


@torch.inference_mode()
def test_weights_trained_with_quick_gelu_get_it_by_the_plain_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ViT-B-32/openai, which open_clip runs with the wrong activation after a warning."""
    model = write_weights("tiny-quickgelu", tmp_path / "weights.safetensors")
    tag = {
        "hf_hub": f"{REPOSITORY}/",
        "quick_gelu": True,
        "interpolation": "bilinear",
        "resize_mode": "squash",
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
    }
    for name in ("tiny", "tiny-quickgelu"):  # as open_clip registers its own
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"trained": tag})
    ids_BL = open_clip.get_tokenizer("tiny")(list(TEXTS))
    expected_BE = model.encode_text(ids_BL)

    with local_hub({WEIGHTS: (tmp_path / "weights.safetensors").read_bytes()}, monkeypatch):
        dual = load_open_clip("tiny/trained", cache_dir=tmp_path / "hub")

    assert dual.video_config.activation == "quick_gelu"
    assert dual.text.config == OpenClipTextConfig(architecture="tiny-quickgelu", embed_dim=24)
    assert_close(dual.text(ids_BL), expected_BE)
    preprocess = dual.inference.preprocess
    assert (preprocess.interpolation, preprocess.resize_mode, preprocess.image_size_px) == ("bilinear", "squash", 32)
    assert (preprocess.mean, preprocess.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_every_registered_tag_with_quick_gelu_has_such_an_architecture() -> None:
    registered = set(open_clip.list_pretrained())
    plain = [
        (name, tag)
        for name, tag in registered
        if open_clip.get_pretrained_cfg(name, tag).get("quick_gelu")
        and not open_clip.get_model_config(name).get("quick_gelu")
    ]
    assert ("ViT-B-32", "openai") in plain
    for name, tag in plain:
        assert (f"{name}-quickgelu", tag) in registered
        assert open_clip.get_model_config(f"{name}-quickgelu")["quick_gelu"]


def test_only_safetensors_files_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(
        CheckpointError, match=r"weights.pt: only .safetensors files are loaded \(a pickle can run code\)"
    ):
        load_open_clip(f"tiny/{path}")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no-such-arch/openai",
            "'no-such-arch/openai' is neither a model folder nor an open_clip name; give 'default', a",
        ),
        ("./models/mine", "is neither a model folder nor an open_clip name"),
        ("ViT-B-32/nope", "no file and no pretrained tag 'nope' for ViT-B-32; known tags: openai, laion400m_e31, "),
        ("ViT-B-32", "no file and no pretrained tag '' for ViT-B-32; known tags: openai, "),
        ("tiny/absent.safetensors", "no file and no pretrained tag 'absent.safetensors' for tiny; known tags: none"),
    ],
)
def test_names_that_are_not_known_are_explained(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_open_clip(name)


def test_a_file_of_another_architecture_names_the_keys(tmp_path: Path) -> None:
    write_weights("tiny-slim", tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError) as info:
        load_open_clip(f"tiny/{tmp_path}/weights.safetensors")
    message = str(info.value)
    assert message.startswith(
        f"cannot load 'tiny/{tmp_path}/weights.safetensors': open_clip: RuntimeError: Error(s) in "
    )
    assert '"visual.ln_pre.weight", "visual.ln_pre.bias"' in message
    assert "size mismatch for visual.transformer.resblocks.1.mlp.c_proj.weight" in message
    assert message.endswith("; is it a file of tiny?")
    assert "\n" not in message


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(
        CheckpointError, match=r"cannot load 'tiny/.*weights.safetensors': open_clip: SafetensorError: "
    ):
        load_open_clip(f"tiny/{path}")


@torch.inference_mode()
def test_a_siglip_model_is_loaded_tokenizes_and_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SigLIP's own configuration with small towers and a tokenizer of three words."""
    _write_tokenizer(tmp_path / "tokenizer", words=("photo", "fridge", "onion"))
    config = open_clip.get_model_config("ViT-B-16-SigLIP")
    config["text_cfg"] |= {"hf_tokenizer_name": str(tmp_path / "tokenizer"), "vocab_size": 6, **SMALL_TEXT}
    _register("tiny-siglip", {**config, "embed_dim": 128}, tmp_path, monkeypatch)
    with small_timm_models(monkeypatch):
        model = write_weights("tiny-siglip", tmp_path / "weights.safetensors")
        ids_BL = open_clip.get_tokenizer("tiny-siglip")(list(TEXTS))
        assert ids_BL.unique().numel() > 3
        expected_BE = model.encode_text(ids_BL)
        frames = random_images(2, 224)
        expected_SE = model.encode_image(normalised_NCHW(frames, model))
        dual = load_open_clip(f"tiny-siglip/{tmp_path}/weights.safetensors")
        save_checkpoint(dual, tmp_path / "model")
        loaded = load_checkpoint(tmp_path / "model")
    for tower in (dual, loaded):
        assert torch.equal(tower.text.tokenize(TEXTS), ids_BL)
        assert_close(tower.text(ids_BL), expected_BE)
        assert_close(tower.video(frames[None], DENSE).steps_BSE[0], expected_SE)
    assert dual.text.state_dict()["model.logit_bias"] == model.logit_bias


@torch.inference_mode()
def test_perception_encoder_at_its_real_size() -> None:
    model = random_model("PE-Core-T-16-384")
    frame = random_images(1, 384)
    expected_1E = model.encode_image(normalised_NCHW(frame, model))
    ids_BL = open_clip.get_tokenizer("PE-Core-T-16-384")(list(TEXTS))
    expected_BE = model.encode_text(ids_BL)
    dual = convert_open_clip(model, architecture="PE-Core-T-16-384")
    features = dual.video(frame[None], DENSE)
    assert features.num_tokens_B.tolist() == [576]
    assert_close(features.steps_BSE[0] / expected_1E.norm(), expected_1E / expected_1E.norm())
    assert torch.equal(dual.text.tokenize(TEXTS), ids_BL)
    assert_close(dual.text(ids_BL), expected_BE)


@pytest.mark.usefixtures("connections")
def test_without_its_tokenizer_a_model_still_embeds_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _register("tiny-far", architecture(text={"hf_tokenizer_name": "absent/tokenizer"}), tmp_path, monkeypatch)
    dual = convert_open_clip(random_model("tiny-far"), architecture="tiny-far")
    assert dual.encode_video(random_images(2, 32)[None]).shape == (1, 24)
    with pytest.raises(CheckpointError, match=r"^no tokenizer for tiny-far: ") as info:
        dual.text.tokenize(TEXTS)
    assert "; search for a text once on a machine with network access and copy its" in str(info.value)
    assert "only clips and images can be searched for" in str(info.value)
    assert "\n" not in str(info.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"run: pip install 'vlrlt\[hf\]'; tiny-far needs it to read text"):
        dual.text.tokenize(TEXTS)


def _register(name: str, config: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", list(open_clip.factory._MODEL_CONFIG_PATHS))
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")


def _write_tokenizer(folder: Path, *, words: tuple[str, ...]) -> None:
    vocabulary = {word: index for index, word in enumerate(("<pad>", "</s>", "<unk>", *words))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer_class: Any = transformers.PreTrainedTokenizerFast
    special_tokens = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer_class(tokenizer_object=tokenizer, **special_tokens).save_pretrained(folder)


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_models_say_so(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    if name != "bad-timm":  # refused before its weights are looked at
        write_weights(name, path)
    path.touch()
    with pytest.raises(CheckpointError, match=re.escape(UNSUPPORTED[name][1])):
        load_open_clip(f"{name}/{path}")


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Addresses that somebody tried to reach; huggingface_hub reads its switch when it is imported, so here too."""
    addresses: list[object] = []

    def refuse(_self: socket.socket, address: object) -> None:
        addresses.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return addresses


def test_weights_that_are_not_here_are_one_line_without_the_network(
    connections: list[object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CheckpointError) as info:
        load_open_clip("ViT-B-32/laion2b_s34b_b79k", cache_dir=tmp_path)
    message = str(info.value)
    assert message.startswith("laion/CLIP-ViT-B-32-laion2B-s34B-b79K/open_clip_model.safetensors is not in ")
    assert " and HF_HUB_OFFLINE is set; `vlrlt models pull` it on a machine with network access " in message
    assert message.endswith("or point --model at ARCH/FILE.safetensors")
    assert "\n" not in message
    assert caplog.records == []
    assert connections == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RN50/openai", "RN50-quickgelu: the image tower is a ModifiedResNet"),
        ("convnext_base/laion400m_s13b_b51k", "convnext_base: the image tower is a ConvNeXt"),
        ("coca_ViT-B-32/laion2b_s13b_b90k", "coca_ViT-B-32: the model is a CoCa"),
        ("EVA02-B-16/merged2b_s8b_b131k", "EVA02-B-16: the image tower has attention of the kind EvaAttention; "),
        ("ViTamin-S/datacomp1b", "ViTamin-S: the image tower has a HybridEmbed in place of a patch embedding, "),
    ],
)
def test_unsupported_registry_models_are_refused_before_anything_is_fetched(
    name: str, message: str, connections: list[object]
) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_open_clip(name)
    assert connections == []


def test_a_checkpoint_of_an_architecture_that_open_clip_lacks_is_named(tmp_path: Path) -> None:
    save_checkpoint(convert_open_clip(random_model("tiny"), architecture="tiny"), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"architecture": "tiny"', '"architecture": "gone"'))
    with pytest.raises(CheckpointError, match="open_clip has no architecture 'gone'"):
        load_checkpoint(tmp_path)


def test_the_text_tower_alone_keeps_no_image_tower() -> None:
    text = build_open_clip_text(OpenClipTextConfig(architecture="tiny", embed_dim=24))
    model = random_model("tiny")
    expected = {key for key in deepcopy(model).state_dict() if not key.startswith("visual.")}
    assert {key.removeprefix("model.") for key in text.state_dict()} == expected
