"""What a question asks for. A small grammar of English: what it does not cover is said to be so, never guessed."""

import re
from dataclasses import dataclass
from typing import Literal

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

_WHO = r"(?:i|you|we|they|he|she|it|someone|somebody|anyone|anybody|a person|the person|people|the wearer)"
_DID = rf"(?:do|does|did|is|are|was|were|has|have|can you see|do you see)\s+(?:there\s+)?(?:{_WHO}\s+)?"
_TIME = r"(?:\s+(?:happen|happened|happens|occur|occurs|take place|shown|seen|visible))?"
_EVENT = r"(?P<event>.+?)"
_GRAMMAR: tuple[tuple[Kind, str], ...] = (
    ("between", rf"what\s+(?:happen(?:s|ed)?|is done|was done)\s+between\s+{_EVENT}\s+and\s+(?P<other>.+)"),
    (
        "before",
        rf"what\s+(?:happen(?:s|ed)?|is done|was done|{_DID}do)\s+(?:right |just )?before\s+(?:{_WHO}\s+)?{_EVENT}",
    ),
    (
        "after",
        rf"what\s+(?:happen(?:s|ed)?|is done|was done|{_DID}do)\s+(?:right |just )?after\s+(?:{_WHO}\s+)?{_EVENT}",
    ),
    ("count", rf"how\s+(?:many\s+times|often)\s+(?:{_DID})?{_EVENT}{_TIME}"),
    ("duration", rf"how\s+long\s+(?:{_DID})?{_EVENT}(?:\s+(?:take|last|for))?"),
    ("first", rf"when\s+(?:is|was)\s+the\s+first\s+time\s+(?:that\s+)?(?:{_WHO}\s+)?{_EVENT}"),
    ("last", rf"when\s+(?:is|was)\s+the\s+last\s+time\s+(?:that\s+)?(?:{_WHO}\s+)?{_EVENT}"),
    ("first", rf"when\s+{_DID}first\s+{_EVENT}"),
    ("last", rf"when\s+{_DID}last\s+{_EVENT}"),
    ("choice", r"(?:which|what)\s+of\s+(?:these|the following)\b[^:]*:\s*(?P<options>.+)"),
    ("what", rf"what\s+(?:is|was|are|were|gets?)\s+done\s+(?:with|to)\s+{_EVENT}"),
    ("what", rf"what\s+{_DID}do\s+with\s+{_EVENT}"),
    ("what", rf"(?:what|which\s+(?:object|thing|item))\s+{_DID}{_EVENT}"),
    ("when", rf"(?:when|at what time)\s+(?:{_DID})?{_EVENT}{_TIME}"),
    ("where", rf"(?:where|in which videos?)\s+(?:{_DID})?{_EVENT}{_TIME}"),
    ("exists", rf"{_DID}(?:any(?:thing)?\s+)?{_EVENT}{_TIME}"),
)
_VIDEO = re.compile(r"\s+in\s+(?:the\s+)?video\s+(?P<video>[\w.-]*\w)", re.IGNORECASE)
_DETERMINERS = re.compile(r"\b(?:the|a|an|any|some|my|your|his|her|their|ever)\s+", re.IGNORECASE)


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

    >>> parse_question("How many times did I open the fridge in video P01_01?").event
    'open fridge'

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
    asked = text.strip().rstrip("?!. ")
    named = _VIDEO.search(asked)
    video = named["video"] if named else None
    asked = _VIDEO.sub("", asked)
    if options:
        return Question(text=text, kind="choice", options=options, video=video)
    for kind, pattern in _GRAMMAR:
        match = re.fullmatch(pattern, asked, re.IGNORECASE | re.DOTALL)
        if match is None:
            continue
        found = match.groupdict()
        listed = tuple(caption(part) for part in re.split(r"\s*(?:,|;|\bor\b)\s*", found.get("options") or "") if part)
        if kind == "choice" and len(listed) < 2:
            break
        return Question(
            text=text,
            kind=kind,
            event=caption(found.get("event") or ""),
            other=caption(found.get("other") or ""),
            options=listed,
            video=video,
        )
    return Question(text=text, kind="open", event=caption(asked), video=video)


def caption(words: str) -> str:
    """Words of a question as a caption would have them: no quotes, no articles."""
    return _DETERMINERS.sub("", f"{words.strip()} ").strip(" '\"?!.,")
