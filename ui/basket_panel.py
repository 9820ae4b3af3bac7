"""The basket as a button that opens it: name it, play, rate, tag, order, remove, export as a file."""

from collections.abc import Callable

import streamlit as st

from vlrlt.errors import VlrltError
from vlrlt.export.export import export_text
from vlrlt.formats import format_span
from vlrlt.index.library.kept import KeptMoment
from vlrlt.types import Moment
from vlrlt.ui import basket, page, player

KINDS = {
    "csv": "table (CSV)",
    "json": "JSON",
    "m3u": "playlist (M3U)",
    "edl": "edit list (EDL)",
    "fcpxml": "Final Cut, Resolve (FCPXML)",
    "otio": "OpenTimelineIO",
}
_CHOSEN = "basket-name"


def show_basket() -> None:
    """The basket as a button that opens it."""
    unnamed, kept = basket.unnamed(), basket.kept()
    with st.popover(f"Basket ({len(unnamed) + len(kept)})", icon=":material/shopping_basket:"):
        trouble = basket.take_trouble()
        if trouble is not None:
            page.show_error(trouble, title="The basket cannot be changed")
        _show_name()
        for number, moment in enumerate(unnamed):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.text(f"{page.video_name(moment)}  {page.time_range(moment)}")
                st.space("stretch")
                st.button("Play", key=f"basket-play-{number}", on_click=player.open_player, args=(moment,))
                _button("Remove", f"basket-remove-{number}", basket.toggle, moment)
        for one in kept:
            _show_kept(one)
        if unnamed or kept:
            _show_export()


def _show_name() -> None:
    names = list(page.open_library().collections.all())
    chosen = basket.name()
    st.selectbox(
        "Collection",
        sorted({*names, *([] if chosen is None else [chosen])}),
        index=None,
        key=_CHOSEN,
        accept_new_options=True,
        placeholder="Name a collection, or open one. Without a name, the basket ends with this page.",
        help="A collection stays in the library. Everyone who uses the library sees it.",
        on_change=_choose,
    )


def _choose() -> None:
    basket.attempt(basket.choose, st.session_state[_CHOSEN])


def _show_kept(one: KeptMoment) -> None:
    collections = page.open_library().collections
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.text(f"{page.readable((one.video or 'forgotten video').rpartition('/')[2])}  {_span(one)}")
        st.space("stretch")
        st.button("Play", key=f"kept-play-{one.id}", on_click=basket.attempt, args=(_play, one))
        _button("Up", f"kept-up-{one.id}", _move_up, one)
        _button("Remove", f"kept-remove-{one.id}", collections.remove, one.id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        stars, tags = f"kept-stars-{one.id}", f"kept-tags-{one.id}"
        st.session_state[stars] = None if one.rating is None else one.rating - 1
        st.feedback("stars", key=stars, on_change=basket.attempt, args=(_rate, one, stars))
        st.session_state[tags] = ", ".join(one.tags)
        st.text_input(
            "Tags",
            key=tags,
            label_visibility="collapsed",
            placeholder="Tags",
            on_change=basket.attempt,
            args=(_tag, one, tags),
        )


def _span(one: KeptMoment) -> str:
    return format_span(one.start_s, one.end_s)


def _play(one: KeptMoment) -> None:
    moment: Moment = page.open_library().moment_at(one.video_id, one.span)
    player.open_player(moment)


def _move_up(one: KeptMoment) -> None:
    order = [other.id for other in basket.kept()]
    page.open_library().collections.change(one.id, place=max(1, order.index(one.id)))


def _rate(one: KeptMoment, key: str) -> None:
    stars = st.session_state[key]
    page.open_library().collections.change(one.id, rating="none" if stars is None else stars + 1)


def _tag(one: KeptMoment, key: str) -> None:
    tags = [tag.strip() for tag in st.session_state[key].split(",") if tag.strip()]
    page.open_library().collections.change(one.id, tags=tags)


def _button(text: str, key: str, act: Callable[..., object], *args: object) -> None:
    st.button(text, key=key, on_click=basket.attempt, args=(act, *args))


def _show_export() -> None:
    """The list as a file for players and editors."""
    kind = st.selectbox("Export as", tuple(KINDS), format_func=KINDS.__getitem__, key="basket-kind")
    title = basket.name() or ", ".join(st.session_state["request"].text) or "moments"
    try:
        text = export_text(basket.pieces(), title=title, kind=kind)
    except VlrltError as error:
        page.show_error(error, title="This format does not fit these moments")
        return
    data = text.encode(errors="surrogateescape")
    st.download_button("Download", data, f"moments.{kind}", on_click="ignore", icon=":material/download:")
