"""Training under many token policies at once, so that one model is good at any budget."""

from dataclasses import dataclass, replace

import numpy as np

from vlrlt.errors import ConfigError
from vlrlt.tokens.run_length import DENSE, TokenPolicy


@dataclass(frozen=True, kw_only=True)
class PolicyMix:
    """What a batch is encoded with: every token, or run lengths at a random threshold.

    Raises:
        ConfigError: the share or the thresholds are out of range.
    """

    dense_share: float = 0.25
    """Of the batches."""
    threshold_255: tuple[float, float] = (2.5, 25.0)
    """The lowest and the highest threshold, in grey levels; their logarithm is drawn uniformly."""

    def __post_init__(self) -> None:
        low, high = self.threshold_255
        if not 0 <= self.dense_share <= 1 or not 0 < low <= high <= 255:
            raise ConfigError(
                f"a policy mix needs dense_share in [0, 1] and thresholds ascending in (0, 255], got {self}"
            )

    def draw(self, policy: TokenPolicy, random: np.random.Generator) -> TokenPolicy:
        """The policy of one batch: dense, or the given one at another threshold."""
        share, place = random.random(2)
        if share < self.dense_share:
            return DENSE
        low, high = np.log(self.threshold_255)
        return replace(policy, kind="threshold", threshold_255=float(np.exp(low + place * (high - low))))
