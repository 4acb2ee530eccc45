"""When the active task of a monitor began: from what its worker reports, or from its payload."""

from datetime import datetime

import msgspec

from peekaping_producer.brokers.monitor_state import TaskState
from peekaping_producer.errors import UndecodableMessageError
from peekaping_producer.transports.asynq import task_message
from peekaping_producer.transports.asynq.protobuf import WireError, read_field

_STARTED_TAG = 8 << 3 | 2
"""WorkerInfo.start_time (internal/proto/asynq.proto): a google.protobuf.Timestamp."""
_SECONDS_TAG = 1 << 3
_NANOSECONDS_TAG = 2 << 3


class _Payload(msgspec.Struct):
    scheduled_at: datetime | None = None


def started_ms(task: TaskState | None) -> int | None:
    """Return when the active task began, in ms since the Unix epoch; None if that is not known.

    Without a worker that reports it, this is when the task was built.
    """
    if task is None or task.state != "active":
        return None
    return _reported_ms(task.worker_info) or _built_ms(task.message)


def _reported_ms(info: bytes) -> int | None:
    stamp = _fields(info).get(_STARTED_TAG)
    if not isinstance(stamp, bytes):
        return None
    parts = _fields(stamp)
    seconds, nanoseconds = parts.get(_SECONDS_TAG), parts.get(_NANOSECONDS_TAG, 0)
    if isinstance(seconds, int) and isinstance(nanoseconds, int) and 0 < seconds < 2**40:
        return seconds * 1000 + nanoseconds // 1_000_000
    return None


def _fields(data: bytes) -> dict[int, int | bytes]:
    found: dict[int, int | bytes] = {}
    at = 0
    try:
        while at < len(data):
            tag, value, at = read_field(data, at)
            found[tag] = value
    except WireError:
        return {}
    return found


def _built_ms(message: bytes) -> int | None:
    try:
        built_at = msgspec.json.decode(task_message.decode(message).payload, type=_Payload).scheduled_at
    except (UndecodableMessageError, msgspec.MsgspecError, ValueError):
        return None
    return int(built_at.timestamp() * 1000) if built_at and built_at.tzinfo else None
