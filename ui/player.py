"""One moment in a dialog: its film, what comes before and after, the video's other hits, and a link to it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode, urljoin

import streamlit as st

from vlrlt.errors import VlrltError
from vlrlt.export.transcript import shifted, transcript_text
from vlrlt.formats import format_time
from vlrlt.index.search.request import SearchRequest
from vlrlt.service import PREVIEW_MAX_S, Library
from vlrlt.types import ClipSpan, Moment
from vlrlt.ui import basket, page
from vlrlt.ui.links import PLAY, format_play, parse_play, to_params

CONTEXTS_S = (1.0, 3.0, 10.0)
TRANSCRIPT_S = 60.0
"""What is said so long before and after a moment is beside it."""
MAX_LINES = 100
_KEY = "open moment"


def open_player(moment: Moment) -> None:
    """Have a moment shown by the run at hand and all that follow, until the dialog is closed."""
    st.session_state[_KEY] = moment


def close_player() -> None:
    """The dialog was closed."""
    st.session_state.pop(_KEY, None)


def opened() -> Moment | None:
    """The moment that is to be shown."""
    moment: Moment | None = st.session_state.get(_KEY)
    return moment


def open_linked(service: Library, link: str) -> None:
    """Open the moment that a link names; one that is not there is told."""
    try:
        clip, span = parse_play(link)
        open_player(service.clip(clip).within(span))
    except VlrltError as error:
        page.show_error(error, title="The moment of this link cannot be shown")


def show_player(service: Library, hits: Sequence[Moment], *, linked: bool = False) -> None:
    """The dialog, if a moment is open; whether the page's address shall name it."""
    if opened() is not None:
        _dialog(service, tuple(hits), linked=linked)


@st.dialog("Moment", width="medium", icon=":material/play_arrow:", on_dismiss=close_player)
def _dialog(service: Library, hits: tuple[Moment, ...], *, linked: bool) -> None:
    moment = opened()
    if moment is None:
        st.rerun()
    if linked:
        write_link()  # the dialog goes on to other moments without the rest of the page
    show_film(service, moment, key="player")
    st.text(page.readable(moment.video))
    _show_transcript(service, moment)
    _show_neighbours(service, moment, hits)
    _show_buttons(service, moment, hits)
    st.caption("A link to this search and this moment")
    st.code(link(), language=None, wrap_lines=True)


def show_film(service: Library, moment: Moment, *, key: str) -> None:
    """A player that starts at the moment; its film is short and made for browsers, the archive's file stays unread."""
    before_s = st.segmented_control(
        "Seconds before and after",
        CONTEXTS_S,
        default=CONTEXTS_S[0],
        required=True,
        format_func=lambda seconds: f"± {seconds:g} s",
        key=f"{key}-context",
        label_visibility="collapsed",
    )
    padded = pad(moment, before_s or CONTEXTS_S[0])
    try:
        with st.spinner("Cutting a preview"):
            film = service.preview(padded)
    except VlrltError as error:
        page.show_error(error, title="The video can no longer be read")
        return
    lines = service.transcript(moment.video_id, within=padded.span)
    begin_s = moment.start_s if moment.seek_s is None else max(padded.start_s, moment.seek_s)
    st.video(
        film,
        start_time=begin_s - padded.start_s,
        subtitles=transcript_text(shifted(lines, padded.span), kind="vtt").encode() if lines else None,
        autoplay=True,
        muted=True,
        loop=True,
        alt=f"The moment {page.time_range(moment)}",
    )
    st.markdown(f"**{page.time_range(moment)}**")


def pad(moment: Moment, seconds: float, *, most_s: float = PREVIEW_MAX_S) -> Moment:
    """The moment with seconds before and after it, as far as a preview reaches."""
    start_s = max(0.0, moment.start_s - seconds)
    return moment.within(ClipSpan(start_s, min(moment.end_s + seconds, start_s + most_s)))


def _show_transcript(service: Library, moment: Moment) -> None:
    """What is said and written around the moment; a line is played when it is pressed."""
    around = pad(moment, TRANSCRIPT_S, most_s=2 * TRANSCRIPT_S + moment.span.duration_s)
    lines = service.transcript(moment.video_id, within=around.span)[:MAX_LINES]
    if not lines:
        return
    with st.expander("Transcript", expanded=moment.text is not None), st.container(height=220, border=False, gap=None):
        for number, line in enumerate(lines):
            is_shown = line.start_s < moment.end_s and moment.start_s < line.end_s
            text = page.plain(line.text)
            st.button(
                f"{format_time(line.start_s)}  {f'**{text}**' if is_shown else text}",
                key=f"line-{number}",
                type="tertiary",
                on_click=open_player,
                args=(moment.within(ClipSpan(line.start_s, line.end_s)),),
            )


def _show_neighbours(service: Library, moment: Moment, hits: tuple[Moment, ...]) -> None:
    """The video's other hits on its timeline, and the ways to the next and the one before."""
    own = [hit for hit in hits if hit.video_id == moment.video_id] or [moment]
    length_s = next(video.duration_s for video in service.videos() if video.video_id == moment.video_id)
    show_timeline(own, length_s=length_s, current=moment)


def _show_buttons(service: Library, moment: Moment, hits: tuple[Moment, ...]) -> None:
    """To the hit before and the next one, also by the arrow keys; into the basket."""
    at = next((number for number, hit in enumerate(hits) if format_play(hit) == format_play(moment)), None)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        if at is not None:
            _step("Previous", "Left", hits[at - 1])
        st.button(basket.label(moment), icon=":material/shopping_basket:", on_click=basket.toggle, args=(moment,))
        _show_cut(service, moment)
        if at is not None:
            _step("Next", "Right", hits[(at + 1) % len(hits)])


def _show_cut(service: Library, moment: Moment) -> None:
    """The moment as a film of its own, cut when it is asked for."""
    name = f"{Path(page.video_name(moment)).stem}-{moment.start_s:.1f}-{moment.end_s:.1f}.mp4"
    st.download_button(
        "Cut",
        lambda: _cut(service, moment),
        name,
        "video/mp4",
        on_click="ignore",
        icon=":material/content_cut:",
        help="Download the cut in full quality, with its sound.",
    )


def _cut(service: Library, moment: Moment) -> bytes:
    with tempfile.TemporaryDirectory(prefix="vlrlt-") as folder:
        film = Path(folder) / "cut.mp4"
        service.cut(moment, film)
        return film.read_bytes()


def _step(name: str, key: str, target: Moment) -> None:
    st.button(name, shortcut=key, on_click=open_player, args=(target,))


def show_timeline(hits: Sequence[Moment], *, length_s: float, current: Moment | None = None) -> None:
    """Where in its video each hit is; only numbers go into the page."""
    marks = "".join(
        f'<i class="{"other" if current is not None and hit.start_s != current.start_s else ""}" '
        f'style="left:{100 * hit.start_s / length_s:.2f}%;width:{100 * (hit.end_s - hit.start_s) / length_s:.2f}%"></i>'
        for hit in hits
    )
    times = ", ".join(format_time(hit.start_s) for hit in hits)
    label = f"{len(hits)} moments in a video of {format_time(length_s)}: {times}"
    st.html(f'<div class="vlrlt-timeline" role="img" aria-label="{label}" title="{label}">{marks}</div>')


def _params() -> dict[str, list[str]]:
    """What a link says of the search and of the moment that is open."""
    request: SearchRequest = st.session_state.get("request", SearchRequest())
    moment = opened()
    return to_params(request) | ({} if moment is None else {PLAY: [format_play(moment)]})


def write_link() -> None:
    """Put the search, and the moment that is open, into the page's address."""
    params = _params()
    if params != {name: st.query_params.get_all(name) for name in st.query_params}:
        st.query_params.from_dict(params)
    st.session_state["written link"] = params


def link() -> str:
    """The address that opens this search with this moment."""
    return f"{urljoin(st.context.url or '', '.')}?{urlencode(_params(), doseq=True)}"
