"""EGTEA: which of 106 cooking actions does a clip show? `vlrlt eval egtea`.

The protocol of LaViLa (arXiv 2212.04501): 10 stretches spread over the clip, frames 2 apart, each in 3 crops along the
longer side; cosines with the class names, the best of the 30 views; mean of the classes' accuracies. A clip shorter
than a stretch holds its last frame (LaViLa pads with black).
"""

from dataclasses import dataclass

import numpy as np

from vlrlt.datasets.base import CaptionedSpan
from vlrlt.datasets.egtea import Egtea
from vlrlt.datasets.relevancy import Action
from vlrlt.embedder import Embedder
from vlrlt.evaluate.embeddings import ClipView, Crop, EncodeOptions, embed_spans, embed_texts
from vlrlt.evaluate.gallery import Card, Example, best, spread, still
from vlrlt.evaluate.predictions import Predictions
from vlrlt.evaluate.report import MetricReport
from vlrlt.types import VideoInfo

BENCHMARK = "egtea"
NUM_STRETCHES = 10
FRAME_STRIDE = 2
CROPS: tuple[Crop, ...] = ("first", "centre", "last")


@dataclass(frozen=True, kw_only=True)
class EgteaBenchmark:
    """Mean class accuracy and accuracy; a Benchmark."""

    data: Egtea

    def predict(self, embedder: Embedder, *, options: EncodeOptions = EncodeOptions()) -> Predictions:  # noqa: B008
        """The best cosine of each clip's views with every class name."""
        spans, names = self.data.spans("test"), self.data.class_names()
        encoded = embed_spans(self.data, spans, embedder, views=stretches_and_crops, options=options)
        return Predictions(
            benchmark=BENCHMARK,
            model=embedder.name,
            rows=tuple(span.span_id for span in spans),
            columns=tuple(names.values()),
            score_RC=(encoded.vectors_NVD @ embed_texts(list(names.values()), embedder).T).max(axis=1),
            cost=encoded.cost,
            unreadable=encoded.unreadable,
        )

    def score(self, predictions: Predictions) -> MetricReport:
        """Accuracies in [0, 1]; classes without a clip are left out of the mean."""
        spans, names = self.data.spans("test"), self.data.class_names()
        predictions.check(benchmark=BENCHMARK, rows=[span.span_id for span in spans], columns=list(names.values()))
        places = {Action.of(number, (number,)): place for place, number in enumerate(names)}
        true_N = np.array([places[span.action] for span in spans])
        right_N = predictions.score_RC.argmax(axis=1) == true_N
        blind_N = predictions.score_RC.mean(axis=0).argmax() == true_N
        present = np.unique(true_N)
        per_class = {number: float(right_N[true_N == number].mean()) for number in present}
        return MetricReport(
            benchmark=BENCHMARK,
            model=predictions.model,
            about=f"split {self.data.fold}: {len(spans)} clips of {len(present)} classes",
            metrics={
                "mean_class_accuracy": float(np.mean(list(per_class.values()))),
                "accuracy": float(right_N.mean()),
            },
            text_only={
                "mean_class_accuracy": float(np.mean([blind_N[true_N == number].mean() for number in present])),
                "accuracy": float(blind_N.mean()),
            },
            random={"mean_class_accuracy": 1 / len(names), "accuracy": 1 / len(names)},
            counts={"clips": len(spans), "classes": len(present)},
            cost=predictions.cost,
            unreadable=predictions.unreadable,
            details={"per_class": {predictions.columns[number]: value for number, value in per_class.items()}},
        )

    def examples(self, predictions: Predictions) -> list[Example]:
        """Clips with the classes that rank first."""
        spans = self.data.spans("test")
        return [
            Example(
                Card(spans[row].caption, still(self.data, spans[row])),
                tuple(
                    Card(predictions.columns[column], None, float(predictions.score_RC[row, column]),
                         float(predictions.columns[column] == spans[row].caption))
                    for column in best(predictions.score_RC[row])
                ),
            )
            for row in spread(len(spans))
        ]  # fmt: skip


def stretches_and_crops(info: VideoInfo, span: CaptionedSpan, num_frames: int) -> list[ClipView]:  # noqa: ARG001 - Views
    """Every stretch in every crop."""
    step_s = FRAME_STRIDE / info.average_fps
    last_start_s = max(0.0, info.duration_s - num_frames * step_s)
    offsets_T = step_s * (np.arange(num_frames) + 0.5 / FRAME_STRIDE)
    starts_s = np.linspace(0, last_start_s, NUM_STRETCHES)
    return [ClipView(start_s + offsets_T, CROPS) for start_s in starts_s]
