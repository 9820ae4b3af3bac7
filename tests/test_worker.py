"""Proves that the decoder process gives the clips of a direct decode, that killing or hanging it costs one file, and
that it neither outlives its parent nor runs far ahead of it.
"""

import dataclasses
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import Recipe, shown_index, spoil_packet, spoil_rest, write_video

from vlrlt.errors import ConfigError, CorruptVideoError, DecodeError, DecodeTimeoutError, NotAVideoError
from vlrlt.types import Clip, ClipSpan, UInt8Array
from vlrlt.video import child
from vlrlt.video.clip_request import ClipRequest
from vlrlt.video.pyav import PyAVDecoder
from vlrlt.video.sampling import ClipSampling, clip_spans, frame_times, own_spans
from vlrlt.video.transforms import Preprocess
from vlrlt.video.worker import DecodeProcess

SAMPLING = ClipSampling(clip_s=1.0, stride_s=0.5, num_frames=4)
PREPROCESS = Preprocess(image_size_px=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SQUARE = Recipe(size_px=(96, 96), options={"bf": "0"})


@pytest.fixture(scope="module")
def process() -> Iterator[DecodeProcess]:
    with DecodeProcess() as process:
        yield process


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("media") / "3_s.mp4", SQUARE)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More clips than the child prepares ahead."""
    recipe = Recipe(size_px=(48, 48), num_frames=600, fps=2, gop=50, options={"preset": "ultrafast"})
    return write_video(tmp_path_factory.mktemp("media") / "5_min.mp4", recipe)


BIG = Preprocess(image_size_px=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
MANY = ClipSampling(clip_s=1.0, stride_s=1.0, num_frames=8)


def check_clips(clips: list[Clip], path: Path) -> None:
    """Every clip holds the frames that a direct decode gives at its times."""
    with PyAVDecoder(path) as decoder:
        for clip in clips:
            frames = list(decoder.frames_at(frame_times(clip.span, SAMPLING.num_frames)))
            np.testing.assert_array_equal(clip.pts_s, [frame.pts_s for frame in frames])
            np.testing.assert_array_equal(clip.rgb_THWC, [PREPROCESS(frame.rgb_HWC) for frame in frames])


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Healthy files.


@pytest.mark.parametrize("stride_s", [0.5, 0.3, 1.0])
def test_clips_are_those_of_a_direct_decode(process: DecodeProcess, video: Path, stride_s: float) -> None:
    sampling = dataclasses.replace(SAMPLING, stride_s=stride_s)
    decoded = process.clips(video, sampling=sampling, preprocess=PREPROCESS)
    assert decoded.info == PyAVDecoder(video).info
    clips = list(decoded)
    assert tuple(clip.span for clip in clips) == clip_spans(3.0, sampling)
    assert tuple(clip.own for clip in clips) == own_spans(clip_spans(3.0, sampling))
    assert decoded.partial_reason is None
    check_clips(clips, video)
    first = clips[0]
    assert first.rgb_THWC.shape == (4, 64, 64, 3)
    assert first.rgb_THWC.dtype == np.uint8
    assert [shown_index(rgb_HWC) for rgb_HWC in first.rgb_THWC] == [1, 3, 6, 8]
    np.testing.assert_allclose(first.pts_s, [0.1, 0.3, 0.6, 0.8])


def test_a_video_shorter_than_a_clip(process: DecodeProcess, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", Recipe(num_frames=3))
    (clip,) = process.clips(path, sampling=SAMPLING, preprocess=PREPROCESS)
    assert (clip.span.start_s, clip.span.end_s) == pytest.approx((0.0, 0.3))
    assert [shown_index(rgb_HWC) for rgb_HWC in clip.rgb_THWC] == [0, 1, 1, 2]


def test_a_part_of_a_video(process: DecodeProcess, video: Path) -> None:
    decoded = process.clips(video, sampling=SAMPLING, preprocess=PREPROCESS, within=ClipSpan(1.2, 2.6))
    clips = list(decoded)
    assert [clip.span.start_s for clip in clips] == pytest.approx([1.2, 1.6])
    assert clips[-1].span.end_s == pytest.approx(2.6)
    check_clips(clips, video)
    with pytest.raises(ConfigError, match=r"3_s.mp4 lasts 3.00 s, so it has no frame in 3.50-4.00 s"):
        process.clips(video, sampling=SAMPLING, preprocess=PREPROCESS, within=ClipSpan(3.5, 4.0))


def test_probe(process: DecodeProcess, video: Path) -> None:
    assert process.probe(video) == PyAVDecoder(video).info


def test_one_child_decodes_many_files(process: DecodeProcess, video: Path, tmp_path: Path) -> None:
    list(process.clips(video, sampling=SAMPLING, preprocess=PREPROCESS))
    pid = process.pid
    other = write_video(tmp_path / os.fsdecode(b"\xff name.mp4"), Recipe(num_frames=20))
    assert len(list(process.clips(other, sampling=SAMPLING, preprocess=PREPROCESS))) == 3
    assert process.pid == pid


def test_relative_paths(process: DecodeProcess, video: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    process.probe(video)
    monkeypatch.chdir(video.parent)
    assert process.probe(Path(video.name)).path == Path(video.name)


# Damaged files.


def test_errors_arrive_whole(process: DecodeProcess, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("not a video")
    with pytest.raises(NotAVideoError) as caught:
        process.clips(path, sampling=SAMPLING, preprocess=PREPROCESS)
    error = caught.value
    assert (error.path, error.stage) == (path, "open")
    assert error.reason == "it is text, not a video: Invalid data found when processing input (moov atom not found)"
    pid = process.pid
    spoiled = write_video(tmp_path / "b.mp4", SQUARE)
    for index in range(30):
        spoil_packet(spoiled, index)
    with pytest.raises(CorruptVideoError, match=r"b\.mp4: cannot decode: Invalid data"):
        process.probe(spoiled)
    assert process.pid == pid, "an error is no reason to restart"


@pytest.mark.parametrize(
    ("broken_at", "starts_s"),
    [(3, [0.0]), (9, [0.0]), (12, [0.0, 0.2]), (14, [0.0, 0.5]), (27, [0.0, 0.5, 1.0, 1.5, 1.7])],
)
def test_a_damaged_video_gives_the_clips_that_its_frames_fill(
    process: DecodeProcess, tmp_path: Path, broken_at: int, starts_s: list[float]
) -> None:
    path, decodable_s = spoil_rest(write_video(tmp_path / "a.mp4", SQUARE), broken_at), broken_at / 10
    decoded = process.clips(path, sampling=SAMPLING, preprocess=PREPROCESS)
    clips = list(decoded)
    assert decoded.partial_reason is not None
    assert f"decoding stopped at {decodable_s:.2f} s of 3.00 s" in decoded.partial_reason
    spans = [clip.span for clip in clips]
    assert [span.start_s for span in spans] == pytest.approx(starts_s)
    # Covered to the end of what can be decoded; past it by less than half the distance of two sampled frames.
    assert decodable_s <= spans[-1].end_s + 1e-9 < decodable_s + 0.125
    check_clips(clips, path)


def test_too_much_memory_is_an_error_of_the_file(process: DecodeProcess, video: Path) -> None:
    huge = dataclasses.replace(PREPROCESS, image_size_px=40_000)
    with pytest.raises(CorruptVideoError, match=r"3_s.mp4: cannot (decode|preprocess): .*[mM]emory"):
        list(process.clips(video, sampling=SAMPLING, preprocess=huge))
    assert process.probe(video).duration_s == pytest.approx(3)


# A child that is lost.


def test_a_killed_child_costs_one_file(process: DecodeProcess, long_video: Path, video: Path) -> None:
    clips = iter(process.clips(long_video, sampling=MANY, preprocess=BIG))
    next(clips)
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(DecodeTimeoutError, match=r"cannot decode: the decoder process died \(SIGKILL\)") as caught:
        list(clips)
    assert caught.value.path == long_video
    assert len(list(process.clips(video, sampling=SAMPLING, preprocess=PREPROCESS))) == 5
    assert process.pid != pid


def test_a_child_killed_while_idle_costs_nothing(process: DecodeProcess, video: Path) -> None:
    process.probe(video)
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process.probe(video).duration_s == pytest.approx(3)


def test_a_child_that_hangs_in_a_video_is_ended(process: DecodeProcess, long_video: Path, video: Path) -> None:
    decoded = process.clips(long_video, sampling=MANY, preprocess=BIG)
    clips = iter(decoded)
    next(clips)
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    decoded._answers._deadline_s = 0.3  # only now: a busy machine may need longer for the first clip
    with pytest.raises(DecodeTimeoutError, match=r"cannot decode: the decoder process did not answer for 0.3 s"):
        list(clips)
    assert not is_running(pid)
    assert process.probe(video).duration_s == pytest.approx(3)


def test_a_child_that_does_not_answer_is_ended(process: DecodeProcess, video: Path) -> None:
    process.probe(video)
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DecodeTimeoutError, match=r"cannot open: the decoder process did not answer for 0.3 s"):
        process.probe(video, deadline_s=0.3)
    assert not is_running(pid)
    assert process.probe(video).duration_s == pytest.approx(3)


def test_a_pipe_does_not_hang_it(process: DecodeProcess, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(NotAVideoError, match="it is not a regular file"):
        process.probe(tmp_path / "a.mp4")


def test_a_video_may_be_left_half_read(process: DecodeProcess, long_video: Path, video: Path) -> None:
    for clip in process.clips(long_video, sampling=MANY, preprocess=BIG):
        assert clip.span.start_s == 0
        break
    check_clips(list(process.clips(video, sampling=SAMPLING, preprocess=PREPROCESS)), video)


def test_ctrl_c_is_left_to_the_parent(process: DecodeProcess, video: Path) -> None:
    process.probe(video)
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    assert process.probe(video).duration_s == pytest.approx(3)
    assert process.pid == pid


PARENT = """
import sys, time
from pathlib import Path
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess
from vlrlt.video.worker import DecodeProcess

process = DecodeProcess()
sampling = ClipSampling(clip_s=1.0, stride_s=1.0, num_frames=8)
preprocess = Preprocess(image_size_px=256, mean=(0, 0, 0), std=(1, 1, 1))
clips = iter(process.clips(Path(sys.argv[1]), sampling=sampling, preprocess=preprocess))
next(clips)
print(process.pid, flush=True)
time.sleep(600)
"""


def test_a_child_ends_with_its_parent(long_video: Path, start_process: Callable[..., "subprocess.Popen[str]"]) -> None:
    command = [sys.executable, "-c", PARENT, str(long_video)]
    parent = start_process(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1], text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    wait_until(lambda: not is_running(child))


def test_leaving_the_context_ends_the_child(video: Path) -> None:
    with DecodeProcess() as process:
        assert process.pid is None
        process.probe(video)
        pid = process.pid
        assert pid is not None
    assert not is_running(pid)
    process.close()


# What the child may do.


@pytest.mark.linux
def test_the_child_is_limited_and_light(process: DecodeProcess, video: Path) -> None:
    process.probe(video)
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert re.search(rf"Max address space +{4 * 2**30} ", limits)
    assert re.search(r"Max core file size +0 ", limits)
    assert re.search(r"Max file size +0 ", limits)
    assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()


def test_a_decoder_that_works_for_too_long_is_killed() -> None:
    code = "from vlrlt.video.limits import limit_cpu; limit_cpu(0.1)\nwhile True: pass"
    ended = subprocess.run([sys.executable, "-c", code], timeout=60, check=False, cwd=Path(__file__).parents[1])
    assert ended.returncode == -signal.SIGXCPU


def test_nothing_in_the_working_directory_is_imported(
    video: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in ("av", "numpy", "queue"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    with DecodeProcess() as process:
        assert process.probe(video).duration_s == pytest.approx(3)


@pytest.mark.linux
def test_the_child_waits_for_a_slow_parent(long_video: Path) -> None:
    with DecodeProcess() as process:
        decoded = process.clips(long_video, sampling=MANY, preprocess=BIG)
        num_clips = len(clip_spans(decoded.info.duration_s, MANY))
        total_bytes = num_clips * MANY.num_frames * 256**2 * 3
        assert total_bytes > 400 * 2**20
        next(iter(decoded))
        cpu_s = -1.0
        while (now_s := cpu_seconds(process.pid)) > cpu_s:  # until it is held back
            cpu_s = now_s
            time.sleep(0.3)
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak is not None
        assert int(peak[1]) < 300 * 1024


def cpu_seconds(pid: int | None) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# The child's half, in this process.


@pytest.fixture(autouse=True)
def _no_limit_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU limit is for the child; here it would end the tests."""
    monkeypatch.setattr(child, "limit_cpu", lambda _seconds: None)


@dataclass(frozen=True, kw_only=True)
class CountingPreprocess(Preprocess):
    """Counts the frames that it resizes."""

    calls: list[int] = dataclasses.field(default_factory=list)

    def __call__(self, rgb_HWC: UInt8Array) -> UInt8Array:
        self.calls.append(shown_index(rgb_HWC))
        return super().__call__(rgb_HWC)


def answers_to(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The headers that the child sends for a request."""
    reader, writer = os.pipe()

    def answer() -> None:
        try:
            child._answer(request, writer)
        finally:
            os.close(writer)  # else a fault of the child would hang the test

    thread = threading.Thread(target=answer)
    thread.start()
    headers = []
    with os.fdopen(reader, "rb") as stream:
        while length := stream.read(4):
            headers.append(json.loads(stream.read(struct.unpack(">I", length)[0])))
            if headers[-1]["kind"] == "clip":
                stream.read(int(np.prod(headers[-1]["shape"])) + 3 * 8 * headers[-1]["shape"][0])
    thread.join()
    return headers


def request_for(path: Path) -> dict[str, Any]:
    return {"path": str(path), "clips": ClipRequest(path=path, sampling=SAMPLING, preprocess=PREPROCESS).as_json()}


def test_what_a_child_is_asked_for_arrives_whole(video: Path) -> None:
    asked = ClipRequest(
        path=video, sampling=SAMPLING, preprocess=PREPROCESS, within=ClipSpan(1.0, 2.5), start_s=1.5, stop_s=3.0,
        chunk_s=100.0, static_255=5.75, max_shift_s=0.25,
    )  # fmt: skip
    assert ClipRequest.from_json(json.loads(json.dumps(asked.as_json())), path=video) == asked


def test_every_frame_is_resized_once(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = CountingPreprocess(**PREPROCESS.as_json())
    monkeypatch.setattr(Preprocess, "from_json", lambda fields: counting)
    headers = answers_to(request_for(video))
    assert [header["kind"] for header in headers] == ["info", *["clip"] * 5, "end"]
    assert len(counting.calls) == len(set(counting.calls))
    assert counting.calls == sorted(counting.calls)


def test_a_slow_file_is_not_silent(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_ALIVE_EVERY_S", 0.0)
    kinds = [header["kind"] for header in answers_to(request_for(video))]
    assert kinds[0] == "alive"
    assert [kind for kind in kinds if kind != "alive"] == ["info", *["clip"] * 5, "end"]


def test_a_frame_that_cannot_be_resized_is_an_error_of_the_file(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Preprocess, "__call__", lambda *_: np.zeros(-1))
    *_, header = answers_to(request_for(video))
    error = DecodeError.from_json(header["error"], path=video)
    assert isinstance(error, CorruptVideoError)
    assert (error.stage, error.reason) == ("preprocess", "ValueError: negative dimensions are not allowed")
