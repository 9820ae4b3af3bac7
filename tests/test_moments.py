"""Moments as the field scores them: official files are read as published, figures are those of the official code."""

import json
from pathlib import Path
from typing import Any

import pytest
from colour import ColourEmbedder, write_colours
from typer.testing import CliRunner

from vlrlt import embed
from vlrlt.cli import app
from vlrlt.datasets.queries import MomentQuery, read_charades_sta, read_goalstep, read_nlq, read_qvhighlights
from vlrlt.errors import AnnotationError
from vlrlt.evaluate.moments import FoundMoments, detection_ap, overlaps, score_moments
from vlrlt.grounding import find_moments, words_of
from vlrlt.types import ClipSpan


def made() -> list[tuple[MomentQuery, FoundMoments]]:
    """Eight queries with one to three answers, and seven moments for each, some of which overlap them."""
    pairs = []
    for q in range(8):
        right = tuple((10.0 * w + q, 10.0 * w + q + 4 + q % 3) for w in range(1 + q % 3))
        found = [(q * k * 3 + k) % 31 for k in range(7)]
        windows = [(float(start), float(start + 3 + (q + k) % 5)) for k, start in enumerate(found)]
        if q % 2:
            windows[2] = (q + 9.0, q + 14.0)
        if q in (3, 6):
            windows[0] = (float(q), q + 2.0 + q % 3)
        if q == 4:
            windows[0] = (4.0, 9.0)
        query = MomentQuery(keys={}, path=Path("v.mp4"), text="t", windows=right, salient=frozenset({q // 2}))
        pairs.append((query, FoundMoments(windows=tuple(windows), length_s=40.0, best_clip=q % 4)))
    return pairs


def test_figures_of_qvhighlights_official_code() -> None:
    """moment_detr's standalone_eval (commit of 2022-07) on these windows: 21.76, 64.29, 19.79, 75.0, 62.5, 25.0."""
    queries, found = zip(*made(), strict=True)
    metrics = score_moments("qvhighlights", queries, found, model="m").metrics
    expected = {"mAP": 0.2176, "mAP_IoU=0.5": 0.6429, "mAP_IoU=0.75": 0.1979}
    expected |= {"R@1_IoU=0.3": 0.75, "R@1_IoU=0.5": 0.625, "R@1_IoU=0.7": 0.25}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=5e-5)
    assert metrics["HIT@1"] == 2 / 8  # best clips 0, 1, 2, 3, 0, ...; very good are 0, 0, 1, 1, 2, 2, 3, 3


def test_figures_of_ego4d_official_code() -> None:
    """Its evaluate_ego4d_nlq.py (commit 6c92cd0) on the first answers: an overlap of exactly 0.5 is none."""
    queries, found = zip(*made(), strict=True)
    first = [MomentQuery(keys={}, path=query.path, text="t", windows=query.windows[:1]) for query in queries]
    expected = {"R@1_IoU=0.3": 0.75, "R@1_IoU=0.5": 0.25, "R@1_IoU=0.7": 0.25, "mIoU": 0.453125}
    expected |= {"R@5_IoU=0.3": 0.875, "R@5_IoU=0.5": 0.25, "R@5_IoU=0.7": 0.25}
    report = score_moments("ego4d-nlq", first, found, model="m")
    assert dict(report.metrics) == pytest.approx(expected)
    assert score_moments("charades-sta", first, found, model="m").metrics["R@1_IoU=0.5"] > 0.25
    assert 0 < report.random["R@1_IoU=0.3"] < 0.3  # as long, anywhere
    assert "text_only" not in report.as_json()
    assert [line.split()[0] for line in report.as_text().splitlines()[1:]] == ["ego4d-nlq", "m", "random"]


def test_overlaps_of_nothing_and_of_an_instant() -> None:
    assert overlaps([(0, 4), (2, 2)], [(2, 6), (2, 2)]).tolist() == [[2 / 6, 0], [0, 0]]
    assert overlaps([], [(0, 1)]).shape == (0, 1)
    assert detection_ap(overlaps([], [(0, 1)]), 0.5) == 0
    # the second right answer is found at rank 3, after the first was found twice: 1/2 (1 + 2/3)
    twice = overlaps([(0, 4), (0, 4), (10, 14)], [(0, 4), (10, 14)])
    assert detection_ap(twice, 0.5) == pytest.approx((1 + 2 / 3) / 2)


# official files


def nlq_file(folder: Path, clip_uid: str = "clip", **changes: Any) -> Path:
    """A clip that is seconds 3 to 9 of its video, and two questions; one has no words, as a few of the published."""
    asked = {"clip_start_sec": 1.0, "clip_end_sec": 2.5, "video_start_sec": 4.0, "query": "Where is green?"} | changes
    clip = {
        "clip_uid": clip_uid,
        "video_start_sec": 3.0,
        "video_end_sec": 9.0,
        "annotations": [{"language_queries": [{"query": None}, asked], "annotation_uid": "a"}],
    }
    content = {"version": "1", "videos": [{"video_uid": "video", "clips": [clip], "split": "val"}]}
    (folder / "nlq.json").write_text(json.dumps(content))
    return folder / "nlq.json"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.mp4").write_bytes(b"")


def test_nlq_of_clips_and_of_whole_videos(tmp_path: Path) -> None:
    touch(tmp_path, "video")
    (query,) = read_nlq(nlq_file(tmp_path), tmp_path)
    assert query.keys == {"clip_uid": "clip", "annotation_uid": "a", "query_idx": 1}
    assert (query.text, query.windows, query.path.name) == ("Where is green?", ((1.0, 2.5),), "video.mp4")
    assert query.part == ClipSpan(3.0, 9.0)
    touch(tmp_path, "clip")
    (query,) = read_nlq(nlq_file(tmp_path), tmp_path)
    assert (query.path.name, query.part) == ("clip.mp4", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_start_sec": None}, "clip_start_sec and clip_end_sec must be seconds"),
        ({"clip_end_sec": float("inf")}, "must be finite"),
        ({"query": " "}, "has no query with words and times"),
    ],
)
def test_nlq_that_is_not_as_published(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    touch(tmp_path, "clip")
    with pytest.raises(AnnotationError, match=message):
        read_nlq(nlq_file(tmp_path, **changes), tmp_path)


def test_goalstep_numbers_steps_and_substeps_as_its_own_tool(tmp_path: Path) -> None:
    touch(tmp_path, "v1")

    def step(text: str, start_s: float, *segments: dict[str, Any]) -> dict[str, Any]:
        return {"step_description": text, "start_time": start_s, "end_time": start_s + 2, "segments": list(segments)}

    segments = [step("boil water ", 1.0, step("open tap", 1.5)), step("serve", 5.0)]
    videos = [{"video_uid": "v1", "start_time": 0.5, "end_time": 9.5, "segments": segments}]
    (tmp_path / "g.json").write_text(json.dumps({"videos": videos}))
    queries = read_goalstep(tmp_path / "g.json", tmp_path)
    assert [(query.text, query.windows[0]) for query in queries] == [
        ("boil water", (1.0, 3.0)),
        ("open tap", (1.5, 3.5)),
        ("serve", (5.0, 7.0)),
    ]
    assert queries[2].keys == {"clip_uid": "v1", "annotation_uid": "v1_0.5_9.5", "query_idx": 2}
    (tmp_path / "g.json").write_text(json.dumps({"videos": [{"video_uid": "v1", "segments": "none"}]}))
    with pytest.raises(AnnotationError, match="segments must be a list of JSON objects"):
        read_goalstep(tmp_path / "g.json", tmp_path)


def test_charades_sta(tmp_path: Path) -> None:
    touch(tmp_path, "AO8RW")
    (tmp_path / "c.txt").write_text("AO8RW 0.0 6.9##a person is putting a book on a shelf.\n")
    (query,) = read_charades_sta(tmp_path / "c.txt", tmp_path)
    assert (query.text, query.windows) == ("a person is putting a book on a shelf.", ((0.0, 6.9),))
    for line in ("AO8RW 0.0##x", "AO8RW 0.0 6.9", "AO8RW 0.0 nan##x"):
        (tmp_path / "c.txt").write_text(f"AO8RW 0.0 6.9##x\n{line}\n")
        with pytest.raises(AnnotationError, match=r"c\.txt:2: must be VIDEO START END##SENTENCE"):
            read_charades_sta(tmp_path / "c.txt", tmp_path)


def qvhighlights_file(folder: Path, vid: str) -> Path:
    """Green is shown from 4 to 6 s, which two of three people call very good."""
    item = {
        "qid": 7, "query": "green", "duration": 10, "vid": vid, "relevant_clip_ids": [1, 2],
        "saliency_scores": [[1, 3, 2], [4, 2, 4]], "relevant_windows": [[2, 6]],
    }  # fmt: skip
    (folder / "q.jsonl").write_text(json.dumps(item) + "\n")
    return folder / "q.jsonl"


def test_qvhighlights(tmp_path: Path) -> None:
    touch(tmp_path, "x_0.0_10.0")
    (query,) = read_qvhighlights(qvhighlights_file(tmp_path, "x_0.0_10.0"), tmp_path)
    assert (query.windows, query.salient) == (((2.0, 6.0),), frozenset({2}))
    (tmp_path / "q.jsonl").write_text('{"qid": 1}\n')
    with pytest.raises(
        AnnotationError, match=r"q\.jsonl:1: does not have the published format: KeyError\('relevant_windows'\)"
    ):
        read_qvhighlights(tmp_path / "q.jsonl", tmp_path)


# found by the product


def test_words_of_questions_and_of_descriptions() -> None:
    assert words_of("Where did I put the plate?") == "put plate"
    assert words_of("Did I open the fridge?") == "open fridge"
    assert words_of("Which onion did I throw into the bin?") == "throw onion into bin"
    assert words_of("How many eggs did I take?") == "take eggs"
    assert words_of("Where was the salt before I took it?") == "took salt"
    assert words_of("In what location did I see the ladder?") == "ladder"
    assert words_of("a person is putting a book on a shelf.") == "a person is putting a book on a shelf."


def test_moments_are_found_in_their_video_and_in_its_part(tmp_path: Path) -> None:
    """Green is shown twice; what is searched is what the query is about."""
    long = write_colours(tmp_path / "long.mp4", [("green", 2), ("red", 4), ("green", 3), ("blue", 1)])
    other = write_colours(tmp_path / "other.mp4", [("green", 5)])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    queries = [
        MomentQuery(keys={}, path=path, text="Where is the green?", windows=((0.0, 1.0),), part=part)
        for path, part in ((long, None), (long, ClipSpan(4.0, 8.0)), (other, None), (tmp_path / "broken.mp4", None))
    ]
    found = find_moments(queries, library_dir=tmp_path / "lib", embedder=ColourEmbedder())
    assert sorted(found[0].windows[:2]) == [(0.0, 2.0), (6.0, 9.0)]
    assert found[1].windows[0] == (2.0, 4.0)
    assert (found[2].windows, found[2].length_s) == (((0.0, 5.0),), 5.0)
    assert found[3] == FoundMoments(windows=(), length_s=0.0)
    report = score_moments("charades-sta", queries, found, model="colours")
    assert (report.counts["queries"], report.counts["found"]) == (4, 3)


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_colours(tmp_path / "video.mp4", [("red", 4), ("green", 2), ("blue", 4)])
    monkeypatch.setattr(embed, "load_embedder", lambda *_, **__: ColourEmbedder())
    common = ("--videos", tmp_path, "--library", tmp_path / "lib", "--markdown", tmp_path / "t.md")
    nlq = ("ego4d-nlq", "--annotations", nlq_file(tmp_path), *common)
    report = run(*nlq, "--submission", tmp_path / "s.json")
    assert report["benchmark"] == "ego4d-nlq"
    assert report["R@1_IoU=0.7"] == 1  # 1 to 3 s of the part were found, which overlap 1 to 2.5 s by 0.75
    submission = json.loads((tmp_path / "s.json").read_text())
    assert submission["challenge"] == "ego4d_nlq_challenge"
    (result,) = submission["results"]
    assert result["predicted_times"][0] == [1.0, 3.0]
    assert "| colours | " in (tmp_path / "t.md").read_text()
    (tmp_path / "c.txt").write_text("video 4.0 6.0##something green\n")
    assert run("charades-sta", "--annotations", tmp_path / "c.txt", *common)["R@1_IoU=0.7"] == 1
    highlights = run("qvhighlights", "--annotations", qvhighlights_file(tmp_path, "video"), *common)
    assert (highlights["HIT@1"], highlights["R@1_IoU=0.5"], highlights["mAP_IoU=0.5"]) == (1, 1, 1)
    for name in ("ego4d-nlq", "goalstep", "charades-sta", "qvhighlights"):
        assert "Example: vlrlt eval" in CliRunner().invoke(app, ["eval", name, "--help"]).stdout
