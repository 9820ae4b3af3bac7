"""The application without a user interface: open a library once, search it, and show what was found."""

from vlrlt.service.library import Library, open_library
from vlrlt.service.pictures import PREVIEW_MAX_S, STRIP_FRAMES, THUMBNAIL_WIDTH_PX
from vlrlt.service.results import IndexedVideo, LibraryStatus, SearchResult
from vlrlt.service.searches import KEPT_RANKINGS

__all__ = [
    "KEPT_RANKINGS",
    "PREVIEW_MAX_S",
    "STRIP_FRAMES",
    "THUMBNAIL_WIDTH_PX",
    "IndexedVideo",
    "Library",
    "LibraryStatus",
    "SearchResult",
    "open_library",
]
