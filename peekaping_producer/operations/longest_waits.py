"""How long monitors had to wait, by time: what readings of the schedule found in the last 10 minutes."""

from collections import deque
from collections.abc import Iterable

_KEPT = 700
"""Readings: one a second for more than 10 minutes."""


class LongestWaits:
    """One value for each reading: since when the longest overdue monitor was due."""

    def __init__(self) -> None:
        self._readings: deque[tuple[int, float]] = deque(maxlen=_KEPT)

    def add(self, now_ms: int, wait_s: float) -> None:
        """Record a reading. `now_ms`: its Redis TIME."""
        self._readings.append((now_ms // 1000, wait_s))

    def by_slot(self, last_s: int, width_s: int, slots: int) -> list[float | None]:
        """Return the longest wait in each of `slots` slots of `width_s`, oldest first; None in one without a reading.

        `last_s`: the second at which the last slot begins.
        """
        found: list[float | None] = [None] * slots
        for at_s, wait_s in self._in_range(last_s - (slots - 1) * width_s, last_s + width_s):
            slot = slots - 1 - (last_s // width_s - at_s // width_s)
            found[slot] = max(wait_s, found[slot] or 0.0)
        return found

    def _in_range(self, first_s: int, end_s: int) -> Iterable[tuple[int, float]]:
        return ((at_s, wait_s) for at_s, wait_s in self._readings if first_s <= at_s < end_s)
