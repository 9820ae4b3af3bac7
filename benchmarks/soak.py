"""Whether indexing holds its memory flat: one process indexes new files for so many minutes and looks at itself.

    python benchmarks/soak.py --videos DIR [--minutes 10] [--files 16] [--json]

Round after round, --files videos of the folder are copied under a new content and indexed into one library. Memory is
resident memory, read once a second: of this process, and of its decoder processes together. The first fifth of the time
is warm-up; slope_mb_per_hour is that of a straight line through the rest.
"""

import argparse
import itertools
import json
import os
import shutil
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from processes import family, resident_bytes

from vlrlt.embed import load_embedder
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.run_report import IndexProgress

_WARM_UP_SHARE = 0.2
_EVERY_S = 1.0


class Memory:
    """What this process and its children hold, over time."""

    def __init__(self) -> None:
        self.started_s = time.monotonic()
        self.samples: list[tuple[float, float, float]] = []
        """Seconds, MB of this process, MB of its children."""

    def look(self, _progress: IndexProgress | None = None) -> None:
        """Take a sample, once a second."""
        elapsed_s = time.monotonic() - self.started_s
        if not self.samples or elapsed_s - self.samples[-1][0] >= _EVERY_S:
            own = os.getpid()
            decoders = family(own).keys() - {own}
            self.samples.append((elapsed_s, resident_bytes([own]) / 1e6, resident_bytes(decoders) / 1e6))

    def figures(self) -> dict[str, dict[str, float]]:
        """Of either kind of process: first, last and highest sample after the warm-up, and the slope."""
        samples_N3 = np.array(self.samples)
        samples_N3 = samples_N3[samples_N3[:, 0] >= _WARM_UP_SHARE * samples_N3[-1, 0]]
        hours_N = samples_N3[:, 0] / 3600
        return {
            name: {
                "first_mb": float(mb_N[0]),
                "last_mb": float(mb_N[-1]),
                "peak_mb": float(mb_N.max()),
                "slope_mb_per_hour": float(np.polyfit(hours_N, mb_N, 1)[0]),
            }
            for name, mb_N in (("indexer", samples_N3[:, 1]), ("decoders", samples_N3[:, 2]))
        }


def copy_anew(source: Path, target: Path, *, number: int) -> None:
    """The same video as another content: a `free` box behind it, which no player looks into."""
    shutil.copyfile(source, target)
    with target.open("ab") as file:
        file.write(struct.pack(">I4sQ", 16, b"free", number))


def main() -> None:
    """Index until the time is over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder of mp4 files")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--files", type=int, default=16, help="videos of one round")
    parser.add_argument("--json", action="store_true", help="print the figures as one last line of JSON")
    args = parser.parse_args()
    sources = itertools.cycle(sorted(args.videos.rglob("*.mp4")))
    embedder, memory = load_embedder(), Memory()
    num_files = num_clips = 0
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name) / "archive"
        while time.monotonic() - memory.started_s < 60 * args.minutes:
            archive.mkdir()
            for number, source in enumerate(itertools.islice(sources, args.files), start=num_files):
                copy_anew(source, archive / f"{number}.mp4", number=number)
            report = index_paths(
                [archive], library_dir=Path(name) / "library", embedder=embedder, on_progress=memory.look
            )
            num_files, num_clips = num_files + report.indexed, num_clips + report.looks
            memory.look()
            shutil.rmtree(archive)
    figures: dict[str, Any] = {"minutes": args.minutes, "files": num_files, "clips": num_clips, **memory.figures()}
    for who in ("indexer", "decoders"):
        print(who, {key: round(value, 1) for key, value in figures[who].items()})
    print(f"{num_files} files, {num_clips} clips")
    if args.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
