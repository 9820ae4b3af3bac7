"""Charades-Ego: which of 157 actions does a first-person video show? `vlrlt eval charades-ego`.

The protocol of LaViLa (arXiv 2212.04501): 16 frames spread over the whole video, cosines with the class names, mean
over the classes of the average precision over videos; videos without an action rank last. Classes that no video of the
split shows are left out of the mean.
"""

from dataclasses import dataclass

import numpy as np

from vlrlt.datasets.base import CaptionedSpan
from vlrlt.datasets.charades_ego import CharadesEgo, LabelledVideo
from vlrlt.datasets.relevancy import Action
from vlrlt.embedder import Embedder
from vlrlt.evaluate.embeddings import EncodeOptions, embed_spans, embed_texts
from vlrlt.evaluate.gallery import Card, Example, best, spread, still
from vlrlt.evaluate.predictions import Predictions
from vlrlt.evaluate.report import MetricReport
from vlrlt.metrics import FloatArray, average_precisions, random_average_precisions
from vlrlt.types import Float64Array

BENCHMARK = "charades-ego"


@dataclass(frozen=True, kw_only=True)
class CharadesEgoBenchmark:
    """Mean average precision; a Benchmark."""

    data: CharadesEgo

    def predict(self, embedder: Embedder, *, options: EncodeOptions = EncodeOptions()) -> Predictions:  # noqa: B008
        """Cosine of every video with every class name."""
        videos, names = self.data.videos("test"), self.data.class_names()
        encoded = embed_spans(self.data, [_whole(video) for video in videos], embedder, options=options)
        return Predictions(
            benchmark=BENCHMARK,
            model=embedder.name,
            rows=_ids(videos),
            columns=names,
            score_RC=encoded.vectors_NVD[:, 0] @ embed_texts(names, embedder).T,
            cost=encoded.cost,
            unreadable=encoded.unreadable,
        )

    def score(self, predictions: Predictions) -> MetricReport:
        """mAP, and the average precision of each class."""
        videos, names = self.data.videos("test"), self.data.class_names()
        predictions.check(benchmark=BENCHMARK, rows=_ids(videos), columns=names)
        shown_VC = _shown(videos, len(names))
        labelled_V = shown_VC.max(axis=1) > 0
        score_VC: FloatArray = np.where(labelled_V[:, None], predictions.score_RC, predictions.score_RC.min() - 1)
        precision_C = average_precisions(score_VC.T, shown_VC.T)
        random = float(np.nanmean(random_average_precisions(shown_VC[labelled_V].T)))
        return MetricReport(
            benchmark=BENCHMARK,
            model=predictions.model,
            about=f"{len(videos)} videos, {int((~np.isnan(precision_C)).sum())} of {len(names)} classes",
            metrics={"mAP": float(np.nanmean(precision_C))},
            random={"mAP": random},
            text_only={"mAP": random},  # a blind model gives every video the same scores
            counts={"videos": len(videos), "videos_without_action": int((~labelled_V).sum())},
            cost=predictions.cost,
            unreadable=predictions.unreadable,
            details={
                "per_class": {
                    name: float(value) for name, value in zip(names, precision_C, strict=True) if not np.isnan(value)
                }
            },
        )

    def examples(self, predictions: Predictions) -> list[Example]:
        """Videos with the classes that rank first."""
        videos, names = self.data.videos("test"), self.data.class_names()
        return [
            Example(
                Card(", ".join(names[number] for number in sorted(videos[row].classes)) or "no action",
                     still(self.data, _whole(videos[row]))),
                tuple(
                    Card(names[column], None, float(predictions.score_RC[row, column]),
                         float(column in videos[row].classes))
                    for column in best(predictions.score_RC[row])
                ),
            )
            for row in spread(len(videos))
        ]  # fmt: skip


def _ids(videos: tuple[LabelledVideo, ...]) -> tuple[str, ...]:
    return tuple(video.video_id for video in videos)


def _whole(video: LabelledVideo) -> CaptionedSpan:
    return CaptionedSpan(
        span_id=video.video_id,
        video_id=video.video_id,
        start_s=0.0,
        stop_s=None,
        caption="",
        action=Action.of(0, (0,)),
        group=video.video_id,
    )


def _shown(videos: tuple[LabelledVideo, ...], num_classes: int) -> Float64Array:
    shown_VC = np.zeros((len(videos), num_classes))
    for row, video in enumerate(videos):
        shown_VC[row, sorted(video.classes)] = 1.0
    return shown_VC
