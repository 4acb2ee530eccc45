"""Decodes asynq's WorkerInfo (internal/proto/asynq.proto, v0.25.1): what a worker process registers for each task."""

from peekaping_producer.transports.asynq.protobuf import WireError, read_field

_START_TIME = 8
"""A google.protobuf.Timestamp: 1 is seconds, 2 nanoseconds."""


def started_ms(data: bytes) -> int | None:
    """Return when the worker began the task, in ms since the Unix epoch; None if the bytes do not contain that.

    Of a ServerInfo, when the process was started: the field has the same number there.
    """
    stamp = _fields(data).get(_START_TIME)
    parts = _fields(stamp) if isinstance(stamp, bytes) else {}
    seconds, nanoseconds = parts.get(1), parts.get(2, 0)
    if isinstance(seconds, int) and isinstance(nanoseconds, int) and 0 < seconds < 2**40:
        return seconds * 1000 + nanoseconds // 1_000_000
    return None


def _fields(data: bytes) -> dict[int, int | bytes]:
    """The last value of each field; none if the bytes are malformed."""
    found: dict[int, int | bytes] = {}
    at = 0
    try:
        while at < len(data):
            tag, value, at = read_field(data, at)
            found[tag >> 3] = value
    except WireError:
        return {}
    return found
