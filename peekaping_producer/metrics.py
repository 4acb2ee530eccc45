"""Every metric of the producer, by name, in the Prometheus text format."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from peekaping_producer.errors import BROKER, DATABASE, REDIS

PREFIX = "peekaping_producer"
disable_created_metrics()  # type: ignore[no-untyped-call]  # the _created series would be half of all samples
LAG_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class LagHistogram(Collector):
    """A histogram for whole batches: 0.1 µs per value, where the library's needs 1.5 µs."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self._counts = [0] * (len(LAG_BUCKETS_S) + 1)
        self._sum = 0.0

    def observe_all(self, seconds: Iterable[float]) -> None:
        """Count each value."""
        counts = self._counts
        for value in seconds:
            counts[bisect_left(LAG_BUCKETS_S, value)] += 1
            self._sum += value

    def counts(self) -> tuple[int, ...]:
        """Return the number of values in each bucket (not cumulative)."""
        return tuple(self._counts)

    def collect(self) -> Iterator[Metric]:
        """Yield the cumulative counts for each upper bound."""
        total = 0
        buckets = []
        for bound, count in zip([*map(str, LAG_BUCKETS_S), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric([], buckets, self._sum)
        yield family


class ReadCounter(Collector):
    """A counter whose value `read` returns when the metrics are served."""

    def __init__(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        self._name = name
        self._documentation = documentation
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield the current value."""
        yield CounterMetricFamily(self._name, self._documentation, value=self._read())


def quantile(share: float, counts: Sequence[int]) -> float | None:
    """Return the upper bound in seconds of the bucket that holds this quantile; None without values.

    Values above the last bound count as that bound.
    """
    total, wanted = 0, share * sum(counts)
    for bound, count in zip([*LAG_BUCKETS_S, LAG_BUCKETS_S[-1]], counts, strict=True):
        total += count
        if count and total >= wanted:
            return bound
    return None


class Metrics:
    """The metrics of one replica, in a registry of its own."""

    def __init__(self, version: str = "", *, dropped_lines: Callable[[], float] = lambda: 0) -> None:
        """`dropped_lines` returns the number of log lines lost since the start."""
        self.registry = CollectorRegistry()
        self._add_state()
        self._add_work()
        self._gauge("build_info", "Always 1.", "version").labels(version).set(1)
        self.registry.register(
            ReadCounter(
                f"{PREFIX}_log_lines_dropped_total",
                "Log lines lost because stderr was blocked.",
                dropped_lines,
            )
        )
        ProcessCollector(registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _add_state(self) -> None:
        """Add the metrics of the current state."""
        self.is_leader = self._gauge("is_leader", "1 while this replica is the leader.")
        self.leader_transitions = self._counter(
            "leader_transitions_total", "Times this replica started or stopped leading."
        )
        self.due_depth = self._gauge("due_depth", "Monitors in the due set.")
        self.lease_depth = self._gauge("lease_depth", "Monitors under a lease.")
        self.oldest_due_age = self._gauge(
            "oldest_due_age_seconds", "Longest time a monitor has been overdue; NaN while Redis is unavailable."
        )
        self.late_depth = self._gauge("late_depth", "Monitors claimed but not yet handed off.")
        self.held = self._gauge("held", "Monitors with a hold of their own.")
        self.held_all = self._gauge("held_all", "1 while all monitors are held.")
        self.clock_skew = self._gauge("redis_clock_skew_seconds", "Redis TIME minus the clock of this machine.")
        self.condition = self._gauge("condition", "1 while the condition holds, by code.", "code")
        self.verdict = self._gauge("verdict", "1 for the verdict that holds, by code.", "code")
        self.queue_depth = self._gauge("queue_depth", "Tasks in the queue, by state.", "state")
        self.oldest_pending_age = self._gauge("oldest_pending_age_seconds", "Age of the next pending task.")
        self.worker_slots = self._gauge(
            "worker_slots", "Tasks that the registered worker processes can run at the same time."
        )
        self.worker_slots_needed = self._gauge(
            "worker_slots_needed", "Slots that the checks need, by Little's law; NaN if it is unknown."
        )
        self.set_aside = self._gauge("monitors_set_aside", "Monitors that failed on this replica and will be retried.")
        self.unschedulable = self._gauge(
            "monitors_unschedulable", "Active rows that cannot be scheduled (leader only)."
        )
        self.ui_streams = self._gauge("ui_streams", "Open pages that receive frames.")
        self.ui_frames_skipped = self._counter("ui_frames_skipped_total", "Frames not sent, since a page was slow.")
        self.ui_readers_dropped = self._counter("ui_readers_dropped_total", "Pages dropped, since they did not read.")
        self.ui_streams_refused = self._counter("ui_streams_refused_total", "Pages refused, since too many were open.")
        self.ui_connections_refused = self._counter(
            "ui_connections_refused_total", "Connections to the page closed at once, since too many were open."
        )
        self.degraded_reads = self._counter(
            "degraded_reads_total", "Batches built with the last known content of a table.", "table"
        )

    def _add_work(self) -> None:
        """Add the metrics of the work: its counts, durations and failures."""
        self.claimed = self._counter("claimed_total", "Monitors claimed.")
        self.handed_off = self._counter("handed_off_total", "Claimed monitors, by outcome.", "outcome")
        self.missed_ticks = self._counter("missed_ticks_total", "Ticks skipped because a monitor was claimed too late.")
        self.unphased = self._counter(
            "unphased_total", "Due times that a producer without phases has set while ticks are spread."
        )
        self.leases_reclaimed = self._counter(
            "leases_reclaimed_total", "Expired leases whose monitors were made due again."
        )
        self.pending_repaired = self._counter("pending_repaired_total", "Stray entries removed from the queue.", "kind")
        self.sync_duration = Histogram(
            f"{PREFIX}_sync_duration_seconds",
            "Duration of a sync.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self.sync_last_success = self._gauge(
            "sync_last_success_timestamp_seconds", "Unix time of the last complete sync."
        )
        self.sync_refused = self._counter(
            "sync_removals_refused_total",
            "Syncs that removed nothing because the database returned no active monitors.",
        )
        self.schedule_changes = self._counter("schedule_changes_total", "Due times added, moved or removed.", "change")
        self.events = self._counter("events_total", "Monitor events, by type and result.", "type", "result")
        self.anomalies = self._counter("monitor_anomalies_total", "Anomalies found while loading or building.", "kind")
        self.redis_errors = self._counter("redis_errors_total", "Failed calls to Redis.", "where")
        self.store_errors = self._counter("store_errors_total", "Failed reads of the database.", "where")
        self.broker_errors = self._counter("broker_errors_total", "Failed calls to RabbitMQ or over HTTP.", "where")
        self.errors_by_dependency = {
            REDIS: self.redis_errors,
            DATABASE: self.store_errors,
            BROKER: self.broker_errors,
        }
        self.schedule_lag = LagHistogram(
            f"{PREFIX}_schedule_lag_seconds", "Time from a monitor's due time to the hand-off of its task."
        )
        self.registry.register(self.schedule_lag)
