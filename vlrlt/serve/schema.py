"""Bodies of requests. Names and defaults are those of the command line; no path of a file ever comes from a client."""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vlrlt.errors import ConfigError
from vlrlt.index.search.filters import Filter
from vlrlt.index.search.language import ClipQuery
from vlrlt.index.search.request import MAX_RERANK, GroupBy, Rerank, SearchRequest, Source

MAX_IMAGE_BYTES = 10 * 1024 * 1024

Text = Annotated[str, Field(min_length=1, max_length=2000)]
Texts = Annotated[list[Text], Field(max_length=16)]
Words = Annotated[
    Texts,
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=Text | Texts),
]
"""One text or several."""


def _undescribed_default(schema: dict[str, Any]) -> None:
    """Generated clients send the default [] of a union as the text "[]"."""
    del schema["default"]


_NO_WORDS: Any = Field([], json_schema_extra=_undescribed_default)
ClipId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
ClipIds = Annotated[list[ClipId], Field(max_length=64)]
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


ExportFormat = Literal["m3u", "csv", "json", "vtt", "edl", "fcpxml", "otio", "png"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClipBody(_Body):
    """A piece of a video of the library."""

    video_id: Annotated[str, Field(max_length=64)]
    start_s: Seconds
    end_s: Seconds


class FilterBody(_Body):
    """Which clips may be found."""

    paths: Texts = []
    not_paths: Texts = []
    videos: Texts = []
    recorded_after: Text | None = None
    recorded_before: Text | None = None
    min_duration_s: Seconds | None = None
    max_duration_s: Seconds | None = None
    where: Texts = []
    moving: Share | None = None
    still: Share | None = None

    def as_filter(self) -> Filter:
        """The same for the library."""
        values: dict[str, Any] = self.model_dump()
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return Filter(**(values | lists))


class SearchBody(_Body):
    """A search."""

    text: Words = _NO_WORDS
    image: Annotated[str, Field(max_length=MAX_IMAGE_BYTES * 4 // 3 + 4)] | None = None
    """A picture file, base64."""
    clip: ClipBody | None = None
    like: ClipIds = []
    unlike: ClipIds = []
    without: Words = _NO_WORDS
    then: Words = _NO_WORDS
    within_s: Seconds = SearchRequest.within_s
    filter: FilterBody = FilterBody()
    sources: Annotated[list[Source], Field(min_length=1, max_length=4)] = list(SearchRequest.sources)
    per_video: Annotated[int, Field(ge=1, le=10_000)] | None = SearchRequest.per_video
    diversity: Share = SearchRequest.diversity
    duplicates: bool = SearchRequest.duplicates
    tail: bool = SearchRequest.tail
    hidden: ClipIds = []
    """Clips whose own moments are not shown."""
    k: Annotated[int, Field(ge=1, le=200)] = SearchRequest.k
    group_by: GroupBy = SearchRequest.group_by
    rerank: Rerank | None = SearchRequest.rerank
    """Let the vision-language model that the server is set up with look at the first moments again."""
    rerank_most: Annotated[int, Field(ge=1, le=MAX_RERANK)] = SearchRequest.rerank_most
    page: Annotated[str, Field(max_length=64)] | None = None

    def as_request(self, *, images: Sequence[Path] = (), clips: Sequence[ClipQuery] = ()) -> SearchRequest:
        """The same for the library.

        Args:
            images: files with what `image` holds.
            clips: what `clip` names.

        Raises:
            ConfigError: a value is not allowed.
        """
        return SearchRequest.parse(self.model_dump(exclude={"image", "clip"}) | {"images": images, "clips": clips})

    def image_bytes(self) -> bytes | None:
        """The picture file.

        Raises:
            ConfigError: it is no base64.
        """
        if self.image is None:
            return None
        try:
            return base64.b64decode(self.image, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"image must be base64: {error}") from error


class PieceBody(_Body):
    """A clip, or other seconds of its video."""

    clip: ClipId
    start_s: Seconds | None = None
    end_s: Seconds | None = None


Tags = Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=32)]
Note = Annotated[str, Field(max_length=2000)]
Rating = Annotated[int, Field(ge=1, le=5)]


class KeepBody(PieceBody):
    """A moment to keep."""

    title: Note = ""
    rating: Rating | None = None
    note: Note = ""
    tags: Tags = []


class ChangeBody(_Body):
    """What becomes different of a kept moment."""

    rating: Rating | Literal["none"] | None = None
    note: Note | None = None
    tags: Tags | None = None
    place: Annotated[int, Field(ge=1, le=10**6)] | None = None
    start_s: Seconds | None = None
    end_s: Seconds | None = None


class ExportBody(_Body):
    """What to write into a list, in this order."""

    format: ExportFormat
    title: Annotated[str, Field(max_length=2000)] = ""
    pieces: Annotated[list[PieceBody], Field(min_length=1, max_length=200)]


class AskBody(_Body):
    """A question."""

    question: Text
    options: Texts = []
    filter: FilterBody = FilterBody()
    vlm: bool = False
    """Let the vision-language model that the server is set up with look at the moments."""
    json_schema: dict[str, Any] | None = None
    stream: bool = False


class IndexBody(_Body):
    """An index job."""

    root: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
    """Name of a folder that the server was started with."""
    retry_failed: bool = False
    speech: Annotated[str, Field(pattern=r"^whisper/[\w.-]{1,32}$")] | None = None
    """Also read what is said, by the speech model of this name."""
    screen_text: bool = False
    """Also read what is written in the picture."""
