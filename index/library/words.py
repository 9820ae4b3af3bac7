"""Meaningful words of a query, and their forms."""

import re

_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a an and are at be by did do does for from has have i in into is it its my of off on onto or out some the
        then there to up was we were with""",
    )
)
_IRREGULAR_VERBS = """break broke broken; bring brought; build built; buy bought; catch caught; cut; dig dug; draw drew
drawn; drink drank drunk; drive drove driven; eat ate eaten; feed fed; find found; freeze froze frozen; give gave
given; grind ground; hang hung; hide hid hidden; hit; hold held; keep kept; lay laid; leave left; light lit; lose lost;
make made; put; read; ride rode ridden; send sent; set; sew sewn; shake shook shaken; shut; sing sang sung; sit sat;
split; spread; stand stood; steal stole stolen; sweep swept; take took taken; tear tore torn; throw threw thrown;
wake woke woken; wear wore worn; write wrote written"""
_VERB_FORMS = [forms.split() for forms in _IRREGULAR_VERBS.split(";")]
IRREGULAR_PARTICIPLES = frozenset(forms[-1] for forms in _VERB_FORMS)
"""What is done in kitchens, in workshops and in the street, not the whole language."""
_VERB_OF = {form: verb for verb, *forms in _VERB_FORMS for form in forms}


def content_words(text: str) -> list[str]:
    """The words of a text in lower case, without those that every sentence has."""
    return [word for word in re.findall(r"\w+", text.lower()) if word not in _STOP_WORDS]


def possible_stems(word: str) -> set[str]:
    """A word as it stands, and what it may be an inflection of: "opens", "dried", "slices", "cutting", "taken"."""
    stems = {word} | {word.removesuffix(end) for end in ("s", "es", "ing", "ed", "d") if len(word) > len(end) + 2}
    return (
        stems
        | {f"{word[:-3]}y" for end in ("ies", "ied") if word.endswith(end)}
        | {f"{stem}e" for stem in stems}
        | {stem[:-1] for stem in stems if len(stem) > 2 and stem[-1] == stem[-2]}
        | {_VERB_OF.get(word, word)}
    )
