"""The picture of a clip's tokens: what is bright was encoded, its colour says for how long, and the numbers agree."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media import Recipe, write_video
from PIL import Image
from towers import INFERENCE, TINY_RUN_OVERLAP, half_static_clips, tiny_dual

from vlrlt.embed import DualEncoderEmbedder
from vlrlt.errors import ConfigError, DecodeError
from vlrlt.explain import clip_tokens, darken_dropped, draw_run_lengths, draw_sheet, explain
from vlrlt.types import Clip, ClipSpan
from vlrlt.video.decode import open_decoder, probe


@pytest.fixture(scope="module")
def embedder() -> DualEncoderEmbedder:
    return DualEncoderEmbedder(tiny_dual(TINY_RUN_OVERLAP), name="tiny", device=torch.device("cpu"))


@pytest.fixture
def clip() -> Clip:
    rgb_THWC = half_static_clips(1)[0]
    times_s = np.arange(len(rgb_THWC)) / 4
    return Clip(
        span=ClipSpan(0, 1),
        own=ClipSpan(0, 1),
        rgb_THWC=rgb_THWC,
        pts_s=times_s,
        starts_s=times_s,
        num_looks_T=np.ones(len(rgb_THWC), np.int64),
        num_looks=len(rgb_THWC),
        num_static=0,
    )


def test_tokens_are_those_of_the_encoder(embedder: DualEncoderEmbedder, clip: Clip) -> None:
    tokens = clip_tokens(clip, embedder)
    encoded = embedder.embed_clips(clip.rgb_THWC[None])
    assert tokens.num_tokens == encoded.num_tokens_B[0] < encoded.num_dense_tokens == tokens.keep_Shw.size
    assert (tokens.run_length_Shw.sum(0) == len(tokens.keep_Shw)).all()
    assert ((tokens.run_length_Shw > 0) == tokens.keep_Shw).all()
    numbers = tokens.as_json()
    assert numbers["tokens"] == sum(numbers["tokens_per_step"])
    assert numbers["kept"] == pytest.approx(tokens.num_tokens / tokens.keep_Shw.size, abs=1e-4)


def test_only_what_is_kept_is_bright() -> None:
    rgb_HWC = np.full((8, 8, 3), 200, np.uint8)
    keep_hw = np.array([[True, False], [False, True]])
    dark_HWC = darken_dropped(rgb_HWC, keep_hw, patch_size_px=4)
    assert (dark_HWC[:4, :4] == 200).all()
    assert (dark_HWC[:4, 4:] == 40).all()
    assert (dark_HWC[4:, 4:] == 200).all()


def test_a_tower_whose_size_is_no_multiple_of_the_patch(tmp_path: Path) -> None:
    """Such as ViT-SO400M-14-SigLIP-384: 27 patches of 14 pixels leave a margin of 6, which it does not see."""
    config = replace(TINY_RUN_OVERLAP, image_size_px=19)
    dual = tiny_dual(config)
    dual.inference = replace(INFERENCE, preprocess=replace(INFERENCE.preprocess, image_size_px=19))
    odd = DualEncoderEmbedder(dual, name="odd", device=torch.device("cpu"))
    video = write_video(tmp_path / "a.mp4", Recipe())
    for name in ("a.png", "a.mp4"):
        (*_, tokens) = explain(video, tmp_path / f"drawn-{name}", embedder=odd, span=ClipSpan(0, 2))
        assert tokens.keep_Shw.shape[1:] == (2, 2)
        encoded = odd.embed_clips(tokens.clip.rgb_THWC[None])
        assert tokens.num_tokens == encoded.num_tokens_B[0]
    dark_HWC = darken_dropped(np.full((19, 19, 3), 200, np.uint8), np.ones((2, 2), np.bool_), patch_size_px=8)
    assert (dark_HWC[16:] == 40).all()
    assert (dark_HWC[:, 16:] == 40).all()
    assert (dark_HWC[:16, :16] == 200).all()


def test_longer_runs_have_other_colours_and_dropped_patches_none() -> None:
    picture = np.asarray(draw_run_lengths(np.array([[0, 1], [4, 8]]), num_steps=8, size_px=4))
    colours = [tuple(picture[row, column].tolist()) for row in (0, 2) for column in (0, 2)]
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == 4


def test_the_sheet_shows_every_step(embedder: DualEncoderEmbedder, clip: Clip) -> None:
    tokens = clip_tokens(clip, embedder)
    sheet = draw_sheet(tokens, title="title")
    num_steps = len(tokens.keep_Shw)
    assert sheet.width == num_steps * 200 + 8
    first = np.asarray(sheet)[66 : 66 + 192, 8 : 8 + 192]
    expected = Image.fromarray(clip.rgb_THWC[0]).resize((192, 192), Image.Resampling.BICUBIC)
    assert np.abs(first.astype(int) - np.asarray(expected)).max() == 0, "nothing of the first step is dropped"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_of_the_first_clip_in_the_span(embedder: DualEncoderEmbedder, tmp_path: Path, suffix: str) -> None:
    video = write_video(tmp_path / "a.mp4", Recipe())
    out = tmp_path / f"tokens{suffix}"
    (tokens,) = explain(video, out, embedder=embedder, span=ClipSpan(0.5, 3))
    assert tokens.clip.span.start_s == 0.5
    with Image.open(out) as picture:
        assert picture.width > 192


def test_a_film_plays_as_long_as_its_clips(embedder: DualEncoderEmbedder, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", Recipe())
    out = tmp_path / "tokens.mp4"
    tokens = explain(video, out, embedder=embedder, span=ClipSpan(0, 30))
    length_s = tokens[-1].clip.span.end_s - float(tokens[0].clip.pts_s[0])
    assert probe(out).duration_s == pytest.approx(length_s, abs=0.05)
    with open_decoder(out) as film:
        first = next(iter(film.frames_at([0.0]))).rgb_HWC
    assert first.shape == (384, 384, 3)


def test_overlapping_clips_do_not_run_backwards(tmp_path: Path) -> None:
    dual = tiny_dual(TINY_RUN_OVERLAP)
    sampling: Any = INFERENCE.sampling
    dual.inference = type(INFERENCE)(
        preprocess=INFERENCE.preprocess,
        sampling=type(sampling)(clip_s=1.0, stride_s=0.25, num_frames=sampling.num_frames),
        policy=INFERENCE.policy,
    )
    embedder = DualEncoderEmbedder(dual, name="tiny", device=torch.device("cpu"))
    video = write_video(tmp_path / "a.mp4", Recipe())
    explain(video, tmp_path / "tokens.mp4", embedder=embedder, span=ClipSpan(0, 30))
    assert probe(tmp_path / "tokens.mp4").duration_s == pytest.approx(probe(video).duration_s, abs=0.3)


def test_what_cannot_be_drawn_is_refused(embedder: DualEncoderEmbedder, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", Recipe())
    with pytest.raises(ConfigError, match=r"--out must end in one of .png, .jpg, .jpeg, .mp4, got 'a.txt'; try a.png"):
        explain(video, tmp_path / "a.txt", embedder=embedder, span=ClipSpan(0, 1))
    with pytest.raises(ConfigError, match="cannot be written"):
        explain(video, tmp_path / "absent" / "a.png", embedder=embedder, span=ClipSpan(0, 1))
    (tmp_path / "noise.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(DecodeError, match=r"noise\.mp4"):
        explain(tmp_path / "noise.mp4", tmp_path / "a.png", embedder=embedder, span=ClipSpan(0, 1))
