"""Compare: the numbers and curves of finished runs, side by side."""

import os
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import streamlit as st

from vlrlt.ui import page
from vlrlt.ui.charts import charted
from vlrlt.ui.launch import RUNS_VARIABLE
from vlrlt.ui.runs import COST, Kind, RecordedRun, find_runs

MAX_CHOSEN = 6
FORGET_S = 10.0
MARGIN_PX = 12
"""Around the outermost points of a chart."""


def show() -> None:
    """The page."""
    st.title("Compare", anchor=False)
    folder = os.environ.get(RUNS_VARIABLE)
    runs = _find(Path(folder)) if folder else ()
    if not runs:
        st.write("Evaluations and trainings are read from a folder:")
        commands = ("vlrlt eval epic-mir --data DIR --json > runs/eval.json", "vlrlt ui --library DIR --runs runs")
        st.code("\n".join(commands), language=None)
        return
    _show_evaluations(_chosen(runs, "evaluation", "Evaluations"))
    for run in _chosen(runs, "quality and cost", "Quality against cost"):
        _show_quality_cost(run)
    _show_trainings(_chosen(runs, "training", "Trainings"))


@st.cache_resource(ttl=FORGET_S, show_spinner=False)
def _find(folder: Path) -> tuple[RecordedRun, ...]:
    return find_runs(folder)


def _chosen(runs: Sequence[RecordedRun], kind: Kind, title: str) -> list[RecordedRun]:
    """Those of a kind that the visitor wants beside each other."""
    known = {run.name: run for run in runs if run.kind == kind}
    if not known:
        return []
    st.subheader(title, anchor=False)
    first = list(known)[: 1 if kind == "quality and cost" else MAX_CHOSEN]
    names = st.multiselect(
        title,
        tuple(known),
        default=first,
        format_func=page.readable,
        max_selections=MAX_CHOSEN,
        key=f"chosen {kind}",
        label_visibility="collapsed",
    )
    return [known[name] for name in names]


def _show_evaluations(runs: Sequence[RecordedRun]) -> None:
    """One row for each number, one column for each run."""
    metrics = list(dict.fromkeys(metric for run in runs for metric in run.metrics))
    rows = [
        {"metric": metric} | {page.readable(run.name): run.metrics.get(metric) for run in runs} for metric in metrics
    ]
    if rows:
        st.dataframe(rows, hide_index=True, alt="Numbers of the chosen evaluations, side by side")


def _show_quality_cost(run: RecordedRun) -> None:
    """One picture for each task: the cheapest on the left, the best on top."""
    st.text(page.readable(run.name))
    tasks = list(dict.fromkeys(point["task"] for point in run.points))
    task = st.segmented_control("Task", tasks, default=tasks[0], required=True, key=f"task {run.name}")
    rows = [point for point in run.points if point["task"] == task]
    chart = (
        alt.Chart(charted(rows))
        .mark_point(size=90, filled=True)
        .encode(
            x=alt.X(
                f"{COST}:Q",
                title="encode seconds for a minute of video",
                scale=alt.Scale(type="log", padding=MARGIN_PX),
            ),
            y=alt.Y("quality:Q", scale=alt.Scale(zero=False, padding=MARGIN_PX)),
            color=alt.Color("arm:N", legend=alt.Legend(orient="bottom", columns=3, labelLimit=300)),
            tooltip=["arm:N", alt.Tooltip(f"{COST}:Q", format=".3f"), alt.Tooltip("quality:Q", format=".4f")],
        )
        .interactive()
    )
    st.altair_chart(chart, height=420, alt="Quality against cost of each arm")


def _show_trainings(runs: Sequence[RecordedRun]) -> None:
    """Curves of one metric of all chosen runs."""
    metrics = sorted({point["metric"] for run in runs for point in run.points})
    if not metrics:
        return
    metric = st.selectbox("Metric", metrics, key="metric")
    rows = [
        {"run": page.readable(run.name), **point} for run in runs for point in run.points if point["metric"] == metric
    ]
    chart = (
        alt.Chart(charted(rows))
        .mark_line(point=True)
        .encode(
            x="step:Q",
            y=alt.Y("value:Q", title="value", scale=alt.Scale(zero=False)),
            color=alt.Color("run:N", legend=alt.Legend(orient="bottom", labelLimit=400)),
            tooltip=["run:N", "step:Q", "value:Q"],
        )
    )
    st.altair_chart(chart, height=320, alt="The metric of each run over its steps")
