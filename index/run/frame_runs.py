"""Frame runs: consecutive outputs of one video that agree become one vector.

A frame run is to looks what a token's run is to patches. An output joins the run while it agrees with the output that
the run began with. That reference is carried, so slow drift ends a run sooner or later.

    outputs of one video     a   a   a'  b   b   c   c   c        (a' agrees with a)
    frame runs              [a         ) [b    ) [c            )
    looks                    3            2       3

Runs go on across the borders of clips and of chunks: a day of a camera that sees nothing happen is one run. What a run
has gathered so far is an `OpenRun`, which the ledger keeps, so that a killed index run goes on inside of it.

Legend: T frames, S outputs of a clip, D embedding.
"""

from dataclasses import replace

import numpy as np

from vlrlt.index.library.frame_runs import FrameRun, OpenRun
from vlrlt.types import Clip, Float32Array


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


def join_clip(joiner: FrameRunJoiner, clip: Clip, outputs_SD: Float32Array, changed_S: Float32Array) -> list[FrameRun]:
    """Frame runs that end within a clip: outputs of the part that it answers for go to the joiner."""
    ended = []
    per_output = len(clip.starts_s) // len(outputs_SD)
    is_own_T = (clip.starts_s >= clip.own.start_s) & (clip.starts_s < clip.own.end_s)
    ends_s = np.append(clip.starts_s[per_output::per_output], clip.span.end_s)
    for place, end_s in enumerate(ends_s):
        frames = slice(place * per_output, (place + 1) * per_output)
        start_s = max(float(clip.starts_s[frames][0]), clip.own.start_s)
        if start_s < min(end_s, clip.own.end_s):
            num_frames = max(1, int(is_own_T[frames].sum()))
            run = joiner.add(
                start_s,
                outputs_SD[place],
                num_looks=max(num_frames, int(clip.num_looks_T[frames][is_own_T[frames]].sum())),
                changes=num_frames * float(changed_S[place]),
            )
            ended += [run] if run else []
    return ended
