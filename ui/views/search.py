"""Search: the search box, its filters, and the moments that were found."""

import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from vlrlt.errors import ConfigError, VlrltError
from vlrlt.index.search.filters import undated_text
from vlrlt.index.search.language import ClipQuery, ImageQuery
from vlrlt.index.search.request import SOURCES, SearchRequest
from vlrlt.service import Library, SearchResult
from vlrlt.types import ClipSpan, Moment
from vlrlt.ui import basket_panel, page, player
from vlrlt.ui.access import MAX_UPLOAD_MB
from vlrlt.ui.links import PLAY, chips, from_params
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


def show() -> None:
    """The page."""
    service = page.open_library()
    request = _current_request(service)
    counts = service.counts()
    if not counts.vectors:
        st.title("Find a moment")
        st.info("This library has no clips yet. Add a folder on the Library page, or run:")
        st.code(f"vlrlt index VIDEOS --library {page.library_dir()}", language=None)
        return
    if request == SearchRequest():
        st.title("Find a moment", anchor=False)
        st.caption(f"in {counts.vectors:,} vectors of {page.duration(counts.video_s)} of video")
    _show_box(request)
    _show_examples(service, hidden=request != SearchRequest())
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


def _current_request(service: Library) -> SearchRequest:
    """What this visitor searches for: from the link if there is a new one, else as it was left."""
    state = st.session_state
    params = {name: st.query_params.get_all(name) for name in st.query_params}
    if "request" not in state or (params and params != state.get("written link")):
        state["request"] = from_params(params)
        if PLAY in params:
            player.open_linked(service, params[PLAY][0])
    request: SearchRequest = state["request"]
    if request != state.get("shown request"):
        state["shown request"], state["num shown"] = request, NUM_MORE
    return request


def _edit(name: str, key: str, read: Callable[[Any], Any]) -> None:
    """A widget was changed: the request gets its value."""
    state = st.session_state
    state["request"] = state["request"].replaced(**{name: read(state[key])})


def _bound(
    request: SearchRequest,
    name: str,
    *,
    show: Callable[[Any], Any] = lambda value: value,
    read: Callable[[Any], Any] = lambda value: value,
) -> dict[str, Any]:
    """Arguments that make a widget show and change one field of the request or of its filter.

    Args:
        request: what is shown.
        name: of the field.
        show: the widget's value of the field's.
        read: the field's value of the widget's.
    """
    key = f"request-{name}"
    st.session_state[key] = show(getattr(request if hasattr(request, name) else request.filter, name))
    return {"key": key, "on_change": _edit, "args": (name, key, read)}


def _bound_text(request: SearchRequest, name: str) -> dict[str, Any]:
    """Likewise, of a text field that shows and changes the first of several texts; the others stay."""
    texts = getattr(request if hasattr(request, name) else request.filter, name)
    return _bound(
        request,
        name,
        show=lambda _: texts[0] if texts else "",
        read=lambda text: (*filter(None, [text.strip()]), *texts[1:]),
    )


def _bound_time(request: SearchRequest, name: str) -> dict[str, Any]:
    """Likewise, of a text field for a time that need not be given."""
    return _bound(request, name, show=lambda time: time or "", read=lambda text: text.strip() or None)


def _show_box(request: SearchRequest) -> None:
    st.text_input(
        "Search",
        placeholder="Describe it like a caption, then press Enter",
        icon=":material/search:",
        label_visibility="collapsed",
        **_bound_text(request, "text"),
    )


def _show_examples(service: Library, *, hidden: bool) -> None:
    """What others have said of these videos, to begin with."""
    if hidden:
        return
    usual = TOY_EXAMPLES if service.settings().model == "default" else EXAMPLES
    examples = service.narrations(limit=NUM_EXAMPLES) or usual
    chosen = st.pills("Try", examples, key="example", format_func=page.plain)
    if chosen is not None:
        st.session_state["request"] = SearchRequest(text=(chosen,))
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
        st.caption(
            f"Only the first {MAX_FILM_S:g} seconds of a film count. Links do not contain the file; it is kept while "
            "this page is open."
        )
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


def _show_sequence(request: SearchRequest) -> None:
    with st.popover("Then, not", icon=":material/playlist_add:"):
        st.text_input("Then, in the same video", placeholder="pour milk", **_bound_text(request, "then"))
        within = _bound(request, "within_s")
        st.number_input("within seconds", min_value=0.0, max_value=3600.0, step=5.0, format="%g", **within)
        st.text_input("But not", placeholder="wash a pan", **_bound_text(request, "without"))


def _show_filters(service: Library, request: SearchRequest) -> None:
    with st.popover("Filters", icon=":material/filter_list:"):
        _show_video_filter(service, request)
        st.text_input("Path matches", placeholder="*/2024/*", **_bound_text(request, "paths"))
        left, right = st.columns(2)
        left.text_input("Recorded from", placeholder="2024-05-01", **_bound_time(request, "recorded_after"))
        right.text_input("Recorded before", placeholder="2024-06-01", **_bound_time(request, "recorded_before"))
        st.text_input("Metadata", placeholder="camera=gopro", **_bound_text(request, "where"))
        _show_motion_filter(request)
        st.pills(
            "Found in",
            SOURCES,
            selection_mode="multi",
            **_bound(request, "sources", show=list, read=lambda chosen: tuple(chosen) or SOURCES),
        )
        st.toggle("Copies of a scene in other videos", **_bound(request, "duplicates"))
        st.toggle("Weak matches too", **_bound(request, "tail"))


def _show_video_filter(service: Library, request: SearchRequest) -> None:
    """By name, in libraries in which names can be listed."""
    names = {video.video_id: video.name for video in service.videos()}
    if len(names) <= MAX_LISTED_VIDEOS:
        options = _bound(request, "videos", show=lambda chosen: [video for video in chosen if video in names])
        st.multiselect("Videos", tuple(names), format_func=lambda video: names[video], placeholder="All", **options)


def _show_motion_filter(request: SearchRequest) -> None:
    key = "request-motion"
    least, most = request.filter.moving or 0.0, 1.0 if request.filter.still is None else request.filter.still
    st.session_state[key] = (round(100 * least), round(100 * most))
    st.slider("How much moves, in percent of the picture", 0, 100, key=key, on_change=_edit_motion, args=(key,))


def _edit_motion(key: str) -> None:
    low, high = st.session_state[key]
    st.session_state["request"] = st.session_state["request"].replaced(
        moving=low / 100 if low > 0 else None, still=high / 100 if high < 100 else None
    )


def _show_saved(service: Library, request: SearchRequest) -> None:
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
            st.caption("Everyone who uses this library can run a saved search.")
        with st.form("save", border=False, clear_on_submit=True):
            name = st.text_input("Name of this search", max_chars=100, placeholder="plates", key="saved-name")
            if st.form_submit_button("Save", icon=":material/bookmark_add:"):
                _save(service, name, request)


def _open_saved(service: Library, name: str) -> None:
    try:
        st.session_state["request"] = service.saved.get(name)
    except VlrltError as error:
        page.show_error(error, title="This search cannot be opened here")


def _delete_saved(service: Library, name: str) -> None:
    with suppress(ConfigError):  # another visitor was faster
        service.saved.delete(name)


def _save(service: Library, name: str, request: SearchRequest) -> None:
    try:
        service.saved.save(name.strip(), request)
    except VlrltError as error:
        page.show_error(error, title="The search was not saved")
    else:
        st.rerun()


def _show_chips(request: SearchRequest) -> None:
    """What is in effect beside the words; taking a chip away takes it out of the search."""
    shown = chips(request)
    if shown:
        st.session_state["chips"] = list(shown)
        st.multiselect(
            "In effect", tuple(shown), key="chips", on_change=_drop, args=(request,), label_visibility="collapsed"
        )


def _drop(request: SearchRequest) -> None:
    gone = chips(request)
    for kept in st.session_state["chips"]:
        del gone[kept]
    st.session_state["request"] = next(iter(gone.values()), request)
    if len(gone) > 1:
        st.session_state["request"] = SearchRequest(text=request.text[:1])


def _answer(service: Library, request: SearchRequest, example: ImageQuery | ClipQuery | None) -> tuple[Moment, ...]:
    """Search and show what was found, or why nothing could be; gives the hits."""
    num_shown = st.session_state["num shown"]
    try:
        asked = _with_example(request, example)
        if not asked.finds_something:
            return ()
        with st.spinner("Searching; the first search loads the model"):
            result = service.search(replace(asked, k=num_shown))
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


def _with_example(request: SearchRequest, example: ImageQuery | ClipQuery | None) -> SearchRequest:
    """What to search for beside the example; of videos that were chosen, all moments are shown."""
    if request.filter.videos:
        request = replace(request, per_video=None)
    if example is None:
        return request
    return (
        replace(request, images=(example.path,))
        if isinstance(example, ImageQuery)
        else replace(request, clips=(example,))
    )


def _show_summary(result: SearchResult) -> None:
    videos = len(result.by_video())
    more = " or more" if result.next_page else ""
    if result.hits:
        st.caption(
            f"{len(result.hits)}{more} moments in {videos} video{'s' if videos != 1 else ''}, "
            f"{result.num_searched:,} vectors searched in {max(1, round(result.took_ms)):,} ms"
            + (f"; {undated_text(result.num_undated)}" if result.num_undated else "")
        )


def _show_nothing(result: SearchResult, request: SearchRequest) -> None:
    """No confident match: why that may be, and what to do."""
    with st.container(key="no-match", border=True):
        if not result.num_searched:
            st.subheader("No clip passes the filters", anchor=False)
            st.write("Remove a filter to search more of the library.")
            if result.num_undated:
                st.write(f"{undated_text(result.num_undated)}.")
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
