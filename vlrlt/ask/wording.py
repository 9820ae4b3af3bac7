"""Words of a question as a caption would have them: "was the fridge opened" and "did I open the fridge".

A small grammar of English clauses: who does it, auxiliaries and articles go; a passive becomes active. Verbs keep
their form ("opened fridge"): what a model with a closed vocabulary knows of them is for the search to find out.
"""

import re
from collections.abc import Sequence

from vlrlt.index.words import IRREGULAR_PARTICIPLES

WHO = (
    r"(?:i|you|we|they|he|she|it|one|someone|somebody|anyone|anybody|people|"
    r"(?:a|the|any|this) (?:person|user|wearer|camera wearer)|the camera)"
)
AUXILIARY = r"(?:do|does|did|is|are|am|was|were|has|have|had|can|could|will|would)"
_DETERMINER = r"(?:the|a|an|any|some|my|your|his|her|their|our)"
_BE = r"(?:is|are|was|were|has|have|had|gets?|got)"
_FILLERS = r"(?:(?:ever|just|also|actually|really|already|finally|been|being|seen|shown) )*"
_PARTICIPLE = (
    r"(?!(?:red|bed|shed|seed|feed|weed|reed|sled|speed|hundred)\b)"
    rf"(?:\w{{2,}}ed|{'|'.join(sorted(IRREGULAR_PARTICIPLES))})\b"
)
_NO_NOUN = rf"(?!(?:{_DETERMINER}|{AUXILIARY}|how|what|which|who|why)\b)(?!\w+ing\b)"
_NOUN = rf"(?P<noun>(?:{_DETERMINER} )?{_NO_NOUN}[\w-]+(?: [\w-]+){{0,3}}?)"
_DONE = rf"{_FILLERS}(?P<done>{_PARTICIPLE})(?P<rest> .+)?"
_PARTICLE = re.compile(r"(?: (?:on|off|up|down|out|away|over|back))?")

_THERE = re.compile(rf"{AUXILIARY} there {_FILLERS}(?P<clause>.+)", re.IGNORECASE)
_ACTIVE = re.compile(
    rf"(?:{AUXILIARY} )?{WHO} (?:(?:who|that) )?(?:{AUXILIARY} )?{_FILLERS}(?P<clause>.+)", re.IGNORECASE
)
_PASSIVES = (
    re.compile(rf"{_BE} {_NOUN} {_DONE}", re.IGNORECASE),
    re.compile(rf"{_NOUN} (?:{_BE}|being) {_DONE}", re.IGNORECASE),
)
_AUXILIARY = re.compile(rf"^{AUXILIARY} {_FILLERS}(?=.)", re.IGNORECASE)
_BY_WHOM = re.compile(rf" by (?:{WHO}|me|us|them|him)$", re.IGNORECASE)
_DETERMINERS = re.compile(rf"\b(?:{_DETERMINER}|ever)\s+(?=\S)", re.IGNORECASE)


def caption(words: str) -> str:
    """A clause of a question as a caption.

    >>> caption("was the milk poured into a cup"), caption("someone has been opening the fridge")
    ('poured milk into cup', 'opening fridge')
    """
    return _DETERMINERS.sub("", _clause(words)).strip(" '\"?!.,")


def captions_of(alternatives: Sequence[str]) -> tuple[str, ...]:
    """Alternatives that share words: "did I cut the tomato", "the onion" to "cut tomato", "cut onion"."""
    first, last = alternatives[0], alternatives[-1]
    if len(_clause(first).split()) == 1 and len(last.split()) > 1:  # "did I open", "close the fridge"
        first = f"{first} {last.split(maxsplit=1)[1]}"
    return tuple(caption(text) for text in (first, *(_completed(other, first) for other in alternatives[1:])))


def with_noun(text: str, first: str) -> str:
    """A text that ends in "it" with what that stands for: "close it" after "open the fridge" is "close the fridge"."""
    noun = _last_noun(first)
    return re.sub(r"\b(?:it|them)$", lambda _: noun[0], text, flags=re.IGNORECASE) if noun else text


def _clause(words: str) -> str:
    """Without who does it, and active."""
    text = " ".join(words.split()).strip(" '\"")
    there = _THERE.fullmatch(text)
    text = there["clause"] if there else text
    active = _ACTIVE.fullmatch(text)
    if active:
        return active["clause"]
    text = _BY_WHOM.sub("", text)
    for pattern in () if there else _PASSIVES:
        passive = pattern.fullmatch(text)
        if passive:
            rest = passive["rest"] or ""
            if _PARTICLE.fullmatch(rest):  # the tap was turned on: turned on the tap
                return f"{passive['done']}{rest} {passive['noun']}"
            return f"{passive['done']} {passive['noun']}{rest}"
    return _AUXILIARY.sub("", text)


def _completed(other: str, first: str) -> str:
    """An alternative with the words that it leaves out because the first has them."""
    noun = _last_noun(first)
    if noun and re.match(rf"{_DETERMINER} \S", other, re.IGNORECASE):
        return first[: noun.start()] + other
    if len(other.split()) == 1 and len(_clause(first).split()) > 1:
        return first[: first.rindex(" ") + 1] + other
    return with_noun(other, first)


def _last_noun(text: str) -> re.Match[str] | None:
    """From its article to the end."""
    return re.search(rf"\b{_DETERMINER} (?!.*\b{_DETERMINER} ).+", text, re.IGNORECASE)
