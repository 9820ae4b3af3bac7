"""What lasts for less than a second in quiet video, searched through the product: is it in the index, and where?

    python benchmarks/short_events.py --videos DIR [--model NAME] [--seed S] [--half 0|1|all] [--out DIR] [--json]

Hosts are the quietest 40 s of the quietest videos below --videos, no two of one scene; what is shorter is played to and
fro. Into each break three events of 0.3, 0.5 and 1 s, in which another video, the guest, covers the whole picture, a
ninth or a sixteenth of it: one archive for each size, encoded once more with x264's defaults. Every guest is of a
scene that comes only once, as a host or as a guest, so that one moment answers a picture; of 4 scenes one is a host,
NUM_HOSTS at the most. Scenes may still look alike, such as two kitchens: best_frame says what that costs. All is
written below --out; the videos are only read.

Each archive is indexed as a newcomer does it, with no option but the model. Each event is asked for by a picture of its
guest, taken half a second before what is shown:

    hit@1        the first moment lies in the right video and overlaps the event; a moment as long as its video does so
                 always, therefore read it beside iou, above all for small events
    iou          intersection over union of the first moment and the event, 0 where the first moment is wrong
    best_frame   hit@1 of looking eight times a second, dense, each look with its own vector: what the encoder can show
    ..._95       95 % interval, from hosts drawn with replacement
    by_size, by_length_s   the same, by the share of the picture that is covered and by seconds; the figures at the top
                 are those of the whole picture
    encode_cpu_s CPU seconds of indexing the archive of whole pictures, with those of child processes

manifest.tsv (columns file, use, dup_group), where DIR has one, says which files show one scene; otherwise each file is
a scene. A hash of the scene's name puts it into half 0 or 1. How close regular looks lie was chosen on half 0; what
finds bursts and joins runs was chosen on events in videos of both halves, made in the same way
(docs/experiments/looks.md).
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from ingest import cpu_s, half_of
from PIL import Image

import vlrlt
from vlrlt.errors import VlrltError
from vlrlt.index.library.files import VIDEO_SUFFIXES
from vlrlt.tokens.run_length import DENSE
from vlrlt.types import ClipSpan, Float32Array, Float64Array, Moment, UInt8Array
from vlrlt.video.decode import open_decoder

LENGTHS_S = (0.3, 0.5, 1.0)
HOST_S, SEGMENT_S, SHORT_SIDE_PX, FPS = 40.0, 13.0, 360, 25
NUM_HOSTS = 12
ASKED_BEFORE_S = 0.5
SHARES: dict[str, int] = {"whole": 1, "ninth": 3, "sixteenth": 4}
"""Size of an event -> sides of the picture to sides of the event."""
LOOKS_PER_S = 8
_MEASURED_S, _MEASURED_FPS = 120.0, 2.0
_SMALL_PX = (32, 18)
_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Source:
    """A real video."""

    path: Path
    scene: str
    duration_s: float
    quiet_s: float
    """Where its quietest stretch begins."""
    motion_255: float
    """Mean change of a small grey picture from one half second to the next, there."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something short, and the picture that asks for it."""

    host: str
    span: ClipSpan
    length_s: float
    query: Path


def find_sources(folder: Path, *, half: str) -> list[Source]:
    """Videos that can be read and last for more than a few seconds, by how quiet they are."""
    scenes = scenes_of(folder)
    chosen = [(path, scene) for path, scene in scenes.items() if half in ("all", str(half_of(scene)))]
    sources = [source for path, scene in chosen if (source := measure(path, scene)) is not None]
    return sorted(sources, key=lambda source: source.motion_255)


def scenes_of(folder: Path) -> dict[Path, str]:
    """Files and the scenes that they show."""
    manifest = folder / "manifest.tsv"
    if manifest.exists():
        with manifest.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file, delimiter="\t") if row["use"] == "yes"]
        return {folder / row["file"]: row["dup_group"] or row["file"] for row in rows}
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    return {path: str(path.relative_to(folder)) for path in files}


def measure(path: Path, scene: str) -> Source | None:
    """How much moves in the quietest stretch of a video's first minutes; None: it is too short or damaged."""
    try:
        with open_decoder(path) as decoder:
            duration_s = decoder.info.duration_s
            times_s = np.arange(0, min(duration_s, _MEASURED_S), 1 / _MEASURED_FPS)
            if duration_s < 2 * ASKED_BEFORE_S + 2 * max(LENGTHS_S):
                return None
            grey = [np.asarray(small(frame.rgb_HWC), np.int16) for frame in decoder.frames_at(times_s.tolist())]
    except VlrltError:
        return None
    change_T = np.array([np.abs(one - two).mean() for one, two in pairwise(grey)])
    wanted = min(round(HOST_S * _MEASURED_FPS), len(change_T))
    means = np.convolve(change_T, np.ones(wanted) / wanted, mode="valid")
    quiet_s = float(times_s[means.argmin()])
    return Source(path=path, scene=scene, duration_s=duration_s, quiet_s=quiet_s, motion_255=float(means.min()))


def small(rgb_HWC: UInt8Array) -> Image.Image:
    """A small grey picture."""
    return Image.fromarray(rgb_HWC).convert("L").resize(_SMALL_PX, Image.Resampling.BOX)


def make_archive(sources: Sequence[Source], out: Path, *, size: str, seed: int) -> list[Event]:
    """Write hosts with events of one size; the same seed gives the same hosts, guests and times for each size."""
    rng = np.random.default_rng(seed)
    (out / size).mkdir(parents=True, exist_ok=True)
    hosts, others = cast(sources)
    guests = (others[place] for place in rng.permutation(len(others)))
    events = []
    for number, host in enumerate(hosts):
        frames = host_frames(host)
        for segment, length_s in enumerate(rng.permutation(LENGTHS_S)):
            guest = next(guests)
            begins_s = segment * SEGMENT_S + rng.uniform(1.0, SEGMENT_S - 2.0)
            shown_s = rng.uniform(ASKED_BEFORE_S + 0.1, guest.duration_s - length_s - 0.2)
            corner = rng.random(2)
            pictures = guest_pictures(guest, float(shown_s), float(length_s))
            query = out / size / f"{number:02d}-{segment}.png"
            Image.fromarray(pictures[0]).save(query)
            first = round(begins_s * FPS)
            for place, picture_HWC in enumerate(pictures[1:]):
                insert(frames[first + place], picture_HWC, sides=SHARES[size], corner=corner)
            span = ClipSpan(first / FPS, (first + len(pictures) - 1) / FPS)
            events.append(Event(host=f"{number:02d}.mp4", span=span, length_s=float(length_s), query=query))
        write_video(frames, out / size / f"{number:02d}.mp4")
    return events


def cast(sources: Sequence[Source]) -> tuple[list[Source], list[Source]]:
    """Hosts and possible guests, each of its own scene; sources come by how quiet they are."""
    quietest = {source.scene: source for source in reversed(sources)}
    scenes = sorted(quietest.values(), key=lambda source: source.motion_255)
    num_hosts = min(NUM_HOSTS, len(scenes) // (1 + len(LENGTHS_S)))
    if num_hosts == 0:
        raise SystemExit(f"{len(scenes)} scenes can be read; {1 + len(LENGTHS_S)} or more are needed")
    return scenes[:num_hosts], scenes[num_hosts:]


def host_frames(host: Source) -> list[UInt8Array]:
    """HOST_S of a quiet video, FPS a second, as high as SHORT_SIDE_PX."""
    last_s = host.duration_s - host.quiet_s - 0.1
    forth_s = np.arange(0, min(HOST_S, last_s), 1 / FPS)
    with open_decoder(host.path) as decoder:
        frames = [fit(frame.rgb_HWC) for frame in decoder.frames_at((host.quiet_s + forth_s).tolist())]
    wanted = round(HOST_S * FPS)
    swing = np.arange(wanted) % max(1, 2 * (len(frames) - 1))
    return [frames[len(frames) - 1 - abs(len(frames) - 1 - place)].copy() for place in swing]


def fit(rgb_HWC: UInt8Array) -> UInt8Array:
    """The picture with sides that are even and not longer than they need be."""
    image = Image.fromarray(rgb_HWC)
    scale = min(1.0, SHORT_SIDE_PX / min(image.size))
    width_px, height_px = (max(2, round(side * scale) // 2 * 2) for side in image.size)
    return np.array(image.resize((width_px, height_px), Image.Resampling.BICUBIC))


def guest_pictures(guest: Source, shown_s: float, length_s: float) -> list[UInt8Array]:
    """The picture that asks, then those that are shown."""
    times_s = shown_s + np.arange(max(1, round(length_s * FPS))) / FPS
    with open_decoder(guest.path) as decoder:
        return [frame.rgb_HWC for frame in decoder.frames_at([shown_s - ASKED_BEFORE_S, *times_s.tolist()])]


def insert(frame_HWC: UInt8Array, picture_HWC: UInt8Array, *, sides: int, corner: Float64Array) -> None:
    """Cover a part of a frame; the picture is cut to the frame's aspect."""
    height_px, width_px = (side // sides for side in frame_HWC.shape[:2])
    image = Image.fromarray(picture_HWC)
    scale = min(image.width / width_px, image.height / height_px)
    left, top = (image.width - scale * width_px) / 2, (image.height - scale * height_px) / 2
    box = (left, top, left + scale * width_px, top + scale * height_px)
    y, x = (
        round(share * (whole - part))
        for share, whole, part in zip(corner, frame_HWC.shape, (height_px, width_px), strict=False)
    )
    resized = image.resize((width_px, height_px), Image.Resampling.BICUBIC, box)
    frame_HWC[y : y + height_px, x : x + width_px] = np.asarray(resized)


def write_video(frames: Sequence[UInt8Array], path: Path) -> None:
    """H.264 with x264's defaults."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame_HWC in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC)))
        container.mux(stream.encode())


def overlap(moment: Moment | None, event: Event) -> float:
    """Intersection over union of a moment and an event; 0 in another video."""
    if moment is None or Path(moment.video).name != event.host:
        return 0.0
    shared_s = min(moment.end_s, event.span.end_s) - max(moment.start_s, event.span.start_s)
    union_s = max(moment.end_s, event.span.end_s) - min(moment.start_s, event.span.start_s)
    return max(0.0, shared_s) / union_s


def ask(library: Path, events: Sequence[Event]) -> list[float]:
    """Overlap of each event with the first moment that the product finds."""
    with vlrlt.open_library(library) as opened:
        return [overlap(next(iter(opened.search(images=event.query, k=1)), None), event) for event in events]


def best_frames(archive: Path, events: Sequence[Event], model: str) -> list[float]:
    """1 where the nearest of all looks, LOOKS_PER_S a second and dense, lies in the event, else 0."""
    embedder = vlrlt.load_embedder(model, policy=DENSE)
    looks = list(dense_looks(archive, embedder))
    vectors_ND = np.concatenate([vectors_TD for _, _, vectors_TD in looks])
    times_s = np.concatenate([times_T for _, times_T, _ in looks])
    hosts = [host for host, times_T, _ in looks for _ in times_T]
    found = []
    for event in events:
        square_HWC = embedder.preprocess(np.asarray(Image.open(event.query)))
        query_D = embedder.embed_clips(square_HWC[None, None]).vectors_BD[0]
        best = int((vectors_ND @ query_D).argmax())
        found.append(float(hosts[best] == event.host and event.span.start_s <= times_s[best] < event.span.end_s))
    return found


def dense_looks(archive: Path, embedder: "vlrlt.Embedder") -> Iterator[tuple[str, Float32Array, Float32Array]]:
    """Name of each video, times and vectors of its looks."""
    for path in sorted(archive.glob("*.mp4")):
        times_T = np.arange(0, HOST_S - 0.1, 1 / LOOKS_PER_S)
        with open_decoder(path) as decoder:
            squares = np.stack([embedder.preprocess(frame.rgb_HWC) for frame in decoder.frames_at(times_T.tolist())])
        parts = [embedder.embed_clips(squares[at : at + 16, None]).vectors_BD for at in range(0, len(squares), 16)]
        yield path.name, times_T.astype(np.float32), np.concatenate(parts)


def interval(values: Sequence[float], hosts: Sequence[str]) -> tuple[float, float]:
    """95 % interval of a mean, over hosts drawn with replacement."""
    by_host = defaultdict(list)
    for host, value in zip(hosts, values, strict=True):
        by_host[host].append(value)
    means, weights = (np.array([kind(part) for part in by_host.values()], float) for kind in (np.mean, len))
    drawn = np.random.default_rng(0).integers(len(means), size=(_RESAMPLES, len(means)))
    low, high = np.percentile((means * weights)[drawn].sum(1) / weights[drawn].sum(1), (2.5, 97.5))
    return round(float(low), 3), round(float(high), 3)


def run_size(sources: Sequence[Source], args: argparse.Namespace, size: str) -> dict[str, Any]:
    """Make, index and ask one archive."""
    out = args.out / f"{args.seed}-{args.half}"
    events = make_archive(sources, out, size=size, seed=args.seed)
    started_s = cpu_s()
    report = vlrlt.index([out / size], library=out / f"library-{size}", model=args.model)
    took_s = cpu_s() - started_s
    ious = ask(out / f"library-{size}", events)
    values_E = {
        "hit@1": [float(iou > 0) for iou in ious],
        "iou": ious,
        "best_frame": best_frames(out / size, events, args.model),
    }
    hosts = [event.host for event in events]
    return {
        "events": len(events),
        **{name: float(np.mean(values)) for name, values in values_E.items()},
        **{f"{name}_95": interval(values, hosts) for name, values in values_E.items()},
        "vectors": report.vectors,
        "encode_cpu_s": took_s,
        "by_length_s": {f"{length_s:g}": of_length(values_E, events, length_s) for length_s in LENGTHS_S},
    }


def of_length(values_E: dict[str, list[float]], events: Sequence[Event], length_s: float) -> dict[str, float]:
    """Means over the events of one length."""
    places = [place for place, event in enumerate(events) if event.length_s == length_s]
    return {name: float(np.mean([values[place] for place in places])) for name, values in values_E.items()}


def main() -> None:
    """Run all sizes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder of real videos")
    parser.add_argument("--model", help="what vlrlt index takes; otherwise ViT-Ti/16 of --videos/../weights")
    parser.add_argument("--seed", type=int, default=0, help="of guests, times and places")
    parser.add_argument("--half", choices=("0", "1", "all"), default="1", help="scenes that take part")
    parser.add_argument("--out", type=Path, default=Path("build/short-events"), help="gets archives and libraries")
    parser.add_argument("--json", action="store_true", help="print all figures as one last line of JSON")
    args = parser.parse_args()
    weights = args.videos.resolve().parent / "weights" / "vit_tiny_patch16_224.safetensors"
    args.model = args.model or f"timm/vit_tiny_patch16_224/{weights}"
    sources = find_sources(args.videos, half=args.half)
    by_size = {}
    for size in SHARES:
        by_size[size] = run_size(sources, args, size)
        print(size, json.dumps(by_size[size]))
    whole: dict[str, Any] = by_size["whole"]
    if args.json:
        print(json.dumps({**whole, "by_size": by_size, "half": args.half, "seed": args.seed}))


if __name__ == "__main__":
    main()
