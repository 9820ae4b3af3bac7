"""`vlrlt eval`: benchmarks by their official protocols."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vlrlt.cli.root import Device, Json, Model, eval_app
from vlrlt.errors import ConfigError

if TYPE_CHECKING:
    from vlrlt.evaluate.predictions import Predictions
    from vlrlt.evaluate.report import Benchmark

Annotations = Annotated[Path, typer.Option(metavar="DIR", help="Folder with the official annotation files.")]
Videos = Annotated[Path, typer.Option(metavar="DIR", help="Whole videos, or folders NAME.mp4/ of chunks 0.mp4, ...")]
Given = Annotated[
    Path | None, typer.Option("--predictions", metavar="FILE.npz", help="Score these predictions, not a model.")
]
Save = Annotated[Path | None, typer.Option(metavar="FILE.npz", help="Keep the predictions, to score them again.")]
Html = Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write examples with pictures of the videos.")]
Markdown = Annotated[Path | None, typer.Option(metavar="FILE.md", help="Write the tables as Markdown.")]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Who answers."""

    model: str | None
    device: str
    predictions: Path | None

    def answer(self, benchmark: "Benchmark") -> "Predictions":
        """Read the predictions or ask the model."""
        from vlrlt.embed import DEFAULT_MODEL, load_embedder
        from vlrlt.evaluate.predictions import Predictions
        from vlrlt.progress import count_progress

        if self.predictions is not None:
            if self.model is not None:
                raise ConfigError("--model and --predictions cannot be given together: who answers?")
            return Predictions.load(self.predictions)
        embedder = load_embedder(self.model or DEFAULT_MODEL, device=self.device)
        with count_progress("clips") as show:
            return benchmark.predict(embedder, on_progress=show)


@dataclass(frozen=True, kw_only=True)
class _Outputs:
    """Where the result goes."""

    save: Path | None
    html: Path | None
    markdown: Path | None
    as_json: bool

    def write(self, benchmark: "Benchmark", predictions: "Predictions") -> None:
        """Score the predictions, print the report and write what was asked for."""
        from vlrlt.evaluate.gallery import write_gallery

        report = benchmark.score(predictions)
        if self.save is not None:
            predictions.save(self.save)
        if self.markdown is not None:
            self.markdown.write_text(report.as_markdown(), encoding="utf-8")
        if self.html is not None:
            title = f"{predictions.benchmark}: {predictions.model}"
            write_gallery(self.html, title=title, examples=benchmark.examples(predictions))
        typer.echo(json.dumps(report.as_json()) if self.as_json else report.as_text())


@eval_app.command("epic-mir")
def eval_epic_mir(  # noqa: PLR0913 - options of a command
    data: Annotated[
        Path, typer.Option("--data", "--annotations", metavar="DIR", help="Annotation files, and maybe videos.")
    ],
    videos: Annotated[Path | None, typer.Option(metavar="DIR", help="The videos, if they are not in --data.")] = None,
    split: Annotated[Literal["train", "test"], typer.Option(help="Which annotation files.")] = "test",
    model: Model = None,
    device: Device = "auto",
    similarity: Annotated[
        Path | None, typer.Option(metavar="SIM.npy", help="Score this matrix, clips x sentences, not a model.")
    ] = None,
    predictions: Given = None,
    save: Save = None,
    submission: Annotated[
        Path | None, typer.Option(metavar="FILE.zip", help="Write the file that the official challenge takes.")
    ] = None,
    supervision: Annotated[
        tuple[int, int, int], typer.Option(help="Levels that the submission declares: pre-training, labels, data.")
    ] = (2, 3, 3),
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the relevancy matrix there.")] = None,
    html: Html = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> None:
    """EPIC-KITCHENS-100 multi-instance retrieval: mAP and nDCG, both ways.

    Example: vlrlt toy make --out toy --videos 8 && vlrlt eval epic-mir --data toy
    Example: vlrlt eval epic-mir --annotations epic-kitchens-100-annotations --similarity SIM.npy --json
    """
    from vlrlt.datasets.epic import EpicData
    from vlrlt.evaluate.epic_mir import EpicMir
    from vlrlt.evaluate.predictions import read_similarity
    from vlrlt.evaluate.submission import write_submission

    benchmark = EpicMir(data=EpicData(data, videos), split=split, cache_dir=cache)
    if similarity is None:
        found = _Source(model=model, device=device, predictions=predictions).answer(benchmark)
    elif model is None and predictions is None:
        found = benchmark.given(read_similarity(similarity), name=similarity.stem)
    else:
        raise ConfigError("--similarity cannot be given with --model or --predictions: who answers?")
    _Outputs(save=save, html=html, markdown=markdown, as_json=as_json).write(benchmark, found)
    if submission is not None:
        write_submission(submission, found, supervision=supervision)


@eval_app.command("egomcq")
def eval_egomcq(  # noqa: PLR0913 - options of a command
    annotations: Annotated[Path, typer.Option(metavar="FILE", help="egomcq.json as published.")],
    videos: Videos,
    model: Model = None,
    device: Device = "auto",
    predictions: Given = None,
    save: Save = None,
    html: Html = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> None:
    """Ego4D multiple choice: which of five clips does a text describe? Accuracy within and across videos.

    Example: vlrlt eval egomcq --annotations egomcq.json --videos ego4d/video_288px --model runs/egoclip/best
    """
    from vlrlt.datasets.ego4d import EgoMCQ
    from vlrlt.evaluate.egomcq import EgoMCQBenchmark

    benchmark = EgoMCQBenchmark(data=EgoMCQ(annotations, videos))
    found = _Source(model=model, device=device, predictions=predictions).answer(benchmark)
    _Outputs(save=save, html=html, markdown=markdown, as_json=as_json).write(benchmark, found)


@eval_app.command("charades-ego")
def eval_charades_ego(  # noqa: PLR0913 - options of a command
    annotations: Annotations,
    videos: Videos,
    model: Model = None,
    device: Device = "auto",
    predictions: Given = None,
    save: Save = None,
    html: Html = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> None:
    """Charades-Ego: 157 actions, several to a video. Mean average precision.

    Example: vlrlt eval charades-ego --annotations CharadesEgo --videos CharadesEgo_v1_480 --model runs/egoclip/best
    """
    from vlrlt.datasets.charades_ego import CharadesEgo
    from vlrlt.evaluate.charades_ego import CharadesEgoBenchmark

    benchmark = CharadesEgoBenchmark(data=CharadesEgo(annotations, videos))
    found = _Source(model=model, device=device, predictions=predictions).answer(benchmark)
    _Outputs(save=save, html=html, markdown=markdown, as_json=as_json).write(benchmark, found)


@eval_app.command("egtea")
def eval_egtea(  # noqa: PLR0913 - options of a command
    annotations: Annotations,
    videos: Videos,
    fold: Annotated[int, typer.Option(min=1, max=3, help="Which official split.")] = 1,
    model: Model = None,
    device: Device = "auto",
    predictions: Given = None,
    save: Save = None,
    html: Html = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> None:
    """EGTEA Gaze+: 106 cooking actions, 30 views of a clip. Mean class accuracy.

    Example: vlrlt eval egtea --annotations EGTEA/action_annotation --videos EGTEA/cropped_clips
    """
    from vlrlt.datasets.egtea import Egtea
    from vlrlt.evaluate.egtea import EgteaBenchmark

    benchmark = EgteaBenchmark(data=Egtea(annotations, videos, fold))
    found = _Source(model=model, device=device, predictions=predictions).answer(benchmark)
    _Outputs(save=save, html=html, markdown=markdown, as_json=as_json).write(benchmark, found)


@eval_app.command("msrvtt")
def eval_msrvtt(  # noqa: PLR0913 - options of a command
    annotations: Annotations,
    videos: Videos,
    model: Model = None,
    device: Device = "auto",
    predictions: Given = None,
    save: Save = None,
    html: Html = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> None:
    """MSR-VTT 1k-A: recall at 1, 5 and 10 and median rank, both ways.

    Example: vlrlt eval msrvtt --annotations MSRVTT --videos MSRVTT/videos --model ViT-B-16/openai
    """
    from vlrlt.datasets.msrvtt import MsrVtt
    from vlrlt.evaluate.msrvtt import MsrVttBenchmark

    benchmark = MsrVttBenchmark(data=MsrVtt(annotations, videos))
    found = _Source(model=model, device=device, predictions=predictions).answer(benchmark)
    _Outputs(save=save, html=html, markdown=markdown, as_json=as_json).write(benchmark, found)
