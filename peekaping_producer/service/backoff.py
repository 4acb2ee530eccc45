"""Exponential backoff with jitter, so that replicas do not retry in step."""

import asyncio
import random


class Backoff:
    """Delays in seconds that double from `first` to `longest`, each multiplied by a random factor from 0.5 to 1."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        """Start again from the first delay, after a success."""
        self._next = self._first

    def delay(self) -> float:
        """Return the delay before the next attempt."""
        delay = self._next * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._next = min(self._next * 2, self._longest)
        return delay

    async def wait(self) -> None:
        """Wait for the delay."""
        await asyncio.sleep(self.delay())
