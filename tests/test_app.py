"""The application shows what the service finds, in every state a library can be in, and never a traceback.

Streamlit's AppTest runs the real page on a real library; the model is real but untrained, so what is found is compared
with the service's own answer. That the page works in a browser is shown by test_browser.py.
"""

import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import av
import pytest
import streamlit as st
from chat_server import DONE, chat_server, chunk
from colour import write_colours
from PIL import Image
from streamlit import config
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button
from towers import tiny_dual

from vlrlt.ask.question import parse_question
from vlrlt.ask.retrieval import RetrievalAnswerer
from vlrlt.embed import load_embedder
from vlrlt.errors import ConfigError, LibraryError, MissingExtraError
from vlrlt.formats import format_span
from vlrlt.index.library.ledger import Ledger
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.language import ClipQuery
from vlrlt.index.search.request import SearchRequest
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.service import Library, SearchResult
from vlrlt.types import Moment
from vlrlt.ui import launch

APP = Path(launch.__file__).with_name("app.py").resolve()
TRICKY = "*not* _bold_ :red[x] $x^2$ <b> [a](b).mp4"
"""Markdown, TeX, HTML and a link, if anything believed them."""
PRIVATE = "holiday \udcff.mp4"
"""Not UTF-8 on disk."""


@pytest.fixture(autouse=True)
def _on_this_machine() -> Iterator[None]:
    """As `vlrlt ui` starts it."""
    before = config.get_option("server.address")
    config.set_option("server.address", "127.0.0.1")
    yield
    config.set_option("server.address", before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(tiny_dual(), folder)
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_colours(folder / TRICKY, [("red", 4), ("yellow", 4), ("green", 4)])
    write_colours(folder / "sea.mp4", [("blue", 5), ("cyan", 3)])
    (folder / "bad *x*.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def indexed(archive: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed") / "library"
    index_paths([archive], library_dir=folder, embedder=load_embedder(str(model)))
    return folder


@pytest.fixture
def library(indexed: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the indexed one, and the application knows it."""
    shutil.copytree(indexed, library_dir)
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


def search(page: AppTest, query: str, **query_params: str) -> AppTest:
    """Type words; other parameters come with a link."""
    if query_params:
        return open_page(q=query, **query_params)
    page.text_input(key="request-text").set_value(query)
    return run(page)


def cards(page: AppTest) -> list[str]:
    """The times of the moments that are shown."""
    return [
        element.value.strip("*") for element in page.markdown if re.fullmatch(r"\*\*[\d:.]+-[\d:.]+\*\*", element.value)
    ]


def time_range(hit: Moment) -> str:
    return format_span(hit.start_s, hit.end_s)


def button(page: AppTest, label: str) -> Button:
    return next(element for element in page.button if element.label == label)


def texts(page: AppTest) -> list[str]:
    return [element.value for element in page.main.text]


def errors(page: AppTest) -> tuple[list[str], list[str]]:
    """Headlines and details."""
    return [element.value for element in page.error], [element.value for element in page.main.code]


def expected(library: Path, query: str, *, k: int = 12) -> SearchResult:
    with Library(library) as service:
        return service.search(query, k=k, tail=True)


def test_before_a_query_there_are_examples_and_no_results(library: Path) -> None:
    page = open_page()
    assert page.pills(key="example").options == [
        *("a person opens a door", "hands cutting vegetables", "a dog runs on grass", "a car drives on a road"),
    ]
    assert cards(page) == []
    assert len(page.error) == 0


def test_what_was_narrated_is_what_is_tried_first(library: Path, tmp_path: Path) -> None:
    with Ledger.open(library) as ledger:
        sidecar = tmp_path / "sea.srt"
        sidecar.write_text("1\n00:00:00,500 --> 00:00:02,000\n*dive* into [the] sea\n")
        ledger.annotations.import_files([sidecar])
    page = open_page()
    assert page.pills(key="example").options == [r"\*dive\* into \[the\] sea"]
    page.pills(key="example").set_value("*dive* into [the] sea")
    run(page)
    assert page.text_input(key="request-text").value == "*dive* into [the] sea"
    quotes: Any = page.get("html")
    assert "“*<mark>dive</mark>* into [the] <mark>sea</mark>”" in [quote.proto.body for quote in quotes]


def test_a_query_shows_what_the_service_finds_by_video(library: Path) -> None:
    page = search(open_page(), "open the fridge", tail="1")
    hits = expected(library, "open the fridge").hits
    assert len(hits) > 3, "the test needs more than one row of the grid"
    assert sorted(cards(page)) == sorted(time_range(hit) for hit in hits)
    best_first = list(dict.fromkeys(Path(hit.video).name for hit in hits))
    assert [text for text in texts(page) if text.endswith(".mp4")] == best_first
    summary = f"{len(hits)} moments in {len(best_first)} videos, 4 vectors searched"
    assert any(caption.value.startswith(summary) for caption in page.main.caption)
    assert dict(page.query_params) == {"q": "open the fridge", "tail": "1"}


def test_percentiles_are_never_rounded_up(library: Path) -> None:
    page = search(open_page(), "open the fridge", tail="1")
    highest = max(hit.percentile for hit in expected(library, "open the fridge").hits)
    assert highest < 100
    told = [float(match[1]) for text in page.main.caption if (match := re.match(r"better than (.+)% of", text.value))]
    assert max(told) <= highest
    assert max(told) == pytest.approx(highest, abs=0.1)


def test_names_are_shown_as_they_are(library: Path) -> None:
    page = search(open_page(), "open the fridge", tail="1")
    assert TRICKY in texts(page)
    assert not any("bold" in element.value or "<b>" in element.value for element in page.markdown)


def test_no_confident_match_is_a_state_of_its_own(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlrlt.index.search.searcher.CONFIDENT", 1.1)
    page = open_page(q="open the fridge")
    assert [header.value for header in page.subheader] == ["No confident match"]
    assert cards(page) == []
    button(page, "Show the nearest moments").click()
    run(page)
    assert len(cards(page)) == len(expected(library, "open the fridge").hits)


def test_a_link_opens_the_same_search_and_the_same_moment(library: Path) -> None:
    first = search(open_page(), "open the fridge", tail="1")
    first.button(key="play-1").click()
    run(first)
    link = dict(first.query_params)
    again = open_page(**link)
    assert sorted(cards(again)) == sorted(cards(first))
    assert [video.proto.start_time for video in again.get("video")] == [
        video.proto.start_time for video in first.get("video")
    ]
    assert again.code[-1].value.partition("?")[2] == urlencode(link)


@pytest.mark.parametrize("play", ["x", "0000000000000001@0-1", "0000000000000001@5-2"])
def test_a_link_to_no_moment_is_an_error_beside_the_search(library: Path, play: str) -> None:
    page = open_page(q="open the fridge", tail="1", play=play)
    assert errors(page)[0] == ["The moment of this link cannot be shown"]
    assert cards(page) != []


def test_filters_are_chips_that_can_be_taken_away(library: Path) -> None:
    page = open_page(q="open the fridge", tail="1", path="sea*", moving="0.1")
    assert {text for text in texts(page) if text.endswith(".mp4")} == {"sea.mp4"}
    chips = page.multiselect(key="chips")
    assert chips.value == ["path: sea*", "moving: 10% to 100%", "with weak matches"]
    chips.unselect("path: sea*")
    run(page)
    assert {text for text in texts(page) if text.endswith(".mp4")} == {"sea.mp4", TRICKY}
    assert "path" not in page.query_params
    page.text_input(key="request-paths").set_value("nowhere/*")
    run(page)
    assert [header.value for header in page.subheader] == ["No clip passes the filters"]


def test_a_filter_that_is_malformed_is_an_error(library: Path) -> None:
    headlines, details = errors(open_page(q="open the fridge", where="rating"))
    assert headlines == ["The search failed"]
    assert "a condition is KEY" in details[0]


def test_thumbs_and_similar_change_the_query(library: Path) -> None:
    page = search(open_page(), "open the fridge", tail="1")
    hits = expected(library, "open the fridge").hits
    clip = hits[0].clip
    page.feedback(key=f"feedback-{clip}").set_value(1)
    run(page)
    assert page.query_params["like"] == clip
    assert page.text_input(key="request-text").value == "open the fridge"
    page.feedback(key=f"feedback-{clip}").set_value(0)
    run(page)
    assert "like" not in page.query_params
    assert page.query_params["unlike"] == clip


def test_a_search_is_saved_opened_and_forgotten(library: Path) -> None:
    page = open_page(q="red", without="blue", moving="0.1", tail="1")
    page.text_input(key="saved-name").set_value("reds")
    button(page, "Save").click()
    run(page)
    with Library(library) as service:
        assert [hit.clip_id for hit in service.search_saved("reds").hits] != []
        service.saved.save("two -ways-", SearchRequest(text=("red", "green")))
    page = open_page()
    button(page, "reds").click()
    run(page)
    assert dict(page.query_params) == {"q": "red", "without": "blue", "moving": "0.1", "tail": "1"}
    button(page, r"two \-ways\-").click()
    run(page)
    assert page.query_params["q"] == ["red", "green"]
    assert page.multiselect(key="chips").value == ["and: green"]
    for _ in range(2):
        button(page, "Delete").click()
        run(page)
    with Library(library) as service:
        assert service.saved.all() == {}


def test_nothing_is_not_saved(library: Path) -> None:
    page = open_page()
    page.text_input(key="saved-name").set_value("nothing")
    button(page, "Save").click()
    run(page)
    assert errors(page)[0] == ["The search was not saved"]


def test_the_way_from_a_hit_to_its_tokens(library: Path) -> None:
    page = search(open_page(), "open the fridge", tail="1")
    first = cards(page)[0]
    hit = next(hit for hit in expected(library, "open the fridge").hits if time_range(hit) == first)
    page.get("menu_button")[0].set_value("Look inside")  # type: ignore[union-attr]
    run(page)
    assert page.selectbox(key="inside-video").value == hit.video_id
    with Library(library) as service:
        clip = service.clip(hit.clip)
    assert page.slider(key=f"inside-start-{hit.video_id}").value == clip.start_s


def test_then_and_not_are_part_of_the_query(library: Path) -> None:
    page = open_page(q="red", then="green", within="60", without="blue", tail="1")
    with Library(library) as service:
        hits = service.search("red", then="green", without="blue", within_s=60, k=12, tail=True).hits
    assert sorted(cards(page)) == sorted(time_range(hit) for hit in hits)


@pytest.mark.parametrize("name", ["blue.png", "blue.mp4"])
def test_an_uploaded_picture_or_film_is_a_query(library: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name.endswith("mp4"):
        write_colours(file, [("blue", 4)])
    else:
        Image.new("RGB", (64, 48), "blue").save(file)
    page = open_page()
    page.file_uploader(key="upload").set_value((name, file.read_bytes(), "application/octet-stream"))
    run(page)
    with Library(library) as service:
        example = {"clips": ClipQuery(file)} if name.endswith("mp4") else {"images": file}
        hits = service.search(**example, k=12).hits
    assert sorted(cards(page)) == sorted(time_range(hit) for hit in hits) != []
    assert not any("sure" in element.value for element in page.markdown), "examples have no words to be sure of"


def test_visitors_do_not_see_each_others_searches_and_baskets(library: Path) -> None:
    mine, yours = (search(open_page(), "open the fridge", tail="1") for _ in range(2))
    mine.button(key="play-1").click()
    run(mine)
    button(mine, "Add to basket").click()
    run(mine)
    run(yours)
    assert (basket_size(mine), basket_size(yours)) == (1, 0)
    assert len(yours.get("video")) == 0


def test_a_basket_with_a_name_is_a_collection_of_the_library(library: Path) -> None:
    with Library(library) as service:
        (hit, *_) = service.search("open the fridge", k=1, tail=True).hits
        service.collections.keep("films to cut", hit, rating=2)
        page = search(open_page(), "open the fridge", tail="1")
        page.button(key="play-2").click()
        run(page)
        button(page, "Add to basket").click()
        run(page)
        page.selectbox(key="basket-name").set_value("films to cut")
        run(page)
        first, second = service.collections.moments("films to cut")
        assert (first.rating, second.title) == (2, "open the fridge"), "what was in the basket went into it"
        page.button(key=f"kept-up-{second.id}").click()
        run(page)
        page.text_input(key=f"kept-tags-{first.id}").set_value("fridge, door")
        run(page)
        page.button(key=f"kept-remove-{second.id}").click()
        run(page)
        (left,) = service.collections.moments("films to cut")
        assert (left.id, left.tags) == (first.id, ("fridge", "door"))
        service.collections.delete("films to cut")


def basket_size(page: AppTest) -> int:
    return sum(element.label == "Remove" for element in page.button)


def test_blank_words_are_no_query(library: Path) -> None:
    assert cards(search(open_page(), "   ")) == []


def test_play_shows_a_short_film_of_the_moment_not_the_archives_file(library: Path) -> None:
    page = search(open_page(), "open the fridge", tail="1")
    assert len(page.get("video")) == 0
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


@pytest.fixture
def gone(archive: Path) -> Iterator[None]:
    (archive / TRICKY).rename(archive / "away")
    yield
    (archive / "away").rename(archive / TRICKY)


@pytest.mark.usefixtures("gone")
def test_a_video_that_is_gone_costs_its_pictures_only(library: Path) -> None:
    page = search(open_page(), "open the fridge", tail="1")
    hits = expected(library, "open the fridge").hits
    without_film = [hit.rank for hit in hits if Path(hit.video).name == TRICKY]
    headlines, details = errors(page)
    assert headlines == ["No picture"] * len(without_film)
    assert all("cannot open" in detail for detail in details)
    page.button(key=f"play-{without_film[0]}").click()
    run(page)
    assert "The video can no longer be read" in errors(page)[0]


def test_a_question_is_answered_with_citations(library: Path) -> None:
    page = run(AppTest.from_function(ask_page, default_timeout=120))
    page.chat_input[0].set_value("When did I open the fridge?")
    run(page)
    with Library(library) as service:
        answer = RetrievalAnswerer(service).answer(parse_question("When did I open the fridge?"))
    assert page.chat_message[0].text[0].value == "When did I open the fridge?"
    assert answer.text in [text.value for text in page.chat_message[1].text]
    badges = [element.value for element in page.chat_message[1].markdown]
    assert any("not found" in badge for badge in badges) != answer.found
    assert page.chat_message[1].caption[-1].value == "Searched 4 vectors of 2 videos, 20 s"
    page.chat_message[1].button[0].click()
    run(page)
    assert len(page.get("video")) == 1


def test_an_answer_that_cannot_be_had_is_an_error(library: Path) -> None:
    page = run(AppTest.from_function(ask_page, default_timeout=120))
    page.chat_input[0].set_value("What happened after I opened the fridge?")
    run(page)
    headlines, details = errors(page)
    assert headlines in ([], ["The question could not be answered"])
    assert all("vocabulary" in detail for detail in details)


def test_a_language_model_is_asked_only_by_those_who_want_it(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with chat_server() as server:
        monkeypatch.setenv("VLRLT_VLM_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("VLRLT_VLM_MODEL", "looker")
        server.say(chunk("It is *red* "), chunk("[1]."), DONE)
        page = run(AppTest.from_function(ask_page, default_timeout=120))
        page.chat_input[0].set_value("Is there red?")
        run(page)
        assert server.requests == []
        page.toggle(key="vlm").set_value(True)
        run(page)
        assert any(f"http://127.0.0.1:{server.server_port}/v1" in text for text in texts(page))
        page.chat_input[0].set_value("Is there blue?")
        run(page)
    assert len(server.requests) == 1
    assert "It is *red* [1]." in [text.value for text in page.chat_message[3].text]


def ask_page() -> None:
    from vlrlt.ui.views import ask

    ask.show()


def test_a_page_without_a_library_says_how_to_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(launch.LIBRARY_VARIABLE, raising=False)
    assert "vlrlt ui --library DIR" in errors(open_page())[1][0]


def test_a_folder_that_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(launch.LIBRARY_VARIABLE, str(tmp_path))
    headlines, details = errors(open_page())
    assert headlines == ["The library cannot be opened"]
    assert "is not a vlrlt library" in details[0]


def test_an_empty_library(tmp_path: Path, model: Path, library_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.mp4").touch()
    index_paths([tmp_path / "bad.mp4"], library_dir=library_dir, embedder=load_embedder(str(model)))
    monkeypatch.setenv(launch.LIBRARY_VARIABLE, str(library_dir))
    page = open_page(q="anything")
    assert page.info[0].value.startswith("This library has no clips yet")
    assert page.main.code[0].value == f"vlrlt index VIDEOS --library {library_dir}"


def test_another_models_query_is_refused(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tiny_dual(seed=1), tmp_path / "other")
    monkeypatch.setenv(launch.MODEL_VARIABLE, str(tmp_path / "other"))
    headlines, details = errors(search(open_page(), "open the fridge"))
    assert headlines == ["This library was indexed with another model"]
    assert "leave out the model, or index with" in details[0]


def test_a_model_that_is_gone(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(launch.MODEL_VARIABLE, str(tmp_path / "gone"))
    headlines, details = errors(search(open_page(), "open the fridge"))
    assert headlines == ["The library's model cannot be loaded"]
    assert str(tmp_path / "gone") in details[0]


def test_vectors_that_are_damaged(library: Path) -> None:
    for vectors in library.glob("segments/*/vectors.f16"):
        vectors.write_bytes(b"x")
    shutil.rmtree(library / "faiss")
    headlines, _ = errors(open_page(q="open the fridge"))
    assert headlines == ["The library cannot be read"]


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
    page = search(open_page(), "open the fridge", tail="1")
    assert "holiday \N{REPLACEMENT CHARACTER}.mp4" in texts(page)


def test_a_wrong_path_is_an_error_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="is not a vlrlt library"):
        launch.launch_ui(tmp_path)


def test_without_streamlit_the_command_that_installs_it_is_named(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "streamlit", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vlrlt\[ui\]'"):
        launch.launch_ui(library)


def test_what_cannot_be_had_is_told_before_anything_is_started(library: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="Address already in use"):
        launch.launch_ui(library, port=taken.getsockname()[1])
    with pytest.raises(ConfigError, match="needs a folder of finished runs"):
        launch.launch_ui(library, runs_dir=tmp_path / "gone")
