"""Stored frame runs of a video, and the one that a killed index run has left open.

Legend: D embedding.
"""

from dataclasses import dataclass

import numpy as np

from vlrlt.types import ClipSpan, Float32Array


@dataclass(frozen=True, kw_only=True)
class FrameRun:
    """Consecutive looks whose outputs agree."""

    span: ClipSpan
    """In presentation time: from its first look to the first look of the next run."""
    num_looks: int
    kept_share: float
    """Share of the patches that change from one look to the next, in [0, 1]."""
    vector_D: Float32Array
    """Mean direction of its outputs."""


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A frame run that may still grow."""

    start_s: float
    num_looks: int
    changes: float
    """Sum over its looks of the share of patches that have changed."""
    sum_D: Float32Array
    """Of its outputs, each counted as often as the looks that it stands for."""
    reference_D: Float32Array
    """The output that it began with."""

    def closed(self, end_s: float) -> FrameRun:
        """The finished run."""
        return FrameRun(
            span=ClipSpan(self.start_s, end_s),
            num_looks=self.num_looks,
            kept_share=self.changes / self.num_looks,
            vector_D=self.sum_D / np.linalg.norm(self.sum_D),
        )
