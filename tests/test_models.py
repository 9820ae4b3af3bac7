"""The packed video encoder equals a plain one: no packing, no padding, one clip and one head at a time.

`PlainEncoder` reads the weights of a `VideoEncoder` and computes what the docstring of `vlrlt.models.video_encoder`
says with nothing but `torch.nn.functional`, in float64. On top of it: dropping tokens changes nothing where a run
repeats itself exactly, a batch equals its clips, gradients are those of the plain encoder.
"""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from towers import TINY, half_static_clips, tiny_dual

from vlrlt.errors import ConfigError
from vlrlt.models.attention import joint_attention
from vlrlt.models.config import OpenClipTextConfig, SentencePieceTextConfig, VideoEncoderConfig
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.layers import Block, Linear
from vlrlt.models.text import SentencePieceText
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.vocabulary import fit_vocabulary
from vlrlt.tokens.packing import pack
from vlrlt.tokens.patches import patchify
from vlrlt.tokens.run_length import DENSE, TokenPolicy, keep_mask
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
EXACT_REPEATS = TokenPolicy(threshold_255=0.0)
JOINT = VideoEncoderConfig(
    regime="joint", image_size_px=12, patch_size_px=4, num_frames=4, width=16, depth=2, num_heads=2, embed_dim=6
)
RUN_OVERLAP = replace(JOINT, regime="run_overlap", activation="quick_gelu", pre_norm=True, mlp_width=24)
JOINT_VARIANTS = {
    "cls": JOINT,
    "mean": replace(JOINT, pooling="mean"),
    "cls, tubelets": replace(JOINT, tubelet_size=2),
    "mean, tubelets": replace(JOINT, pooling="mean", tubelet_size=2),
    "cls, everything": replace(
        JOINT,
        tubelet_size=2,
        temporal_embedding=True,
        run_length_embedding=True,
        patch_bias=True,
        pre_norm=True,
        activation="quick_gelu",
        norm_epsilon=1e-3,
        mlp_width=20,
    ),
    "mean, everything": replace(
        JOINT, pooling="mean", temporal_embedding=True, run_length_embedding=True, patch_bias=True, pre_norm=True
    ),
    "cls, rotary": replace(JOINT, rotary_embedding=True, activation="gelu_tanh", projection="affine"),
    "mean beside a cls": replace(JOINT, pooling="mean", cls_token=True, norm_after_pooling=True),
}
STEP_VARIANTS = {
    f"{name}, steps": replace(
        config, step_outputs=True, temporal_embedding=config.temporal_embedding or config.pooling == "cls"
    )
    for name, config in JOINT_VARIANTS.items()
}
RUN_OVERLAP_VARIANTS = {
    "run_overlap": RUN_OVERLAP,
    "run_overlap, mean": replace(RUN_OVERLAP, pooling="mean"),
    "run_overlap, mean beside a cls": replace(RUN_OVERLAP, pooling="mean", cls_token=True, norm_after_pooling=True),
    "run_overlap, attention": replace(
        RUN_OVERLAP, pooling="attention", activation="gelu_tanh", projection="none", embed_dim=16
    ),
    "run_overlap, attention beside a cls, rotary": replace(
        RUN_OVERLAP,
        pooling="attention",
        cls_token=True,
        pool_heads=4,
        pool_mlp_width=20,
        projection="affine",
        rotary_embedding=True,
    ),
}


def variants(configs: dict[str, VideoEncoderConfig]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("config", configs.values(), ids=configs.keys())


def make_encoder(config: VideoEncoderConfig) -> VideoEncoder:
    """Float64, every parameter far from zero: no term of the sum can be missing unnoticed."""
    torch.manual_seed(0)
    encoder = VideoEncoder(config, mean=MEAN, std=STD).double().eval()
    for name, parameter in encoder.named_parameters():
        scale = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.data.normal_(std=0.3).add_(scale)
    return encoder


def random_clips(num_clips: int, *, num_frames: int = 4) -> Tensor:
    return torch.randint(0, 256, (num_clips, num_frames, 12, 12, 3), dtype=torch.uint8)


def clips_of_exact_runs(num_clips: int, *, tubelet_size: int) -> Tensor:
    """Each patch holds still for runs of its own, whole tubelets long."""
    clips = random_clips(num_clips, num_frames=4)
    for clip in clips:
        for row in range(0, 12, 4):
            for column in range(0, 12, 4):
                area = clip[:, row : row + 4, column : column + 4]
                for step in range(4 // tubelet_size):
                    first = step * tubelet_size
                    repeats = step > 0 and bool(torch.rand(()) < 0.6)
                    area[first : first + tubelet_size] = area[first - 1 if repeats else first].clone()
    return clips


def keep_of(encoder: VideoEncoder, clips: Tensor, policy: TokenPolicy) -> Tensor:
    tubelet_size = encoder.config.tubelet_size
    patches = patchify(clips, patch_size_px=encoder.config.patch_size_px, tubelet_size=tubelet_size)
    return keep_mask(patches, tubelet_size=tubelet_size, policy=policy)


class PlainEncoder:
    """One clip at a time, loops over tokens, heads and pairs of runs."""

    def __init__(self, encoder: VideoEncoder) -> None:
        self.config = encoder.config
        self.weights = dict(encoder.named_parameters())
        self.rotary_P2F = encoder.rotary_P2F
        self.mean, self.std = encoder.mean_3, encoder.std_3

    def joint(self, clip_THWC: Tensor, keep_Shw: Tensor) -> Tensor:
        """Keys weigh as much as the steps they stand for. With step outputs: one for each step."""
        places = self.places(keep_Shw)
        tokens = [self.token(clip_THWC, *place) for place in places]
        key_weights = [float(length) for *_, length in places]
        is_cls_of_steps = self.config.step_outputs and self.config.pooling == "cls"
        num_cls = (len(keep_Shw) if is_cls_of_steps else 1) if self.config.has_cls else 0
        cls = self.cls(num_cls)
        if is_cls_of_steps:
            cls = [cls_D + self.weights["temporal_embedding"][step] for step, cls_D in enumerate(cls)]
        tokens = [*cls, *tokens]
        x_LD = self.blocks(torch.stack(tokens), [[1.0] * num_cls + key_weights for _ in tokens], places)
        if self.config.step_outputs:
            return torch.stack([self.step(x_LD, step, places, num_cls) for step in range(len(keep_Shw))])
        if self.config.pooling == "cls":
            return self.project(self.norm(x_LD[0], "norm_post"))
        patches = [weight * x_D for weight, x_D in zip(key_weights, self.norm_first(x_LD)[num_cls:], strict=True)]
        return self.project(self.norm_last(sum(patches) / sum(key_weights)))

    def step(self, x_LD: Tensor, step: int, places: list[tuple[int, int, int, int]], num_cls: int) -> Tensor:
        """Its own CLS, or the mean of the tokens that are alive in it."""
        if self.config.pooling == "cls":
            return self.project(self.norm(x_LD[step], "norm_post"))
        alive = [num_cls + n for n, (first, *_, length) in enumerate(places) if first <= step < first + length]
        assert len(alive) == 9
        return self.project(self.norm_last(self.norm_first(x_LD)[alive].mean(0)))

    def frames(self, clip_THWC: Tensor, keep_Shw: Tensor) -> Tensor:
        """run_overlap: one output per frame; keys weigh as many steps as both runs are alive."""
        places = self.places(keep_Shw)
        num_cls = len(keep_Shw) if self.config.has_cls else 0
        tokens = [*self.cls(num_cls), *(self.token(clip_THWC, *place) for place in places)]
        runs = [{step} for step in range(num_cls)]
        runs += [set(range(step, step + length)) for step, _, _, length in places]
        x_LD = self.blocks(torch.stack(tokens), [[float(len(run & other)) for other in runs] for run in runs], places)
        frames = []
        for step in range(len(keep_Shw)):
            alive = [index for index, run in enumerate(runs) if step in run]
            assert len(alive) == 9 + self.config.has_cls
            if self.config.pooling == "cls":
                pooled_D = self.norm(x_LD[step], "norm_post")
            elif self.config.pooling == "attention":
                pooled_D = self.attention_pool(self.norm_first(x_LD)[alive])
            else:
                patches = [index for index in alive if index >= num_cls]
                pooled_D = self.norm_last(self.norm_first(x_LD)[patches].mean(0))
            frames.append(self.project(pooled_D))
        return torch.stack(frames)

    def cls(self, num_cls: int) -> list[Tensor]:
        return [self.weights["cls_embedding"] + self.weights["cls_position"] for _ in range(num_cls)]

    def norm_first(self, x_LD: Tensor) -> Tensor:
        return x_LD if self.config.norm_after_pooling else self.norm(x_LD, "norm_post")

    def norm_last(self, pooled_D: Tensor) -> Tensor:
        return self.norm(pooled_D, "norm_post") if self.config.norm_after_pooling else pooled_D

    def project(self, pooled_D: Tensor) -> Tensor:
        if self.config.projection == "none":
            return pooled_D
        bias = self.weights["projection_bias"] if self.config.projection == "affine" else 0
        return pooled_D @ self.weights["projection"] + bias

    def attention_pool(self, x_AD: Tensor) -> Tensor:
        k_AD, v_AD = self.linear(x_AD, "attention_pool.kv").chunk(2, dim=1)
        num_heads = self.config.pool_heads or self.config.num_heads
        heads = []
        for q, k, v in zip(
            self.weights["attention_pool.query"].chunk(num_heads),
            k_AD.chunk(num_heads, dim=1),
            v_AD.chunk(num_heads, dim=1),
            strict=True,
        ):
            heads.append((k @ q / math.sqrt(len(q))).softmax(0) @ v)
        x_D = self.linear(torch.cat(heads), "attention_pool.out")
        return x_D + self.mlp(self.norm(x_D, "attention_pool.norm_mlp"), "attention_pool.mlp")

    def places(self, keep_Shw: Tensor) -> list[tuple[int, int, int, int]]:
        """(step, row, column, run length) of the kept tubelets in (t, h, w) order."""
        kept = [tuple(place) for place in keep_Shw.nonzero().tolist()]
        places = []
        for step, row, column in kept:
            later = [s for s, r, c in kept if (r, c) == (row, column) and s > step]
            places.append((step, row, column, min(later, default=len(keep_Shw)) - step))
        return places

    def token(self, clip_THWC: Tensor, step: int, row: int, column: int, length: int) -> Tensor:
        p, u = self.config.patch_size_px, self.config.tubelet_size
        shown = step if self.config.regime == "joint" else step + (length - 1) // 2
        pixels = clip_THWC[shown * u : (shown + 1) * u, row * p : (row + 1) * p, column * p : (column + 1) * p].double()
        normalised = (pixels / 255 - self.mean) / self.std
        token_D = functional.linear(
            normalised.flatten(), self.weights["patch_embedding.weight"], self.weights.get("patch_embedding.bias")
        )
        token_D = token_D + self.weights["position_embedding"][row * self.config.grid_size + column]
        if self.config.temporal_embedding:
            token_D = token_D + self.weights["temporal_embedding"][step]
        if self.config.run_length_embedding:
            token_D = token_D + self.weights["run_length_embedding"][length - 1]
        return token_D

    def blocks(
        self, x_LD: Tensor, key_weights_LL: list[list[float]], places: list[tuple[int, int, int, int]]
    ) -> Tensor:
        bias_LL = torch.tensor(key_weights_LL, dtype=torch.float64).log()
        if self.config.pre_norm:
            x_LD = self.norm(x_LD, "norm_pre")
        for index in range(self.config.depth):
            block = f"blocks.{index}"
            normed_LD = self.norm(x_LD, f"{block}.norm_attention")
            x_LD = x_LD + self.attention(normed_LD, bias_LL, places, f"{block}.attention")
            x_LD = x_LD + self.mlp(self.norm(x_LD, f"{block}.norm_mlp"), f"{block}.mlp")
        return x_LD

    def mlp(self, x: Tensor, name: str) -> Tensor:
        hidden = self.linear(x, f"{name}.0")
        if self.config.activation == "quick_gelu":
            hidden = hidden * torch.sigmoid(1.702 * hidden)
        else:
            hidden = functional.gelu(hidden, approximate="tanh" if self.config.activation == "gelu_tanh" else "none")
        return self.linear(hidden, f"{name}.2")

    def attention(self, x_LD: Tensor, bias_LL: Tensor, places: list[tuple[int, int, int, int]], name: str) -> Tensor:
        q_LD, k_LD, v_LD = self.linear(x_LD, f"{name}.qkv").chunk(3, dim=1)
        heads = []
        for q, k, v in zip(*(part.chunk(self.config.num_heads, dim=1) for part in (q_LD, k_LD, v_LD)), strict=True):
            logits_LL = self.turned(q, places) @ self.turned(k, places).T / math.sqrt(q.shape[1])
            heads.append((logits_LL + bias_LL).softmax(1) @ v)
        return self.linear(torch.cat(heads, dim=1), f"{name}.out")

    def turned(self, x_LE: Tensor, places: list[tuple[int, int, int, int]]) -> Tensor:
        """Pairs of channels as complex numbers, times a number of length 1 that depends on the place; not of a CLS."""
        if self.rotary_P2F is None:
            return x_LE
        complex_LF = torch.view_as_complex(x_LE.reshape(len(x_LE), -1, 2))
        factors = [
            torch.complex(*self.rotary_P2F[row * self.config.grid_size + column]) for _, row, column, _ in places
        ]
        factors = [torch.ones_like(factors[0])] * (len(x_LE) - len(places)) + factors
        return torch.view_as_real(complex_LF * torch.stack(factors)).flatten(1)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, self.config.norm_epsilon)


def plain_forward(encoder: VideoEncoder, clips: Tensor, policy: TokenPolicy) -> Tensor:
    """(B, S, E) of the steps; (B, E) in the joint regime without step outputs."""
    plain, keeps = PlainEncoder(encoder), keep_of(encoder, clips, policy)
    forward: Callable[[Tensor, Tensor], Tensor] = plain.joint if encoder.config.regime == "joint" else plain.frames
    return torch.stack([forward(clip, keep) for clip, keep in zip(clips, keeps, strict=True)])


def mean_direction(steps_BSE: Tensor) -> Tensor:
    mean_BE: Tensor = (steps_BSE / steps_BSE.norm(dim=2, keepdim=True)).mean(1)
    unit_BE: Tensor = mean_BE / mean_BE.norm(dim=1, keepdim=True)
    return unit_BE


def assert_equal(actual: Tensor | None, expected: Tensor) -> None:
    assert actual is not None
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@variants(JOINT_VARIANTS)
def test_joint_without_drops_equals_the_dense_model(config: VideoEncoderConfig) -> None:
    encoder, clips = make_encoder(config), random_clips(2)
    features = encoder(clips, DENSE)
    assert_equal(features.clip_BE, plain_forward(encoder, clips, DENSE))
    assert features.steps_BSE is None
    assert features.num_tokens_B.tolist() == [config.num_dense_tokens] * 2


@variants(JOINT_VARIANTS)
def test_joint_with_drops_equals_the_plain_encoder(config: VideoEncoderConfig) -> None:
    encoder, clips = make_encoder(config), random_clips(2)
    policy = TokenPolicy(kind="random", budget_tokens=9 + 4)
    features = encoder(clips, policy)
    assert_equal(features.clip_BE, plain_forward(encoder, clips, policy))
    assert features.num_tokens_B.tolist() == [13, 13]


@variants(
    {name: config for name, config in JOINT_VARIANTS.items() if not config.temporal_embedding},
)
def test_joint_with_identical_runs_equals_the_dense_model(config: VideoEncoderConfig) -> None:
    encoder, clips = make_encoder(config), clips_of_exact_runs(3, tubelet_size=config.tubelet_size)
    dense, features = encoder(clips, DENSE), encoder(clips, EXACT_REPEATS)
    assert (features.num_tokens_B < dense.num_tokens_B).all()
    assert_equal(features.clip_BE, dense.clip_BE)


@variants(STEP_VARIANTS)
@pytest.mark.parametrize("policy", [DENSE, EXACT_REPEATS, TokenPolicy(kind="random", budget_tokens=9 + 4)])
def test_steps_of_a_joint_encoder_equal_the_plain_encoder(config: VideoEncoderConfig, policy: TokenPolicy) -> None:
    encoder, clips = make_encoder(config), clips_of_exact_runs(3, tubelet_size=1)
    features, steps_BSE = encoder(clips, policy), plain_forward(encoder, clips, policy)
    assert steps_BSE.shape[:2] == (3, 4 // config.tubelet_size)
    assert_equal(features.steps_BSE, steps_BSE)
    assert_equal(features.clip_BE, mean_direction(steps_BSE))


def test_a_temporal_embedding_tells_repeated_steps_apart() -> None:
    encoder, clips = make_encoder(replace(JOINT, temporal_embedding=True)), clips_of_exact_runs(1, tubelet_size=1)
    assert (encoder(clips, EXACT_REPEATS).clip_BE - encoder(clips, DENSE).clip_BE).abs().max() > 1e-3


@variants({"mean": JOINT_VARIANTS["mean"], "tubelets": JOINT_VARIANTS["mean, tubelets"], "run_overlap": RUN_OVERLAP})
@pytest.mark.parametrize("policy", [TokenPolicy(), TokenPolicy(kind="budget", budget_tokens=9), DENSE])
def test_a_static_clip_equals_one_image(config: VideoEncoderConfig, policy: TokenPolicy) -> None:
    """Not joint with a CLS: the dense model weighs its one CLS against S times as many patches, and so do we."""
    encoder = make_encoder(config)
    image = random_clips(2, num_frames=1)
    features = encoder(image.expand(-1, 4, -1, -1, -1), policy)
    one = encoder(image.expand(-1, config.tubelet_size, -1, -1, -1), DENSE)
    assert_equal(features.clip_BE, one.clip_BE)
    if policy != DENSE:
        assert features.num_tokens_B.tolist() == [9, 9]
    if config.regime == "run_overlap":
        assert_equal(features.steps_BSE, one.steps_BSE.expand(-1, 4, -1))


@variants({**JOINT_VARIANTS, **STEP_VARIANTS, "run_overlap": RUN_OVERLAP})
def test_a_ragged_batch_equals_its_clips_one_by_one(config: VideoEncoderConfig) -> None:
    encoder = make_encoder(config)
    clips = torch.cat(
        [random_clips(1), clips_of_exact_runs(2, tubelet_size=2), random_clips(1)[:, :1].expand(-1, 4, -1, -1, -1)]
    )
    batch = encoder(clips, EXACT_REPEATS)
    assert len(set(batch.num_tokens_B.tolist())) > 2
    for index, clip in enumerate(clips):
        alone = encoder(clip[None], EXACT_REPEATS)
        assert_equal(batch.clip_BE[index], alone.clip_BE[0])
        assert batch.num_tokens_B[index] == alone.num_tokens_B[0]
        if batch.steps_BSE is not None:
            assert_equal(batch.steps_BSE[index], alone.steps_BSE[0])


@variants(RUN_OVERLAP_VARIANTS)
@pytest.mark.parametrize("policy", [DENSE, EXACT_REPEATS, TokenPolicy(kind="random", budget_tokens=9 + 11)])
def test_run_overlap_equals_a_double_loop_over_runs(config: VideoEncoderConfig, policy: TokenPolicy) -> None:
    encoder, clips = make_encoder(config), clips_of_exact_runs(3, tubelet_size=1)
    features, steps_BSE = encoder(clips, policy), plain_forward(encoder, clips, policy)
    assert_equal(features.steps_BSE, steps_BSE)
    assert_equal(features.clip_BE, mean_direction(steps_BSE))


def test_run_overlap_shows_the_middle_of_each_run() -> None:
    encoder, clips = make_encoder(RUN_OVERLAP), random_clips(3, num_frames=7)
    policy = TokenPolicy(kind="random", budget_tokens=9 + 9)
    assert_equal(encoder(clips, policy).steps_BSE, plain_forward(encoder, clips, policy))
    one_run = TokenPolicy(threshold_255=255)
    assert_equal(encoder(clips, one_run).clip_BE, encoder(clips[:, 3:4], DENSE).clip_BE)


def test_run_overlap_without_drops_sees_every_frame_alone() -> None:
    encoder, clips = make_encoder(RUN_OVERLAP), random_clips(2)
    steps_BSE = encoder(clips, DENSE).steps_BSE
    alone = [encoder(clips[:, step : step + 1], DENSE).steps_BSE for step in range(4)]
    assert_equal(steps_BSE, torch.cat(alone, dim=1))


def test_pixels_beyond_the_last_whole_patch_are_not_seen() -> None:
    """As by the convolution of a tower whose image size is no multiple of its patch size (SigLIP at 384 / 14)."""
    encoder = make_encoder(RUN_OVERLAP)
    clips = random_clips(2)
    wider = torch.zeros(2, 4, 15, 15, 3, dtype=torch.uint8)
    wider[:, :, :12, :12] = clips
    encoder_of_15 = VideoEncoder(replace(RUN_OVERLAP, image_size_px=15), mean=MEAN, std=STD).double().eval()
    encoder_of_15.load_state_dict(encoder.state_dict())
    assert_equal(encoder_of_15(wider, EXACT_REPEATS).steps_BSE, encoder(clips, EXACT_REPEATS).steps_BSE)


def test_run_overlap_takes_more_frames_than_it_was_configured_for() -> None:
    encoder = make_encoder(RUN_OVERLAP)
    assert encoder(random_clips(1, num_frames=7), DENSE).steps_BSE.shape == (1, 7, 6)


@variants({**JOINT_VARIANTS, **STEP_VARIANTS, **RUN_OVERLAP_VARIANTS})
def test_gradients_equal_those_of_the_plain_encoder(config: VideoEncoderConfig) -> None:
    """A ragged batch, so that padding takes part: a NaN there would spoil every gradient."""
    encoder = make_encoder(config).train()
    clips = torch.cat([random_clips(1), clips_of_exact_runs(2, tubelet_size=2)])
    features = encoder(clips, EXACT_REPEATS)
    output = features.clip_BE if features.steps_BSE is None else features.steps_BSE
    expected = plain_forward(encoder, clips, EXACT_REPEATS)
    direction = torch.randn_like(expected)
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    grads = dict(zip(names, torch.autograd.grad((output * direction).sum(), parameters), strict=True))
    expected_grads = dict(zip(names, torch.autograd.grad((expected * direction).sum(), parameters), strict=True))
    torch.testing.assert_close(grads, expected_grads, rtol=1e-9, atol=1e-9)
    assert all(grad.any() for grad in grads.values())


@variants(JOINT_VARIANTS | {"run_overlap": RUN_OVERLAP})
def test_checkpointed_blocks_give_the_same_gradients(config: VideoEncoderConfig) -> None:
    encoder = make_encoder(config).train()
    clips = clips_of_exact_runs(2, tubelet_size=2)
    grads = []
    for encoder.checkpoint_blocks in (False, True):
        loss = encoder(clips, EXACT_REPEATS).clip_BE.square().sum()
        grads.append(torch.autograd.grad(loss, list(encoder.parameters())))
    for plain, checkpointed in zip(*grads, strict=True):
        assert torch.equal(plain, checkpointed)


@variants({"joint": JOINT_VARIANTS["mean, everything"], "run_overlap": RUN_OVERLAP})
def test_bfloat16_autocast_stays_close(config: VideoEncoderConfig) -> None:
    """What a trainer's bf16-mixed precision does."""
    encoder, clips = make_encoder(config).float(), clips_of_exact_runs(2, tubelet_size=1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = encoder(clips, EXACT_REPEATS).clip_BE
    mixed.float().sum().backward()
    exact = encoder(clips, EXACT_REPEATS).clip_BE
    assert functional.cosine_similarity(mixed.float(), exact).min() > 0.999
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_the_run_length_embedding_starts_as_if_unknown() -> None:
    torch.manual_seed(0)
    config = replace(JOINT, run_length_embedding=True, temporal_embedding=True)
    encoder = VideoEncoder(config, mean=MEAN, std=STD).eval()
    assert encoder.get_parameter("run_length_embedding").shape == (4, 16)
    assert not encoder.get_parameter("run_length_embedding").any()
    assert encoder.get_parameter("temporal_embedding").std() > 0.01


def test_the_run_length_embedding_is_looked_up_by_length() -> None:
    """Only the row of length 3 differs from zero: it changes the clip with a run of 3 and no other."""
    encoder = make_encoder(replace(JOINT, run_length_embedding=True))
    clips = random_clips(2)
    clips[:, :, 4:] = clips[:, :1, 4:]  # rows 1 and 2 hold still: runs of 4
    clips[0, 2:, :4] = clips[0, 1:2, :4]  # row 0 of the first clip: runs of 1 and 3
    clips[1, 3:, :4] = clips[1, 2:3, :4]  # of the second: runs of 1, 1 and 2
    with torch.no_grad():
        table = encoder.get_parameter("run_length_embedding").zero_()
        without = encoder(clips, EXACT_REPEATS).clip_BE
        table[2] = 1.0 + torch.arange(16)
        change_B = (encoder(clips, EXACT_REPEATS).clip_BE - without).abs().amax(1)
    assert change_B[0] > 1e-3
    assert change_B[1] == 0


def test_drop_path_draws_for_each_clip_by_itself() -> None:
    """With the MLP silenced the block adds its attention branch twice or not at all, the same for a whole clip."""
    torch.manual_seed(0)
    num_clips, num_slots = 200, 3
    block = Block(width=8, num_heads=2, mlp_width=8, activation="gelu", norm_epsilon=1e-5, drop_path=0.5)
    torch.nn.init.zeros_(block.get_parameter("mlp.2.weight"))
    torch.nn.init.zeros_(block.get_parameter("mlp.2.bias"))
    clip_M = torch.arange(num_clips).repeat_interleave(num_slots)
    sequences = joint_attention(
        pack(torch.ones(num_clips, num_slots, 1, 1, dtype=torch.bool)), num_cls=0, dtype=torch.float32
    )
    assert torch.equal(sequences.clip_M, clip_M)
    x_MD = torch.randn(num_clips * num_slots, 8)
    branch = block.eval()(x_MD, sequences) - x_MD
    trained = block.train()(x_MD, sequences) - x_MD
    factor_BL = (trained / branch).median(1).values.view(num_clips, num_slots)
    torch.testing.assert_close(trained, branch * factor_BL.view(-1, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(factor_BL, factor_BL[:, :1].expand(-1, num_slots), rtol=1e-3, atol=1e-3)
    assert set(factor_BL[:, 0].round().tolist()) == {0.0, 2.0}
    assert 0.35 < (factor_BL[:, 0] > 1).float().mean() < 0.65


def test_drop_path_grows_linearly_with_depth() -> None:
    encoder = VideoEncoder(replace(JOINT, depth=5, drop_path=0.4), mean=MEAN, std=STD)
    assert [block.drop_path for block in encoder.blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (
            torch.zeros(1, 4, 12, 12, 3),
            "clips must be uint8 of shape (B, T, 12, 12, 3), got torch.float32 (1, 4, 12, 12, 3)",
        ),
        (random_clips(1)[:, :, :8], "got torch.uint8 (1, 4, 8, 12, 3); apply the model's Preprocess first"),
        (random_clips(1)[0], "got torch.uint8 (4, 12, 12, 3)"),
        (random_clips(1, num_frames=5), "clips of at most 4 frames, got 5; sample fewer frames per clip"),
        (random_clips(1, num_frames=3), "clips of 3 frames of 12x12 px do not divide into tubelets of 2 frames"),
    ],
)
def test_clips_that_do_not_fit_are_refused(clips: Tensor, message: str) -> None:
    encoder = VideoEncoder(replace(JOINT, tubelet_size=2), mean=MEAN, std=STD)
    with pytest.raises(ConfigError, match=re.escape(message)):
        encoder(clips, DENSE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size_px": 3}, "image_size_px must be patch_size_px or more"),
        ({"num_frames": 5, "tubelet_size": 2}, "num_frames must be a multiple of tubelet_size"),
        ({"num_heads": 3}, "width must be a multiple of num_heads"),
        ({"regime": "run_overlap", "tubelet_size": 2}, "run_overlap regime looks at single frames: tubelet_size = 1"),
        ({"pooling": "attention"}, "attention pooling belongs to the run_overlap regime"),
        ({"cls_token": False}, "pooling = 'cls' needs a CLS token"),
        ({"regime": "run_overlap", "step_outputs": True}, "run_overlap has an output for each frame anyway"),
        ({"step_outputs": True}, "step_outputs of CLS tokens need a temporal embedding"),
        ({"norm_after_pooling": True}, "norm_after_pooling is for mean pooling"),
        ({"projection": "none"}, "without a projection embed_dim is the width"),
        ({"projection": "mlp"}, "projection must be one of ('linear', 'affine', 'none')"),
        ({"pool_heads": 3}, "width must be a multiple of pool_heads"),
        ({"num_heads": 8, "rotary_embedding": True}, "rotary embeddings need heads of a multiple of 4"),
        ({"regime": "run_overlap", "temporal_embedding": True}, "run-length embeddings belong to the joint regime"),
        ({"regime": "run_overlap", "run_length_embedding": True}, "run-length embeddings belong to the joint regime"),
        ({"regime": "dense"}, "regime must be one of ('joint', 'run_overlap')"),
        ({"pooling": "max"}, "pooling must be one of ('cls', 'mean', 'attention')"),
        ({"activation": "relu"}, "activation must be one of ('gelu', 'gelu_tanh', 'quick_gelu')"),
        ({"drop_path": 1.0}, "drop_path must be in [0, 1)"),
        ({"patch_size_px": 0}, "patch_size_px must be 1 to 65536, got 0"),
        ({"depth": -1}, "depth must be 1 to 256, got -1"),
    ],
)
def test_architectures_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        replace(JOINT, **change)


def test_every_problem_of_an_architecture_is_named_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"image_size_px must be .*; width must be .*; got VideoEncoderConfig\("
    ) as info:
        replace(JOINT, image_size_px=3, num_heads=3)
    assert str(info.value).startswith("video encoder: ")


def test_sizes_that_follow_from_the_architecture() -> None:
    config = replace(JOINT, num_frames=8, tubelet_size=2)
    assert (config.grid_size, config.num_steps, config.num_dense_tokens) == (3, 4, 36)


class TestDualEncoder:
    @pytest.fixture
    def dual(self) -> DualEncoder:
        torch.manual_seed(0)
        vocabulary = fit_vocabulary(["open the fridge", "close the fridge"], vocab_size=100)
        text = SentencePieceText.with_vocabulary(
            SentencePieceTextConfig(vocab_size=100, width=8, embed_dim=6), vocabulary
        )
        inference = InferenceConfig(
            preprocess=Preprocess(image_size_px=12, mean=MEAN, std=STD),
            sampling=ClipSampling(clip_s=2.0, stride_s=1.0, num_frames=4),
            policy=TokenPolicy(kind="random", budget_tokens=9),
        )
        return DualEncoder(video=VideoEncoder(JOINT, mean=MEAN, std=STD), text=text, inference=inference).eval()

    def test_both_sides_are_unit_vectors_of_one_space(self, dual: DualEncoder) -> None:
        video_BE = dual.encode_video(random_clips(3))
        text_BE = dual.encode_text(dual.text.tokenize(["open", "close"]))
        assert video_BE.shape == (3, 6)
        assert text_BE.shape == (2, 6)
        for vectors in (video_BE, text_BE):
            torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))

    def test_its_own_policy_holds_unless_another_is_given(self, dual: DualEncoder) -> None:
        clips = random_clips(1)
        own, dense = dual.encode_video(clips), dual.encode_video(clips, DENSE)
        assert torch.equal(own, dual.encode_video(clips, dual.inference.policy))
        torch.testing.assert_close(dense, functional.normalize(dual.video(clips, DENSE).clip_BE, dim=1))
        assert (own - dense).abs().max() > 1e-3

    def test_the_temperature_starts_at_the_one_of_clip(self, dual: DualEncoder) -> None:
        assert dual.logit_scale.exp().item() == pytest.approx(1 / 0.07)

    def test_towers_of_different_sizes_are_refused(self, dual: DualEncoder) -> None:
        video = VideoEncoder(replace(JOINT, embed_dim=7), mean=MEAN, std=STD)
        with pytest.raises(ConfigError, match="video and text must have the same embed_dim, got 7 and 6"):
            DualEncoder(video=video, text=dual.text, inference=dual.inference)


def test_a_text_architecture_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="text tower: width must be a multiple of num_heads"):
        SentencePieceTextConfig(vocab_size=10, width=10, num_heads=4)
    with pytest.raises(ConfigError, match="context_length must be 1 to 65536, got 0"):
        SentencePieceTextConfig(vocab_size=10, context_length=0)
    assert OpenClipTextConfig(architecture="ViT-B-32", embed_dim=512).architecture == "ViT-B-32"


def test_without_log_run_length_every_key_weighs_the_same() -> None:
    """A still clip of runs equals the dense clip only when a run counts as often as it lasts."""
    still_BTHWC = torch.from_numpy(half_static_clips(1)[:, :1]).expand(-1, 4, -1, -1, -1).clone()
    still_BTHWC[:, 2:, :8] = 255 - still_BTHWC[:, 2:, :8]
    outputs = {}
    for flag in (True, False):
        encoder = tiny_dual(replace(TINY, log_run_length=flag, temporal_embedding=False, run_length_embedding=False))
        runs, dense = (encoder.encode_video(still_BTHWC, policy) for policy in (TokenPolicy(), DENSE))
        outputs[flag] = float((runs - dense).detach().abs().max())
    assert outputs[True] < 1e-5 < outputs[False]


@pytest.mark.parametrize("num_tokens", [0, 1, 256, 600])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_in_inference_equal_those_of_torch(num_tokens: int, *, bias: bool) -> None:
    layer, x_MD = Linear(24, 40, bias=bias), torch.randn(num_tokens, 24)
    expected = functional.linear(x_MD, layer.weight, layer.bias)
    with torch.inference_mode():
        assert torch.allclose(layer(x_MD), expected, atol=1e-6)
        assert torch.allclose(layer(x_MD[None]), expected, atol=1e-6)
        assert torch.allclose(layer.double()(x_MD.double()).float(), expected, atol=1e-6)
        assert layer.bfloat16()(x_MD.bfloat16()).dtype == torch.bfloat16


def test_linear_layers_that_learn_are_those_of_torch() -> None:
    layer, x_MD = Linear(24, 40), torch.randn(50, 24, requires_grad=True)
    layer(x_MD).sum().backward()
    assert x_MD.grad is not None
    assert torch.allclose(x_MD.grad, layer.weight.sum(0).expand(50, -1), atol=1e-5)
