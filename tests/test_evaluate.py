"""`eval epic-mir` on videos whose answers are known by construction: colours are the nouns, brightening is the verb.

A model that sees both scores 1; one that is blind to verbs or reads them backwards fails in exactly the words it must.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
import pytest

from vlrlt.datasets.epic import EpicData
from vlrlt.errors import AnnotationError, UnreadableClipsError
from vlrlt.evaluate import confusion, embeddings
from vlrlt.evaluate.embeddings import EncodeOptions
from vlrlt.evaluate.epic_mir import EpicMir, EpicMirReport, evaluate_epic_mir
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.types import ClipEmbeddings, Float32Array, Precision, UInt8Array
from vlrlt.video.decode import DecoderName
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

FPS = 10
NOUNS = ("tomato", "lime", "bag:bin")
"""Red, green and blue."""
VERBS = ("turn-on", "turn-off", "mix")
"""Brightens, darkens, and neither."""
HEADER = (
    "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,narration,verb,verb_class,noun,noun_class,"
    "all_nouns,all_noun_classes"
)
# Seconds [0, 2) are red and brighten, [2, 4) green and darken, and so on; [1.4, 2.6) overlaps two of them.
CLIPS = (
    ("P01_01_0", "P01_01", 0, 2, "turn on tomato", 0, [0]),
    ("P01_01_1", "P01_01", 2, 4, "turn off lime", 1, [1]),
    ("P01_01_2", "P01_01", 4, 6, "turn on bin bag", 0, [2]),
    ("P01_01_3", "P01_01", 1.4, 2.6, "mix tomato and lime", 2, [0, 1]),
    ("P02_01_0", "P02_01", 0, 2, "turn on lime", 0, [1]),
    ("P02_01_1", "P02_01", 2, 4, "turn off tomato", 1, [0]),
    ("P02_01_2", "P02_01", 4, 6, "turn off tomato", 1, [0]),
)
SEGMENTS = {"P01_01": "R+ G- B+", "P02_01": "G+ R- R-"}


def write_video(path: Path, segments: str) -> None:
    """Two seconds each: a colour that brightens (+) or darkens (-)."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for segment in segments.split():
            colour, trend = segment[0], segment[1]
            levels = np.linspace(90, 250, 2 * FPS)
            for level in levels if trend == "+" else levels[::-1]:
                rgb_HWC = np.zeros((48, 64, 3), dtype=np.uint8)
                rgb_HWC[..., "RGB".index(colour)] = round(level)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb_HWC, format="rgb24")))
        container.mux(stream.encode())


def timestamp(time_s: float) -> str:
    return f"00:00:{time_s:05.2f}"


def write_annotations(data_dir: Path, clips: Sequence[tuple[str, str, float, float, str, int, list[int]]]) -> None:
    folder = data_dir / "annotations"
    folder.mkdir(exist_ok=True)
    lines = [HEADER]
    sentences: dict[str, str] = {}
    for narration_id, video_id, start_s, stop_s, text, verb, nouns in clips:
        names = [NOUNS[noun] for noun in nouns]
        cells = [narration_id, video_id[:3], video_id, timestamp(start_s), timestamp(stop_s), text, VERBS[verb], verb]
        lines.append(",".join(map(str, [*cells, names[0], nouns[0], f'"{names}"', f'"{nouns}"'])))
        sentences.setdefault(text, narration_id)
    (folder / "EPIC_100_retrieval_test.csv").write_text("\n".join(lines) + "\n")
    rows = [f"{narration_id},{text}\n" for text, narration_id in sentences.items()]
    (folder / "EPIC_100_retrieval_test_sentence.csv").write_text("narration_id,narration\n" + "".join(rows))
    for kind, keys in (("verb", VERBS), ("noun", NOUNS)):
        rows = [f"{index},{key}\n" for index, key in enumerate(keys)]
        (folder / f"EPIC_100_{kind}_classes.csv").write_text("id,key\n" + "".join(rows))


@pytest.fixture
def data(tmp_path: Path) -> EpicData:
    """One video in each of the two layouts."""
    write_annotations(tmp_path, CLIPS)
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "P01_01.mp4", SEGMENTS["P01_01"])
    (tmp_path / "P02" / "videos").mkdir(parents=True)
    write_video(tmp_path / "P02" / "videos" / "P02_01.MP4", SEGMENTS["P02_01"])
    return EpicData(tmp_path)


@dataclass
class ColourEmbedder:
    """Half of a vector is the colours that are there, the other half whether it brightens, darkens or neither."""

    sight: Literal["good", "no verbs", "backwards"] = "good"

    def __post_init__(self) -> None:
        self.name = "colours"
        self.fingerprint = "colours-1"
        self.embed_dim = 6
        self.captions: tuple[str, ...] = ()
        self.policy: TokenPolicy | None = None
        self.precision: Precision = "float32"
        self.sampling = ClipSampling(clip_s=2, stride_s=2, num_frames=5)
        self.preprocess = Preprocess(image_size_px=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def embed_clips(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
        assert rgb_BTHWC.shape[1:] == (5, 16, 16, 3)
        assert rgb_BTHWC.dtype == np.uint8
        level_BTC = rgb_BTHWC.mean(axis=(2, 3))
        seen_BC = level_BTC.mean(axis=1) > 40
        rise_B = level_BTC[:, -1].sum(axis=1) - level_BTC[:, 0].sum(axis=1)
        several_B = seen_BC.sum(axis=1) > 1
        verb_B = np.where(several_B, 2, np.where(rise_B > 0, 0, 1))
        return ClipEmbeddings(
            vectors_BD=self._vectors(seen_BC, verb_B),
            num_tokens_B=np.where(several_B, 10, 5),
            num_dense_tokens=20,
        )

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        named_BC = np.array([[word in text for word in ("tomato", "lime", "bin bag")] for text in texts])
        verb_B = np.array(
            [[text.startswith(verb) for verb in ("turn on", "turn off", "mix")] for text in texts]
        ).argmax(1)
        if self.sight == "backwards":
            verb_B = np.array([1, 0, 2])[verb_B]
        return self._vectors(named_BC, verb_B)

    def _vectors(self, colours_BC: npt.NDArray[np.bool_], verb_B: npt.NDArray[np.int64]) -> Float32Array:
        vectors_BD = np.concatenate([colours_BC, np.eye(3)[verb_B]], axis=1).astype(np.float32)
        vectors_BD[:, :3] /= np.linalg.norm(vectors_BD[:, :3], axis=1, keepdims=True)
        if self.sight == "no verbs":
            vectors_BD[:, 3:] = 0
        vectors_BD /= np.linalg.norm(vectors_BD, axis=1, keepdims=True)
        return vectors_BD


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("batch", [2, 16])
def test_a_model_that_sees_everything_scores_one(
    data: EpicData, decoder: DecoderName, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_CLIP_BATCH", batch)
    monkeypatch.setattr(embeddings, "_TEXT_BATCH", batch)
    progress: list[tuple[int, int]] = []
    report = evaluate_epic_mir(
        data,
        ColourEmbedder(),
        decoder=decoder,
        options=EncodeOptions(on_progress=lambda done, total: progress.append((done, total))),
    )
    result = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert result["mAP"] == pytest.approx({"v2t": 1.0, "t2v": 1.0, "avg": 1.0})
    assert result["nDCG"] == pytest.approx({"v2t": 1.0, "t2v": 1.0, "avg": 1.0})
    assert 0 < result["random"]["mAP"]["avg"] < result["random"]["nDCG"]["avg"] < 0.7
    assert (result["clips"], result["sentences"]) == (7, 6)
    assert (result["model"], result["split"]) == ("colours", "test")
    assert result["tokens_kept"] == pytest.approx((6 * 0.25 + 0.5) / 7)
    assert result["encode_s"] > 0
    assert result["decode_s"] > 0
    assert progress == ([(2, 7), (4, 7), (6, 7), (7, 7)] if batch == 2 else [(7, 7)])
    # Nobody else turns on a bin bag, so that clip has no choice of verbs. Three verbs go with the tomato, two with the
    # lime: the first noun of the mixture is the tomato.
    assert result["verb_accuracy"] == 1.0
    assert result["verb_chance"] == pytest.approx(np.mean([1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2]))
    assert result["confusions"]["verb"] == {
        "mix": {"mix": 1},
        "turn off": {"turn off": 3},
        "turn on": {"turn on": 2},
    }
    # Three nouns are turned on, two turned off, and only one is mixed.
    assert result["noun_accuracy"] == 1.0
    assert result["noun_chance"] == pytest.approx(np.mean([1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2, 1 / 2]))
    assert result["confusions"]["noun"] == {
        "bin bag": {"bin bag": 1},
        "lime": {"lime": 2},
        "tomato": {"tomato": 3},
    }


def test_a_model_that_reads_verbs_backwards_fails_in_verbs_only(data: EpicData) -> None:
    report = evaluate_epic_mir(data, ColourEmbedder("backwards"))
    assert report.verb.accuracy == pytest.approx(1 / 6)
    assert report.verb.counts == {"mix": {"mix": 1}, "turn off": {"turn on": 3}, "turn on": {"turn off": 2}}
    assert report.noun.accuracy == 1.0
    assert report.scores.mAP.avg < 0.7
    lines = report.as_text().splitlines()
    assert lines[0] == "test split: 7 clips, 6 sentences"
    assert lines[1].split() == ["mAP:", "v2t", "t2v", "avg", "nDCG:", "v2t", "t2v", "avg"]
    assert lines[2].split()[0] == "colours"
    assert lines[2].split()[3] == f"{report.scores.mAP.avg:.3f}"
    assert lines[3].split()[:2] == ["text", "only"]
    assert lines[4].split() == ["random", *(f"{value:.3f}" for m in ("mAP", "nDCG") for value in random_row(report, m))]
    assert lines[5].startswith("tokens kept 0.286, decoding ")
    assert lines[6:12] == [
        "verb, noun given: 0.167 of 6 clips right (chance 0.389)",
        "  most confused: turn off -> turn on 3, turn on -> turn off 2",
        "  true     turn off turn on mix other",
        "  turn off        .       3   .     .",
        "  turn on         2       .   .     .",
        "  mix             .       .   1     .",
    ]
    assert lines[12] == "noun, verb given: 1.000 of 6 clips right (chance 0.417)"
    assert lines[13] == "  most confused: none"


def random_row(report: EpicMirReport, metric: str) -> list[float]:
    return list(report.random.as_json()[metric].values())


def test_a_model_blind_to_verbs_still_finds_the_nouns(data: EpicData) -> None:
    report = evaluate_epic_mir(data, ColourEmbedder("no verbs"))
    assert report.noun.accuracy == 1.0
    # It always names the phrase that comes first: "turn on tomato" and "turn off lime".
    assert report.verb.counts == {
        "mix": {"turn on": 1},
        "turn off": {"turn on": 2, "turn off": 1},
        "turn on": {"turn on": 1, "turn off": 1},
    }
    assert report.verb.accuracy == pytest.approx(2 / 6)


def test_long_confusions_show_the_most_frequent_words_and_sum_up_the_rest(
    data: EpicData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confusion, "_SHOWN_CLASSES", 1)
    monkeypatch.setattr(confusion, "_SHOWN_PAIRS", 1)
    lines = evaluate_epic_mir(data, ColourEmbedder("backwards")).verb.as_text("verb").splitlines()
    assert lines[1:] == [
        "  most confused: turn off -> turn on 3",
        "  true     turn off other",
        "  turn off        .     3",
    ]


def test_without_a_choice_there_is_no_accuracy(data: EpicData) -> None:
    write_annotations(data.data_dir, CLIPS[:1])
    report = evaluate_epic_mir(data, ColourEmbedder())
    assert report.as_json()["verb_accuracy"] is None
    assert report.as_json()["noun_chance"] is None
    assert report.as_text().splitlines()[-2:] == [
        "verb, noun given: no clip has a choice",
        "noun, verb given: no clip has a choice",
    ]


def test_the_narration_of_the_id_is_embedded_whatever_text_the_sentence_file_has(data: EpicData) -> None:
    path = data.data_dir / "annotations" / "EPIC_100_retrieval_test_sentence.csv"
    path.write_text("narration_id,narration\nP01_01_2,turn off lime\nP02_01_1,mix bin bag\n")
    report = evaluate_epic_mir(data, ColourEmbedder())
    assert report.num_sentences == 2
    # Five clips share no action with the two texts, so they are no queries of mAP.
    assert report.scores.mAP.as_json() == pytest.approx({"v2t": 1.0, "t2v": 1.0, "avg": 1.0})


def test_annotations_that_do_not_fit_are_refused(data: EpicData) -> None:
    annotations = data.data_dir / "annotations"
    (annotations / "EPIC_100_retrieval_test_sentence.csv").write_text("narration_id,narration\nP09_01_3,take pan\n")
    with pytest.raises(AnnotationError, match=r"1 sentences of the test split have no narration there, .* P09_01_3"):
        evaluate_epic_mir(data, ColourEmbedder())
    write_annotations(data.data_dir, CLIPS)
    (annotations / "EPIC_100_verb_classes.csv").write_text("id,key\n0,turn-on\n")
    with pytest.raises(AnnotationError, match="narration P01_01_1 has verb class 1 and noun class 1"):
        evaluate_epic_mir(data, ColourEmbedder())


def test_a_clip_that_cannot_be_read_is_counted_and_the_rest_is_scored(data: EpicData) -> None:
    video = data.data_dir / "videos" / "P01_01.mp4"
    write_annotations(data.data_dir, [*CLIPS, ("P01_01_9", "P01_01", 6, 7, "mix lime", 2, [1])])
    report = evaluate_epic_mir(data, ColourEmbedder())
    assert [reason[:9] for reason in report.unreadable] == ["P01_01_9:"]
    assert "it starts at 6.0 s, but" in report.unreadable[0]
    assert report.as_json()["unreadable"] == 1
    assert "1 clips could not be read: all their scores are 0\n  P01_01_9: it starts at 6.0 s" in report.as_text()
    write_annotations(data.data_dir, CLIPS)
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) * 2 // 3])
    damaged = EpicMir(data=data).predict(ColourEmbedder())
    assert damaged.unreadable
    assert all("P01_01.mp4" in reason for reason in damaged.unreadable)
    unreadable = [row in {reason.partition(":")[0] for reason in damaged.unreadable} for row in damaged.rows]
    assert not damaged.score_RC[unreadable].any()
    assert damaged.score_RC[~np.array(unreadable)].max(axis=1) == pytest.approx(1.0)
    assert damaged.cost is not None
    assert 0 < damaged.cost.tokens_kept <= 1


def test_videos_that_are_missing_or_all_broken_are_refused(data: EpicData) -> None:
    video = data.data_dir / "videos" / "P01_01.mp4"
    for path in (video, data.data_dir / "P02" / "videos" / "P02_01.MP4"):
        path.write_bytes(b"")
    with pytest.raises(UnreadableClipsError, match=r"none of the 7 clips can be read; .*\n  P01_01_0: .*P01_01"):
        evaluate_epic_mir(data, ColourEmbedder())
    video.unlink()
    with pytest.raises(AnnotationError, match=r"no video P01_01 \(.mp4, .*\) in "):
        evaluate_epic_mir(data, ColourEmbedder())


class Killed(Exception):  # noqa: N818 - no error of ours
    pass


@dataclass
class DiesEmbedder(ColourEmbedder):
    """Is killed after some batches."""

    lives: int = 2
    num_clips: int = 0

    def embed_clips(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
        if self.lives == 0:
            raise Killed
        self.lives -= 1
        self.num_clips += len(rgb_BTHWC)
        return super().embed_clips(rgb_BTHWC)


def test_an_interrupted_evaluation_goes_on_where_it_was(
    data: EpicData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_CLIP_BATCH", 2)
    options = EncodeOptions(keep=tmp_path / "kept.npz", num_threads=2)
    benchmark = EpicMir(data=data)
    straight = benchmark.predict(ColourEmbedder())
    with pytest.raises(Killed):
        benchmark.predict(DiesEmbedder(), options=options)
    (kept,) = tmp_path.glob("kept.npz.*.partial")
    second = DiesEmbedder(lives=9)
    resumed = benchmark.predict(second, options=options)
    assert second.num_clips == 7 - 4
    assert np.array_equal(resumed.score_RC, straight.score_RC)
    assert resumed.cost is not None
    assert straight.cost is not None
    assert resumed.cost.tokens_kept == pytest.approx(straight.cost.tokens_kept)
    other = DiesEmbedder(lives=9)
    other.fingerprint = "colours-2"  # another model starts anew
    benchmark.predict(other, options=options)
    assert other.num_clips == 7
    kept.write_bytes(kept.read_bytes()[:90])  # so does a file that was cut off
    benchmark.predict(third := DiesEmbedder(lives=9), options=options)
    assert third.num_clips == 7
