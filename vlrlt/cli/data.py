"""`vlrlt data`: datasets on disk."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vlrlt.cli.root import SOME_FAILED, Json, data_app, say

if TYPE_CHECKING:
    from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos

Kind = Literal["epic", "egoclip", "egomcq", "charades-ego", "egtea", "msrvtt", "captions"]


@data_app.command("check")
def data_check(
    kind: Annotated[Kind, typer.Argument(help="Kind of dataset. captions is your own CSV or JSONL file.")],
    annotations: Annotated[Path, typer.Option(metavar="PATH", help="The official annotation folder or file.")],
    videos: Annotated[
        Path, typer.Option(metavar="DIR", help="Whole videos, or folders NAME.mp4/ with chunks 0.mp4, 15.mp4, ...")
    ],
    split: Annotated[
        Literal["train", "test"] | None, typer.Option(help="Check this split only. Default: all splits.")
    ] = None,
    decoder: Annotated[Literal["decord", "pyav"], typer.Option(help="Library that reads the videos.")] = "decord",
    decode: Annotated[
        int, typer.Option(min=0, metavar="N", help="Decode N clips inside each video, to find damage in the middle.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Compare the annotations with the videos on disk and list every problem. Exit code 3 if there is one.

    Example: vlrlt data check epic --annotations epic-kitchens-100-annotations --videos EK100/video_15sec_320px
    """
    from vlrlt.datasets.check import check_dataset
    from vlrlt.datasets.tables import Repairs
    from vlrlt.progress import count_progress

    dataset = _dataset(kind, annotations, videos)
    spans: list[CaptionedSpan] = []
    repairs = Repairs()
    for name in (split,) if split else dataset.splits:
        spans += dataset.spans(name)
        repairs.merge(dataset.repairs)
    with count_progress("videos") as show:
        problems = check_dataset(dataset, spans, decoder=decoder, num_decoded=decode, on_progress=show)
    num_videos = len({span.video_id for span in spans})
    if as_json:
        found = [asdict(problem) for problem in problems]
        repaired = {"counts": dict(repairs.counts), "first": repairs.first}
        say(json.dumps({"spans": len(spans), "videos": num_videos, "problems": found, "repairs": repaired}))
    else:
        if repairs.counts:
            say(repairs.as_text())
        for problem in problems:
            say(f"{problem.kind:12} {problem.what}")
        say(f"{len(spans)} spans of {num_videos} videos: {len(problems)} problems")
    if problems:
        raise typer.Exit(SOME_FAILED)


def _dataset(kind: Kind, annotations: Path, videos: Path) -> "CaptionedVideos":
    from vlrlt.datasets.caption_file import CaptionFile
    from vlrlt.datasets.charades_ego import CharadesEgo
    from vlrlt.datasets.ego4d import EgoClip, EgoMCQ
    from vlrlt.datasets.egtea import Egtea
    from vlrlt.datasets.epic import EpicData
    from vlrlt.datasets.msrvtt import MsrVtt

    datasets: dict[Kind, CaptionedVideos] = {
        "epic": EpicData(annotations, videos),
        "egoclip": EgoClip(annotations, videos),
        "egomcq": EgoMCQ(annotations, videos),
        "charades-ego": CharadesEgo(annotations, videos),
        "egtea": Egtea(annotations, videos),
        "msrvtt": MsrVtt(annotations, videos),
        "captions": CaptionFile(videos, train_file=annotations),
    }
    return datasets[kind]
