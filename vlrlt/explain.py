"""Run-length tokens of a video as a picture or a short film: which patches are kept, and for how long.

Shape legend: T frames, S steps, h x w patch grid, H = W image size, C = 3.
"""

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from vlrlt.embed import DualEncoderEmbedder
from vlrlt.embedder import Embedder
from vlrlt.errors import ConfigError, DecodeError
from vlrlt.tokens.run_length import DENSE, run_lengths
from vlrlt.types import BoolArray, Clip, ClipSpan, Frame, Int64Array, UInt8Array
from vlrlt.video.media import write_mp4
from vlrlt.video.sampling import query_sampling
from vlrlt.video.worker import DecodeProcess

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
FILM_SUFFIXES = (".mp4",)

_CELL_PX = 192
"""Side of a frame on the sheet."""
_COLUMNS = 8
_MARGIN_PX = 8
_LINE_PX = 22
_DROPPED = 0.2
"""Brightness of what is dropped."""


@dataclass(frozen=True, kw_only=True)
class ClipTokens:
    """A clip and its tokens."""

    clip: Clip
    keep_Shw: BoolArray
    run_length_Shw: Int64Array
    """In steps; 0 where dropped."""
    patch_size_px: int
    encode_s: float
    dense_s: float
    """Seconds to encode the same clip without dropping anything."""

    @property
    def num_tokens(self) -> int:
        """Tokens that are encoded."""
        return int(self.keep_Shw.sum())

    def step_of(self, frame: int) -> int:
        """The step that a frame belongs to."""
        return frame * len(self.keep_Shw) // len(self.clip.rgb_THWC)

    def shown(self, frame: int) -> UInt8Array:
        """A frame in which only the patches are bright that are kept of its step."""
        keep_hw = self.keep_Shw[self.step_of(frame)]
        return darken_dropped(self.clip.rgb_THWC[frame], keep_hw, patch_size_px=self.patch_size_px)

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of one clip of `vlrlt explain --json`."""
        return {
            "start_s": round(self.clip.span.start_s, 3),
            "end_s": round(self.clip.span.end_s, 3),
            "tokens": self.num_tokens,
            "dense_tokens": self.keep_Shw.size,
            "kept": round(self.num_tokens / self.keep_Shw.size, 4),
            "tokens_per_step": self.keep_Shw.sum((1, 2)).tolist(),
            "mean_run_length": round(self.keep_Shw.size / self.num_tokens, 2),
            "encode_s": round(self.encode_s, 4),
            "dense_s": round(self.dense_s, 4),
        }

    def as_text(self) -> str:
        """The same in a line."""
        return (
            f"{self.clip.span.start_s:.1f} - {self.clip.span.end_s:.1f} s: {self.num_tokens:,} of "
            f"{self.keep_Shw.size:,} tokens ({self.num_tokens / self.keep_Shw.size:.0%}), "
            f"encoded in {self.encode_s:.2f} s, dense {self.dense_s:.2f} s"
        )


def explain(path: Path, out: Path, *, embedder: Embedder, span: ClipSpan) -> tuple[ClipTokens, ...]:
    """Draw the tokens of the clips of a video that begin inside a span.

    Args:
        path: the video.
        out: a .png or .jpg shows the first clip, frame by frame, above its run lengths; an .mp4 plays all of them, with
            what is dropped in the dark.
        embedder: whose clips, patches and policy.
        span: seconds of the video.

    Returns:
        What was drawn.

    Raises:
        ConfigError: out has another suffix or cannot be written, or the model has no tokens to show.
        DecodeError: the video cannot be read there.
    """
    suffix = out.suffix.lower()
    if suffix not in PICTURE_SUFFIXES + FILM_SUFFIXES:
        allowed = ", ".join(PICTURE_SUFFIXES + FILM_SUFFIXES)
        raise ConfigError(f"--out must end in one of {allowed}, got {out.name!r}; try {out.stem}.png")
    with contextlib.closing(read_tokens(path, embedder=embedder, span=span)) as clips:
        tokens = list(islice(clips, 1 if suffix in PICTURE_SUFFIXES else None))
    if not tokens:
        raise DecodeError(path, stage="decode", reason=f"no clip between {span.start_s} and {span.end_s} s")
    try:
        if suffix in PICTURE_SUFFIXES:
            draw_sheet(tokens[0], title=f"{path.name}   {tokens[0].as_text()}").save(out)
        else:
            write_mp4(_film(tokens), out, height_px=2 * _CELL_PX)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error}; try another folder") from error
    return tuple(tokens)


def read_tokens(path: Path, *, embedder: Embedder, span: ClipSpan) -> Generator[ClipTokens]:
    """The clips of a video that begin inside a span, with their tokens.

    Raises:
        ConfigError: the model has no tokens to show.
        DecodeError: the video cannot be read there.
    """
    if not isinstance(embedder, DualEncoderEmbedder):
        raise ConfigError(f"{embedder.name} does not report which tokens it keeps")
    with DecodeProcess() as decoder:
        decoded = decoder.clips(
            path, sampling=query_sampling(embedder.sampling), preprocess=embedder.preprocess, within=span
        )
        yield from (clip_tokens(clip, embedder) for clip in decoded)


def clip_tokens(clip: Clip, embedder: DualEncoderEmbedder) -> ClipTokens:
    """Keep mask and run lengths of a clip, and what encoding it costs with and without them."""
    batch_BTHWC = clip.rgb_THWC[None]
    keep_Shw = embedder.keep_mask(batch_BTHWC)[0]
    started_s = time.perf_counter()
    embedder.embed_clips(batch_BTHWC)
    encoded_s = time.perf_counter()
    embedder.embed_clips(batch_BTHWC, policy=DENSE)
    return ClipTokens(
        clip=clip,
        keep_Shw=keep_Shw,
        patch_size_px=embedder.patch_size_px,
        run_length_Shw=run_lengths(torch.from_numpy(keep_Shw)[None])[0].numpy(),
        encode_s=encoded_s - started_s,
        dense_s=time.perf_counter() - encoded_s,
    )


def darken_dropped(rgb_HWC: UInt8Array, keep_hw: BoolArray, *, patch_size_px: int) -> UInt8Array:
    """A frame in which only kept patches are bright, and no margin that the patches leave out."""
    keep_HW = keep_hw.repeat(patch_size_px, 0).repeat(patch_size_px, 1)
    bright_HWC = (rgb_HWC * _DROPPED).astype(np.uint8)
    height_px, width_px = keep_HW.shape
    bright_HWC[:height_px, :width_px][keep_HW] = rgb_HWC[:height_px, :width_px][keep_HW]
    return bright_HWC


def draw_run_lengths(run_length_hw: Int64Array, *, num_steps: int, size_px: int) -> Image.Image:
    """Kept patches in a colour from violet (one step) to yellow (the whole clip); dropped ones are dark."""
    rgb_hwC = np.zeros((*run_length_hw.shape, 3), np.uint8)
    for row, column in np.argwhere(run_length_hw > 0):
        rgb_hwC[row, column] = _colour(int(run_length_hw[row, column]), num_steps)
    return Image.fromarray(rgb_hwC).resize((size_px, size_px), Image.Resampling.NEAREST)


def draw_sheet(tokens: ClipTokens, *, title: str) -> Image.Image:
    """Every step of a clip: its first frame with dropped patches in the dark, and below it the run lengths."""
    num_steps = len(tokens.keep_Shw)
    tubelet_size = len(tokens.clip.rgb_THWC) // num_steps
    columns = min(_COLUMNS, num_steps)
    rows = -(-num_steps // columns)
    cell = _CELL_PX + _MARGIN_PX
    row_px = 2 * cell + _LINE_PX
    sheet = Image.new("RGB", (columns * cell + _MARGIN_PX, 2 * _LINE_PX + rows * row_px + _MARGIN_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    draw.text((_MARGIN_PX, 4), title, fill="black", font=font)
    _draw_legend(draw, font, num_steps)
    for step in range(num_steps):
        left, top = _MARGIN_PX + step % columns * cell, 2 * _LINE_PX + step // columns * row_px
        frame = step * tubelet_size
        kept = f"{tokens.clip.pts_s[frame]:.2f} s   {int(tokens.keep_Shw[step].sum())} tokens"
        draw.text((left, top + 2), kept, fill="black", font=font)
        picture = Image.fromarray(tokens.shown(frame))
        sheet.paste(picture.resize((_CELL_PX, _CELL_PX), Image.Resampling.BICUBIC), (left, top + _LINE_PX))
        lengths = draw_run_lengths(tokens.run_length_Shw[step], num_steps=num_steps, size_px=_CELL_PX)
        sheet.paste(lengths, (left, top + _LINE_PX + cell))
    return sheet


def _draw_legend(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, num_steps: int) -> None:
    left, top = _MARGIN_PX, _LINE_PX
    draw.text((left, top + 2), "run length in steps:", fill="black", font=font)
    for length in range(1, num_steps + 1):
        left = 150 + (length - 1) * 30
        draw.rectangle((left, top, left + 28, top + _LINE_PX - 4), fill=_colour(length, num_steps))
        draw.text((left + 4, top + 1), str(length), fill="white" if length < num_steps / 2 else "black", font=font)
    draw.text(
        (left + 40, top + 2), "dark: dropped, represented by the token of an earlier step", fill="black", font=font
    )


def _colour(run_length: int, num_steps: int) -> tuple[int, int, int]:
    """From violet over red to yellow."""
    share = (run_length - 1) / max(1, num_steps - 1)
    stops = np.array([(72, 20, 140), (205, 60, 90), (252, 225, 60)], np.float64)
    channels = [np.interp(share, (0, 0.5, 1), stops[:, channel]) for channel in range(3)]
    red, green, blue = (round(float(channel)) for channel in channels)
    return red, green, blue


def _film(tokens: Sequence[ClipTokens]) -> Iterator[tuple[Frame, float, float]]:
    """All frames in order, each with the time it comes and goes; frames of overlapping clips are shown once."""
    frames = [(float(pts_s), each.shown(number)) for each in tokens for number, pts_s in enumerate(each.clip.pts_s)]
    shown: list[tuple[float, UInt8Array]] = []
    for pts_s, rgb_HWC in frames:
        if not shown or pts_s > shown[-1][0]:
            shown.append((pts_s, rgb_HWC))
    begin_s, end_s = shown[0][0], tokens[-1].clip.span.end_s
    ends_s = [pts_s for pts_s, _ in shown[1:]] + [max(end_s, shown[-1][0] + 0.04)]
    for (pts_s, rgb_HWC), until_s in zip(shown, ends_s, strict=True):
        yield Frame(_enlarged(rgb_HWC), pts_s), pts_s - begin_s, until_s - begin_s


def _enlarged(rgb_HWC: UInt8Array) -> UInt8Array:
    size_px = 2 * _CELL_PX
    return np.asarray(Image.fromarray(rgb_HWC).resize((size_px, size_px), Image.Resampling.BICUBIC))
