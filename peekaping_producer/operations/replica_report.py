"""The report that each replica writes to Redis every few seconds; `status` reads it."""

import msgspec
from msgspec.structs import replace

from peekaping_producer.operations.conditions import Condition, Level
from peekaping_producer.operations.heartbeat import Heartbeat, Real, Whole
from peekaping_producer.schedule import Stats

MAX_ANOMALIES = 100
MAX_LEASE_TTL_S = 3600.0
"""Of LEASE_TTL; a report with more was not written by a replica."""
MAX_BYTES = 100_000
"""Of a report; stats.lua ignores longer ones."""


class ReplicaReport(msgspec.Struct, frozen=True):
    """State that only the replica has."""

    leads: bool = False
    conditions: tuple[Condition, ...] = ()
    anomalies: tuple[dict[str, str], ...] = ()
    """Of single monitors: `monitor_id`, `kind`, `reason`; the latest MAX_ANOMALIES."""
    set_aside: Whole = 0
    """Monitors whose work failed on this replica; each is retried later."""
    unschedulable: Whole = 0
    """Active rows that cannot be scheduled; reported by the leader."""
    lease_ttl_s: Real = 0.0
    heartbeat: Heartbeat | None = None
    """None from a replica that has just started, or of an older version."""

    @property
    def can_work(self) -> bool:
        """Whether the replica reports no condition that keeps it from its work."""
        return all(condition.level is not Level.UNREADY for condition in self.conditions)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ReplicaReport).decode


def encode_report(report: ReplicaReport) -> bytes:
    """Encode as JSON of at most MAX_BYTES, with fewer anomalies where they do not fit.

    Text that is not Unicode leaves the numbers only.
    """
    try:
        while len(encoded := _encode(report)) > MAX_BYTES and report.anomalies:
            report = replace(report, anomalies=report.anomalies[: len(report.anomalies) // 2])
    except (UnicodeEncodeError, TypeError, ValueError):
        return _encode(ReplicaReport(leads=report.leads, set_aside=report.set_aside))
    return encoded


def decode_report(text: bytes) -> ReplicaReport | None:
    """Decode a report; None if it is malformed."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def replicas_of(stats: Stats) -> dict[str, ReplicaReport]:
    """Return the reports of the running replicas, by node; without malformed ones."""
    decoded = {stored.node: decode_report(stored.text) for stored in stats.reports}
    return {node: report for node, report in decoded.items() if report is not None}


def lease_excess_s(stats: Stats, lease_ttl_s: float) -> float:
    """Return how much later the last lease ends than any reporting replica sets it; `lease_ttl_s`: the local one."""
    max_ttl_s = max((min(report.lease_ttl_s, MAX_LEASE_TTL_S) for report in replicas_of(stats).values()), default=0.0)
    return stats.lease_excess_ms / 1000 - max(0.0, max_ttl_s - lease_ttl_s)
