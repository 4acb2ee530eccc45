"""A background part of a receiver: a call that is repeated."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from peekaping_producer.errors import BROKER
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop
from peekaping_producer.transports.asynq.keys import QueueKeys
from peekaping_producer.transports.asynq.scripts import Scripts


class Periodic(ABC):
    """Calls `run_once` at start and again `every_s` seconds after each call; with backoff while Redis fails."""

    name: str
    every_s: float
    longest_backoff_s = 5.0

    def __init__(self, scripts: Scripts, queues: Iterable[QueueKeys], dependencies: Dependencies) -> None:
        self._scripts = scripts
        self._queues = tuple(queues)
        self.loop = Loop(self.name, dependencies, uses=(BROKER,), longest_backoff_s=self.longest_backoff_s)

    async def run(self) -> None:
        """Run until canceled."""
        await self.loop.run(self._turn)

    @abstractmethod
    async def run_once(self) -> None:
        """Do it once. Raises BrokerError."""

    async def _turn(self) -> float:
        await self.run_once()
        return self.every_s
