"""Receives the tasks of asynq queues, beside Go's workers."""

import time
from collections.abc import Mapping, Sequence

from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.targets import RedisTarget
from peekaping_producer.transports.asynq.delivery import AsynqDelivery, Monotonic
from peekaping_producer.transports.asynq.priorities import Priorities
from peekaping_producer.transports.asynq.scripts import connect
from peekaping_producer.transports.asynq.session import Session
from peekaping_producer.transports.receiver import Delivery

_CONNECTIONS = 16
_FIRST_POLL_S, _LAST_POLL_S = 0.02, 0.25
"""Between polls of empty queues; asynq waits 0.5 to 1.5 s."""


class AsynqReceiver:
    """A Receiver of asynq queues. Its deliveries are AsynqDelivery; results of tasks with a retention are kept.

    `receive` and the methods that settle may be called at the same time.
    """

    def __init__(
        self,
        target: RedisTarget,
        queues: Mapping[str, int],
        *,
        dependencies: Dependencies,
        strict: bool = False,
        clock: str = CLOCK,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        """`queues`: their names and priorities; `strict`: see Priorities. Raises ValueError.

        `clock`: see redis_client.script. `monotonic` has to advance with it.
        """
        self._target = target
        self._priorities = Priorities(queues, strict=strict)
        self._dependencies = dependencies
        self._clock = clock
        self._monotonic = monotonic
        self._session: Session | None = None

    async def open(self) -> None:
        """See Receiver. Starts the background parts, which last until close()."""
        session = await self._opened()
        session.check_background()
        await session.ping()

    async def receive(self, limit: int) -> list[AsynqDelivery]:
        """See Receiver. The queues are polled: after 20 ms at first, every 250 ms at most."""
        session = await self._opened()
        session.registration.concurrency = max(session.registration.concurrency, limit)
        backoff = Backoff(_FIRST_POLL_S, _LAST_POLL_S)
        while True:
            session.check_background()
            if deliveries := await session.dequeuer.dequeue(limit):
                return deliveries
            await backoff.wait()

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See Receiver. A task with a retention is kept as completed, with its result."""
        if self._session:
            await self._session.settler.finish(_own(deliveries))

    async def retry(self, delivery: Delivery, delay_s: float, reason: str) -> None:
        """See Receiver."""
        if self._session:
            for own in _own([delivery]):
                await self._session.settler.fail(own, reason, delay_s)

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """See Receiver. The dead letters are asynq's archive, of 90 days and 10,000 tasks."""
        if self._session:
            for own in _own([delivery]):
                await self._session.settler.fail(own, reason, None)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """See Receiver."""
        if self._session:
            await self._session.settler.requeue(_own(deliveries))

    async def close(self) -> None:
        """See Receiver. What no caller has received is released; other leases end after 30 s, and recoverers follow."""
        session, self._session = self._session, None
        if session:
            await session.close()

    async def _opened(self) -> Session:
        if self._session is None:
            scripts = await connect(self._target, connections=_CONNECTIONS, clock=self._clock)
            self._session = Session(scripts, self._priorities, self._dependencies, self._monotonic)
            self._session.start()
        return self._session


def _own(deliveries: Sequence[Delivery]) -> list[AsynqDelivery]:
    return [delivery for delivery in deliveries if isinstance(delivery, AsynqDelivery)]
