"""EPIC-KITCHENS-100 multi-instance retrieval with an embedder: `vlrlt eval epic-mir`.

The official protocol: every clip of a split against the narrations that its sentence file names by narration_id,
ranked by cosine similarity. (The text is the narration of that id, as in the official code: six lines of the real
sentence file carry another narration's text.) Two confusions stand beside it, each asking for one word while the other
is given: is this "open fridge" or "close fridge", "open fridge" or "open drawer"?

Shape legend: N clips, S sentences, P phrases "verb noun", B clips of a batch, D embedding, T frames, HWC one picture.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlrlt.embed import Embedder
from vlrlt.epic import EpicData, Narration, Split, relevancy
from vlrlt.errors import AnnotationError, CorruptVideoError
from vlrlt.metrics import MirScores, multi_instance_retrieval, random_multi_instance_retrieval
from vlrlt.types import ClipSpan, Float32Array, UInt8Array
from vlrlt.video.decode import Decoder, DecoderName, open_decoder
from vlrlt.video.sampling import frame_times

_CLIP_BATCH = 16
_TEXT_BATCH = 256
_SHOWN_CLASSES = 12
_SHOWN_PAIRS = 5

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Verbs named with the noun given, or nouns with the verb given."""

    accuracy: float | None
    """Share of num_clips whose own word is nearest; None where no clip has a choice."""
    chance: float | None
    """Expected accuracy of guessing among each clip's candidates."""
    num_clips: int
    """Clips with two candidates or more."""
    counts: Mapping[str, Mapping[str, int]]
    """True word -> predicted word -> clips."""

    def as_text(self, title: str) -> str:
        """Accuracy, the most confused pairs and a matrix of the most frequent words."""
        if self.accuracy is None:
            return f"{title}: no clip has a choice"
        pairs = [(n, true, guess) for true, row in self.counts.items() for guess, n in row.items() if true != guess]
        worst = ", ".join(f"{true} -> {guess} {n}" for n, true, guess in sorted(pairs, reverse=True)[:_SHOWN_PAIRS])
        return "\n".join(
            (
                f"{title}: {self.accuracy:.3f} of {self.num_clips} clips right (chance {self.chance:.3f})",
                f"  most confused: {worst or 'none'}",
                *(f"  {line}" for line in self._matrix()),
            )
        )

    def _matrix(self) -> Iterator[str]:
        words = sorted(self.counts, key=lambda word: -sum(self.counts[word].values()))[:_SHOWN_CLASSES]
        columns = (*words, "other")
        name_width = max(len("true"), *map(len, words))
        widths = [max(3, len(word)) for word in columns]

        def line(name: str, cells: Sequence[object]) -> str:
            padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
            return " ".join((f"{name:{name_width}}", *padded))

        yield line("true", columns)
        for true in words:
            shown = [self.counts[true].get(guess, 0) for guess in words]
            yield line(true, [n or "." for n in (*shown, sum(self.counts[true].values()) - sum(shown))])


@dataclass(frozen=True, kw_only=True)
class EpicMirReport:
    """Retrieval scores of an embedder on a split, beside the exact expectation of random similarities."""

    model: str
    split: Split
    scores: MirScores
    random: MirScores
    verb: Confusion
    noun: Confusion
    num_clips: int
    num_sentences: int
    tokens_kept: float
    """Mean share of patch tokens that the encoder processed, in (0, 1]."""
    decode_s: float
    """Reading, decoding and resizing the frames."""
    encode_s: float
    """Embedding the clips."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `eval epic-mir --json`."""
        return {
            "model": self.model,
            "split": self.split,
            **self.scores.as_json(),
            "random": self.random.as_json(),
            "verb_accuracy": self.verb.accuracy,
            "verb_chance": self.verb.chance,
            "noun_accuracy": self.noun.accuracy,
            "noun_chance": self.noun.chance,
            "confusions": {"verb": self.verb.counts, "noun": self.noun.counts},
            "clips": self.num_clips,
            "sentences": self.num_sentences,
            "tokens_kept": self.tokens_kept,
            "decode_s": self.decode_s,
            "encode_s": self.encode_s,
        }

    def as_text(self) -> str:
        """The same for people."""
        name_width = max(len("random"), len(self.model))
        header = f"{'':{name_width}}  mAP: v2t    t2v    avg   nDCG: v2t    t2v    avg"
        rows = ((self.model, self.scores), ("random", self.random))
        return "\n".join(
            (
                f"{self.split} split: {self.num_clips} clips, {self.num_sentences} sentences",
                header,
                *(
                    f"{name:{name_width}}     {s.mAP.v2t:6.3f} {s.mAP.t2v:6.3f} {s.mAP.avg:6.3f}"
                    f"       {s.nDCG.v2t:6.3f} {s.nDCG.t2v:6.3f} {s.nDCG.avg:6.3f}"
                    for name, s in rows
                ),
                f"tokens kept {self.tokens_kept:.3f}, decoding {self.decode_s:.1f} s, encoding {self.encode_s:.1f} s",
                self.verb.as_text("verb, noun given"),
                self.noun.as_text("noun, verb given"),
            )
        )


def evaluate_epic_mir(
    data: EpicData,
    embedder: Embedder,
    *,
    split: Split = "test",
    decoder: DecoderName = "pyav",
    on_progress: Callable[[int, int], None] | None = None,
) -> EpicMirReport:
    """Embed a split's clips and sentences and score their retrieval.

    Args:
        data: annotations and videos.
        embedder: the model.
        split: which annotation files.
        decoder: which library reads the videos.
        on_progress: called with (clips done, clips in all).

    Raises:
        AnnotationError: annotations or videos are missing or do not fit together.
        DecodeError: a video cannot be read.
    """
    clips = data.narrations(split)
    sentences = _sentence_narrations(data, split, clips)
    phrases = _Phrases.of(clips, data.verb_classes(), data.noun_classes())
    encoded = _embed_clips(data, clips, embedder, decoder, on_progress or (lambda _done, _total: None))
    texts_SD = _embed_texts([sentence.narration for sentence in sentences], embedder)
    phrases_PD = _embed_texts(phrases.texts, embedder)
    relevancy_NS = relevancy(clips, sentences)
    similarity_NP = encoded.vectors_ND @ phrases_PD.T
    return EpicMirReport(
        model=embedder.name,
        split=split,
        scores=multi_instance_retrieval(encoded.vectors_ND @ texts_SD.T, relevancy_NS),
        random=random_multi_instance_retrieval(relevancy_NS),
        verb=_confusion(similarity_NP, phrases.index_N, named_P=phrases.verbs_P, given_P=phrases.nouns_P),
        noun=_confusion(similarity_NP, phrases.index_N, named_P=phrases.nouns_P, given_P=phrases.verbs_P),
        num_clips=len(clips),
        num_sentences=len(sentences),
        tokens_kept=encoded.tokens_kept,
        decode_s=encoded.decode_s,
        encode_s=encoded.encode_s,
    )


def _sentence_narrations(data: EpicData, split: Split, clips: Sequence[Narration]) -> list[Narration]:
    by_id = {clip.narration_id: clip for clip in clips}
    ids = data.sentences(split)
    strays = [narration_id for narration_id in ids if narration_id not in by_id]
    if strays:
        raise AnnotationError(
            f"{len(strays)} sentences of the {split} split have no narration there, the first is {strays[0]}; "
            f"do both files of {data.data_dir} come from one release?"
        )
    return [by_id[narration_id] for narration_id in ids]


@dataclass(frozen=True)
class _Phrases:
    """The distinct (verb class, noun class) of a split as texts of class names: minimal pairs, nothing else differs."""

    verbs_P: list[str]
    nouns_P: list[str]
    index_N: IntArray
    """Which phrase each clip shows."""

    @property
    def texts(self) -> list[str]:
        return [f"{verb} {noun}" for verb, noun in zip(self.verbs_P, self.nouns_P, strict=True)]

    @classmethod
    def of(cls, clips: Sequence[Narration], verb_names: dict[int, str], noun_names: dict[int, str]) -> "_Phrases":
        positions: dict[tuple[str, str], int] = {}
        index = []
        for clip in clips:
            if clip.verb_class not in verb_names or clip.noun_class not in noun_names:
                raise AnnotationError(
                    f"narration {clip.narration_id} has verb class {clip.verb_class} and noun class {clip.noun_class}; "
                    f"the class files do not name both"
                )
            pair = _words(verb_names[clip.verb_class]), _words(noun_names[clip.noun_class])
            index.append(positions.setdefault(pair, len(positions)))
        return cls([verb for verb, _ in positions], [noun for _, noun in positions], np.array(index))


def _words(key: str) -> str:
    """A class name as people say it: "turn-on" is "turn on", "board:chopping" is "chopping board"."""
    head, *modifiers = key.split(":")
    return " ".join((*modifiers, head)).replace("-", " ")


def _confusion(similarity_NP: Float32Array, index_N: IntArray, *, named_P: list[str], given_P: list[str]) -> Confusion:
    """Each clip picks among the phrases that share its given word."""
    given_ids_P = np.unique(given_P, return_inverse=True)[1]
    allowed_NP = given_ids_P[index_N][:, None] == given_ids_P
    num_candidates_N = allowed_NP.sum(axis=1)
    guess_N = np.where(allowed_NP, similarity_NP, -np.inf).argmax(axis=1)
    counts: dict[str, Counter[str]] = {}
    for true, guess in zip(index_N[num_candidates_N > 1], guess_N[num_candidates_N > 1], strict=True):
        counts.setdefault(named_P[true], Counter())[named_P[guess]] += 1
    num_clips = int((num_candidates_N > 1).sum())
    return Confusion(
        accuracy=sum(row[true] for true, row in counts.items()) / num_clips if num_clips else None,
        chance=float(np.mean(1 / num_candidates_N[num_candidates_N > 1])) if num_clips else None,
        num_clips=num_clips,
        counts={true: dict(counts[true].most_common()) for true in sorted(counts)},
    )


def _embed_texts(texts: Sequence[str], embedder: Embedder) -> Float32Array:
    starts = range(0, len(texts), _TEXT_BATCH)
    return np.concatenate([embedder.embed_text(texts[start : start + _TEXT_BATCH]) for start in starts])


@dataclass(frozen=True)
class _EncodedClips:
    vectors_ND: Float32Array
    tokens_kept: float
    decode_s: float
    encode_s: float


def _embed_clips(
    data: EpicData,
    clips: Sequence[Narration],
    embedder: Embedder,
    decoder: DecoderName,
    on_progress: Callable[[int, int], None],
) -> _EncodedClips:
    started_s = time.perf_counter()
    encode_s = 0.0
    vectors_ND = np.empty((len(clips), embedder.embed_dim), dtype=np.float32)
    kept_N = np.empty(len(clips))
    num_done = 0
    for indices, rgb_BTHWC in _batches(data, clips, embedder, decoder):
        encode_started_s = time.perf_counter()
        embeddings = embedder.embed_clips(rgb_BTHWC)
        encode_s += time.perf_counter() - encode_started_s
        vectors_ND[indices] = embeddings.vectors_BD
        kept_N[indices] = embeddings.num_tokens_B / embeddings.num_dense_tokens
        num_done += len(indices)
        on_progress(num_done, len(clips))
    return _EncodedClips(vectors_ND, float(kept_N.mean()), time.perf_counter() - started_s - encode_s, encode_s)


def _batches(
    data: EpicData, clips: Sequence[Narration], embedder: Embedder, decoder: DecoderName
) -> Iterator[tuple[list[int], UInt8Array]]:
    """Positions in clips and their frames, up to _CLIP_BATCH together."""
    indices: list[int] = []
    batch: list[UInt8Array] = []
    for index, rgb_THWC in _decode_clips(data, clips, embedder, decoder):
        indices.append(index)
        batch.append(rgb_THWC)
        if len(batch) == _CLIP_BATCH:
            yield indices, np.stack(batch)
            indices, batch = [], []
    if batch:
        yield indices, np.stack(batch)


def _decode_clips(
    data: EpicData, clips: Sequence[Narration], embedder: Embedder, decoder: DecoderName
) -> Iterator[tuple[int, UInt8Array]]:
    """Opens every video once; all are looked for before the first is opened."""
    by_path: dict[Path, list[int]] = {}
    for index, clip in enumerate(clips):
        by_path.setdefault(data.video_path(clip), []).append(index)
    for path, indices in by_path.items():
        with open_decoder(path, backend=decoder) as video:
            for index in sorted(indices, key=lambda index: clips[index].start_s):
                yield index, _frames(video, clips[index], embedder)


def _frames(video: Decoder, clip: Narration, embedder: Embedder) -> UInt8Array:
    if clip.start_s >= video.info.duration_s:
        raise AnnotationError(
            f"narration {clip.narration_id} starts at {clip.start_s} s, but {video.info.path} lasts only "
            f"{video.info.duration_s:.2f} s; is this the video that was annotated?"
        )
    times_T = frame_times(ClipSpan(clip.start_s, clip.stop_s), embedder.sampling.num_frames)
    frames = [embedder.preprocess(frame.rgb_HWC) for frame in video.frames_at(times_T)]
    if len(frames) < len(times_T):
        reason = f"only {len(frames)} of the {len(times_T)} frames of narration {clip.narration_id}"
        raise CorruptVideoError(video.info.path, stage="decode", reason=reason)
    return np.stack(frames)
