"""A search that can be written down: everything that a front end may be asked for, but no file and no picture."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from vlrlt.errors import ConfigError
from vlrlt.index.query.filters import Filter
from vlrlt.index.query.language import WITHIN_S, Query, compose, parse_clip_id
from vlrlt.index.query.searcher import SOURCES, SearchOptions, Source

GroupBy = Literal["moment", "video"]


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """Words and clips of the library, options and filters; names and defaults are those of every front end.

    Raises:
        ConfigError: there is nothing to find, or an option is out of range.
    """

    text: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    """Ids of liked clips as hits show them."""
    unlike: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    within_s: float = WITHIN_S
    filter: Filter = field(default_factory=Filter)
    sources: tuple[Source, ...] = SOURCES
    per_video: int | None = 5
    diversity: float = 0.0
    duplicates: bool = False
    tail: bool = False
    k: int = 10
    group_by: GroupBy = "moment"

    def __post_init__(self) -> None:
        self.query()
        self.options()

    def query(self) -> Query:
        """What to find."""
        return compose(
            text=self.text,
            like=[parse_clip_id(clip) for clip in self.like],
            unlike=[parse_clip_id(clip) for clip in self.unlike],
            without=self.without,
            then=self.then,
            within_s=self.within_s,
        )

    def options(self) -> SearchOptions:
        """How to search and what to show."""
        return SearchOptions(
            filter=self.filter,
            sources=self.sources,
            per_video=self.per_video,
            diversity=self.diversity,
            duplicates=self.duplicates,
            tail=self.tail,
        )

    def as_json(self) -> dict[str, Any]:
        """The body of `POST /v1/search`."""
        return asdict(self)

    @classmethod
    def from_json(cls, request: Mapping[str, Any]) -> "SearchRequest":
        """The inverse of as_json.

        Raises:
            ConfigError: it has unknown names or values that are not allowed.
        """
        unknown = set(request) - {known.name for known in fields(cls)}
        if unknown:
            raise ConfigError(
                f"a saved search has words and clips of the library only, not {', '.join(sorted(unknown))}"
            )
        values = _with_tuples(request)
        within = _with_tuples(values.pop("filter", {}))
        try:
            return cls(filter=Filter(**within), **values)
        except TypeError as error:
            raise ConfigError(f"this is no search: {error}") from error


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
