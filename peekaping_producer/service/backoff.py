"""Waiting longer after each failure, with jitter, so that replicas do not come back in step."""

import asyncio
import random


class Backoff:
    """Delays in seconds: doubling from `first` to `longest`, each between half of itself and all of it."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        """Start again from the first delay: the last attempt went well."""
        self._next = self._first

    def delay(self) -> float:
        """The delay before the next attempt."""
        delay = self._next * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._next = min(self._next * 2, self._longest)
        return delay

    async def wait(self) -> None:
        """Wait for the delay."""
        await asyncio.sleep(self.delay())
