"""All errors have one documented form, {"error": {"type", "message"}}."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from vlrlt.errors import (
    ConfigError,
    DecodeError,
    EndpointError,
    IndexMismatchError,
    LibraryError,
    NotFoundError,
    PageExpiredError,
    ServerBusyError,
    VlrltError,
)


class Problem(BaseModel):
    """What went wrong."""

    type: str
    message: str


class ErrorBody(BaseModel):
    """The body of every error."""

    error: Problem


RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be fulfilled."},
    "5XX": {"model": ErrorBody, "description": "The server cannot fulfil the request now."},
}
_STATUS: tuple[tuple[type[VlrltError], int], ...] = (
    (NotFoundError, 404),
    (IndexMismatchError, 409),
    (PageExpiredError, 410),
    (ConfigError, 422),
    (DecodeError, 422),
    (EndpointError, 502),
    (ServerBusyError, 503),
    (LibraryError, 503),
)
_HTTP_TYPES = {404: "NotFound", 405: "MethodNotAllowed"}


def add_errors(app: FastAPI) -> None:
    """Answer errors of the library, of FastAPI and of Starlette alike."""

    @app.exception_handler(VlrltError)
    async def ours(_request: Request, error: VlrltError) -> JSONResponse:
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        headers = {"Retry-After": "1"} if isinstance(error, ServerBusyError) else None
        return _response(status, type(error).__name__.removesuffix("Error"), str(error), headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        return _response(422, "Validation", "; ".join(map(_problem, error.errors())))

    @app.exception_handler(HTTPException)
    async def refused(_request: Request, error: HTTPException) -> JSONResponse:
        kind = _HTTP_TYPES.get(error.status_code, "Http")
        return _response(error.status_code, kind, error.detail, headers=error.headers)

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, _error: Exception) -> JSONResponse:
        return _response(500, "Internal", "the server has a bug; its log says more")


def _problem(problem: Mapping[str, Any]) -> str:
    what = problem["msg"]
    if problem["type"] == "extra_forbidden":
        what = "unknown field; /docs and /openapi.json list the known fields"
    return f"{'.'.join(map(str, problem['loc']))}: {what}"


def _response(status: int, kind: str, message: str, headers: Any = None) -> JSONResponse:  # noqa: ANN401  as Starlette's
    return JSONResponse({"error": {"type": kind, "message": message}}, status_code=status, headers=headers)
