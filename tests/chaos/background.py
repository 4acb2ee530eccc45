"""What goes on beside the faults, until it is told to end; if it fails by itself, the run must not go on."""

import asyncio
from abc import ABC, abstractmethod
from typing import Self

from peekaping_producer.service.aio import cancel_and_wait


class Background(ABC):
    """Runs for the length of an `async with`."""

    _task: asyncio.Task[None] | None = None

    @abstractmethod
    async def run(self) -> None:
        """Goes on for ever."""

    def still_runs(self) -> None:
        """Raise what ended it, if anything has."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        await cancel_and_wait(self._task)
