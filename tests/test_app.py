"""The search page shows what the service finds, in every state a library can be in, and never a traceback.

Streamlit's AppTest runs the real page on a real library; the model is real but untrained, so what is found is compared
with the service's own answer. That the page works in a browser is shown by test_browser.py.
"""

import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import streamlit as st
from colour import write_colours
from streamlit.testing.v1 import AppTest
from towers import tiny_dual

from vlrlt.embed import load_embedder
from vlrlt.errors import LibraryError, MissingExtraError
from vlrlt.index.build import index_paths
from vlrlt.index.query.language import TextQuery
from vlrlt.index.query.searcher import SearchOptions
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.service import SearchResult, Service
from vlrlt.times import format_time
from vlrlt.ui import launch

APP = Path(launch.__file__).with_name("app.py").resolve()
TRICKY = "*not* _bold_ :red[x] $x^2$ <b> [a](b).mp4"
"""Markdown, TeX, HTML and a link, if anything believed them."""
PRIVATE = "holiday \udcff.mp4"
"""Not UTF-8 on disk."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_checkpoint(tiny_dual(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_colours(tmp_path / "archive" / TRICKY, [("red", 4), ("yellow", 4), ("green", 4)])
    write_colours(tmp_path / "archive" / "sea.mp4", [("blue", 5), ("cyan", 3)])
    (tmp_path / "archive" / "bad *x*.mp4").write_bytes(b"no video")
    return tmp_path / "archive"


@pytest.fixture
def library(archive: Path, model: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Indexed, and the page knows it."""
    index_paths([archive], library_dir=library_dir, embedder=load_embedder(str(model)))
    monkeypatch.setenv(launch.LIBRARY_VARIABLE, str(library_dir))
    yield library_dir
    st.cache_resource.clear()


def open_page(**query_params: str) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=120)
    for name, value in query_params.items():
        page.query_params[name] = value
    return run(page)


def run(page: AppTest) -> AppTest:
    page.run()
    assert [element.value for element in page.exception] == []
    assert [element.value for element in page.warning] == []
    return page


def search(page: AppTest, query: str) -> AppTest:
    page.text_input(key="q").set_value(query)
    return run(page)


def texts(page: AppTest) -> list[str]:
    return [element.value for element in page.main.text]


def errors(page: AppTest) -> tuple[list[str], list[str]]:
    """Headlines and details."""
    return [element.value for element in page.error], [element.value for element in page.main.code]


def expected(library: Path, query: str, *, k: int = 12) -> SearchResult:
    with Service(library) as service:
        return service.search(TextQuery(query), k=k, options=SearchOptions(tail=True))


def test_the_sidebar_tells_what_the_library_holds(library: Path, model: Path) -> None:
    page = open_page()
    facts = {metric.label: metric.value for metric in page.sidebar.metric}
    with Service(library) as service:
        size_mb = f"{service.status().size_bytes / 1e6:,.1f} MB"
    # Ten of the 18 clips only repeat the one before them, which then stands for both.
    assert facts == {"Videos": "2", "Length": "00:20", "Clips": "8", "Size": size_mb}
    assert str(model) in [element.value for element in page.sidebar.text]
    (failures,) = page.sidebar.expander
    assert failures.label == "1 failed, 0 partial"
    assert [element.value for element in failures.text] == ["bad *x*.mp4"]
    assert failures.code[0].value.startswith("failed: cannot open: ")


def test_before_a_query_there_are_examples_and_no_results(library: Path) -> None:
    page = open_page()
    assert page.title[0].value == "Find a moment"
    assert [button.label for button in page.button] == [
        *("a person opens a door", "hands cutting vegetables", "a dog runs on grass", "a car drives on a road"),
    ]
    assert len(page.main.caption) == len(page.markdown) == len(page.error) == 0


def test_the_embedded_model_comes_with_kitchen_examples(
    archive: Path, model: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlrlt.embed.DEFAULT_MODEL_DIR", model)
    monkeypatch.setenv(launch.LIBRARY_VARIABLE, str(library_dir))
    index_paths([archive], library_dir=library_dir, embedder=load_embedder("default"))
    assert [button.label for button in open_page().button] == [
        *("open fridge", "close fridge", "cut tomato", "pour milk", "turn on tap", "stir pot"),
    ]


def test_a_query_shows_what_the_service_finds(library: Path) -> None:
    page = search(open_page(), "open the fridge")
    hits = expected(library, "open the fridge").hits
    assert len(hits) > 3, "the test needs more than one row of the grid"
    assert texts(page) == [Path(hit.video).name for hit in hits]
    times = [f"**{format_time(hit.start_s, decimals=1)} - {format_time(hit.end_s, decimals=1)}**" for hit in hits]
    assert [element.value for element in page.markdown] == times
    assert [element.value for element in page.main.caption][1:] == [f"cosine {hit.score:.3f}" for hit in hits]
    assert page.main.caption[0].value.startswith(f"{len(hits)} moments in ")
    assert [button.label for button in page.button][4:] == ["Play"] * len(hits)


def test_percentiles_are_never_rounded_up(library: Path) -> None:
    page = search(open_page(), "open the fridge")
    best = expected(library, "open the fridge").hits[0]
    assert best.percentile < 100
    bar = page.progress[0]
    assert bar.text.startswith("better than ")
    assert float(bar.text.split()[2]) <= best.percentile
    assert float(bar.text.split()[2]) == pytest.approx(best.percentile, abs=0.1)
    assert bar.value == pytest.approx(best.percentile, abs=1)


def test_names_are_shown_as_they_are(library: Path) -> None:
    page = search(open_page(), "open the fridge")
    assert TRICKY in texts(page)
    assert not any("bold" in element.value or "<b>" in element.value for element in page.markdown)


def test_the_page_can_be_opened_with_a_query(library: Path) -> None:
    page = open_page(q="close the fridge")
    assert page.text_input(key="q").value == "close the fridge"
    assert page.markdown[0].value.startswith("**00:")


def test_blank_words_are_no_query(library: Path) -> None:
    assert len(search(open_page(), "   ").markdown) == 0


def test_an_example_is_a_query(library: Path) -> None:
    page = open_page()
    page.button[1].click()
    run(page)
    assert page.text_input(key="q").value == "hands cutting vegetables"
    assert len(page.markdown) == len(expected(library, "hands cutting vegetables").hits)


def test_fewer_results(library: Path) -> None:
    page = search(open_page(), "open the fridge")
    page.segmented_control[0].set_value(6)
    run(page)
    assert len(page.markdown) == len(expected(library, "open the fridge", k=6).hits)


def test_play_shows_a_short_film_of_the_moment_not_the_archives_file(library: Path) -> None:
    page = search(open_page(), "open the fridge")
    assert page.get("video") == []
    hit = expected(library, "open the fridge").hits[0]
    page.button(key="play-1").click()
    run(page)
    ((video),) = page.get("video")
    assert video.proto.start_time == min(1, hit.start_s)
    assert (video.proto.autoplay, video.proto.muted, video.proto.loop) == (True, True, True)
    (film,) = (library / "cache").glob("*.mp4")
    padded_s = min(hit.end_s + 1, video_s(Path(hit.video))) - max(0, hit.start_s - 1)
    assert video_s(film) == pytest.approx(padded_s, abs=0.2)


def video_s(path: Path) -> float:
    with av.open(path) as container:
        assert container.duration is not None
        return container.duration / av.time_base


def test_a_video_that_is_gone_costs_its_pictures_only(library: Path, archive: Path) -> None:
    (archive / TRICKY).unlink()
    page = search(open_page(), "open the fridge")
    hits = expected(library, "open the fridge").hits
    gone = [hit.rank for hit in hits if Path(hit.video).name == TRICKY]
    headlines, details = errors(page)
    assert headlines == ["No picture"] * len(gone)
    assert all("cannot open" in detail for detail in details)
    page.button(key=f"play-{gone[0]}").click()
    run(page)
    assert "The video cannot be read any more" in errors(page)[0]


def test_a_page_without_a_library_says_how_to_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(launch.LIBRARY_VARIABLE, raising=False)
    page = open_page()
    assert page.info[0].value.startswith("This page shows one library")
    assert page.code[0].value == "vlrlt ui --library DIR"


def test_a_folder_that_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(launch.LIBRARY_VARIABLE, str(tmp_path))
    headlines, details = errors(open_page())
    assert headlines == ["The library cannot be opened"]
    assert "is no library" in details[0]


def test_an_empty_library(tmp_path: Path, model: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.mp4").touch()
    index_paths([tmp_path / "bad.mp4"], library_dir=library_dir, embedder=load_embedder(str(model)))
    monkeypatch.setenv(launch.LIBRARY_VARIABLE, str(library_dir))
    page = open_page(q="anything")
    assert page.info[0].value.startswith("This library has no clips yet")
    assert page.main.code[0].value == f"vlrlt index VIDEOS --library {library_dir}"
    assert page.sidebar.expander[0].label == "1 failed, 0 partial"


def test_another_models_query_is_refused(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tiny_dual(seed=1), tmp_path / "other")
    monkeypatch.setenv(launch.MODEL_VARIABLE, str(tmp_path / "other"))
    headlines, details = errors(search(open_page(), "open the fridge"))
    assert headlines == ["This library was indexed with another model"]
    assert "leave the model out, or index with that one and then run vlrlt use" in details[0]


def test_a_model_that_is_gone(library: Path, model: Path) -> None:
    shutil.rmtree(model)
    headlines, details = errors(search(open_page(), "open the fridge"))
    assert headlines == ["The library's model cannot be loaded"]
    assert str(model) in details[0]


def test_vectors_that_are_damaged(library: Path) -> None:
    for vectors in library.glob("segments/*/vectors.f16"):
        vectors.write_bytes(b"x")
    shutil.rmtree(library / "faiss")
    headlines, _ = errors(search(open_page(), "open the fridge"))
    assert headlines == ["The search failed"]


def test_names_that_are_not_unicode(
    tmp_path: Path, model: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = write_colours(tmp_path / "archive" / "plain.mp4", [("red", 4)])
    try:
        plain.rename(plain.with_name(PRIVATE))
    except OSError:
        pytest.skip("this file system takes no such name")
    (tmp_path / "archive" / f"bad {PRIVATE}").touch()
    index_paths([tmp_path / "archive"], library_dir=library_dir, embedder=load_embedder(str(model)))
    monkeypatch.setenv(launch.LIBRARY_VARIABLE, str(library_dir))
    page = search(open_page(), "open the fridge")
    assert "holiday \N{REPLACEMENT CHARACTER}.mp4" in texts(page)


def test_a_wrong_path_is_an_error_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="is no library"):
        launch.launch_ui(tmp_path)


def test_without_streamlit_the_command_that_installs_it_is_named(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "streamlit", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vlrlt\[ui\]'"):
        launch.launch_ui(library)


def test_a_port_in_use_is_an_exit_code(library: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert launch.launch_ui(library, port=port, model="default") == 1
    assert f"Port {port} is not available" in "".join(capfd.readouterr())
