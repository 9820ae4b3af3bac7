"""Words of a query against lines of text: terms for the full-text index, and how well a line fits.

A term is a word, a "quoted phrase" or the beginning of a word with an asterisk. It weighs as much as it is rare
(inverse document frequency). A line takes part if its terms weigh at least half of all terms that occur anywhere; lines
are ordered by BM25 (Robertson and Zaragoza, 2009, with SQLite's constants).
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vlrlt.index.library.words import content_words

LEAST_SHARE = 0.5
"""Of the weight of all terms, that a line must hold."""
MAX_TERMS = 64
"""Of one query; those that follow are left out."""
_SATURATION, _LENGTH_SHARE = 1.2, 0.75
"""k1 and b of BM25."""
_WORD = re.compile(r"\w")
_TERM = re.compile(r'"([^"]*)"|([^\s"]+)')

Token = tuple[int, int, str]
"""Start and end in bytes of UTF-8, and what is compared."""
Tokenize = Callable[[str], list[Token]]


@dataclass(frozen=True)
class Term:
    """What one word or phrase of a query is looked up as."""

    tokens: tuple[str, ...]
    text: str
    """As it stands in the query."""
    is_prefix: bool
    weight: float = 0.0

    def as_match(self) -> str:
        """The same for FTS5's MATCH."""
        return '"{}"{}'.format(self.text.replace('"', ""), " *" if self.is_prefix else "")

    def places(self, tokens: Sequence[Token]) -> list[tuple[int, int]]:
        """Where it stands in a line: [first, after last) token."""
        width = len(self.tokens)
        return [(at, at + width) for at in range(len(tokens) - width + 1) if self._stands_at(tokens, at)]

    def _stands_at(self, tokens: Sequence[Token], at: int) -> bool:
        *firsts, last = self.tokens
        if any(tokens[at + place][2] != token for place, token in enumerate(firsts)):
            return False
        found = tokens[at + len(firsts)][2]
        return found.startswith(last) if self.is_prefix else found == last


@dataclass(frozen=True)
class Fit:
    """How well a line fits a query."""

    score: float
    """BM25; larger is better."""
    share: float
    """Of the weight of all terms, those that occur nowhere included, that the line holds; 1: it holds every one."""
    marks: tuple[tuple[int, int], ...]
    """Where terms stand in it: [start, end) in characters, ascending, apart from each other."""


def parse_terms(text: str, tokenize: Tokenize) -> tuple[Term, ...]:
    """The distinct terms of a query, without the words that every sentence has; those of a phrase stay."""
    terms: dict[tuple[tuple[str, ...], bool], Term] = {}
    for phrase, word in _TERM.findall(text.replace("\0", " ")):
        if not phrase and _WORD.search(word) and not content_words(word):
            continue
        tokens = tuple(token for _, _, token in tokenize(phrase or word))
        is_prefix = not phrase and word.endswith("*")
        if tokens:
            terms.setdefault((tokens, is_prefix), Term(tokens, phrase or word, is_prefix))
    return tuple(terms.values())[:MAX_TERMS]


def weighted(terms: Sequence[Term], *, counts: Sequence[int], num_lines: int) -> tuple[Term, ...]:
    """The terms with their weights.

    Args:
        terms: of a query.
        counts: in how many lines each occurs.
        num_lines: how many lines there are.
    """
    return tuple(
        replace(term, weight=math.log(1 + (max(num_lines - count, 0) + 0.5) / (count + 0.5)))
        for term, count in zip(terms, counts, strict=True)
    )


def deciding(terms: Sequence[Term]) -> tuple[Term, ...]:
    """The rarest terms, one of which every line holds that takes part; the commoner ones need not be looked up."""
    total, left = sum(term.weight for term in terms), sum(term.weight for term in terms)
    chosen = []
    for term in sorted(terms, key=lambda term: -term.weight):
        if left < LEAST_SHARE * total:
            break
        chosen.append(term)
        left -= term.weight
    return tuple(chosen)


def fit_lines(lines: Sequence[str], terms: Sequence[Term], absent: Sequence[Term], tokenize: Tokenize) -> list[Fit]:
    """How well each line fits.

    Args:
        lines: that hold one of the deciding terms.
        terms: that occur in the library, weighted.
        absent: that do not.
        tokenize: as the index does.
    """
    tokens_of = [tokenize(line) for line in lines]
    mean_length = max(sum(map(len, tokens_of)) / max(len(lines), 1), 1.0)
    return [
        _fit(line, tokens, terms, absent, mean_length) for line, tokens in zip(lines, tokens_of, strict=True)
    ]  # fmt: skip


def _fit(line: str, tokens: list[Token], terms: Sequence[Term], absent: Sequence[Term], mean_length: float) -> Fit:
    norm = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * len(tokens) / mean_length)
    score = held = 0.0
    places: list[tuple[int, int]] = []
    for term in terms:
        found = term.places(tokens)
        if found:
            score += term.weight * len(found) * (_SATURATION + 1) / (len(found) + norm)
            held += term.weight
            places += [(tokens[first][0], tokens[after - 1][1]) for first, after in found]
    total = sum(term.weight for term in (*terms, *absent))
    return Fit(score, held / total if total else 0.0, _in_characters(line, _joined(places)))


def _joined(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending, those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _in_characters(line: str, places: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    encoded = line.encode()
    return tuple((len(encoded[:start].decode()), len(encoded[:end].decode())) for start, end in places)
