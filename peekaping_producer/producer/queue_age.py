"""The age of a queue whose pending tasks have no usable times: for how long its next task has not been dequeued."""

import time

from msgspec.structs import replace

from peekaping_producer.brokers import Queue


class QueueAge:
    """Remembers since when the next task of the queue is the same, while its age is unknown."""

    def __init__(self) -> None:
        self._next_task: str | None = None
        self._since = 0.0

    def observe(self, queue: Queue) -> Queue:
        """Return `queue`, with the observed age if tasks are pending and their ages are unknown."""
        unaged = queue.next_task if queue.oldest_pending_s is None else None
        if unaged != self._next_task:
            self._next_task, self._since = unaged, time.monotonic()
        if unaged is None:
            return queue
        return replace(queue, oldest_pending_s=time.monotonic() - self._since)

    @property
    def is_observed(self) -> bool:
        """Whether the age in the latest result was observed."""
        return self._next_task is not None
