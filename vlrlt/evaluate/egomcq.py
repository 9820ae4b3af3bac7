"""EgoMCQ (arXiv 2206.01670): which of five clips does a text describe? `vlrlt eval egomcq`."""

from dataclasses import dataclass

import numpy as np

from vlrlt.datasets.base import CaptionedSpan
from vlrlt.datasets.ego4d import EgoMCQ, McqQuestion
from vlrlt.embedder import Embedder
from vlrlt.errors import AnnotationError
from vlrlt.evaluate.embeddings import EncodeOptions, embed_spans, embed_texts
from vlrlt.evaluate.gallery import Card, Example, spread, still
from vlrlt.evaluate.predictions import Predictions
from vlrlt.evaluate.report import MetricReport

BENCHMARK = "egomcq"


@dataclass(frozen=True, kw_only=True)
class EgoMCQBenchmark:
    """Accuracy within one video and across videos; a Benchmark."""

    data: EgoMCQ

    def predict(self, embedder: Embedder, *, options: EncodeOptions = EncodeOptions()) -> Predictions:  # noqa: B008
        """Cosine of every question's text with its choices; a clip that many questions show is embedded once."""
        questions = self._questions()
        places: dict[tuple[str, float, float | None], int] = {}
        spans: list[CaptionedSpan] = []
        for choice in (choice for question in questions for choice in question.choices):
            if places.setdefault(_clip(choice), len(spans)) == len(spans):
                spans.append(choice)
        encoded = embed_spans(self.data, spans, embedder, options=options)
        texts_QD = embed_texts([question.query for question in questions], embedder)
        index_QC = np.array([[places[_clip(choice)] for choice in question.choices] for question in questions])
        score_QC = np.einsum("qcd,qd->qc", encoded.vectors_NVD[index_QC, 0], texts_QD)
        rows, columns = _names(questions)
        return Predictions(
            benchmark=BENCHMARK,
            model=embedder.name,
            rows=rows,
            columns=columns,
            score_RC=score_QC,
            cost=encoded.cost,
            unreadable=encoded.unreadable,
        )

    def score(self, predictions: Predictions) -> MetricReport:
        """Accuracy by kind of question, in [0, 1]."""
        questions = self._questions()
        rows, columns = _names(questions)
        predictions.check(benchmark=BENCHMARK, rows=rows, columns=columns)
        answer_Q = np.array([question.answer for question in questions])
        kind_Q = np.array([question.kind for question in questions])
        right_Q = predictions.score_RC.argmax(axis=1) == answer_Q
        blind_Q = predictions.score_RC.mean(axis=0).argmax() == answer_Q
        kinds = [kind for kind in ("intra", "inter") if (kind_Q == kind).any()]
        return MetricReport(
            benchmark=BENCHMARK,
            model=predictions.model,
            about=f"{len(questions)} questions of {len(columns)} choices",
            metrics={f"{kind}_accuracy": float(right_Q[kind_Q == kind].mean()) for kind in kinds},
            text_only={f"{kind}_accuracy": float(blind_Q[kind_Q == kind].mean()) for kind in kinds},
            random={f"{kind}_accuracy": 1 / len(columns) for kind in kinds},
            counts={f"{kind}_questions": int((kind_Q == kind).sum()) for kind in kinds},
            cost=predictions.cost,
            unreadable=predictions.unreadable,
        )

    def examples(self, predictions: Predictions) -> list[Example]:
        """Questions with their choices, the chosen one first."""
        questions = self._questions()
        return [
            Example(
                Card(f"{questions[row].query} ({questions[row].kind})"),
                tuple(
                    Card(
                        questions[row].choices[place].caption,
                        still(self.data, questions[row].choices[place]),
                        float(predictions.score_RC[row, place]),
                        float(place == questions[row].answer),
                    )
                    for place in (-predictions.score_RC[row]).argsort(kind="stable")
                ),
            )
            for row in spread(len(questions))
        ]

    def _questions(self) -> tuple[McqQuestion, ...]:
        questions = self.data.questions()
        counts = {len(question.choices) for question in questions}
        if len(counts) > 1:
            raise AnnotationError(
                f"{self.data.questions_file}: questions have {sorted(counts)} choices; all must have the same number"
            )
        return questions


def _clip(span: CaptionedSpan) -> tuple[str, float, float | None]:
    return span.video_id, span.start_s, span.stop_s


def _names(questions: tuple[McqQuestion, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    rows = tuple(question.choices[0].span_id.rpartition(":")[0] for question in questions)
    return rows, tuple(str(place) for place in range(len(questions[0].choices)))
