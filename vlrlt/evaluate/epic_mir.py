"""EPIC-KITCHENS-100 multi-instance retrieval: `vlrlt eval epic-mir`.

The official protocol: every clip of a split against the narrations that its sentence file names by narration_id,
ranked by cosine similarity.

Shape legend: N clips, S sentences, P phrases "verb noun".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlrlt.datasets.base import Split
from vlrlt.datasets.epic import EpicData, Narration, relevancy_matrix, sentence_narrations
from vlrlt.embedder import Embedder
from vlrlt.errors import ConfigError
from vlrlt.evaluate.confusion import Confusion, Phrases, confusion, spoken
from vlrlt.evaluate.embeddings import Cost, EncodeOptions, embed_spans, embed_texts
from vlrlt.evaluate.gallery import Card, Example, best, spread, still
from vlrlt.evaluate.predictions import Predictions
from vlrlt.evaluate.report import markdown_table, unreadable_json, unreadable_lines
from vlrlt.metrics import (
    FloatArray,
    MirScores,
    QueryScores,
    mean_scores,
    random_multi_instance_retrieval,
    score_queries,
)
from vlrlt.types import Float64Array
from vlrlt.video.decode import DecoderName

BENCHMARK = "epic-mir"
_PHRASES = "phrases"

ClassScores = Mapping[str, Mapping[str, float]]
"""Class name -> clips, mAP, nDCG of the clips of that class as queries."""


@dataclass(frozen=True, kw_only=True)
class EpicMirReport:
    """Retrieval scores on a split, beside the exact expectation of random similarities and a blind model."""

    model: str
    split: Split
    scores: MirScores
    random: MirScores
    text_only: MirScores
    """Without looking: every clip gets the mean similarities of all clips; t2v is a tie, that is random."""
    per_verb: ClassScores
    per_noun: ClassScores
    verb: Confusion
    """Of no clip where the similarities were given, without a model."""
    noun: Confusion
    num_clips: int
    num_sentences: int
    cost: Cost | None
    """None: the similarities were given."""
    unreadable: tuple[str, ...] = ()
    """Clips that could not be read, and why."""

    @property
    def measured_cost(self) -> Cost:
        """What encoding took.

        Raises:
            ConfigError: nothing was encoded.
        """
        if self.cost is None:
            raise ConfigError(f"the similarities of {self.model} were given: their cost is not known")
        return self.cost

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `eval epic-mir --json`."""
        return {
            "benchmark": BENCHMARK,
            "model": self.model,
            "split": self.split,
            **self.scores.as_json(),
            "random": self.random.as_json(),
            "text_only": self.text_only.as_json(),
            "clips": self.num_clips,
            "sentences": self.num_sentences,
            "per_verb": self.per_verb,
            "per_noun": self.per_noun,
            "verb_accuracy": self.verb.accuracy,
            "verb_chance": self.verb.chance,
            "noun_accuracy": self.noun.accuracy,
            "noun_chance": self.noun.chance,
            "confusions": {"verb": self.verb.counts, "noun": self.noun.counts},
            **({} if self.cost is None else self.cost.as_json()),
            **unreadable_json(self.unreadable),
        }

    def as_text(self) -> str:
        """The same for people."""
        name_width = max(len("text only"), len(self.model))
        header = f"{'':{name_width}}  mAP: v2t    t2v    avg   nDCG: v2t    t2v    avg"
        lines = [
            f"{self.split} split: {self.num_clips} clips, {self.num_sentences} sentences",
            header,
            *(
                f"{name:{name_width}}     {s.mAP.v2t:6.3f} {s.mAP.t2v:6.3f} {s.mAP.avg:6.3f}"
                f"       {s.nDCG.v2t:6.3f} {s.nDCG.t2v:6.3f} {s.nDCG.avg:6.3f}"
                for name, s in self._rows()
            ),
        ]
        if self.cost is not None:
            lines += [
                self.cost.as_text(),
                self.verb.as_text("verb, noun given"),
                self.noun.as_text("noun, verb given"),
            ]
        return "\n".join([*lines, *unreadable_lines(self.unreadable)])

    def as_markdown(self) -> str:
        """Scores, then verbs and nouns, the commonest first."""
        header = ["EK-100 MIR", *(f"{metric} {way}" for metric in ("mAP", "nDCG") for way in ("V-T", "T-V", "avg"))]
        rows = [
            [name, *(f"{100 * value:.1f}" for metric in (s.mAP, s.nDCG) for value in metric.as_json().values())]
            for name, s in self._rows()
        ]
        parts = [f"{self.split} split: {self.num_clips} clips, {self.num_sentences} sentences"]
        parts.append(markdown_table(header, *rows))
        for title, classes in (("verb", self.per_verb), ("noun", self.per_noun)):
            cells = [
                [name, f"{s['clips']:.0f}", f"{100 * s['mAP']:.1f}", f"{100 * s['nDCG']:.1f}"]
                for name, s in classes.items()
            ]
            parts.append(markdown_table([title, "clips", "mAP V-T", "nDCG V-T"], *cells))
        return "\n\n".join([*parts, *unreadable_lines(self.unreadable)]) + "\n"

    def _rows(self) -> tuple[tuple[str, MirScores], ...]:
        return (self.model, self.scores), ("text only", self.text_only), ("random", self.random)


@dataclass(frozen=True, kw_only=True)
class EpicMir:
    """The benchmark: a Benchmark."""

    data: EpicData
    split: Split = "test"
    decoder: DecoderName = "pyav"
    cache_dir: Path | None = None
    """Keeps the relevancy matrix, 300 MB for the real test split; None: it is computed each time, in a second."""

    def predict(self, embedder: Embedder, *, options: EncodeOptions = EncodeOptions()) -> Predictions:  # noqa: B008
        """Cosines of every clip with every sentence, and with every phrase of class names."""
        clips, sentences = self._clips_and_sentences()
        phrases = Phrases.of(clips, self.data.verb_classes(), self.data.noun_classes())
        spans = self.data.spans(self.split)
        encoded = embed_spans(self.data, spans, embedder, decoder=self.decoder, options=options)
        clips_ND = encoded.vectors_NVD[:, 0]
        return Predictions(
            benchmark=BENCHMARK,
            model=embedder.name,
            rows=_ids(clips),
            columns=_ids(sentences),
            score_RC=clips_ND @ embed_texts([sentence.narration for sentence in sentences], embedder).T,
            cost=encoded.cost,
            unreadable=encoded.unreadable,
            extra={_PHRASES: clips_ND @ embed_texts(phrases.texts, embedder).T},
        )

    def given(self, similarity: FloatArray, *, name: str) -> Predictions:
        """A matrix that something else has computed, as predictions; no video is needed.

        Args:
            similarity: (N, S), or (N, N) with a column for every clip's narration; higher is better.
            name: of what computed it.
        """
        clips, sentences = self._clips_and_sentences()
        ids, sentence_ids = _ids(clips), _ids(sentences)
        if similarity.shape == (len(ids), len(ids)) and len(ids) != len(sentence_ids):
            places = {narration_id: place for place, narration_id in enumerate(ids)}
            similarity = similarity[:, [places[narration_id] for narration_id in sentence_ids]]
        return Predictions(benchmark=BENCHMARK, model=name, rows=ids, columns=sentence_ids, score_RC=similarity)

    def score(self, predictions: Predictions) -> EpicMirReport:
        """Both metrics both ways, floors, breakdowns, confusions."""
        clips, sentences = self._clips_and_sentences()
        predictions.check(benchmark=BENCHMARK, rows=_ids(clips), columns=_ids(sentences))
        verbs, nouns = self.data.verb_classes(), self.data.noun_classes()
        similarity_NS, relevancy_NS = predictions.score_RC, self._relevancy()
        v2t = score_queries(similarity_NS, relevancy_NS)
        random = random_multi_instance_retrieval(relevancy_NS)
        confusions = _confusions(predictions, Phrases.of(clips, verbs, nouns))
        return EpicMirReport(
            model=predictions.model,
            split=self.split,
            scores=mean_scores(v2t, score_queries(similarity_NS.T, relevancy_NS.T)),
            random=random,
            text_only=_blind(similarity_NS, relevancy_NS, random),
            per_verb=_by_class(v2t, [spoken(verbs[clip.verb_class]) for clip in clips]),
            per_noun=_by_class(v2t, [spoken(nouns[clip.noun_class]) for clip in clips]),
            verb=confusions[0],
            noun=confusions[1],
            num_clips=len(clips),
            num_sentences=len(sentences),
            cost=predictions.cost,
            unreadable=predictions.unreadable,
        )

    def examples(self, predictions: Predictions) -> list[Example]:
        """Sentences with the clips that rank first."""
        clips, sentences = self._clips_and_sentences()
        spans, relevancy_NS = self.data.spans(self.split), self._relevancy()
        return [
            Example(
                Card(sentences[column].narration),
                tuple(
                    Card(
                        clips[row].narration,
                        still(self.data, spans[row]),
                        float(predictions.score_RC[row, column]),
                        float(relevancy_NS[row, column]),
                    )
                    for row in best(predictions.score_RC[:, column])
                ),
            )
            for column in spread(len(sentences))
        ]

    def _relevancy(self) -> Float64Array:
        return relevancy_matrix(self.data, self.split, cache_dir=self.cache_dir)

    def _clips_and_sentences(self) -> tuple[tuple[Narration, ...], list[Narration]]:
        clips = self.data.narrations(self.split)
        return clips, sentence_narrations(self.data, self.split, clips)


def evaluate_epic_mir(
    data: EpicData,
    embedder: Embedder,
    *,
    split: Split = "test",
    decoder: DecoderName = "pyav",
    options: EncodeOptions = EncodeOptions(),  # noqa: B008
) -> EpicMirReport:
    """Embed a split's clips and sentences and score their retrieval.

    Raises:
        AnnotationError: annotations or videos are missing or do not fit together.
        UnreadableClipsError: not one clip can be read.
    """
    benchmark = EpicMir(data=data, split=split, decoder=decoder)
    return benchmark.score(benchmark.predict(embedder, options=options))


def _ids(narrations: Sequence[Narration]) -> tuple[str, ...]:
    return tuple(narration.narration_id for narration in narrations)


def _confusions(predictions: Predictions, phrases: Phrases) -> tuple[Confusion, Confusion]:
    if _PHRASES not in predictions.extra:
        unknown = Confusion(accuracy=None, chance=None, num_clips=0, counts={})
        return unknown, unknown
    similarity_NP = predictions.extra[_PHRASES]
    return (
        confusion(similarity_NP, phrases.index_N, named_P=phrases.verbs_P, given_P=phrases.nouns_P),
        confusion(similarity_NP, phrases.index_N, named_P=phrases.nouns_P, given_P=phrases.verbs_P),
    )


def _blind(similarity_NS: FloatArray, relevancy_NS: Float64Array, random: MirScores) -> MirScores:
    mean_S = similarity_NS.mean(axis=0, dtype=np.float64)
    blind = score_queries(np.broadcast_to(mean_S, similarity_NS.shape), relevancy_NS)
    return mean_scores(blind, random)


def _by_class(scores: QueryScores, names: Sequence[str]) -> ClassScores:
    """The commonest class first; classes of which no clip has anything to find are left out."""
    numbers: dict[str, list[int]] = {}
    for clip, name in enumerate(names):
        if not np.isnan(scores.ap_Q[clip]):
            numbers.setdefault(name, []).append(clip)
    return {
        name: {
            "clips": len(clips),
            "mAP": float(scores.ap_Q[clips].mean()),
            "nDCG": float(scores.ndcg_Q[clips].mean()),
        }
        for name, clips in sorted(numbers.items(), key=lambda item: (-len(item[1]), item[0]))
    }
