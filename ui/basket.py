"""The moments that a visitor has collected: a collection of the library, once it has a name.

Without a name they live as long as the page is open, and nobody else sees them.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from vlrlt.errors import NotFoundError, VlrltError
from vlrlt.export.piece import Piece, piece_of
from vlrlt.index.library.kept import KeptMoment
from vlrlt.types import Moment
from vlrlt.ui import page

_MINE = "basket"
_NAME = "basket collection"
_TROUBLE = "basket trouble"


def name() -> str | None:
    """Of the collection; None: it has none yet."""
    chosen: str | None = st.session_state.get(_NAME)
    return chosen


def choose(collection: str | None) -> None:
    """Let the basket be a collection from now on; what was in it without a name goes into it.

    Raises:
        ConfigError: the name has signs that it must not have.
        LibraryError: the library cannot be written.
    """
    if collection is not None:
        collections = page.open_library().collections
        for moment in st.session_state.get(_MINE, {}).values():
            collections.keep(collection, moment, title=_query())
        st.session_state[_MINE] = {}
    st.session_state[_NAME] = collection


def kept() -> tuple[KeptMoment, ...]:
    """What is in the collection; nothing if it has no name, or was deleted."""
    chosen = name()
    if chosen is None:
        return ()
    try:
        return page.open_library().collections.moments(chosen)
    except NotFoundError:
        return ()


def unnamed() -> tuple[Moment, ...]:
    """What is in a basket without a name, in the order in which it was put there."""
    return tuple(st.session_state.get(_MINE, {}).values())


def pieces() -> tuple[Piece, ...]:
    """What is in it, to be taken away.

    Raises:
        NotFoundError: the library has forgotten one of the videos.
    """
    service, chosen = page.open_library(), name()
    if chosen is not None and kept():
        return service.collections.pieces(chosen)
    return tuple(service.informed(piece_of(moment, title=_query())) for moment in unnamed())


def label(moment: Moment) -> str:
    """What toggle would do."""
    return "Remove from basket" if _has(moment) else "Add to basket"


def attempt(act: Callable[..., object], *args: Any) -> None:  # noqa: ANN401  those of act
    """Act; what goes wrong is kept to be shown in the basket."""
    try:
        act(*args)
    except VlrltError as error:
        st.session_state[_TROUBLE] = error


def take_trouble() -> VlrltError | None:
    """What went wrong, told once."""
    trouble: VlrltError | None = st.session_state.pop(_TROUBLE, None)
    return trouble


def toggle(moment: Moment) -> None:
    """Put a moment in, or take it out; what goes wrong is shown in the basket."""
    attempt(_toggle, moment)


def _toggle(moment: Moment) -> None:
    chosen = name()
    if chosen is None:
        mine = dict(st.session_state.get(_MINE, {}))
        if mine.pop(_key(moment), None) is None:
            mine[_key(moment)] = moment
        st.session_state[_MINE] = mine
        return
    collections = page.open_library().collections
    for one in kept():
        if _is(one, moment):
            collections.remove(one.id)
            return
    collections.keep(chosen, moment, title=_query())


def _has(moment: Moment) -> bool:
    if name() is None:
        return _key(moment) in st.session_state.get(_MINE, {})
    return any(_is(one, moment) for one in kept())


def _is(one: KeptMoment, moment: Moment) -> bool:
    return (one.video_id, one.start_s, one.end_s) == _key(moment)


def _key(moment: Moment) -> tuple[str, float, float]:
    return moment.video_id, moment.start_s, moment.end_s


def _query() -> str:
    request = st.session_state.get("request")
    return ", ".join(request.text) if request else ""
