"""Timelines of camera files: the second reader here takes EDL and FCPXML apart with fractions, and asks PyAV."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import av
import numpy as np
import pytest
from colour import ColourEmbedder, write_colours
from hypothesis import given
from hypothesis import strategies as st
from media import picture

from vlrlt.errors import ConfigError
from vlrlt.export.export import export_text
from vlrlt.export.piece import Piece
from vlrlt.export.sequence import sequence_rate
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths
from vlrlt.service import Library
from vlrlt.types import CameraFacts, ClipSpan
from vlrlt.video.camera import read_camera
from vlrlt.video.timecode import exact_rate, frame_of, label_of

NTSC = Fraction(1000, 1001)


def write_camera(
    path: Path,
    *,
    rate: Fraction = Fraction(25),
    timecode: str | None = "14:09:42:00",
    num_frames: int = 80,
    audio_tracks: int = 0,
    tags: dict[str, str] | None = None,
    keep_tags: bool = False,
) -> Path:
    """A film as a camera writes it."""
    options = {"movflags": "use_metadata_tags"} if keep_tags else {}
    with av.open(path, "w", options=options) as output:
        output.metadata.update(tags or {})
        pictures = output.add_stream("libx264", rate=rate, options={"bf": "0"})
        assert isinstance(pictures, av.VideoStream)
        pictures.width, pictures.height, pictures.pix_fmt = 128, 96, "yuv420p"
        if timecode:
            pictures.metadata["timecode"] = timecode
        sounds = [output.add_stream("aac", rate=48_000, layout="stereo") for _ in range(audio_tracks)]
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts = index
            output.mux(pictures.encode(frame))
        output.mux(pictures.encode(None))
        for sound in sounds:
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 48_000), np.float32), format="fltp", layout="stereo")
            silence.sample_rate = 48_000
            output.mux([*sound.encode(silence), *sound.encode(None)])
    return path


def pieces(*parts: tuple[Path, float, float], title: str = "open fridge") -> list[Piece]:
    return [Piece(video=video, span=ClipSpan(start_s, end_s), title=title) for video, start_s, end_s in parts]


@dataclass(frozen=True)
class Cut:
    """What an editor makes of an event: seconds on the clock of the file's timecode, and of the sequence."""

    name: str
    start: Fraction
    place: Fraction
    duration: Fraction


def seconds(text: str) -> Fraction:
    """A time of FCPXML."""
    return Fraction(text.removesuffix("s"))


def read_fcpxml(text: str) -> tuple[Fraction, list[Cut], Xml.Element]:
    """Rate of the sequence, its cuts, and the whole."""
    root = Xml.fromstring(text)
    formats = {one.attrib["id"]: 1 / seconds(one.attrib["frameDuration"]) for one in root.iter("format")}
    assets = {one.attrib["id"]: one.attrib for one in root.iter("asset")}
    (sequence,) = root.iter("sequence")
    rate, cuts = formats[sequence.attrib["format"]], []
    for clip in sequence.iter("asset-clip"):
        asset = assets[clip.attrib["ref"]]
        start, duration = seconds(clip.attrib["start"]), seconds(clip.attrib["duration"])
        first, until = seconds(asset["start"]), seconds(asset["start"]) + seconds(asset["duration"])
        assert first <= start < start + duration <= until, "an editor answers: invalid edit with no respective media"
        for time, of in ((start, formats[asset["format"]]), (seconds(clip.attrib["offset"]), rate), (duration, rate)):
            assert (time * of).denominator == 1, "not on the edge of a frame"
        cuts.append(Cut(asset["name"], start, seconds(clip.attrib["offset"]), duration))
    assert sum(cut.duration for cut in cuts) == seconds(sequence.attrib["duration"])
    return rate, cuts, root


def read_edl(text: str) -> list[tuple[str, str, list[str]]]:
    """Reel, channels and the four timecodes of each event."""
    events = [line.split() for line in text.splitlines() if line[:3].isdigit()]
    return [(event[1], event[2], event[4:]) for event in events]


def test_a_camera_file_keeps_its_timecode_in_all_three(tmp_path: Path) -> None:
    otio = pytest.importorskip("opentimelineio")
    film = write_camera(tmp_path / "C0001.MP4", audio_tracks=1)
    asked = pieces((film, 1.0, 2.4))
    _, (cut,), root = read_fcpxml(export_text(asked, title="q", kind="fcpxml"))
    midnight_s = 14 * 3600 + 9 * 60 + 42
    assert cut == Cut("C0001.MP4", Fraction(midnight_s + 1), Fraction(0), Fraction(7, 5))
    (asset,) = root.iter("asset")
    assert (asset.attrib["hasAudio"], asset.attrib["audioChannels"], asset.attrib["audioRate"]) == ("1", "2", "48000")
    assert root.findtext(".//note") == "open fridge"
    ((reel, channels, times),) = read_edl(edl := export_text(asked, title="q", kind="edl"))
    assert (reel, channels) == ("C00011", "AA/V")
    assert times == ["14:09:43:00", "14:09:44:10", "00:00:00:00", "00:00:01:10"]
    assert "* FROM CLIP NAME: C0001.MP4" in edl
    timeline = otio.adapters.read_from_string(export_text(asked, title="q", kind="otio"), "otio_json")
    (clip,) = timeline.video_tracks()[0].find_clips()
    assert clip.name == clip.media_reference.name == "C0001.MP4"
    assert clip.source_range.start_time.to_timecode() == "14:09:43:00"
    assert clip.media_reference.available_range.start_time.to_timecode() == "14:09:42:00"
    assert [marker.name for marker in clip.markers] == ["open fridge"]


@pytest.mark.parametrize(
    ("rate", "timecode", "adapter_rate"),
    [
        (24 * NTSC, "01:00:00:00", 24000 / 1001),
        (30 * NTSC, "01:00:00;00", 30000 / 1001),
        (30 * NTSC, "01:00:00:00", 30000 / 1001),
        (60 * NTSC, "23:59:59;58", 60000 / 1001),
        (Fraction(50), "10:00:00:49", 50.0),
    ],
)
def test_rates_are_exact_and_names_are_those_of_the_camera(
    tmp_path: Path, rate: Fraction, timecode: str, adapter_rate: float
) -> None:
    otio = pytest.importorskip("opentimelineio")
    film = write_camera(tmp_path / "a.mov", rate=rate, timecode=timecode)
    first = frame_of(timecode, rate)
    assert first is not None
    asked = pieces((film, float(30 / rate), float(50 / rate)), (film, 0.0, float(7 / rate)))
    found, cuts, root = read_fcpxml(export_text(asked, title="q", kind="fcpxml"))
    assert found == rate
    assert [cut.start for cut in cuts] == [(first + 30) / rate, first / rate]
    assert [cut.place for cut in cuts] == [0, 20 / rate]
    drop = ";" in timecode
    assert {clip.attrib["tcFormat"] for clip in root.iter("asset-clip")} == {"DF" if drop else "NDF"}
    edl = export_text(asked, title="q", kind="edl")
    assert f"FCM: {'DROP FRAME' if drop else 'NON-DROP FRAME'}" in edl
    expected = [label_of(first + at, rate, drop=drop) for at in (30, 50, 0, 7)]
    assert [time for _, _, times in read_edl(edl) for time in times[:2]] == expected
    if rate != 60 * NTSC:  # OpenTimelineIO counts no drop frames at 59.94
        (track,) = otio.adapters.read_from_string(edl, "cmx_3600", rate=adapter_rate).video_tracks()
        starts = [clip.source_range.start_time.value for clip in track.find_clips()]
        assert starts == [first + 30, first]
    timeline = otio.adapters.read_from_string(export_text(asked, title="q", kind="otio"), "otio_json")
    ranges = [clip.source_range for clip in timeline.video_tracks()[0].find_clips()]
    assert [(one.start_time.value, one.duration.value) for one in ranges] == [(first + 30, 20), (first, 7)]
    assert {one.start_time.rate for one in ranges} == {float(rate)}


def test_thirty_names_a_second_for_sixty_frames(tmp_path: Path) -> None:
    film = write_camera(tmp_path / "a.mov", rate=60 * NTSC, timecode="01:00:00;20")
    content = film.read_bytes()
    entry = content.rindex(b"tmcd\0\0\0\0\0\0\0\1")
    ticks = entry + 20
    assert content[ticks : ticks + 8] == (60_000).to_bytes(4, "big") + (1001).to_bytes(4, "big")
    film.write_bytes(content[:ticks] + (30_000).to_bytes(4, "big") + content[ticks + 4 :])
    facts = read_camera(film)
    assert (facts.rate, facts.timecode_rate) == (60 * NTSC, 30 * NTSC)
    assert facts.timecode is not None
    named = frame_of(facts.timecode, 30 * NTSC)
    assert named is not None
    _, (cut,), _ = read_fcpxml(export_text(pieces((film, 0.0, 0.5)), title="q", kind="fcpxml"))
    assert cut.start == named / (30 * NTSC), "the clock of the timecode track"


def test_fifteen_frames_a_second_have_timecode_of_thirty(tmp_path: Path) -> None:
    film = write_camera(tmp_path / "cctv.mp4", rate=Fraction(15), timecode=None)
    asked = pieces((film, 1 + 1 / 15, 2.0))
    ((_, channels, times),) = read_edl(edl := export_text(asked, title="q", kind="edl"))
    assert channels == "V"
    assert times == ["00:00:01:02", "00:00:02:00", "00:00:00:00", "00:00:00:28"]
    assert "SOURCE TIMECODE 00:00:01:01 AT 15 FPS" in edl
    rate, (cut,), root = read_fcpxml(export_text(asked, title="q", kind="fcpxml"))
    assert (rate, cut.start, cut.duration) == (Fraction(30), Fraction(16, 15), Fraction(14, 15))
    assert [one.attrib["frameDuration"] for one in root.iter("format")] == ["1/30s", "1/15s"]


def test_sources_of_many_rates_keep_theirs_in_a_sequence_of_the_commonest(tmp_path: Path) -> None:
    main = write_camera(tmp_path / "a.mov", rate=Fraction(25), timecode="10:00:00:00")
    ntsc = write_camera(tmp_path / "b.mov", rate=30 * NTSC, timecode="11:00:00;00")
    asked = pieces((main, 0.0, 1.0), (ntsc, 0.0, 1.0), (main, 1.0, 2.0))
    rate, cuts, root = read_fcpxml(export_text(asked, title="q", kind="fcpxml"))
    assert rate == 25
    one = Fraction(1)
    assert [(cut.name, cut.place, cut.duration) for cut in cuts] == [
        ("a.mov", 0 * one, one),
        ("b.mov", one, one),
        ("a.mov", 2 * one, one),
    ]
    conformed = [one.attrib for one in root.iter("conform-rate")]
    assert conformed == [{"scaleEnabled": "0", "srcFrameRate": "29.97"}], "speed stays as it was filmed"
    events = read_edl(export_text(asked, title="q", kind="edl"))
    assert [times[0] for _, _, times in events] == ["10:00:00:00", "11:00:00:00", "10:00:01:00"]
    for _, _, times in events:
        numbers = [frame_of(time, Fraction(25)) or 0 for time in times]
        assert numbers[1] - numbers[0] == numbers[3] - numbers[2], "readers take other lengths for a change of speed"


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([25, 25, 50], 25),
        ([15], 30),
        ([10], 30),
        ([Fraction(25, 2)], 25),
        ([120], 60),
        ([120 * NTSC], 60 * NTSC),
        ([15 * NTSC], 30 * NTSC),
        ([7], 24),
    ],
)
def test_the_rate_of_a_sequence_is_one_that_editors_have(rates: Sequence[Any], expected: Any) -> None:
    assert sequence_rate([Fraction(rate) for rate in rates]) == expected


def test_reels_are_those_of_the_camera_or_each_video_has_its_own(tmp_path: Path) -> None:
    one = write_camera(tmp_path / "one.mov", tags={"reel_name": "A001_C1"}, keep_tags=True)
    (tmp_path / "x").mkdir()
    two, three = write_camera(tmp_path / "interview.mov"), write_camera(tmp_path / "x" / "interview.mov")
    asked = pieces((one, 0, 1), (two, 0, 1), (three, 0, 1), (one, 1, 2))
    reels = [reel for reel, _, _ in read_edl(export_text(asked, title="q", kind="edl"))]
    assert reels == ["A001C1", "intervi2", "intervi3", "A001C1"]


def test_what_begins_after_the_end_is_said(tmp_path: Path) -> None:
    film = write_camera(tmp_path / "a.mov")
    with pytest.raises(ConfigError, match=r"a\.mov lasts 3\.20 s, so it has no frame at 4\.00 s"):
        export_text(pieces((film, 4, 5)), title="q", kind="fcpxml")


@given(st.integers(0, 24 * 107_892 - 1))
def test_drop_frame_names_are_those_that_counting_gives(frame: int) -> None:
    rate = 30 * NTSC
    label = label_of(frame, rate, drop=True)
    assert frame_of(label, rate) == frame
    hours, minutes, rest = label.split(":")
    all_minutes = int(hours) * 60 + int(minutes)
    named = sum(1800 if minute % 10 == 0 else 1798 for minute in range(all_minutes % 60))
    skipped = 2 if all_minutes % 10 else 0
    seconds_, frames = map(int, rest.split(";"))
    assert int(hours) * 107_892 + named + seconds_ * 30 + frames - skipped == frame, "counted minute by minute"


def test_names_that_are_none() -> None:
    assert [frame_of(label, Fraction(25)) for label in ("24:00:00:00", "00:00:00:25", "1:2:3:4", "")] == [None] * 4
    assert [str(exact_rate(Fraction(text))) for text in ("29.97", "23.98", "30", "14.99", "25")] == [
        "30000/1001",
        "24000/1001",
        "30",
        "1499/100",
        "25",
    ]


def test_all_that_a_camera_says_is_read(tmp_path: Path) -> None:
    tags = {
        "creation_time": "2024-08-13T12:09:42.000000Z",
        "com.apple.quicktime.creationdate": "2024-08-13T14:09:42+0200",
        "com.apple.quicktime.location.ISO6709": "+48.2082+016.3738+171.0/",
        "com.apple.quicktime.make": "Acme",
        "com.apple.quicktime.model": "Acme One",
        "reel_name": "A001",
    }
    film = write_camera(tmp_path / "phone.mov", tags=tags, keep_tags=True, rate=30 * NTSC, timecode="14:09:42;00")
    facts = read_camera(film)
    assert facts == CameraFacts(
        rate=30 * NTSC,
        timecode="14:09:42;00",
        reel="A001",
        created_at="2024-08-13T14:09:42+02:00",
        latitude=48.2082,
        longitude=16.3738,
        altitude_m=171.0,
        device="Acme One",
    )
    assert CameraFacts.from_json(json.loads(json.dumps(facts.as_json()))) == facts
    plain = write_camera(tmp_path / "plain.mp4", timecode=None, tags={"creation_time": "1970-01-01T00:00:05Z"})
    assert read_camera(plain) == CameraFacts(rate=Fraction(25)), "a clock that nobody has set"


def test_an_index_run_keeps_it_and_reads_it_of_what_an_older_version_has_indexed(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    film = write_camera(tmp_path / "archive" / "a.mov", tags={"reel_name": "A001"}, keep_tags=True)
    library = tmp_path / "library"
    index_paths([film], library_dir=library, embedder=ColourEmbedder())

    def known() -> dict[str, Any]:
        with Catalog.open_reader(library) as catalog:
            (facts,) = catalog.annotations.metadata().values()
            return dict(facts)

    expected = {"timecode": "14:09:42:00", "reel": "A001", "fps": 25.0, "audio_tracks": 0.0}
    assert known() == expected
    with Ledger.open(library) as ledger:
        ledger._rows("DELETE FROM cameras")
    index_paths([film], library_dir=library, embedder=ColourEmbedder())
    assert known() == expected


def test_a_sidecar_says_it_better_than_the_camera(tmp_path: Path) -> None:
    archive, library = tmp_path / "archive", tmp_path / "library"
    write_colours(archive / "a.mp4", [("red", 2), ("blue", 2)])
    (archive / "a.json").write_text(json.dumps({"timecode": "10:00:00:00", "reel": "TAPE7"}))
    index_paths([archive], library_dir=library, embedder=ColourEmbedder())
    with Ledger.open(library) as ledger:
        ledger.annotations.import_files([archive])
    with Library(library, model=ColourEmbedder()) as service:
        hits = service.search("blue").hits
        (written,) = service.export(hits, tmp_path / "blue.edl", title="blue")
        ((reel, _, times),) = read_edl(written.read_text())
        assert (reel, times[0]) == ("TAPE7", "10:00:02:00")
        (archive / "a.json").write_text(json.dumps({"timecode": "10:00:00:99"}))
        with Ledger.open(library) as ledger:
            ledger.annotations.import_files([archive])
        with pytest.raises(ConfigError, match="a sidecar's timecode must look like 14:09:42:00 at"):
            service.export(hits, tmp_path / "wrong.edl", title="blue")
