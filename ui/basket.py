"""The moments that one visitor has put aside; they live as long as the page is open and nobody else sees them."""

import streamlit as st

from vlrlt.types import Moment

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


def _name(moment: Moment) -> tuple[str, float, float]:
    return moment.video_id, moment.start_s, moment.end_s
