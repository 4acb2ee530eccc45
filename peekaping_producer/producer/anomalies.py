"""Anomalies of single monitors: each is logged once, counted every time, and listed while it is current."""

import time

import structlog

from peekaping_producer.metrics import Metrics
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.service.dedupe import Deduplicator
from peekaping_producer.service.text import one_line

log = structlog.stdlib.get_logger()

CURRENT_FOR_S = 900.0
"""How long an anomaly counts as current after it was last met."""
_MAX_CURRENT = 1000
_MAX_MEMBER_LENGTH = 64


class Anomalies:
    """Logs each (monitor, kind, reason) once."""

    def __init__(self, metrics: Metrics, recorder: EventRecorder) -> None:
        self._metrics = metrics
        self._recorder = recorder
        self._logged = Deduplicator()
        self._current: dict[tuple[str, str], tuple[float, str]] = {}
        self._degraded: dict[str, tuple[float, str]] = {}

    def report(self, monitor_id: str, kind: str, reason: str) -> None:
        """Report one anomaly: `kind` is a dotted event name, `reason` a sentence without secrets."""
        self._metrics.anomalies.labels(kind).inc()
        shown, reason = one_line(monitor_id), one_line(reason)  # they may quote a row
        self._current.pop((shown, kind), None)
        if len(self._current) >= _MAX_CURRENT:
            del self._current[next(iter(self._current))]
        self._current[shown, kind] = (time.monotonic(), reason)
        if self._logged.is_new((monitor_id, kind, reason)):
            log.warning(kind, message=reason, monitor_id=shown)
            self._recorder.record(kind, reason, monitor_id=shown)

    def foreign_member(self, member: str) -> None:
        """Report a member of the schedule that is removed because it is not a monitor id; it may have any length."""
        reason = "Not a valid monitor id; removed from the schedule."
        self.report(member[:_MAX_MEMBER_LENGTH], "schedule.foreign_member", reason)

    def degraded(self, table: str, reason: str) -> None:
        """Record that a table did not answer, and that its last known content is used."""
        self._metrics.degraded_reads.labels(table).inc()
        self._degraded[table] = (time.monotonic(), one_line(reason))

    def current(self) -> list[dict[str, str]]:
        """Return the current anomalies, latest first, each as `monitor_id`, `kind` and `reason`; at most 1,000."""
        since = time.monotonic() - CURRENT_FOR_S
        return [
            {"monitor_id": monitor_id, "kind": kind, "reason": reason}
            for (monitor_id, kind), (at, reason) in reversed(self._current.items())
            if at >= since
        ]

    def degraded_tables(self, within_s: float) -> dict[str, str]:
        """Return the tables whose last known content was used in the last `within_s` seconds, with the reasons."""
        since = time.monotonic() - within_s
        return {table: reason for table, (at, reason) in self._degraded.items() if at >= since}
