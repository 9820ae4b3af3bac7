"""A library of many made-up clips: the vectors of search_scale.py, the embedded model, all rows of a catalog."""

from collections.abc import Callable, Sequence
from pathlib import Path

from search_scale import CHUNK_CLIPS, World

from vlrlt.embed import load_embedder
from vlrlt.embedder import DEFAULT_MODEL
from vlrlt.index.library.catalog import Video
from vlrlt.index.library.files import NO_STAMP
from vlrlt.index.library.frame_runs import FrameRun
from vlrlt.index.library.ledger import Chunk, Ledger
from vlrlt.index.library.segments import write_segment
from vlrlt.index.run.build import settings_of
from vlrlt.types import ClipSpan


def make_library(
    library_dir: Path, *, num_clips: int, spans: Sequence[ClipSpan], path_of: Callable[[int], Path]
) -> None:
    """Write whole videos until there are num_clips clips; what an earlier run has made stays.

    Args:
        library_dir: made if it is absent.
        num_clips: in all.
        spans: of the clips of every video; CHUNK_CLIPS is a multiple of their number.
        path_of: number of a video to its path.
    """
    embedder = load_embedder(DEFAULT_MODEL, device="cpu")
    world = World(embedder.embed_dim, seed=0)
    with Ledger.open(library_dir) as ledger:
        ledger.bind(settings_of(embedder), agreement=lambda: 1.0)
        done = ledger.counts().vectors
        for first in range(done, num_clips, len(spans)):
            number, at = first // len(spans), first % CHUNK_CLIPS
            if at == 0 or first == done:
                vectors_ND = world.chunk(first // CHUNK_CLIPS)
            rows_ND = vectors_ND[at : at + len(spans)]
            video = Video(
                path=path_of(number),
                stamp=NO_STAMP,
                content_hash=f"{number:032x}",
                state="indexed",
                duration_s=spans[-1].end_s,
            )
            segment = write_segment(library_dir, rows_ND, fingerprint=embedder.fingerprint)
            runs = [
                FrameRun(span=span, num_looks=8, kept_share=0.5, vector_D=vector_D)
                for span, vector_D in zip(spans, rows_ND, strict=True)
            ]
            ledger.commit(video, Chunk(start_s=0.0, segment=segment, runs=runs))
