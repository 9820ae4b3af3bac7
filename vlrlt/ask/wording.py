"""Words of a question as a caption would have them: "was the fridge opened" and "did I open the fridge".

A small grammar of English clauses: who does it, auxiliaries and articles go; a passive becomes active. Verbs keep
their form ("opened fridge"): what a model with a closed vocabulary knows of them is for the search to find out.
"""

import re
from collections.abc import Sequence

from vlrlt.index.library.words import IRREGULAR_PARTICIPLES

WHO = (
    r"(?:i|you|we|they|he|she|it|me|us|him|them|one|someone|somebody|anyone|anybody|people|"
    r"(?:a|the|any|this) (?:person|user|wearer|camera wearer)|the camera|this|that)"
)
AUXILIARY = r"(?:do|does|did|is|are|am|was|were|has|have|had|can|could|will|would|may|might|must|should)"
SCENE = (
    r"(?:moments?|times?|scenes?|bits?|anything|points?|places?|parts?|instances?|occurrences?|appearances?|shots?|timestamps?|"
    r"footage|evidence|videos?|clips?|films?|recordings?|files?|movies?|pictures?)"
)
CONNECTIVE = r"(?:when|where|that shows?|that|(?:in|at) which|of|with|showing|containing)"
"""What joins a scene and what it shows: "the moment when", "a video of"."""
DETERMINER = r"(?:the|a|an|any|some|my|your|his|her|their|our)"
_BE = r"(?:is|are|was|were|gets?|got|(?:has|have|had)(?=.* been\b))"
_FILLERS = r"(?:(?:ever|just|also|actually|really|already|finally|be|been|being|see|seen|shown) )*"
PARTICIPLE = (
    r"(?!(?:red|bed|shed|seed|feed|weed|reed|sled|speed|hundred)\b)"
    rf"(?:\w{{2,}}ed|{'|'.join(sorted(IRREGULAR_PARTICIPLES))})\b"
)
_NO_NOUN = rf"(?!(?:{DETERMINER}|{AUXILIARY}|how|what|which|who|why)\b)(?!\w+ing\b)"
_NOUN = rf"(?P<noun>(?:{DETERMINER} )?{_NO_NOUN}[\w-]+(?: [\w-]+){{0,3}}?)"
_DONE = rf"{_FILLERS}(?P<done>{PARTICIPLE})(?P<rest> .+)?"
_PARTICLE = re.compile(r"(?: (?:on|off|up|down|out|away|over|back))?")

_SCENE = re.compile(
    rf"^(?:{AUXILIARY} )?(?:(?:{DETERMINER}|every|all|each) )*{SCENE} (?:{CONNECTIVE} |(?=(?:{WHO}|{DETERMINER})\b))|"
    r"^(?:when|where|that|with|of|in which) ",
    re.IGNORECASE,
)
_SHOWN = re.compile(
    r"(?<=\w)(?<!^what)(?: (?:is|are|was|were))?(?: ever)? (?:happen(?:s|ed)?|occur(?:s|red)?|take place|"
    r"appear(?:s|ed)?|shows? up|(?:can )?be seen|shown|seen|visible|recorded|"
    r"on (?:screen|camera)|in (?:view|it|them|there)|is|are|was|were)$",
    re.IGNORECASE,
)
_PHASE = re.compile(
    r"^(?:start|begin|began|stop|finish)(?:s|ed|ped|es)? (?:to |(?=\w+ing\b))|"
    r"(?<=ing)( .+)? (?:starts?|begins?|stops?|ends?)$",
    re.IGNORECASE,
)
_COPULA = re.compile(rf"^({_NOUN}) (?:is|are|was|were) (?!\w+ing\b)", re.IGNORECASE)
_THERE = re.compile(rf"(?:{AUXILIARY} there|there {AUXILIARY}) {_FILLERS}(?P<clause>.+)", re.IGNORECASE)
_ACTIVE = re.compile(
    rf"(?:{AUXILIARY} )?{WHO} (?:(?:who|that) )?(?:{AUXILIARY} )?{_FILLERS}(?P<clause>.+)", re.IGNORECASE
)
_PASSIVES = (
    re.compile(rf"{_BE} {_NOUN} {_DONE}", re.IGNORECASE),
    re.compile(rf"{AUXILIARY} {_NOUN} (?:be|gets?|got) {_DONE}", re.IGNORECASE),
    re.compile(rf"{_NOUN} (?:{_BE}|being) {_DONE}", re.IGNORECASE),
)
_AUXILIARY = re.compile(rf"^{AUXILIARY} {_FILLERS}(?=.)", re.IGNORECASE)
_BY_WHOM = re.compile(rf" by (?:{WHO}|me|us|them|him)$", re.IGNORECASE)
_DETERMINERS = re.compile(rf"\b(?:{DETERMINER}|ever)\s+(?=\S)", re.IGNORECASE)


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
    """Without the scene that it is in and without who does it, and active."""
    text = _SHOWN.sub("", " ".join(words.split()).strip(" '\""))
    there = _THERE.fullmatch(text)
    text, of_scene = _SCENE.subn("", there["clause"] if there else text)
    by_whom = text
    while active := _ACTIVE.fullmatch(text):  # "do you see anyone opening"
        text = _SCENE.sub("", active["clause"])
    if text != by_whom:
        return _PHASE.sub(r"\1", text).strip()
    text = _BY_WHOM.sub("", text)
    for pattern in () if there and not of_scene else _PASSIVES:
        passive = pattern.fullmatch(text)
        if passive:
            rest = passive["rest"] or ""
            if _PARTICLE.fullmatch(rest):  # the tap was turned on: turned on the tap
                return f"{passive['done']}{rest} {passive['noun']}"
            return f"{passive['done']} {passive['noun']}{rest}"
    return _PHASE.sub(r"\1", _COPULA.sub(r"\1 ", _AUXILIARY.sub("", text))).strip()


def _completed(other: str, first: str) -> str:
    """An alternative with the words that it leaves out because the first has them."""
    noun = _last_noun(first)
    if noun and re.match(rf"{DETERMINER} \S", other, re.IGNORECASE):
        return first[: noun.start()] + other
    if len(other.split()) == 1 and len(_clause(first).split()) > 1:
        return first[: first.rindex(" ") + 1] + other
    return with_noun(other, first)


def _last_noun(text: str) -> re.Match[str] | None:
    """From its article to the end."""
    return re.search(rf"\b{DETERMINER} (?!.*\b{DETERMINER} ).+", text, re.IGNORECASE)
