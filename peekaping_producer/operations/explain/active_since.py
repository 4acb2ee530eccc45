"""When the worker began the active task of a monitor."""

from peekaping_producer.brokers.monitor_state import TaskState
from peekaping_producer.transports.asynq import worker_info


def active_since_ms(task: TaskState | None) -> int | None:
    """Return when the worker began the active task, in ms since the Unix epoch; None if no worker reports it (yet).

    The payload contains when the task was built, which may be long before: tasks wait in the queue.
    """
    if task is None or task.state != "active":
        return None
    return worker_info.started_ms(task.worker_info)
