"""Learning a moment head from the narrations of a library: what `vlrlt calibrate` does.

Every distinct narration is searched for: in all videos that have narrations, in some, in one that shows it and in one
that does not. So is a text that nobody has written, made of two narrations. A run that is found is right if its moment
overlaps with a line of that text, or of one that says the same, in its video. A quarter of the videos is kept back: the
head must be better there, or the library goes on as it was. Then it learns from all.

Shape legend: N examples, F features, G points in time, D embedding, L texts.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vlrlt.errors import ConfigError, LibraryError
from vlrlt.evaluate.moments import overlaps
from vlrlt.index.library.catalog import LibrarySettings
from vlrlt.index.search.confidence import PARAPHRASE_COSINE
from vlrlt.index.search.judging import middle_s
from vlrlt.index.search.language import TextQuery
from vlrlt.index.search.moments import Found, grow_moments
from vlrlt.index.search.searcher import Searcher
from vlrlt.models.moment_head import NUM_POINTS, MomentHead
from vlrlt.service.heads import head_path
from vlrlt.types import BoolArray, ClipSpan, Float32Array, Float64Array, TimedText

MIN_VIDEOS, MIN_LINES = 8, 100
MOST_TEXTS = 600
MOST_NARRATED = 5000
"""Videos and distinct texts that are looked at."""
_FOUND = 6
"""Moments of a search that are looked at."""
_SOME = 4
"""Videos of a search in some of them."""
_SHIFTS = 2
"""Each is seen so often more, from points that lie up to _SHIFT spacings earlier or later."""
_SHIFT = 3.0
_HELD_OUT = 4
"""Every fourth video judges."""
_REACH = 1.25
"""Points reach so many times as far as nearly all moments are long."""

LinesOf = Callable[[str], Sequence[TimedText]]


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """What was learnt; the figures are of videos that did not teach."""

    narrations: int
    videos: int
    held_out_videos: int
    moments: int
    """That were found in held-out videos; those of them that overlap with a narration are right."""
    right: int
    iou_before: float
    """Mean IoU of right moments with their narrations."""
    iou: float
    brier_before: float
    """Mean squared distance of the confidence from what is right."""
    brier: float
    kept: bool

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt calibrate --json`."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}

    def as_text(self) -> str:
        """The same for people."""
        verdict = "searches use it from now on" if self.kept else "not better: searches stay as they were"
        return (
            f"{self.narrations} narrations of {self.videos} videos; judged on {self.held_out_videos} of them that it "
            f"did not learn from, {self.moments} moments, {self.right} of them right\n"
            f"overlap (IoU) of right moments: {self.iou_before:.2f} before, {self.iou:.2f} now\n"
            f"error of the confidence (Brier): {self.brier_before:.2f} before, {self.brier:.2f} now\n{verdict}"
        )


@dataclass(frozen=True, kw_only=True)
class _Example:
    features_FG: Float32Array
    video: int
    confidence: float
    """Before."""
    moment: ClipSpan
    middle_s: float
    is_shifted: bool
    truth: ClipSpan | None


def calibrate(
    library_dir: Path, searcher: Searcher, settings: LibrarySettings, *, lines_of: LinesOf, seed: int
) -> CalibrationReport:
    """As Library.calibrate.

    Args:
        library_dir: where the head is kept.
        searcher: the library as it is now, searched with its model.
        settings: of that model.
        lines_of: the narrations of a video, by its video_id.
        seed: of the choice of texts and of the learning.
    """
    from vlrlt.train.moment_head import fit_moment_head

    narrated = _narrated(searcher, lines_of)
    num_lines = sum(map(len, narrated.values()))
    if len(narrated) < MIN_VIDEOS or num_lines < MIN_LINES:
        raise ConfigError(
            f"{num_lines} narrations of {len(narrated)} videos are too few to learn from; {MIN_LINES} of {MIN_VIDEOS} "
            "videos are needed: add them with vlrlt import"
        )
    lengths_s = [line.end_s - line.start_s for lines in narrated.values() for line in lines]
    spacing_s = max(0.02, _REACH * float(np.percentile(lengths_s, 95)) / (NUM_POINTS // 2))
    examples = list(_examples(searcher, narrated, spacing_s=spacing_s, seed=seed))
    videos = sorted({example.video for example in examples})
    judges = set(videos[seed % _HELD_OUT :: _HELD_OUT])

    def fitted(taught: Sequence[_Example]) -> MomentHead:
        arrays = _arrays(taught)
        return fit_moment_head(*arrays, spacing_s=spacing_s, sampling=repr(settings.sampling), seed=seed)

    held_out = [one for one in examples if one.video in judges and not one.is_shifted]
    head = fitted([one for one in examples if one.video not in judges])
    facts = {"narrations": num_lines, "videos": len(narrated), "held_out_videos": len(judges)}
    report = _judged(head, held_out, facts)
    if report.kept:
        try:
            fitted(examples).save(head_path(library_dir, settings))
        except OSError as error:
            raise LibraryError(f"{library_dir} cannot be written: {error.strerror}") from error
    return report


def _narrated(searcher: Searcher, lines_of: LinesOf) -> dict[int, list[TimedText]]:
    """Position of a video -> its narrations, of those that have some."""
    found = {}
    for video, video_id in enumerate(searcher.frame_runs.video_ids[:MOST_NARRATED]):
        lines = [line for line in lines_of(video_id) if line.channel == "sidecar" and line.end_s > line.start_s]
        if lines:
            found[video] = lines
    return found


def _examples(
    searcher: Searcher, narrated: dict[int, list[TimedText]], *, spacing_s: float, seed: int
) -> Iterator[_Example]:
    random = np.random.default_rng(seed)
    spans: dict[str, dict[int, list[ClipSpan]]] = defaultdict(lambda: defaultdict(list))
    for video, lines in narrated.items():
        for line in lines:
            spans[searcher.known_forms(line.text)][video].append(ClipSpan(line.start_s, line.end_s))
    texts = sorted(spans)[:MOST_NARRATED]
    texts_LD = searcher.embed_texts(texts)
    for at in random.permutation(len(texts))[:MOST_TEXTS]:
        truths: dict[int, list[ClipSpan]] = defaultdict(list)
        for other in np.flatnonzero(texts_LD @ texts_LD[at] >= PARAPHRASE_COSINE):
            for video, shown in spans[texts[other]].items():
                truths[video] += shown
        invented = _joined(texts[at], texts[random.integers(len(texts))])
        is_new = not np.any(texts_LD @ searcher.vector(TextQuery(invented)) >= PARAPHRASE_COSINE)
        for text, shown_in in ((texts[at], truths), *([(invented, {})] if is_new else [])):
            if searcher.unknown_words(TextQuery(text)):
                continue
            for scope in _scopes(sorted(shown_in), sorted(narrated), random):
                yield from _found(searcher, TextQuery(text), shown_in, scope, spacing_s=spacing_s, random=random)


def _found(
    searcher: Searcher,
    query: TextQuery,
    truths: Mapping[int, Sequence[ClipSpan]],
    scope: Sequence[int],
    *,
    spacing_s: float,
    random: np.random.Generator,
) -> Iterator[_Example]:
    """What a search in some videos finds."""
    runs = searcher.frame_runs
    scores = searcher.score(query, np.isin(runs.video_N, scope))
    context = searcher.context(query, scores, spacing_s=spacing_s)
    confidence = searcher.confidence_of(query, scores)
    for found in islice(grow_moments(scores, runs, surrounded=searcher.looks_around(query)), _FOUND):
        video = int(runs.video_N[found.seed])
        for number in range(1 + _SHIFTS):
            shift_s = number and spacing_s * float(random.uniform(-_SHIFT, _SHIFT))
            yield _Example(
                features_FG=context.features(found.seed, shift_s=shift_s),
                video=video,
                confidence=confidence(found.seed) or 0.0,
                moment=ClipSpan(found.start_s, found.end_s),
                middle_s=middle_s(runs, found.seed) + shift_s,
                is_shifted=number > 0,
                truth=_nearest(found, truths.get(video, ())),
            )


def _nearest(found: Found, spans: Sequence[ClipSpan]) -> ClipSpan | None:
    """The one that shares most with a moment; None: none shares anything."""
    shared = [min(span.end_s, found.end_s) - max(span.start_s, found.start_s) for span in spans]
    return spans[int(np.argmax(shared))] if shared and max(shared) > 0 else None


def _joined(text: str, other: str) -> str:
    """The first word of a text and the rest of another one."""
    return " ".join([text.split()[0], *(other.split()[1:] or other.split())]) if text.split() else other


def _scopes(showing: Sequence[int], narrated: Sequence[int], random: np.random.Generator) -> Iterator[list[int]]:
    """Videos to search in: all, some, one that shows it, and one that does not; people ask about single videos too."""
    yield list(narrated)
    yield random.choice(narrated, size=min(_SOME, len(narrated)), replace=False).tolist()
    if showing:
        yield [int(random.choice(showing))]
    if absent := sorted(set(narrated) - set(showing)):
        yield [int(random.choice(absent))]


def _arrays(examples: Sequence[_Example]) -> tuple[Float32Array, Float32Array, BoolArray]:
    """What fit_moment_head takes."""
    ends_s = [
        (one.truth.start_s - one.middle_s, one.truth.end_s - one.middle_s) if one.truth else (0.0, 0.0)
        for one in examples
    ]
    return (
        np.stack([one.features_FG for one in examples]),
        np.array(ends_s, np.float32),
        np.array([one.truth is not None for one in examples]),
    )


def _judged(head: MomentHead, held_out: Sequence[_Example], facts: dict[str, int]) -> CalibrationReport:
    features_NFG, ends_s_N2, is_right_N = _arrays(held_out)
    judged = head.judge(features_NFG)
    now_s_N2 = np.stack([judged.start_s_B, judged.end_s_B], axis=1)
    before_s_N2 = np.array(
        [(one.moment.start_s - one.middle_s, one.moment.end_s - one.middle_s) for one in held_out], np.float64
    )
    iou_before, iou = (_mean_iou(spans[is_right_N], ends_s_N2[is_right_N]) for spans in (before_s_N2, now_s_N2))
    sure_N = np.array([one.confidence for one in held_out])
    brier_before, brier = (float(np.mean((sure - is_right_N) ** 2)) for sure in (sure_N, judged.probability_B))
    return CalibrationReport(
        **facts,
        moments=len(held_out),
        right=int(is_right_N.sum()),
        iou_before=iou_before,
        iou=iou,
        brier_before=brier_before,
        brier=brier,
        kept=iou >= iou_before and brier <= brier_before,
    )


def _mean_iou(found_N2: Float64Array, true_N2: Float32Array) -> float:
    pairs = zip(found_N2, true_N2, strict=True)
    return float(np.mean([overlaps([tuple(one)], [tuple(other)])[0, 0] for one, other in pairs] or [0.0]))
