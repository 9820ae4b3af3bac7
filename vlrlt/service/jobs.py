"""Index jobs: one child process at a time, so that a crash, a cancel or hours of work never touch the server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vlrlt.errors import ConfigError, LibraryError

JobState = Literal["running", "done", "failed", "cancelled"]
NICENESS = 10
"""Of index jobs, and so of all that they start."""
MAX_JOBS = 100
"""Finished ones that are remembered."""


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
    changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def as_json(self) -> dict[str, Any]:
        """What clients see."""
        return {
            "id": self.id,
            "root": self.root,
            "state": self.state,
            "progress": self.progress,
            "report": self.report,
            "error": self.error,
        }


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

    def start(self, root: str, *, folder: str = "", retry_failed: bool, key: str | None = None) -> Job:
        """Start a job, or find the one that was started with the same idempotency key.

        Args:
            root: name of a folder that may be indexed.
            folder: a folder below it; empty: all of it.
            retry_failed: whether to try again what failed and has not changed.
            key: of idempotency.

        Raises:
            ConfigError: no such root, or no such folder below it.
            LibraryError: a job is running already.
        """
        with self._lock:
            if key is not None and key in self._keys:
                return self._keys[key]
            if root not in self._roots:
                known = f"this server has {', '.join(self._roots)}" if self._roots else "start it with --root NAME=DIR"
                raise ConfigError(f"no root {root!r}; {known}")
            if any(job.state == "running" for job in self._jobs.values()):
                raise LibraryError("an index job is running already; wait for it or cancel it")
            path = below(self._roots[root], folder)
            job = Job(id=uuid.uuid4().hex, root=root)
            command = [sys.executable, "-m", "vlrlt", "index", str(path), "--json"]
            command += ["--library", str(self._library_dir), *(["--retry-failed"] if retry_failed else [])]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
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
        with job.changed:
            if job.state == "running" and process is not None:
                job.state = "cancelled"
                process.send_signal(signal.SIGINT)
                job.changed.notify_all()

    def events(self, job: Job) -> Iterator[dict[str, Any]]:
        """The job now and after every change, until it has ended."""
        seen = None
        while True:
            with job.changed:
                if job.as_json() == seen:
                    job.changed.wait(timeout=15)
                seen = job.as_json()
            yield seen
            if seen["state"] != "running":
                return

    def close(self) -> None:
        """Stop what is running."""
        for job in list(self._jobs.values()):
            self.cancel(job)
        for process in self._processes.values():
            process.wait(timeout=30)

    def _follow(self, job: Job, process: "subprocess.Popen[str]") -> None:
        """Read what the child says until it ends."""
        stdout: list[str] = []
        reader = threading.Thread(target=lambda: stdout.append(process.stdout.read() if process.stdout else ""))
        reader.start()
        last = ""
        for line in process.stderr or ():
            last = line.strip() or last
            with job.changed:
                job.progress = last
                job.changed.notify_all()
        reader.join()
        with process:  # closes its pipes
            code = process.wait()
        with job.changed:
            if code in (0, 3):
                job.report, job.state = json.loads(stdout[0].splitlines()[-1]), "done"
            elif job.state != "cancelled":
                job.error, job.state = last.removeprefix("vlrlt: "), "failed"
            job.changed.notify_all()

    def _forget_old(self) -> None:
        ended = [job for job in self._jobs.values() if job.state != "running"]
        for job in ended[:-MAX_JOBS]:
            del self._jobs[job.id], self._processes[job.id]
            self._keys = {key: known for key, known in self._keys.items() if known is not job}


def below(root: Path, folder: str) -> Path:
    """A folder of a root, links followed.

    Raises:
        ConfigError: it does not lie below the root, or is no folder.
    """
    path = (root / folder).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_dir():
        raise ConfigError(f"{folder!r} is no folder below {root}")
    return path
