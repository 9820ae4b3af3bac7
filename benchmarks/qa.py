"""Questions over a toy kitchen whose answers are known: accuracy of each kind, and whether "found" can be believed.

    python benchmarks/qa.py --data DIR --library DIR [--seed N] [--per-kind N] [--json]
    python benchmarks/qa.py --videos DIR --weights DIR --library DIR [--json]

--data is a folder of `vlrlt toy make`, --library one in which its videos were indexed. Questions come from the ground
truth of single videos; of every kind half are twins that cannot be answered: the same question about an action that the
video does not show. Kinds and what counts as right:

    exists     "yes" where it is shown, anything else where it is not
    when       a citation with intersection over union >= 0.5 with one such action; not found for twins
    count      within one of the truth
    before, after   verb and noun of the action annotated next to it; not found for twins
    choice     the one of five actions that the video shows (twins: none of them is shown, and that is said)
    first, last     a citation, the first one, with IoU >= 0.5 with the first or last such action; not found for twins
    duration   within half of the annotated seconds; not found for twins
    where      a video that shows it, among all videos; not found for twins, a verb with nouns of another action
    between    the one action annotated between two others is among those named; not found for twins
    what       an action with that verb that the video shows; not found for twins

With --videos: the hand-written questions of qa_real.py over the videos that its manifest.tsv lists, by the bridge model
(bridge.py, which says what --weights is); the videos are indexed into --library first.

Prints {"kind": {"n", "accuracy"}, "found": {...}} with --json; beside the accuracies: iou, the mean IoU of the first
citation with the action asked for (0 where nothing is cited), and found: how often it is said of the answerable and of
the others, and the expected calibration error of the best moment's confidence, in ten bins.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qa_real import read_questions

from vlrlt.ask.answer import Answer
from vlrlt.ask.question import parse_question
from vlrlt.ask.retrieval import RetrievalAnswerer
from vlrlt.datasets.epic import EpicData, Narration
from vlrlt.index.library.catalog import Catalog
from vlrlt.index.run.build import index_paths
from vlrlt.service import Library
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.toy.world import spoken
from vlrlt.types import Moment

NUM_OPTIONS = 5
MIN_IOU = 0.5
Action = tuple[int, tuple[int, ...]]
"""Verb class and noun classes."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A question and how to tell whether an answer is right."""

    kind: str
    text: str
    options: tuple[str, ...] = ()
    answerable: bool
    is_right: Callable[[Answer], bool]
    shown: tuple[Narration, ...] = ()
    """Where the action asked for is shown: what the first citation should overlap."""


class Kitchen:
    """The ground truth: which video shows what."""

    def __init__(self, data: EpicData, videos: set[str]) -> None:
        narrations = [n for split in ("train", "test") for n in data.narrations(split)]
        self._verbs, self._nouns = data.verb_classes(), data.noun_classes()
        self.shown: dict[str, list[Narration]] = defaultdict(list)
        for narration in sorted(narrations, key=lambda n: n.start_s):
            if narration.video_id in videos:
                self.shown[narration.video_id].append(narration)
        self.actions = sorted({action_of(narration) for narration in narrations})
        self.vocabulary = {self.phrase(action): action for action in self.actions}

    def phrase(self, action: Action) -> str:
        """The action in the words of its classes."""
        names = [spoken(self._nouns[noun]) for noun in action[1]]
        return f"{self.verb(action)} {' into '.join(names)}"

    def verb(self, action: Action) -> str:
        """Its verb."""
        return self._verbs[action[0]].replace("-", " ")

    def instances(self, video: str, action: Action) -> list[Narration]:
        """Where a video shows an action; "pour milk" is shown where milk is poured into a cup."""
        verb, nouns = action
        return [n for n in self.shown[video] if n.verb_class == verb and set(nouns) <= set(n.all_noun_classes)]


def action_of(narration: Narration) -> Action:
    """Its classes."""
    return narration.verb_class, narration.all_noun_classes


def draw(kitchen: Kitchen, *, per_kind: int, seed: int) -> Iterator[Case]:
    """Questions of every kind, the answerable ones and their twins in turn."""
    rng = np.random.default_rng(seed)
    makers = (_exists, _when, _count, _before, _after, _choice, _first, _last, _duration, _where, _between, _what)
    videos = sorted(kitchen.shown)
    for make in makers:
        for number in range(per_kind):
            video = videos[rng.integers(len(videos))]
            present = action_of(kitchen.shown[video][rng.integers(len(kitchen.shown[video]))])
            absent = [action for action in kitchen.actions if not kitchen.instances(video, action)]
            rng.shuffle(absent)
            twin = number % 2 == 1
            case = make(kitchen, video, absent[0] if twin else present, absent)
            if case is not None:
                yield case


def _exists(kitchen: Kitchen, video: str, action: Action, _absent: Sequence[Action]) -> Case:
    shown = bool(kitchen.instances(video, action))
    return Case(
        kind="exists",
        text=f"Does someone {kitchen.phrase(action)} in video {video}?",
        answerable=shown,
        is_right=lambda answer: (answer.value == "yes") == shown,
    )


def _when(kitchen: Kitchen, video: str, action: Action, _absent: Sequence[Action]) -> Case:
    truth = kitchen.instances(video, action)
    return Case(
        kind="when",
        text=f"When does someone {kitchen.phrase(action)} in video {video}?",
        answerable=bool(truth),
        is_right=lambda answer: first_iou(answer, truth) >= MIN_IOU if truth else not answer.found,
        shown=tuple(truth),
    )


def _count(kitchen: Kitchen, video: str, action: Action, _absent: Sequence[Action]) -> Case:
    truth = len(kitchen.instances(video, action))
    return Case(
        kind="count",
        text=f"How many times does someone {kitchen.phrase(action)} in video {video}?",
        answerable=truth > 0,
        is_right=lambda answer: abs(float(answer.value or 0) - truth) <= 1,
    )


def _before(kitchen: Kitchen, video: str, action: Action, _absent: Sequence[Action]) -> Case | None:
    return _beside(kitchen, video, action, step=-1)


def _after(kitchen: Kitchen, video: str, action: Action, _absent: Sequence[Action]) -> Case | None:
    return _beside(kitchen, video, action, step=1)


def _beside(kitchen: Kitchen, video: str, action: Action, *, step: int) -> Case | None:
    """None: the action comes more than once, or nothing lies on that side of it."""
    shown, truth = kitchen.shown[video], kitchen.instances(video, action)
    side = "before" if step < 0 else "after"
    text = f"What happens {side} someone {kitchen.phrase(action)} in video {video}?"
    if not truth:
        return Case(kind=side, text=text, answerable=False, is_right=lambda answer: not answer.found)
    at = shown.index(truth[0]) + step
    if len(truth) > 1 or not 0 <= at < len(shown):
        return None
    expected = action_of(shown[at])

    def is_right(answer: Answer) -> bool:
        verb, nouns = kitchen.vocabulary.get(str(answer.value), (-1, ()))
        return answer.found and verb == expected[0] and set(nouns) <= set(expected[1])

    return Case(kind=side, text=text, answerable=True, is_right=is_right)


def _choice(kitchen: Kitchen, video: str, action: Action, absent: Sequence[Action]) -> Case:
    shown = bool(kitchen.instances(video, action))
    others = [other for other in absent if other != action][: NUM_OPTIONS - 1]
    options = tuple(sorted(map(kitchen.phrase, (action, *others))))
    return Case(
        kind="choice",
        text=f"Which of these is shown in video {video}?",
        options=options,
        answerable=shown,
        is_right=lambda answer: answer.value == kitchen.phrase(action) if shown else not answer.found,
    )


def _first(kitchen: Kitchen, video: str, action: Action, _absent: Sequence[Action]) -> Case:
    return _extreme(kitchen, video, action, word="first", place=0)


def _last(kitchen: Kitchen, video: str, action: Action, _absent: Sequence[Action]) -> Case:
    return _extreme(kitchen, video, action, word="last", place=-1)


def _extreme(kitchen: Kitchen, video: str, action: Action, *, word: str, place: int) -> Case:
    shown = kitchen.instances(video, action)
    truth = shown and [shown[place]]
    return Case(
        kind=word,
        text=f"When was the {word} time that someone {kitchen.phrase(action)} in video {video}?",
        answerable=bool(truth),
        is_right=lambda answer: first_iou(answer, truth) >= MIN_IOU if truth else not answer.found,
        shown=tuple(truth),
    )


def _duration(kitchen: Kitchen, video: str, action: Action, _absent: Sequence[Action]) -> Case:
    truth_s = sum(n.stop_s - n.start_s for n in kitchen.instances(video, action))
    return Case(
        kind="duration",
        text=f"How long does someone {kitchen.phrase(action)} in video {video}?",
        answerable=truth_s > 0,
        is_right=lambda answer: (
            answer.found and abs(float(answer.value) - truth_s) <= truth_s / 2 if truth_s else not answer.found
        ),
    )


def _where(kitchen: Kitchen, _video: str, action: Action, absent: Sequence[Action]) -> Case:
    if action in absent:  # large libraries show every action: a verb with another action's nouns
        action = next((action[0], nouns) for _, nouns in absent if (action[0], nouns) not in kitchen.actions)
    showing = {video for video in kitchen.shown if kitchen.instances(video, action)}
    return Case(
        kind="where",
        text=f"In which video does someone {kitchen.phrase(action)}?",
        answerable=bool(showing),
        is_right=lambda answer: Path(str(answer.value)).stem in showing if showing else not answer.found,
    )


def _between(kitchen: Kitchen, video: str, action: Action, _absent: Sequence[Action]) -> Case | None:
    """None: the action or the one after the next comes more than once, or there is none."""
    shown = kitchen.shown[video]
    truth = kitchen.instances(video, action)
    if not truth:
        first, second = kitchen.phrase(action_of(shown[0])), kitchen.phrase(action)
        text = f"What happens between someone {first} and someone {second} in video {video}?"
        return Case(kind="between", text=text, answerable=False, is_right=lambda answer: not answer.found)
    at = shown.index(truth[0])
    if len(truth) > 1 or at + 2 >= len(shown) or len(kitchen.instances(video, action_of(shown[at + 2]))) > 1:
        return None
    expected, second = action_of(shown[at + 1]), kitchen.phrase(action_of(shown[at + 2]))

    def is_right(answer: Answer) -> bool:
        named = [kitchen.vocabulary.get(name, (-1, ())) for name in str(answer.value).split(", then ")]
        return answer.found and any(verb == expected[0] and set(nouns) <= set(expected[1]) for verb, nouns in named)

    text = f"What happens between someone {kitchen.phrase(action)} and someone {second} in video {video}?"
    return Case(kind="between", text=text, answerable=True, is_right=is_right)


def _what(kitchen: Kitchen, video: str, action: Action, absent: Sequence[Action]) -> Case | None:
    """None: a twin, but the video shows every verb."""
    verbs = {narration.verb_class for narration in kitchen.shown[video]}
    if action in absent:
        others = [other for other in absent if other[0] not in verbs]
        if not others:
            return None
        action = others[0]
    shown = {kitchen.phrase(action_of(n)) for n in kitchen.shown[video] if n.verb_class == action[0]}
    return Case(
        kind="what",
        text=f"What does someone {kitchen.verb(action)} in video {video}?",
        answerable=bool(shown),
        is_right=lambda answer: answer.value in shown if shown else not answer.found,
    )


def first_iou(answer: Answer, truth: Sequence[Narration]) -> float:
    """Of the first citation with the narration that it overlaps most; 0: nothing is cited."""
    return max((iou(answer.citations[0], narration) for narration in truth), default=0.0) if answer.citations else 0.0


def iou(moment: Moment, narration: Narration) -> float:
    """Intersection over union in time."""
    shared_s = min(moment.end_s, narration.stop_s) - max(moment.start_s, narration.start_s)
    union_s = max(moment.end_s, narration.stop_s) - min(moment.start_s, narration.start_s)
    return max(0.0, shared_s) / union_s


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What became of a question."""

    kind: str
    answerable: bool
    right: bool
    found: bool
    sure: float
    """Confidence of the best moment, cited or not."""
    iou: float | None = None
    """Of the first citation with what was asked for; None: nothing was asked for at a time."""


def ask(answerer: RetrievalAnswerer, cases: Iterable[Case]) -> Iterator[Asked]:
    """Answer questions of the toy kitchen."""
    for case in cases:
        answer = answerer.answer(parse_question(case.text, options=case.options))
        overlap = first_iou(answer, case.shown) if case.shown else None
        yield _asked(case.kind, answer, answerable=case.answerable, right=case.is_right(answer), overlap=overlap)


def ask_real(answerer: RetrievalAnswerer) -> Iterator[Asked]:
    """Answer the hand-written questions."""
    for question in read_questions():
        answer = question.ask(answerer)
        yield _asked(question.kind, answer, answerable=question.answerable, right=question.is_right(answer))


def _asked(kind: str, answer: Answer, *, answerable: bool, right: bool, overlap: float | None = None) -> Asked:
    sure = max((moment.confidence or 0.0 for moment in (*answer.citations, *answer.closest)), default=0.0)
    return Asked(kind=kind, answerable=answerable, right=right, found=answer.found, sure=sure, iou=overlap)


def tabulate(questions: Iterable[Asked]) -> dict[str, dict[str, float]]:
    """Accuracy of each kind, answerable and not; overlap of citations; whether `found` can be believed."""
    asked = list(questions)
    right: dict[str, list[bool]] = defaultdict(list)
    for one in asked:
        right[one.kind].append(one.right)
        right[f"{one.kind}, {'answerable' if one.answerable else 'twin'}"].append(one.right)
    table = {kind: {"n": len(values), "accuracy": float(np.mean(values))} for kind, values in right.items()}
    overlaps = [one.iou for one in asked if one.iou is not None]
    if overlaps:
        table["iou"] = {"n": len(overlaps), "mean": float(np.mean(overlaps))}
    table["found"] = {
        "n": len(asked),
        "of_answerable": float(np.mean([one.found for one in asked if one.answerable])),
        "of_unanswerable": float(np.mean([one.found for one in asked if not one.answerable])),
        "calibration_error": calibration_error([one.sure for one in asked], [one.answerable for one in asked]),
    }
    return table


def calibration_error(sure: Sequence[float], true: Sequence[bool], *, bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and frequency in equal bins (Naeini et al. 2015)."""
    sure_N, true_N = np.array(sure), np.array(true, float)
    bin_N = np.minimum((sure_N * bins).astype(int), bins - 1)
    gaps = [abs((sure_N - true_N)[bin_N == number].sum()) for number in range(bins)]
    return float(sum(gaps) / len(sure_N))


def bridge_service(videos: Path, weights: Path, library: Path) -> Library:
    """The library of the real videos, brought up to date."""
    from bridge import BridgeEmbedder
    from real_videos import read_manifest

    embedder = BridgeEmbedder(weights, policy=TokenPolicy())
    index_paths([source.path for source in read_manifest(videos)], library_dir=library, embedder=embedder)
    return Library(library, model=embedder)


def toy_questions(data: Path, library: Path, *, per_kind: int, seed: int) -> tuple[Kitchen, list[Case]]:
    """Questions on the videos of a library."""
    with Catalog.open_reader(library) as catalog:
        videos = {Path(path).stem for path in catalog.snapshot().frame_runs.videos}
    kitchen = Kitchen(EpicData(data), videos)
    return kitchen, list(draw(kitchen, per_kind=per_kind, seed=seed))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path)
    source.add_argument("--videos", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-kind", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.videos:
        with bridge_service(options.videos, options.weights, options.library) as service:
            table = tabulate(ask_real(RetrievalAnswerer(service)))
    else:
        kitchen, cases = toy_questions(options.data, options.library, per_kind=options.per_kind, seed=options.seed)
        with Library(options.library) as service:
            table = tabulate(ask(RetrievalAnswerer(service, vocabulary=tuple(kitchen.vocabulary)), cases))
    if options.json:
        print(json.dumps(table))
        return
    for kind, figures in table.items():
        print(f"{kind:24}" + "  ".join(f"{name} {value:.3g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
