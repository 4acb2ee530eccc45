"""What asynq has stored in a task about its earlier runs."""

import msgspec

from peekaping_producer.brokers.monitor_state import TaskState
from peekaping_producer.errors import UndecodableMessageError
from peekaping_producer.service.text import one_line
from peekaping_producer.transports.asynq import task_message

MAX_ERROR_LENGTH = 300


class TaskHistory(msgspec.Struct, frozen=True):
    """Times by the clock of the worker. asynq does not store which worker ran a task that has ended."""

    error: str = ""
    """Of the latest run that failed, as one line; empty without one."""
    failed_ms: int | None = None
    retried: int = 0
    completed_ms: int | None = None


def task_history(task: TaskState | None) -> TaskHistory:
    """Return what the message of the task contains; nothing if it cannot be decoded."""
    try:
        message = task_message.decode(task.message) if task else task_message.TaskMessage()
    except UndecodableMessageError:
        return TaskHistory()
    error = one_line(message.error_msg.strip(), MAX_ERROR_LENGTH)
    return TaskHistory(error, _ms(message.last_failed_at), max(message.retried, 0), _ms(message.completed_at))


def _ms(seconds: int) -> int | None:
    return 1000 * seconds if seconds > 0 else None
