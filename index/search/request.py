"""A search that can be written down: everything that a front end may be asked for, but no file and no picture."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from vlrlt.errors import ConfigError
from vlrlt.index.search.filters import Filter
from vlrlt.index.search.language import WITHIN_S, Query, compose, parse_clip_id
from vlrlt.index.search.searcher import SearchOptions

GroupBy = Literal["moment", "video"]
_OPTIONS = {option.name for option in fields(SearchOptions)} - {"hidden"}


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """Words and clips of the library, options and filters; names and defaults are those of every front end.

    Raises:
        ConfigError: there is nothing to find.
    """

    text: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    """Ids of liked clips as hits show them."""
    unlike: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    within_s: float = WITHIN_S
    options: SearchOptions = field(default_factory=SearchOptions)
    k: int = 10
    group_by: GroupBy = "moment"

    def __post_init__(self) -> None:
        self.query()

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

    def as_json(self) -> dict[str, Any]:
        """The body of `POST /v1/search`."""
        values = asdict(self)
        options = values.pop("options")
        return values | {name: options[name] for name in _OPTIONS}

    @classmethod
    def from_json(cls, request: Mapping[str, Any]) -> "SearchRequest":
        """The inverse of as_json.

        Raises:
            ConfigError: it has unknown names or values that are not allowed.
        """
        unknown = set(request) - ({known.name for known in fields(cls)} - {"options"}) - _OPTIONS
        if unknown:
            raise ConfigError(
                f"a saved search has words and clips of the library only, not {', '.join(sorted(unknown))}"
            )
        values = _with_tuples(request)
        options = {name: values.pop(name) for name in _OPTIONS & values.keys()}
        try:
            options["filter"] = Filter(**_with_tuples(options.get("filter", {})))
            return cls(options=SearchOptions(**options), **values)
        except TypeError as error:
            raise ConfigError(f"this is no search: {error}") from error


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
