"""Chosen pictures decoded in pieces are those of a full decode, in every codec and container, also behind damage."""

from pathlib import Path

import numpy as np
import pytest
from media import Recipe, shown_index, spoil_packet, write_video

from vlrlt.errors import NotAVideoError
from vlrlt.video.packets import PacketTable, read_packets
from vlrlt.video.pieces import PieceDecoder
from vlrlt.video.pyav import PyAVDecoder, upright_rgb

QUICK_VP9 = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
B_FRAMES = {"bf": "3", "b-pyramid": "normal", "preset": "medium", "sc_threshold": "0"}
RECIPES = {
    "h264.mp4": Recipe(num_frames=150, gop=40, options={"sc_threshold": "0"}),
    "h264_b_frames.mp4": Recipe(num_frames=150, gop=40, options=B_FRAMES),
    "open_gop.mkv": Recipe(num_frames=150, gop=40, options=B_FRAMES | {"x264-params": "open-gop=1"}),
    "h264.ts": Recipe(num_frames=150, gop=40, options=B_FRAMES),
    "one_key.mp4": Recipe(num_frames=150, gop=1000, options={"sc_threshold": "0"}),
    "hevc.mp4": Recipe(codec="libx265", num_frames=60, gop=20, options={"x265-params": "log-level=none"}),
    "vp9.webm": Recipe(
        codec="libvpx-vp9",
        num_frames=60,
        gop=20,
        options={"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    ),
    "mpeg4.avi": Recipe(codec="mpeg4", num_frames=150, gop=40),
    "mjpeg.avi": Recipe(codec="mjpeg", num_frames=60, pix_fmt="yuvj420p"),
    "turned.mp4": Recipe(num_frames=60, gop=20, rotation_deg=90),
    "variable.mkv": Recipe(num_frames=60, gop=20, pts_ms=[index * 40 + index % 7 * 5 for index in range(60)]),
}


def nothing() -> None:
    """A watcher that does not care."""


def packets_of(path: Path) -> PacketTable:
    with PyAVDecoder(path) as decoder:
        return read_packets(path, first_ticks=decoder.first_ticks, on_packet=nothing)


def decoded(path: Path, packets: PacketTable, places: list[int]) -> tuple[dict[int, int], PieceDecoder]:
    """The index that each picture shows."""
    with PieceDecoder(path, packets, on_packet=nothing) as pieces:
        shown = {one.place: shown_index(upright_rgb(one.frame, path)) for one in pieces.pictures(places)}
    return shown, pieces


@pytest.mark.parametrize("name", RECIPES)
def test_packets_have_the_times_of_the_frames(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, RECIPES[name])
    packets = packets_of(path)
    assert len(packets) == RECIPES[name].num_frames
    np.testing.assert_allclose(packets.time_s_P, RECIPES[name].times_s, atol=2e-3)
    assert packets.is_key_P[0]
    assert sorted(packets.number_P.tolist()) == list(range(len(packets)))


@pytest.mark.parametrize("name", RECIPES)
def test_pieces_give_the_pictures_of_a_full_decode(tmp_path: Path, name: str) -> None:
    """Pictures that no other needs may be left out inside a piece: the next one, or the one before, stands for them."""
    path = write_video(tmp_path / name, RECIPES[name])
    packets = packets_of(path)
    places = sorted(np.random.default_rng(0).choice(len(packets), 12, replace=False).tolist())
    shown, pieces = decoded(path, packets, places)
    assert list(shown) == places
    assert pieces.num_lost == 0
    off = [shown[place] - place for place in places]
    most = 0 if RECIPES[name].codec in ("mpeg4", "mjpeg", "libvpx-vp9") else 3
    assert max(map(abs, off)) <= most, off
    keys = np.flatnonzero(packets.is_key_P).tolist()
    assert decoded(path, packets, keys)[0] == {key: key for key in keys}, "key frames are exact"


def test_only_what_is_needed_is_read_where_the_file_can_be_sought(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", Recipe(num_frames=2000, gop=100, options={"sc_threshold": "0"}))
    packets = packets_of(path)
    read: list[int] = []
    with PieceDecoder(path, packets, on_packet=lambda: read.append(1)) as pieces:
        shown = {one.place: shown_index(upright_rgb(one.frame, path)) for one in pieces.pictures([500, 1003, 1900])}
    assert shown == {500: 500, 1003: 1003, 1900: 1900}
    assert len(read) < 50


def test_damage_costs_the_pictures_that_need_it_and_no_more(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", Recipe(num_frames=150, gop=25, options={"sc_threshold": "0"}))
    packets = packets_of(path)
    spoil_packet(path, 50)  # a key frame
    shown, pieces = decoded(path, packets, [10, 50, 60, 75, 110])
    assert shown[75] == 75
    assert abs(shown[10] - 10) + abs(shown[110] - 110) <= 2
    assert pieces.first_error is not None
    assert pieces.num_lost == 5 - len(shown)
    assert pieces.num_lost >= 1


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(NotAVideoError):
        read_packets(tmp_path / "a.mp4", first_ticks=0, on_packet=nothing)
