"""The receiver for RabbitMQ: prefetched deliveries, acknowledged by hand."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeGuard

from aiormq.channel import Channel

from peekaping_producer.errors import BrokerError, BrokerUnavailableError
from peekaping_producer.service.aio import wait_for_event
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.rabbitmq import topology
from peekaping_producer.transports.rabbitmq.connection import CALL_TIMEOUT_S, Session
from peekaping_producer.transports.rabbitmq.connector import Connector
from peekaping_producer.transports.rabbitmq.failures import as_ours, translated
from peekaping_producer.transports.rabbitmq.inbox import Inbox, RabbitMqDelivery
from peekaping_producer.transports.rabbitmq.moving import Mover
from peekaping_producer.transports.receiver import Delivery

MAX_PREFETCH = 65_535
CHECK_AFTER_S = 10.0
"""Without a message, the connection is checked this often."""


class RabbitMqReceiver:
    """See Receiver."""

    def __init__(self, target: RabbitMqTarget, *, prefetch: int = 500) -> None:
        """`prefetch`: how many deliveries the broker sends ahead, 1 to MAX_PREFETCH; as many are held at most.

        Raises ConfigError for TLS files that cannot be used.
        """
        self._target = target
        self._prefetch = prefetch
        self._connector = Connector(target, f"receiver of {target.queue}", self._consume)
        self._mover = Mover(target)
        self._inbox: Inbox | None = None

    async def open(self) -> None:
        """Connect, declare the queue if it does not exist, and consume from it; see Receiver. Raises BrokerError."""
        await self._check()

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for messages; return 1 to `limit`, in the order of the queue. Raises BrokerError."""
        inbox = await self._opened()
        while not inbox.waiting:
            if inbox.lost:
                raise inbox.lost
            inbox.arrived.clear()
            if not await wait_for_event(inbox.arrived, CHECK_AFTER_S):
                await self._check()
        return [inbox.waiting.popleft() for _ in range(min(limit, len(inbox.waiting)))]

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Remove these from the queue. Raises BrokerError."""
        await self._settle(deliveries, Channel.basic_ack)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Put these back in their place of the queue. Raises BrokerError."""
        await self._settle(deliveries, Channel.basic_nack)

    async def retry(self, delivery: Delivery, delay_s: float, reason: str) -> None:
        """Publish it to the retry queue of the next level, then acknowledge it. Raises BrokerError.

        `delay_s` is rounded up to one of topology.RETRY_LEVELS_S.
        """
        if self._holds(delivery):
            await self._mover.to_retries(delivery, delay_s, reason)
            await self.acknowledge([delivery])

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Publish it to the queue of the dead letters, then acknowledge it. Raises BrokerError."""
        if self._holds(delivery):
            await self._mover.to_dead_letters(delivery, reason)
            await self.acknowledge([delivery])

    async def close(self) -> None:
        """Close the connections; never raises."""
        if self._inbox:
            self._inbox.lose(BrokerUnavailableError("the receiver was closed"))
        await self._connector.close()
        await self._mover.close()

    def _holds(self, delivery: Delivery) -> TypeGuard[RabbitMqDelivery]:
        return self._inbox is not None and self._inbox.holds(delivery)

    async def _settle(self, deliveries: Sequence[Delivery], method: Callable[..., Awaitable[None]]) -> None:
        """Call the method of the channel for these; return when all is written, since close() drops what is not."""
        inbox = self._inbox
        if inbox is None or inbox.lost:
            return
        calls = list(inbox.settle(deliveries))
        try:
            with translated(self._target):
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    for number, (tag, multiple) in enumerate(calls, 1):
                        await method(inbox.session.channel, tag, multiple=multiple, wait=number == len(calls))
        except BrokerError:
            # They are no longer held here, and perhaps still by the broker: it has to deliver them again.
            inbox.session.abort()
            raise

    async def _check(self) -> None:
        """Require a connection that answers. While deliveries are held, it is kept: their handlers go on meanwhile."""
        await self._connector.check(keep=self._inbox is not None and bool(self._inbox.held))

    async def _opened(self) -> Inbox:
        session = await self._connector.session()
        inbox = self._inbox
        assert inbox is not None
        assert inbox.session is session
        return inbox

    async def _consume(self, session: Session) -> None:
        """Prepare a new session: the queue, the prefetch, the consumer."""
        await topology.declare(session, self._target)
        channel = session.channel
        inbox = self._inbox = Inbox(session)

        def lost(error: BaseException | None) -> None:
            inbox.lose(as_ours(error or ConnectionError("the channel was closed"), self._target))

        def canceled(_: object) -> None:
            text = "the consumer was canceled: the queue was deleted, or is not available"
            inbox.lose(BrokerUnavailableError(f"RabbitMQ at {self._target}: {text}"))
            session.abort()

        session.on_lost(lost)
        channel.on_consumer_cancel_callbacks.add(canceled)
        await channel.basic_qos(prefetch_count=self._prefetch, timeout=CALL_TIMEOUT_S)
        await channel.basic_consume(self._target.queue, inbox.put, timeout=CALL_TIMEOUT_S)
