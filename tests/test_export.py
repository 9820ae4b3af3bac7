"""Results to take away: every frame and sample is where it was, and the programs they are for read what is written."""

import csv
import dataclasses
import html
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import av
import numpy as np
import pytest
import webvtt
from colour import ColourEmbedder, write_colours
from media import Recipe, picture, shown_index, write_video
from PIL import Image
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.errors import ConfigError, LibraryError
from vlrlt.export.cut import cut_video
from vlrlt.export.export import TEXT_FORMATS, export_file, export_text
from vlrlt.export.piece import Piece, read_result
from vlrlt.index.run.build import index_paths
from vlrlt.service import Library
from vlrlt.types import ClipSpan
from vlrlt.video.pyav import PyAVDecoder

otio = pytest.importorskip("opentimelineio", reason="needs the extra edit")

BEEP = ClipSpan(2.0, 3.0)
HZ = 16_000


def write_film(path: Path, *, duration_s: float = 6.0, fps: int = 10, sound_from_s: float = 0.0) -> Path:
    """Pictures of their own index, and sound: silence with a beep in BEEP."""
    with av.open(path, "w") as output:
        pictures = output.add_stream("libx264", rate=fps, options={"bf": "2", "sc_threshold": "0"})
        assert isinstance(pictures, av.VideoStream)
        pictures.width, pictures.height, pictures.pix_fmt, pictures.gop_size = 128, 96, "yuv420p", 10
        sound = output.add_stream("aac", rate=HZ, layout="mono")
        for index in range(round(duration_s * fps)):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts = index
            output.mux(pictures.encode(frame))
            times_s = index / fps + np.arange(HZ // fps) / HZ
            if times_s[0] >= sound_from_s:
                beeps = (times_s >= BEEP.start_s) & (times_s < BEEP.end_s)
                samples = (np.sin(times_s * 2 * np.pi * 440) * beeps * 0.5).astype(np.float32)
                audio = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
                audio.sample_rate, audio.pts = HZ, index * HZ // fps
                output.mux(sound.encode(audio))
        output.mux(pictures.encode(None))
        output.mux(sound.encode(None))
    return path


def shown(path: Path) -> list[tuple[int, float]]:
    """The index and the time of every frame."""
    with PyAVDecoder(path) as decoder:
        frames = decoder.pictures_between(0, decoder.info.duration_s)
        return [
            (shown_index(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)), round(from_s, 3))
            for frame, from_s, _ in frames
        ]


def beep_of(path: Path) -> tuple[float, float]:
    """When it begins and ends to sound."""
    with av.open(path) as container:
        (stream,) = container.streams.audio
        frames = [(frame.time or 0.0, frame.to_ndarray()[0]) for frame in container.decode(stream)]
    loud = [time_s + at / HZ for time_s, samples in frames for at in np.flatnonzero(np.abs(samples) > 0.2)]
    return min(loud), max(loud)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_an_exact_cut_has_every_frame_and_sample_where_it_was(tmp_path: Path, suffix: str) -> None:
    film = write_film(tmp_path / "film.mp4")
    cut = cut_video(film, ClipSpan(1.25, 3.55), tmp_path / "pieces" / f"cut{suffix}")
    assert (cut.mode, cut.start_s, cut.end_s, cut.sound, cut.problem) == ("exact", 1.25, 3.55, True, None)
    frames = shown(cut.out)
    assert frames == [(12, 0.0), *((index, pytest.approx(index / 10 - 1.25, abs=1e-3)) for index in range(13, 36))]
    with PyAVDecoder(cut.out) as decoder:
        assert decoder.info.duration_s == pytest.approx(2.3, abs=0.02)
    assert beep_of(cut.out) == pytest.approx((0.75, 1.75), abs=0.02)


def test_frames_at_their_own_times_a_turned_picture_and_its_pixels_shape(tmp_path: Path) -> None:
    times_ms = [0, 40, 400, 410, 1000, 1500, 1533, 2100]
    film = write_video(tmp_path / "phone.mp4", Recipe(pts_ms=times_ms, rotation_deg=90))
    cut = cut_video(film, ClipSpan(0.405, 1.6), tmp_path / "cut.mp4")
    assert not cut.sound
    with PyAVDecoder(cut.out) as decoder:
        frames = list(decoder.frames_at([0, 0.0051, 0.6, 1.1, 1.13]))
        assert (decoder.info.rotation_deg, decoder.info.width_px) == (90, 128)
    assert [shown_index(frame.rgb_HWC) for frame in frames] == [2, 3, 4, 5, 6]
    assert [frame.pts_s for frame in frames] == pytest.approx([0, 0.005, 0.595, 1.095, 1.128], abs=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_copy_begins_at_the_key_frame_before_and_says_so(tmp_path: Path, suffix: str) -> None:
    film = write_film(tmp_path / f"film{suffix}")
    cut = cut_video(film, ClipSpan(1.25, 3.55), tmp_path / "copy.mkv", mode="copy")
    assert (cut.mode, cut.sound) == ("copy", True)
    assert cut.start_s == pytest.approx(1.0, abs=1e-3)
    assert 3.55 <= cut.end_s <= 3.9
    frames = shown(cut.out)
    assert [index for index, _ in frames][:26] == list(range(10, 36))
    assert beep_of(cut.out) == pytest.approx((1, 2), abs=0.1)


def test_sound_that_begins_late_stays_late(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", sound_from_s=1.5)
    assert beep_of(cut_video(film, ClipSpan(1, 4), tmp_path / "cut.mp4").out) == pytest.approx((1, 2), abs=0.03)


def test_what_is_refused(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", duration_s=1)
    with pytest.raises(ConfigError, match="is the video itself"):
        cut_video(film, ClipSpan(0, 1), film, force=True)
    with pytest.raises(ConfigError, match=r"lasts 00:01\.00, so it has no frame in 00:02"):
        cut_video(film, ClipSpan(2, 3), tmp_path / "late.mp4")
    with pytest.raises(ConfigError, match=r"got 'x\.avi'; try x\.mp4"):
        cut_video(film, ClipSpan(0, 1), tmp_path / "x.avi")
    with pytest.raises(ConfigError, match=r"\.mkv"):
        cut_video(film, ClipSpan(0, 1), tmp_path / "x.nonsense", mode="copy")
    (tmp_path / "there.mp4").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"there\.mp4 exists"):
        cut_video(film, ClipSpan(0, 1), tmp_path / "there.mp4")
    assert (tmp_path / "there.mp4").read_bytes() == b"mine"
    cut_video(film, ClipSpan(0, 1), tmp_path / "there.mp4", force=True)
    assert len(shown(tmp_path / "there.mp4")) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "there.mp4"]


def pieces_of(*videos: tuple[Path, float, float], title: str = "it's <open> the fridge") -> list[Piece]:
    return [
        Piece(video=video, span=ClipSpan(start_s, end_s), title=title, hit={"rank": rank, "score": 0.5})
        for rank, (video, start_s, end_s) in enumerate(videos, start=1)
    ]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("films")
    return write_film(folder / "P01 'a'.mp4", fps=25), write_video(folder / "ünder.mp4", Recipe(fps=25, num_frames=75))


@pytest.mark.parametrize(("kind", "adapter"), [("edl", "cmx_3600"), ("fcpxml", "fcpx_xml"), ("otio", "otio_json")])
def test_timelines_are_read_back_by_opentimelineio(films: tuple[Path, Path], kind: str, adapter: str) -> None:
    first, second = films
    text = export_text(pieces_of((first, 1.0, 3.0), (second, 0.48, 1.0), (first, 5.0, 9.0)), title="fridge", kind=kind)
    options = {"rate": 25} if kind == "edl" else {}
    read = otio.adapters.read_from_string(text, adapter, **options)
    timeline = read if isinstance(read, otio.schema.Timeline) else read[0]
    pictures = timeline.video_tracks()[0]
    spans = []
    for clip in pictures.find_clips():
        start, length = clip.source_range.start_time, clip.source_range.duration
        spans.append((start.to_seconds(), length.to_seconds()))
    assert spans == [(1.0, 2.0), (0.48, 0.52), (5.0, 1.0)], "the last ends with its video"
    if kind != "fcpxml":  # there the sound is part of the clip
        (sounds,) = timeline.audio_tracks()
        assert len(list(sounds.find_clips())) == 2, "one of the three is silent"
    assert "P01%20%27a%27.mp4" in text


def test_an_edl_has_the_timecodes_of_the_videos_rate(films: tuple[Path, Path]) -> None:
    text = export_text(pieces_of((films[0], 1.2, 3.0)), title="fridge", kind="edl")
    event = next(line for line in text.splitlines() if line.startswith("001"))
    assert event.split()[-4:] == ["00:00:01:05", "00:00:03:00", "00:00:00:00", "00:00:01:20"]


def test_chapters_are_read_back(films: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = films
    pieces = pieces_of((first, 4.0, 6.0), (first, 1.0, 2.5), (first, 2.0, 3.0))
    export_file(pieces, tmp_path / "chapters.vtt", title="")
    cues = [
        (cue.start_in_seconds, cue.end_in_seconds, html.unescape(cue.text))
        for cue in webvtt.read(str(tmp_path / "chapters.vtt")).captions
    ]
    assert cues == [
        (1, 2, "it's <open> the fridge"),
        (2, 3, "it's <open> the fridge"),
        (4, 6, "it's <open> the fridge"),
    ]
    with av.open(tmp_path / "chapters.vtt") as container:
        assert [packet.pts for packet in container.demux() if packet.size] == [1000, 2000, 4000]
    with pytest.raises(ConfigError, match="these moments come from 2 videos; export into a folder"):
        export_text(pieces_of((first, 0, 1), (second, 0, 1)), title="", kind="vtt")
    (tmp_path / "existing.2026").mkdir()
    for folder in (tmp_path / "existing.2026", tmp_path / "new"):
        written = export_file(pieces_of((first, 0, 1), (second, 0, 1)), folder, title="")
        assert written == (folder / "P01 'a'.vtt", folder / "ünder.vtt")


def test_playlists_tables_and_json(films: tuple[Path, Path]) -> None:
    pieces = pieces_of((films[1], 0.5, 1.0), title="two\nlines, one=1")
    lines = export_text(pieces, title="q", kind="m3u").splitlines()
    assert lines[:4] == [
        "#EXTM3U",
        "#EXTINF:0,two lines, one=1 (ünder.mp4 00:00.5)",
        "#EXTVLCOPT:start-time=0.500",
        "#EXTVLCOPT:stop-time=1.000",
    ]
    with av.open(unquote(lines[4])) as container:
        assert container.streams.video
    ((row),) = csv.DictReader(io.StringIO(export_text(pieces, title="q", kind="csv")))
    assert (row["title"], row["start_s"], row["score"], row["video"]) == (pieces[0].title, "0.5", "0.5", str(films[1]))
    again = read_result(json.loads(export_text(pieces, title="q", kind="json")))
    assert [(piece.video, piece.span) for piece in again] == [(films[1], ClipSpan(0.5, 1.0))]
    with pytest.raises(ConfigError, match="one of m3u, csv, json, vtt, edl, fcpxml, otio, png, tar, got 'txt'"):
        export_text(pieces, title="q", kind="txt")


@pytest.mark.parametrize("result", [[], {"query": "x"}, {"hits": [{"video": "a"}]}, {"hits": [3]}])
def test_json_that_is_no_result(result: object) -> None:
    with pytest.raises(ConfigError, match=r"a result must be a JSON object|has no hits|a hit needs video, start_s"):
        read_result(result)


def test_a_storyboard_shows_each_piece_over_its_time(tmp_path: Path) -> None:
    video = write_colours(tmp_path / "a.mp4", [("red", 3), ("green", 3)])
    export_file(pieces_of((video, 0, 6), (video, 3, 6)), tmp_path / "board.png", title="")
    board = np.asarray(Image.open(tmp_path / "board.png").convert("RGB"))
    assert board.shape[0] % 2 == 0
    middle = board[board.shape[0] // 4]
    columns = [middle[12 + column * 252 + 120].argmax() for column in range(6)]
    assert columns == [0, 0, 0, 1, 1, 1]
    assert (board[3 * board.shape[0] // 4, 132].argmax()) == 1


# With a library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    write_colours(folder / "archive" / "a.mp4", [("red", 2), ("blue", 3), ("green", 1)])
    write_colours(folder / "archive" / "b.mp4", [("white", 2), ("blue", 1)])
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=ColourEmbedder())
    return folder / "library"


@pytest.fixture
def service(library: Path) -> Iterator[Library]:
    with Library(library, model=ColourEmbedder()) as service:
        yield service


def test_the_service_writes_outside_the_archive_only(service: Library, library: Path, tmp_path: Path) -> None:
    hits = service.search("green").hits
    assert service.cut(hits[0], tmp_path / "green.mp4").end_s == 6
    (written,) = service.export(hits, tmp_path / "green.m3u", title="green")
    assert "start-time=5.000" in written.read_text()
    with Image.open(service.animation(hits[0].within(ClipSpan(1, 6)))) as film:
        assert film.n_frames >= 3  # type: ignore[attr-defined]  # pictures that are alike become one
        film.seek(film.n_frames - 1)  # type: ignore[attr-defined]
        assert np.asarray(film.convert("RGB")).mean((0, 1)).argmax() == 1
    archive = library.parent / "archive"
    for out in (archive / "x.mp4", archive / "below" / "x.mp4"):
        with pytest.raises(ConfigError, match="lies in the archive"):
            service.cut(hits[0], out)
    with pytest.raises(ConfigError, match="lies in the archive"):
        service.export(hits, archive / "x.csv", title="")
    with pytest.raises(LibraryError, match="is not a video of"):
        service.cut(dataclasses.replace(hits[0], video="/etc/passwd"), tmp_path / "x.mp4")


def run(*arguments: object, stdin: str = "") -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_commands_take_a_result_a_file_and_a_clip(service: Library, library: Path, tmp_path: Path) -> None:
    result = service.search("blue").as_json()
    saved = json.dumps(result)
    cut = json.loads(run("cut", "-", "--out", tmp_path / "clips", "--json", stdin=saved))["pieces"]
    assert [(Path(piece["out"]).name, piece["mode"]) for piece in cut] == [("001-a-2.00-5.00.mp4", "exact")]
    (tmp_path / "result.json").write_text(saved)
    said = run("cut", tmp_path / "result.json", "--out", tmp_path / "copies", "--copy")
    assert "(copied, requested 00:02.00-00:05.00), silent" in said
    clip = result["hits"][0]["clip"]
    run("cut", clip, "--library", library, "--as", "animation", "--out", tmp_path / "moving")
    assert [path.suffix for path in (tmp_path / "moving").iterdir()] == [".webp"]
    video = library.parent / "archive" / "a.mp4"
    run("cut", f"{video}@0-1", "--out", tmp_path / "red.png")
    assert np.asarray(Image.open(tmp_path / "red.png")).mean((0, 1)).argmax() == 0
    run("cut", "a.mp4@0-1", "--library", library, "--out", tmp_path / "by_name.png")
    assert (tmp_path / "by_name.png").read_bytes() == (tmp_path / "red.png").read_bytes()
    run("export", "-", "--out", tmp_path / "blue.edl", "--pad", "0.5", stdin=saved)
    assert "00:00:01:12 00:00:05:12" in (tmp_path / "blue.edl").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cut", "a.mp4", "--out", "x.mp4"], "the seconds are missing"),
        (["cut", "00000000000000ff", "--out", "x.mp4"], "name the library with --library"),
        (["cut", "a.mp4@0-1", "b.mp4@0-1", "--out", "x.mp4"], "2 pieces do not fit into one file"),
        (["cut", "a.mp4@0-1", "--out", "x.gif", "--copy"], "--copy works for films only"),
        (["cut", "missing.json", "--out", "x"], r"missing\.json cannot be read"),
        (["export", "--query", "x", "--out", "x.m3u"], "--query needs the --library"),
    ],
)
def test_commands_say_what_is_wrong(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert re.search(message, result.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [*TEXT_FORMATS, "png"])
def test_a_name_that_is_no_utf8_harms_no_list(films: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(films[1], odd)
    pieces = pieces_of((odd, 0.0, 1.0), *([] if kind == "vtt" else [(films[0], 1.0, 2.0)]), (odd, 1, 2))
    (out,) = export_file(pieces, tmp_path / f"list.{kind}", title="q")
    assert out.stat().st_size > 0
    if kind != "png":
        text = out.read_text(encoding="utf-8")
        assert kind == "vtt" or "P01" in text, "the other piece is there"
        assert kind not in ("m3u", "edl", "fcpxml", "otio") or "caf%E9.mp4" in text, "editors find it by its bytes"
