"""A moment head equals its network, learns borders and probabilities, and a library that has one answers with it."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from colour import COLOURS, ColourEmbedder, write_colours
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from stores import Archive, queries
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.evaluate.moments import overlaps
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.judging import RunContext, judged_moments, middle_s
from vlrlt.index.search.moments import Scores, grow_moments
from vlrlt.index.vectors.choice import open_store
from vlrlt.models.moment_head import NUM_FEATURES, NUM_POINTS, MomentHead, times_s
from vlrlt.service import Library
from vlrlt.service.calibrate import MIN_LINES
from vlrlt.service.heads import head_path
from vlrlt.train.moment_head import HeadModule, fit_moment_head
from vlrlt.types import Float32Array
from vlrlt.video.sampling import ClipSampling

SPACING_S = 0.25
SAMPLING = ClipSampling(clip_s=1.0, stride_s=1.0, num_frames=1)
EVERY_SECOND = ColourEmbedder(sampling=SAMPLING)


def untrained(seed: int = 0, *, spacing_s: float = SPACING_S) -> tuple[HeadModule, MomentHead]:
    torch.manual_seed(seed)
    module = HeadModule(num_features=NUM_FEATURES, num_points=NUM_POINTS, spacing_s=spacing_s).eval()
    return module, module.frozen(spacing_s=spacing_s, sampling="any")


def some_features(num: int, seed: int = 0) -> Float32Array:
    random = np.random.default_rng(seed)
    features_NFG = random.standard_normal((num, NUM_FEATURES, NUM_POINTS)).astype(np.float32)
    features_NFG[:, -1] = 1
    features_NFG[::2, :, -9:] = 0  # the video ends there
    return features_NFG


def test_numpy_computes_what_torch_computes() -> None:
    module, head = untrained()
    features_NFG = some_features(40)
    with torch.no_grad():
        ends_s_N2, logit_N = module(torch.from_numpy(features_NFG))
    judged = head.judge(features_NFG)
    np.testing.assert_allclose(judged.start_s_B, ends_s_N2[:, 0], atol=1e-5)
    np.testing.assert_allclose(judged.end_s_B, ends_s_N2[:, 1], atol=1e-5)
    np.testing.assert_allclose(judged.probability_B, torch.sigmoid(logit_N), atol=1e-5)


def test_nothing_outside_of_the_video_is_a_border() -> None:
    judged = untrained()[1].judge(some_features(40))
    last_s = times_s(SPACING_S)[-10]
    assert max(judged.start_s_B[::2].max(), judged.end_s_B[::2].max()) <= last_s


def test_it_learns_borders_and_what_is_right() -> None:
    """Each example is a plateau in noise; those of half the height are wrong."""
    random = np.random.default_rng(0)
    ends_s_N2 = np.stack([random.uniform(-2, -0.4, 1500), random.uniform(0.4, 2, 1500)], axis=1).astype(np.float32)
    right_N = random.random(1500) < 0.5
    inside_NG = (times_s(SPACING_S) >= ends_s_N2[:, :1]) & (times_s(SPACING_S) < ends_s_N2[:, 1:])
    features_NFG = (0.1 * random.standard_normal((1500, NUM_FEATURES, NUM_POINTS))).astype(np.float32)
    features_NFG[:, 3] += inside_NG * np.where(right_N, 1.0, 0.5)[:, None]
    features_NFG[:, -1] = 1
    head = fit_moment_head(features_NFG[:1200], ends_s_N2[:1200], right_N[:1200], spacing_s=SPACING_S, sampling="any")
    judged = head.judge(features_NFG[1200:])
    found_N2 = np.stack([judged.start_s_B, judged.end_s_B], axis=1)
    iou_N = np.array([overlaps([f], [t])[0, 0] for f, t in zip(found_N2, ends_s_N2[1200:], strict=True)])
    assert iou_N[right_N[1200:]].mean() > 0.85
    assert ((judged.probability_B > 0.5) == right_N[1200:]).mean() > 0.9


# What it is shown


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    made = Archive(tmp_path_factory.mktemp("vectors"))
    made.add(1, 2, 3, clips=40)
    return made


def context_of(archive: Archive, query: int = 0) -> tuple[Scores, RunContext]:
    store = open_store(archive.library_dir, archive.snapshot)
    query_D = queries()[query]
    rivals_D = queries()[query + 1]
    scores = Scores(store, query_D)
    context = RunContext(
        scores,
        archive.snapshot.frame_runs,
        store,
        lambda vector_D: (float(vector_D @ query_D), float(vector_D @ rivals_D)),
        spacing_s=SPACING_S,
    )
    return scores, context


@pytest.mark.parametrize("seed", [40, 41, 60, 79])
def test_what_is_shown_is_of_the_video_alone(archive: Archive, seed: int) -> None:
    """Compared with plain numbers of the second video, which has runs 40 to 79 of a second each."""
    scores, context = context_of(archive)
    features_FG = context.features(seed)
    own_KD = archive.vectors_ND[40:80]
    for place, time in enumerate(middle_s(archive.snapshot.frame_runs, seed) + times_s(SPACING_S)):
        if not 0 <= time < 40:
            assert not features_FG[:, place].any()
            continue
        run = int(time)
        height = (own_KD[run] @ queries()[0] - scores.median) / max(scores.of(seed) - scores.median, 1e-6)
        assert features_FG[3, place] == pytest.approx(np.clip(height, -1, 2), abs=1e-4)
        assert features_FG[5, place] == pytest.approx(own_KD[run] @ archive.vectors_ND[seed], abs=1e-4)
        after = own_KD[run] @ own_KD[run + 1] if run < 39 else 1.0
        assert features_FG[7, place] == pytest.approx(after, abs=1e-4)
        assert features_FG[-1, place] == 1


@given(weights=st.integers(0, 10_000), query=st.integers(0, 10))
def test_moments_never_overlap_and_keep_their_order(archive: Archive, weights: int, query: int) -> None:
    scores, context = context_of(archive, query)
    runs = archive.snapshot.frame_runs
    grown = list(grow_moments(scores, runs, surrounded=False))
    head = untrained(weights)[1]
    judged = list(judged_moments(iter(grown), head=head, context=context, runs=runs))
    order = [moment.seed for moment in grown]
    assert [order.index(moment.seed) for moment in judged] == sorted(order.index(moment.seed) for moment in judged)
    assert all(moment.start_s < moment.end_s and 0 <= (moment.confidence or 0) <= 1 for moment in judged)
    for video in range(3):
        spans = sorted((m.start_s, m.end_s) for m in judged if runs.video_N[m.seed] == video)
        assert all(before[1] <= after[0] + 1e-9 for before, after in itertools.pairwise(spans))


# Files


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    head = untrained()[1]
    head.save(tmp_path / "head.safetensors")
    read = MomentHead.load(tmp_path / "head.safetensors")
    np.testing.assert_array_equal(read.judge(some_features(4)).end_s_B, head.judge(some_features(4)).end_s_B)
    assert (read.spacing_s, read.sampling) == (SPACING_S, "any")


@pytest.mark.parametrize("damage", ["torn", "shape", "nan", "spacing", "no facts", "less"])
def test_a_damaged_head_is_one_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "head.safetensors"
    untrained()[1].save(path)
    weights, facts = dict(load_file(path)), {"spacing_s": "0.25", "sampling": "any"}
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "shape":
        weights["conv1.weight"] = weights["conv1.weight"][:, :3]
    elif damage == "nan":
        weights["out.bias"] = np.array([np.nan], np.float32)
    elif damage == "spacing":
        facts["spacing_s"] = "-1"
    elif damage == "no facts":
        facts = {}
    else:
        del weights["ends.bias"]
    if damage != "torn":
        save_file(weights, path, facts)
    with pytest.raises(CheckpointError, match="repeat vlrlt calibrate"):
        MomentHead.load(path)


# Through the library


def make_library(folder: Path, *, videos: int = 10, scenes: int = 13) -> Path:
    """Videos of colours that change at any eighth of a second, looked at once a second; narrated to the eighth."""
    random = np.random.default_rng(5)
    lines = ["video_id,start_timestamp,stop_timestamp,narration"]
    for video in range(videos):
        shown: list[tuple[str, float]] = []
        start_s = 0.0
        for _ in range(scenes):
            name = str(random.choice([name for name in COLOURS if not shown or name != shown[-1][0]]))
            shown.append((name, float(random.integers(10, 24)) / 8))
            lines.append(f"v{video},00:00:{start_s:06.3f},00:00:{start_s + shown[-1][1]:06.3f},{name}")
            start_s += shown[-1][1]
        write_colours(folder / "archive" / f"v{video}.mp4", shown)
    (folder / "narrations.csv").write_text("\n".join(lines))
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=EVERY_SECOND)
    with Ledger.open(folder / "library") as ledger:
        ledger.annotations.import_files([folder / "narrations.csv"])
    return folder / "library"


@pytest.fixture(scope="module")
def narrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_library(tmp_path_factory.mktemp("narrated"))


@pytest.fixture
def without_head(narrated: Path) -> Iterator[Path]:
    yield narrated
    for path in narrated.glob("moment_head*"):
        path.unlink()


def test_a_library_learns_from_its_narrations(without_head: Path) -> None:
    """Scenes begin up to a second before the first look at them, so moments without a head are late."""
    with Library(without_head, model=EVERY_SECOND) as library:
        before = library.search("red", k=3)
        assert all(hit.confidence is None for hit in before.hits), "a guess is not shown as a probability"
        report = library.calibrate()
        assert report.kept
        assert (report.narrations, report.videos, report.held_out_videos) == (130, 10, 3)
        assert report.iou > report.iou_before + 0.03
        assert report.brier <= report.brier_before
        after = library.search("red", k=3)  # the open library takes it at once
        assert all(hit.confidence is not None for hit in after.hits)
        assert [hit.start_s for hit in after.hits] != [hit.start_s for hit in before.hits]
        assert "searches use it from now on" in report.as_text()
        assert json.loads(json.dumps(report.as_json()))["kept"] is True
        assert head_path(without_head, library.settings()).is_file()
    with Library(without_head, model=EVERY_SECOND) as library:
        assert library.search("red", k=3).hits == after.hits
        assert not library.search("unheard of", k=1).found


def test_another_way_of_looking_has_no_use_for_it(without_head: Path) -> None:
    with Library(without_head, model=EVERY_SECOND) as library:
        library.calibrate()
        settings = library.settings()
        path = head_path(without_head, settings)
        plain = MomentHead.load(path)
        dataclasses.replace(plain, sampling="once a week").save(path)
        as_without = library.search("red", k=3)
        path.unlink()
        assert library.search("red", k=3).hits == as_without.hits


def test_too_few_narrations_are_told(tmp_path: Path) -> None:
    library_dir = make_library(tmp_path, videos=2, scenes=2)
    with (
        Library(library_dir, model=EVERY_SECOND) as library,
        pytest.raises(ConfigError, match=rf"4 narrations of 2 videos are too few.*{MIN_LINES}.*vlrlt import"),
    ):
        library.calibrate()


def test_the_command_says_what_is_missing(toy_data: Path, library_dir: Path) -> None:
    runner = CliRunner()
    video = next((toy_data / "videos").glob("*.mp4"))
    runner.invoke(app, ["index", str(video), "--library", str(library_dir), "--model", "default"])
    told = runner.invoke(app, ["calibrate", "--library", str(library_dir)])
    assert told.exit_code == 2
    assert "0 narrations of 0 videos are too few to learn from" in told.output
