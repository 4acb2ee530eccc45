"""The receiver for RabbitMQ: prefetched deliveries, acknowledged by hand."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import structlog
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic

from peekaping_producer.errors import BrokerError, BrokerUnavailableError
from peekaping_producer.service.text import one_line
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.message import Message, id_problem
from peekaping_producer.transports.rabbitmq import topology
from peekaping_producer.transports.rabbitmq.connection import CALL_TIMEOUT_S, Connector, Session
from peekaping_producer.transports.rabbitmq.failures import as_ours, translated
from peekaping_producer.transports.rabbitmq.frames import Publish, prepared
from peekaping_producer.transports.rabbitmq.outlet import Outlet, UnroutableError
from peekaping_producer.transports.receiver import Delivery

ATTEMPT = "x-attempt"
"""The header with the number of the attempt: written by retry(), absent in the first."""
MAX_PREFETCH = 65_535
_MAX_ATTEMPT = 1_000_000
_MAX_REASON_LENGTH = 1000
_PERSISTENT = 2
_FRAME_BYTES = 8
"""Of a frame beside its content."""

log = structlog.stdlib.get_logger()


class RabbitMqDelivery(Delivery):
    """A delivery of RabbitMQ."""

    redeliveries: int = 0
    """How often it was delivered before in this attempt, without being settled. A classic queue counts to 1."""
    tag: int = 0
    properties: Any = None
    """All AMQP properties of the message: retry and dead letter keep them."""


class _Inbox:
    """The deliveries of one session: those that wait for receive(), and all that are not settled."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.waiting: deque[RabbitMqDelivery] = deque()
        self.held: dict[int, RabbitMqDelivery] = {}
        """By tag, in ascending order."""
        self.arrived = asyncio.Event()
        """Set while deliveries wait, and when the session is lost."""
        self.lost: BrokerError | None = None

    async def put(self, message: DeliveredMessage) -> None:
        """Take in a delivery from the library."""
        delivery = _delivery_of(message)
        self.held[delivery.tag] = delivery
        self.waiting.append(delivery)
        self.arrived.set()

    def lose(self, error: BrokerError) -> None:
        """The broker delivers again what is held: cancel its handlers."""
        if self.lost:
            return
        self.lost = error
        self.arrived.set()
        held, self.held = self.held, {}
        self.waiting.clear()
        for delivery in held.values():
            if delivery.cancel:
                delivery.cancel()

    def settle(self, deliveries: Sequence[Delivery]) -> Iterator[tuple[int, bool]]:
        """Forget these deliveries; yield the tags to settle, each with whether all up to it are.

        Skips what is not held, or held in another session.
        """
        tags = {each.tag for each in deliveries if isinstance(each, RabbitMqDelivery) and self._holds(each)}
        last = 0
        for tag in list(self.held):
            if tag not in tags:
                break
            last = tag
            tags.discard(tag)
            del self.held[tag]
        if last:
            yield last, True
        for tag in sorted(tags):
            del self.held[tag]
            yield tag, False

    def _holds(self, delivery: RabbitMqDelivery) -> bool:
        return self.held.get(delivery.tag) is delivery


class RabbitMqReceiver:
    """See Receiver."""

    def __init__(self, target: RabbitMqTarget, *, prefetch: int = 500) -> None:
        """`prefetch`: how many deliveries the broker sends ahead, 1 to MAX_PREFETCH; as many are held at most.

        Raises ConfigError for TLS files that cannot be used.
        """
        self._target = target
        self._prefetch = prefetch
        self._connector = Connector(target, f"receiver of {target.queue}", self._consume)
        self._outlet = Outlet(target, f"retries of {target.queue}")
        self._inbox: _Inbox | None = None

    async def open(self) -> None:
        """Connect, declare the queue if it does not exist, and consume from it. Raises BrokerError."""
        await self._opened()

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for messages; return 1 to `limit`, in the order of the queue. Raises BrokerError."""
        inbox = await self._opened()
        while not inbox.waiting:
            if inbox.lost:
                raise inbox.lost
            inbox.arrived.clear()
            await inbox.arrived.wait()
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
        headers = {ATTEMPT: delivery.attempt + 1, "x-reason": reason[:_MAX_REASON_LENGTH]}
        await self._move(delivery, headers, delay_s)

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Publish it to the queue of the dead letters, then acknowledge it. Raises BrokerError."""
        headers = {
            ATTEMPT: delivery.attempt,
            "x-reason": reason[:_MAX_REASON_LENGTH],
            "x-queue": self._target.queue,
            "x-failed-at": datetime.now(UTC),
        }
        await self._move(delivery, headers, None)

    async def close(self) -> None:
        """Close the connections; never raises."""
        if self._inbox:
            self._inbox.lose(BrokerUnavailableError("the receiver was closed"))
        await self._connector.close()
        await self._outlet.connector.close()

    async def _settle(self, deliveries: Sequence[Delivery], method: Callable[..., Awaitable[None]]) -> None:
        """Call the method of the channel for these; return when all is written, since close() drops what is not."""
        inbox = self._inbox
        if inbox is None or inbox.lost:
            return
        calls = list(inbox.settle(deliveries))
        with translated(self._target):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                for number, (tag, multiple) in enumerate(calls, 1):
                    await method(inbox.session.channel, tag, multiple=multiple, wait=number == len(calls))

    async def _opened(self) -> _Inbox:
        session = await self._connector.session()
        inbox = self._inbox
        assert inbox is not None
        assert inbox.session is session
        return inbox

    async def _consume(self, session: Session) -> None:
        """Prepare a new session: the queue, the prefetch, the consumer."""
        await topology.declare(session, self._target)
        channel = session.channel
        inbox = self._inbox = _Inbox(session)

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

    async def _move(self, delivery: Delivery, headers: dict[str, Any], delay_s: float | None) -> None:
        """Publish a delivery to a retry queue, or to the dead letters, and acknowledge it."""
        assert isinstance(delivery, RabbitMqDelivery)
        inbox = self._inbox
        if inbox is None or inbox.held.get(delivery.tag) is not delivery:
            return
        await self._publish(delivery, headers, delay_s)
        await self.acknowledge([delivery])

    async def _publish(self, delivery: RabbitMqDelivery, headers: dict[str, Any], delay_s: float | None) -> None:
        for is_last in (False, True):
            session = await self._outlet.connector.session()
            try:
                with translated(self._target):
                    if delay_s is None:
                        queue = await topology.declare_dead_letters(session, self._target)
                    else:
                        queue = await topology.declare_retry(session, self._target, delay_s)
                    message = _with_headers(session.channel, delivery, headers)
            except BrokerError:
                await self._outlet.connector.drop(session)
                raise
            _, error = await self._outlet.publish(session, "", queue, [message])
            if error is None:
                return
            if is_last or not isinstance(error, UnroutableError):
                raise error


def _delivery_of(message: DeliveredMessage) -> RabbitMqDelivery:
    """A delivery with defaults for what other publishers leave out: no id, no content type."""
    properties = message.header.properties
    headers = properties.headers or {}
    given = properties.message_id
    usable = isinstance(given, str) and id_problem(given) is None
    attempt = headers.get(ATTEMPT)
    counted = headers.get("x-delivery-count")
    return RabbitMqDelivery(
        message=Message(
            id=str(given) if usable else str(uuid4()),
            body=message.body,
            content_type=properties.content_type or "application/octet-stream",
        ),
        attempt=attempt if isinstance(attempt, int) and 0 < attempt < _MAX_ATTEMPT else 1,
        redeliveries=counted if isinstance(counted, int) else int(bool(message.redelivered)),
        tag=message.delivery_tag or 0,
        properties=properties,
    )


def _with_headers(channel: Channel, delivery: RabbitMqDelivery, headers: dict[str, Any]) -> Publish:
    """A delivery with further headers. If its own cannot be encoded, or leave no room in a frame, they are left out."""
    try:
        message = prepared(channel.number, delivery.message.body, _changed(delivery, headers))
    except Exception as error:  # of the library, for values that it decodes and does not encode
        why = f"{type(error).__name__}: {error}"
    else:
        if len(message.header) <= channel.max_content_size + _FRAME_BYTES:
            return message
        why = f"{len(message.header)} bytes"
    log.warning(
        "message.headers_dropped",
        message="A message is moved without its headers: they cannot be sent again.",
        id=delivery.message.id,
        error=one_line(why),
    )
    return prepared(channel.number, delivery.message.body, _changed(delivery, headers, keep=False))


def _changed(delivery: RabbitMqDelivery, headers: dict[str, Any], *, keep: bool = True) -> Basic.Properties:
    """The properties of a delivery with other headers, beside its own with `keep`, but not what RabbitMQ has added."""
    given: Basic.Properties = delivery.properties
    kept = {name: value for name, value in (given.headers or {}).items() if name not in _ADDED} if keep else {}
    names = [each for each in Basic.Properties.attributes() if each not in {"headers", "expiration", "user_id"}]
    values = {name: getattr(given, name) for name in names}
    values |= {"delivery_mode": _PERSISTENT, "message_id": delivery.message.id, "headers": kept | headers}
    return Basic.Properties(**values)


_ADDED = frozenset({"x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"}) | {
    *("x-last-death-exchange", "x-last-death-queue", "x-last-death-reason", "x-delivery-count", "x-acquired-count")
}
