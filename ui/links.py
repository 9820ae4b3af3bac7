"""Searches and open moments in links. Parameters have the names of `vlrlt search`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vlrlt.errors import ConfigError
from vlrlt.formats import parse_time
from vlrlt.index.search.language import parse_clip_id
from vlrlt.index.search.request import DEFAULTS, SearchRequest
from vlrlt.types import ClipSpan, Moment

PLAY = "play"
"""Parameter of the moment that is open: CLIP@START-END, in seconds."""
MAX_CHARS = 2000
"""Of one value in a link; longer ones are cut."""


def _flag(text: str) -> bool:
    return text == "1"


def _limit(text: str) -> int | None:
    """0: none."""
    return int(text) or None


_PARAMETERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "q": ("text", str),
    "then": ("then", str),
    "within": ("within_s", float),
    "without": ("without", str),
    "like": ("like", str),
    "unlike": ("unlike", str),
    "path": ("paths", str),
    "not_path": ("not_paths", str),
    "video": ("videos", str),
    "after": ("recorded_after", str),
    "before": ("recorded_before", str),
    "min_duration": ("min_duration_s", float),
    "max_duration": ("max_duration_s", float),
    "where": ("where", str),
    "moving": ("moving", float),
    "still": ("still", float),
    "in": ("sources", str),
    "per_video": ("per_video", _limit),
    "diversity": ("diversity", float),
    "duplicates": ("duplicates", _flag),
    "tail": ("tail", _flag),
    "hidden": ("hidden", str),
}
"""Of a link -> field of the request or of its filter, and how its value is read."""


def from_params(params: Mapping[str, Sequence[str]]) -> SearchRequest:
    """Read a link; what it says wrongly is left out."""
    request = SearchRequest()
    for parameter, (name, read) in _PARAMETERS.items():
        given = [value[:MAX_CHARS] for value in params.get(parameter, ())]
        if given:
            try:
                value = tuple(map(read, given)) if isinstance(DEFAULTS[name], tuple) else read(given[0])
                request = request.replaced(**{name: value})
            except ValueError:
                continue
    return request


def to_params(request: SearchRequest) -> dict[str, list[str]]:
    """What a link says of a search: everything that is not the default, but no uploaded example."""
    options = request.options()
    return {parameter: _format(options[name]) for parameter, (name, _) in _PARAMETERS.items() if name in options}


def chips(request: SearchRequest) -> dict[str, SearchRequest]:
    """What is in effect beside the words, each with the request that is left when it is taken away."""
    within = request.filter
    shares = f"{within.moving or 0:.0%} to {1 if within.still is None else within.still:.0%}"
    labels = {
        "then: " + ", then ".join(request.then): ("then", "within_s"),
        "not: " + ", ".join(request.without): ("without",),
        "path: " + ", ".join(within.paths): ("paths",),
        "not path: " + ", ".join(within.not_paths): ("not_paths",),
        f"{len(within.videos)} chosen videos": ("videos",),
        f"from: {within.recorded_after}": ("recorded_after",),
        f"until: {within.recorded_before}": ("recorded_before",),
        f"at least {within.min_duration_s} s long": ("min_duration_s",),
        f"at most {within.max_duration_s} s long": ("max_duration_s",),
        "where: " + ", ".join(within.where): ("where",),
        f"moving: {shares}": ("moving", "still"),
        "found in: " + ", ".join(request.sources): ("sources",),
        f"like {len(request.like)} clips": ("like",),
        f"unlike {len(request.unlike)} clips": ("unlike",),
        f"without {len(request.hidden)} clips": ("hidden",),
        f"per video: {request.per_video or 'all'}": ("per_video",),
        f"diversity: {request.diversity:g}": ("diversity",),
        "with copies": ("duplicates",),
        "with weak matches": ("tail",),
    }
    options = request.options()
    left = {
        label: request.replaced(**{name: DEFAULTS[name] for name in names})
        for label, names in labels.items()
        if any(name in options for name in names if name != "within_s")
    }
    also = {"and: " + ", ".join(request.text[1:]): request.replaced(text=request.text[:1])}
    return also | left if len(request.text) > 1 else left


def liking(request: SearchRequest, clip: str, liked: bool | None) -> SearchRequest:
    """With a clip among the liked (True), the disliked (False) or neither."""
    like = tuple(known for known in request.like if known != clip)
    unlike = tuple(known for known in request.unlike if known != clip)
    return request.replaced(
        like=(*like, clip) if liked is True else like, unlike=(*unlike, clip) if liked is False else unlike
    )


def format_play(moment: Moment) -> str:
    """The value of the parameter PLAY."""
    return f"{moment.clip}@{moment.start_s:.3f}-{moment.end_s:.3f}"


def parse_play(text: str) -> tuple[str, ClipSpan]:
    """Clip and seconds.

    Raises:
        ConfigError: it is malformed.
    """
    clip, _, times = text.partition("@")
    start, _, end = times.partition("-")
    try:
        parse_clip_id(clip)
        return clip, ClipSpan(parse_time(start), parse_time(end))
    except ValueError as error:
        raise ConfigError(f"a moment is CLIP@START-END, got {text[:80]!r}") from error


def _format(value: Any) -> list[str]:  # noqa: ANN401  as many kinds as there are fields
    if isinstance(value, tuple):
        return [str(part) for part in value]
    return [
        "1" if value is True else "0" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    ]
