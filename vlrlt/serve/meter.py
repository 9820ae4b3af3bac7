"""Counters of the server in Prometheus' text format. Plain ASGI: Starlette's own middleware costs a task a request."""

import time

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from vlrlt.service.web import App, Message, Receive, Scope, Send


class Metrics:
    """Requests and their durations by route."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("vlrlt_requests", "Requests.", ("route", "status"), registry=self._registry)
        self.seconds = Histogram(
            "vlrlt_request_seconds", "Time to the response's head.", ("route",), registry=self._registry
        )
        self.running = Gauge("vlrlt_requests_running", "Requests being answered.", registry=self._registry)

    def as_text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)


class Meter:
    """Wraps an ASGI application."""

    def __init__(self, app: App, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it when its response begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(route, str(message["status"])).inc()
                self._metrics.seconds.labels(route).observe(time.perf_counter() - started_s)
            await send(message)

        with self._metrics.running.track_inprogress():
            await self._app(scope, receive, counted)
