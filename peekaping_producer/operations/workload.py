"""What Peekaping's workers complete, from several inspections of the queue."""

from collections import deque

import msgspec

from peekaping_producer.brokers import Queue

_INSPECTIONS = 5
"""The last minute, at an inspection every 15 s."""


class _Inspection(msgspec.Struct, frozen=True):
    now_ms: int
    processed: int
    running: int


class Workload:
    """Contains the inspections of the last minute; times are Redis TIME."""

    def __init__(self) -> None:
        self.nothing_finished_since_ms: int | None = None
        """The first of the latest inspections between which no task was finished; None if the last found some."""
        self._inspections: deque[_Inspection] = deque(maxlen=_INSPECTIONS)

    def add(self, queue: Queue) -> None:
        """Add an inspection. A counter that became smaller was deleted: nothing is known then."""
        latest = self._inspections[-1] if self._inspections else None
        processed = queue.processed
        if processed is None or (latest and (processed < latest.processed or queue.now_ms <= latest.now_ms)):
            self._inspections.clear()
            self.nothing_finished_since_ms = latest = None
        if processed is None:
            return
        if latest and processed > latest.processed:
            self.nothing_finished_since_ms = None
        elif self.nothing_finished_since_ms is None:
            self.nothing_finished_since_ms = latest.now_ms if latest else queue.now_ms
        self._inspections.append(_Inspection(queue.now_ms, processed, queue.depths.get("active", 0)))

    @property
    def has_progressed(self) -> bool:
        """Whether a task was finished between the latest two inspections."""
        return len(self._inspections) > 1 and self.nothing_finished_since_ms is None

    @property
    def finished_per_s(self) -> float | None:
        """Tasks that workers finished a second; None before the second inspection."""
        rate = self._rate()
        return None if rate is None else round(rate, 2)

    @property
    def mean_check_s(self) -> float | None:
        """The mean duration of a check, by Little's law: running / finished a second; None if it is unknown."""
        rate = self._rate()
        running = sum(inspection.running for inspection in self._inspections) / max(len(self._inspections), 1)
        return round(running / rate, 3) if rate and running else None

    def _rate(self) -> float | None:
        if len(self._inspections) < 2:
            return None
        first, last = self._inspections[0], self._inspections[-1]
        return (last.processed - first.processed) * 1000 / (last.now_ms - first.now_ms)
