"""MSR-VTT 1k-A: find the video of a caption among 1,000, and the other way. `vlrlt eval msrvtt`."""

from dataclasses import dataclass

import numpy as np

from vlrlt.datasets.base import CaptionedSpan
from vlrlt.datasets.msrvtt import MsrVtt
from vlrlt.embedder import Embedder
from vlrlt.evaluate.embeddings import EncodeOptions, embed_spans, embed_texts
from vlrlt.evaluate.gallery import Card, Example, best, spread, still
from vlrlt.evaluate.predictions import Predictions
from vlrlt.evaluate.report import MetricReport
from vlrlt.metrics import FloatArray, first_relevant_ranks, median_rank, recall_at_k

BENCHMARK = "msrvtt"
_KS = (1, 5, 10)


@dataclass(frozen=True, kw_only=True)
class MsrVttBenchmark:
    """Recall at 1, 5, 10 and median rank, both ways; a Benchmark."""

    data: MsrVtt

    def predict(self, embedder: Embedder, *, options: EncodeOptions = EncodeOptions()) -> Predictions:  # noqa: B008
        """Cosine of every video with every caption."""
        spans, videos = self._spans_and_videos()
        encoded = embed_spans(self.data, videos, embedder, options=options)
        return Predictions(
            benchmark=BENCHMARK,
            model=embedder.name,
            rows=tuple(video.video_id for video in videos),
            columns=tuple(span.span_id for span in spans),
            score_RC=encoded.vectors_NVD[:, 0] @ embed_texts([span.caption for span in spans], embedder).T,
            cost=encoded.cost,
            unreadable=encoded.unreadable,
        )

    def score(self, predictions: Predictions) -> MetricReport:
        """Both directions; a video is found by any of its captions."""
        spans, videos = self._spans_and_videos()
        predictions.check(
            benchmark=BENCHMARK,
            rows=[video.video_id for video in videos],
            columns=[span.span_id for span in spans],
        )
        own_VC = np.array([[video.video_id == span.video_id for span in spans] for video in videos])
        score_VC = predictions.score_RC
        blind_VC: FloatArray = np.broadcast_to(score_VC.mean(axis=0), score_VC.shape)
        random = _random(len(videos), "t2v") | _random(len(spans), "v2t")
        return MetricReport(
            benchmark=BENCHMARK,
            model=predictions.model,
            about=f"1k-A test: {len(videos)} videos, {len(spans)} captions",
            metrics=_recalls(score_VC.T, own_VC.T, "t2v") | _recalls(score_VC, own_VC, "v2t"),
            random=random,
            text_only=_random(len(videos), "t2v") | _recalls(blind_VC, own_VC, "v2t"),
            counts={"videos": len(videos), "captions": len(spans)},
            cost=predictions.cost,
            unreadable=predictions.unreadable,
        )

    def examples(self, predictions: Predictions) -> list[Example]:
        """Captions with the videos that rank first."""
        spans, videos = self._spans_and_videos()
        return [
            Example(
                Card(spans[column].caption),
                tuple(
                    Card(videos[row].video_id, still(self.data, videos[row]), float(predictions.score_RC[row, column]),
                         float(videos[row].video_id == spans[column].video_id))
                    for row in best(predictions.score_RC[:, column])
                ),
            )
            for column in spread(len(spans))
        ]  # fmt: skip

    def _spans_and_videos(self) -> tuple[tuple[CaptionedSpan, ...], list[CaptionedSpan]]:
        spans = self.data.spans("test")
        return spans, list({span.video_id: span for span in spans}.values())


def _recalls(score_QN: FloatArray, own_QN: "np.typing.NDArray[np.bool_]", way: str) -> dict[str, float]:
    ranks_Q = first_relevant_ranks(score_QN, own_QN)
    recalls = {f"{way}_R@{k}": recall_at_k(ranks_Q, k=k) for k in _KS}
    return recalls | {f"{way}_median_rank": median_rank(ranks_Q)}


def _random(num_items: int, way: str) -> dict[str, float]:
    """One right item among num_items."""
    return {f"{way}_R@{k}": min(1.0, k / num_items) for k in _KS} | {f"{way}_median_rank": (num_items + 1) / 2}
