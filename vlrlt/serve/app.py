"""The application: routes over one open library."""

import asyncio
import contextlib
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import FastAPI, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, StreamingResponse

from vlrlt import __version__
from vlrlt.ask.answer import Answer
from vlrlt.ask.question import Question, parse_question
from vlrlt.ask.retrieval import RetrievalAnswerer
from vlrlt.ask.vlm import Endpoint, VlmAnswerer
from vlrlt.errors import ConfigError, EndpointError, NotFoundError, ServerBusyError, VlrltError
from vlrlt.export.transcript import TranscriptFormat, transcript_text
from vlrlt.index.search.language import ClipQuery
from vlrlt.index.search.request import SOURCES, Source
from vlrlt.serve.collections import add_collections
from vlrlt.serve.errors import RESPONSES, add_errors
from vlrlt.serve.export import ClipIdPath, SecondsQuery, add_export, span_of
from vlrlt.serve.guard import OPEN_PATHS, Guard
from vlrlt.serve.lanes import Lanes
from vlrlt.serve.meter import Meter, Metrics
from vlrlt.serve.schema import AskBody, IndexBody, SearchBody
from vlrlt.service import Library, SearchResult
from vlrlt.service.jobs import Job, Jobs
from vlrlt.types import ClipSpan, Moment

REQUESTS_PER_S = 100.0
MAX_STREAMS = 64
"""Streams of events that are open at once."""
_EVENT_EVERY_S = 0.3
_TRANSCRIPT_TYPES: dict[TranscriptFormat, str] = {
    "json": "application/json",
    "txt": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}
VideoIdPath = Annotated[str, PathParameter(pattern=r"^[\w.:-]{1,64}$")]
JobIdPath = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{32}$")]


def create_app(
    service: Library,
    *,
    roots: Mapping[str, Path] | None = None,
    token: str | None = None,
    hosts: tuple[str, ...] = (),
    endpoint: Endpoint | None = None,
    requests_per_s: float = REQUESTS_PER_S,
    stopping: threading.Event | None = None,
) -> FastAPI:
    """The API over a library.

    Args:
        service: the open library.
        roots: folders that clients may have indexed, by name.
        token: that clients must bear; None: none.
        hosts: names under which it may be asked for, empty: any. A page of another site must not reach it by a name of
            its own.
        endpoint: of a vision-language model; None: clients cannot ask for one.
        requests_per_s: of one client.
        stopping: is set when the server is told to stop: then streams of events end.
    """
    lanes = Lanes()
    jobs = Jobs(service.library_dir, roots or {})

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await to_thread.run_sync(jobs.close)

    app = FastAPI(title="vlrlt", version=__version__, lifespan=lifespan, redoc_url=None, responses=RESPONSES)
    if token is not None:
        _describe_token(app)
    _add_metrics(app)
    add_errors(app)
    _add_search(app, service, endpoint, lanes)
    _add_ask(app, service, endpoint, lanes)
    _add_media(app, service, lanes)
    add_export(app, service, lanes, show=_result_json)
    add_collections(app, service, lanes)
    _add_jobs(app, jobs, lanes, stopping or threading.Event())
    _add_health(app, service, lanes)
    app.add_middleware(Guard, token=token, hosts=hosts, requests_per_s=requests_per_s)
    return app


def _describe_token(app: FastAPI) -> None:
    """Say in the description that requests bear a token: /docs then has a button for it."""
    plain = app.openapi

    def describe() -> dict[str, Any]:
        described = plain()
        described.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
        for path in OPEN_PATHS & described["paths"].keys():
            for operation in described["paths"][path].values():
                operation["security"] = []
        return described

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's documented way


def _add_metrics(app: FastAPI) -> None:
    """Counts and durations by route, at /metrics."""
    measured = Metrics()
    app.add_middleware(Meter, metrics=measured)

    @app.get("/metrics", tags=["operation"])
    async def metrics() -> Response:
        """Counters in Prometheus' text format."""
        return Response(measured.as_text(), media_type=measured.content_type)


def _add_search(app: FastAPI, service: Library, endpoint: Endpoint | None, lanes: Lanes) -> None:
    @app.post("/v1/search", tags=["search"], response_model=dict[str, Any])
    async def search(body: SearchBody, request: Request) -> Response:
        """Find the moments that fit words, a picture, a piece of video, or clips of earlier hits."""
        if body.rerank is not None and endpoint is None:
            raise ConfigError("this server has no vision-language model; leave out rerank")
        lane = lanes.searches if body.rerank is None else lanes.models
        found = await lane.run(request, lambda: _searched(service, body))
        return found if isinstance(found, Response) else Response(found, media_type="application/json")

    @app.get("/v1/videos", tags=["search"])
    @lanes.lookups
    def videos(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100, offset: Annotated[int, Query(ge=0, le=10**9)] = 0
    ) -> dict[str, Any]:
        """The searchable videos."""
        listed = service.videos()
        return {"total": len(listed), "videos": [video.as_json() for video in listed[offset : offset + limit]]}

    @app.get("/v1/videos/{video_id}/transcript", tags=["search"], response_class=Response)
    @lanes.lookups
    def transcript(
        video_id: VideoIdPath,
        sources: Annotated[list[Source], Query(max_length=len(SOURCES))] = list(SOURCES),  # noqa: B006  FastAPI copies it
        kind: Annotated[TranscriptFormat, Query(alias="format")] = "json",
    ) -> Response:
        """What is said and written in a video, as JSON, plain text or subtitles."""
        lines = service.transcript(video_id, sources=sources or SOURCES)
        return Response(transcript_text(lines, kind=kind), media_type=_TRANSCRIPT_TYPES[kind])


def _searched(service: Library, body: SearchBody) -> bytes:
    """The answer to a search as JSON."""
    image = body.image_bytes()
    with tempfile.TemporaryDirectory(prefix="vlrlt-") if image else contextlib.nullcontext() as folder:
        pictures = [Path(folder) / "image"] if folder and image else []
        for picture in pictures:
            picture.write_bytes(image or b"")
        result = service.search(body.as_request(images=pictures, clips=_clip_query(service, body)))
    return json.dumps(_result_json(result)).encode()


def _clip_query(service: Library, body: SearchBody) -> list[ClipQuery]:
    if body.clip is None:
        return []
    path = Path(service.path_of(body.clip.video_id))
    return [ClipQuery(path, ClipSpan(body.clip.start_s, body.clip.end_s))]


def _result_json(result: SearchResult) -> dict[str, Any]:
    return result.as_json(show=_moment_json)


def _moment_json(moment: Moment) -> dict[str, Any]:
    """A hit without the path of its file, and with addresses of its pictures."""
    shown = moment.as_json()
    span = f"start_s={moment.start_s:.3f}&end_s={moment.end_s:.3f}"
    address = f"/v1/clips/{shown['clip']}"
    return shown | {
        "video": Path(moment.video).name.encode(errors="replace").decode(),
        "thumbnail_url": f"{address}/thumbnail",
        "preview_url": f"{address}/preview?{span}",
    }


def _add_ask(app: FastAPI, service: Library, endpoint: Endpoint | None, lanes: Lanes) -> None:
    @app.post("/v1/ask", tags=["ask"], response_model=None)
    async def ask(body: AskBody, request: Request) -> dict[str, Any] | Response:
        """Answer a question with citations; with `stream` as server-sent events: piece, then answer or error."""
        question = parse_question(body.question, options=tuple(body.options))
        within = body.filter.as_filter()
        parts: Iterator[str | Answer]
        if body.vlm:
            if endpoint is None:
                raise ConfigError("this server has no vision-language model; leave out vlm")
            parts = VlmAnswerer(service, endpoint).stream(question, within=within, schema=body.json_schema)
        else:
            parts = _retrieved(service, question, body)
        lane = lanes.models if body.vlm else lanes.searches
        if body.stream:
            return StreamingResponse(lane.stream(_ask_events(parts)), media_type="text/event-stream")
        return await lane.run(request, lambda: _last_answer(parts))


def _retrieved(service: Library, question: Question, body: AskBody) -> Iterator[str | Answer]:
    yield RetrievalAnswerer(service).answer(question, within=body.filter.as_filter())


def _ask_events(parts: Iterator[str | Answer]) -> Iterator[str]:
    try:
        for part in parts:
            if isinstance(part, Answer):
                yield _event("answer", _answer_json(part))
            else:
                yield _event("piece", {"text": part})
    except VlrltError as error:
        yield _event("error", {"type": type(error).__name__.removesuffix("Error"), "message": str(error)})


def _last_answer(parts: Iterator[str | Answer]) -> dict[str, Any]:
    *_, answer = parts
    return _answer_json(answer)


def _answer_json(answer: str | Answer) -> dict[str, Any]:
    if not isinstance(answer, Answer):
        raise EndpointError("the stream ended without an answer")
    return answer.as_json() | {
        "citations": [_moment_json(moment) for moment in answer.citations],
        "closest": [_moment_json(moment) for moment in answer.closest],
    }


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _add_media(app: FastAPI, service: Library, lanes: Lanes) -> None:
    @app.get("/v1/clips/{clip_id}/thumbnail", tags=["media"], response_class=Response)
    @lanes.pictures
    def thumbnail(clip_id: ClipIdPath) -> Response:
        """A JPEG of the middle of a clip."""
        return Response(service.thumbnail(service.clip(clip_id)), media_type="image/jpeg")

    @app.get("/v1/clips/{clip_id}/preview", tags=["media"], response_class=FileResponse)
    @lanes.films
    def preview(
        clip_id: ClipIdPath,
        start_s: SecondsQuery = None,
        end_s: SecondsQuery = None,
    ) -> FileResponse:
        """A short mp4 of a clip, or of other seconds of its video; ranges are served."""
        moment = service.clip(clip_id)
        film = service.preview(moment.within(span_of(moment, start_s, end_s)))
        return FileResponse(film, media_type="video/mp4")

    @app.get("/v1/clips/{clip_id}/animation", tags=["media"], response_class=FileResponse)
    @lanes.films
    def animation(clip_id: ClipIdPath, start_s: SecondsQuery = None, end_s: SecondsQuery = None) -> FileResponse:
        """The same as an animated WebP."""
        moment = service.clip(clip_id)
        film = service.animation(moment.within(span_of(moment, start_s, end_s)))
        return FileResponse(film, media_type="image/webp")


def _add_jobs(app: FastAPI, jobs: Jobs, lanes: Lanes, stopping: threading.Event) -> None:
    open_streams: set[object] = set()

    def job_of(job_id: str) -> Job:
        job = jobs.get(job_id)
        if job is None:
            raise NotFoundError(f"no job {job_id}")
        return job

    @app.post("/v1/jobs/index", status_code=202, tags=["jobs"])
    @lanes.lookups
    def start(body: IndexBody, idempotency_key: Annotated[str | None, Header(max_length=200)] = None) -> dict[str, Any]:
        """Index one of the server's folders; the same Idempotency-Key gives the same job."""
        options = body.model_dump(exclude={"root"})
        return jobs.start(body.root, **options, key=idempotency_key).as_json()

    @app.get("/v1/jobs/{job_id}", tags=["jobs"])
    async def show(job_id: JobIdPath) -> dict[str, Any]:
        """How a job stands."""
        return job_of(job_id).as_json()

    @app.get("/v1/jobs/{job_id}/events", tags=["jobs"], response_class=StreamingResponse)
    async def events(job_id: JobIdPath) -> StreamingResponse:
        """Server-sent events until the job has ended."""
        job = job_of(job_id)
        if len(open_streams) >= MAX_STREAMS:
            raise ServerBusyError(f"{MAX_STREAMS} event streams are open already; poll the job instead")
        return StreamingResponse(_job_events(job, open_streams, stopping), media_type="text/event-stream")

    @app.post("/v1/jobs/{job_id}/cancel", tags=["jobs"])
    @lanes.lookups
    def cancel(job_id: JobIdPath) -> dict[str, Any]:
        """Stop a job; what it has committed stays."""
        job = job_of(job_id)
        jobs.cancel(job)
        return job.as_json()


async def _job_events(job: Job, open_streams: set[object], stopping: threading.Event) -> AsyncIterator[str]:
    """The job now and after every change, until it has ended or the server stops."""
    stream, shown = object(), None
    open_streams.add(stream)
    try:
        while not stopping.is_set():
            if (now := job.as_json()) != shown:
                shown = now
                yield _event("job", now)
            if now["state"] != "running":
                return
            await asyncio.sleep(_EVENT_EVERY_S)
    finally:
        open_streams.discard(stream)


def _add_health(app: FastAPI, service: Library, lanes: Lanes) -> None:
    @app.get("/", include_in_schema=False)
    async def index() -> dict[str, str]:
        """Where to go from here."""
        return {"name": "vlrlt", "version": __version__, "docs": "/docs", "openapi": "/openapi.json"}

    @app.get("/healthz", tags=["operation"])
    async def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"])
    @lanes.lookups
    def ready() -> dict[str, Any]:
        """The library is open and its model is loaded."""
        return {"status": "ok", "model": service.searcher().model}
