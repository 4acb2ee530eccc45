"""The report that each replica writes to Redis every few seconds; `status` reads it."""

import msgspec

from peekaping_producer.operations.conditions import Condition

MOST_ANOMALIES = 100


class ReplicaReport(msgspec.Struct, frozen=True):
    """State that only the replica has."""

    leads: bool = False
    conditions: tuple[Condition, ...] = ()
    anomalies: tuple[dict[str, str], ...] = ()
    """Of single monitors: `monitor_id`, `kind`, `reason`; the latest MOST_ANOMALIES."""
    set_aside: int = 0
    """Monitors whose work failed on this replica; each is retried later."""
    unschedulable: int = 0
    """Active rows that cannot be scheduled; reported by the leader."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ReplicaReport).decode


def encode_report(report: ReplicaReport) -> bytes:
    """Encode as JSON. If that fails (text that is not Unicode), only the numbers are kept."""
    try:
        return _encode(report)
    except (UnicodeEncodeError, TypeError, ValueError):
        return _encode(ReplicaReport(leads=report.leads, set_aside=report.set_aside))


def decode_report(text: bytes) -> ReplicaReport:
    """Decode a report; a malformed one gives an empty report."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return ReplicaReport()
