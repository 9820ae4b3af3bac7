"""Every image tower that open_clip ships: a supported one gives open_clip's own vectors, any other says what it is.

The towers are those of the registry with fewer layers and a smaller width; head width, image size, patch size and every
structural switch stay. Weights are random and far from zero, so that no bias, scale or register can be missed.
"""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from open_clip.model import CLIPVisionCfg, _build_vision_tower
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from towers import small_timm_models

from vlrlt.errors import CheckpointError
from vlrlt.models.open_clip import preprocess_of
from vlrlt.models.rotary import rotary_table
from vlrlt.models.towers.convert import convert_tower, read_tower
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.types import UInt8Array
from vlrlt.video.decode import open_decoder
from vlrlt.video.transforms import Preprocess

VIDEOS = Path(__file__).parents[2] / "shared" / "videos"
NOT_SUPPORTED = {
    "RN": "a ModifiedResNet; supported are",
    "convnext": "a ConvNeXt; supported are",
    "swin": "a SwinTransformer; supported are",
    "vit_relpos": "a VisionTransformerRelPos; supported are",
    "coca_ViT": "has CoCa's attentional pooling, an output for each token; supported are",
    "coca": "has an output for each token; supported are",
    "EVA01": "has attention of the kind EvaAttention; supported are",
    "EVA02-E": "has blocks of the kind EvaBlockPostNorm; supported are",
    "EVA02": "has attention of the kind EvaAttention; supported are",
    "ViTamin": "has a HybridEmbed in place of a patch embedding, MLPs of the kind GeGluMlp; supported are",
    "MobileCLIP-S": "a FastVit; supported are",
    "MobileCLIP-B": "has a HybridEmbed in place of a patch embedding; supported are",
    "MobileCLIP2-S": "a FastVit; supported are",
    "MobileCLIP2-B": "has a HybridEmbed in place of a patch embedding; supported are",
}


def is_supported(architecture: str) -> bool:
    return not architecture.startswith(tuple(NOT_SUPPORTED))


def vision_config(architecture: str) -> dict[str, Any]:
    config: dict[str, Any] = open_clip.get_model_config(architecture)
    return {**config["vision_cfg"], "quick_gelu": config.get("quick_gelu", False)}


def distinct_towers() -> list[str]:
    """One architecture for each set of structural switches."""
    seen: dict[str, str] = {}
    for architecture in open_clip.list_models():
        config = vision_config(architecture)
        key = json.dumps({name: value for name, value in config.items() if name not in ("layers", "width")})
        if is_supported(architecture):
            seen.setdefault(key, architecture)
    return list(seen.values())


TOWERS = distinct_towers()  # when it is imported: other tests register architectures of their own


def build(architecture: str, **changes: Any) -> nn.Module:
    config = vision_config(architecture)
    quick_gelu = config.pop("quick_gelu")
    tower: nn.Module = _build_vision_tower(24, CLIPVisionCfg(**{**config, **changes}), quick_gelu)
    return tower


def small_tower(architecture: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    config = vision_config(architecture)
    if "timm_model_name" in config:
        with small_timm_models(monkeypatch):
            return randomised(build(architecture))
    return randomised(build(architecture, layers=2, width=2 * config.get("head_width", 64)))


def randomised(tower: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in tower.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return tower.eval()


def any_preprocess(size_px: int) -> Preprocess:
    return Preprocess(image_size_px=size_px, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def normalised_NCHW(rgb_NHWC: Tensor, preprocess: Preprocess) -> Tensor:
    return ((rgb_NHWC / 255 - torch.tensor(preprocess.mean)) / torch.tensor(preprocess.std)).permute(0, 3, 1, 2)


@torch.inference_mode()
def assert_equal_frames(tower: nn.Module, size_px: int) -> None:
    """Dense frames equal the tower, and a clip whose second half stands still costs and gives half of it."""
    preprocess = any_preprocess(size_px)
    video = convert_tower(tower, name="tower", preprocess=preprocess).eval()
    frames = torch.randint(0, 256, (2, size_px, size_px, 3), dtype=torch.uint8)
    expected_SE = tower(normalised_NCHW(frames, preprocess))
    features = video(frames[None, [0, 1, 1]], TokenPolicy(threshold_255=0))
    torch.testing.assert_close(features.steps_BSE[0], expected_SE[[0, 1, 1]], rtol=1e-5, atol=1e-5)
    assert features.num_tokens_B.tolist() == [2 * video.config.grid_size**2]


@pytest.mark.parametrize("architecture", TOWERS)
def test_frames_equal_the_image_tower(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = small_tower(architecture, monkeypatch)
    assert_equal_frames(tower, vision_config(architecture)["image_size"])


def test_the_registry_has_what_these_tests_are_about() -> None:
    assert len(TOWERS) > 40
    sizes = {(vision_config(name)["image_size"], vision_config(name).get("patch_size")) for name in TOWERS}
    assert {(224, 32), (224, 16), (224, 14), (240, 16), (256, 32), (280, 14), (320, 16), (336, 14), (378, 14)} <= sizes
    names = {vision_config(name).get("timm_model_name") for name in TOWERS}
    assert {"vit_so400m_patch14_siglip_384", "vit_giantopt_patch16_siglip_384"} <= names  # 384 is no multiple of 14
    assert {"vit_pe_core_base_patch16_224", "vit_pe_core_gigantic_patch14_448"} <= names  # with a CLS, without


@pytest.mark.parametrize("prefix", NOT_SUPPORTED)
def test_every_other_architecture_is_refused_by_name(prefix: str) -> None:
    architecture = next(name for name in open_clip.list_models() if name.startswith(prefix))
    with torch.device("meta"):
        tower = build(architecture)
    with pytest.raises(CheckpointError) as info:
        read_tower(tower, name=architecture)
    assert str(info.value).startswith(f"{architecture}: the image tower ")
    assert NOT_SUPPORTED[prefix] in str(info.value)


SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}
VIT = partial(partial, VisionTransformer, **SMALL)
EVA = partial(partial, Eva, **SMALL, use_rot_pos_emb=True, attn_type="rope", global_pool="map")
PLAIN = {
    "CLS": VIT(),
    "classifier": VIT(num_classes=5),
    "mean with a CLS": VIT(global_pool="avg"),
    "mean, norm first": VIT(global_pool="avg", fc_norm=False, class_token=False),
    "CLS, norm last": VIT(fc_norm=True),
    "CLS without a position": VIT(no_embed_class=True),
    "layer scale": VIT(init_values=0.1),
    "no biases of q, k, v": VIT(qkv_bias=False),
    "quick GELU": VIT(act_layer="quick_gelu"),
    "tanh GELU": VIT(act_layer="gelu_tanh"),
    "pre-norm": VIT(pre_norm=True, norm_layer=partial(nn.LayerNorm, eps=1e-3)),
    "any image size": VIT(dynamic_img_size=True),
    "pixels beyond the grid": VIT(patch_size=7),
    "attention pooling": VIT(global_pool="map", class_token=False),
    "Eva": EVA(),
    "Eva without a CLS": EVA(class_token=False, rope_grid_offset=1.0, rope_grid_indexing="xy"),
    "Eva, layer scale": EVA(init_values=0.1, ref_feat_shape=(16, 16)),
    "Eva, mean": EVA(global_pool="avg"),
    "Eva, CLS": EVA(global_pool="token"),
}
REFUSED = {
    "images that are not square": VIT(img_size=(32, 64)),
    "patches that are not square": VIT(patch_size=(8, 16)),
    "padded images": VIT(dynamic_img_size=True, dynamic_img_pad=True),
    "register tokens": VIT(reg_tokens=2),
    "no position embedding": VIT(pos_embed="none"),
    "norms or gates in its attention": VIT(qk_norm=True),
    "norms or gates in its attention ": VIT(scale_attn_norm=True),
    "a norm of its patches": VIT(embed_norm_layer=nn.LayerNorm),
    "MLPs of the kind SwiGLU": VIT(mlp_layer=timm.layers.SwiGLU),
    "MLPs of the kind Mlp": VIT(scale_mlp_norm=True),
    "norms of the kind RmsNorm": VIT(norm_layer=timm.layers.RmsNorm),
    "activation ReLU": VIT(act_layer=nn.ReLU),
    "'max' pooling": VIT(global_pool="max"),
    "'' pooling": VIT(global_pool=""),
    "0 final norms": VIT(final_norm=False),
    "blocks of the kind ParallelScalingBlock": VIT(block_fn=timm.models.vision_transformer.ParallelScalingBlock),
    "attention of the kind DiffAttention": VIT(attn_layer="diff"),
    "a CLS that attention pooling leaves out": VIT(global_pool="map"),
    "a norm of what attention pooled": VIT(global_pool="map", class_token=False, fc_norm=True),
    "attention of the kind EvaAttention": EVA(attn_type="eva"),
    "positions of the kind RotaryEmbeddingMixed": EVA(rope_type="mixed", global_pool="token"),
    "positions of the kind NoneType": EVA(use_rot_pos_emb=False),
    "queries, keys and values of their own": EVA(qkv_fused=False),
    "register tokens ": EVA(num_reg_tokens=2),
}


@pytest.mark.parametrize("tower", PLAIN.values(), ids=PLAIN.keys())
def test_frames_equal_a_plain_timm_model(tower: Callable[[], nn.Module]) -> None:
    assert_equal_frames(randomised(tower()), 32)


@pytest.mark.parametrize("problem", REFUSED)
def test_parts_that_the_video_encoder_lacks_are_named(problem: str) -> None:
    with pytest.raises(CheckpointError) as info:
        read_tower(REFUSED[problem](), name="tower")
    assert problem.strip() in str(info.value)
    assert "; supported are open_clip's VisionTransformer (" in str(info.value)


def test_a_head_of_several_layers_is_refused() -> None:
    tower = build("ViT-B-16", timm_model_name="test_vit", timm_proj="mlp", image_size=160)
    with pytest.raises(CheckpointError, match="tower: the image tower has a head of the kind Mlp; supported are"):
        read_tower(tower, name="tower")


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(CheckpointError, match="tower: images are prepared at 48 px, the tower takes 32 px"):
        convert_tower(VIT()(), name="tower", preprocess=any_preprocess(48))


def test_an_untrained_encoder_turns_as_perception_encoder_does() -> None:
    trunk = EVA(img_size=48, rope_grid_offset=1.0, rope_grid_indexing="xy")()
    converted = read_tower(trunk, name="tower").weights()["rotary_P2F"]
    torch.testing.assert_close(rotary_table(grid_size=6, head_width=16), converted)


def registered_preprocessing() -> dict[str, PreprocessCfg]:
    """Every way in which open_clip prepares images for a supported tower, with a name of each."""
    ways: dict[str, PreprocessCfg] = {}
    for architecture, tag in open_clip.list_pretrained():
        if not is_supported(architecture):
            continue
        registered = open_clip.get_pretrained_cfg(architecture, tag)
        fields = {field.name for field in dataclasses.fields(PreprocessCfg)}
        changes = {name: value for name, value in registered.items() if name in fields}
        changes["size"] = vision_config(architecture)["image_size"]
        way = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), changes))
        if way not in ways.values():
            ways[f"{architecture}/{tag}"] = way
    return ways


def assert_equal_pixels(pictures: list[UInt8Array]) -> None:
    ways = registered_preprocessing()
    assert {(way.resize_mode, way.interpolation) for way in ways.values()} == {
        ("shortest", "bicubic"),
        ("squash", "bicubic"),
        ("squash", "bilinear"),
    }
    for name, way in ways.items():
        preprocess, transform = preprocess_of(dataclasses.asdict(way)), image_transform_v2(way, is_train=False)
        for rgb_HWC in pictures:
            ours = normalised_NCHW(torch.from_numpy(preprocess(rgb_HWC))[None], preprocess)[0]
            theirs = transform(Image.fromarray(rgb_HWC))
            if way.resize_mode == "shortest" and rgb_HWC.shape[1] > rgb_HWC.shape[0]:  # see Preprocess.__call__
                two_levels = 2.01 / 255 / min(preprocess.std)
                off = (ours - theirs).abs()
                assert off.max() <= two_levels, name
                assert (off > 1e-4).float().mean() <= 5e-3, name
            else:
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, msg=name)


def test_preprocessing_equals_open_clips_on_made_pictures() -> None:
    rng = np.random.default_rng(0)
    sizes = ((640, 360), (360, 640), (499, 333), (224, 224), (100, 37))
    assert_equal_pixels([rng.integers(0, 256, (height, width, 3), np.uint8) for width, height in sizes])


@pytest.mark.real_videos
@pytest.mark.skipif(not VIDEOS.is_dir(), reason=f"{VIDEOS} is not here")
def test_preprocessing_equals_open_clips_on_real_pictures() -> None:
    paths = sorted(path for path in VIDEOS.glob("*/*.mp4") if path.stat().st_size < 3e6)[::12][:5]
    pictures = []
    for path in paths:
        with open_decoder(path) as decoder:
            pictures.append(next(iter(decoder.frames_at([1.0]))).rgb_HWC)
    assert len({picture.shape for picture in pictures}) > 1
    assert_equal_pixels(pictures)
