"""The metrics of sources, of the relay, and of the consumer."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from peekaping_producer.metrics import PREFIX

_PUBLISH_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_PROCESSING_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class RelayMetrics:
    """What a relay and its source count. Without a `registry` the values are counted and not served."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()

        def counter(name: str, text: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, registry=registry)

        self.produced = counter("relay_produced_total", "Messages that the broker confirmed.")
        self.refused = counter("relay_refused_total", "Messages that can never be published.")
        self.buffered_messages = gauge(
            "relay_buffered_messages", "Messages in the buffer, neither confirmed nor refused."
        )
        self.buffered_bytes = gauge("relay_buffered_bytes", "Bytes of the bodies in the buffer.")
        self.publish_duration = Histogram(
            f"{PREFIX}_relay_publish_duration_seconds",
            "Duration of one call that publishes a batch.",
            buckets=_PUBLISH_BUCKETS_S,
            registry=registry,
        )
        self.source_lag_bytes = gauge("source_lag_bytes", "Bytes of the source that are not yet behind its checkpoint.")
        self.source_losses = counter(
            "source_losses_total",
            "How often files of the source were deleted or truncated before all was read of them.",
        )
        self.dead_letters = counter("source_dead_letters_total", "Messages written to the dead letters of the source.")
        self.checkpoint_failures = counter(
            "source_checkpoint_failures_total", "Failed writes of the checkpoint or of the dead letters."
        )


class ConsumerMetrics:
    """What a consumer counts. Without a `registry` the values are counted and not served."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.consumed = Counter("messages_consumed_total", "Messages worked on with success.", registry=registry)
        self.errors = Counter("message_processing_errors_total", "Failed attempts.", registry=registry)
        self.retried = Counter("messages_retried_total", "Messages that are retried.", registry=registry)
        self.dead_lettered = Counter(
            "messages_dead_lettered_total", "Messages that went to the dead letters.", registry=registry
        )
        self.in_progress = Gauge("messages_in_progress", "Messages that are not settled.", registry=registry)
        self.duration = Histogram(
            "message_processing_duration_seconds",
            "Duration of one attempt, or of one batch of a sink.",
            buckets=_PROCESSING_BUCKETS_S,
            registry=registry,
        )
