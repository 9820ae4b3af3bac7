"""Words of a question as a caption would have them: "was the fridge opened" and "did I open the fridge".

A small grammar of English clauses: who does it, auxiliaries and articles go; a passive becomes active. Verbs keep
their form ("opened fridge"): what a model with a closed vocabulary knows of them is for the search to find out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vlrlt.ask.phrases import AUXILIARY, CONNECTIVE, DETERMINER, PARTICIPLE, SCENE, WHO

_BE = r"(?:is|are|was|were|gets?|got|(?:has|have|had)(?=.* been\b))"
_FILLERS = r"(?:(?:ever|just|also|actually|really|already|finally|be|been|being|see|seen|shown) )*"
_NO_NOUN = rf"(?!(?:{DETERMINER}|{AUXILIARY}|how|what|which|who|why)\b)(?!\w+ing\b)"
_NOUN = rf"(?P<noun>(?:{DETERMINER} )?{_NO_NOUN}[\w-]+(?: [\w-]+){{0,3}}?)"
_DONE = rf"{_FILLERS}(?P<done>{PARTICIPLE})(?P<rest> .+)?"
_PARTICLE = re.compile(r"(?: (?:on|off|up|down|out|away|over|back))?")


@dataclass
class Rule:
    """Something that a clause may have."""

    name: str
    pattern: re.Pattern[str]
    examples: tuple[str, ...]
    """"Clause -> caption": without the rule none of them comes out right."""


def _rule(name: str, pattern: str, *examples: str) -> Rule:
    return Rule(name, re.compile(pattern, re.IGNORECASE), examples)


SCENE_OF = _rule(
    "the scene that it is in",
    rf"^(?:{AUXILIARY} )?(?:(?:{DETERMINER}|every|all|each) )*{SCENE} (?:{CONNECTIVE} |(?=(?:{WHO}|{DETERMINER})\b))|"
    r"^(?:when|where|that|with|of|in which) ",
    "the moment when I open the fridge -> open fridge",
    "every clip of a dog -> dog",
    "with a horse -> horse",
)
SHOWN = _rule(
    "that it is shown",
    r"(?<=\w)(?<!^what)(?: (?:is|are|was|were))?(?: ever)? (?:happen(?:s|ed)?|occur(?:s|red)?|take place|"
    r"appear(?:s|ed)?|shows? up|(?:can )?be seen|shown|seen|visible|recorded|"
    r"on (?:screen|camera)|in (?:view|it|them|there)|is|are|was|were)$",
    "a dog is visible -> dog",
    "the crash happened -> crash",
    "a beach in view -> beach",
)
PHASE = _rule(
    "where it begins or ends",
    r"^(?:start|begin|began|stop|finish)(?:s|ed|ped|es)? (?:to |(?=\w+ing\b))|"
    r"(?<=ing)( .+)? (?:starts?|begins?|stops?|ends?)$",
    "he starts stirring the pot -> stirring pot",
    "stirring the pot ends -> stirring pot",
)
COPULA = _rule(
    "a state",
    rf"^({_NOUN}) (?:is|are|was|were) (?!\w+ing\b)",
    "the light is on -> light on",
    "the oven was hot -> oven hot",
)
THERE = _rule(
    "there is",
    rf"(?:{AUXILIARY} there|there {AUXILIARY}) {_FILLERS}(?P<clause>.+)",
    "is there a dog -> dog",
    "there was also a beach -> beach",
)
ACTIVE = _rule(
    "who does it",
    rf"(?:{AUXILIARY} )?{WHO} (?:(?:who|that) )?(?:{AUXILIARY} )?{_FILLERS}(?P<clause>.+)",
    "did someone cut a tomato -> cut tomato",
    "a person who opens the fridge -> opens fridge",
    "do you see anyone opening the fridge -> opening fridge",
)
PASSIVES = (
    _rule(
        "what is done to something",
        rf"{_BE} {_NOUN} {_DONE}",
        "was the milk poured into a cup -> poured milk into cup",
        "is the tap turned on -> turned on tap",
    ),
    _rule(
        "what something gets",
        rf"{AUXILIARY} {_NOUN} (?:be|gets?|got) {_DONE}",
        "did the fridge get opened -> opened fridge",
        "will the cake be cut -> cut cake",
    ),
    _rule(
        "to what something is done",
        rf"{_NOUN} (?:{_BE}|being) {_DONE}",
        "the fridge being opened -> opened fridge",
        "the carrots were put in the fridge -> put carrots in fridge",
    ),
)
HELPER = _rule("an auxiliary", rf"^{AUXILIARY} {_FILLERS}(?=.)", "does the water run -> water run")
BY_WHOM = _rule(
    "by whom", rf" by (?:{WHO}|me|us|them|him)$", "was the trash thrown away by someone -> thrown away trash"
)
ARTICLES = _rule(
    "articles", rf"\b(?:{DETERMINER}|ever)\s+(?=\S)", "the red cup -> red cup", "my first drawer -> first drawer"
)
RULES = (SCENE_OF, SHOWN, PHASE, COPULA, THERE, ACTIVE, *PASSIVES, HELPER, BY_WHOM, ARTICLES)


def caption(words: str) -> str:
    """A clause of a question as a caption.

    >>> caption("was the milk poured into a cup"), caption("someone has been opening the fridge")
    ('poured milk into cup', 'opening fridge')
    """
    return ARTICLES.pattern.sub("", _clause(words)).strip(" '\"?!.,")


def captions_of(alternatives: Sequence[str]) -> tuple[str, ...]:
    """Alternatives that share words: "did I cut the tomato", "the onion" to "cut tomato", "cut onion"."""
    if not alternatives:
        return ()
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
    text = SHOWN.pattern.sub("", " ".join(words.split()).strip(" '\""))
    there = THERE.pattern.fullmatch(text)
    text, of_scene = SCENE_OF.pattern.subn("", there["clause"] if there else text)
    by_whom = text
    while active := ACTIVE.pattern.fullmatch(text):  # "do you see anyone opening"
        text = SCENE_OF.pattern.sub("", active["clause"])
    if text != by_whom:
        return PHASE.pattern.sub(r"\1", text).strip()
    text = BY_WHOM.pattern.sub("", text)
    for rule in () if there and not of_scene else PASSIVES:
        passive = rule.pattern.fullmatch(text)
        if passive:
            rest = passive["rest"] or ""
            if _PARTICLE.fullmatch(rest):  # the tap was turned on: turned on the tap
                return f"{passive['done']}{rest} {passive['noun']}"
            return f"{passive['done']} {passive['noun']}{rest}"
    return PHASE.pattern.sub(r"\1", COPULA.pattern.sub(r"\1 ", HELPER.pattern.sub("", text))).strip()


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
