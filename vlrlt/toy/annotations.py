"""Writes the annotation files of a toy kitchen in the format of EPIC-KITCHENS-100: retrieval and action recognition."""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from vlrlt.toy.script import FPS, HEIGHT_PX, WIDTH_PX, Words
from vlrlt.toy.world import NOUN_CLASS, NOUNS, VERB_CLASS, VERBS, verb_instances

RETRIEVAL_COLUMNS = (
    "narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp", "stop_timestamp",
    "start_frame", "stop_frame", "narration", "verb", "verb_class", "noun", "noun_class", "all_nouns",
    "all_noun_classes",
)  # fmt: skip
TRAIN_SENTENCE_COLUMNS = ("narration_id", "narration", "verb_class", "noun_classes", "verb", "nouns")
TEST_SENTENCE_COLUMNS = ("narration_id", "narration")
CLASS_COLUMNS = ("id", "key", "instances", "category")
VIDEO_INFO_COLUMNS = ("video_id", "duration", "fps", "resolution")


@dataclass(frozen=True, slots=True)
class NarratedAction:
    """One annotated action of one video; times in seconds, `narrated_s` is when the narrator spoke."""

    verb: str
    nouns: tuple[str, ...]
    words: Words
    start_s: float
    stop_s: float
    narrated_s: float


@dataclass(frozen=True, slots=True)
class AnnotatedVideo:
    """One video with its actions in order of time."""

    participant_id: str
    video_id: str
    duration_s: float
    actions: tuple[NarratedAction, ...]


def write_annotations(folder: Path, *, train: Sequence[AnnotatedVideo], test: Sequence[AnnotatedVideo]) -> None:
    """Write the retrieval, sentence, recognition, class and video files into `folder`, which must exist."""
    train_rows, test_rows = _rows(train), _rows(test)
    _write(folder / "EPIC_100_train.csv", RETRIEVAL_COLUMNS, train_rows)
    _write(folder / "EPIC_100_validation.csv", RETRIEVAL_COLUMNS, test_rows)
    for kind in ("verb", "noun"):
        _write(folder / f"EPIC_100_tail_{kind}s.csv", (kind,), [{kind: number} for number in _tail(train_rows, kind)])
    unseen = sorted({video.participant_id for video in test} - {video.participant_id for video in train})
    _write(
        folder / "EPIC_100_unseen_participant_ids_validation.csv",
        ("participant_id",),
        [{"participant_id": participant_id} for participant_id in unseen],
    )
    _write(folder / "EPIC_100_retrieval_train.csv", RETRIEVAL_COLUMNS, train_rows)
    _write(folder / "EPIC_100_retrieval_test.csv", RETRIEVAL_COLUMNS, test_rows)
    _write(folder / "EPIC_100_retrieval_train_sentence.csv", TRAIN_SENTENCE_COLUMNS, _sentences(train_rows))
    _write(folder / "EPIC_100_retrieval_test_sentence.csv", TEST_SENTENCE_COLUMNS, _sentences(test_rows))
    verbs = ((VERB_CLASS[verb.key], verb.key, list(verb_instances(verb)), verb.category) for verb in VERBS)
    nouns = ((NOUN_CLASS[noun.key], noun.key, list(noun.instances), noun.category) for noun in NOUNS)
    _write(folder / "EPIC_100_verb_classes.csv", CLASS_COLUMNS, _named(CLASS_COLUMNS, verbs))
    _write(folder / "EPIC_100_noun_classes.csv", CLASS_COLUMNS, _named(CLASS_COLUMNS, nouns))
    infos = (
        (video.video_id, video.duration_s, float(FPS), f"{WIDTH_PX}x{HEIGHT_PX}")
        for video in sorted((*train, *test), key=lambda video: video.video_id)
    )
    _write(folder / "EPIC_100_video_info.csv", VIDEO_INFO_COLUMNS, _named(VIDEO_INFO_COLUMNS, infos))


def timestamp(time_s: float, *, digits: int) -> str:
    """Seconds as `HH:MM:SS.ss`, with `digits` decimals.

    Example: `timestamp(3723.5, digits=2)` is `01:02:03.50`.
    """
    units = round(time_s * 10**digits)
    whole, fraction = divmod(units, 10**digits)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{fraction:0{digits}d}"


def _rows(videos: Sequence[AnnotatedVideo]) -> list[dict[str, object]]:
    rows = [_row(video, index, action) for video in videos for index, action in enumerate(video.actions)]
    # The real files are in the order of the id's text: P01_01_10 before P01_01_2.
    return sorted(rows, key=lambda row: str(row["narration_id"]))


def _row(video: AnnotatedVideo, index: int, action: NarratedAction) -> dict[str, object]:
    said = action.words.nouns
    classes = [NOUN_CLASS[key] for key, _ in zip(action.nouns, said, strict=False)]
    values = (
        f"{video.video_id}_{index}", video.participant_id, video.video_id,
        timestamp(action.narrated_s, digits=3), timestamp(action.start_s, digits=2), timestamp(action.stop_s, digits=2),
        _frame(action.start_s), _frame(action.stop_s), action.words.narration,
        action.words.verb, VERB_CLASS[action.verb], said[0], classes[0], list(said), classes,
    )  # fmt: skip
    return dict(zip(RETRIEVAL_COLUMNS, values, strict=True))


def _tail(rows: Iterable[dict[str, object]], kind: str) -> list[int]:
    """The rarest classes that together make up at most a fifth of the training actions, as EPIC-KITCHENS-100 has it."""
    counts = Counter(int(str(row[f"{kind}_class"])) for row in rows)
    rarest = sorted(counts, key=lambda number: (counts[number], number))
    shares = accumulate(counts[number] for number in rarest)
    return sorted(number for number, share in zip(rarest, shares, strict=True) if share <= counts.total() / 5)


def _frame(time_s: float) -> int:
    """EPIC counts frames from 1 and rounds down; the small term undoes binary rounding of n / 100."""
    return max(1, math.floor(time_s * FPS + 1e-6))


def _sentences(rows: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """Each sentence once, under the id of its first occurrence."""
    first: dict[object, dict[str, object]] = {}
    for row in rows:
        columns = {"noun_classes": row["all_noun_classes"], "nouns": row["all_nouns"]}
        first.setdefault(row["narration"], {**row, **columns})
    return list(first.values())


def _named(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[dict[str, object]]:
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _write(path: Path, columns: Sequence[str], rows: Iterable[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
