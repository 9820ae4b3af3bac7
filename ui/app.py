"""The search page. Streamlit runs this file from top to bottom at every click; all that it knows comes from Service.

Names and messages of the archive are shown by st.text and st.code only: those take no Markdown and no HTML.
"""

import math
import os
from dataclasses import replace
from pathlib import Path

import streamlit as st

from vlrlt.errors import CheckpointError, IndexMismatchError, LibraryError, VlrltError
from vlrlt.index.query.language import TextQuery
from vlrlt.index.query.searcher import SearchOptions
from vlrlt.service import LibraryStatus, SearchResult, Service
from vlrlt.times import format_time
from vlrlt.types import Moment
from vlrlt.ui.launch import LIBRARY_VARIABLE, MODEL_VARIABLE

TOY_EXAMPLES = ("open fridge", "close fridge", "cut tomato", "pour milk", "turn on tap", "stir pot")
EXAMPLES = ("a person opens a door", "hands cutting vegetables", "a dog runs on grass", "a car drives on a road")
NUM_RESULTS = (6, 12, 24)
NUM_COLUMNS = 3
NUM_FAILURES = 100  # bad files that are listed; `vlrlt status` lists all
PAD_S = 1.0  # what a preview shows before and after the moment
STYLE = """
<style>
[data-testid="stMainBlockContainer"] { padding-top: 3rem; }
.st-key-results [data-testid="stImage"] img {
    aspect-ratio: 4 / 3; object-fit: contain; background: rgba(128, 128, 128, 0.15); border-radius: 0.4rem;
}
[data-testid="stVideo"] { max-height: 65vh; background: black; }
</style>
"""


@st.cache_resource(show_spinner="Opening the library", max_entries=4)
def open_library(library_dir: str, model: str | None) -> Service:
    """One service, and one model in memory, for everybody who has the page open."""
    return Service(Path(library_dir), model=model)


def main() -> None:
    """The page."""
    st.set_page_config(page_title="vlrlt", page_icon="🎞️", layout="wide")
    st.html(STYLE)
    library_dir = os.environ.get(LIBRARY_VARIABLE)
    if library_dir is None:
        st.info("This page shows one library. Start it with:")
        st.code("vlrlt ui --library DIR", language=None)
        return
    try:
        service = open_library(library_dir, os.environ.get(MODEL_VARIABLE))
        status = service.status()
    except LibraryError as error:
        show_error("The library cannot be opened", error)
        return
    show_library(status)
    st.title("Find a moment")
    if not status.clips:
        st.info("This library has no clips yet. Index some videos, then reload this page:")
        st.code(f"vlrlt index VIDEOS --library {library_dir}", language=None)
        return
    query, num_results = ask(status)
    if query:
        answer(service, query, num_results)


def show_library(status: LibraryStatus) -> None:
    """What the library holds, in the sidebar."""
    with st.sidebar:
        st.header("Library")
        st.text(readable(status.library_dir))
        left, right = st.columns(2)
        left.metric("Videos", f"{status.indexed + status.partial:,}")
        right.metric("Length", format_time(status.video_s), help="Hours, minutes and seconds of searchable video.")
        left.metric("Clips", f"{status.clips:,}")
        right.metric(
            "Size", f"{status.size_bytes / 1e6:,.1f} MB", help="Of the library; the videos stay where they are."
        )
        st.caption("Model")
        st.text(status.model or "none yet")
        if status.failures:
            show_failures(status)


def show_failures(status: LibraryStatus) -> None:
    """The files that cannot be searched to their end, with reasons."""
    with st.expander(f"{status.failed} failed, {status.partial} partial", icon=":material/warning:"):
        for video in status.failures[:NUM_FAILURES]:
            st.text(readable(video.path.name))
            st.code(f"{video.state}: cannot {video.stage}: {video.reason}", language=None, wrap_lines=True)
        if len(status.failures) > NUM_FAILURES:
            st.caption(f"and {len(status.failures) - NUM_FAILURES} more; `vlrlt status` lists all")


def ask(status: LibraryStatus) -> tuple[str, int]:
    """The search box; what it holds is in the page's address too, so that an answer can be sent as a link."""
    query = st.text_input(
        "Search",
        key="q",
        bind="query-params",
        placeholder="Describe it like a caption, then press Enter",
        icon=":material/search:",
        label_visibility="collapsed",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        for example in TOY_EXAMPLES if status.model == "default" else EXAMPLES:
            st.button(example, on_click=st.session_state.update, kwargs={"q": example})
        st.space("stretch")
        num_results = st.segmented_control(
            "Results", NUM_RESULTS, default=NUM_RESULTS[1], required=True, label_visibility="collapsed"
        )
    return (query or "").strip(), num_results or NUM_RESULTS[1]


def answer(service: Service, query: str, num_results: int) -> None:
    """Search and show what was found, or why nothing could be."""
    try:
        with st.spinner("Searching; the first search loads the model"):
            result = service.search(TextQuery(query), k=num_results, options=SearchOptions(tail=True))
    except IndexMismatchError as error:
        show_error("This library was indexed with another model", error)
    except CheckpointError as error:
        show_error("The library's model cannot be loaded", error)
    except VlrltError as error:
        show_error("The search failed", error)
    else:
        show_results(service, result)


def show_results(service: Service, result: SearchResult) -> None:
    """Moments as a grid, the best first."""
    st.caption(
        f"{len(result.hits)} moments in {result.took_ms / 1000:.2f} s. The bar ranks each among the library's clips: "
        "the best come first, even if none fits."
    )
    if not result.found:
        st.info("No confident match. These are the nearest moments.", icon=":material/search_off:")
    with st.container(key="results"):
        for first in range(0, len(result.hits), NUM_COLUMNS):
            hits = result.hits[first : first + NUM_COLUMNS]
            for column, moment in zip(st.columns(NUM_COLUMNS), hits, strict=False):
                with column.container(border=True):
                    show_card(service, moment)


def show_card(service: Service, moment: Moment) -> None:
    """One moment."""
    times = time_range(moment)
    try:
        st.image(service.thumbnail(moment), width="stretch", alt=f"Moment {moment.rank}, {times}")
    except VlrltError as error:
        show_error("No picture", error)
    with st.container(gap="xxsmall"):
        st.markdown(f"**{times}**")
        st.text(readable(Path(moment.video).name))
    # Rounded down: 100.0 % would be a claim that no clip of the library can meet.
    better = math.floor(10 * moment.percentile) / 10
    st.progress(moment.percentile / 100, text=f"better than {better:.1f} % of the library's clips")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"cosine {moment.score:.3f}")
        st.space("stretch")
        if st.button("Play", key=f"play-{moment.rank}", icon=":material/play_arrow:"):
            play(service, moment)


@st.dialog("Moment", width="medium", icon=":material/play_arrow:")
def play(service: Service, moment: Moment) -> None:
    """A player that starts at the moment; its film is short and made for browsers, the archive's file stays unread."""
    padded = replace(moment, start_s=max(0.0, moment.start_s - PAD_S), end_s=moment.end_s + PAD_S)
    try:
        with st.spinner("Cutting a preview"):
            film = service.preview(padded)
    except VlrltError as error:
        show_error("The video cannot be read any more", error)
        return
    st.video(film, start_time=moment.start_s - padded.start_s, autoplay=True, muted=True, loop=True)
    st.markdown(f"**{time_range(moment)}**")
    st.text(readable(moment.video))


def show_error(title: str, error: VlrltError) -> None:
    """What went wrong; our errors say what to try."""
    st.error(title, icon=":material/error:")
    st.code(readable(str(error)), language=None, wrap_lines=True)


def time_range(moment: Moment) -> str:
    """For example 00:12.0 - 00:14.5."""
    return f"{format_time(moment.start_s, decimals=1)} - {format_time(moment.end_s, decimals=1)}"


def readable(path: Path | str) -> str:
    """A path as valid Unicode; file names need not be."""
    return os.fsencode(path).decode(errors="replace")


main()
