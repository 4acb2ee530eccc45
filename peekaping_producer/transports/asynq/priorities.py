"""In which order, and for how many tasks, the queues are asked."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping

Request = tuple[str, int]
"""A queue, and the number of tasks to dequeue from it at most."""


class Priorities:
    """Queues by priority: as weights, or strictly, so that a queue is asked only if those before it are empty."""

    def __init__(self, queues: Mapping[str, int], *, strict: bool = False) -> None:
        """Raises ValueError unless there are queues and each has a priority of 1 or more."""
        if not queues or min(queues.values()) < 1 or not all(name.strip() for name in queues):
            raise ValueError(f"queues: expected names with priorities of 1 or more, got {dict(queues)}")
        self.queues = dict(queues)
        self.strict = strict
        self._ordered = sorted(self.queues, key=lambda name: -self.queues[name])

    def requests(self, limit: int) -> Iterator[Request]:
        """Yield the requests for `limit` tasks, until the caller has as many.

        With weights, each task is drawn by itself, as asynq does it; then all queues fill up what others did not have.
        """
        if not self.strict and len(self._ordered) > 1:
            weights = [self.queues[name] for name in self._ordered]
            drawn = Counter(random.choices(self._ordered, weights, k=limit))  # noqa: S311
            yield from drawn.items()
            yield from ((name, limit) for name in (*drawn, *(self.queues.keys() - drawn.keys())))
        else:
            yield from ((name, limit) for name in self._ordered)
