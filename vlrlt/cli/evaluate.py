"""`vlrlt eval`: benchmarks by their official protocols."""

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlrlt.cli.root import (
    SOME_FAILED,
    Budget,
    Device,
    Json,
    LibraryDir,
    Model,
    Policy,
    Precision,
    Threshold,
    eval_app,
    say,
    take,
    token_policy,
)
from vlrlt.errors import ConfigError

if TYPE_CHECKING:
    from vlrlt.datasets.queries import MomentQuery
    from vlrlt.embedder import Embedder
    from vlrlt.evaluate.moments import FoundMoments
    from vlrlt.evaluate.predictions import Predictions
    from vlrlt.evaluate.report import Benchmark

Annotations = Annotated[Path, typer.Option(metavar="DIR", help="Folder with the official annotation files.")]
Videos = Annotated[
    Path, typer.Option(metavar="DIR", help="Whole videos, or folders NAME.mp4/ with chunks 0.mp4, 15.mp4, ...")
]
Frames = Annotated[int | None, typer.Option(min=1, help="Frames in a clip. Default: the model's own number.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads that decode videos while the model encodes.")]
Given = Annotated[
    Path | None, typer.Option("--predictions", metavar="FILE.npz", help="Score these predictions instead of a model.")
]
Save = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npz", help="Save the predictions, to score them again or to continue an interrupted run."
    ),
]
Html = Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page of examples with pictures.")]
Markdown = Annotated[Path | None, typer.Option(metavar="FILE.md", help="Write the tables as Markdown.")]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The options that all benchmarks have: who answers, how, and where the result goes."""

    model: Model = None
    device: Device = "auto"
    precision: Precision = None
    policy: Policy = None
    threshold_255: Threshold = None
    budget_tokens: Budget = None
    frames: Frames = None
    threads: Threads = None
    predictions: Given = None
    save: Save = None
    html: Html = None
    markdown: Markdown = None
    as_json: Json = False

    def __call__(self, benchmark: "Benchmark", given: "Predictions | None" = None) -> "Predictions":
        """Ask the model, unless predictions are given; print the report, write what was asked for."""
        found = given or self._answer(benchmark)
        report = benchmark.score(found)
        if self.save is not None:
            found.save(self.save)
            for kept in self.save.parent.glob(f"{self.save.name}.*.partial"):
                kept.unlink()
        if self.markdown is not None:
            self.markdown.write_text(report.as_markdown(), encoding="utf-8")
        if self.html is not None:
            from vlrlt.evaluate.gallery import write_gallery

            write_gallery(self.html, title=f"{found.benchmark}: {found.model}", examples=benchmark.examples(found))
        say(json.dumps(report.as_json()) if self.as_json else report.as_text())
        return found

    def _answer(self, benchmark: "Benchmark") -> "Predictions":
        from vlrlt.evaluate.embeddings import EncodeOptions
        from vlrlt.evaluate.predictions import Predictions
        from vlrlt.progress import count_progress

        if self.predictions is not None:
            if self.model is not None:
                raise ConfigError("--model and --predictions cannot be combined; give one of them")
            return Predictions.load(self.predictions)
        threads = {} if self.threads is None else {"num_threads": self.threads}
        with count_progress("clips") as show:
            options = EncodeOptions(keep=self.save, on_progress=show, **threads)
            return benchmark.predict(self._embedder(), options=options)

    def _embedder(self) -> "Embedder":
        from vlrlt.embed import load_embedder
        from vlrlt.embedder import DEFAULT_MODEL

        return load_embedder(
            self.model or DEFAULT_MODEL,
            device=self.device,
            policy=token_policy(self.policy, self.threshold_255, self.budget_tokens),
            num_frames=self.frames,
            precision=self.precision or "auto",
        )


def _benchmark(name: str, kind: type = Run) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make `vlrlt eval NAME` of a function that takes a Run, or another kind of run, and options of its own."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(function).parameters.values()
        common = inspect.signature(kind).parameters

        def command(**options: Any) -> None:  # noqa: ANN401 - Typer's
            run = kind(**{key: options.pop(key) for key in common})
            function(run, **options)

        take(command, (*own, *common.values()))
        command.__doc__ = function.__doc__
        eval_app.command(name)(command)
        return function

    return register


@_benchmark("epic-mir")
def _epic_mir(
    run: Run,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            "--annotations",
            metavar="DIR",
            help="Folder of the annotation files, and of the videos if they are there.",
        ),
    ],
    videos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the videos, if they are not in --data.")
    ] = None,
    split: Annotated[Literal["train", "test"], typer.Option(help="Split to score.")] = "test",
    similarity: Annotated[
        Path | None, typer.Option(metavar="SIM.npy", help="Score this matrix (clips x sentences) instead of a model.")
    ] = None,
    submission: Annotated[
        Path | None, typer.Option(metavar="FILE.zip", help="Write the file for the official challenge.")
    ] = None,
    supervision: Annotated[
        tuple[int, int, int], typer.Option(help="Supervision levels of the submission: pre-training, labels, data.")
    ] = (2, 3, 3),
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder in which to keep the relevancy matrix.")
    ] = None,
) -> None:
    """EPIC-KITCHENS-100 multi-instance retrieval: mAP and nDCG in both directions.

    Example: vlrlt toy make --out toy --videos 8 && vlrlt eval epic-mir --data toy
    Example: vlrlt eval epic-mir --annotations epic-kitchens-100-annotations --similarity SIM.npy --json
    """
    from vlrlt.datasets.epic import EpicData
    from vlrlt.evaluate.epic_mir import EpicMir
    from vlrlt.evaluate.predictions import read_similarity
    from vlrlt.evaluate.submission import write_submission

    benchmark = EpicMir(data=EpicData(data, videos), split=split, cache_dir=cache)
    if similarity is not None and (run.model is not None or run.predictions is not None):
        raise ConfigError("--similarity cannot be combined with --model or --predictions; give one of them")
    given = None if similarity is None else benchmark.given(read_similarity(similarity), name=similarity.stem)
    found = run(benchmark, given)
    if submission is not None:
        write_submission(submission, found, supervision=supervision)
    _tell(found)


@_benchmark("egomcq")
def _egomcq(
    run: Run,
    annotations: Annotated[Path, typer.Option(metavar="FILE", help="The published file egomcq.json.")],
    videos: Videos,
) -> None:
    """EgoMCQ: which of five clips does a text describe? Accuracy within and across videos.

    Example: vlrlt eval egomcq --annotations egomcq.json --videos ego4d/video_288px --model runs/egoclip/best
    """
    from vlrlt.datasets.ego4d import EgoMCQ
    from vlrlt.evaluate.egomcq import EgoMCQBenchmark

    _tell(run(EgoMCQBenchmark(data=EgoMCQ(annotations, videos))))


@_benchmark("charades-ego")
def _charades_ego(run: Run, annotations: Annotations, videos: Videos) -> None:
    """Charades-Ego: 157 actions, several to a video. Mean average precision.

    Example: vlrlt eval charades-ego --annotations CharadesEgo --videos CharadesEgo_v1_480 --model runs/egoclip/best
    """
    from vlrlt.datasets.charades_ego import CharadesEgo
    from vlrlt.evaluate.charades_ego import CharadesEgoBenchmark

    _tell(run(CharadesEgoBenchmark(data=CharadesEgo(annotations, videos))))


@_benchmark("egtea")
def _egtea(
    run: Run,
    annotations: Annotations,
    videos: Videos,
    fold: Annotated[int, typer.Option(min=1, max=3, help="Official split.")] = 1,
) -> None:
    """EGTEA Gaze+: 106 cooking actions, 30 views of a clip. Mean class accuracy.

    Example: vlrlt eval egtea --annotations EGTEA/action_annotation --videos EGTEA/cropped_clips
    """
    from vlrlt.datasets.egtea import Egtea
    from vlrlt.evaluate.egtea import EgteaBenchmark

    _tell(run(EgteaBenchmark(data=Egtea(annotations, videos, fold))))


@_benchmark("msrvtt")
def _msrvtt(run: Run, annotations: Annotations, videos: Videos) -> None:
    """MSR-VTT 1k-A: recall at 1, 5 and 10 and median rank in both directions.

    Example: vlrlt eval msrvtt --annotations MSRVTT --videos MSRVTT/videos --model ViT-B-16/openai
    """
    from vlrlt.datasets.msrvtt import MsrVtt
    from vlrlt.evaluate.msrvtt import MsrVttBenchmark

    _tell(run(MsrVttBenchmark(data=MsrVtt(annotations, videos))))


Queries = Annotated[Path, typer.Option("--annotations", metavar="FILE", help="The published file of queries.")]


@dataclass(frozen=True, kw_only=True)
class MomentRun:
    """The options of benchmarks that search for moments."""

    library: LibraryDir
    model: Model = None
    device: Device = "auto"
    policy: Policy = None
    threshold_255: Threshold = None
    budget_tokens: Budget = None
    markdown: Markdown = None
    as_json: Json = False

    def __call__(self, benchmark: str, queries: "Sequence[MomentQuery]") -> "Sequence[FoundMoments]":
        """Index the videos that are new, search for every query, print the report."""
        from vlrlt.embed import load_embedder
        from vlrlt.embedder import DEFAULT_MODEL
        from vlrlt.evaluate.moments import score_moments
        from vlrlt.grounding import find_moments
        from vlrlt.progress import count_progress, index_progress

        policy = token_policy(self.policy, self.threshold_255, self.budget_tokens)
        embedder = load_embedder(self.model or DEFAULT_MODEL, device=self.device, policy=policy)
        with index_progress() as on_index, count_progress("queries") as on_query:
            found = find_moments(
                queries, library_dir=self.library, embedder=embedder, on_index=on_index, on_query=on_query
            )
        report = score_moments(benchmark, queries, found, model=embedder.name)
        if self.markdown is not None:
            self.markdown.write_text(report.as_markdown(), encoding="utf-8")
        say(json.dumps(report.as_json()) if self.as_json else report.as_text())
        return found


@_benchmark("ego4d-nlq", MomentRun)
def _ego4d_nlq(
    run: MomentRun,
    annotations: Queries,
    videos: Videos,
    submission: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write the file that Ego4D's own evaluation reads.")
    ] = None,
) -> None:
    """Ego4D natural language queries: find when a question is answered. R@1 and R@5 by overlap, mIoU.

    Example: vlrlt eval ego4d-nlq --annotations nlq_val.json --videos ego4d/clips --library nlq
    """
    from vlrlt.datasets.queries import read_nlq
    from vlrlt.evaluate.moments import nlq_submission

    queries = read_nlq(annotations, videos)
    found = run("ego4d-nlq", queries)
    if submission is not None:
        submission.write_text(json.dumps(nlq_submission(queries, found)), encoding="utf-8")


@_benchmark("goalstep", MomentRun)
def _goalstep(run: MomentRun, annotations: Queries, videos: Videos) -> None:
    """Ego4D GoalStep (step grounding): find when a step is done. R@1 and R@5 by overlap, mIoU.

    Example: vlrlt eval goalstep --annotations goalstep_valid.json --videos ego4d/full_scale --library goalstep
    """
    from vlrlt.datasets.queries import read_goalstep

    run("goalstep", read_goalstep(annotations, videos))


@_benchmark("charades-sta", MomentRun)
def _charades_sta(run: MomentRun, annotations: Queries, videos: Videos) -> None:
    """Charades-STA: find when a sentence is true. R@1 and R@5 by overlap, mIoU.

    Example: vlrlt eval charades-sta --annotations charades_sta_test.txt --videos Charades_v1_480 --library charades
    """
    from vlrlt.datasets.queries import read_charades_sta

    run("charades-sta", read_charades_sta(annotations, videos))


@_benchmark("qvhighlights", MomentRun)
def _qvhighlights(run: MomentRun, annotations: Queries, videos: Videos) -> None:
    """QVHighlights: find all moments and the best 2 s. R@1 and R@5 by overlap, mAP, HIT@1.

    Example: vlrlt eval qvhighlights --annotations highlight_val_release.jsonl --videos QVHighlights --library qvh
    """
    from vlrlt.datasets.queries import read_qvhighlights

    run("qvhighlights", read_qvhighlights(annotations, videos))


def _tell(found: "Predictions") -> None:
    """Exit code 3 if there are clips that could not be read."""
    if found.unreadable:
        raise typer.Exit(SOME_FAILED)
