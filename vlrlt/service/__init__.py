"""The application without a face: open a library once, search it, look at what was found."""

from vlrlt.service.library import KEPT_RANKINGS, Library
from vlrlt.service.pictures import PREVIEW_MAX_S, STRIP_FRAMES, THUMBNAIL_WIDTH_PX
from vlrlt.service.results import LibraryStatus, SearchResult

__all__ = [
    "KEPT_RANKINGS",
    "PREVIEW_MAX_S",
    "STRIP_FRAMES",
    "THUMBNAIL_WIDTH_PX",
    "Library",
    "LibraryStatus",
    "SearchResult",
]
