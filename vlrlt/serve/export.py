"""Routes for results: films, lists, similar clips, repeated scenes, saved searches."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from vlrlt.errors import ConfigError, ServerBusyError
from vlrlt.export.cut import cut_video
from vlrlt.export.export import export_file
from vlrlt.export.piece import piece_of
from vlrlt.index.search.repeats import THRESHOLD
from vlrlt.index.search.request import SearchRequest
from vlrlt.serve.lanes import Lanes
from vlrlt.serve.schema import ExportBody, SearchBody
from vlrlt.service import Library, SearchResult
from vlrlt.types import ClipSpan, Moment

MAX_CUT_S = 600.0
MAX_DUPLICATE_VECTORS = 100_000
"""Finding repeated scenes takes seconds up to here; beyond, `vlrlt duplicates` does it."""
MAX_UNFETCHED = 16
"""Films that lie on the disk until their clients have read them."""
KINDS = {
    "m3u": "audio/x-mpegurl",
    "csv": "text/csv",
    "json": "application/json",
    "vtt": "text/vtt",
    "edl": "text/plain",
    "fcpxml": "application/xml",
    "otio": "application/json",
    "png": "image/png",
}

ClipIdPath = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{16}$")]
NamePath = Annotated[str, PathParameter(pattern=r"^[\w .-]{1,100}$")]
PageQuery = Annotated[str | None, Query(max_length=64)]
SecondsQuery = Annotated[float | None, Query(ge=0, le=1e7, allow_inf_nan=False)]


def span_of(moment: Moment, start_s: float | None, end_s: float | None) -> ClipSpan:
    """The seconds that are asked for, or the clip's own."""
    return ClipSpan(moment.start_s if start_s is None else start_s, moment.end_s if end_s is None else end_s)


def add_export(
    app: FastAPI,
    service: Library,
    lanes: Lanes,
    *,
    show: Callable[[SearchResult], dict[str, Any]],
) -> None:
    """Add the routes.

    Args:
        app: gets them.
        service: the open library.
        lanes: in which the work is done.
        show: a result without paths.
    """
    _add_films(app, service, lanes)
    _add_searches(app, service, lanes, show)

    @app.get("/v1/clips/{clip_id}/similar", tags=["search"])
    @lanes.searches
    def similar(
        clip_id: ClipIdPath, k: Annotated[int, Query(ge=1, le=200)] = SearchRequest.k, page: PageQuery = None
    ) -> dict[str, Any]:
        """Moments that look like a clip, without the one that it is part of."""
        return show(service.similar(clip_id, k=k, page=page))

    @app.get("/v1/duplicates", tags=["search"])
    @lanes.films
    def duplicates(
        threshold: Annotated[float, Query(gt=0, le=1)] = THRESHOLD,
        min_s: Annotated[float, Query(ge=0, le=1e7)] = 0.0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> dict[str, Any]:
        """Scenes that different videos have in common, the longest first."""
        if service.counts().vectors > MAX_DUPLICATE_VECTORS:
            raise ConfigError(f"this library has more than {MAX_DUPLICATE_VECTORS} vectors; run: vlrlt duplicates")
        found = service.duplicates(threshold=threshold, min_s=min_s)
        shown = [repetition.as_json() for repetition in found[offset : offset + limit]]
        for stretch in (stretch for one in shown for stretch in one["stretches"]):
            stretch["video"] = Path(stretch["video"]).name.encode(errors="replace").decode()
        return {"total": len(found), "threshold": threshold, "duplicates": shown}


def _add_films(app: FastAPI, service: Library, lanes: Lanes) -> None:
    unfetched: set[Path] = set()

    def remove(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        unfetched.discard(folder)

    @app.get("/v1/clips/{clip_id}/cut", tags=["media"], response_class=FileResponse)
    @lanes.films
    def cut(
        clip_id: ClipIdPath,
        start_s: SecondsQuery = None,
        end_s: SecondsQuery = None,
        mode: Literal["exact", "copy"] = "exact",
    ) -> FileResponse:
        """A clip, or other seconds of its video, as a film with sound.

        `copy` is fast and begins at the key frame before: headers Vlrlt-Start-S and Vlrlt-End-S say what was written.
        """
        moment = service.clip(clip_id)
        span = span_of(moment, start_s, end_s)
        if span.duration_s > MAX_CUT_S:
            raise ConfigError(f"a cut may last {MAX_CUT_S:g} s, got {span.duration_s:.1f} s; ask for less")
        suffix = Path(moment.video).suffix if mode == "copy" else ".mp4"
        if len(unfetched) >= MAX_UNFETCHED:
            raise ServerBusyError(f"{MAX_UNFETCHED} films wait to be downloaded; try again later")
        folder = Path(tempfile.mkdtemp(prefix="vlrlt-"))
        unfetched.add(folder)
        try:
            film = cut_video(Path(moment.video), span, folder / f"cut{suffix}", mode=mode)
        except BaseException:
            remove(folder)
            raise
        return FileResponse(
            film.out,
            filename=f"{clip_id}-{film.start_s:.2f}-{film.end_s:.2f}{suffix}",
            headers={
                "Vlrlt-Mode": film.mode,
                "Vlrlt-Start-S": f"{film.start_s:.3f}",
                "Vlrlt-End-S": f"{film.end_s:.3f}",
            },
            background=BackgroundTask(remove, folder),
        )

    @app.post("/v1/export", tags=["media"], response_class=Response)
    @lanes.films
    def export(body: ExportBody) -> Response:
        """Clips as a playlist, table, timeline, chapters or storyboard; videos are named without their folders."""
        pieces = []
        for piece in body.pieces:
            moment = service.clip(piece.clip)
            moment = moment.within(span_of(moment, piece.start_s, piece.end_s))
            pieces.append(replace(service.informed(piece_of(moment, title=body.title)), name_only=True))
        with tempfile.TemporaryDirectory(prefix="vlrlt-") as folder:
            (written,) = export_file(pieces, Path(folder) / f"export.{body.format}", title=body.title)
            content = written.read_bytes()
        disposition = {"Content-Disposition": f'attachment; filename="export.{body.format}"'}
        return Response(content, media_type=KINDS[body.format], headers=disposition)


def _add_searches(
    app: FastAPI,
    service: Library,
    lanes: Lanes,
    show: Callable[[SearchResult], dict[str, Any]],
) -> None:
    @app.get("/v1/searches", tags=["search"])
    @lanes.lookups
    def searches() -> dict[str, Any]:
        """The saved searches by name: each is a body of /v1/search."""
        return {"searches": {name: request.as_json() for name, request in service.saved.all().items()}}

    @app.put("/v1/searches/{name}", tags=["search"])
    @lanes.lookups
    def save(name: NamePath, body: SearchBody) -> dict[str, Any]:
        """Keep a search; an older one of that name is replaced."""
        if body.image is not None or body.clip is not None:
            raise ConfigError(
                "a saved search takes words and clips of the library (like), not a picture or seconds of a video"
            )
        request = body.as_request()
        service.saved.save(name, request)
        return request.as_json()

    @app.delete("/v1/searches/{name}", tags=["search"], status_code=204)
    @lanes.lookups
    def delete(name: NamePath) -> None:
        """Forget a search."""
        service.saved.delete(name)

    @app.get("/v1/searches/{name}/hits", tags=["search"])
    @lanes.searches
    def hits(name: NamePath, page: PageQuery = None) -> dict[str, Any]:
        """Search again for what was saved."""
        return show(service.search_saved(name, page=page))
