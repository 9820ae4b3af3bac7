"""What a process and all that it has started cost, read from /proc."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def family(root: int) -> dict[int, list[str]]:
    """A process and all that it has started, each with the fields of /proc/PID/stat from its state on."""
    known: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            known[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()

    def belongs(pid: int) -> bool:
        return pid == root or (pid in known and belongs(int(known[pid][1])))

    return {pid: fields for pid, fields in known.items() if belongs(pid)}


def cpu_s(root: int) -> float:
    """CPU seconds of a process and of all that it has started."""
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in family(root).values())
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_bytes(pids: Iterable[int]) -> int:
    """Memory of processes, files that they have mapped included; those that have ended have none."""
    pages = 0
    for pid in pids:
        with suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
