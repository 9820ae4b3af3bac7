"""Memory goes back to the system."""

import platform
import subprocess
import sys

import pytest

from vlrlt.memory import _trim, give_back_freed

PROGRAM = """
import os
from pathlib import Path
from vlrlt.memory import give_back_freed

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

before_mb = resident_mb()
stays, goes = [], []
for _ in range(1000):
    goes.append(bytearray(100_000))
    stays.append(bytearray(2000))  # the heap cannot shrink below the last of these
goes.clear()
held_mb = resident_mb() - before_mb
give_back_freed()
print(held_mb, resident_mb() - before_mb)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep no such heap")
def test_holes_between_what_stays_go_back() -> None:
    """In a process of its own, whose heap nothing else has used: 100 MB in holes are held, and then are not."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    held_mb, left_mb = map(float, done.stdout.split())
    assert held_mb > 95
    assert left_mb < 10, "2 MB stay, and what is rounded up to pages"


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlrlt.memory.ctypes.CDLL", lambda _name: object())
    _trim.cache_clear()
    try:
        give_back_freed()
        assert _trim() is None
    finally:
        _trim.cache_clear()
