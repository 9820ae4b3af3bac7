"""The application without a face: open a library once, search it, look at what was found."""

from vlrlt.service.model import bound_policy
from vlrlt.service.pictures import PREVIEW_MAX_S, STRIP_FRAMES, THUMBNAIL_WIDTH_PX
from vlrlt.service.results import LibraryStatus, SearchResult
from vlrlt.service.service import KEPT_RANKINGS, Service

__all__ = [
    "KEPT_RANKINGS",
    "PREVIEW_MAX_S",
    "STRIP_FRAMES",
    "THUMBNAIL_WIDTH_PX",
    "LibraryStatus",
    "SearchResult",
    "Service",
    "bound_policy",
]
