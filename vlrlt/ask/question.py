"""What a question asks for. A small grammar of English: what it does not cover is said to be so, never guessed."""

import re
from dataclasses import dataclass
from typing import Literal

from vlrlt.ask.wording import AUXILIARY, WHO, caption, captions_of, with_noun
from vlrlt.errors import ConfigError

Kind = Literal[
    "when",
    "where",
    "exists",
    "count",
    "duration",
    "before",
    "after",
    "between",
    "first",
    "last",
    "choice",
    "what",
    "open",
]
"""open: a question that retrieval alone cannot answer."""
MAX_QUESTION_CHARS = 2000

_EVENT = r"(?P<event>.+?)"
_HAPPENS = r"(?:happen(?:s|ed)?|occur(?:s|red)?|goes on|went on|(?:is|was) going on|takes place|took place)"
_DOES = rf"{AUXILIARY} {WHO} (?:do|doing|done|been doing)|(?:is|was|gets|got) (?:being )?done"
_WHAT = rf"what(?: else)? (?:{_HAPPENS}|comes|came|{_DOES})(?: next)?"
_JUST = r"(?:(?:right|just|immediately|directly|shortly) )?"
_BEFORE, _AFTER = rf"{_JUST}(?:before|prior to)", rf"{_JUST}(?:after|once|following|as soon as)"
_SHOWN = r"(?: (?:happen(?:s|ed)?|occurs?|occurred|take place|appears?|be seen|shown|seen|visible|recorded))?"
_ANYWHERE = (
    r" (?:anywhere|at all|in (?:any|one|these|those|all|the|my|this) "
    r"(?:videos?|footage|archive|library|recordings?|films?))"
)
_THING = r"(?:what|which (?:object|thing|item)s?)"
_SEEN = r"(?:can|could|do|did) (?:i|you|we) (?:ever )?(?:see|find)"
_FILMS = r"(?:videos?|clips?|films?|recordings?)"
_MOMENTS = r"(?:moments?|times?|scenes?|points?|places?)"
_CHOICE = r"(?P<options>.+\bor\b.+)"
_GRAMMAR: tuple[tuple[Kind, str], ...] = (
    ("between", rf"{_WHAT} (?:in )?between {_EVENT} and (?P<other>.+)"),
    ("between", rf"{_WHAT} after {_EVENT} (?:and|but) before (?P<other>.+)"),
    ("before", rf"{_WHAT} {_BEFORE} {_EVENT}"),
    ("before", rf"{_BEFORE} {_EVENT},? {_WHAT}"),
    ("before", rf"what (?:precedes|preceded|leads up to|led up to) {_EVENT}"),
    ("after", rf"{_WHAT} {_AFTER} {_EVENT}"),
    ("after", rf"{_AFTER} {_EVENT},? {_WHAT}"),
    ("after", rf"what (?:follows|followed) {_EVENT}"),
    ("count", rf"how (?:many times|often) {_EVENT}{_SHOWN}"),
    ("count", rf"count (?:the times|how (?:many times|often))(?: that)? {_EVENT}{_SHOWN}"),
    ("duration", rf"(?:for )?how long (?:does|did) it take (?:{WHO} )?to {_EVENT}"),
    ("duration", rf"how (?:much time|long) {AUXILIARY} {WHO} (?:spend|spent) (?:on )?{_EVENT}"),
    ("duration", rf"(?:for )?how (?:long|many (?:seconds|minutes|hours)) {_EVENT}(?: (?:take|taken|last|for))?"),
    ("first", rf"(?:when|what) (?:is|was) the first time (?:that )?{_EVENT}"),
    ("last", rf"(?:when|what) (?:is|was) the last time (?:that )?{_EVENT}"),
    ("first", rf"when {_EVENT} for the first time"),
    ("last", rf"when {_EVENT} for the last time"),
    ("choice", r"(?:which|what)(?: one)? of (?:these|the following)\b[^:]*:\s*(?P<options>.+)"),
    ("choice", r"which(?: one)? of (?P<options>.+ and .+) (?:is|are|was|were) (?:shown|seen|done)"),
    ("choice", rf"(?:which|what)(?: one)? (?:{_HAPPENS}|(?:is|was) (?:it|shown|seen|done|there))\s*[:,]\s*{_CHOICE}"),
    ("choice", rf"(?:which|what) (?P<event>{AUXILIARY} {WHO} \w+)\s*[:,]\s*{_CHOICE}"),
    ("choice", rf"(?P<options>{AUXILIARY} .+ or .+)"),
    ("what", rf"what (?:is|was|are|were|gets?|has been) (?:being )?done (?:with|to) {_EVENT}"),
    ("what", rf"what {_HAPPENS} (?:with|to) {_EVENT}"),
    ("what", rf"what {AUXILIARY} {WHO} (?:do|doing|done) (?:with|to) {_EVENT}"),
    ("what", rf"{_THING} (?P<event>{AUXILIARY} .+?)"),
    ("when", rf"(?:when|at (?:what|which) (?:times?|points?)|what time) {_EVENT}{_SHOWN}"),
    (
        "when",
        rf"(?:show(?: me)?|find)(?: (?:the|every|all|a))?(?: {_MOMENTS})? (?:when|where|that|in which|of) {_EVENT}",
    ),
    ("when", rf"(?:which|what) {_MOMENTS} shows? {_EVENT}"),
    ("where", rf"(?:which|what|in which|in what) {_FILMS}(?: (?:shows?|contains?|has|have))? {_EVENT}{_SHOWN}"),
    ("where", rf"where {_SEEN} {_EVENT}"),
    ("where", rf"where {_EVENT}{_SHOWN}"),
    ("open", rf"(?P<event>{AUXILIARY} .+ (?:before|after|while|because) .+)"),
    ("exists", rf"{_SEEN} (?:any(?:thing)? )?{_EVENT}"),
    ("exists", rf"do(?:es)? (?:any|a|the|one|these) {_FILMS} (?:show|contain|have) {_EVENT}"),
    (
        "exists",
        rf"{AUXILIARY} there (?:ever )?(?:any|an?|some)? ?(?:{_MOMENTS}|{_FILMS}) "
        rf"(?:when|where|that shows?|in which|of|with|showing) {_EVENT}",
    ),
    ("exists", rf"(?P<event>{AUXILIARY} .+?){_SHOWN}"),
)
_SAID_FIRST = re.compile(
    r"^(?:please |so |and |(?:can|could) you (?:please )?(?:tell|show) me |tell me |do you know |i want to know )+",
    re.IGNORECASE,
)
_CONTRACTIONS = ((r"\b(what|when|where|who|there|it|he|she)['\u2019]s\b", r"\1 is"), (r"['\u2019]ve\b", " have"))
_VIDEO = re.compile(r"\s+(?:in|of|from)\s+(?:the\s+)?video\s+(?P<video>[\w.-]*\w)", re.IGNORECASE)
_EXTREME = re.compile(
    r"when (?P<before>(?!.*\b(?:the|a|my) (?:first|last)\b).*?)\b(?P<extreme>first|last) (?P<after>.+)"
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
    video: str | None = None
    """Name of the one video that the question names ("in video P01_01")."""


def parse_question(text: str, *, options: tuple[str, ...] = ()) -> Question:
    """Find out what a question asks for.

    >>> parse_question("How many times was the fridge opened in video P01_01?").event
    'opened fridge'

    Args:
        text: the question.
        options: answers to choose from; they make it a multiple choice whatever its words.

    Raises:
        ConfigError: it is empty or too long, or there is one option only.
    """
    if not text.strip() or len(text) > MAX_QUESTION_CHARS:
        raise ConfigError(f"a question has 1 to {MAX_QUESTION_CHARS} characters, got {len(text.strip())}")
    if len(options) == 1:
        raise ConfigError("a choice needs two options or more, got one")
    asked = " ".join(text.split()).rstrip("?!. ")
    named = _VIDEO.search(asked)
    video = named["video"] if named else None
    if options:
        return Question(text=text, kind="choice", options=options, video=video)
    kind, found = _match(_plain(_VIDEO.sub("", asked)))
    event, other = (found.get(part, "") for part in ("event", "other"))
    event, other = caption(event), caption(with_noun(other, event))
    listed = _options(found["options"], verb=event) if kind == "choice" else ()
    if kind == "choice" and len(listed) < 2:
        return Question(text=text, kind="open", event=caption(asked), video=video)
    return Question(text=text, kind=kind, event=event, other=other, options=listed, video=video)


def _plain(asked: str) -> str:
    """Without contractions, courtesies and "in any video"."""
    for contraction, full in _CONTRACTIONS:
        asked = re.sub(contraction, full, asked, flags=re.IGNORECASE)
    asked = re.sub(r" or not$", "", _SAID_FIRST.sub("", asked))
    return re.sub(rf"{_ANYWHERE}$", "", asked, flags=re.IGNORECASE)


def _options(listed: str, *, verb: str) -> tuple[str, ...]:
    """What there is to choose from; the verb is what they share: "did I cut: a tomato or an onion"."""
    separators = _OR if re.search(r"\bor\b", listed, re.IGNORECASE) else _AND
    parts = [part for part in separators.split(listed) if part]
    return captions_of([f"{verb} {part}" for part in parts] if verb else parts)


def _match(asked: str) -> tuple[Kind, dict[str, str]]:
    """The kind of a question and the parts of it."""
    extreme = _EXTREME.fullmatch(asked[:1].lower() + asked[1:])
    if extreme:
        kind: Kind = "first" if extreme["extreme"] == "first" else "last"
        return kind, {"event": extreme["before"] + extreme["after"]}
    for kind, pattern in _GRAMMAR:
        match = re.fullmatch(pattern, asked, re.IGNORECASE)
        if match is not None:
            return kind, match.groupdict(default="")
    return "open", {"event": asked}
