"""Index jobs: one child process at a time, so that a crash, a cancel or hours of work never touch the server."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vlrlt.errors import ConfigError, LibraryError
from vlrlt.models.known import SPEECH_MODELS

JobState = Literal["running", "done", "failed", "cancelled"]
NICENESS = 10
"""Of index jobs, and so of all that they start."""
MAX_JOBS = 100
"""Finished ones that are remembered."""
STDIN_VARIABLE = "VLRLT_ENDS_WITH_STDIN"
"""Tells an index run that it must not outlive who has started it."""
_STOP_S = 10.0
"""How long a run may take to stop."""
_REPORTED_CODES = (0, 3)
"""Exit codes of a run that has printed its report."""
_SECRET_NAMES = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)


@dataclass
class Job:
    """One run of `vlrlt index`."""

    id: str
    root: str
    state: JobState = "running"
    progress: str = ""
    """The latest line for people."""
    report: dict[str, Any] | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What clients see."""
        return asdict(self)


class Jobs:
    """Starts, follows and cancels index jobs.

    Args:
        library_dir: the library.
        roots: folders that may be indexed, by name.
    """

    def __init__(self, library_dir: Path, roots: Mapping[str, Path]) -> None:
        self._library_dir = library_dir
        self._roots = dict(roots)
        self._jobs: dict[str, Job] = {}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._keys: dict[str, Job] = {}
        self._lock = threading.Lock()

    @property
    def roots(self) -> tuple[str, ...]:
        """Names of the folders that may be indexed."""
        return tuple(self._roots)

    def start(
        self,
        root: str,
        *,
        folder: str = "",
        retry_failed: bool,
        speech: str | None = None,
        screen_text: bool = False,
        key: str | None = None,
    ) -> Job:
        """Start a job, or find the one that was started with the same idempotency key.

        Args:
            root: name of a folder that may be indexed.
            folder: a folder below it; empty: all of it.
            retry_failed: whether to try again what failed and has not changed.
            speech: name of a speech model, to read what is said too.
            screen_text: whether to read what is written in the picture.
            key: of idempotency.

        Raises:
            ConfigError: no such root, no such folder below it, or no such speech model.
            LibraryError: a job is running already.
        """
        with self._lock:
            if key is not None and key in self._keys:
                return self._keys[key]
            if root not in self._roots:
                known = f"this server has {', '.join(self._roots)}" if self._roots else "start it with --root NAME=DIR"
                raise ConfigError(f"there is no root {root!r}; {known}")
            if any(job.state == "running" for job in self._jobs.values()):
                raise LibraryError("an index job is running already; wait for it or cancel it")
            path = below(self._roots[root], folder)
            if speech is not None and speech not in SPEECH_MODELS:
                raise ConfigError(f"unknown speech model {speech!r}; known models are {', '.join(SPEECH_MODELS)}")
            job = Job(id=uuid.uuid4().hex, root=root)
            command = [sys.executable, "-m", "vlrlt", "index", str(path), "--json"]
            command += ["--library", str(self._library_dir), *(["--retry-failed"] if retry_failed else [])]
            command += [*([] if speech is None else ["--speech", speech]), *(["--screen-text"] if screen_text else [])]
            pipe = subprocess.PIPE
            process = subprocess.Popen(  # noqa: S603  our own command
                command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace", env=_environment()
            )
            with contextlib.suppress(OSError):  # searches go first
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            self._jobs[job.id], self._processes[job.id] = job, process
            if key is not None:
                self._keys[key] = job
            self._forget_old()
        threading.Thread(target=self._follow, args=(job, process), daemon=True).start()
        return job

    def latest(self) -> Job | None:
        """The job that was started last."""
        return next(reversed(self._jobs.values()), None)

    def get(self, job_id: str) -> Job | None:
        """A job by its id."""
        return self._jobs.get(job_id)

    def cancel(self, job: Job) -> None:
        """Stop a job; what it has committed stays, and the next one goes on from there."""
        process = self._processes.get(job.id)
        with self._lock:
            if job.state == "running" and process is not None:
                job.state = "cancelled"
                process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Stop what is running; what does not stop is killed: what it has committed stays too."""
        for job in list(self._jobs.values()):
            self.cancel(job)
        for process in self._processes.values():
            try:
                process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _follow(self, job: Job, process: "subprocess.Popen[str]") -> None:
        """Read what the child says until it ends."""
        stdout: list[str] = []
        reader = threading.Thread(target=lambda: stdout.append(process.stdout.read() if process.stdout else ""))
        reader.start()
        for line in process.stderr or ():
            job.progress = line.strip() or job.progress
        reader.join()
        code = process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        with self._lock:
            if job.state == "running":
                job.state, job.report, job.error = _outcome(code, stdout[0], job.progress)

    def _forget_old(self) -> None:
        ended = [job for job in self._jobs.values() if job.state != "running"]
        for job in ended[:-MAX_JOBS]:
            del self._jobs[job.id], self._processes[job.id]
            self._keys = {key: known for key, known in self._keys.items() if known is not job}


def _outcome(code: int, stdout: str, last_line: str) -> tuple[JobState, dict[str, Any] | None, str | None]:
    """State, report and error of a run that has ended."""
    if code in _REPORTED_CODES:
        with contextlib.suppress(ValueError, IndexError):
            return "done", json.loads(stdout.splitlines()[-1]), None
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": the system may have run out of memory" if name == "SIGKILL" else ""
        return "failed", None, f"the index process was ended by {name}{hint}; committed work is kept"
    return "failed", None, last_line.removeprefix("vlrlt: ") or f"the index process ended with exit code {code}"


def _environment() -> dict[str, str]:
    """Of a job: no token or key of the server's, and told that it must not outlive the server."""
    inherited = {name: value for name, value in os.environ.items() if not _SECRET_NAMES.search(name)}
    return inherited | {STDIN_VARIABLE: "1"}


def end_with_the_server() -> None:
    """In a job: ask this process to stop as soon as its stdin closes, which it does however the server ends."""
    if STDIN_VARIABLE not in os.environ:
        return

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def below(root: Path, folder: str) -> Path:
    """A folder of a root, links followed.

    Raises:
        ConfigError: it does not lie below the root, or is no folder.
    """
    path = (root / folder).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_dir():
        raise ConfigError(f"{folder!r} is not a folder below {root}")
    return path
