"""The pages beside the search: library, look inside, compare; and what they read."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from colour import write_colours
from streamlit.testing.v1 import AppTest
from towers import tiny_dual

from vlrlt.embed import load_embedder
from vlrlt.errors import ConfigError
from vlrlt.explain import read_tokens
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.control import RunControl, view_run
from vlrlt.index.run.run_report import IndexProgress
from vlrlt.index.search.request import DEFAULTS, SearchRequest
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.service import Library
from vlrlt.service.jobs import Jobs, below
from vlrlt.types import ClipSpan
from vlrlt.ui import launch
from vlrlt.ui.links import chips, from_params, to_params
from vlrlt.ui.runs import COST, find_runs
from vlrlt.ui.views.inside import _project


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive, a model and a library."""
    folder = tmp_path_factory.mktemp("prepared")
    write_colours(folder / "archive" / "sky.mp4", [("red", 4), ("yellow", 4)])
    write_colours(folder / "archive" / "deep" / "sea.mp4", [("blue", 5), ("cyan", 3)])
    (folder / "archive" / "bad *x*.mp4").write_bytes(b"no video")
    save_checkpoint(tiny_dual(), folder / "model")
    embedder = load_embedder(str(folder / "model"))
    index_paths([folder / "archive"], library_dir=folder / "library", embedder=embedder)
    return folder


@pytest.fixture
def library(prepared: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copytree(prepared / "library", library_dir)
    monkeypatch.setenv(launch.LIBRARY_VARIABLE, str(library_dir))
    yield library_dir
    st.cache_resource.clear()


def library_page() -> None:
    from vlrlt.ui.views import library

    library.show()


def inside_page() -> None:
    from vlrlt.ui.views import inside

    inside.show()


def compare_page() -> None:
    from vlrlt.ui.views import compare

    compare.show()


def run(page: AppTest) -> AppTest:
    page.run()
    assert [element.value for element in page.exception] == []
    assert [element.value for element in page.warning] == []
    assert [element.value for element in page.error] == []
    return page


def test_the_library_page_tells_what_there_is_and_what_failed(library: Path, prepared: Path) -> None:
    page = run(AppTest.from_function(library_page, default_timeout=120))
    with Library(library) as service:
        status, (report,) = service.status(), service.reports()
    facts = {metric.label: metric.value for metric in page.metric}
    assert facts["Videos"] == "2"
    assert facts["Length"] == "16 s"
    assert facts["Vectors"] == str(status.vectors)
    assert facts["Failed"] == "1"
    assert facts["Tokens not encoded"] == f"{1 - report['tokens'] / report['dense_tokens']:.0%}"
    failures, videos = page.dataframe
    assert videos.value["Vectors"].sum() == status.vectors
    assert failures.value["File"].tolist() == [str(prepared / "archive" / "bad *x*.mp4")]
    assert failures.value["Reason"].tolist() == [status.failures[0].reason]
    assert any("vlrlt ui --library" in code.value for code in page.code), "no root is registered"


def test_a_registered_folder_is_indexed_from_the_page(
    library: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(prepared / "archive", tmp_path / "more")
    write_colours(tmp_path / "more" / "deep" / "new.mp4", [("green", 4)])
    monkeypatch.setenv(launch.ROOTS_VARIABLE, f"more={tmp_path / 'more'}")
    page = run(AppTest.from_function(library_page, default_timeout=120))
    page.selectbox[1].set_value("deep")
    next(button for button in page.button if button.label == "Index").click()
    run(page)
    from vlrlt.ui.views.library import _open_jobs

    job = _open_jobs().latest()
    assert job is not None
    ends_s = time.monotonic() + 120
    while job.state == "running" and time.monotonic() < ends_s:
        time.sleep(0.1)
    assert job.state == "done", job
    run(page)
    assert {metric.label: metric.value for metric in page.metric}["Videos"] == "4", "a copy is another file"


def test_a_run_is_seen_from_outside_while_it_lasts(library: Path) -> None:
    assert view_run(library) is None
    control = RunControl(library)
    step = IndexProgress(
        path=library / "x.mp4",
        scanning=False,
        files_done=1,
        files_total=4,
        bytes_done=25,
        bytes_total=100,
        video_s_done=60.0,
    )
    with control.listening():
        control.tell(step)
        run_view = view_run(library)
        assert run_view is not None
        assert run_view.progress == step
        assert not run_view.paused
        page = run(AppTest.from_function(library_page, default_timeout=120))
        assert "1 of 4 files" in page.get("progress")[0].text
        next(button for button in page.button if button.label == "Pause").click()
        run(page)
        assert (library / "pause").exists()
        next(button for button in page.button if button.label == "Go on").click()
        next_page = run(page)
        assert not (library / "pause").exists()
        next(button for button in next_page.button if button.label == "Stop").click()
        run(page)
        assert (library / "stop").exists()
    assert view_run(library) is None


def test_only_folders_below_a_root_are_indexed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    assert below(root, "inner") == root / "inner"
    for folder in ("..", "link", "/etc", "absent"):
        with pytest.raises(ConfigError, match="is not a folder below"):
            below(root, folder)
        with pytest.raises(ConfigError):
            Jobs(tmp_path, {"root": root}).start("root", folder=folder, retry_failed=False)


def test_look_inside_shows_what_is_kept_step_by_step(library: Path, prepared: Path) -> None:
    page = run(AppTest.from_function(inside_page, default_timeout=120))
    with Library(library) as service:
        path = Path(service.path_of(str(page.selectbox(key="inside-video").value)))
        tokens = next(iter(read_tokens(path, embedder=service.embedder(), span=ClipSpan(0, 30))))
    facts = {metric.label: metric.value for metric in page.metric}
    assert facts["Tokens"] == f"{tokens.num_tokens:,}"
    page.slider(key="inside-step").set_value(2)
    run(page)
    assert len(page.get("image")) == 2


def test_the_map_lays_clips_out_by_their_two_main_directions(library: Path) -> None:
    rng = np.random.default_rng(0)
    plane_N2 = rng.normal(size=(200, 2)).astype(np.float32) * (5, 2)
    axes_2D = np.linalg.qr(rng.normal(size=(16, 2)))[0].T
    xy_N2 = _project((plane_N2 @ axes_2D + 3).astype(np.float32))
    distances = [np.linalg.norm(points[:, None] - points[None], axis=-1) for points in (plane_N2, xy_N2)]
    np.testing.assert_allclose(distances[1], distances[0], atol=1e-4)
    page = AppTest.from_function(inside_page, default_timeout=120)
    page.session_state["inside"] = "A map of the clips"
    run(page)
    assert any("clips, placed by their vectors" in element.value for element in page.markdown)


def test_finished_runs_are_found_and_compared(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_dir = tmp_path / "runs"
    runs_dir.mkdir()
    (runs_dir / "a.json").write_text(json.dumps({"benchmark": "x", "model": "m", "mAP": {"avg": 0.5}, "ok": True}))
    (runs_dir / "b.json").write_text("as text\n" + json.dumps({"benchmark": "x", "model": "n", "mAP": {"avg": 0.7}}))
    rows = [
        {"task": "text", "arm": "dense", COST: 2.0, "quality": 0.5},
        {"task": "text", "arm": "x", COST: 1.0, "quality": 0.4},
    ]
    (runs_dir / "curve.json").write_text("lines\n" + json.dumps(rows))
    (runs_dir / "metrics.csv").write_text("epoch,step,train/loss,val/mAP\n0,9,3.2,\n0,19,,0.25\n")
    (runs_dir / "config.json").write_text('{"num_layers": 4}')
    (runs_dir / "torn.json").write_text('{"benchmark": ')
    (runs_dir / "people.csv").write_text("name\nann\n")
    found = {one.name: one for one in find_runs(runs_dir)}
    assert {name: one.kind for name, one in found.items()} == {
        "a.json": "evaluation",
        "b.json": "evaluation",
        "curve.json": "quality and cost",
        "metrics.csv": "training",
    }
    assert found["a.json"].metrics == {"mAP avg": 0.5}
    assert found["metrics.csv"].points == [
        {"step": 9, "metric": "train/loss", "value": 3.2},
        {"step": 19, "metric": "val/mAP", "value": 0.25},
    ]
    monkeypatch.setenv(launch.RUNS_VARIABLE, str(runs_dir))
    page = run(AppTest.from_function(compare_page, default_timeout=120))
    (table,) = page.dataframe
    assert table.value.to_dict("records") == [{"metric": "mAP avg", "a.json": 0.5, "b.json": 0.7}]
    assert len(page.get("vega_lite_chart")) == 2


def test_without_runs_the_page_says_where_they_come_from(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(launch.RUNS_VARIABLE, raising=False)
    page = run(AppTest.from_function(compare_page, default_timeout=120))
    assert "--runs" in page.code[0].value


def test_a_request_survives_its_link() -> None:
    options: dict[str, Any] = {
        "text": ("a & b = c", "also"),
        "then": ("d",),
        "within_s": 12.5,
        "without": ("e",),
        "like": ("00000000000000ff",),
        "unlike": ("00000000000000fe",),
        "hidden": ("00000000000000fd",),
        "videos": ("x", "y"),
        "paths": ("*/2024/*",),
        "not_paths": ("z",),
        "recorded_after": "2024-05-01",
        "recorded_before": "2024-06-01",
        "min_duration_s": 1.0,
        "max_duration_s": 2.0,
        "where": ("camera=gopro",),
        "moving": 0.25,
        "still": 0.75,
        "sources": ("speech",),
        "per_video": None,
        "diversity": 0.5,
        "duplicates": True,
        "tail": True,
    }
    assert options.keys() == DEFAULTS.keys() - {"images", "clips", "k", "page", "group_by", "rerank", "rerank_most"}
    request = SearchRequest().replaced(**options)
    assert from_params(to_params(request)) == request
    assert to_params(SearchRequest()) == {}
    assert len(chips(request)) == len(options) - 2, (
        "the words are in the box; the least and the most that moves are one"
    )
    for left in chips(request).values():
        assert left != request


@pytest.mark.parametrize(
    "params",
    [
        {"like": ["x"]},
        {"moving": ["2"]},
        {"moving": ["nan"]},
        {"within": ["-1"]},
        {"source": ["evil"]},
        {"unknown": ["1"]},
    ],
)
def test_what_a_link_says_wrongly_is_left_out(params: dict[str, list[str]]) -> None:
    assert from_params(params) == SearchRequest()
