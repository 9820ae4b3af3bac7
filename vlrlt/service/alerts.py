"""Alerts: a saved search over what is new calls a program or a webhook, once for each moment.

Both are named on the command line of `vlrlt watch` only: nothing that a library, a page or a client of the HTTP API
says is ever run or asked for.
"""

import json
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from vlrlt.errors import ConfigError, EndpointError
from vlrlt.index.library.alert_log import AlertLog
from vlrlt.index.search.searcher import is_match
from vlrlt.service.library import Library
from vlrlt.types import Moment

MAX_MOMENTS = 1000
"""Of one search in the videos that are new; more than that is no alert."""
COMMAND_S, WEBHOOK_S = 60.0, 15.0
"""How long a program or a server may take for one moment."""


@dataclass(frozen=True, kw_only=True)
class Bell:
    """Who is told: a program that gets JSON on its standard input, a webhook that gets it by POST, or both.

    Raises:
        ConfigError: neither is given, the command is not one, or the URL is not of http or https.
    """

    command: str | None = None
    """As a shell would split it, but no shell runs it."""
    webhook: str | None = None

    def __post_init__(self) -> None:
        if self.command is None and self.webhook is None:
            raise ConfigError("an alert needs a receiver; give --alert-command or --alert-webhook")
        try:
            empty = self.command is not None and not shlex.split(self.command)
        except ValueError as error:
            raise ConfigError(f"--alert-command {self.command!r}: {error}") from error
        if empty:
            raise ConfigError("--alert-command is empty; give a program and its arguments")
        parts = urlsplit(self.webhook or "http://host")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--alert-webhook must be an http or https URL, got {self.webhook!r:.200}")

    def ring(self, message: dict[str, Any]) -> None:
        """Tell.

        Raises:
            EndpointError: it did not work.
        """
        data = json.dumps(message).encode()
        if self.command is not None:
            _run(shlex.split(self.command), data)
        if self.webhook is not None:
            _post(self.webhook, data)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What was named gets the message, and nobody whom it names."""

    def redirect_request(self, *_: Any) -> None:  # noqa: ANN401  as urllib has it
        return None


def _run(command: Sequence[str], data: bytes) -> None:
    try:
        done = subprocess.run(command, input=data, timeout=COMMAND_S, check=False)  # noqa: S603  the user's own
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EndpointError(f"alert: {command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        raise EndpointError(f"alert: {command[0]} ended with exit code {done.returncode}")


def _post(url: str, data: bytes) -> None:
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=WEBHOOK_S):
            pass
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        raise EndpointError(f"alert: {urlsplit(url).hostname} did not accept it: {error}") from error


def begin_alerts(service: Library, searches: Sequence[str]) -> None:
    """Begin alerts: what is in the library now is not new.

    Raises:
        NotFoundError: there is no such saved search.
        LibraryError: the library cannot be written.
    """
    for search in searches:
        service.saved.get(search)
        AlertLog(service.library_dir).begin(search)


def tell_new(service: Library, searches: Sequence[str], ring: Callable[[dict[str, Any]], None]) -> int:
    """Tell of each confident match in the videos that an alert has not looked through; returns how many.

    What cannot be told is told by the next call; what was told is not told again.

    Raises:
        EndpointError: telling did not work.
        NotFoundError: there is no such saved search; and as Library.search.
    """
    log, told = AlertLog(service.library_dir), 0
    for search in searches:
        videos = log.unchecked(search)
        for moment in _matches(service, search, videos):
            if not log.was_told(search, moment.video_id, moment.span):
                ring({"search": search, "moment": moment.as_json()})
                log.note_told(search, moment.video_id, moment.span)
                told += 1
        log.note_checked(search, videos)
    return told


def _matches(service: Library, search: str, videos: Sequence[str]) -> list[Moment]:
    request = service.saved.get(search)
    wanted = [video for video in videos if not request.filter.videos or video in request.filter.videos]
    if not wanted:
        return []
    new = replace(request.replaced(videos=wanted), per_video=None, tail=False, page=None, k=MAX_MOMENTS)
    return [moment for moment in service.search(new).hits if is_match(moment) or moment.text]
