"""Shared by all pages: the open library, and how names, times and errors of the archive are shown.

Names and messages of the archive are shown by st.text and st.code only: those take no Markdown and no HTML.
"""

import os
import string
from pathlib import Path

import streamlit as st

from vlrlt.errors import CheckpointError, IndexMismatchError, LibraryError, VlrltError
from vlrlt.formats import format_span
from vlrlt.service import Library
from vlrlt.types import Moment
from vlrlt.ui.launch import ACCENT, LIBRARY_VARIABLE, MODEL_VARIABLE

STYLE = """
<style>
:root { --accent: ACCENT; }
[data-testid="stMainBlockContainer"] { padding-top: 4rem; max-width: 90rem; }
[data-testid="stVideo"] { max-height: 45vh; background: black; border-radius: 0.5rem; }
[data-testid="stCaptionContainer"] { color: inherit; opacity: 0.75; }
[role="tab"][aria-selected="true"], [data-testid="stSliderThumbValue"],
[data-testid="stButtonGroup"] [data-selected="true"] { color: inherit !important; }
[data-testid="stDialog"] [data-testid="stVideo"] { width: 100%; }
.vlrlt-timeline { position: relative; height: 0.6rem; border-radius: 0.3rem; background: rgba(128, 128, 128, 0.25); }
.vlrlt-timeline i { position: absolute; top: 0; bottom: 0; min-width: 4px; border-radius: 0.3rem; }
.vlrlt-timeline i { background: var(--accent); }
.vlrlt-timeline i.other { opacity: 0.45; }
</style>
""".replace("ACCENT", ACCENT)
_DESTINATION = "destination"
_TITLES: tuple[tuple[type[VlrltError], str], ...] = (
    (IndexMismatchError, "This library was indexed with another model"),
    (CheckpointError, "The library's model cannot be loaded"),
)


def library_dir() -> Path:
    """The library that this application shows.

    Raises:
        LibraryError: it was started without one.
    """
    folder = os.environ.get(LIBRARY_VARIABLE)
    if folder is None:
        raise LibraryError("this application shows one library; start it with: vlrlt ui --library DIR")
    return Path(folder)


def open_library() -> Library:
    """The library; one service, and one model in memory, for everybody.

    Raises:
        LibraryError: there is none, or it cannot be opened.
    """
    return _open(library_dir(), os.environ.get(MODEL_VARIABLE))


@st.cache_resource(show_spinner=False, max_entries=4)
def _open(library_dir: Path, model: str | None) -> Library:
    return Library(library_dir, model=model)


def go_to(view: str, **params: str) -> None:
    """Have the run at hand, or the next one, show another page."""
    st.session_state[_DESTINATION] = view, params


def destination() -> tuple[str, dict[str, str]] | None:
    """Where go_to leads, told once: module of vlrlt.ui.views and parameters of its link."""
    wanted: tuple[str, dict[str, str]] | None = st.session_state.pop(_DESTINATION, None)
    return wanted


def show_error(error: VlrltError, *, title: str = "An error occurred") -> None:
    """What went wrong; our errors say what to try."""
    titles = (known for kind, known in _TITLES if isinstance(error, kind))
    st.error(next(titles, title), icon=":material/error:")
    st.code(readable(str(error)), language=None, wrap_lines=True)


def readable(text: Path | str) -> str:
    """Valid Unicode of a path or a message; file names need not be."""
    return os.fsencode(text).decode(errors="replace")


def video_name(moment: Moment) -> str:
    """The name of its file."""
    return readable(Path(moment.video).name)


def time_range(moment: Moment) -> str:
    """For example 00:12.0-00:14.5."""
    return format_span(moment.start_s, moment.end_s)


def duration(seconds: float) -> str:
    """For example 42 s, 5.5 min, 1,234.5 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"


def plain(text: str) -> str:
    """Text for a label, which would take it for Markdown: every mark is escaped."""
    return "".join(f"\\{char}" if char in string.punctuation else char for char in readable(text).replace("\n", " "))
