"""A library's figures in the text format that Prometheus collects."""

from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from vlrlt.service import LibraryStatus


def prometheus_text(status: LibraryStatus) -> str:
    """Gauges of a library: videos by state, clips, seconds of video, bytes; the run at work, the last one's stages."""
    registry = CollectorRegistry()
    videos = Gauge("vlrlt_videos", "Files of the archive, by state", ["state"], registry=registry)
    for state in ("indexed", "partial", "unfinished", "failed", "missing"):
        videos.labels(state).set(getattr(status, state))
    for name, help_text, value in (
        ("vlrlt_vectors", "Searchable vectors", status.vectors),
        ("vlrlt_video_seconds", "Seconds of searchable video", status.video_s),
        ("vlrlt_library_bytes", "Bytes of the library on disk", status.size_bytes),
    ):
        Gauge(name, help_text, registry=registry).set(value)
    _add_runs(status, registry)
    return generate_latest(registry).decode()


def _add_runs(status: LibraryStatus, registry: CollectorRegistry) -> None:
    running = Gauge("vlrlt_run_files", "Files of the current run, 0 if there is none", ["state"], registry=registry)
    step = status.run.progress if status.run else None
    running.labels("done").set(step.files_done if step else 0)
    running.labels("total").set(step.files_total if step else 0)
    Gauge("vlrlt_paused", "1: index runs wait for vlrlt resume", registry=registry).set(status.paused)
    last = status.last_run
    if last is None:
        return
    stages = Gauge(
        "vlrlt_last_run_stage_seconds", "Seconds per stage of the last finished run", ["stage"], registry=registry
    )
    for stage, name in (("scan", "look_s"), ("decoder", "decode_s"), ("encoder", "encode_s"), ("disk", "write_s")):
        stages.labels(stage).set(last[name])
    ended = Gauge("vlrlt_last_run_end_timestamp_seconds", "When the last finished run ended", registry=registry)
    ended.set(datetime.fromisoformat(last["ended_at"]).timestamp())
