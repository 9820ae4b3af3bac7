"""Limits of processes that read foreign files, and how such a process is started and ended."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

MAX_MEMORY_BYTES = 4 * 2**30
"""Of the address space of one process."""

_PASSED_ON = frozenset(
    (
        *("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT"),
        *("PYTHONHASHSEED", "PYTHONPATH", "PYTHONWARNINGS"),
    )
)
"""Variables that a process gets which reads foreign files, and those that begin with LC_: tokens and keys are none."""

_FAULTS = frozenset((signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGXCPU))
"""Signals that a process dies of because of what it reads: the next try would end like this one."""

_EXIT_S = 5.0
"""How long a process that closed its pipe may take to exit."""


def limit_process(*, max_file_bytes: int | None) -> None:
    """Limit this process for good: its memory (not on macOS), no core files, files that it writes; no Ctrl-C.

    Args:
        max_file_bytes: 0: it writes none; None: that is for limit_files to say.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limits = [(resource.RLIMIT_CORE, 0)]
    if sys.platform != "darwin":  # macOS refuses a limit below the address space that every process has there
        limits.append((resource.RLIMIT_AS, MAX_MEMORY_BYTES))
    if max_file_bytes is not None:
        limits.append((resource.RLIMIT_FSIZE, max_file_bytes))
    for limit, maximum in limits:
        _, hard = resource.getrlimit(limit)
        maximum = maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)
        resource.setrlimit(limit, (maximum, maximum))


def limit_cpu(seconds: float) -> None:
    """Let this process use so much CPU time from now on; beyond it, it is killed."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit_softly(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 1)


def limit_files(num_bytes: int) -> None:
    """Let no file that this process writes from now on grow larger: writing on is an OSError."""
    _limit_softly(resource.RLIMIT_FSIZE, num_bytes)


def _limit_softly(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def child_environment() -> dict[str, str]:
    """The variables of a child that reads foreign files: what Python needs, and no secret."""
    passed = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")}
    paths = [str(Path(__file__).parents[2]), *filter(None, [passed.get("PYTHONPATH")])]
    return {**passed, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}


def start_child(module: str) -> subprocess.Popen[bytes]:
    """Run one of our modules as a process that is talked to by stdin and stdout."""
    # -P: nothing in the working directory may stand in for a module of the child. -B: with the size of files limited,
    # Python would leave compiled modules cut short, and believe them later.
    command = [sys.executable, "-P", "-B", "-m", module]
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, bufsize=0, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=child_environment()
    )


def rss_bytes(pid: int) -> int:
    """Memory that a process holds; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def kill(child: subprocess.Popen[bytes]) -> None:
    """End a process and take notice of it."""
    child.kill()
    child.communicate()


def why_it_died(child: subprocess.Popen[bytes]) -> tuple[str, bool]:
    """What ended a process that has closed its pipe, and whether another try may end better. It is gone afterwards."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_EXIT_S)
    kill(child)
    code = child.returncode
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"the decoder process died ({how})", -code not in _FAULTS
