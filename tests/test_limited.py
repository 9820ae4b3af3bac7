"""Whatever a function does in a limited child costs one call, within its limits, and the next call is answered."""

import os
import threading
import time
from pathlib import Path

import hostile
import pytest

from vlrlt.errors import ConfigError, CorruptVideoError, DecodeError, DecodeTimeoutError, NotAVideoError
from vlrlt.video import limited
from vlrlt.video.limited import MAX_CHILDREN, Limits, call_limited, nobody_waits
from vlrlt.video.limits import MAX_MEMORY_BYTES
from vlrlt.video.worker import DecodeProcess

FILE = Path("some.mp4")
LIMITS = Limits(path=FILE, cpu_s=20.0)


@pytest.fixture(autouse=True)
def _path_of_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    limited._POOL.close()


def test_arguments_and_results_arrive_as_they_were(tmp_path: Path) -> None:
    values = [1, 2.5, None, "é\udcff", [True, {"a": "b"}]]
    assert call_limited(hostile.echo, LIMITS, *values) == values
    assert call_limited(hostile.many_bytes, LIMITS, 3_000_000) == bytes(3_000_000)
    odd = tmp_path / "\udcff.bin"
    call_limited(hostile.write, Limits(path=FILE, max_file_bytes=10), odd, 10)
    assert odd.stat().st_size == 10


def test_a_child_serves_many_calls_and_what_it_prints_harms_nobody() -> None:
    first = call_limited(hostile.process_id, LIMITS)
    assert call_limited(hostile.print_much, LIMITS) == 1
    assert call_limited(hostile.process_id, LIMITS) == first != os.getpid()


def test_errors_keep_their_class_and_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(NotAVideoError, match=r"some\.mp4: cannot open: it is a picture"):
        call_limited(hostile.fail, LIMITS, "not a video", tmp_path)
    with pytest.raises(ConfigError, match=r"^try something else$"):
        call_limited(hostile.fail, LIMITS, "config", tmp_path)
    with pytest.raises(OSError, match="No such file") as missing:
        call_limited(hostile.fail, LIMITS, "os", tmp_path)
    assert missing.value.errno == 2
    with pytest.raises(DecodeError, match="RuntimeError: something unforeseen"):
        call_limited(hostile.fail, LIMITS, "other", tmp_path)


def test_a_bomb_a_crash_and_a_loop_cost_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorruptVideoError, match="needs more than 4 GiB of memory"):
        call_limited(hostile.allocate, LIMITS, MAX_MEMORY_BYTES)
    with pytest.raises(DecodeTimeoutError, match=r"died .SIGABRT") as crashed:
        call_limited(hostile.crash, LIMITS)
    assert not crashed.value.may_pass
    with pytest.raises(DecodeTimeoutError, match=r"died .SIGXCPU"):
        call_limited(hostile.spin, Limits(path=FILE, cpu_s=0.5))
    with monkeypatch.context() as impatient:
        impatient.setattr(limited, "_START_S", 0.1)
        with pytest.raises(DecodeTimeoutError, match=r"it took longer than 0\.5 s"):
            call_limited(hostile.sleep, Limits(path=FILE, cpu_s=0.1), 60)
    assert call_limited(hostile.echo, LIMITS, 1) == [1]


def test_files_grow_no_larger_than_they_may(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large"):
        call_limited(hostile.write, Limits(path=FILE, max_file_bytes=1000), tmp_path / "file", 1001)
    with pytest.raises(OSError, match="File too large"):
        call_limited(hostile.write, LIMITS, tmp_path / "file", 1)
    call_limited(hostile.write, Limits(path=FILE, max_file_bytes=1000), tmp_path / "file", 1000)


def test_a_child_that_answers_without_end_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited, "_MAX_RESULT_BYTES", 1000)
    with pytest.raises(DecodeTimeoutError, match="answered with more than 1000 bytes"):
        call_limited(hostile.many_bytes, LIMITS, 1001)
    with pytest.raises(DecodeTimeoutError, match="answered with more than 1048576 bytes"):
        call_limited(hostile.echo, LIMITS, "x" * 2**20)
    assert call_limited(hostile.many_bytes, LIMITS, 1000) == bytes(1000)


def test_however_many_call_there_are_few_children() -> None:
    found: set[int] = set()
    threads = [
        threading.Thread(target=lambda: found.add(call_limited(hostile.sleep, LIMITS, 0.2)))
        for _ in range(3 * MAX_CHILDREN)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(found) <= MAX_CHILDREN


def test_a_call_that_nobody_waits_for_ends_with_its_child() -> None:
    pid = call_limited(hostile.process_id, LIMITS)
    gone = threading.Event()
    nobody_waits.set(gone)
    threading.Timer(0.3, gone.set).start()
    try:
        started_s = time.monotonic()
        with pytest.raises(DecodeTimeoutError, match="the request was cancelled"):
            call_limited(hostile.sleep, LIMITS, 60)
        assert time.monotonic() - started_s < 10
    finally:
        nobody_waits.set(None)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.linux
def test_no_child_inherits_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("VLRLT_SERVE_TOKEN", "VLRLT_VLM_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK")
    for name in secrets:
        monkeypatch.setenv(name, "s3cret" * 6)
    inherited = call_limited(hostile.environment, LIMITS)
    assert "s3cret" not in str(inherited)
    assert inherited["PATH"] == os.environ["PATH"]
    with DecodeProcess() as process:
        with pytest.raises(NotAVideoError):
            process.probe(Path(__file__))
        assert b"s3cret" not in Path(f"/proc/{process.pid}/environ").read_bytes()


@pytest.mark.linux
def test_no_child_inherits_an_open_file(tmp_path: Path) -> None:
    with (tmp_path / "private").open("w"):
        assert "private" not in str(call_limited(hostile.open_files, LIMITS))
