"""Routes of collections: moments that are kept with tags, ratings and notes."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from fastapi import Path as PathParameter

from vlrlt.export.export import export_file
from vlrlt.index.library.kept import KeptMoment
from vlrlt.serve.export import KINDS, NamePath, span_of
from vlrlt.serve.lanes import Lanes
from vlrlt.serve.schema import ChangeBody, ExportFormat, KeepBody
from vlrlt.service import Library
from vlrlt.types import ClipSpan

MomentIdPath = Annotated[int, PathParameter(ge=1, le=2**53)]


def add_collections(app: FastAPI, service: Library, lanes: Lanes) -> None:
    """Add the routes."""
    collections = service.collections

    @app.get("/v1/collections", tags=["collections"])
    @lanes.lookups
    def names() -> dict[str, Any]:
        """The collections and how many moments each has."""
        return {"collections": collections.all()}

    @app.get("/v1/collections/{name}", tags=["collections"])
    @lanes.lookups
    def show(
        name: NamePath,
        tag: Annotated[str | None, Query(max_length=100)] = None,
        min_rating: Annotated[int | None, Query(ge=1, le=5)] = None,
    ) -> dict[str, Any]:
        """The moments of a collection in its order."""
        return {
            "query": name,
            "hits": [_shown(one) for one in collections.moments(name, tag=tag, min_rating=min_rating)],
        }

    @app.post("/v1/collections/{name}", tags=["collections"])
    @lanes.lookups
    def keep(name: NamePath, body: KeepBody) -> dict[str, Any]:
        """Put a clip, or other seconds of its video, into a collection, which is made if there is none."""
        moment = service.clip(body.clip)
        moment = moment.within(span_of(moment, body.start_s, body.end_s))
        return _shown(
            collections.keep(name, moment, title=body.title, rating=body.rating, note=body.note, tags=body.tags)
        )

    @app.delete("/v1/collections/{name}", tags=["collections"], status_code=204)
    @lanes.lookups
    def delete(name: NamePath) -> None:
        """Forget a collection."""
        collections.delete(name)

    @app.get("/v1/collections/{name}/export", tags=["collections"], response_class=Response)
    @lanes.films
    def export(name: NamePath, kind: Annotated[ExportFormat, Query(alias="format")] = "json") -> Response:
        """A collection as a playlist, table, timeline, chapters or storyboard; videos are named without folders."""
        pieces = [replace(piece, name_only=True) for piece in collections.pieces(name)]
        with tempfile.TemporaryDirectory(prefix="vlrlt-") as folder:
            (written,) = export_file(pieces, Path(folder) / f"export.{kind}", title=name)
            content = written.read_bytes()
        disposition = {"Content-Disposition": f'attachment; filename="export.{kind}"'}
        return Response(content, media_type=KINDS[kind], headers=disposition)

    @app.patch("/v1/moments/{moment_id}", tags=["collections"])
    @lanes.lookups
    def change(moment_id: MomentIdPath, body: ChangeBody) -> dict[str, Any]:
        """Change rating, note, tags, place or seconds of a kept moment; what is not given stays."""
        before = collections.get(moment_id)
        start_s = before.start_s if body.start_s is None else body.start_s
        span = ClipSpan(start_s, before.end_s if body.end_s is None else body.end_s)
        about = body.model_dump(exclude={"start_s", "end_s"})
        return _shown(collections.change(moment_id, span=span, **about))

    @app.delete("/v1/moments/{moment_id}", tags=["collections"], status_code=204)
    @lanes.lookups
    def remove(moment_id: MomentIdPath) -> None:
        """Take a moment out of its collection."""
        collections.remove(moment_id)


def _shown(kept: KeptMoment) -> dict[str, Any]:
    """Without the folder in which the video lies."""
    name = None if kept.video is None else Path(kept.video).name.encode(errors="replace").decode()
    return kept.as_json() | {"video": name}
