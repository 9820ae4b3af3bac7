"""A library for assistants: search, ask and preview as tools of the Model Context Protocol, over stdin and stdout.

Source: https://modelcontextprotocol.io
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from vlrlt import __version__
from vlrlt.errors import VlrltError
from vlrlt.extras import require
from vlrlt.index.search.request import SOURCES, Rerank, SearchRequest, Source
from vlrlt.service import Library
from vlrlt.types import ClipSpan

if TYPE_CHECKING:
    from mcp.server import MCPServer

INSTRUCTIONS = (
    "An archive of videos that can be searched by what they show and by what is said and written in them. search finds "
    "moments; found=false says that nothing is a confident match. ask answers questions with citations, or says that "
    "it cannot. transcript gives the lines of a video. preview shows a clip. keep puts a moment into a collection, "
    "collection lists what was kept."
)
MAX_HITS = 50
MAX_TRANSCRIPT_S = 1e7


def create_server(service: Library) -> "MCPServer":
    """The tools over an open library.

    Raises:
        MissingExtraError: the extra is not installed.
    """
    require("mcp", extra="mcp")
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Image
    from mcp.server.mcpserver.exceptions import ToolError
    from pydantic import Field

    server: MCPServer = MCPServer("vlrlt", version=__version__, instructions=INSTRUCTIONS)

    @contextmanager
    def told() -> Iterator[None]:
        """Our errors are for the assistant to read; the SDK keeps all others to itself."""
        try:
            yield
        except VlrltError as error:
            raise ToolError(str(error)) from error

    @server.tool()
    @told()
    def search(  # noqa: PLR0913  what an assistant may ask for
        query: Annotated[str, Field(description="What to find, as a caption would have it.")],
        without: Annotated[list[str] | None, Field(description="What shall not be shown.")] = None,
        then: Annotated[list[str] | None, Field(description="What comes after it in the same video.")] = None,
        within_s: Annotated[
            float, Field(ge=0, description="From one step to the next, at most.")
        ] = SearchRequest.within_s,
        like: Annotated[list[str] | None, Field(description="Clips of hits to refine the words by.")] = None,
        paths: Annotated[list[str] | None, Field(description="Globs of the videos' paths or names.")] = None,
        sources: Annotated[list[Source] | None, Field(description="Where to look; everywhere if not given.")] = None,
        k: Annotated[int, Field(ge=1, le=MAX_HITS, description="How many moments.")] = SearchRequest.k,
        rerank: Annotated[
            Rerank | None, Field(description="Let a vision-language model look again, if the user has set one up.")
        ] = None,
    ) -> dict[str, Any]:
        """Find moments of videos; each hit has its video, its seconds, how sure it is, and the id of a clip."""
        asked = {
            "text": query,
            "without": without,
            "then": then,
            "within_s": within_s,
            "like": like,
            "k": k,
            "rerank": rerank,
        }
        return service.search(SearchRequest.parse(asked | {"paths": paths, "sources": sources or SOURCES})).as_json()

    @server.tool()
    @told()
    def ask(
        question: Annotated[str, Field(description="When, where, whether, how often, how long, before, after, which.")],
        options: Annotated[list[str] | None, Field(description="Answers to choose from.")] = None,
    ) -> dict[str, Any]:
        """Answer a question over the archive with the moments that the answer rests on, or found=false."""
        return service.ask(question, options=options or ()).as_json()

    @server.tool()
    @told()
    def transcript(
        video_id: Annotated[str, Field(description="Of a hit or a citation.")],
        start_s: Annotated[float, Field(ge=0)] = 0.0,
        end_s: Annotated[float, Field(gt=0, description="Lines before it only.")] = MAX_TRANSCRIPT_S,
        sources: Annotated[list[Source] | None, Field(description="Of subtitles, speech and screen.")] = None,
    ) -> dict[str, Any]:
        """What is said and written in a video, line by line."""
        within = ClipSpan(start_s, end_s)
        lines = service.transcript(video_id, sources=tuple(sources) if sources else SOURCES, within=within)
        return {"lines": [line.as_json() for line in lines]}

    @server.tool()
    @told()
    def keep(
        collection: Annotated[str, Field(description="Name of the collection; made if there is none.")],
        clip: Annotated[str, Field(description="The clip of a hit or a citation.")],
        start_s: Annotated[float | None, Field(ge=0, description="Other seconds of its video.")] = None,
        end_s: Annotated[float | None, Field(ge=0)] = None,
        rating: Annotated[int | None, Field(ge=1, le=5)] = None,
        note: Annotated[str, Field(description="What people should know of it.")] = "",
        tags: Annotated[list[str] | None, Field(description="Short words to find it by.")] = None,
    ) -> dict[str, Any]:
        """Keep a moment in a collection of the library, which people see too."""
        moment = service.clip(clip)
        span = ClipSpan(moment.start_s if start_s is None else start_s, moment.end_s if end_s is None else end_s)
        kept = service.collections.keep(collection, moment.within(span), rating=rating, note=note, tags=tags or ())
        return kept.as_json()

    @server.tool()
    @told()
    def collection(
        name: Annotated[str | None, Field(description="Of the collection; all names if not given.")] = None,
    ) -> dict[str, Any]:
        """The moments that people have kept in a collection, or the names of all collections."""
        if name is None:
            return {"collections": service.collections.all()}
        return {"query": name, "hits": [kept.as_json() for kept in service.collections.moments(name)]}

    @server.tool()
    @told()
    def preview(
        clip: Annotated[str, Field(description="The clip of a hit or a citation.")],
        start_s: Annotated[float | None, Field(ge=0, description="Other seconds of its video.")] = None,
        end_s: Annotated[float | None, Field(ge=0)] = None,
    ) -> Image:
        """A picture of the middle of a clip, or of other seconds of its video."""
        moment = service.clip(clip)
        span = ClipSpan(moment.start_s if start_s is None else start_s, moment.end_s if end_s is None else end_s)
        return Image(data=service.thumbnail(moment.within(span)), format="jpeg")

    return server
