"""`vlrlt eval`: the other protocols on videos of one colour each, asked of a model that sees nothing but colours."""

import io
import json
import pickle
import zipfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from vlrlt import embed
from vlrlt.cli import app
from vlrlt.datasets.charades_ego import CharadesEgo
from vlrlt.datasets.ego4d import EgoMCQ
from vlrlt.datasets.egtea import Egtea
from vlrlt.datasets.msrvtt import MsrVtt
from vlrlt.errors import AnnotationError
from vlrlt.evaluate.charades_ego import CharadesEgoBenchmark
from vlrlt.evaluate.egomcq import EgoMCQBenchmark
from vlrlt.evaluate.egtea import EgteaBenchmark, stretches_and_crops
from vlrlt.evaluate.msrvtt import MsrVttBenchmark
from vlrlt.evaluate.predictions import Predictions, read_similarity
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.types import ClipEmbeddings, Float32Array, Precision, UInt8Array, VideoInfo
from vlrlt.video.sampling import ClipSampling
from vlrlt.video.transforms import Preprocess

COLOURS = ("red", "green", "blue")


class SeesColours:
    """Vectors are amounts of red, green and blue, seen or named."""

    name = "colours"
    fingerprint = "colours-1"
    embed_dim = 3
    sampling = ClipSampling(clip_s=1, stride_s=1, num_frames=4)
    preprocess = Preprocess(image_size_px=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    captions: tuple[str, ...] = ()
    policy: TokenPolicy | None = None
    precision: Precision = "float32"
    num_seen = 0

    def embed_clips(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
        self.num_seen += len(rgb_BTHWC)
        amounts_B3 = rgb_BTHWC.mean(axis=(1, 2, 3)) + 1e-3
        return ClipEmbeddings(vectors_BD=_unit(amounts_B3), num_tokens_B=np.full(len(rgb_BTHWC), 3), num_dense_tokens=6)

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        return _unit(np.array([[float(colour in text.lower()) for colour in COLOURS] for text in texts]) + 1e-3)


def _unit(amounts: Any) -> Float32Array:
    unit: Float32Array = (amounts / np.linalg.norm(amounts, axis=1, keepdims=True)).astype(np.float32)
    return unit


def film(path: Path, colours: str, *, width_px: int = 64) -> Path:
    """One second of each colour, e.g. "rg"; upper case: only the right third of the picture has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width_px, 32, "yuv420p", Fraction(1, 10)
        for colour in colours:
            rgb_HWC = np.zeros((32, width_px, 3), np.uint8)
            left = width_px * 2 // 3 if colour.isupper() else 0
            rgb_HWC[:, left:, "rgb".index(colour.lower())] = 230
            for _ in range(10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb_HWC, format="rgb24")))
        container.mux(stream.encode())
    return path


def mcq(tmp_path: Path) -> EgoMCQ:
    film(tmp_path / "one.mp4", "rgbrg")
    for name in COLOURS:
        film(tmp_path / f"{name}.mp4", name[0])

    def ask(query: str, answer: int, kind: int, choices: list[tuple[str, float]]) -> dict[str, Any]:
        return {
            "answer": answer, "types": kind, "query": {"clip_text": query},
            "choices": {
                str(place): {"video_uid": uid, "clip_start": start_s, "clip_end": start_s + 1, "clip_text": uid}
                for place, (uid, start_s) in enumerate(choices)
            },
        }  # fmt: skip

    inside = [("one", 0.0), ("one", 1.0), ("one", 2.0)]
    across = [("red", 0.0), ("green", 0.0), ("blue", 0.0)]
    questions = [
        ask("#C C takes the green lime", 1, 2, inside),
        ask("#C C takes the red tomato", 2, 2, inside),  # the annotation is wrong, the model is not
        ask("#C C takes the blue bag", 2, 1, across),
    ]
    (tmp_path / "egomcq.json").write_text(json.dumps(dict(enumerate(questions))))
    return EgoMCQ(tmp_path / "egomcq.json", tmp_path)


def test_egomcq_tells_kinds_apart_and_embeds_a_clip_once(tmp_path: Path) -> None:
    benchmark, model = EgoMCQBenchmark(data=mcq(tmp_path)), SeesColours()
    report = benchmark.score(benchmark.predict(model)).as_json()
    assert model.num_seen == 6
    assert (report["intra_accuracy"], report["inter_accuracy"]) == (0.5, 1.0)
    assert report["random"] == {"intra_accuracy": pytest.approx(1 / 3), "inter_accuracy": pytest.approx(1 / 3)}
    assert (report["intra_questions"], report["inter_questions"], report["tokens_kept"]) == (2, 1, 0.5)


def test_charades_ego_by_hand(tmp_path: Path) -> None:
    """The red class is shown by the 1st and 3rd best video; the green one by the best; blue by none."""
    (tmp_path / "Charades_v1_classes.txt").write_text("c000 Holding red\nc001 Holding green\nc002 Holding blue\n")
    rows = ["id,actions,length", "a,c000 0 1,2", "b,c001 0 1;c000 0 1,2", "c,c001 0 1,2", "d,,2"]
    (tmp_path / "CharadesEgo_v1_test_only1st.csv").write_text("\n".join(rows) + "\n")
    for name, colours in {"a": "rr", "b": "bb", "c": "rg", "d": "rr"}.items():
        film(tmp_path / f"{name}.mp4", colours)
    benchmark = CharadesEgoBenchmark(data=CharadesEgo(tmp_path, tmp_path))
    report = benchmark.score(benchmark.predict(SeesColours())).as_json()
    # Red ranks a, c, b (d shows nothing and is last): (1/1 + 2/3) / 2. Green ranks c first; b and a have next to none.
    assert report["per_class"]["Holding red"] == pytest.approx((1 + 2 / 3) / 2)
    assert report["per_class"].keys() == {"Holding red", "Holding green"}
    assert report["mAP"] == pytest.approx(np.mean(list(report["per_class"].values())))
    assert report["videos_without_action"] == 1
    # Two of three labelled videos show each class: of three equally likely places of the third, AP is 1, 5/6 and 7/12.
    assert report["random"]["mAP"] == pytest.approx((1 + 5 / 6 + 7 / 12) / 3)


def test_egtea_finds_what_only_one_crop_or_stretch_shows(tmp_path: Path) -> None:
    (tmp_path / "action_idx.txt").write_text("Take red 1\nTake green 2\nTake blue 3\n")
    names = [f"OP01-R01-X-{number}-1-F1-F2" for number in range(4)]
    (tmp_path / "test_split1.txt").write_text(
        "".join(f"{n} {c} 0 0\n" for n, c in zip(names, (1, 2, 3, 3), strict=True))
    )
    films = {names[0]: "rr", names[1]: "rgrr", names[2]: "BB", names[3]: "rr"}
    for name, colours in films.items():
        film(tmp_path / "OP01-R01-X" / f"{name}.mp4", colours, width_px=96)
    benchmark = EgteaBenchmark(data=Egtea(tmp_path, tmp_path))
    predictions = benchmark.predict(SeesColours())
    blue = predictions.score_RC[2]
    assert blue.argmax() == 2
    report = benchmark.score(predictions).as_json()
    assert report["accuracy"] >= 0.5
    per_class = report["per_class"]
    assert report["mean_class_accuracy"] == pytest.approx(np.mean(list(per_class.values())))
    assert (per_class["take red"], per_class["take blue"]) == (1.0, 0.5)
    assert report["random"]["accuracy"] == pytest.approx(1 / 3)


def test_egtea_views_cover_the_clip() -> None:
    info = VideoInfo(path=Path("x"), duration_s=5.0, start_s=0, average_fps=24, width_px=9, height_px=9,
                     rotation_deg=0, codec="h264")  # fmt: skip
    views = stretches_and_crops(info, None, 16)  # type: ignore[arg-type]
    assert len(views) == 10  # each decoded once
    assert {view.crops for view in views} == {("first", "centre", "last")}
    assert views[0].times_T[0] < 1 / 24
    assert 5.0 - 2 / 24 <= views[-1].times_T[-1] < 5.0
    assert np.allclose(np.diff(views[3].times_T), 2 / 24)


def msrvtt(tmp_path: Path) -> MsrVtt:
    pairs = [("v1", "something red"), ("v2", "something green"), ("v3", "something red")]
    rows = [f"k,m,{name},{text}" for name, text in pairs]
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text("key,vid_key,video_id,sentence\n" + "\n".join(rows) + "\n")
    for name, colour in {"v1": "r", "v2": "g", "v3": "b"}.items():
        film(tmp_path / f"{name}.mp4", colour)
    return MsrVtt(tmp_path, tmp_path)


def test_msrvtt_both_ways(tmp_path: Path) -> None:
    benchmark = MsrVttBenchmark(data=msrvtt(tmp_path))
    report = benchmark.score(benchmark.predict(SeesColours())).as_json()
    assert report["t2v_R@1"] == pytest.approx(2 / 3)  # the third caption says red of a blue video
    assert report["t2v_R@5"] == 1.0
    assert report["random"]["t2v_R@1"] == pytest.approx(1 / 3)
    assert report["random"]["t2v_median_rank"] == 2.0


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_commands_save_score_again_and_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mcq(tmp_path)
    monkeypatch.setattr(embed, "load_embedder", lambda *_, **__: SeesColours())
    common = ("eval", "egomcq", "--annotations", tmp_path / "egomcq.json", "--videos", tmp_path)
    outputs = ("--save", tmp_path / "p.npz", "--html", tmp_path / "e.html", "--markdown", tmp_path / "t.md")
    first = json.loads(run(*common, *outputs, "--json"))
    assert json.loads(run(*common, "--predictions", tmp_path / "p.npz", "--json")) == first
    page = (tmp_path / "e.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 9
    assert page.count('class="right"') == 3  # the right choice of every question
    assert "| colours | 0.500 | 1.000 |" in (tmp_path / "t.md").read_text()
    text = run(*common)
    assert [line.split()[0] for line in text.splitlines()[1:5]] == ["egomcq", "colours", "text", "random"]


def test_every_other_benchmark_has_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    msrvtt(tmp_path)
    monkeypatch.setattr(embed, "load_embedder", lambda *_, **__: SeesColours())
    report = json.loads(run("eval", "msrvtt", "--annotations", tmp_path, "--videos", tmp_path, "--json"))
    assert (report["benchmark"], report["model"], report["videos"]) == ("msrvtt", "colours", 3)
    for name in ("epic-mir", "egomcq", "charades-ego", "egtea", "msrvtt"):
        assert "Example: vlrlt " in run("eval", name, "--help")


def test_a_given_similarity_matrix_is_scored(toy_data: Path, tmp_path: Path) -> None:
    from vlrlt.datasets.epic import EpicData, relevancy_matrix

    relevancy = relevancy_matrix(EpicData(toy_data), "test")
    np.save(tmp_path / "perfect.npy", relevancy)
    command = ("eval", "epic-mir", "--annotations", toy_data / "annotations", "--similarity", tmp_path / "perfect.npy")
    outputs = ("--submission", tmp_path / "s.zip", "--supervision", 4, 3, 3, "--cache", tmp_path / "cache")
    report = json.loads(run(*command, "--json", *outputs))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert report["mAP"] == report["nDCG"] == {"v2t": 1.0, "t2v": 1.0, "avg": 1.0}
    assert report["model"] == "perfect"
    assert report["text_only"]["mAP"]["v2t"] < 1
    assert sum(scores["clips"] for scores in report["per_verb"].values()) == report["clips"]
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        submission = pickle.load(io.BytesIO(archive.read("test.pkl")))
    assert submission["challenge"] == "multi_instance_retrieval"
    assert [submission[f"sls_{level}"] for level in ("pt", "tl", "td")] == [4, 3, 3]
    assert submission["sim_mat"].shape == (len(submission["vis_ids"]), len(submission["txt_ids"])) == relevancy.shape
    np.save(tmp_path / "wrong.npy", relevancy[:, 1:])
    result = CliRunner().invoke(app, [str(word) for word in (*command[:-1], tmp_path / "wrong.npy")])
    assert result.exit_code == 1
    assert "the annotations need a matrix of shape" in result.output


def test_predictions_of_other_annotations_or_other_files_are_refused(tmp_path: Path) -> None:
    mine = Predictions(benchmark="x", model="m", rows=("a",), columns=("b", "c"), score_RC=np.zeros((1, 2)))
    mine.save(tmp_path / "p.npz")
    again = Predictions.load(tmp_path / "p.npz")
    assert (again.rows, again.columns, again.cost) == (("a",), ("b", "c"), None)
    with pytest.raises(AnnotationError, match="were not made for these annotations of y"):
        again.check(benchmark="y", rows=["a"], columns=["b", "c"])
    (tmp_path / "p.npz").write_bytes(b"PK\x03\x04 broken")
    for path in (tmp_path / "p.npz", tmp_path / "absent.npz"):
        with pytest.raises(AnnotationError, match="not a file that `vlrlt eval --save` has written"):
            Predictions.load(path)
    np.save(tmp_path / "ints.npy", np.zeros((2, 2), np.int64))
    np.savez(tmp_path / "many.npz", a=np.zeros(2))
    (tmp_path / "text.npy").write_text("hello")
    for name, message in (("ints.npy", "got int64"), ("many.npz", "got an archive"), ("text.npy", "cannot be read")):
        with pytest.raises(AnnotationError, match=message):
            read_similarity(tmp_path / name)
