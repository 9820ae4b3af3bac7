"""Moments as cards, grouped by video."""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from math import floor

import streamlit as st

from vlrlt.errors import VlrltError
from vlrlt.formats import format_time
from vlrlt.index.search.request import SearchRequest
from vlrlt.index.search.searcher import is_match
from vlrlt.service import Library
from vlrlt.types import Moment
from vlrlt.ui import basket, page, player
from vlrlt.ui.links import liking

CARD_WIDTH_PX = 264
STYLE = """
<style>
[class*="st-key-card-"] img { border-radius: 0.4rem; background: rgba(128, 128, 128, 0.15); object-fit: contain; }
[class*="st-key-thumbnail-"] img { aspect-ratio: 4 / 3; }
[class*="st-key-video-"] > [data-testid="stElementContainer"]:first-child { font-weight: 600; }
@media (max-width: 640px) {
    [data-testid="stLayoutWrapper"]:has(> [class*="st-key-card-"]),
    [data-testid="stLayoutWrapper"]:has(> [class*="st-key-video-"]) { flex: 1 1 100% !important; }
}
</style>
"""


def show_results(service: Library, hits: Sequence[Moment], request: SearchRequest) -> None:
    """Cards, the video with the best hit first."""
    st.html(STYLE)
    ends_s = {video.video_id: video.duration_s for video in service.videos()}
    with st.container(key="results", horizontal=True, gap="medium"):
        for number, (video_id, group) in enumerate(groupby(_by_video(hits), key=lambda hit: hit.video_id)):
            shown = tuple(group)
            with st.container(key=f"video-{number}", width="content", gap="small"):
                st.text(page.video_name(shown[0]))
                player.show_timeline(shown, length_s=ends_s.get(video_id, shown[-1].end_s))
                with st.container(horizontal=True, gap="small"):
                    for hit in shown:
                        show_card(service, hit, request)


def show_card(service: Library, moment: Moment, request: SearchRequest) -> None:
    """One moment: what it looks like, when, how sure, why, and what to do with it."""
    with st.container(key=f"card-{moment.rank}", border=True, width=CARD_WIDTH_PX, gap="xsmall"):
        show_pictures(service, moment, key=str(moment.rank))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{page.time_range(moment)}**", width="content")
            show_sureness(moment)
            show_verdict(moment)
        st.caption(better_than(moment))
        show_why(moment)
        show_actions(moment, request)


def show_pictures(service: Library, moment: Moment, *, key: str) -> None:
    """Its middle, and below it the strip from its start to its end."""
    try:
        with st.container(key=f"thumbnail-{key}", gap=None):
            st.image(service.thumbnail(moment), width="stretch", alt=f"Moment {page.time_range(moment)}")
        st.image(service.strip(moment), width="stretch", alt="Four frames of the moment, in order")
    except VlrltError as error:
        page.show_error(error, title="No picture")


def show_sureness(moment: Moment) -> None:
    """The probability that it shows the words, rounded down: nothing is 100% sure; without words the cosine."""
    if moment.confidence is None:
        st.badge(f"cosine {moment.score:.2f}", color="gray")
    else:
        st.badge(f"{floor(100 * moment.confidence)}% sure", color="green" if is_match(moment) else "gray")


def show_verdict(moment: Moment) -> None:
    """What a second look says, if there was one."""
    match moment.verdict:
        case "confirmed":
            st.badge("confirmed", color="green")
        case "rejected" | "unverified" as verdict:
            st.badge(verdict, color="gray")


def better_than(moment: Moment) -> str:
    """Its percentile, rounded down: 100.0% would be a claim that no clip of the library can meet."""
    return f"better than {floor(10 * moment.percentile) / 10:.1f}% of the clips"


def show_why(moment: Moment) -> None:
    """Which sources found it, and the line that was found, its words marked."""
    if moment.text is not None:
        with st.container(horizontal=True, gap="xsmall"):
            for source in moment.sources:
                st.badge(source, color="blue" if source == "picture" else "violet")
        st.html(f"“{_marked(moment)}”")
    if moment.steps:
        st.caption("then ".join(f"{format_time(step.start_s, decimals=1)} " for step in moment.steps))


def _marked(moment: Moment) -> str:
    """The line as HTML: what a file says is escaped, and only the marks are markup."""
    before, after = "\ufdd0", "\ufdd1"  # noncharacters, which no text has
    line = page.readable(moment.marked_text(before, after))
    return escape(line).replace(before, "<mark>").replace(after, "</mark>")


def show_actions(moment: Moment, request: SearchRequest) -> None:
    """Play, like, dislike, and the rest in a menu."""
    clip = moment.clip
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Play", key=f"play-{moment.rank}", icon=":material/play_arrow:", on_click=player.open_player, args=(moment,)
        )
        feedback = f"feedback-{clip}"
        st.session_state[feedback] = 1 if clip in request.like else 0 if clip in request.unlike else None
        st.feedback("thumbs", key=feedback, on_change=_judge, args=(clip, feedback))
        st.space("stretch")
        menu = f"menu-{moment.rank}"
        st.menu_button(
            "More",
            ("Find similar", "Only this video", "Look inside", basket.label(moment)),
            key=menu,
            type="tertiary",
            on_click=_act,
            args=(moment, menu),
        )


def _judge(clip: str, key: str) -> None:
    thumb = st.session_state[key]
    st.session_state["request"] = liking(st.session_state["request"], clip, None if thumb is None else thumb == 1)


def _act(moment: Moment, key: str) -> None:
    action, request = st.session_state[key], st.session_state["request"]
    if action == "Find similar":
        st.session_state["request"] = SearchRequest(like=(moment.clip,))
    elif action == "Only this video":
        st.session_state["request"] = request.replaced(videos=moment.video_id)
    elif action == "Look inside":
        page.go_to("inside", clip=moment.clip)
    else:
        basket.toggle(moment)


def _by_video(hits: Sequence[Moment]) -> list[Moment]:
    """Hits of one video beside each other, in the order of their times; the video with the best hit first."""
    order = {video: rank for rank, video in reversed([*enumerate(hit.video_id for hit in hits)])}
    return sorted(hits, key=lambda hit: (order[hit.video_id], hit.start_s))
