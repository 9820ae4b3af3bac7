"""Frame runs: consecutive outputs of one video that agree become one vector.

A frame run is to looks what a token's run is to patches. An output joins the run while it agrees with the output that
the run began with. That reference is carried, so slow drift ends a run sooner or later.

    outputs of one video     a   a   a'  b   b   c   c   c        (a' agrees with a)
    frame runs              [a         ) [b    ) [c            )
    looks                    3            2       3

Runs go on across the borders of clips and of chunks: a day of a camera that sees nothing happen is one run. What a run
has gathered so far is an `OpenRun`, which the ledger keeps, so that a killed index run goes on inside of it.

Legend: D embedding.
"""

from dataclasses import replace

import numpy as np

from vlrlt.index.library.frame_runs import FrameRun, OpenRun
from vlrlt.types import Float32Array


class FrameRunJoiner:
    """Joins the outputs of one video, in their order.

    Args:
        agreement: cosine in [-1, 1] from which an output agrees with the one that the run began with.
        open_run: what an earlier index run has left open; None: the video begins.
    """

    def __init__(self, *, agreement: float, open_run: OpenRun | None = None) -> None:
        self.open_run = open_run
        self._agreement = agreement

    def add(self, start_s: float, output_D: Float32Array, *, num_looks: int, changes: float) -> FrameRun | None:
        """Take the next output.

        Args:
            start_s: when its look was; later than that of the last one.
            output_D: unit vector.
            num_looks: how many looks it stands for, >= 1.
            changes: sum over its looks of the share of patches that have changed since the look before.

        Returns:
            The run that ends here, if it ends.
        """
        begun = self.open_run
        if begun is not None and begun.reference_D @ output_D >= self._agreement:
            self.open_run = replace(
                begun,
                num_looks=begun.num_looks + num_looks,
                changes=begun.changes + changes,
                sum_D=begun.sum_D + np.float32(num_looks) * output_D,
            )
            return None
        self.open_run = OpenRun(
            start_s=start_s,
            num_looks=num_looks,
            changes=changes,
            sum_D=np.float32(num_looks) * output_D,
            reference_D=output_D,
        )
        return None if begun is None else begun.closed(start_s)

    def extend(self, num_looks: int) -> None:
        """Note looks in which nothing has changed since the last output."""
        if self.open_run is not None:
            begun = self.open_run
            scale = np.float32((begun.num_looks + num_looks) / begun.num_looks)
            self.open_run = replace(begun, num_looks=begun.num_looks + num_looks, sum_D=begun.sum_D * scale)

    def finish(self, end_s: float) -> FrameRun | None:
        """The last run; None where there was no output at all."""
        last, self.open_run = self.open_run, None
        return None if last is None else last.closed(end_s)
