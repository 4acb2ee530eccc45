"""How far a relay or a consumer has come: for a terminal."""

import time
from collections import deque
from collections.abc import Callable

import msgspec

RATE_WINDOW_S = 5.0
"""The rate is an average of this time."""
_SAMPLES_PER_S = 4


class Progress(msgspec.Struct, frozen=True):
    """The state of a relay at one instant."""

    lines: int
    """Messages settled since the start, refused ones included."""
    buffered: int
    """Messages in the buffer."""
    rate: float
    """Messages settled per second, over the last RATE_WINDOW_S."""
    lag_s: float
    """The age of the oldest message in the buffer; 0 if there is none."""


class RateMeter:
    """Counts, and measures the rate of the last RATE_WINDOW_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = 0
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])
        """Instants and the totals until then; the first is the beginning of the window."""

    def add(self, count: int) -> None:
        """Count `count` more."""
        now = self._clock()
        if now - self._samples[-1][0] >= 1 / _SAMPLES_PER_S:
            self._forget(now)
            self._samples.append((now, self.total))
        self.total += count

    @property
    def rate(self) -> float:
        """The number per second."""
        now = self._clock()
        self._forget(now)
        began_at, total = self._samples[0]
        return (self.total - total) / max(now - began_at, 0.1)

    def _forget(self, now: float) -> None:
        while len(self._samples) > 1 and self._samples[1][0] <= now - RATE_WINDOW_S:
            self._samples.popleft()
        if self._samples[-1][0] <= now - RATE_WINDOW_S:  # nothing was counted in the window
            self._samples = deque([(now - RATE_WINDOW_S, self.total)])
