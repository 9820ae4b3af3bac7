"""A library's figures in the text format that Prometheus collects."""

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from vlrlt.service import LibraryStatus


def prometheus_text(status: LibraryStatus) -> str:
    """Gauges of a library: videos by state, clips, seconds of video, bytes."""
    registry = CollectorRegistry()
    videos = Gauge("vlrlt_videos", "Files of the archive, by state", ["state"], registry=registry)
    for state in ("indexed", "partial", "unfinished", "failed", "missing"):
        videos.labels(state).set(getattr(status, state))
    for name, help_text, value in (
        ("vlrlt_clips", "Clips that can be found", status.clips),
        ("vlrlt_video_seconds", "Seconds of searchable video", status.video_s),
        ("vlrlt_library_bytes", "Bytes of the library on disk", status.size_bytes),
    ):
        Gauge(name, help_text, registry=registry).set(value)
    return generate_latest(registry).decode()
