"""Search: one box, what narrows it, and the moments that were found."""

import tempfile
import weakref
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from vlrlt.errors import ConfigError, VlrltError
from vlrlt.index.search.language import ClipQuery, ImageQuery
from vlrlt.service import SearchResult, Service
from vlrlt.types import ClipSpan, Moment
from vlrlt.ui import basket_panel, page, player
from vlrlt.ui.links import PLAY, Request
from vlrlt.ui.results import show_results

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

TOY_EXAMPLES = ("open fridge", "close fridge", "cut tomato", "pour milk", "turn on tap", "stir pot")
EXAMPLES = ("a person opens a door", "hands cutting vegetables", "a dog runs on grass", "a car drives on a road")
NUM_EXAMPLES = 6
NUM_MORE = 12
MAX_SHOWN = 120
MAX_LISTED_VIDEOS = 2000
PICTURE_TYPES = ("jpg", "jpeg", "png", "webp", "bmp")
FILM_TYPES = ("mp4", "mov", "m4v", "mkv", "webm", "avi")
MAX_FILM_S = 30.0
MAX_UPLOAD_MB = 10


def show() -> None:
    """The page."""
    service = page.open_library()
    request = _current_request(service)
    counts = service.counts()
    if not counts.clips:
        st.title("Find a moment")
        st.info("This library has no clips yet. Add a folder on the Library page, or run:")
        st.code(f"vlrlt index VIDEOS --library {page.library_dir()}", language=None)
        return
    if request == Request():
        st.title("Find a moment", anchor=False)
        st.caption(f"in {counts.clips:,} clips of {page.duration(counts.video_s)} of video")
    _show_box(request)
    _show_examples(service, hidden=request != Request())
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        example = _show_upload()
        _show_sequence(request)
        _show_filters(service, request)
        _show_saved(service, request)
        basket_panel.show_basket()
    _show_chips(request)
    player.write_link()
    hits = _answer(service, request, example)
    player.show_player(service, hits, linked=True)


def _current_request(service: Service) -> Request:
    """What this visitor searches for: from the link if there is a new one, else as it was left."""
    state = st.session_state
    params = {name: st.query_params.get_all(name) for name in st.query_params}
    if "request" not in state or (params and params != state.get("written link")):
        state["request"] = Request.from_params(params)
        if PLAY in params:
            player.open_linked(service, params[PLAY][0])
    request: Request = state["request"]
    if request != state.get("shown request"):
        state["shown request"], state["num shown"] = request, NUM_MORE
    return request


def _edit(field: str, key: str) -> None:
    """A widget was changed: the request gets its value."""
    state = st.session_state
    value = state[key]
    state["request"] = replace(state["request"], **{field: tuple(value) if isinstance(value, list) else value})


def _bound(request: Request, field: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401  what a widget takes
    """Arguments that make a widget show and change one field of the request."""
    key = f"request-{field}"
    value = getattr(request, field)
    st.session_state[key] = list(value) if isinstance(value, tuple) else value
    return {"key": key, "on_change": _edit, "args": (field, key), **options}


def _show_box(request: Request) -> None:
    st.text_input(
        "Search",
        placeholder="Describe it like a caption, then press Enter",
        icon=":material/search:",
        label_visibility="collapsed",
        **_bound(request, "q"),
    )


def _show_examples(service: Service, *, hidden: bool) -> None:
    """What others have said of these videos, to begin with."""
    if hidden:
        return
    usual = TOY_EXAMPLES if service.settings().model == "default" else EXAMPLES
    examples = service.narrations(limit=NUM_EXAMPLES) or usual
    chosen = st.pills("Try", examples, key="example", format_func=page.plain)
    if chosen is not None:
        st.session_state["request"] = Request(q=chosen)
        st.rerun()


def _show_upload() -> ImageQuery | ClipQuery | None:
    """A picture or a short film to search with."""
    with st.popover("Picture, clip", icon=":material/image:"):
        upload = st.file_uploader(
            "Find moments that look like a picture or a short film",
            (*PICTURE_TYPES, *FILM_TYPES),
            key="upload",
            max_upload_size=MAX_UPLOAD_MB,
        )
        st.caption(f"Of a film, its first {MAX_FILM_S:g} seconds. Kept while this page is open; no link carries it.")
    known = st.session_state.get("uploaded")
    if upload is None or known is None or known[0] != upload.file_id:
        st.session_state["uploaded"] = None if upload is None else (upload.file_id, _example(upload))
    # A copy: rankings keep what they were asked, and the file shall go with the visitor.
    return None if upload is None else replace(st.session_state["uploaded"][1])


def _example(upload: "UploadedFile") -> ImageQuery | ClipQuery:
    """An upload as a query; its file is there for as long as this object."""
    suffix = Path(upload.name).suffix.lower()
    with tempfile.NamedTemporaryFile(prefix="vlrlt-", suffix=suffix, delete=False) as file:
        file.write(upload.getbuffer())
    path = Path(file.name)
    query = ClipQuery(path, ClipSpan(0.0, MAX_FILM_S)) if suffix[1:] in FILM_TYPES else ImageQuery(path)
    weakref.finalize(query, path.unlink, missing_ok=True)
    return query


def _show_sequence(request: Request) -> None:
    with st.popover("Then, not", icon=":material/playlist_add:"):
        st.text_input("Then, in the same video", placeholder="pour milk", **_bound(request, "then"))
        within = _bound(request, "within")
        st.number_input("within seconds", min_value=0.0, max_value=3600.0, step=5.0, format="%g", **within)
        st.text_input("But not", placeholder="wash a pan", **_bound(request, "without"))


def _show_filters(service: Service, request: Request) -> None:
    with st.popover("Filters", icon=":material/filter_list:"):
        _show_video_filter(service, request)
        st.text_input("Path matches", placeholder="*/2024/*", **_bound(request, "path"))
        left, right = st.columns(2)
        left.text_input("Recorded from", placeholder="2024-05-01", **_bound(request, "after"))
        right.text_input("Recorded before", placeholder="2024-06-01", **_bound(request, "before"))
        st.text_input("Metadata", placeholder="camera=gopro", **_bound(request, "where"))
        _show_motion_filter(request)
        st.segmented_control(
            "Found in",
            ("", "visual", "text"),
            format_func={"": "both", "visual": "pictures", "text": "texts"}.__getitem__,
            required=True,
            **_bound(request, "source"),
        )
        st.toggle("Copies of a scene in other videos", **_bound(request, "duplicates"))
        st.toggle("Weak matches too", **_bound(request, "tail"))


def _show_video_filter(service: Service, request: Request) -> None:
    """By name, in libraries in which names can be listed."""
    names = {video["video_id"]: video["video"] for video in service.videos()}
    if len(names) <= MAX_LISTED_VIDEOS:
        known = tuple(video for video in request.video if video in names)
        options = _bound(replace(request, video=known), "video")
        st.multiselect("Videos", tuple(names), format_func=lambda video: names[video], placeholder="All", **options)


def _show_motion_filter(request: Request) -> None:
    key = "request-motion"
    st.session_state[key] = (round(100 * request.moving), round(100 * request.still))
    st.slider("How much moves, in percent of the picture", 0, 100, key=key, on_change=_edit_motion, args=(key,))


def _edit_motion(key: str) -> None:
    low, high = st.session_state[key]
    st.session_state["request"] = replace(st.session_state["request"], moving=low / 100, still=high / 100)


def _show_saved(service: Service, request: Request) -> None:
    """Searches with a name, those of the other front ends too."""
    with st.popover("Saved", icon=":material/bookmark:"):
        kept = service.saved.all()
        for number, name in enumerate(kept):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                args = (service, name)
                st.button(page.plain(name), key=f"saved-{number}", type="tertiary", on_click=_open_saved, args=args)
                st.space("stretch")
                st.button("Delete", key=f"unsave-{number}", type="tertiary", on_click=_delete_saved, args=args)
        if not kept:
            st.caption("A search that is kept under a name is there for everybody who uses this library.")
        with st.form("save", border=False, clear_on_submit=True):
            name = st.text_input("Name of this search", max_chars=100, placeholder="plates", key="saved-name")
            if st.form_submit_button("Save", icon=":material/bookmark_add:"):
                _save(service, name, request)


def _open_saved(service: Service, name: str) -> None:
    try:
        st.session_state["request"] = Request.from_saved(service.saved.get(name))
    except VlrltError as error:
        page.show_error(error, title="This search cannot be opened here")


def _delete_saved(service: Service, name: str) -> None:
    with suppress(ConfigError):  # another visitor was faster
        service.saved.delete(name)


def _save(service: Service, name: str, request: Request) -> None:
    try:
        service.saved.save(name.strip(), request.saved())
    except VlrltError as error:
        page.show_error(error, title="The search was not saved")
    else:
        st.rerun()


def _show_chips(request: Request) -> None:
    """What is in effect beside the words; taking a chip away takes it out of the search."""
    chips = request.chips()
    if chips:
        st.session_state["chips"] = list(chips)
        st.multiselect(
            "In effect", tuple(chips), key="chips", on_change=_drop, args=(request,), label_visibility="collapsed"
        )


def _drop(request: Request) -> None:
    gone = request.chips()
    for kept in st.session_state["chips"]:
        del gone[kept]
    st.session_state["request"] = next(iter(gone.values()), request)
    if len(gone) > 1:
        st.session_state["request"] = Request(q=request.q)


def _answer(service: Service, request: Request, example: ImageQuery | ClipQuery | None) -> tuple[Moment, ...]:
    """Search and show what was found, or why nothing could be; gives the hits."""
    num_shown = st.session_state["num shown"]
    try:
        query = request.query(example=example)
        if query is None:
            return ()
        with st.spinner("Searching; the first search loads the model"):
            result = service.search(query, k=num_shown, options=request.options())
    except VlrltError as error:
        page.show_error(error, title="The search failed")
        return ()
    _show_summary(result)
    if not result.found:
        _show_nothing(result, request)
    show_results(service, result.hits, request)
    if result.next_page and num_shown < MAX_SHOWN:
        st.button("Show more", icon=":material/expand_more:", on_click=_show_more)
    return result.hits


def _show_summary(result: SearchResult) -> None:
    videos = len(result.by_video())
    more = " or more" if result.next_page else ""
    if result.hits:
        st.caption(
            f"{len(result.hits)}{more} moments in {videos} video{'s' if videos != 1 else ''}, "
            f"{result.num_searched:,} clips searched in {max(1, round(result.took_ms)):,} ms"
        )


def _show_nothing(result: SearchResult, request: Request) -> None:
    """No confident match: why that may be, and what to do."""
    with st.container(key="no-match", border=True):
        if not result.num_searched:
            st.subheader("No clip passes the filters", anchor=False)
            st.write("Take a filter away to search more of the library.")
            return
        st.subheader("No confident match", anchor=False)
        if result.unknown_words:
            st.write("The model does not know these words:")
            st.text(", ".join(result.unknown_words))
        st.write(f"Nothing in the {result.num_searched:,} clips that were searched clearly shows it.")
        if request.tail:
            st.write("These are the nearest moments.")
        else:
            nearest = replace(request, tail=True)
            st.button("Show the nearest moments", on_click=st.session_state.update, kwargs={"request": nearest})


def _show_more() -> None:
    st.session_state["num shown"] += NUM_MORE
