"""The deliveries that a receiver holds, and how they are made of AMQP messages."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard
from uuid import uuid4

from aiormq.abc import DeliveredMessage

from peekaping_producer.errors import BrokerError
from peekaping_producer.transports.message import Message, id_problem
from peekaping_producer.transports.rabbitmq.connection import Session
from peekaping_producer.transports.receiver import Delivery

ATTEMPT = "x-attempt"
"""The header with the number of the attempt: written by retry(), absent in the first."""
_MAX_ATTEMPT = 1_000_000


class RabbitMqDelivery(Delivery):
    """A delivery of RabbitMQ."""

    redeliveries: int = 0
    """How often it was delivered before in this attempt, without being settled. A classic queue counts to 1."""
    tag: int = 0
    properties: Any = None
    """All AMQP properties of the message: retry and dead letter keep them."""


class Inbox:
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
        delivery = delivery_of(message)
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
        tags = {delivery.tag for delivery in deliveries if self.holds(delivery)}
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

    def holds(self, delivery: Delivery) -> TypeGuard[RabbitMqDelivery]:
        """Whether it is not settled, and of this session."""
        return isinstance(delivery, RabbitMqDelivery) and self.held.get(delivery.tag) is delivery


def delivery_of(message: DeliveredMessage) -> RabbitMqDelivery:
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
