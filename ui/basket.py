"""The moments that one visitor has put aside; they live as long as the page is open and nobody else sees them."""

import streamlit as st

from vlrlt.errors import VlrltError
from vlrlt.export.export import export_text
from vlrlt.export.piece import piece_of
from vlrlt.types import Moment
from vlrlt.ui import page, player

KINDS = {
    "csv": "table (CSV)",
    "json": "JSON",
    "m3u": "playlist (M3U)",
    "edl": "edit list (EDL)",
    "fcpxml": "Final Cut (FCPXML)",
    "otio": "OpenTimelineIO",
}
_KEY = "basket"


def moments() -> tuple[Moment, ...]:
    """What is in it, in the order in which it was put there."""
    return tuple(st.session_state.get(_KEY, {}).values())


def label(moment: Moment) -> str:
    """What toggle would do."""
    return "Remove from basket" if _name(moment) in st.session_state.get(_KEY, {}) else "Add to basket"


def toggle(moment: Moment) -> None:
    """Put a moment in, or take it out."""
    kept = dict(st.session_state.get(_KEY, {}))
    if kept.pop(_name(moment), None) is None:
        kept[_name(moment)] = moment
    st.session_state[_KEY] = kept


def show() -> None:
    """The basket as a button that opens it."""
    kept = moments()
    with st.popover(f"Basket ({len(kept)})", icon=":material/shopping_basket:", disabled=not kept):
        for number, moment in enumerate(kept):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.text(f"{page.video_name(moment)}  {page.time_range(moment)}")
                st.space("stretch")
                st.button("Play", key=f"basket-play-{number}", on_click=player.open_player, args=(moment,))
                st.button("Remove", key=f"basket-remove-{number}", on_click=toggle, args=(moment,))
        if kept:
            _show_export(kept)


def _show_export(kept: tuple[Moment, ...]) -> None:
    """The list as a file for players and editors."""
    kind = st.selectbox("Take away as", tuple(KINDS), format_func=KINDS.__getitem__, key="basket-kind")
    title = st.session_state["request"].q or "moments"
    try:
        text = export_text([piece_of(moment, title=title) for moment in kept], title=title, kind=kind)
    except VlrltError as error:
        page.show_error(error, title="These moments do not fit that format")
        return
    data = text.encode(errors="surrogateescape")
    st.download_button("Download", data, f"moments.{kind}", on_click="ignore", icon=":material/download:")


def _name(moment: Moment) -> tuple[str, float, float]:
    return moment.video_id, moment.start_s, moment.end_s
