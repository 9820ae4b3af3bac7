"""A search as a person put it together, and as a link says it. Parameters have the names of `vlrlt search`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from vlrlt.errors import ConfigError
from vlrlt.formats import parse_time
from vlrlt.index.search.filters import Filter
from vlrlt.index.search.language import WITHIN_S, ClipQuery, ImageQuery, Query, compose, format_clip_id, parse_clip_id
from vlrlt.index.search.request import SearchRequest
from vlrlt.index.search.searcher import SOURCES, SearchOptions, Source
from vlrlt.types import ClipSpan, Moment

PLAY = "play"
"""Parameter of the moment that is open: CLIP@START-END, in seconds."""
MAX_CHARS = 2000
"""Of one value in a link; longer ones are cut."""

_SHOWN = {"per_video", "k", "group_by"}
"""Fields of a saved search that say how much is shown at once, not what is found."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to find and how. The defaults find nothing and let everything pass."""

    q: str = ""
    then: str = ""
    within: float = WITHIN_S
    without: str = ""
    like: tuple[str, ...] = ()
    """Clip ids: the query itself, or what refines the words."""
    unlike: tuple[str, ...] = ()
    path: str = ""
    video: tuple[str, ...] = ()
    after: str = ""
    before: str = ""
    where: str = ""
    moving: float = 0.0
    """Least share of moving tokens, in [0, 1]."""
    still: float = 1.0
    """Largest share."""
    source: str = ""
    """visual or text; empty: both."""
    duplicates: bool = False
    tail: bool = False

    @classmethod
    def from_params(cls, params: Mapping[str, Sequence[str]]) -> "Request":
        """Read a link; what it says wrongly is left out."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            given = [value[:MAX_CHARS] for value in params.get(field.name, ())]
            if given:
                try:
                    values[field.name] = _parse(field.name, field.default, given)
                except ValueError:
                    continue
        return cls(**values)

    def params(self) -> dict[str, list[str]]:
        """What a link says of it: everything that is not the default."""
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {name: _format(value) for name, value in changed.items()}

    def query(self, *, example: ImageQuery | ClipQuery | None = None) -> Query | None:
        """What to search for, beside an example that was uploaded; None: nothing yet.

        Raises:
            ConfigError: it asks for nothing but what to leave out.
        """
        text = [self.q.strip()] if self.q.strip() else []
        if not (text or example or self.like or self.unlike or self.then.strip()):
            return None
        return compose(
            text=text,
            images=[example.path] if isinstance(example, ImageQuery) else [],
            clips=[example] if isinstance(example, ClipQuery) else [],
            like=[parse_clip_id(clip) for clip in self.like],
            unlike=[parse_clip_id(clip) for clip in self.unlike],
            without=[self.without] if self.without.strip() else [],
            then=[self.then] if self.then.strip() else [],
            within_s=self.within,
        )

    def options(self) -> SearchOptions:
        """How to search."""
        only: tuple[Source, ...] = tuple(source for source in SOURCES if source == self.source)
        return SearchOptions(
            filter=Filter(
                paths=(self.path,) if self.path else (),
                videos=self.video,
                recorded_after=self.after or None,
                recorded_before=self.before or None,
                where=(self.where,) if self.where else (),
                moving=self.moving or None,
                still=self.still if self.still < 1 else None,
            ),
            sources=only or SOURCES,
            per_video=None if self.video else SearchOptions().per_video,
            duplicates=self.duplicates,
            tail=self.tail,
        )

    def saved(self) -> SearchRequest:
        """The same as every front end keeps it.

        Raises:
            ConfigError: there is nothing to find.
        """
        return SearchRequest(
            text=(self.q.strip(),) if self.q.strip() else (),
            like=self.like,
            unlike=self.unlike,
            without=(self.without,) if self.without.strip() else (),
            then=(self.then,) if self.then.strip() else (),
            within_s=self.within,
            options=self.options(),
        )

    @classmethod
    def from_saved(cls, saved: SearchRequest) -> "Request":
        """A search that was kept here or by another front end.

        Raises:
            ConfigError: it asks for more than the page can show.
        """
        options, within = saved.options, saved.options.filter
        request = cls(
            q=_only(saved.text),
            then=_only(saved.then),
            within=saved.within_s,
            without=_only(saved.without),
            like=saved.like,
            unlike=saved.unlike,
            path=_only(within.paths),
            video=within.videos,
            after=within.recorded_after or "",
            before=within.recorded_before or "",
            where=_only(within.where),
            moving=within.moving or 0.0,
            still=1.0 if within.still is None else within.still,
            source=options.sources[0] if len(options.sources) == 1 else "",
            duplicates=options.duplicates,
            tail=options.tail,
        )
        back = request.saved().as_json()
        lost = sorted(name for name, value in saved.as_json().items() if name not in _SHOWN and back[name] != value)
        if lost:
            raise ConfigError(
                f"this page has no place for all of its {', '.join(lost)}; run: vlrlt searches --run NAME"
            )
        return request

    def chips(self) -> dict[str, "Request"]:
        """What is in effect beside the words, each with the request that is left when it is taken away."""
        chips = {
            "then: " + self.then: ("then", "within"),
            "not: " + self.without: ("without",),
            "path: " + self.path: ("path",),
            f"{len(self.video)} chosen videos": ("video",),
            "from: " + self.after: ("after",),
            "until: " + self.before: ("before",),
            "where: " + self.where: ("where",),
            f"moving: {self.moving:.0%} to {self.still:.0%}": ("moving", "still"),
            "found in: " + {"visual": "pictures", "text": "texts"}.get(self.source, ""): ("source",),
            f"like {len(self.like)} clips": ("like",),
            f"unlike {len(self.unlike)} clips": ("unlike",),
            "with copies": ("duplicates",),
            "with weak matches": ("tail",),
        }
        defaults: dict[str, Any] = {field.name: field.default for field in fields(self)}
        return {
            label: replace(self, **{name: defaults[name] for name in names})
            for label, names in chips.items()
            if any(getattr(self, name) != defaults[name] for name in names if name != "within")
        }

    def liking(self, clip: str, liked: bool | None) -> "Request":
        """With a clip among the liked (True), the disliked (False) or neither."""
        like = tuple(known for known in self.like if known != clip)
        unlike = tuple(known for known in self.unlike if known != clip)
        return replace(
            self,
            like=(*like, clip) if liked is True else like,
            unlike=(*unlike, clip) if liked is False else unlike,
        )


def _only(values: Sequence[str]) -> str:
    return values[0] if values else ""


def format_play(moment: Moment) -> str:
    """The value of the parameter PLAY."""
    return f"{format_clip_id(moment.clip_id)}@{moment.start_s:.3f}-{moment.end_s:.3f}"


def parse_play(text: str) -> tuple[int, ClipSpan]:
    """Clip and seconds.

    Raises:
        ConfigError: it is malformed.
    """
    clip, _, times = text.partition("@")
    start, _, end = times.partition("-")
    try:
        return parse_clip_id(clip), ClipSpan(parse_time(start), parse_time(end))
    except ValueError as error:
        raise ConfigError(f"a moment is CLIP@START-END, got {text[:80]!r}") from error


def _parse(name: str, default: object, given: Sequence[str]) -> object:
    """The value of a parameter.

    Raises:
        ValueError: it is malformed.
    """
    if isinstance(default, bool):
        return given[0] == "1"
    if isinstance(default, float):
        number = float(given[0])
        if not 0 <= number <= (1 if name in ("moving", "still") else 1e7):
            raise ConfigError(f"{name} is out of range: {number}")
        return number
    if isinstance(default, tuple):
        if name in ("like", "unlike"):
            for clip in given:
                parse_clip_id(clip)
        return tuple(given)
    if name == "source" and given[0] not in get_args(Source):
        raise ConfigError(f"source must be one of {SOURCES}")
    return given[0]


def _format(value: object) -> list[str]:
    if isinstance(value, tuple):
        return [str(part) for part in value]
    return ["1" if value is True else f"{value:g}" if isinstance(value, float) else str(value)]
