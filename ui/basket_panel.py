"""The basket as a button that opens it: play, remove, take away as a file."""

import streamlit as st

from vlrlt.errors import VlrltError
from vlrlt.export.export import export_text
from vlrlt.export.piece import piece_of
from vlrlt.types import Moment
from vlrlt.ui import basket, page, player

KINDS = {
    "csv": "table (CSV)",
    "json": "JSON",
    "m3u": "playlist (M3U)",
    "edl": "edit list (EDL)",
    "fcpxml": "Final Cut (FCPXML)",
    "otio": "OpenTimelineIO",
}


def show_basket() -> None:
    """The basket as a button that opens it."""
    kept = basket.moments()
    with st.popover(f"Basket ({len(kept)})", icon=":material/shopping_basket:", disabled=not kept):
        for number, moment in enumerate(kept):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.text(f"{page.video_name(moment)}  {page.time_range(moment)}")
                st.space("stretch")
                st.button("Play", key=f"basket-play-{number}", on_click=player.open_player, args=(moment,))
                st.button("Remove", key=f"basket-remove-{number}", on_click=basket.toggle, args=(moment,))
        if kept:
            _show_export(kept)


def _show_export(kept: tuple[Moment, ...]) -> None:
    """The list as a file for players and editors."""
    kind = st.selectbox("Take away as", tuple(KINDS), format_func=KINDS.__getitem__, key="basket-kind")
    title = ", ".join(st.session_state["request"].text) or "moments"
    try:
        text = export_text([piece_of(moment, title=title) for moment in kept], title=title, kind=kind)
    except VlrltError as error:
        page.show_error(error, title="These moments do not fit that format")
        return
    data = text.encode(errors="surrogateescape")
    st.download_button("Download", data, f"moments.{kind}", on_click="ignore", icon=":material/download:")
