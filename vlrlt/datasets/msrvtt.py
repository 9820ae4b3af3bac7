"""MSR-VTT, the 1k-A split (JSFusion, arXiv 1808.02559): 9,000 training videos of 20 captions, 1,000 test pairs.

ANNOTATIONS_DIR/MSRVTT_data.json            "sentences": [{"video_id", "caption", ...}]
ANNOTATIONS_DIR/MSRVTT_train.9k.csv         column video_id
ANNOTATIONS_DIR/MSRVTT_JSFUSION_test.csv    columns video_id, sentence
VIDEOS_DIR/<video_id>.mp4
"""

from dataclasses import dataclass
from pathlib import Path

from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos, Split, find_video
from vlrlt.datasets.relevancy import Action
from vlrlt.datasets.tables import read_json_object, read_rows, unique
from vlrlt.errors import AnnotationError


@dataclass(frozen=True)
class MsrVtt(CaptionedVideos):
    """MSR-VTT 1k-A; every caption is a span of the whole video, and all captions of a video fit it."""

    title = "MSR-VTT 1k-A"

    annotations_dir: Path
    videos_dir: Path

    def spans(self, split: Split) -> tuple[CaptionedSpan, ...]:
        """Whole videos with one caption each; a video comes once for every caption, and is a group."""
        self.require(split)
        pairs = self._train() if split == "train" else self._test()
        numbers = {video_id: number for number, video_id in enumerate(dict.fromkeys(video_id for video_id, _ in pairs))}
        return tuple(
            CaptionedSpan(
                span_id=f"{video_id}:{position}",
                video_id=video_id,
                start_s=0.0,
                stop_s=None,
                caption=caption,
                action=Action.of(numbers[video_id], (numbers[video_id],)),
                group=video_id,
            )
            for position, (video_id, caption) in enumerate(pairs)
        )

    def video_path(self, video_id: str) -> Path:
        """The file of a video."""
        return find_video(video_id, (self.videos_dir,))

    def _test(self) -> list[tuple[str, str]]:
        path = self.annotations_dir / "MSRVTT_JSFUSION_test.csv"
        return [(row.text("video_id"), row.text("sentence")) for row in read_rows(path, ("video_id", "sentence"))]

    def _train(self) -> list[tuple[str, str]]:
        rows = unique(read_rows(self.annotations_dir / "MSRVTT_train.9k.csv", ("video_id",)), "video_id")
        chosen = {row.text("video_id") for row in rows}
        path = self.annotations_dir / "MSRVTT_data.json"
        try:
            pairs = [(str(item["video_id"]), str(item["caption"])) for item in read_json_object(path)["sentences"]]
        except (KeyError, TypeError) as error:
            raise AnnotationError(f"{path}: needs sentences with video_id and caption: {error!r}") from error
        pairs = [(video_id, caption) for video_id, caption in pairs if video_id in chosen]
        missing = sorted(chosen - {video_id for video_id, _ in pairs})
        if missing:
            raise AnnotationError(f"{path}: {len(missing)} training videos have no caption, the first is {missing[0]}")
        return pairs
