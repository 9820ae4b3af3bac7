"""Which FAISS index fits a library: pure arithmetic, explained to the user by `vlrlt status`.

Exact search of 2e5 clips is felt. An inverted file looks into the lists nearest to the query only. SQ8 keeps a byte per
dimension, RaBitQ (Gao et al. 2024, arXiv:2405.12497) half of that with 4 bits.
"""

from dataclasses import dataclass
from math import sqrt

EXACT_MAX_CLIPS = 200_000
SQ8_MAX_CLIPS = 4_000_000
"""2 GiB of codes at 512 dimensions; RaBitQ with 4 bits needs half of it for the same clips."""
RETRAIN_GROWTH = 4.0
"""An inverted file is trained anew when the library has grown by this factor."""
_LISTS_PER_SQRT = 4


@dataclass(frozen=True, kw_only=True)
class IndexPlan:
    """One kind of FAISS index."""

    factory: str
    """For faiss.index_factory."""
    num_lists: int
    """0: exact search."""
    overfetch: int
    """How many candidates are ranked again with their exact vectors, for each hit that is asked for."""
    reason: str

    @property
    def target_recall(self) -> float:
        """What is aimed at for text-like queries: 4 bits lose some hits that no number of lists brings back."""
        return 0.97 if "RaBitQ" in self.factory else 0.985

    @property
    def exact(self) -> bool:
        """Whether scores are those of the stored vectors."""
        return self.num_lists == 0


def plan_index(num_clips: int) -> IndexPlan:
    """The index for a library of this size."""
    if num_clips <= EXACT_MAX_CLIPS:
        reason = f"exact, every vector is compared (up to {EXACT_MAX_CLIPS:,} vectors)"
        return IndexPlan(factory="SQfp16", num_lists=0, overfetch=1, reason=reason)
    num_lists = int(_LISTS_PER_SQRT * sqrt(num_clips))
    if num_clips <= SQ8_MAX_CLIPS:
        reason = (
            f"more than {EXACT_MAX_CLIPS:,} clips: the nearest lists only, one byte per dimension, re-ranked exactly"
        )
        return IndexPlan(factory=f"IVF{num_lists},SQ8", num_lists=num_lists, overfetch=2, reason=reason)
    reason = f"more than {SQ8_MAX_CLIPS:,} clips: 4 bits per dimension, re-ranked exactly, the nearest lists only"
    return IndexPlan(factory=f"IVF{num_lists},RaBitQ4", num_lists=num_lists, overfetch=20, reason=reason)


def fits(plan: IndexPlan, *, trained_clips: int, num_clips: int) -> bool:
    """Whether an index of this plan, trained when the library had trained_clips, still serves num_clips."""
    now = plan_index(num_clips)
    same_kind = plan.factory.partition(",")[2] == now.factory.partition(",")[2]
    return same_kind and (plan.exact or num_clips <= RETRAIN_GROWTH * trained_clips)
