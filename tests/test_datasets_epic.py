"""Annotations are read exactly, bad lines are named with file and line, relevancy equals a plain double loop."""

import csv
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from vlrlt.datasets.epic import (
    EpicData,
    Narration,
    read_classes,
    read_narrations,
    read_sentences,
    relevancy_matrix,
    sentence_narrations,
)
from vlrlt.datasets.relevancy import Action, ActionTable, relevancy
from vlrlt.errors import AnnotationError
from vlrlt.evaluate.epic_mir import EpicMir
from vlrlt.evaluate.predictions import read_similarity
from vlrlt.metrics import MirScores, multi_instance_retrieval, random_multi_instance_retrieval
from vlrlt.types import Float64Array

REAL = Path(__file__).parents[2] / "shared" / "epic100"
HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)
GOOD = {
    "narration_id": "P01_11_0",
    "participant_id": "P01",
    "video_id": "P01_11",
    "narration_timestamp": "00:00:00.560",
    "start_timestamp": "00:01:00.50",
    "stop_timestamp": "01:00:01.891",
    "start_frame": "1",
    "stop_frame": "113",
    "narration": "put plate, bowl in cupboard",
    "verb": "put-in",
    "verb_class": "1",
    "noun": "plate",
    "noun_class": "2",
    "all_nouns": "['plate', 'bowl']",
    "all_noun_classes": "[2, 7]",
}


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER.split(","))
        writer.writeheader()
        writer.writerows(rows)
    return path


def narration(narration_id: str, verb_class: int, noun_classes: list[int]) -> Narration:
    return Narration(
        narration_id=narration_id,
        participant_id="P01",
        video_id="P01_01",
        start_s=0.0,
        stop_s=1.0,
        narration="take plate",
        verb="take",
        verb_class=verb_class,
        noun="plate",
        noun_class=noun_classes[0],
        all_nouns=("plate",) * len(noun_classes),
        all_noun_classes=tuple(noun_classes),
    )


def test_reads_every_field_of_a_narration(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "test.csv", [GOOD])
    assert read_narrations(path) == (
        Narration(
            narration_id="P01_11_0",
            participant_id="P01",
            video_id="P01_11",
            start_s=60.5,
            stop_s=3601.891,
            narration="put plate, bowl in cupboard",
            verb="put-in",
            verb_class=1,
            noun="plate",
            noun_class=2,
            all_nouns=("plate", "bowl"),
            all_noun_classes=(2, 7),
        ),
    )


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("stop_timestamp", "00:01:00.50", "stop_timestamp is '00:01:00.50', must be later than start_timestamp"),
        ("stop_timestamp", "00:00:59.00", "must be later than start_timestamp '00:01:00.50'"),
        ("start_timestamp", "60.5", "start_timestamp is '60.5', must be a time like"),
        ("start_timestamp", "00:61:00.00", "must be a time like"),
        ("start_timestamp", "-0:01:00.00", "must be a time like"),
        ("verb_class", "-1", "verb_class is '-1', must be a whole number >= 0"),
        ("noun_class", "two", "must be a whole number"),
        ("all_nouns", "['plate'", "all_nouns is .* must be a list of str that is not empty"),
        ("all_nouns", "[2]", "must be a list of str"),
        ("all_noun_classes", "[]", "must be a list of int that is not empty"),
        ("all_noun_classes", "['2']", "must be a list of int"),
        ("all_noun_classes", "2", "must be a list of int"),
        ("all_noun_classes", "__import__('os').getcwd()", "must be a list of int"),
        ("all_noun_classes", "[True]", "must be a list of int"),
        ("all_noun_classes", "[7]", "a list with noun_class 2 in it"),
        ("narration", " ", "narration is ' ', must be a text that is not empty"),
    ],
)
def test_a_bad_cell_is_named_with_file_line_and_what_is_allowed(
    tmp_path: Path, column: str, value: str, message: str
) -> None:
    path = write_csv(tmp_path / "test.csv", [GOOD, GOOD | {"narration_id": "P01_11_1", column: value}])
    with pytest.raises(AnnotationError, match=rf"test\.csv:3: .*{message}"):
        read_narrations(path)


def test_a_narration_id_must_be_unique(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "test.csv", [GOOD, GOOD])
    with pytest.raises(AnnotationError, match=r"test\.csv:3: narration_id is 'P01_11_0', must be unique in the file"):
        read_narrations(path)


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text(HEADER.replace("verb_class,", "").replace("stop_timestamp,", "") + "\n")
    with pytest.raises(AnnotationError, match=r"test\.csv:1: no column stop_timestamp, verb_class; found"):
        read_narrations(path)
    path.write_text("")
    with pytest.raises(AnnotationError, match="found nothing"):
        read_narrations(path)


def test_short_and_long_lines_files_that_are_no_csv_and_absent_files(tmp_path: Path) -> None:
    path = tmp_path / "sentence.csv"
    path.write_text("narration_id,narration\nP01_11_0\n")
    with pytest.raises(AnnotationError, match=r"sentence\.csv:2: must have 2 cells"):
        read_sentences(path)
    path.write_text("narration_id,narration\nP01_11_0,take plate,and bowl\n")
    with pytest.raises(AnnotationError, match=r"sentence\.csv:2: must have 2 cells"):
        read_sentences(path)
    path.write_bytes(b"narration_id,narration\nP01_11_0,\xff\xfe\n")
    with pytest.raises(AnnotationError, match=r"sentence\.csv: cannot be read as CSV"):
        read_sentences(path)
    path.write_text("narration_id,narration\n")
    with pytest.raises(AnnotationError, match=r"sentence\.csv: has no line below its header"):
        read_sentences(path)
    with pytest.raises(AnnotationError, match=r"absent\.csv: no such annotation file"):
        read_sentences(tmp_path / "absent.csv")


def test_relevancy_by_hand() -> None:
    rows = [narration("a", 0, [2]), narration("b", 3, [2, 7])]
    columns = [narration("c", 0, [2]), narration("d", 0, [2, 7]), narration("e", 3, [7, 2]), narration("f", 5, [9])]
    assert relevancy([row.action for row in rows], [column.action for column in columns]).tolist() == [
        [1.0, 0.75, 0.25, 0.0],
        [0.25, 0.5, 1.0, 0.0],
    ]


def test_relevancy_equals_a_plain_double_loop() -> None:
    rng = np.random.default_rng(0)

    def draw(prefix: str, count: int) -> list[Narration]:
        return [
            narration(f"{prefix}{i}", int(rng.integers(6)), rng.integers(9, size=rng.integers(1, 6)).tolist())
            for i in range(count)
        ]

    rows, columns = draw("r", 97), draw("c", 61)
    plain = np.empty((97, 61))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            a, b = set(row.all_noun_classes), set(column.all_noun_classes)
            plain[i, j] = 0.5 * (row.verb_class == column.verb_class) + 0.5 * (len(a & b) / len(a | b))
    actions = [row.action for row in rows], [column.action for column in columns]
    assert np.array_equal(relevancy(*actions), plain)
    assert relevancy([], actions[1]).shape == (0, 61)
    table = ActionTable((*actions[0], *actions[1]))
    assert np.array_equal(table.relevancy(table.index(actions[0]), table.index(actions[1])), plain)


def test_a_table_of_all_captions_costs_what_a_batch_costs() -> None:
    """EgoClip: nearly every caption is an action of its own, so nothing may grow with their square.

    300,000 of them by 300,000 as float32 would be 360 GB.
    """
    table = ActionTable(Action.of(number, (number, number + 1)) for number in range(300_000))
    places = np.array([0, 1, 299_999, 0])
    expected = [[1.0, 1 / 6, 0.0, 1.0], [1 / 6, 1.0, 0.0, 1 / 6], [0.0, 0.0, 1.0, 0.0], [1.0, 1 / 6, 0.0, 1.0]]
    assert np.allclose(table.relevancy(places, places), expected, atol=1e-15)


def test_epic_data_finds_annotations_and_videos_in_both_layouts(tmp_path: Path) -> None:
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    write_csv(annotations / "EPIC_100_retrieval_train.csv", [GOOD])
    (annotations / "EPIC_100_retrieval_train_sentence.csv").write_text("narration_id,narration\nP01_11_0,take it\n")
    (annotations / "EPIC_100_verb_classes.csv").write_text("id,key,instances,category\n1,put,\"['put']\",leave\n")
    (annotations / "EPIC_100_noun_classes.csv").write_text("id,key,instances,category\n2,plate,[],crockery\n")
    data = EpicData(tmp_path)
    (clip,) = data.narrations("train")
    assert data.sentences("train") == {"P01_11_0": "take it"}
    assert (data.verb_classes(), data.noun_classes()) == ({1: "put"}, {2: "plate"})
    with pytest.raises(AnnotationError, match=r"EPIC_100_retrieval_test\.csv: no such annotation file"):
        data.narrations("test")
    with pytest.raises(AnnotationError, match=r"no video P01_11 \(.mp4, .MP4, .*\) in .*/videos, .*/P01/videos"):
        data.video_path(clip.video_id)
    official = tmp_path / "P01" / "videos" / "P01_11.MP4"
    official.parent.mkdir(parents=True)
    official.touch()
    assert data.video_path(clip.video_id) == official
    flat = tmp_path / "videos" / "P01_11.mp4"
    flat.parent.mkdir()
    flat.touch()
    assert data.video_path(clip.video_id) == flat


def test_class_ids_must_be_unique(tmp_path: Path) -> None:
    path = tmp_path / "verbs.csv"
    path.write_text("id,key\n0,take\n0,put\n")
    with pytest.raises(AnnotationError, match=r"verbs\.csv:3: id is '0', must be unique"):
        read_classes(path)


@pytest.mark.real_videos
@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real EPIC-KITCHENS-100 annotations in {REAL}")
def test_the_real_annotations_are_read_and_give_the_published_chance_level() -> None:
    clips = read_narrations(REAL / "EPIC_100_retrieval_test.csv")
    by_id = {clip.narration_id: clip for clip in clips}
    texts = [by_id[narration_id] for narration_id in read_sentences(REAL / "EPIC_100_retrieval_test_sentence.csv")]
    assert (len(clips), len(texts)) == (9668, 3842)
    assert len(read_narrations(REAL / "EPIC_100_uda_source_train.csv")) == 16115
    assert len(read_sentences(REAL / "EPIC_100_retrieval_train_sentence.csv")) == 15989
    assert len(read_classes(REAL / "EPIC_100_verb_classes.csv")) == 97
    assert len(read_classes(REAL / "EPIC_100_noun_classes.csv")) == 300

    tracemalloc.start()
    relevancy_VT = relevancy([clip.action for clip in clips], [text.action for text in texts])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2 * relevancy_VT.nbytes
    floor = random_multi_instance_retrieval(relevancy_VT)
    # Published for random similarities: average mAP 5.7, average nDCG 10.9.
    assert floor.mAP.avg == pytest.approx(0.057, abs=1e-3)
    assert floor.nDCG.avg == pytest.approx(0.109, abs=5e-4)


def official_map(similarity: Float64Array, relevancy_QN: Float64Array) -> float:
    """Query by query, as the official code defines it."""
    precisions = []
    for scores, fits in zip(similarity, relevancy_QN, strict=True):
        ranked = fits[np.argsort(-scores, kind="stable")]
        precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
        precisions.append(precision[ranked == 1].mean())
    return float(np.mean(precisions))


def official_ndcg(similarity: Float64Array, relevancy_QN: Float64Array) -> float:
    """Likewise."""
    scores_of = []
    for scores, fits in zip(similarity, relevancy_QN, strict=True):
        num_relevant = int((fits > 0).sum())
        discount = np.log2(np.arange(num_relevant) + 2)
        gain = (fits[np.argsort(-scores, kind="stable")][:num_relevant] / discount).sum()
        scores_of.append(gain / (np.sort(fits)[::-1][:num_relevant] / discount).sum())
    return float(np.mean(scores_of))


def check_official(found: MirScores, similarity_VT: Float64Array, relevancy_VT: Float64Array) -> None:
    assert found.mAP.v2t == pytest.approx(official_map(similarity_VT, relevancy_VT), abs=1e-9)
    assert found.mAP.t2v == pytest.approx(official_map(similarity_VT.T, relevancy_VT.T), abs=1e-9)
    assert found.nDCG.v2t == pytest.approx(official_ndcg(similarity_VT, relevancy_VT), abs=1e-9)
    assert found.nDCG.t2v == pytest.approx(official_ndcg(similarity_VT.T, relevancy_VT.T), abs=1e-9)


@pytest.mark.real_videos
@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real EPIC-KITCHENS-100 annotations in {REAL}")
def test_metrics_equal_the_official_definition_on_the_real_relevancy(tmp_path: Path) -> None:
    """A given matrix: the least relevant first, except that partly relevant items come before every right one."""
    data = EpicData(REAL)
    relevancy_VT = np.asarray(relevancy_matrix(data, "test", cache_dir=tmp_path))
    noise_VT = np.random.default_rng(0).standard_normal(relevancy_VT.shape)
    similarity_VT = np.where(relevancy_VT == 1, -1, relevancy_VT) + 1e-9 * noise_VT
    np.save(tmp_path / "sim.npy", similarity_VT)
    benchmark = EpicMir(data=data)
    report = benchmark.score(benchmark.given(read_similarity(tmp_path / "sim.npy"), name="given"))
    check_official(report.scores, similarity_VT, relevancy_VT)
    assert report.scores.mAP_plain.avg < report.scores.mAP.avg
    found_T = (relevancy_VT[::10] == 1).any(axis=0)
    some_VT, noise_VT = relevancy_VT[::10, found_T], noise_VT[::10, found_T]
    check_official(multi_instance_retrieval(noise_VT, some_VT), noise_VT, some_VT)


@pytest.mark.real_videos
@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real EPIC-KITCHENS-100 annotations in {REAL}")
def test_the_relevancy_matrix_is_the_official_one_and_is_kept(tmp_path: Path) -> None:
    data = EpicData(REAL)
    relevancy_VT = relevancy_matrix(data, "test", cache_dir=tmp_path)
    assert relevancy_VT.shape == (9668, 3842)
    clips = data.narrations("test")
    columns = sentence_narrations(data, "test", clips)
    random = np.random.default_rng(0)
    for row in random.integers(len(clips), size=40):
        a = set(clips[row].all_noun_classes)
        for column, sentence in enumerate(columns):
            b = set(sentence.all_noun_classes)
            same_verb = clips[row].verb_class == sentence.verb_class
            assert relevancy_VT[row, column] == 0.5 * same_verb + 0.5 * (len(a & b) / len(a | b))
    (cached,) = tmp_path.iterdir()
    written = cached.stat().st_mtime_ns
    again_VT = relevancy_matrix(data, "test", cache_dir=tmp_path)
    assert cached.stat().st_mtime_ns == written
    assert np.array_equal(again_VT, relevancy_matrix(data, "test"))
