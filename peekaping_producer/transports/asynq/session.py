"""One connection of a receiver to Redis, with the parts that work on it."""

import asyncio
from contextlib import suppress

from peekaping_producer.errors import BrokerError, DependencyError, TaskDiedError
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import describe
from peekaping_producer.transports.asynq.cancellation import Cancellation
from peekaping_producer.transports.asynq.delivery import Held, Monotonic
from peekaping_producer.transports.asynq.dequeuing import Dequeuer
from peekaping_producer.transports.asynq.forwarder import Forwarder
from peekaping_producer.transports.asynq.janitor import Janitor
from peekaping_producer.transports.asynq.keys import QueueKeys
from peekaping_producer.transports.asynq.leases import LeaseExtender
from peekaping_producer.transports.asynq.priorities import Priorities
from peekaping_producer.transports.asynq.recoverer import Recoverer
from peekaping_producer.transports.asynq.registration import Registration
from peekaping_producer.transports.asynq.scripts import Scripts
from peekaping_producer.transports.asynq.settling import Settler

_CLOSE_WITHIN_S = 5.0


class Session:
    """The parts, each in a file of its own. Those in the background run from `start` to `close`."""

    def __init__(
        self, scripts: Scripts, priorities: Priorities, dependencies: Dependencies, monotonic: Monotonic
    ) -> None:
        queues = {name: QueueKeys(name) for name in priorities.queues}
        common = scripts, queues.values(), dependencies
        self.held = Held(monotonic)
        self.settler = Settler(scripts, queues.values(), self.held)
        self.dequeuer = Dequeuer(scripts, queues, priorities, held=self.held, settler=self.settler)
        self.registration = Registration(*common, held=self.held, priorities=priorities)
        self.leases = LeaseExtender(*common, held=self.held)
        self.recoverer = Recoverer(*common)
        self.forwarder = Forwarder(*common)
        self.janitor = Janitor(*common)
        self.cancellation = Cancellation(scripts.redis, dependencies, held=self.held, settler=self.settler)
        self._scripts = scripts
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the background parts."""
        periodic = self.registration, self.leases, self.recoverer, self.forwarder, self.janitor
        self._tasks = [asyncio.create_task(part.run(), name=part.loop.name) for part in (*periodic, self.cancellation)]

    def check_background(self) -> None:
        """Raise TaskDiedError if a background part has ended: leases would end unnoticed, for example."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                error = task.exception()
                raise TaskDiedError(f"{task.get_name()}: {describe(error) if error else 'ended'}") from error

    async def ping(self) -> None:
        """Check that Redis answers. Raises BrokerUnavailableError."""
        await self._scripts.ping()

    async def close(self) -> None:
        """Put back what no caller has received, end the background parts, and disconnect."""
        try:
            with suppress(DependencyError, TimeoutError):
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await self.dequeuer.put_back()
        finally:
            await cancel_and_wait(*self._tasks)
            with suppress(BrokerError):
                await self.registration.clear()
            await self._scripts.close()
