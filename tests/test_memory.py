"""Memory goes back to the system."""

import os
import platform
from pathlib import Path

import pytest

from vlrlt.memory import _trim, give_back_freed


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep no such heap")
def test_holes_between_what_stays_go_back() -> None:
    stays, goes = [], []
    for _ in range(1000):
        goes.append(bytearray(100_000))
        stays.append(bytearray(2000))  # the heap cannot shrink below the last of these
    goes.clear()
    held_mb = resident_mb()
    give_back_freed()
    assert resident_mb() < held_mb - 80
    assert len(stays) == 1000


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlrlt.memory.ctypes.CDLL", lambda _name: object())
    _trim.cache_clear()
    try:
        give_back_freed()
        assert _trim() is None
    finally:
        _trim.cache_clear()
