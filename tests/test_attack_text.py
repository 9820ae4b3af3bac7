"""Every parser of foreign text gives a value or one of our errors, and takes time in proportion to the text."""

import contextlib
import json
import re
import string
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vlrlt.ask.question import MAX_QUESTION_CHARS, parse_question
from vlrlt.errors import AnnotationError, ConfigError, VlrltError
from vlrlt.export.piece import read_result
from vlrlt.formats import is_unicode, printable, printable_line
from vlrlt.index.library.annotations import Annotations
from vlrlt.index.library.sidecars import Sidecar, read_sidecar
from vlrlt.index.search.filters import Filter, _matches, _parse_condition, parse_instant
from vlrlt.index.search.language import parse_clip, weighted_text
from vlrlt.index.search.request import SearchRequest
from vlrlt.ui.access import read_allow_list
from vlrlt.ui.links import chips, from_params, parse_play, to_params

PATIENCE_S = 5.0
"""For a text that takes milliseconds: a busy machine is no failure, a search for every pair or triple of places is."""
LENGTH = 20_000

FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
LONG_FUZZ = settings(FUZZ, max_examples=3000)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)
"""Halves of surrogate pairs too."""
NEAR_TEXT = st.text(
    st.sampled_from(string.digits + " \t\n.,:;-><=!@^#{}[]()<>/\\\"'&|?*_abcéß\u202e\x1b\x00"), max_size=400
)
"""What parsers look at, in any order."""


def glob(text: str) -> object:
    (pattern,) = Filter(paths=(text,)).paths
    return _matches("/archive/2024/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab.mp4", pattern)


def question(text: str) -> object:
    return parse_question(text[:MAX_QUESTION_CHARS])


def link(text: str) -> object:
    """What a link says, said again, is the same search."""
    request = from_params(parse_qs(text, errors="surrogateescape"))
    chips(request)
    assert from_params(to_params(request)) == request
    return request


PARSERS: dict[str, Callable[[str], object]] = {
    "condition": _parse_condition,
    "glob": glob,
    "instant": parse_instant,
    "weighted text": weighted_text,
    "piece of video": parse_clip,
    "question": question,
    "link": link,
    "moment in a link": parse_play,
    "shown text": printable,
    "shown line": printable_line,
}
FRAGMENTS = (
    *(" ", "\t", "\n", "a", "=", "!", ">", "<", "0", "9", ":", "00:", "1:1", ".", ",", "^", "^1", "1^", "@", "@1-"),
    *(
        "*",
        "*a",
        "?",
        "[",
        "[a",
        "[!",
        "]",
        "[]",
        "a*b",
        "**/",
        "\\",
        "/",
        "../",
        "&",
        "&#",
        "&#9",
        "%",
        "%f",
        "?q=",
        "&q=a",
    ),
    *(
        "the ",
        "in video ",
        "or ",
        "and ",
        "before ",
        "after ",
        "between ",
        "how many times ",
        "is there ",
        "what ",
        "which of ",
    ),
    *("don't ", "the fridge is opened ", ",", ";", "a or ", "was the milk or ", "-->", "- ", "\x1b[", "\u202e", "é"),
)


def is_handled(parser: Callable[[str], object], text: str) -> float:
    """CPU seconds that a parser takes for a text, of which it makes a value or one of our errors."""
    started_s = time.process_time()
    with contextlib.suppress(VlrltError):
        parser(text)
    return time.process_time() - started_s


@pytest.mark.parametrize("name", PARSERS)
@given(text=st.one_of(ANY_TEXT, NEAR_TEXT))
@settings(FUZZ)
def test_any_text_is_a_value_or_an_error(name: str, text: str) -> None:
    assert is_handled(PARSERS[name], text) < PATIENCE_S


@pytest.mark.attack
@pytest.mark.parametrize("name", PARSERS)
@given(text=st.one_of(ANY_TEXT, NEAR_TEXT, st.lists(st.sampled_from(FRAGMENTS), max_size=60).map("".join)))
@settings(LONG_FUZZ)
def test_very_many_texts_are_values_or_errors(name: str, text: str) -> None:
    assert is_handled(PARSERS[name], text) < PATIENCE_S


@pytest.mark.parametrize("name", PARSERS)
def test_long_texts_take_no_longer_than_their_length(name: str) -> None:
    """`where` took 41 s for 2,000 blanks: its expression tried every triple of places."""
    for fragment in FRAGMENTS:
        for before, after in (("", ""), ("key=", "x"), ("a", "!"), ("a.mp4@1-2", "x"), ("open the fridge", "?")):
            text = before + fragment * (LENGTH // len(fragment)) + after
            seconds = is_handled(PARSERS[name], text)
            assert seconds < PATIENCE_S, f"{seconds:.1f} s for {before!r} + {fragment!r} * n + {after!r}"


def test_conditions_are_what_they_were() -> None:
    for text, (key, value) in {
        "camera=gopro": ("camera", "gopro"),
        "  rating  >=  3 ": ("rating", "3"),
        "a b!=c=d": ("a b", "c=d"),
        "x==1": ("x", "=1"),
        "x=": ("x", ""),
        "x<=-1": ("x", "-1"),
    }.items():
        found = _parse_condition(text)
        assert (found[0], found[2]) == (key, value)
    for text in ("", "=", "=3", "key", "!x=3", "a!b=3", "  >= 3"):
        with pytest.raises(ConfigError, match="a condition is KEY"):
            _parse_condition(text)


# Files beside videos


def read(folder: Path, name: str, content: str | bytes) -> float:
    """CPU seconds for a sidecar, which is read or named as wrong."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    started_s = time.process_time()
    sidecar = Sidecar(path=file)
    with contextlib.suppress(AnnotationError):
        sidecar = read_sidecar(file)
    seconds = time.process_time() - started_s
    for lines in sidecar.texts.values():
        assert all(line.end_s > line.start_s and is_unicode(line.text) for line in lines)
    for facts in sidecar.metadata.values():
        assert all(is_unicode(str(key)) and is_unicode(str(value)) for key, value in facts.items())
    return seconds


NAMES = ("a.srt", "a.vtt", "a.csv", "a.json")
CUE = "1\n00:00:01,000 --> 00:00:02,000\n"


@pytest.mark.parametrize("name", NAMES)
@given(content=st.one_of(ANY_TEXT, NEAR_TEXT, st.binary(max_size=300)))
@example(content='{"title": "\\ud800"}')
@example(content='{"n": ' + "9" * 4000 + "}")
@example(content='{"n": ' + "9" * 5000 + "}")
@example(content="[" * 100_000)
@example(content=f"{CUE}&#{'9' * 5000};\n")
@example(content=f"{CUE}\\ud800 &#xd800;\n")
@example(content="video_id,start_timestamp,stop_timestamp,narration\nv,1e999,2,x\nv,nan,2,x\n")
@example(content='"' * 1001)
@settings(FUZZ)
def test_any_sidecar_is_read_or_named(name: str, content: str | bytes, tmp_path: Path) -> None:
    assert read(tmp_path, name, content) < PATIENCE_S


@pytest.mark.attack
@pytest.mark.parametrize("name", NAMES)
@given(
    content=st.one_of(
        NEAR_TEXT,
        NEAR_TEXT.map(lambda text: CUE + text),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | ANY_TEXT,
            lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
            max_leaves=20,
        ).map(json.dumps),
    )
)
@settings(LONG_FUZZ)
def test_very_many_sidecars_are_read_or_named(name: str, content: str, tmp_path: Path) -> None:
    assert read(tmp_path, name, content) < PATIENCE_S


@pytest.mark.parametrize("name", NAMES)
def test_long_sidecars_take_no_longer_than_their_length(name: str, tmp_path: Path) -> None:
    """An .srt of digits alone took time by the square of its length."""
    for fragment in (
        "1",
        "1:",
        "00:00:",
        "\n",
        "\n ",
        "<",
        "<a",
        "{\\",
        "&#",
        "&#1",
        "-->",
        '"',
        ",",
        "\r",
        CUE,
        " ",
        "1,1\n",
    ):
        seconds = read(tmp_path, name, fragment * (200_000 // len(fragment)))
        assert seconds < PATIENCE_S, f"{seconds:.1f} s for {fragment!r} * n"


def test_one_bad_sidecar_does_not_end_an_import(library_dir: Path, tmp_path: Path) -> None:
    """A lone surrogate in a JSON file ended `vlrlt import FOLDER`."""
    from colour import ColourEmbedder, write_colours

    from vlrlt.index.library.ledger import Ledger
    from vlrlt.index.run.build import index_paths

    folder = tmp_path / "archive"
    for name, colour in {"a": "red", "b": "green", "c": "blue", "odd \udcff": "white"}.items():
        write_colours(folder / f"{name}.mp4", [(colour, 1)])
    index_paths([folder], library_dir=library_dir, embedder=ColourEmbedder())
    (folder / "a.json").write_text('{"title": "\\ud800 half", "\\udfff": 1, "huge": ' + "9" * 4000 + "}")
    (folder / "b.json").write_text('{"title": "whole"}')
    (folder / "c.srt").write_text(CUE + "&#xd800; said")
    (folder / "odd \udcff.srt").write_text(CUE + "hello")
    with Ledger.open(library_dir) as ledger:
        report = ledger.annotations.import_files([folder])
        assert isinstance(ledger.annotations, Annotations)
        metadata = [facts for facts in ledger.annotations.metadata().values() if "title" in facts]
    assert (report.files, report.problems) == (4, ())
    titles = {str(facts["title"]) for facts in metadata}
    assert titles == {"? half", "whole"}


# Other files that people give


@given(text=st.one_of(ANY_TEXT, NEAR_TEXT))
@settings(FUZZ)
def test_any_allow_list_is_read_or_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "auth.toml").write_bytes(text.encode(errors="surrogatepass"))
    assert is_handled(lambda _: read_allow_list(tmp_path / "auth.toml"), text) < PATIENCE_S


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["hits", "citations", "videos", "video", "start_s", "end_s", "text", "query", "filter"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(value=JSON)
@settings(FUZZ)
def test_any_json_is_a_result_or_none(value: object) -> None:
    is_handled(lambda _: read_result(value), "")


@given(
    options=st.dictionaries(
        st.sampled_from([*vars(SearchRequest()), "paths", "moving", "where", "nonsense"]), JSON, max_size=3
    )
)
@settings(FUZZ)
def test_any_options_are_a_search_or_an_error(options: dict[str, object]) -> None:
    is_handled(lambda _: SearchRequest.parse(options).query(), "")


@pytest.mark.parametrize("weight", ["9" * 400, "1000001", "0", "0.0"])
def test_weights_that_mean_nothing_are_refused(weight: str) -> None:
    with pytest.raises(ConfigError, match="a weight up to 1e"):
        weighted_text(f"open the fridge^{weight}")


def test_control_characters_are_shown() -> None:
    assert printable("a\x1b]0;pwned\x07\x9b31m\u202eb\tc\nd\udcff") == "a\\x1b]0;pwned\\x07\\x9b31m\\u202eb\tc\nd\udcff"
    assert printable_line("a\nb\tc") == "a\\nb\\tc"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", printable("".join(map(chr, range(256)))))
