"""Clips to vectors, in batches that fit into memory. Legend: B clips, S outputs of a clip, D embedding."""

import time
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from vlrlt.errors import ConfigError
from vlrlt.index.run.run_report import Counters
from vlrlt.memory import give_back_freed
from vlrlt.types import Clip, ClipEmbeddings, Float32Array, UInt8Array
from vlrlt.video.sampling import frames_per_clip

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder

Outputs = tuple[Float32Array, Float32Array]
"""Of one clip: unit vectors (S, D), and the share of the patches that have changed since the output before, (S,)."""

MAX_TOKENS = 32_768
"""Dense tokens of a batch; what is kept is never more."""

_GIVE_BACK_EVERY_S = 5.0
_SAMPLE_VECTORS = 4
_SAMPLE_SHARE = 0.02
"""Of the encoding time, that comparing may cost, beyond its first clip."""


class Encoder:
    """Runs an embedder under a token budget and keeps count.

    Args:
        embedder: the model.
        counters: gets seconds and tokens.
        max_tokens: most dense tokens of a batch; a single clip may have more.
    """

    def __init__(self, embedder: "Embedder", counters: Counters, *, max_tokens: int = MAX_TOKENS) -> None:
        self.embedder = embedder
        self._counters = counters
        self._max_tokens = max_tokens
        self._sample: list[UInt8Array] = []
        self._gave_back_s = 0.0

    @cached_property
    def _dense_tokens_per_clip(self) -> int:
        """Asked for once: batches, and with them the last bits of vectors, must not depend on where a run began."""
        side_px = self.embedder.preprocess.image_size_px
        black_BTHWC = np.zeros((1, frames_per_clip(self.embedder.sampling), side_px, side_px, 3), np.uint8)
        return self.embedder.embed_clips(black_BTHWC).num_dense_tokens

    @property
    def batch_clips(self) -> int:
        """How many clips a batch may have."""
        return max(1, self._max_tokens // self._dense_tokens_per_clip)

    def encode_clips(self, clips: Sequence[Clip]) -> list[Outputs]:
        """What the model says along each clip; see `encode`."""
        return self.encode_ragged([clip.rgb_THWC for clip in clips])

    def encode_ragged(self, clips: Sequence[UInt8Array]) -> list[Outputs]:
        """The same for frames of clips, (T, H, W, C) each; those of different T are different batches."""
        batches = [np.stack(list(alike)) for _, alike in groupby(clips, key=len)]
        return [outputs for rgb_BTHWC in batches for outputs in self.encode(rgb_BTHWC)]

    def encode(self, rgb_BTHWC: UInt8Array) -> list[Outputs]:
        """What the model says along each clip. Where memory runs out, batches are halved from then on.

        Raises:
            ConfigError: not even one clip fits.
        """
        started_s = time.perf_counter()
        encoded = self._encode(rgb_BTHWC)
        ended_s = time.perf_counter()
        self._counters.encode_s += ended_s - started_s
        if ended_s - self._gave_back_s >= _GIVE_BACK_EVERY_S:
            give_back_freed()
            self._gave_back_s = ended_s
        if len(self._sample) < _SAMPLE_VECTORS:
            self._sample.append(rgb_BTHWC[-1])
        return encoded

    def count_static(self, num_frames: int) -> None:
        """Note frames that need no encoding."""
        self._counters.static_looks += num_frames
        per_frame = self._dense_tokens_per_clip // frames_per_clip(self.embedder.sampling)
        self._counters.dense_tokens += num_frames * per_frame

    def compare_with_dense(self) -> None:
        """Estimate from a few of the clips how long the model would have taken without dropping tokens."""
        policy = self.embedder.policy
        if not self._sample or policy is None or policy.kind == "none" or not self._counters.tokens:
            return
        from vlrlt.embed import DualEncoderEmbedder
        from vlrlt.tokens.run_length import DENSE

        if not isinstance(self.embedder, DualEncoderEmbedder):  # only those of our own can do without dropping
            return
        seconds = {"kept": 0.0, "dense": 0.0}
        for rgb_THWC in self._sample:
            if sum(seconds.values()) > _SAMPLE_SHARE * self._counters.encode_s:
                break
            for name, used in (("kept", policy), ("dense", DENSE)):
                started_s = time.perf_counter()
                self.embedder.embed_clips(rgb_THWC[None], policy=used)
                seconds[name] += time.perf_counter() - started_s
        num_encoded, num_static = self._counters.looks, self._counters.static_looks
        encoded_s = self._counters.encode_s * (num_encoded + num_static) / max(1, num_encoded)
        self._counters.dense_encode_s = encoded_s * seconds["dense"] / seconds["kept"]

    def _encode(self, rgb_BTHWC: UInt8Array) -> list[Outputs]:
        try:
            embeddings = self.embedder.embed_clips(rgb_BTHWC)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            half = len(rgb_BTHWC) // 2
            if half == 0:
                raise ConfigError(
                    "not even one clip fits into memory; try a smaller model, fewer --frames or --device cpu"
                ) from error
            self._max_tokens = max(1, self._max_tokens // 2)
            return self._encode(rgb_BTHWC[:half]) + self._encode(rgb_BTHWC[half:])
        self._counters.tokens += int(embeddings.num_tokens_B.sum())
        self._counters.dense_tokens += embeddings.num_dense_tokens * len(rgb_BTHWC)
        self._counters.looks += rgb_BTHWC.shape[0] * rgb_BTHWC.shape[1]
        return outputs_of(embeddings)


def outputs_of(embeddings: ClipEmbeddings) -> list[Outputs]:
    """The outputs of each clip, and what has changed at each."""
    outputs_BSD, changed_BS = embeddings.outputs_BSD, embeddings.changed_BS
    if outputs_BSD is None:
        outputs_BSD = embeddings.vectors_BD[:, None]
    if changed_BS is None:
        kept_B = embeddings.num_tokens_B.astype(np.float32) / embeddings.num_dense_tokens
        changed_BS = np.repeat(kept_B[:, None], outputs_BSD.shape[1], axis=1)
    return list(zip(outputs_BSD, changed_BS, strict=True))


def _is_out_of_memory(error: Exception) -> bool:
    """torch.OutOfMemoryError on a GPU, "DefaultCPUAllocator: can't allocate memory" on a CPU."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in words or "allocate memory" in words
