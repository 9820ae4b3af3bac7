"""Confusions of verbs and of nouns: each is scored while the other word is given.

Is this "open fridge" or "close fridge", "open fridge" or "open drawer"?

Shape legend: N clips, P phrases "verb noun".
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlrlt.datasets.epic import Narration
from vlrlt.errors import AnnotationError
from vlrlt.types import Float32Array

_SHOWN_CLASSES = 12
_SHOWN_PAIRS = 5

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Verbs named with the noun given, or nouns with the verb given."""

    accuracy: float | None
    """Share of num_clips whose own word is nearest; None where no clip has a choice."""
    chance: float | None
    """Expected accuracy of guessing among each clip's candidates."""
    num_clips: int
    """Clips with two candidates or more."""
    counts: Mapping[str, Mapping[str, int]]
    """True word -> predicted word -> clips."""

    def as_text(self, title: str) -> str:
        """Accuracy, the most confused pairs and a matrix of the most frequent words."""
        if self.accuracy is None:
            return f"{title}: no clip has a choice"
        pairs = [(n, true, guess) for true, row in self.counts.items() for guess, n in row.items() if true != guess]
        worst = ", ".join(f"{true} -> {guess} {n}" for n, true, guess in sorted(pairs, reverse=True)[:_SHOWN_PAIRS])
        return "\n".join(
            (
                f"{title}: {self.accuracy:.3f} of {self.num_clips} clips right (chance {self.chance:.3f})",
                f"  most confused: {worst or 'none'}",
                *(f"  {line}" for line in self._matrix()),
            )
        )

    def _matrix(self) -> Iterator[str]:
        words = sorted(self.counts, key=lambda word: -sum(self.counts[word].values()))[:_SHOWN_CLASSES]
        columns = (*words, "other")
        name_width = max(len("true"), *map(len, words))
        widths = [max(3, len(word)) for word in columns]

        def line(name: str, cells: Sequence[object]) -> str:
            padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
            return " ".join((f"{name:{name_width}}", *padded))

        yield line("true", columns)
        for true in words:
            shown = [self.counts[true].get(guess, 0) for guess in words]
            yield line(true, [n or "." for n in (*shown, sum(self.counts[true].values()) - sum(shown))])


@dataclass(frozen=True)
class Phrases:
    """The distinct (verb class, noun class) of a split as texts of class names: minimal pairs, nothing else differs."""

    verbs_P: list[str]
    nouns_P: list[str]
    index_N: IntArray
    """Which phrase each clip shows."""

    @property
    def texts(self) -> list[str]:
        """Verb and noun as people say them: "turn on tap"."""
        return [f"{verb} {noun}" for verb, noun in zip(self.verbs_P, self.nouns_P, strict=True)]

    @classmethod
    def of(cls, clips: Sequence[Narration], verb_names: dict[int, str], noun_names: dict[int, str]) -> "Phrases":
        """The phrases of these clips.

        Raises:
            AnnotationError: the class files do not name a clip's classes.
        """
        positions: dict[tuple[str, str], int] = {}
        index = []
        for clip in clips:
            if clip.verb_class not in verb_names or clip.noun_class not in noun_names:
                raise AnnotationError(
                    f"narration {clip.narration_id} has verb class {clip.verb_class} and noun class {clip.noun_class}; "
                    f"the class files do not name both"
                )
            pair = spoken(verb_names[clip.verb_class]), spoken(noun_names[clip.noun_class])
            index.append(positions.setdefault(pair, len(positions)))
        return cls([verb for verb, _ in positions], [noun for _, noun in positions], np.array(index))


def spoken(key: str) -> str:
    """A class name as people say it: "turn-on" is "turn on", "board:chopping" is "chopping board"."""
    head, *modifiers = key.split(":")
    return " ".join((*modifiers, head)).replace("-", " ")


def confusion(similarity_NP: Float32Array, index_N: IntArray, *, named_P: list[str], given_P: list[str]) -> Confusion:
    """Each clip picks among the phrases that share its given word."""
    given_ids_P = np.unique(given_P, return_inverse=True)[1]
    allowed_NP = given_ids_P[index_N][:, None] == given_ids_P
    num_candidates_N = allowed_NP.sum(axis=1)
    guess_N = np.where(allowed_NP, similarity_NP, -np.inf).argmax(axis=1)
    counts: dict[str, Counter[str]] = {}
    for true, guess in zip(index_N[num_candidates_N > 1], guess_N[num_candidates_N > 1], strict=True):
        counts.setdefault(named_P[true], Counter())[named_P[guess]] += 1
    num_clips = int((num_candidates_N > 1).sum())
    return Confusion(
        accuracy=sum(row[true] for true, row in counts.items()) / num_clips if num_clips else None,
        chance=float(np.mean(1 / num_candidates_N[num_candidates_N > 1])) if num_clips else None,
        num_clips=num_clips,
        counts={true: dict(counts[true].most_common()) for true in sorted(counts)},
    )
