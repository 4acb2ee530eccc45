"""What a replica writes about itself into Redis every few seconds, for `status` to read."""

import msgspec

from peekaping_producer.operations.conditions import Condition

MOST_ANOMALIES = 100


class ReplicaReport(msgspec.Struct, frozen=True):
    """The state that only the replica itself knows."""

    leads: bool = False
    conditions: tuple[Condition, ...] = ()
    anomalies: tuple[dict[str, str], ...] = ()
    """Of single monitors: `monitor_id`, `kind`, `reason`; the latest MOST_ANOMALIES."""
    set_aside: int = 0
    """Monitors whose work failed on this replica, and that are tried again later."""
    unschedulable: int = 0
    """Active rows that cannot be scheduled; of the leader."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ReplicaReport).decode


def encode_report(report: ReplicaReport) -> bytes:
    """The report as JSON. One that cannot be encoded (a text that is no Unicode) keeps its numbers."""
    try:
        return _encode(report)
    except (UnicodeEncodeError, TypeError, ValueError):
        return _encode(ReplicaReport(leads=report.leads, set_aside=report.set_aside))


def decode_report(text: bytes) -> ReplicaReport:
    """What a report says; one of another form says nothing."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return ReplicaReport()
