"""Official annotation formats are read as they are; bad lines are named; videos are found whole or in chunks."""

import json
from pathlib import Path

import numpy as np
import pytest
from media import Recipe, shown_index, write_video
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.datasets.base import CaptionedSpan, CaptionedVideos
from vlrlt.datasets.caption_file import CaptionFile
from vlrlt.datasets.charades_ego import CharadesEgo
from vlrlt.datasets.check import check_dataset
from vlrlt.datasets.ego4d import ActionKind, EgoClip, EgoMCQ
from vlrlt.datasets.egtea import Egtea
from vlrlt.datasets.epic import EpicData
from vlrlt.datasets.msrvtt import MsrVtt
from vlrlt.datasets.relevancy import ActionTable
from vlrlt.errors import AnnotationError, ConfigError, NotAVideoError
from vlrlt.video.chunks import list_chunks, open_video
from vlrlt.video.decode import DecoderName

EGOCLIP_HEADER = "clip_idx\tvideo_uid\tvideo_dur\tnarration_source\tnarration_ind\tnarration_time\tclip_start\tclip_end"
CLIP_A = "OP01-R01-PastaSalad-1002316-1004005-F024051-F024101"
CLIP_B = "P26-R05-Cheeseburger-12-34-F1-F2"


def texts(spans: tuple[CaptionedSpan, ...]) -> list[tuple[str, float, float | None, str]]:
    return [(span.video_id, span.start_s, span.stop_s, span.caption) for span in spans]


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def question(answer: int, types: int, *videos: str) -> dict[str, object]:
    choices = {
        str(place): {"video_uid": uid, "clip_start": place, "clip_end": place + 1.0, "clip_text": f"#C C does {place}"}
        for place, uid in enumerate(videos)
    }
    return {"answer": answer, "types": types, "query": {"clip_text": f"#C C does {answer}"}, "choices": choices}


def egoclip(folder: Path, *lines: str, actions: ActionKind = "captions") -> EgoClip:
    return EgoClip(
        write(folder / "egoclip.csv", f"{EGOCLIP_HEADER}\tclip_text\ttag_verb\ttag_noun", *lines), folder, actions
    )


def test_egoclip_is_tab_separated_and_read_as_its_users_read_it(tmp_path: Path) -> None:
    """Columns and first line as in EgoVLP's README; pandas reads it there with error_bad_lines=False."""
    data = egoclip(
        tmp_path,
        "0\tuid-1\t128.033333\tnarration_pass_1\t0\t3.3445\t2.967651\t3.721266\t#C C picks a bag, slowly\t[93]\t[2, 5]",
        "1\tuid-1\t128.0\tnarration_pass_1\t1\t5.0\t5.0\t5.0\t#C C blinks\t[1]\t[]",
        "2\tuid-2\t60.0\tnarration_pass_1\t0\t1.0\t0.5\t1.5\t#c c picks A BAG, slowly\t[93]\t[192]",
    )
    spans = data.spans("train")
    assert texts(spans) == [
        ("uid-1", 2.967651, 3.721266, "#C C picks a bag, slowly"),
        ("uid-1", 5.0, 5.001, "#C C blinks"),
        ("uid-2", 0.5, 1.5, "#c c picks A BAG, slowly"),
    ]
    assert spans[0].action == spans[2].action != spans[1].action  # the same words
    with pytest.raises(AnnotationError, match="EgoClip has no split 'test'; it has train"):
        data.spans("test")


def test_a_bad_line_of_egoclip_is_mended_or_left_out_and_counted(tmp_path: Path) -> None:
    def line(start: object, stop: object, text: str, uid: str = "uid") -> str:
        return f"0\t{uid}\t60.0\tnarration_pass_1\t0\t1.0\t{start}\t{stop}\t{text}\t[93]\t[2]"

    left_out = (line(1, 2, "#C C a\tb"), "0\tuid\t60", line(1, 2, ""), line(1, 2, "x", uid=""), line("", 2, "#C C d"),
                line(3, 2, "#C C e"), line(-3, -2, "#C C f"), line("nan", 2, "#C C g"))  # fmt: skip
    kept = (line(-0.4, 0.9, "#C C wakes"), line(4, 4, "#C C blinks"), line(1, 2, '"#C C says hello'),
            line(1, 2, '"#C C says ""hello"""'), line(1, 2, 'reads "news"'),
            f"{line(1, 2, '#C C sits')}\t")  # fmt: skip
    data = egoclip(tmp_path, *left_out, *kept, *[left_out[0]] * 9)
    spans = data.spans("train")
    assert [(span.start_s, span.stop_s, span.caption) for span in spans] == [
        (0.0, 0.9, "#C C wakes"),
        (4.0, 4.001, "#C C blinks"),
        (1.0, 2.0, '"#C C says hello'),
        (1.0, 2.0, '#C C says "hello"'),
        (1.0, 2.0, 'reads "news"'),
        (1.0, 2.0, "#C C sits"),
    ]
    assert data.repairs.counts == {
        "left out, must have 11 cells": 11,
        "left out, it has no caption": 1,
        "left out, it has no video": 1,
        "left out, clip_start and clip_end must be seconds, clip_end the later": 4,
        "starts at 0 s, clip_start lies before the video": 1,
        "shows one picture, clip_end is clip_start": 1,
    }
    assert len(data.repairs.first) == 10
    assert data.repairs.first[0].endswith("egoclip.csv:2: left out, must have 11 cells")
    data.spans("train")
    assert data.repairs.counts.total() == 19  # counted anew
    with pytest.raises(AnnotationError, match="no column clip_text; found"):
        EgoClip(write(tmp_path / "no.csv", "video_uid\tclip_start\tclip_end"), tmp_path).spans("train")
    with pytest.raises(AnnotationError, match="has no line below its header"):
        egoclip(tmp_path).spans("train")


def test_egoclip_tags_are_verbs_and_nouns(tmp_path: Path) -> None:
    tags = ("[93]\t[192, 115, 12]", "[93, 4]\t[12]", "[4]\t[12]", "[]\t[12]", "[93]\t", "[93]\t[12.5]")
    data = egoclip(
        tmp_path, *(f"0\tuid\t60\tp\t0\t1\t1\t2\t#C C {text}\t{tag}" for text, tag in zip("abcdda", tags, strict=True)),
        actions="tags",
    )  # fmt: skip
    actions = [span.action for span in data.spans("train")]
    table = ActionTable(actions)
    places = table.index(actions)
    assert table.share_verb_and_noun(places, places).tolist() == [
        [True, True, False, False, False, False],
        [True, True, True, False, False, False],
        [False, True, True, False, False, False],
        [False, False, False, True, True, False],  # untagged, but the same words
        [False, False, False, True, True, False],
        [False, False, False, False, False, True],
    ]
    assert data.repairs.counts == {"counts as untagged, tag_verb and tag_noun must be like [93, 4]": 2}


def test_egomcq_questions(tmp_path: Path) -> None:
    """In the published file 1 is inter and 2 is intra: EgoVLP's data loader and the videos of the choices say so."""
    file = tmp_path / "egomcq.json"
    file.write_text(json.dumps({"0": question(2, 2, *"aaaaa"), "7": question(0, 1, *"abcde")}))
    first, second = EgoMCQ(file, tmp_path).questions()
    assert (first.kind, first.answer, first.query) == ("intra", 2, "#C C does 2")
    assert (second.kind, [choice.video_id for choice in second.choices]) == ("inter", list("abcde"))
    assert second.choices[3].start_s == 3
    early = question(0, 2, *"aaaaa")
    early["choices"]["0"] |= {"clip_start": -0.25, "clip_end": -0.1}  # type: ignore[index]
    file.write_text(json.dumps({"0": early}))
    assert (EgoMCQ(file, tmp_path).questions()[0].choices[0].start_s) == 0.0
    for broken, message in (
        ({"0": question(5, 2, *"aaaaa")}, "question 0 has answer 5 of 5 choices"),
        ({"0": question(1, 1, *"aaaaa")}, "question 0 has types 1, but its clips are of 1 videos"),
        ({"0": question(1, 2, *"aabaa")}, "question 0 has types 2, but its clips are of 2 videos"),
        ({"0": question(1, 9, *"aaaaa")}, "question 0 has types 9"),
        ({"0": {"answer": 1}}, "question 0 does not have the published format"),
        ({}, "has no question"),
        ([], "must be a JSON object, got list"),
    ):
        file.write_text(json.dumps(broken))
        with pytest.raises(AnnotationError, match=message):
            EgoMCQ(file, tmp_path).questions()


def charades(folder: Path, *rows: str) -> CharadesEgo:
    write(folder / "Charades_v1_classes.txt", "c000 Holding some clothes", "c001 Opening a door")
    header = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length,egocentric"
    write(folder / "CharadesEgo_v1_test_only1st.csv", header, *rows)
    return CharadesEgo(folder, folder)


def test_charades_ego_videos_and_their_timed_actions(tmp_path: Path) -> None:
    data = charades(
        tmp_path,
        'AEGO,S,Kitchen,6,7,Yes,"A person, slowly.",a;b,x,c001 11.90 21.20;c000 0.00 12.60,30.5,Yes',
        "BEGO,S,Kitchen,6,7,Yes,Nothing.,a,x,,12.0,Yes",
    )
    full, empty = data.videos("test")
    assert (full.classes, full.duration_s) == (frozenset((0, 1)), 30.5)
    assert empty.classes == frozenset()
    assert texts(data.spans("test")) == [
        ("AEGO", 11.9, 21.2, "Opening a door"),
        ("AEGO", 0.0, 12.6, "Holding some clothes"),
    ]
    odd = charades(tmp_path, "AEGO,S,K,6,7,Yes,t,a,x,c001 5 4;c000 1 2,30.5,Yes")
    assert odd.videos("test")[0].classes == frozenset((0, 1))
    assert texts(odd.spans("test")) == [("AEGO", 1.0, 2.0, "Holding some clothes")]
    assert odd.repairs.counts == {"an action is not a span: it must start at 0 s or later and end after it starts": 1}
    for cell, message in (("c002 1 2", "classes c000 to c001"), ("x", "like 'c092")):
        with pytest.raises(AnnotationError, match=rf"only1st\.csv:2: actions is .*{message}"):
            charades(tmp_path, f"AEGO,S,K,6,7,Yes,t,a,x,{cell},30.5,Yes").videos("test")


def egtea(folder: Path, *lines: str) -> Egtea:
    write(folder / "action_idx.txt", "Divide/Pull Apart lettuce 1", "Open fridge 2")
    write(folder / "test_split1.txt", *lines)
    return Egtea(folder, folder)


def test_egtea_clips(tmp_path: Path) -> None:
    data = egtea(tmp_path, f"{CLIP_A} 2 1 5", f"{CLIP_B} 1 2 6")
    assert texts(data.spans("test")) == [
        (CLIP_A, 0.0, None, "open fridge"),
        (CLIP_B, 0.0, None, "divide/pull apart lettuce"),
    ]
    video = tmp_path / "OP01-R01-PastaSalad" / f"{CLIP_A}.mp4"
    video.parent.mkdir()
    video.touch()
    assert data.video_path(CLIP_A) == video
    with pytest.raises(AnnotationError, match=r"test_split1\.txt:1: must be a clip and a class"):
        egtea(tmp_path, f"{CLIP_A} 9 1 5").spans("test")
    with pytest.raises(ConfigError, match="fold must be 1, 2 or 3, got 4"):
        Egtea(tmp_path, tmp_path, 4)


def test_msrvtt_1k_a(tmp_path: Path) -> None:
    write(tmp_path / "MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence", "ret0,msr7,video7,a cat so to say")
    write(tmp_path / "MSRVTT_train.9k.csv", "video_id", "video1", "video2")
    sentences = [
        {"video_id": name, "caption": f"{name} {n}"} for name in ("video1", "video2", "video7") for n in (1, 2)
    ]
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps({"videos": [], "sentences": sentences}))
    data = MsrVtt(tmp_path, tmp_path)
    assert texts(data.spans("test")) == [("video7", 0.0, None, "a cat so to say")]
    train = data.spans("train")
    assert [span.caption for span in train] == ["video1 1", "video1 2", "video2 1", "video2 2"]
    assert train[0].action == train[1].action != train[2].action
    write(tmp_path / "MSRVTT_train.9k.csv", "video_id", "video9")
    with pytest.raises(AnnotationError, match="1 training videos have no caption, the first is video9"):
        data.spans("train")


def test_your_own_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "video,start_s,end_s,caption", "x/one.mp4,1.5,3,a dog", "two,,,A DOG")
    lines = write(
        tmp_path / "a.jsonl",
        '{"video": "x/one.mp4", "start_s": 1.5, "end_s": 3, "caption": "a dog"}',
        '{"video": "two", "caption": "A DOG"}',
    )
    both = [CaptionFile(tmp_path, train_file=file).spans("train") for file in (table, lines)]
    assert texts(both[0]) == texts(both[1]) == [("x/one.mp4", 1.5, 3.0, "a dog"), ("two", 0.0, None, "A DOG")]
    assert both[0][0].action == both[0][1].action
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "one.mp4").touch()
    (tmp_path / "two.webm").touch()
    data = CaptionFile(tmp_path, train_file=table)
    assert [data.video_path(name).name for name in ("x/one.mp4", "two")] == ["one.mp4", "two.webm"]
    for line, message in (
        ("one,3,2,x", r"a\.csv:2: end_s is '2', must be later than start_s 3.0"),
        ("one,-1,2,x", r"a\.csv:2: start_s is '-1', must be a number of seconds >= 0"),
        ("one,0,nan,x", r"a\.csv:2: end_s is 'nan'"),
        ("one,0,1,", r"a\.csv:2: caption is ''"),
    ):
        write(table, "video,start_s,end_s,caption", line)
        with pytest.raises(AnnotationError, match=message):
            data.spans("train")
    for text, message in (
        ("{", "not JSON"),
        ('{"video": "x"}', "must be an object with video, start_s, end_s, caption"),
    ):
        write(lines, text)
        with pytest.raises(AnnotationError, match=rf"a\.jsonl:1: {message}"):
            CaptionFile(tmp_path, train_file=lines).spans("train")
    with pytest.raises(AnnotationError, match="this dataset has no split 'val'; it has train"):
        data.spans("val")


# chunks


@pytest.fixture
def chunked(tmp_path: Path) -> Path:
    """Two chunks that show pictures 0-29 (3 s) and again 0-29, named 0 and 3."""
    folder = tmp_path / "videos" / "long.mp4"
    folder.mkdir(parents=True)
    for start_s in (0, 3):
        write_video(folder / f"{start_s}.mp4", Recipe(num_frames=30, fps=10))
    (folder / "notes.txt").touch()
    return folder


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_a_folder_of_chunks_is_one_video(chunked: Path, backend: DecoderName) -> None:
    with open_video(chunked, backend=backend) as video:
        assert video.info.duration_s == pytest.approx(6.0, abs=0.05)
        frames = list(video.frames_at([0.05, 2.95, 3.05, 3.05, 5.95, 7.0]))
        assert [shown_index(frame.rgb_HWC) for frame in frames] == [0, 29, 0, 0, 29, 29]
        assert [frame.pts_s for frame in frames] == pytest.approx([0.0, 2.9, 3.0, 3.0, 5.9, 5.9], abs=1e-3)
        assert frames[2] is frames[3]
        with pytest.raises(ConfigError, match="ascend"):
            list(video.frames_at([4.0, 1.0]))
        video.close()


def chunks(folder: Path, **durations_s: float) -> Path:
    """Chunks _NAME=SECONDS."""
    folder.mkdir(parents=True)
    for name, duration_s in durations_s.items():
        write_video(folder / f"{name[1:]}.mp4", Recipe(num_frames=round(10 * duration_s), fps=10))
    return folder


def test_numbered_chunks_are_told_from_those_named_by_their_first_second(tmp_path: Path) -> None:
    """EgoVLP's utils/video_chunk.py numbers its chunks of 600 s; here they last 3 s."""
    for folder, starts_s in (
        (chunks(tmp_path / "uid", _0=3, _1=3, _2=1.5), (0, 3, 6)),  # clip_start 4 lies in 1.mp4, as in EgoVLP's loader
        (chunks(tmp_path / "seconds", _0=1, _1=1, _2=0.4), (0, 1, 2)),
        (chunks(tmp_path / "short", _0=2), (0,)),
        (chunks(tmp_path / "avion", _0=3, _3=3, _6=0.5), (0, 3, 6)),
    ):
        assert tuple(chunk.start_s for chunk in list_chunks(folder)) == starts_s
    with open_video(tmp_path / "uid") as video:
        assert video.info.duration_s == pytest.approx(7.5, abs=0.05)
        assert [shown_index(frame.rgb_HWC) for frame in video.frames_at([1.05, 4.05, 6.05])] == [10, 10, 0]
    for folder, message in (
        (chunks(tmp_path / "odd", _0=2.5, _1=2.5), "named 0, 1, 2, ... but last 2.50 s"),
        (chunks(tmp_path / "hole", _0=3, _1=3, _3=3), r"0\.mp4 lasts 3.00 s, but the next file is 1\.mp4"),
        (chunks(tmp_path / "long", _0=6, _3=3), r"0\.mp4 lasts 6.00 s, but the next file is 3\.mp4"),
    ):
        with pytest.raises(NotAVideoError, match=message):
            list_chunks(folder)
    write_video(tmp_path / "uid" / "3.mp4")
    assert [chunk.start_s for chunk in list_chunks(tmp_path / "uid")] == [0, 3, 6, 9]  # a new file is seen


def test_the_last_chunk_is_opened_for_those_who_ask_for_the_duration(tmp_path: Path) -> None:
    (chunks(tmp_path / "a.mp4", _0=3) / "3.mp4").write_bytes(b"broken")
    with open_video(tmp_path / "a.mp4") as video:
        assert [shown_index(frame.rgb_HWC) for frame in video.frames_at([1.05])] == [10]
        with pytest.raises(NotAVideoError, match=r"3\.mp4"):
            _ = video.info


def test_chunks_that_overlap_are_a_problem(tmp_path: Path) -> None:
    chunks(tmp_path / "a.mp4", _0=3, _3=6, _6=3)
    annotations = write(tmp_path / "captions.csv", "video,start_s,end_s,caption", "a.mp4,0,2,x")
    dataset = CaptionFile(tmp_path, train_file=annotations)
    (problem,) = check_dataset(dataset, dataset.spans("train"))
    assert problem.kind == "overlap"
    assert "3.mp4 ends at 9.00 s, the next chunk begins at 6 s" in problem.what


def test_a_folder_without_its_first_chunk_is_no_video(chunked: Path) -> None:
    (chunked / "0.mp4").unlink()
    with pytest.raises(NotAVideoError, match=r"from 0 on; the first of 1 is 3\.mp4"):
        open_video(chunked)
    (chunked / "3.mp4").unlink()
    with pytest.raises(NotAVideoError, match="there is none"):
        open_video(chunked)


# vlrlt data check


def test_every_problem_is_named(tmp_path: Path, chunked: Path) -> None:
    videos = chunked.parent
    write_video(videos / "good.mp4")
    (videos / "broken.mp4").write_bytes(b"no video")
    (chunked / "3.mp4").rename(chunked / "5.mp4")
    annotations = write(
        tmp_path / "captions.csv",
        "video,start_s,end_s,caption",
        *(
            "good,0,3,fine",
            "good,1,9,too late",
            "good,4,,later still",
            "absent,0,1,a",
            "broken,0,1,b",
            "long.mp4,0,6,c",
        ),
    )
    dataset: CaptionedVideos = CaptionFile(videos, train_file=annotations)
    progress: list[tuple[int, int]] = []
    problems = check_dataset(dataset, dataset.spans("train"), on_progress=lambda *step: progress.append(step))
    assert [problem.kind for problem in problems] == ["past the end", "past the end", "missing", "unreadable", "gap"]
    assert "captions.csv:3: [1.0, 9.0) s of " in problems[0].what
    assert "no video absent" in problems[2].what
    assert "broken.mp4" in problems[3].what
    assert "0.mp4 ends at 3.00 s, the next chunk begins at 5 s" in problems[4].what
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]

    command = ["data", "check", "captions", "--annotations", str(annotations), "--videos", str(videos)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-1] == "6 spans of 4 videos: 5 problems"
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (found["spans"], found["videos"], len(found["problems"])) == (6, 4, 5)


def test_repaired_lines_are_counted_and_shown_but_are_no_problem(tmp_path: Path) -> None:
    write_video(tmp_path / "uid.mp4")
    line = "0\tuid\t3.0\tp\t0\t1.0\t{start}\t2.0\t#C C waits\t[1]\t[2]"
    egoclip(tmp_path, line.format(start=-0.5), line.format(start="soon"), line.format(start=1))
    command = ["data", "check", "egoclip", "--annotations", str(tmp_path / "egoclip.csv"), "--videos", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "1 line: starts at 0 s, clip_start lies before the video",
            "1 line: left out, clip_start and clip_end must be seconds, clip_end the later",
            f"  {tmp_path}/egoclip.csv:2: starts at 0 s, clip_start lies before the video",
            f"  {tmp_path}/egoclip.csv:3: left out, clip_start and clip_end must be seconds, clip_end the later",
            "2 spans of 1 videos: 0 problems",
        ],
    )
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert sum(found["repairs"]["counts"].values()) == len(found["repairs"]["first"]) == 2


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_an_unreadable_chunk_hides_no_other_problem(tmp_path: Path, chunked: Path, decoder: DecoderName) -> None:
    """0 is cut off, 3 is no video, 6 is whole and followed by a gap."""
    recipe = Recipe(container_options={"movflags": "faststart"})  # the index is in front: a piece of it opens well
    whole = write_video(chunked / "0.mp4", recipe).read_bytes()
    for start_s, content in ((0, whole[: len(whole) * 2 // 3]), (3, b"no video"), (6, whole), (15, whole)):
        (chunked / f"{start_s}.mp4").write_bytes(content)
    lines = ("long.mp4,0,2,a", "long.mp4,2,4,b", "long.mp4,6,8,c", "long.mp4,17,30,d")
    annotations = write(tmp_path / "captions.csv", "video,start_s,end_s,caption", *lines)
    dataset = CaptionFile(chunked.parent, train_file=annotations)
    problems = check_dataset(dataset, dataset.spans("train"), decoder=decoder)
    assert [problem.kind for problem in problems] == ["unreadable", "unreadable", "gap", "past the end"]
    for problem, what in zip(problems, ("0.mp4", "3.mp4", "6.mp4 ends at 9.00 s", "which lasts 18.00 s"), strict=True):
        assert what in problem.what
    assert problems[0].what.endswith("(2 spans)")
    assert problems[1].what.endswith("(1 spans)")


def test_a_healthy_dataset_has_no_problem(toy_data: Path) -> None:
    command = ["data", "check", "epic", "--annotations", str(toy_data), "--videos", str(toy_data / "videos")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(": 0 problems\n")
    spans = EpicData(toy_data).spans("train")
    assert np.all([span.stop_s is not None and span.stop_s > span.start_s for span in spans])
