"""Answers without a language model, limited to what retrieval can tell.

Shape legend: C clips of a stretch of video, S clips that stand for the video, L labels of a vocabulary, D embedding.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np

from vlrlt.ask.answer import Answer, PossibleAnswer, where_and_when
from vlrlt.ask.grammar import Kind
from vlrlt.ask.question import Question
from vlrlt.errors import ConfigError
from vlrlt.index.library.words import content_words
from vlrlt.index.search.confidence import CONFIDENT
from vlrlt.index.search.filters import Filter, local_zone, undated_text
from vlrlt.index.search.language import TextQuery
from vlrlt.index.search.request import SOURCES, SearchRequest, Source
from vlrlt.index.search.searcher import Searcher, is_match
from vlrlt.types import Float32Array, Moment

NUM_CITATIONS = 5
MAX_MOMENTS = 1000
"""Moments that are counted or summed at most."""
NEIGHBOURHOOD_S = 30.0
"""How far before and after a moment is looked for what happened there."""
OWN_SHARE = 0.25
"""The vector of a clip tells what happened beside a moment if at most this share of the clip lies in the moment."""
NO_CONFIDENCE = 0.2
"""The best moment below this says "no" rather than "not found"."""
MAX_LABELS = 5000
MAX_PLACES = 20
"""Moments in which it is looked for what is written there."""

_NOT_FOUND = "not found in the videos that were searched"
_NOTHING_READ = (
    "no line that was read says so; vlrlt index reads speech with --speech and text in the picture with --screen-text"
)


class Archive(Protocol):
    """Where answers are looked for."""

    def searcher(self) -> Searcher:
        """One state of it."""
        ...

    def vocabulary(self, *, limit: int) -> tuple[str, ...]:
        """What actions may be called."""
        ...

    def lines_in(self, moment: Moment, *, sources: Sequence[Source] = SOURCES) -> tuple[Moment, ...]:
        """What is said or written in a moment, line by line."""
        ...

    def thumbnail(self, moment: Moment) -> bytes:
        """A JPEG of the middle of a moment."""
        ...


@dataclass(frozen=True)
class _Labelled:
    """A stretch of video whose clips all look most like one label."""

    label: str
    confidence: float
    moment: Moment


class RetrievalAnswerer:
    """Answers questions over one library.

    Args:
        archive: the library.
        vocabulary: what actions may be called in answers; empty: the library's narrations, else the model's captions.
    """

    def __init__(self, archive: Archive, *, vocabulary: Sequence[str] = ()) -> None:
        self._archive = archive
        self._vocabulary = tuple(vocabulary)

    def answer(self, question: Question, *, within: Filter = Filter()) -> Answer:  # noqa: B008  it is immutable
        """Answer a question.

        Args:
            question: taken apart.
            within: which part of the library to look at.

        Raises:
            ConfigError: the filter is malformed, or the answer needs a vocabulary and there is none.
            VlrltError: as Library.search.
        """
        if question.video is not None:
            within = replace(within, paths=(*within.paths, question.video, f"{question.video}.*"))
        if question.recorded is not None:
            within = within.recorded_between(str(question.recorded.first), str(question.recorded.after))
        return _Answering(self._archive, question, within, self._vocabulary).run()


class _Answering:
    """One question on its way to an answer, from one state of the library."""

    def __init__(self, archive: Archive, question: Question, within: Filter, vocabulary: tuple[str, ...]) -> None:
        self._archive = archive
        self._searcher = archive.searcher()
        self._question = question
        self._within = within
        self._vocabulary = vocabulary

    def run(self) -> Answer:
        answers: dict[Kind, Callable[[], Answer]] = {
            "when": self._when,
            "where": self._where,
            "exists": self._exists,
            "count": self._count,
            "duration": self._duration,
            "before": lambda: self._beside(before=True),
            "after": lambda: self._beside(before=False),
            "between": self._between,
            "first": lambda: self._extreme(last=False),
            "last": lambda: self._extreme(last=True),
            "choice": self._choice,
            "what": self._what,
            "said": self._quote,
            "written": self._written,
            "open": self._open,
        }
        return answers[self._question.kind]()

    def _when(self) -> Answer:
        matches, nearest = self._moments()
        if not matches:
            return self._nothing(nearest)
        times = ", ".join(map(where_and_when, matches[:NUM_CITATIONS]))
        more = f" and {len(matches) - NUM_CITATIONS} more" if len(matches) > NUM_CITATIONS else ""
        return self._answer(times + more, found=True, value=matches[0].start_s, citations=matches)

    def _where(self) -> Answer:
        matches, nearest = self._moments()
        if not matches:
            return self._nothing(nearest)
        videos = list(dict.fromkeys(Path(match.video).name for match in matches))
        many = f"{len(videos)} videos, " if len(videos) > 1 else ""
        text = f"in {many}{', '.join(videos[:NUM_CITATIONS])}: {where_and_when(matches[0])}"
        return self._answer(text, found=True, value=videos[0], citations=matches)

    def _exists(self) -> Answer:
        matches, nearest = self._moments()
        if matches:
            return self._answer(f"yes: {where_and_when(matches[0])}", found=True, value="yes", citations=matches)
        best = max((moment.confidence or 0.0 for moment in nearest), default=0.0)
        if best < NO_CONFIDENCE:
            return self._nothing(nearest, text="no: nothing like it was found", value="no")
        return self._nothing(nearest)

    def _count(self) -> Answer:
        matches, nearest = self._moments()
        if not matches:
            return self._nothing(nearest, value=0)
        times = "once" if len(matches) == 1 else f"{len(matches)} times"
        return self._answer(times, found=True, value=len(matches), citations=matches)

    def _duration(self) -> Answer:
        matches, nearest = self._moments()
        if not matches:
            return self._nothing(nearest, value=0.0)
        total_s = sum(match.end_s - match.start_s for match in matches)
        text = f"{total_s:.1f} s in {len(matches)} moments" if len(matches) > 1 else f"{total_s:.1f} s"
        return self._answer(text, found=True, value=round(total_s, 1), citations=matches)

    def _extreme(self, *, last: bool) -> Answer:
        matches, nearest = self._moments()
        if not matches:
            return self._nothing(nearest)
        recorded_s = {match.video: self._searcher.recorded_s(match.video_id) for match in matches}
        if any(map(math.isnan, recorded_s.values())):
            recorded_s = dict.fromkeys(recorded_s, 0.0)
        ordered = sorted(matches, key=lambda match: (recorded_s[match.video], match.video, match.start_s), reverse=last)
        text = where_and_when(ordered[0])
        if len(recorded_s) > 1 and not any(recorded_s.values()):
            text += "; videos by name: when they were recorded is not known"
        return self._answer(text, found=True, value=ordered[0].start_s, citations=ordered)

    def _beside(self, *, before: bool) -> Answer:
        matches, nearest = self._moments()
        if not matches:
            return self._nothing(nearest)
        anchor = matches[0]
        clip_s = self._searcher.clip_s
        apart_s = (0.5 - OWN_SHARE) * clip_s
        if before:
            stretch = (anchor.start_s - NEIGHBOURHOOD_S, anchor.start_s - apart_s)
        else:
            stretch = (anchor.end_s + apart_s, anchor.end_s + NEIGHBOURHOOD_S)
        labelled = self._label(anchor, *stretch)
        if not labelled:
            side = "before" if before else "after"
            return self._answer(f"no known action happened {side} it", found=False, closest=(anchor,))
        chosen = _nearest(labelled[::-1] if before else labelled, within_s=clip_s)
        text = f"{chosen.label}: {where_and_when(chosen.moment)}"
        return self._answer(text, found=True, value=chosen.label, citations=(chosen.moment, anchor))

    def _between(self) -> Answer:
        matches, nearest = self._moments()
        later, _ = self._moments(self._question.other)
        pairs = [
            (first, second)
            for first in matches
            for second in later
            if first.video == second.video and first.end_s <= second.start_s
        ]
        if not pairs:
            return self._nothing((*matches[:2], *later[:2]) or nearest)
        first, second = min(pairs, key=lambda pair: pair[1].start_s - pair[0].end_s)
        labelled = self._label(first, first.end_s, second.start_s)
        if not labelled:
            return self._answer("no known action", found=False, closest=(first, second))
        names = ", then ".join(name for name, _ in groupby(labelled, key=lambda part: part.label))
        citations = (first, *(part.moment for part in labelled), second)
        return self._answer(names, found=True, value=names, citations=citations)

    def _choice(self) -> Answer:
        ranked = []
        for option in self._question.options:
            matches, nearest = self._moments(option)
            best = (matches or nearest)[:1]
            ranked.append((best[0].confidence or 0.0 if best else 0.0, option, best))
        ranked.sort(key=lambda entry: -entry[0])
        candidates = tuple(PossibleAnswer(text=option, confidence=sure) for sure, option, _ in ranked)
        # One of so many options or none: each is that much less likely to begin with than when it is asked for alone.
        needed = len(ranked) / (len(ranked) + 1)
        shown = [(option, best[0]) for sure, option, best in ranked if best and _is_shown(best[0], sure, needed)]
        if not shown:
            _, option, nearest = ranked[0]
            nothing = self._nothing(nearest, text=f"none was found; the nearest is {option}", value=option)
            return replace(nothing, candidates=candidates)
        names, citations = zip(*shown, strict=True)
        return self._answer(
            "; also ".join(names), found=True, value=names[0], citations=citations, candidates=candidates
        )

    def _what(self) -> Answer:
        """Rank what the vocabulary has about the words that were asked for."""
        wanted = set(content_words(self._searcher.known_forms(self._question.event)))
        phrases = [phrase for phrase in self._labels() if wanted.intersection(content_words(phrase))]
        if not phrases:
            return self._open()
        ranked = []
        for phrase in phrases[:MAX_LABELS]:
            matches, _ = self._moments(phrase, k=1)
            if matches:
                ranked.append((matches[0].confidence or 1.0, phrase, matches[0]))
        if not ranked:
            return self._nothing(self._moments()[1])
        ranked.sort(key=lambda entry: -entry[0])
        candidates = tuple(PossibleAnswer(text=phrase, confidence=sure) for sure, phrase, _ in ranked)
        names = ", ".join(phrase for _, phrase, _ in ranked[:NUM_CITATIONS])
        citations = tuple(moment for _, _, moment in ranked)
        return self._answer(names, found=True, value=ranked[0][1], citations=citations, candidates=candidates)

    def _quote(self) -> Answer:
        """The lines that say it."""
        matches, nearest = self._moments()
        if not matches:
            return self._nothing(nearest)
        return self._quotes(matches)

    def _written(self) -> Answer:
        """What is written where the thing is likely shown, else what is written with these words."""
        shown = SearchRequest(text=(self._question.event,), filter=self._within, sources=("picture",), per_video=None)
        places = [moment for moment in self._searcher.rank(shown)[:MAX_PLACES] if is_match(moment)]
        lines = [line for place in places for line in self._archive.lines_in(place, sources=("screen",))]
        if lines:
            return self._quotes(tuple(lines))
        return self._quote()

    def _quotes(self, moments: tuple[Moment, ...]) -> Answer:
        quotes = list(dict.fromkeys(moment.text for moment in moments if moment.text))
        text = "; ".join(f"“{quote}”" for quote in quotes[:NUM_CITATIONS])
        return self._answer(text, found=True, value=quotes[0], citations=moments)

    def _open(self) -> Answer:
        matches, nearest = self._moments()
        text = "retrieval alone cannot answer this question; these moments may help"
        return self._answer(text, found=False, closest=matches or nearest)

    def _moments(
        self, event: str | None = None, *, k: int = MAX_MOMENTS
    ) -> tuple[tuple[Moment, ...], tuple[Moment, ...]]:
        """The matches of an event, and if there are none the nearest moments."""
        words = self._searcher.known_forms(self._question.event if event is None else event)
        sources = self._question.sources
        request = SearchRequest(text=(words,), filter=self._within, sources=sources, per_video=None, duplicates=True)
        matches = tuple(filter(is_match, self._searcher.rank(request)[:k]))
        if matches:
            return matches, ()
        return (), self._searcher.rank(replace(request, tail=True))[:NUM_CITATIONS]

    def _labels(self) -> tuple[str, ...]:
        labels = self._vocabulary or self._archive.vocabulary(limit=MAX_LABELS)
        if not labels:
            raise ConfigError(
                "a question about what happens needs a vocabulary of actions; import narrations, or give a list of "
                "actions"
            )
        return labels

    def _label(self, anchor: Moment, start_s: float, end_s: float) -> list[_Labelled]:
        """What a stretch of the anchor's video shows, in order, without what the anchor itself shows."""
        searcher, labels = self._searcher, self._labels()
        labels_LD = searcher.embed_texts(labels)
        anchor_label = self._nearest_label(
            labels_LD, searcher.vectors(np.array([searcher.position(anchor.clip_id)]))[0]
        )
        stretch = searcher.runs_between(anchor.video, start_s, end_s)
        if not len(stretch):
            return []
        vectors_CD, video_SD = searcher.vectors(stretch), searcher.sample_of(anchor.video)
        best_C = [self._nearest_label(labels_LD, vector_D) for vector_D in vectors_CD]
        parts = []
        for label, group in groupby(range(len(stretch)), key=lambda at: best_C[at]):
            members = list(group)
            peak = max(members, key=lambda at: float(vectors_CD[at] @ labels_LD[label]))
            sure = searcher.confidence(labels_LD[label], vectors_CD[peak], searched_SD=video_SD)
            if label != anchor_label and sure >= CONFIDENT:
                score = float(vectors_CD[peak] @ labels_LD[label])
                moment = replace(searcher.clip_at(int(stretch[peak])), confidence=sure, score=score)
                parts.append(_Labelled(labels[label], sure, moment))
        return parts

    @staticmethod
    def _nearest_label(labels_LD: Float32Array, vector_D: Float32Array) -> int:
        return int(np.argmax(labels_LD @ vector_D))

    def _nothing(
        self,
        nearest: Sequence[Moment],
        *,
        text: str = _NOT_FOUND,
        value: str | float | None = None,
    ) -> Answer:
        """Not found, or unknown: what the model has no word for, or was not searched, may still be there."""
        asked = (self._question.event, self._question.other, *self._question.options)
        unknown = dict.fromkeys(word for words in asked for word in self._searcher.unknown_words(TextQuery(words)))
        if "picture" not in self._question.sources:
            text = _NOTHING_READ if text == _NOT_FOUND else text
        elif unknown:
            words = ", ".join(map(repr, unknown))
            text, value = f"the model does not know {words}: it cannot tell whether that is shown", None
        if not self._searcher.coverage(self._within).vectors:
            text, value = "nothing was searched: no video passes the filter", None
        return self._answer(text, found=False, value=value, closest=nearest)

    def _answer(
        self,
        text: str,
        *,
        found: bool,
        value: str | float | None = None,
        citations: Sequence[Moment] = (),
        closest: Sequence[Moment] = (),
        candidates: tuple[PossibleAnswer, ...] = (),
    ) -> Answer:
        coverage = self._searcher.coverage(self._within)
        return Answer(
            question=self._question.text,
            kind=self._question.kind,
            text=text,
            found=found,
            value=value,
            citations=tuple(replace(moment, thumbnail=self._archive.thumbnail) for moment in citations),
            closest=tuple(replace(moment, thumbnail=self._archive.thumbnail) for moment in closest),
            candidates=candidates,
            note=self._note(),
            searched_vectors=coverage.vectors,
            searched_videos=coverage.videos,
            searched_video_s=coverage.video_s,
        )

    def _note(self) -> str | None:
        """Which days were looked at and what they leave out; None: none were named."""
        days, undated = self._question.recorded, self._searcher.undated(self._within)
        parts = [] if days is None else [f"recorded {days.wording} ({local_zone()})"]
        parts += [undated_text(undated)] if undated else []
        return "; ".join(parts) or None


def _is_shown(best: Moment, sure: float, needed: float) -> bool:
    """Whether the best moment of an option is evidence enough for it."""
    return is_match(best) and (best.confidence is None or sure >= needed)


def _nearest(labelled: Sequence[_Labelled], *, within_s: float) -> _Labelled:
    """The best of the first part and those that begin within a clip's length of it: clips overlap two actions."""
    first_s = labelled[0].moment.start_s
    near = [part for part in labelled if abs(part.moment.start_s - first_s) < within_s]
    return max(near, key=lambda part: part.moment.score)
