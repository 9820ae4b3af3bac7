"""Library: its contents, the current run, failed files, and the savings of run-length tokens."""

import os
from pathlib import Path
from typing import Literal

import altair as alt
import streamlit as st
from rich.filesize import decimal as format_bytes

from vlrlt.errors import VlrltError
from vlrlt.index.run.control import RunView, ask_run, view_run
from vlrlt.service import Library, LibraryStatus
from vlrlt.service.jobs import Jobs
from vlrlt.service.network import parse_root
from vlrlt.ui import page
from vlrlt.ui.charts import charted
from vlrlt.ui.launch import ROOTS_VARIABLE

MAX_FAILURES = 500
MAX_FOLDERS = 500
MAX_VIDEOS = 2000
MOTION_BINS = 10
STILL_BELOW = 0.1
"""A clip in which a smaller share of the tokens moves is called still."""
FOLLOW_EVERY_S, LOOK_EVERY_S = 2.0, 10.0
"""A run is followed closely; when there is none, whether one has begun is looked at now and then."""


def show() -> None:
    """The page."""
    service = page.open_library()
    status = service.status()
    st.title("Library", anchor=False)
    _show_totals(status)
    st.fragment(_show_run, run_every=FOLLOW_EVERY_S if _is_active() else LOOK_EVERY_S)()
    _show_add()
    if status.failures:
        _show_failures(status)
    if status.vectors:
        _show_videos(service)
        left, right = st.columns(2, gap="large")
        with left:
            _show_motion(service)
        with right:
            _show_savings(service)
    _show_model(status)


def _show_totals(status: LibraryStatus) -> None:
    with st.container(horizontal=True):
        for label, value, note in (
            ("Videos", f"{status.indexed + status.partial:,}", None),
            ("Length", page.duration(status.video_s), "Of searchable video."),
            ("Vectors", f"{status.vectors:,}", "One for each frame run, a part of a video that shows the same scene."),
            ("Storage", format_bytes(status.size_bytes), "Of the library; the videos stay where they are."),
            ("Failed", f"{status.failed + status.partial:,}", "Files that cannot be searched to their end."),
        ):
            st.metric(label, value, help=note, border=True, width=160)


@st.cache_resource(show_spinner=False)
def _jobs(library_dir: Path, roots: str) -> Jobs:
    """One for the whole server: one run at a time works on a library."""
    return Jobs(library_dir, dict(parse_root(root) for root in roots.splitlines()))


def _open_jobs() -> Jobs:
    return _jobs(page.library_dir(), os.environ.get(ROOTS_VARIABLE, ""))


def _is_active() -> bool:
    job = _open_jobs().latest()
    return view_run(page.library_dir()) is not None or (job is not None and job.state == "running")


def _show_run() -> None:
    """The run at hand, whoever started it; the page is drawn anew when one begins or ends."""
    run, job, active = view_run(page.library_dir()), _open_jobs().latest(), _is_active()
    before, st.session_state["was indexing"] = st.session_state.get("was indexing", active), active
    if before != active:
        st.rerun()
    if run is not None:
        _show_progress(run)
    elif job is not None and job.state == "running":
        st.progress(0.0, text="Starting")
    elif job is not None and job.error is not None:
        st.error("The last run failed", icon=":material/error:")
        st.code(page.readable(job.error), language=None, wrap_lines=True)


def _show_progress(run: RunView) -> None:
    step = run.progress
    share = step.bytes_done / step.bytes_total if step.bytes_total else 0.0
    left = "" if run.left_s is None else f", {page.duration(run.left_s)} left"
    with st.container(border=True):
        st.progress(
            min(share, 1.0),
            text=f"{run.state.capitalize()}: {step.files_done:,} of {step.files_total:,} files, "
            f"{page.duration(step.video_s_done)} of video{left}",
        )
        st.text(page.readable(step.path.name))
        with st.container(horizontal=True):
            pause = "Go on" if run.paused else "Pause"
            st.button(pause, icon=":material/pause:", on_click=_ask, args=("pause", not run.paused))
            st.button("Stop", icon=":material/stop:", on_click=_ask, args=("stop", True), disabled=run.stopping)
        st.caption(
            "Finished videos can be searched already. A stopped run continues where it stopped when you start it again."
        )


def _ask(what: Literal["pause", "stop"], wanted: bool) -> None:
    """Tell the run."""
    try:
        ask_run(page.library_dir(), what, wanted=wanted)
    except VlrltError as error:
        page.show_error(error)


def _show_add() -> None:
    """Start or resume a run on a folder that the server's owner has registered."""
    jobs = _open_jobs()
    with st.expander("Add videos or continue", icon=":material/create_new_folder:"):
        if not jobs.roots:
            st.write("To index from this page, name the folders when you start the application:")
            st.code(f"vlrlt ui --library {page.library_dir()} --root videos=DIR", language=None)
            return
        root = st.selectbox("Folder", jobs.roots, format_func=page.readable, key="root")
        parts = _folders(Path(dict(map(parse_root, os.environ[ROOTS_VARIABLE].splitlines()))[root]))
        folder = st.selectbox("Subfolder", ("", *parts), format_func=lambda f: page.readable(f) or "the whole folder")
        again = st.toggle("Retry failed files", key="retry")
        if st.button("Index", type="primary", icon=":material/play_arrow:"):
            try:
                jobs.start(root, folder=folder, retry_failed=again)
            except VlrltError as error:
                page.show_error(error, title="The run cannot be started")
            else:
                st.rerun()


def _folders(root: Path) -> list[str]:
    """The folders below, two levels deep."""
    found = sorted(path for pattern in ("*/", "*/*/") for path in root.glob(pattern) if not path.name.startswith("."))
    return [str(path.relative_to(root)) for path in found[:MAX_FOLDERS]]


def _show_failures(status: LibraryStatus) -> None:
    with st.expander(f"{status.failed} failed, {status.partial} partial", icon=":material/warning:"):
        rows = [
            {"File": page.readable(v.path), "State": v.state, "While": v.stage, "Reason": page.readable(v.reason or "")}
            for v in status.failures[:MAX_FAILURES]
        ]
        st.dataframe(rows, hide_index=True, alt="Files that cannot be searched to their end, with reasons")
        st.caption('The next run retries changed files. To retry unchanged files too, turn on "Retry failed files".')
        if len(status.failures) > MAX_FAILURES:
            st.caption(f"and {len(status.failures) - MAX_FAILURES} more; `vlrlt failures` lists all")


def _show_videos(service: Library) -> None:
    videos = service.videos()
    with st.expander("Videos", icon=":material/movie:"):
        rows = [
            {"Video": video.name, "Minutes": round(video.duration_s / 60, 1), "Vectors": video.num_vectors}
            for video in videos[:MAX_VIDEOS]
        ]
        st.dataframe(rows, hide_index=True, alt="Searchable videos with their lengths and clips")
        if len(videos) > MAX_VIDEOS:
            st.caption(f"and {len(videos) - MAX_VIDEOS:,} more")


def _show_motion(service: Library) -> None:
    """How much of the archive stands still."""
    seconds = service.seconds_by_kept_share(bins=MOTION_BINS)
    st.subheader("Static and moving", anchor=False)
    if not any(seconds):
        st.write("This library was indexed before movement was recorded.")
        return
    still = sum(seconds[: round(STILL_BELOW * MOTION_BINS)]) / sum(seconds)
    st.write(f"**{still:.0%}** of the clips' time is still: less than {STILL_BELOW:.0%} of the picture changes.")
    width = 100 // MOTION_BINS
    rows = [
        {"moving": f"{number * width}-{(number + 1) * width}", "share": part / sum(seconds)}
        for number, part in enumerate(seconds)
    ]
    chart = (
        alt.Chart(charted(rows))
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            x=alt.X("moving:O", sort=None, title="percent of the tokens that move", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("share:Q", title="of the clips' time", axis=alt.Axis(format="%")),
            tooltip=["moving:N", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    st.altair_chart(chart, height=220, alt="How much of the archive's clips moves")


def _show_savings(service: Library) -> None:
    """What not encoding what repeats has saved, over all runs."""
    reports = [report for report in service.reports() if report.get("dense_tokens")]
    st.subheader("Saved by run-length tokens", anchor=False)
    if not reports:
        st.write("No finished run has counted its tokens.")
        return
    tokens, dense = (sum(report[name] for report in reports) for name in ("tokens", "dense_tokens"))
    timed = [report for report in reports if report.get("dense_encode_s")]
    spent_s, dense_s = (sum(report[name] for report in timed) for name in ("encode_s", "dense_encode_s"))
    with st.container(horizontal=True):
        st.metric("Tokens not encoded", f"{1 - tokens / dense:.0%}", border=True, width=165)
        if timed:
            saved = page.duration(max(0.0, dense_s - spent_s))
            st.metric("Time saved", saved, border=True, width=165, help="Estimated from a sample of dense batches.")
    st.write(f"{tokens:,} of {dense:,} tokens were encoded.")
    if timed:
        st.write(f"Encoding took {page.duration(spent_s)}; all tokens would have taken about {page.duration(dense_s)}.")


def _show_model(status: LibraryStatus) -> None:
    with st.expander("Model and index", icon=":material/database:"):
        search = status.search.as_text() if status.search else "no index yet"
        lines = {
            "library": page.readable(status.library_dir),
            "model": status.model or "none yet",
            "fingerprint": status.fingerprint or "",
            "search": search,
        }
        st.code("\n".join(f"{name:12} {value}" for name, value in lines.items()), language=None, wrap_lines=True)
