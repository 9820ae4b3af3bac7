"""Look inside: the run-length tokens of a clip, and a map of the library's clips."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import streamlit as st

from vlrlt.errors import DecodeError, VlrltError
from vlrlt.explain import ClipTokens, draw_run_lengths, read_tokens
from vlrlt.formats import format_time
from vlrlt.index.vectors.protocol import evenly
from vlrlt.service import Library
from vlrlt.types import ClipSpan, Float32Array, Moment
from vlrlt.ui import page, player
from vlrlt.ui.charts import charted
from vlrlt.ui.launch import ACCENT
from vlrlt.ui.results import STYLE, show_pictures

FRAME_PX = 448
CARD_PX = 165
"""Two fit beside each other on a phone."""
MAP_CLIPS = 2000
CLIP = "clip"
"""Parameter of a link to the tokens of a clip."""
MAX_CHOSEN = 8
MAX_COLOURS = 20
LOOK_S = 30.0
"""How far behind the chosen second a clip may begin."""


def show() -> None:
    """The page."""
    service = page.open_library()
    st.html(STYLE)
    st.title("Look inside", anchor=False)
    if not service.counts().vectors:
        st.info("This library has no clips yet.")
        return
    tokens, clips = st.tabs(("One clip, token by token", "A map of the clips"), key="inside", on_change="rerun")
    if tokens.open:
        with tokens:
            _show_tokens(service)
    else:
        with clips:
            _show_map(service)
    player.show_player(service, ())


def _show_tokens(service: Library) -> None:
    videos = {video.video_id: video for video in service.videos()}
    if CLIP in st.query_params:
        _choose_linked(service, st.query_params[CLIP])
    left, right = st.columns((2, 3))
    video = left.selectbox(
        "Video",
        tuple(videos),
        format_func=lambda video: videos[video].name,
        key="inside-video",
        on_change=_forget_link,
    )
    latest_s = max(1.0, videos[video].duration_s - 1.0)
    start_s = right.slider("From second", 0.0, latest_s, step=0.5, key=f"inside-start-{video}", on_change=_forget_link)
    path = Path(service.path_of(video))
    try:
        with st.spinner("Encoding the clip twice, with and without dropping; the first time loads the model"):
            tokens = _read_tokens(service, path, start_s)
    except VlrltError as error:
        page.show_error(error, title="This clip cannot be shown")
        return
    _show_costs(tokens)
    _show_step(tokens)


def _choose_linked(service: Library, clip: str) -> None:
    """Have the widgets show the clip that the page's address names."""
    try:
        moment = service.clip(clip)
    except VlrltError as error:
        page.show_error(error, title="The clip of this link cannot be shown")
        return
    st.session_state["inside-video"] = moment.video_id
    st.session_state[f"inside-start-{moment.video_id}"] = moment.start_s


def _forget_link() -> None:
    st.query_params.clear()


@st.cache_resource(show_spinner=False, max_entries=32, hash_funcs={Library: lambda service: service.library_dir})
def _read_tokens(service: Library, path: Path, start_s: float) -> ClipTokens:
    """The first clip from a second on.

    Raises:
        ConfigError: the library's model has no tokens to show.
        DecodeError: the video cannot be read there.
    """
    found = next(iter(read_tokens(path, embedder=service.embedder(), span=ClipSpan(start_s, start_s + LOOK_S))), None)
    if found is None:
        raise DecodeError(path, stage="decode", reason=f"no clip begins after {start_s:g} s")
    return found


def _show_costs(tokens: ClipTokens) -> None:
    facts = tokens.as_json()
    with st.container(horizontal=True):
        st.metric(
            f"Clip from {format_time(facts['start_s'], decimals=1)}",
            f"{tokens.clip.span.duration_s:g} s",
            width=CARD_PX,
            height="stretch",
            border=True,
        )
        st.metric(
            "Tokens",
            f"{facts['tokens']:,}",
            f"{facts['kept'] - 1:.0%} of {facts['dense_tokens']:,}",
            delta_color="inverse",
            width=CARD_PX,
            height="stretch",
            border=True,
        )
        ratio = facts["encode_s"] / facts["dense_s"] - 1
        st.metric(
            "Encoding",
            f"{1000 * facts['encode_s']:.0f} ms",
            f"{ratio:+.0%} of {1000 * facts['dense_s']:.0f} ms",
            delta_color="inverse",
            width=CARD_PX,
            height="stretch",
            border=True,
            help="Measured once, on this machine; the change is relative to the dense model.",
        )
        st.metric("Mean run, in steps", f"{facts['mean_run_length']:.1f}", width=CARD_PX, height="stretch", border=True)


def _show_step(tokens: ClipTokens) -> None:
    num_steps = len(tokens.keep_Shw)
    step = 0
    if num_steps > 1:
        busiest = 1 + int(tokens.keep_Shw[1:].sum((1, 2)).argmax())
        step = (
            st.slider("Step", 1, num_steps, busiest + 1, key="inside-step", help="The arrow keys move the slider.") - 1
        )
    frame = step * (len(tokens.clip.rgb_THWC) // num_steps)
    kept, lengths, counts = st.columns(3, gap="medium")
    with kept:
        st.image(
            tokens.shown(frame),
            width="stretch",
            caption=f"At {tokens.clip.pts_s[frame]:.2f} s: {int(tokens.keep_Shw[step].sum())} patches are kept, "
            "the dark ones are what an earlier step has shown already",
            alt="Kept patches",
        )
    with lengths:
        st.image(
            draw_run_lengths(tokens.run_length_Shw[step], num_steps=num_steps, size_px=FRAME_PX),
            width="stretch",
            caption=f"How long each patch lasts: from violet (1 step) to yellow ({num_steps} steps)",
            alt="Run lengths",
        )
    with counts:
        _show_counts(tokens)


def _show_counts(tokens: ClipTokens) -> None:
    per_step = enumerate(tokens.keep_Shw.sum((1, 2)).tolist(), start=1)
    runs, counts = np.unique(tokens.run_length_Shw[tokens.run_length_Shw > 0], return_counts=True)
    _show_bars("step", per_step, alt_text="Tokens that each step keeps")
    _show_bars("run length", zip(runs.tolist(), counts.tolist(), strict=True), alt_text="Tokens by run length")


def _show_bars(name: str, counts: Iterable[tuple[int, int]], *, alt_text: str) -> None:
    rows = [{name: at, "tokens": count} for at, count in counts]
    bars = alt.Chart(charted(rows)).mark_bar(cornerRadiusEnd=3)
    axis = alt.Axis(labelAngle=0)
    st.altair_chart(bars.encode(x=alt.X(f"{name}:O", axis=axis), y="tokens:Q"), height=180, alt=alt_text)


def _show_map(service: Library) -> None:
    searcher = service.searcher()
    clips = searcher.frame_runs
    positions = evenly(len(clips.ids_N), most=MAP_CLIPS)
    shown = f"{len(positions):,}" + (f" of {len(clips.ids_N):,}" if len(positions) < len(clips.ids_N) else "")
    st.write(f"{shown} clips, placed by their vectors along the two directions in which these differ most.")
    st.caption("Point at a clip to see it. Click a clip, or draw a box around several, to keep them.")
    xy_N2 = _project(searcher.vectors(positions))
    points = [
        {
            "x": x,
            "y": y,
            "number": number,
            "video": page.readable(Path(clips.videos[clips.video_N[position]]).name),
            "time": format_time(clips.start_s_N[position]),
        }
        for number, (position, (x, y)) in enumerate(zip(positions, xy_N2.tolist(), strict=True))
    ]
    _explore(service, [searcher.clip_at(int(position)) for position in positions], points, _draw_map(points))


@st.fragment
def _explore(
    service: Library, clips: Sequence[Moment], points: Sequence[Mapping[str, Any]], spec: dict[str, Any]
) -> None:
    """The map, what is pointed at, and what is chosen. Pointing runs nothing but this."""
    wide, narrow = st.columns((4, 1), vertical_alignment="center")
    with wide:
        event = st.vega_lite_chart(
            spec=spec, height=480, on_select="rerun", key="map", alt="A map of the library's clips"
        )
    pointed = _numbers(event, "pointed")
    with narrow:
        if pointed:
            show_pictures(service, clips[pointed[0]], key="pointed")
            st.text(f"{points[pointed[0]]['video']}\n{points[pointed[0]]['time']}")
    with st.container(horizontal=True, gap="small"):
        for number in (_numbers(event, "point") or _in_box(event, points))[:MAX_CHOSEN]:
            _show_point(service, clips[number])


def _numbers(event: Any, name: str) -> list[int]:  # noqa: ANN401  Streamlit's
    return [int(row["number"]) for row in event.selection.get(name, [])]


def _in_box(event: Any, points: Sequence[Mapping[str, Any]]) -> list[int]:  # noqa: ANN401
    box = event.selection.get("box", {})
    if not {"x", "y"} <= set(box):
        return []
    (left, right), (bottom, top) = sorted(box["x"]), sorted(box["y"])
    return [row["number"] for row in points if left <= row["x"] <= right and bottom <= row["y"] <= top]


def _draw_map(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A Vega-Lite specification; its selections give the numbers of points."""
    pointed = alt.selection_point(name="pointed", fields=["number"], on="pointerover", clear="pointerout")
    point = alt.selection_point(name="point", fields=["number"])
    many = len({row["video"] for row in points}) > MAX_COLOURS
    chart = (
        alt.Chart(charted(points))
        .mark_circle(size=60)
        .encode(
            x=alt.X("x:Q", axis=None),
            y=alt.Y("y:Q", axis=None),
            color=alt.value(ACCENT) if many else alt.Color("video:N", legend=None),
            opacity=alt.condition(point, alt.value(0.85), alt.value(0.25)),
            tooltip=["video:N", "time:N"],
        )
        .add_params(pointed, point, alt.selection_interval(name="box"))
    )
    spec: dict[str, Any] = chart.to_dict()
    return spec


def _project(vectors_ND: Float32Array) -> Float32Array:
    """Principal components of some vectors: the two directions in which they differ most, (N, 2)."""
    centred_ND = vectors_ND - vectors_ND.mean(axis=0)
    _, directions_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
    xy_N2: Float32Array = centred_ND @ directions_DD[:, :-3:-1]
    return xy_N2


def _show_point(service: Library, moment: Moment) -> None:
    key = f"map-{moment.clip}"
    with st.container(key=f"card-{key}", border=True, width=216, gap="xsmall"):
        show_pictures(service, moment, key=key)
        st.text(page.video_name(moment))
        st.markdown(f"**{page.time_range(moment)}**")
        if st.button("Play", key=f"play-{key}", icon=":material/play_arrow:"):
            player.open_player(moment)
            st.rerun()  # of the whole page: the dialog is not part of the map
