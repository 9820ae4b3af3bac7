"""The sound of a piece of video as samples for a model. Legend: N samples."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlrlt.types import ClipSpan, Float32Array
from vlrlt.video.limited import Limits, call_limited
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.sound import Sound

RATE_HZ = 16_000
"""What speech models take: one channel, so many samples a second."""
_CPU_S, _CPU_S_PER_S = 60.0, 1.0


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Sound on the clock of a span: silence where there is none."""

    samples_N: Float32Array
    """In [-1, 1], RATE_HZ a second; none: the video has no sound there."""
    problem: str | None
    """Why there is none, or less than there should be."""


def read_samples(path: Path, span: ClipSpan) -> Samples:
    """Decode the sound of a span in a limited child.

    Raises:
        DecodeError: the video cannot be opened.
    """
    limits = Limits(path=path, cpu_s=_CPU_S + _CPU_S_PER_S * span.end_s)
    header, _, pcm = call_limited(_samples, limits, path, span.start_s, span.end_s).partition(b"\n")
    samples_N = np.frombuffer(pcm, "<i2").astype(np.float32)
    return Samples(samples_N=samples_N / np.float32(2**15), problem=json.loads(header)["problem"])


def _samples(path: Path, start_s: float, end_s: float) -> bytes:
    """A line of JSON, then 16-bit samples."""
    with PyAVDecoder(path) as decoder:
        clock = decoder.file_clock
    with Sound(path, ClipSpan(start_s, end_s), clock=clock) as sound:
        if sound.rate_hz is not None:
            sound.rate_hz, sound.layout = RATE_HZ, "mono"
        parts = [_as_pcm(frame.to_ndarray()[0]) for frame in sound.frames()]
        return json.dumps({"problem": sound.problem}).encode() + b"\n" + b"".join(parts)


def _as_pcm(samples_N: Float32Array) -> bytes:
    """Damaged sound may hold numbers that are none."""
    loud_N = np.clip(np.nan_to_num(samples_N), -1, 1 - 2**-15)
    return (loud_N * 2**15).astype("<i2").tobytes()
