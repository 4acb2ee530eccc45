"""Tasks beside the faults. A run must not continue where one of them has failed."""

import asyncio
from abc import ABC, abstractmethod
from typing import Self

from peekaping_producer.service.aio import cancel_and_wait


class Background(ABC):
    """Runs for the length of an `async with`."""

    _task: asyncio.Task[None] | None = None

    @abstractmethod
    async def run(self) -> None:
        """Run until canceled."""

    def still_runs(self) -> None:
        """Raise the exception that ended the task, if it has ended."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        await cancel_and_wait(self._task)
