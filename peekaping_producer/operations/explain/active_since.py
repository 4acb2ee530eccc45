"""When the active task of a monitor began: from what its worker reports, or from its payload."""

from datetime import datetime

import msgspec

from peekaping_producer.brokers.monitor_state import TaskState
from peekaping_producer.errors import UndecodableMessageError
from peekaping_producer.transports.asynq import task_message, worker_info


class _Payload(msgspec.Struct):
    scheduled_at: datetime | None = None


def active_since_ms(task: TaskState | None) -> int | None:
    """Return when the active task began, in ms since the Unix epoch; None if that is not known.

    Without a worker that reports it, this is when the task was built.
    """
    if task is None or task.state != "active":
        return None
    return worker_info.started_ms(task.worker_info) or _built_ms(task.message)


def _built_ms(message: bytes) -> int | None:
    try:
        built_at = msgspec.json.decode(task_message.decode(message).payload, type=_Payload).scheduled_at
    except (UndecodableMessageError, msgspec.MsgspecError, ValueError):
        return None
    return int(built_at.timestamp() * 1000) if built_at and built_at.tzinfo else None
