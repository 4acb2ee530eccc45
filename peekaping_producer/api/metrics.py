"""The metrics of the API."""

from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram

from peekaping_producer.metrics import ReadCounter

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ApiMetrics:
    """What the API counts. Without a `registry` the values are counted, and only the API serves them."""

    def __init__(self, registry: CollectorRegistry | None = None, *, repeated: Callable[[], float] = lambda: 0) -> None:
        """`repeated`: how many messages the broker had already, if it recognizes them (asynq)."""
        self.registry = registry = registry or CollectorRegistry()
        self.produced = Counter(
            "messages_produced_total", "Messages that the broker confirmed to a caller.", registry=registry
        )
        requests = Counter("http_requests_total", "Requests.", ("route", "status"), registry=registry)
        duration = Histogram(
            "http_request_duration_seconds",
            "Duration of requests, confirmation included.",
            ("route",),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._requests_of = cache(requests.labels)
        self._duration_of = cache(duration.labels)
        text = "Messages whose ids the queue (asynq) already contained: confirmed without a second task."
        registry.register(ReadCounter("messages_repeated_total", text, repeated))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._duration_of(route).observe(seconds)
        self._requests_of(route, status).inc()
