"""The form of all searches: every front end translates its options to and from a SearchRequest."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import xxhash

from vlrlt.errors import ConfigError
from vlrlt.formats import is_unicode
from vlrlt.index.search.filters import Filter
from vlrlt.index.search.language import (
    DISLIKED_WEIGHT,
    LIKED_WEIGHT,
    UNLIKE_WEIGHT,
    WITHIN_S,
    ClipQuery,
    CombinedQuery,
    ImageQuery,
    Part,
    Query,
    SequenceQuery,
    SimilarQuery,
    TextQuery,
    parse_clip,
    parse_clip_id,
    weighted_text,
)
from vlrlt.types import Channel

Rerank = Literal["vlm"]
GroupBy = Literal["moment", "video"]
Source = Literal["picture", "subtitles", "speech", "screen"]
MAX_K = 100_000
MAX_RERANK = 200
MAX_TEXT_CHARS = 10_000
SOURCES: tuple[Source, ...] = get_args(Source)
SOURCE_OF: dict[Channel, Source] = {
    "sidecar": "subtitles",
    "embedded": "subtitles",
    "speech": "speech",
    "screen": "screen",
}
"""Where a line of text is looked for."""


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What to find, among which clips, and how much to show; names and defaults are those of every front end.

    Raises:
        ConfigError: a value is not allowed.
    """

    text: tuple[str, ...] = ()
    """What to find, in words; "open the fridge^2" weighs 2 instead of 1."""
    images: tuple[Path, ...] = ()
    """Picture files of what to find."""
    clips: tuple[ClipQuery, ...] = ()
    """Pieces of video files of what to find."""
    like: tuple[str, ...] = ()
    """Ids of liked clips as hits show them; they refine the words if there are any (relevance feedback)."""
    unlike: tuple[str, ...] = ()
    """Ids of disliked clips."""
    without: tuple[str, ...] = ()
    """What must not be shown, in words."""
    then: tuple[str, ...] = ()
    """What comes after, in words, step by step."""
    within_s: float = WITHIN_S
    """From the end of one step to the start of the next, at most."""
    filter: Filter = field(default_factory=Filter)
    sources: tuple[Source, ...] = SOURCES
    """Where to look: the picture, by vectors; and for words subtitles and narrations, what is said, what is written."""
    per_video: int | None = 5
    """Moments of one video at most; None: no limit."""
    diversity: float = 0.0
    """0: the best first; towards 1: moments that differ from each other first."""
    duplicates: bool = False
    """Also moments that show what a better one of another video shows, such as copies of a scene."""
    tail: bool = False
    """Also what fits too little to be a match."""
    hidden: tuple[str, ...] = ()
    """Ids of clips whose own moments are not shown: what was seen already."""
    k: int = 10
    """Moments of one page at most."""
    page: str | None = None
    """`next_page` of an earlier result of the same search; None: the first page."""
    group_by: GroupBy = "moment"
    rerank: Rerank | None = None
    """Who takes a second look at the first moments and orders them anew: the model at VLRLT_VLM_URL; None: nobody."""
    rerank_most: int = 50
    """Moments that are looked at again at most."""

    def __post_init__(self) -> None:
        words = (*self.text, *self.without, *self.then)
        for text in words:
            if not isinstance(text, str) or not is_unicode(text) or len(text) > MAX_TEXT_CHARS:
                raise ConfigError(
                    f"what to find or leave out must be UTF-8 text of at most {MAX_TEXT_CHARS} characters, "
                    f"got {text!r:.100}"
                )
        for clip in (*self.like, *self.unlike, *self.hidden):
            parse_clip_id(clip)
        if not 0 <= self.within_s < math.inf:
            raise ConfigError(f"within_s must be 0 or more, got {self.within_s}; try {WITHIN_S:g}")
        if not self.sources or not set(self.sources) <= set(SOURCES):
            raise ConfigError(f"sources must be one or more of {', '.join(SOURCES)}, got {self.sources}")
        if self.per_video is not None and self.per_video < 1:
            raise ConfigError(f"per_video must be 1 or more, got {self.per_video}")
        if not 0 <= self.diversity <= 1:
            raise ConfigError(f"diversity must be in [0, 1], got {self.diversity}")
        if not 1 <= self.k <= MAX_K:
            raise ConfigError(f"k must be 1 to {MAX_K}, got {self.k:.6g}; try 10")
        if self.rerank is not None and self.rerank not in get_args(Rerank):
            raise ConfigError(f"rerank must be {', '.join(get_args(Rerank))} or nothing, got {self.rerank!r}")
        if not 1 <= self.rerank_most <= MAX_RERANK:
            raise ConfigError(f"rerank_most must be 1 to {MAX_RERANK}, got {self.rerank_most:.6g}; try 50")
        if self.group_by not in get_args(GroupBy):
            raise ConfigError(f"group_by must be one of {', '.join(get_args(GroupBy))}, got {self.group_by!r}")

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> "SearchRequest":
        """The request that the options of a front end describe; they are spelled as `replaced` takes them.

        Raises:
            ConfigError: an option is unknown or not allowed.
        """
        return cls().replaced(**options)

    def replaced(self, **options: Any) -> "SearchRequest":  # noqa: ANN401  as many kinds as there are fields
        """This request with other values for some of its fields, or of its filter's, by their names.

        >>> SearchRequest().replaced(text="open the fridge", paths=["*/2024/*"]).filter.paths
        ('*/2024/*',)

        Where several values may stand, one alone, any list and None are taken; a clip may be FILE@START-END, a filter a
        mapping.

        Raises:
            ConfigError: an option is unknown or not allowed.
        """
        chosen = options.pop("filter", self.filter)
        if isinstance(chosen, Mapping):
            options, chosen = {**chosen, **options}, Filter()
        unknown = sorted(options.keys() - DEFAULTS.keys())
        if unknown:
            raise ConfigError(f"a search does not have the option {', '.join(unknown)}; it has {', '.join(DEFAULTS)}")
        try:
            values = {name: _value(name, value) for name, value in options.items()}
            narrowed = {name: value for name, value in values.items() if name in _FILTER_FIELDS}
            own = {name: value for name, value in values.items() if name not in _FILTER_FIELDS}
            return replace(self, filter=replace(chosen, **narrowed), **own)
        except TypeError as error:
            raise ConfigError(f"not a valid search: {error}") from error

    def options(self) -> dict[str, Any]:
        """The options that differ from the defaults, as `replaced` takes them."""
        values = vars(self) | vars(self.filter)
        return {name: values[name] for name, default in DEFAULTS.items() if values[name] != default}

    @property
    def finds_something(self) -> bool:
        """Whether there is anything to look for, and not only something to leave out."""
        return any((self.text, self.images, self.clips, self.like, self.unlike, self.then))

    def query(self) -> Query:
        """What to find.

        Raises:
            ConfigError: there is nothing to find.
        """
        asked = [weighted_text(words) for words in self.text]
        asked += [Part(ImageQuery(path), 1.0) for path in self.images]
        asked += [Part(clip, 1.0) for clip in self.clips]
        liked_weight = LIKED_WEIGHT if asked else 1.0
        parts = [
            *asked,
            *(Part(SimilarQuery(parse_clip_id(clip)), liked_weight / len(self.like)) for clip in self.like),
            *(Part(SimilarQuery(parse_clip_id(clip)), DISLIKED_WEIGHT / len(self.unlike)) for clip in self.unlike),
            *(Part(part.query, UNLIKE_WEIGHT * part.weight) for part in map(weighted_text, self.without)),
        ]
        if not parts:
            raise ConfigError("nothing to find; give words, a picture, a piece of video or a clip of the library")
        first = parts[0].query if len(parts) == 1 and parts[0].weight > 0 else CombinedQuery(tuple(parts))
        if not self.then:
            return first
        return SequenceQuery((first, *(TextQuery(step) for step in self.then)), self.within_s)

    def ranking_key(self) -> str:
        """16 hexadecimal digits that searches share if they differ only in how much of one ranking is shown and how.

        Pictures count by their content: one that is uploaded again lies elsewhere.
        """
        asked = replace(self, images=(), k=SearchRequest.k, page=None, group_by=SearchRequest.group_by)
        pictures = tuple(map(_digest, self.images))
        return xxhash.xxh3_64_hexdigest(repr((asked, pictures)).encode(errors="surrogateescape"))

    def as_json(self) -> dict[str, Any]:
        """What is kept of a search: the body of `POST /v1/search`, without the page; `parse` is the inverse.

        A second look is not kept: it sends pictures away and may cost money, so it is asked for each time.

        Raises:
            ConfigError: it looks for files, or for nothing.
        """
        if self.images or self.clips:
            raise ConfigError(
                "a saved search takes words and clips of the library, not files; name a hit with like instead"
            )
        self.query()
        values = asdict(self)
        return {name: value for name, value in values.items() if name not in _NOT_KEPT}


_NOT_KEPT = ("images", "clips", "page", "rerank", "rerank_most")
_FILTER_FIELDS = {known.name: known.default for known in fields(Filter)}
DEFAULTS = {known.name: known.default for known in fields(SearchRequest) if known.name != "filter"} | _FILTER_FIELDS
"""Of all fields of a request and of its filter, by their names."""


def _digest(picture: Path) -> str:
    try:
        return xxhash.xxh3_64_hexdigest(picture.read_bytes())
    except OSError:  # the search says so
        return str(picture)


def _value(name: str, value: Any) -> Any:  # noqa: ANN401  as many kinds as there are fields
    """The value of a field as it is kept: where several may stand, one alone becomes a tuple."""
    if not isinstance(DEFAULTS[name], tuple):
        return value
    if value is None:
        return ()
    several = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if name == "images":
        return tuple(map(Path, several))
    if name == "clips":
        return tuple(parse_clip(clip) if isinstance(clip, str) else clip for clip in several)
    return several
