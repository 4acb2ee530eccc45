"""Limits the log lines that clients can cause."""

import time
from collections.abc import Callable

MAX_LINES = 10
"""Lines of one kind within PERIOD_S."""
PERIOD_S = 60.0


class LineLimit:
    """Limits the lines of one kind."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_at = float("-inf")
        self._lines = 0
        self._omitted = 0

    def omitted(self) -> int | None:
        """Return how many lines were omitted before this one; None if this one must be omitted, too."""
        now = self._clock()
        if now >= self._began_at + PERIOD_S:
            self._began_at, self._lines = now, 0
        if self._lines >= MAX_LINES:
            self._omitted += 1
            return None
        self._lines += 1
        omitted, self._omitted = self._omitted, 0
        return omitted
