"""Puts actions into words, the way EPIC-KITCHENS annotators do."""

import numpy as np

from vlrlt.toy.kitchen import Look
from vlrlt.toy.script import Words
from vlrlt.toy.world import LINKS, NOUN_BY_KEY, VERB_BY_KEY, spoken

_COLOUR_SHARE = 0.6
_KEY_SHARE = 0.72


def say(rng: np.random.Generator, verb: str, nouns: tuple[str, ...], looks: tuple[Look, ...]) -> Words:
    """Narrate an action on `nouns`; `looks` are the movable things among them, in the same order."""
    options = VERB_BY_KEY[verb].synonyms
    said_verb = options[0] if rng.random() < 0.5 else options[int(rng.integers(len(options)))]
    said_nouns = tuple(_noun(rng, key) for key in nouns)
    if verb == "pour" and rng.random() < 0.3:
        said_nouns = said_nouns[:1]
    phrases = []
    for index, noun in enumerate(said_nouns):
        colour = looks[index].colour if index < len(looks) else ""
        named = index < len(looks) and NOUN_BY_KEY[nouns[index]].named_by_colour
        phrase = spoken(noun)
        phrases.append(f"{colour} {phrase}" if named and rng.random() < _COLOUR_SHARE else phrase)
    link = f" {LINKS.get(verb, 'and')} "
    dashed = f"{said_verb}-{LINKS[verb]}" if verb in LINKS and len(said_nouns) > 1 else said_verb
    return Words(f"{said_verb.replace('-', ' ')} {link.join(phrases)}", dashed, said_nouns)


def _noun(rng: np.random.Generator, key: str) -> str:
    instances = NOUN_BY_KEY[key].instances
    if len(instances) == 1 or rng.random() < _KEY_SHARE:
        return key
    return instances[1 + int(rng.integers(len(instances) - 1))]
