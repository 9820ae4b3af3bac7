"""The moments that one visitor has put aside; they live as long as the page is open and nobody else sees them."""

import csv
import io
import json

import streamlit as st

from vlrlt.types import Moment
from vlrlt.ui import page, player

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
            show_downloads(kept)


def show_downloads(kept: tuple[Moment, ...]) -> None:
    """Lists of the moments for other programs."""
    with st.container(horizontal=True):
        st.download_button("CSV", as_csv(kept), "moments.csv", "text/csv", icon=":material/download:")
        rows = [moment.as_json() for moment in kept]
        st.download_button("JSON", json.dumps(rows), "moments.json", "application/json", icon=":material/download:")


def as_csv(kept: tuple[Moment, ...]) -> bytes:
    """One line for each moment: file, start, end in seconds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "start_s", "end_s"])
    writer.writerows([page.readable(m.video), f"{m.start_s:.3f}", f"{m.end_s:.3f}"] for m in kept)
    return text.getvalue().encode()


def _name(moment: Moment) -> tuple[str, float, float]:
    return moment.video_id, moment.start_s, moment.end_s
