"""EPIC-KITCHENS-100 multi-instance retrieval, real or toy: annotations, videos, the official relevancy matrix.

The annotation files may lie in DIR, DIR/annotations or, as in the official repository, DIR/retrieval_annotations:

EPIC_100_retrieval_{train,test}.csv             one narrated action a line
EPIC_100_retrieval_{train,test}_sentence.csv    the narrations that serve as text queries
EPIC_100_verb_classes.csv, EPIC_100_noun_classes.csv

Videos: DIR/videos/<video_id>.mp4, DIR/<participant_id>/videos/<video_id>.MP4 (as released), or, as in LaViLa and AVION,
VIDEOS_DIR/<participant_id>/<video_id>.MP4; each a file or a folder of chunks.

Shape legend: V clips, T sentences.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from vlrlt.atomic import replacing
from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos, Split, find_video
from vlrlt.datasets.relevancy import Action, relevancy
from vlrlt.datasets.tables import Row, read_rows, unique
from vlrlt.errors import AnnotationError
from vlrlt.types import Float64Array


@dataclass(frozen=True, kw_only=True)
class Narration:
    """One narrated action: [start_s, stop_s) of a video, what was said, and its classes."""

    narration_id: str
    participant_id: str
    video_id: str
    start_s: float
    stop_s: float
    narration: str
    verb: str
    """As narrated; the name of verb_class is in the class file."""
    verb_class: int
    noun: str
    """The main noun as narrated, e.g. "board:chopping"."""
    noun_class: int
    all_nouns: tuple[str, ...]
    all_noun_classes: tuple[int, ...]
    """At least one, the main noun's class among them."""

    @property
    def action(self) -> Action:
        """What is done, apart from its wording: two narrations of one action have relevancy 1."""
        return Action.of(self.verb_class, self.all_noun_classes)


def read_narrations(path: Path) -> tuple[Narration, ...]:
    """The narrated actions of a split, in file order.

    Raises:
        AnnotationError: the file is missing, lacks a column, or has a bad line, which is named.
    """
    columns = (
        *("narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp", "narration"),
        *("verb", "verb_class", "noun", "noun_class", "all_nouns", "all_noun_classes"),
    )
    return tuple(_narration(row) for row in unique(read_rows(path, columns), "narration_id"))


def _narration(row: Row) -> Narration:
    start_s, stop_s = row.seconds("start_timestamp"), row.seconds("stop_timestamp")
    if stop_s <= start_s:
        raise row.error("stop_timestamp", f"later than start_timestamp {row.cells['start_timestamp']!r}")
    noun_class, all_noun_classes = row.class_id("noun_class"), row.items("all_noun_classes", int)
    if noun_class not in all_noun_classes:
        raise row.error("all_noun_classes", f"a list with noun_class {noun_class} in it")
    return Narration(
        narration_id=row.text("narration_id"),
        participant_id=row.text("participant_id"),
        video_id=row.text("video_id"),
        start_s=start_s,
        stop_s=stop_s,
        narration=row.text("narration"),
        verb=row.text("verb"),
        verb_class=row.class_id("verb_class"),
        noun=row.text("noun"),
        noun_class=noun_class,
        all_nouns=row.items("all_nouns", str),
        all_noun_classes=all_noun_classes,
    )


def read_sentences(path: Path) -> dict[str, str]:
    """The text queries of a split: narration_id -> sentence, in file order.

    Raises:
        AnnotationError: as `read_narrations`.
    """
    rows = unique(read_rows(path, ("narration_id", "narration")), "narration_id")
    return {row.text("narration_id"): row.text("narration") for row in rows}


def read_classes(path: Path) -> dict[int, str]:
    """Names of the verb or noun classes: id -> key, e.g. 6 -> "turn-on".

    Raises:
        AnnotationError: as `read_narrations`.
    """
    return {row.class_id("id"): row.text("key") for row in unique(read_rows(path, ("id", "key")), "id")}


@dataclass(frozen=True)
class EpicData(CaptionedVideos):
    """EPIC-KITCHENS-100 retrieval, laid out as the head of this module shows."""

    title = "EPIC-KITCHENS-100 retrieval"

    data_dir: Path
    videos_dir: Path | None = None
    """Where the videos are, if not under data_dir."""

    def annotation_file(self, name: str) -> Path:
        """EPIC_100_<name>.csv, in the first folder that has it."""
        file = f"EPIC_100_{name}.csv"
        folders = (self.data_dir / "annotations", self.data_dir, self.data_dir / "retrieval_annotations")
        return next((folder / file for folder in folders if (folder / file).is_file()), folders[0] / file)

    def narrations(self, split: Split) -> tuple[Narration, ...]:
        """The clips of a split."""
        self.require(split)
        return read_narrations(self.annotation_file(f"retrieval_{split}"))

    def spans(self, split: Split) -> tuple[CaptionedSpan, ...]:
        """The same as captioned spans; a participant is a group."""
        return tuple(
            CaptionedSpan(
                span_id=narration.narration_id,
                video_id=narration.video_id,
                start_s=narration.start_s,
                stop_s=narration.stop_s,
                caption=narration.narration,
                action=narration.action,
                group=narration.participant_id,
            )
            for narration in self.narrations(split)
        )

    def sentences(self, split: Split) -> dict[str, str]:
        """The text queries of a split: narration_id -> sentence."""
        return read_sentences(self.annotation_file(f"retrieval_{split}_sentence"))

    def verb_classes(self) -> dict[int, str]:
        """Verb class -> name."""
        return read_classes(self.annotation_file("verb_classes"))

    def noun_classes(self) -> dict[int, str]:
        """Noun class -> name."""
        return read_classes(self.annotation_file("noun_classes"))

    def video_path(self, video_id: str) -> Path:
        """The file of a video, or its folder of chunks."""
        participant_id = video_id.partition("_")[0]
        if self.videos_dir is not None:
            return find_video(video_id, (self.videos_dir, self.videos_dir / participant_id))
        return find_video(video_id, (self.data_dir / "videos", self.data_dir / participant_id / "videos"))


def sentence_narrations(data: EpicData, split: Split, clips: tuple[Narration, ...]) -> list[Narration]:
    """The clip of each sentence, whose own narration is the text.

    Not the sentence file's text: six lines of the real one carry another narration's, and the official code embeds the
    narrations of the clip file.

    Raises:
        AnnotationError: a sentence belongs to no clip of the split.
    """
    by_id = {clip.narration_id: clip for clip in clips}
    ids = data.sentences(split)
    strays = [narration_id for narration_id in ids if narration_id not in by_id]
    if strays:
        raise AnnotationError(
            f"{len(strays)} sentences of the {split} split have no narration there, the first is {strays[0]}; "
            f"do both files of {data.data_dir} come from one release?"
        )
    return [by_id[narration_id] for narration_id in ids]


def relevancy_matrix(data: EpicData, split: Split, *, cache_dir: Path | None = None) -> Float64Array:
    """The official relevancy of every clip of a split to every sentence: (V, T), 9,668 x 3,842 for the real test split.

    Deterministic, unlike the published generator: it needs no random choice.

    Args:
        data: annotations.
        split: which files.
        cache_dir: keep the matrix there, under a name that holds the hash of both files, and map it into memory the
            next time.

    Raises:
        AnnotationError: a file is missing or bad, or a sentence belongs to no clip.
    """
    if cache_dir is None:
        return _compute_relevancy(data, split)
    digest = xxhash.xxh3_128()
    for name in (f"retrieval_{split}", f"retrieval_{split}_sentence"):
        path = data.annotation_file(name)
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise AnnotationError(f"{path}: no such annotation file") from error
    cached = cache_dir / f"epic-relevancy-{split}-{digest.hexdigest()}.npy"
    if not cached.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with replacing(cached) as unfinished:
            np.save(unfinished, _compute_relevancy(data, split))
    matrix_VT: Float64Array = np.load(cached, mmap_mode="r", allow_pickle=False)
    return matrix_VT


def _compute_relevancy(data: EpicData, split: Split) -> Float64Array:
    clips = data.narrations(split)
    sentences = sentence_narrations(data, split, clips)
    return relevancy([clip.action for clip in clips], [sentence.action for sentence in sentences])
