"""The probability that a moment shows what the words say, from its score and the scores of background queries.

A cosine means nothing by itself: it depends on the model, on the query and on how much there is to choose from. What
does tell is how the best clip of a query stands against background queries, sentences that mostly have nothing to do
with the archive: against their best clips in this library (lead), and on that very clip (rivals). A logistic regression
makes a probability of both; docs/experiments/questions.md says how it was fitted. A model with a closed vocabulary says
what it was trained on (captions.txt in its folder): those captions are the background then, and a word in none of them
is unknown.

Shape legend: M background queries, R rivals among them, S sampled clips, D embedding.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlrlt.index.library.words import content_words, possible_stems
from vlrlt.types import Float32Array

CONFIDENT = 0.5
"""A moment is a match from this confidence on."""
PARAPHRASE_COSINE = 0.97
"""A background query that is this similar to the words says the same and is no rival of them."""
MOST_BACKGROUND = 2000
"""Captions that stand for all of a large training set: each is encoded for the first words asked of a library."""
_BACKGROUND_FILE = Path(__file__).parent / "background.txt"


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Of the logistic regression; lead and rivals are in standard deviations."""

    bias: float
    lead: float
    rivals: float
    log_clips: float
    """Of the decimal logarithm of how many clips were searched, FITTED_CLIPS at most."""


FITTED_CLIPS = 700
"""The most clips that the regression has seen searched."""
OPEN_VOCABULARY = Coefficients(bias=-1.0, lead=1.5, rivals=0.5, log_clips=0.0)
"""For models with an open vocabulary: a guess, not fitted. On real video with the bridge model it separates little."""
CLOSED_VOCABULARY = Coefficients(bias=-6.61, lead=2.75, rivals=1.59, log_clips=2.31)
"""For models that name their captions, fitted on the toy kitchen: 1, 2, 4, 8 and 16 videos at once."""


def background_texts(captions: Sequence[str]) -> tuple[str, ...]:
    """The model's own captions, evenly taken, or the general background where it has none."""
    some = captions[:: 1 + len(captions) // MOST_BACKGROUND]
    return tuple(some or _BACKGROUND_FILE.read_text(encoding="utf-8").splitlines())


class Confidence:
    """Judges matches of one model.

    Args:
        background_MD: unit vectors of the background queries.
        captions: of a model with a closed vocabulary; empty: it is open.
    """

    def __init__(self, background_MD: Float32Array, *, captions: Sequence[str] = ()) -> None:
        self._background_MD = background_MD
        self._coefficients = CLOSED_VOCABULARY if captions else OPEN_VOCABULARY
        self._best: tuple[Float32Array | None, float, float] = (None, 0.0, 1.0)
        self._words = {word for caption in captions for word in content_words(caption)}

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Words that mean nothing to a model with a closed vocabulary."""
        words = content_words(text) if self._words else []
        return tuple(word for word in words if not self._words.intersection(possible_stems(word)))

    def known_forms(self, text: str) -> str:
        """The text with words in the form that a closed vocabulary has: "opens the fridge" to "open the fridge"."""
        if not self._words:
            return text
        return " ".join(self._known_form(word) for word in text.split())

    def _known_form(self, word: str) -> str:
        known = self._words.intersection(possible_stems(word.lower()))
        return word if word.lower() in self._words or not known else min(known, key=len)

    def judge(self, text_D: Float32Array, searched_SD: Float32Array) -> Callable[[Float32Array], float]:
        """A function that tells the probability, in [0, 1], that a clip shows what the words say.

        Args:
            text_D: unit vector of the words.
            searched_SD: unit vectors of clips that stand for those that were searched, at least one.
        """
        features, weights = self.features(text_D, searched_SD), self._coefficients
        bias = weights.bias + weights.log_clips * math.log10(min(len(searched_SD), FITTED_CLIPS))

        def probability(clip_D: Float32Array) -> float:
            lead, rivals = features(clip_D)
            return 1 / (1 + math.exp(-(bias + weights.lead * lead + weights.rivals * rivals)))

        return probability

    def _background_best(self, searched_SD: Float32Array) -> tuple[float, float]:
        """Mean and standard deviation of the background's best scores; kept for the clips of the last call."""
        kept_SD, mean, std = self._best
        if kept_SD is not searched_SD:
            best_M = (searched_SD @ self._background_MD.T).max(axis=0)
            mean, std = float(best_M.mean()), max(float(best_M.std()), 1e-3)
            self._best = searched_SD, mean, std
        return mean, std

    def features(
        self, text_D: Float32Array, searched_SD: Float32Array
    ) -> Callable[[Float32Array], tuple[float, float]]:
        """For a clip: the score's lead over the background's best scores, and over its rivals on that clip."""
        best_mean, best_std = self._background_best(searched_SD)
        rivals_RD = self._background_MD[self._background_MD @ text_D < PARAPHRASE_COSINE]

        def lead_and_rivals(clip_D: Float32Array) -> tuple[float, float]:
            score = float(text_D @ clip_D)
            lead = (score - best_mean) / best_std
            if not len(rivals_RD):
                return lead, 0.0
            rivals_R = rivals_RD @ clip_D
            return lead, (score - float(rivals_R.max())) / max(float(rivals_R.std()), 1e-3)

        return lead_and_rivals
