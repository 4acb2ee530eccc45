"""The age of a queue whose pending tasks have no usable times: for how long its next task has not been dequeued."""

import time

from msgspec.structs import replace

from peekaping_producer.brokers import Queue


class QueueAge:
    """Remembers since when the next task of the queue is the same."""

    def __init__(self) -> None:
        self.is_observed = False
        """Whether the age in the latest result was observed."""
        self._next_task: str | None = None
        self._since = 0.0

    def observe(self, queue: Queue) -> Queue:
        """Return `queue`, with the observed age if tasks are pending and their ages are unknown."""
        if queue.next_task != self._next_task:
            self._next_task, self._since = queue.next_task, time.monotonic()
        self.is_observed = queue.next_task is not None and queue.oldest_pending_s is None
        if not self.is_observed:
            return queue
        return replace(queue, oldest_pending_s=time.monotonic() - self._since)
