"""Parse questions with a small grammar of English. A question outside the grammar is reported, never guessed."""

import re
from dataclasses import dataclass, replace
from datetime import date

from vlrlt.ask.dates import Days, take_days
from vlrlt.ask.grammar import GRAMMAR, Form, Kind
from vlrlt.ask.phrases import AUXILIARY, FILMS, PARTICIPLE
from vlrlt.ask.wording import caption, captions_of, with_noun
from vlrlt.errors import ConfigError
from vlrlt.formats import is_unicode
from vlrlt.index.search.request import SOURCES, Source

MAX_QUESTION_CHARS = 2000

_CONTRACTIONS = (
    (r"\b(what|when|where|who|there|it|he|she)['\u2019]s\b", r"\1 is"),
    (r"['\u2019]ve\b", " have"),
    (r"['\u2019]d like\b", " would like"),
)
_ASKING = r"(?:what|when|where|which|how|if|whether)\b"
_SAID_FIRST = re.compile(
    r"^(?:(?:please|so|and|then|ok|okay|now)[, ]+|"
    r"(?:can|could|would|will) you (?:please )?"
    r"(?=(?:tell|show|find|count|give|list|search|look|jump|go|take|check|see (?:if|whether))\b)|"
    r"tell (?:me |us )?|(?:i )?(?:want|need|would like) to (?:know |see )|"
    rf"(?:do you (?:know|remember)|show me|show|check|see) (?={_ASKING}))+",
    re.IGNORECASE,
)
_SAID_BESIDE = re.compile(
    r"(?<=\w) (?:exactly|precisely|in total|all together|altogether|so far|roughly|else)\b|,? or not$", re.IGNORECASE
)
_ANYWHERE = re.compile(
    rf"(?<!which)(?<!what)(?<!any) (?:anywhere|at all|(?:in|on|of|from) (?:any|one|all|the|my|this|these|those) "
    rf"(?:{FILMS}|archive|library|tapes?))(?=$| (?:{AUXILIARY}|before|after|between|shows?)\b)",
    re.IGNORECASE,
)
_VIDEO = re.compile(
    rf"\s+(?:in|of|from)\s+(?:the\s+video\s+(?=\S*[\d_.])|"  # "in the video someone", but "in the video P01_01"
    rf"video\s+(?!(?:{AUXILIARY}|before|after|between|when|where|shows?|there|with)\b))(?P<video>[\w.-]*\w)",
    re.IGNORECASE,
)
_PASSIVE = re.compile(
    rf"(?P<be>is|are|was|were) (?P<nouns>(?!.*{PARTICIPLE}.* or ).+ or .+?) (?P<done>{PARTICIPLE}.*)", re.IGNORECASE
)
_OR, _AND = (re.compile(rf"\s*(?:[,;]\s*(?:{word}\b)?|\b{word}\b)\s*", re.IGNORECASE) for word in ("or", "and"))


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question taken apart."""

    text: str
    kind: Kind
    event: str = ""
    """What is asked about, as a caption: "open fridge". Of kind "what": what the answer has to do with."""
    other: str = ""
    """Of kind "between": the later event."""
    options: tuple[str, ...] = ()
    """Of kind "choice"."""
    sources: tuple[Source, ...] = SOURCES
    """Where the answer is looked for."""
    video: str | None = None
    """Name of the one video that the question names ("in video P01_01")."""
    recorded: Days | None = None
    """Days on which the videos were recorded that it asks about ("last Tuesday")."""


def parse_question(text: str, *, options: tuple[str, ...] = (), today: date | None = None) -> Question:
    """Find out what a question asks for.

    >>> parse_question("How many times was the fridge opened in video P01_01?").event
    'opened fridge'

    Args:
        text: the question.
        options: answers to choose from; they make it a multiple choice whatever its words.
        today: from which "last Tuesday" is counted; None: today, in local time.

    Raises:
        ConfigError: it is empty or too long, or there is one option only.
    """
    if not all(map(is_unicode, (text, *options))):
        raise ConfigError(f"a question and its options must be UTF-8, got {text!r:.100}")
    if not text.strip() or len(text) > MAX_QUESTION_CHARS:
        raise ConfigError(f"a question must have 1 to {MAX_QUESTION_CHARS} characters, got {len(text.strip())}")
    if len(options) == 1:
        raise ConfigError("a choice needs at least two options, got one")
    asked, recorded = take_days(_asked(text), today=today or date.today())
    named = _VIDEO.search(asked)
    video = named["video"] if named else None
    found = _question(text, _plain(asked), options=options)
    return replace(found, video=video, recorded=recorded)


def _question(text: str, plain: str, *, options: tuple[str, ...]) -> Question:
    """A question, from its words without courtesies and without the days and the video that it names."""
    if options:
        return Question(text=text, kind="choice", options=options)
    form, found = _match(plain)
    kind = "open" if form is None else form.kind
    event, other = found.get("event", "") + found.get("rest", ""), found.get("other", "")
    if kind == "between":
        event, other = _both(event, other)
    event, other = caption(event), caption(other)
    listed = _options(found["options"], verb=event) if kind == "choice" else ()
    if kind == "open" or (kind == "choice" and len(listed) < 2):
        return Question(text=text, kind="open", event=caption(plain))
    sources = SOURCES if form is None else form.sources
    return Question(text=text, kind=kind, event=event, other=other, options=listed, sources=sources)


def form_of(text: str) -> Form | None:
    """The form of a question; None: it has none that is known."""
    return _match(_plain(_asked(text)))[0]


def _asked(text: str) -> str:
    return " ".join(text.split()).rstrip("?!. ")


def _plain(asked: str) -> str:
    """Without the video that it names, contractions, courtesies and "in any video"."""
    asked = _VIDEO.sub("", asked)
    for contraction, full in _CONTRACTIONS:
        asked = re.sub(contraction, full, asked, flags=re.IGNORECASE)
    for idle in (_SAID_FIRST, _SAID_BESIDE, _ANYWHERE):
        asked = idle.sub("", asked)
    return asked


def _both(event: str, other: str) -> tuple[str, str]:
    """Two events with the words that one leaves out: "opening" and "closing the fridge", "closing it"."""
    if re.fullmatch(r"\w+ing", event) and " " in other:
        event = f"{event} {other.split(maxsplit=1)[1]}"
    return with_noun(event, other), with_noun(other, event)


def _options(listed: str, *, verb: str) -> tuple[str, ...]:
    """What there is to choose from; the verb is what they share: "did I cut: a tomato or an onion"."""
    separators = _OR if re.search(r"\bor\b", listed, re.IGNORECASE) else _AND
    passive = _PASSIVE.fullmatch(listed)
    if passive:  # "was the milk or the water poured": "was the milk poured", "the water poured"
        return captions_of(
            [f"{passive['be']} {noun} {passive['done']}" for noun in _OR.split(passive["nouns"]) if noun]
        )
    parts = [part for part in separators.split(listed) if part]
    return captions_of([f"{verb} {part}" for part in parts] if verb else parts)


def _match(asked: str) -> tuple[Form | None, dict[str, str]]:
    """The form of a question without courtesies, and the parts of it; None: no form that is known."""
    for form in GRAMMAR:
        found = re.fullmatch(form.pattern, asked, re.IGNORECASE)
        if found is not None:
            return form, found.groupdict(default="")
    return None, {}
