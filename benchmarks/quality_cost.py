"""Retrieval quality against encode time: run-length tokens, and every cheaper way that they must beat.

    python benchmarks/quality_cost.py [--out DIR] [--videos DIR] [--weights DIR] [--quick] [--seed N] [--json]

The model is the bridge (see bridge.py), the videos any folder; a manifest.tsv in it brings captions, scenes of several
files and head-mounted cameras. Tasks:

    text          captions as queries; a video scores as its best clip; 1 / rank (only with a manifest)
    same scene    every clip as a query for the other clips of its scene; average precision
    short event   something of 0.3 to 1 s in quiet clips of 20 to 60 s, made of the fixed cameras' videos and of the toy
                  kitchen; which 4 s hold it? 1 / rank, by a clip's best frame and by its vector
                  (this compares encoders; no index is asked, what a user finds is measured by short_events.py)
    toy EPIC-MIR  rows of train_cost.py, from --trained FILE

Encode time is CPU seconds of one thread for a minute of video, keep mask included, decoding not; all arms take turns on
each video. "fewer frames" at the finest rate is the dense model, frame by frame as an image tower works. --out keeps
what was encoded: the same command goes on where a run was stopped. --json prints all rows as one last line:
{"task", "split", "arm", "kept", "encode_s_per_video_minute", "quality"}; kept is the share of the tokens of the frames
that an arm looks at.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import torch
from bridge import BridgeEmbedder
from quality.archive import Footage, Source, find_sources, read_footage
from quality.arms import PATCHES_PER_FRAME, Arm, encode_all
from quality.events import Event, EventKind, EventMaker, toy_clips
from quality.report import Row, as_rows, draw, print_closeness, print_rows, print_verdicts, trained_rows
from quality.tasks import Result, entry_of, search_events, search_scene, search_text

from vlrlt.progress import count_progress
from vlrlt.tokens.run_length import TokenPolicy

SHARED = Path(__file__).parents[2] / "shared"
NUM_QUIET, NUM_TOY = 12, 4
QUICK_NUM_VIDEOS, QUICK_NUM_QUIET, QUICK_NUM_TOY = 24, 4, 2


def run_lengths(threshold_255: float, fps: float, *, random_control: bool = False) -> Arm:
    """Of the default reference, in clips."""
    policy = TokenPolicy(threshold_255=threshold_255)
    return Arm(family=f"run lengths {threshold_255:g}", fps=fps, policy=policy, random_control=random_control)


def previous(fps: float) -> Arm:
    """The paper's reference and threshold."""
    return Arm(family="run lengths 5.76, previous", fps=fps, policy=TokenPolicy(reference="previous"))


def budget(fps: float) -> Arm:
    """As many tokens for each clip as two frames have."""
    policy = TokenPolicy(kind="budget", budget_tokens=2 * PATCHES_PER_FRAME)
    return Arm(family="budget of 2 frames", fps=fps, policy=policy)


def capped(fps: float, max_frames: int) -> Arm:
    """At most as many tokens for each clip as some whole frames have: where more changes, whole frames go."""
    policy = TokenPolicy(threshold_255=10, budget_tokens=max_frames * PATCHES_PER_FRAME)
    return Arm(family="run lengths 10, capped", fps=fps, policy=policy, variant=f", {max_frames} frames")


def long_runs(fps: float) -> Arm:
    """Four clips in one sequence: runs go on where a clip ends."""
    return Arm(family="run lengths 10, 16 s in one", fps=fps, policy=TokenPolicy(threshold_255=10), window_s=16)


QUICK_ARMS = [*(run_lengths(10, fps, random_control=fps == 2) for fps in (4.0, 2.0, 1.0)), capped(4.0, 4)]
ARCHIVE_ARMS = [
    *(run_lengths(10, fps, random_control=fps == 2) for fps in (4.0, 2.0, 1.0)),
    *(run_lengths(threshold_255, 2.0) for threshold_255 in (5.76, 20.0)),
    previous(2.0),
    budget(4.0),
    *(capped(4.0, max_frames) for max_frames in (2, 4)),
]
QUICK_EVENT_ARMS = [
    *(run_lengths(10, fps, random_control=fps == 2) for fps in (8.0, 4.0, 2.0)),
    capped(4.0, 4),
]
EVENT_ARMS = [
    *(run_lengths(10, fps, random_control=fps in (8, 2)) for fps in (8.0, 4.0, 2.0, 1.0)),
    *(run_lengths(threshold_255, 8.0) for threshold_255 in (5.76, 20.0)),
    previous(8.0),
    budget(8.0),
    *(capped(4.0, max_frames) for max_frames in (2, 4)),
    *(long_runs(fps) for fps in (8.0, 4.0)),
]
DEFAULT = run_lengths(5.76, 2.0).name
"""What `vlrlt index` does with an image tower."""
CHOSEN = (DEFAULT, *(f"run lengths 10 @ {fps} fps" for fps in (1, 2, 4, 8)), capped(4.0, 4).name)
"""Compared with every control in the verdicts."""

DRAWN = ("all", "fixed", "head-mounted", *(f"{kind}, best frame" for kind in get_args(EventKind)))


def read_all(sources: list[Source]) -> Iterator[Footage]:
    """Decode file after file."""
    with count_progress("videos") as show:
        for number, source in enumerate(sources):
            show(number, len(sources))
            footage = read_footage(source)
            if footage is not None:
                yield footage


def search_archive(args: argparse.Namespace, embedder: BridgeEmbedder, maker: EventMaker) -> list[Result]:
    """The tasks on the videos as they are; the maker of events sees them pass."""
    sources = find_sources(args.videos)
    if args.quick:
        sources = sources[:: max(1, len(sources) // QUICK_NUM_VIDEOS)][:QUICK_NUM_VIDEOS]
    entries = []
    arms = QUICK_ARMS if args.quick else ARCHIVE_ARMS
    for footage, encoded in encode_all(read_all(sources), arms, embedder, args.out / "archive"):
        maker.add(footage)
        entries.append(entry_of(footage, encoded))
    if len(entries) < 2:
        raise SystemExit(f"{len(entries)} videos could be read in {args.videos}; two or more are needed")
    video_s, decode_s = (sum(getattr(entry, name) for entry in entries) for name in ("duration_s", "decode_s"))
    print(f"archive: {len(entries)} videos, {video_s / 60:.1f} minutes; ", end="")
    print(f"decoding and resizing {decode_s / video_s * 60:.2f} s per video minute")
    print_closeness(entries)
    return [*search_text(entries, embedder), *search_scene(entries)]


def search_quiet(
    args: argparse.Namespace, embedder: BridgeEmbedder, clips: Iterator[Footage], events: list[Event]
) -> list[Result]:
    """The task on quiet clips; `events` is complete once all clips have passed."""
    arms = QUICK_EVENT_ARMS if args.quick else EVENT_ARMS
    encoded = encode_all(clips, arms, embedder, args.out / f"quiet-{args.seed}")
    entries = [entry_of(footage, of_arms) for footage, of_arms in encoded]
    if not events:
        print("short event: left out, there is no fixed camera here")
        return []
    print(f"quiet clips: {len(entries)}, {sum(entry.duration_s for entry in entries) / 60:.1f} minutes")
    return search_events(entries, events, embedder)


def main() -> None:
    """Run every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=SHARED / "videos", metavar="DIR", help="any folder of videos")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights", metavar="DIR", help="of the bridge")
    out = Path("build/quality_cost")
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help=f"vectors and picture; default: {out}")
    parser.add_argument("--trained", type=Path, metavar="FILE", help="train_cost.json of train_cost.py")
    parser.add_argument("--quick", action="store_true", help="fewer videos and arms, under 10 minutes on 2 cores")
    parser.add_argument("--seed", type=int, default=0, help="of the events, the toy kitchens and the resampling")
    parser.add_argument("--json", action="store_true", help="print all rows as one last line of JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    embedder = BridgeEmbedder(args.weights)
    num_quiet, num_toy = (QUICK_NUM_QUIET, QUICK_NUM_TOY) if args.quick else (NUM_QUIET, NUM_TOY)
    maker = EventMaker(seed=args.seed, max_videos=num_quiet, embedder=embedder)
    results = search_archive(args, embedder, maker)
    results += search_quiet(args, embedder, maker.quiet_clips(), maker.events)
    toy_events: list[Event] = []
    toys = toy_clips(toy_events, seed=args.seed, num_videos=num_toy, embedder=embedder)
    results += search_quiet(args, embedder, toys, toy_events)
    rows: list[Row] = as_rows(results) + (trained_rows(args.trained) if args.trained else [])
    print_rows(rows)
    print_verdicts(results, CHOSEN, seed=args.seed)
    draw([result for result in results if result.split in DRAWN], args.out / "quality_cost.png", default=DEFAULT)
    print(f"\npicture: {args.out / 'quality_cost.png'}")
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
