"""Run-length coding of clips: which clips show nothing that was not there before.

The rule is that of run-length tokens with a carried reference, one level up. A clip belongs to the run before it if
every patch of all its frames lies within the threshold of the frame that the run began with, so that every token of it
would be dropped. The reference stays the same for the whole run: slow drift ends it sooner or later.
"""

import numpy as np

from vlrlt.types import UInt8Array

_PATCH_SIZE_PX = 16


class StaticDetector:
    """Looks at the clips of one video in their order.

    Args:
        threshold_255: grey levels; a patch whose mean |difference| is larger has changed.
    """

    def __init__(self, threshold_255: float) -> None:
        self._threshold_255 = threshold_255
        self._reference_HWC: UInt8Array | None = None

    def is_static(self, rgb_THWC: UInt8Array) -> bool:
        """Whether a clip belongs to the run before it; if not, it may begin one."""
        if self._reference_HWC is not None and self._unchanged(rgb_THWC, self._reference_HWC):
            return True
        stands = self._unchanged(rgb_THWC[1:], rgb_THWC[0])
        self._reference_HWC = rgb_THWC[0].copy() if stands else None
        return False

    def _unchanged(self, rgb_THWC: UInt8Array, reference_HWC: UInt8Array) -> bool:
        return all(self._largest_difference_255(rgb_HWC, reference_HWC) <= self._threshold_255 for rgb_HWC in rgb_THWC)

    def _largest_difference_255(self, a_HWC: UInt8Array, b_HWC: UInt8Array) -> float:
        """Of the means over patches."""
        difference_HWC = np.maximum(a_HWC, b_HWC) - np.minimum(a_HWC, b_HWC)
        largest = float(difference_HWC.max())
        if largest <= self._threshold_255:  # no mean can be larger
            return largest
        height_px, width_px, num_channels = difference_HWC.shape
        rows, columns = (np.arange(0, size_px, _PATCH_SIZE_PX) for size_px in (height_px, width_px))
        sums_HX = difference_HWC.reshape(height_px, -1)
        sums_hX = np.add.reduceat(sums_HX, rows, axis=0, dtype=np.int32)
        sums_hw = np.add.reduceat(sums_hX, columns * num_channels, axis=1)
        heights_h, widths_w = np.diff([*rows, height_px]), np.diff([*columns, width_px])
        return float((sums_hw / (heights_h[:, None] * widths_w * num_channels)).max())
