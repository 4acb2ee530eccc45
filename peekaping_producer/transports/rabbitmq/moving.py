"""Publishes deliveries again: to the queue of a retry, or to that of the dead letters."""

from datetime import UTC, datetime
from typing import Any

import structlog
from aiormq.channel import Channel
from pamqp.commands import Basic

from peekaping_producer.errors import BrokerError
from peekaping_producer.service.text import one_line
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.rabbitmq import topology
from peekaping_producer.transports.rabbitmq.failures import translated
from peekaping_producer.transports.rabbitmq.frames import PERSISTENT, Publish, prepared
from peekaping_producer.transports.rabbitmq.inbox import ATTEMPT, RabbitMqDelivery
from peekaping_producer.transports.rabbitmq.outlet import Outlet, UnroutableError

_MAX_REASON_LENGTH = 1000
_FRAME_BYTES = 8
"""Of a frame beside its content."""
_ADDED = frozenset({"x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"}) | {
    *("x-last-death-exchange", "x-last-death-queue", "x-last-death-reason", "x-delivery-count", "x-acquired-count")
}
"""Headers that RabbitMQ adds."""

log = structlog.stdlib.get_logger()


class Mover:
    """Publishes with confirmation, on a connection of its own."""

    def __init__(self, target: RabbitMqTarget) -> None:
        self._target = target
        self._outlet = Outlet(target, f"retries of {target.queue}")

    async def close(self) -> None:
        """Close the connection; never raises."""
        await self._outlet.connector.close()

    async def to_retries(self, delivery: RabbitMqDelivery, delay_s: float, reason: str) -> None:
        """Publish a delivery to the retry queue of the next level. Raises BrokerError."""
        headers = {ATTEMPT: delivery.attempt + 1, "x-reason": reason[:_MAX_REASON_LENGTH]}
        await self._publish(delivery, headers, delay_s)

    async def to_dead_letters(self, delivery: RabbitMqDelivery, reason: str) -> None:
        """Publish a delivery to the queue of the dead letters. Raises BrokerError."""
        headers = {
            ATTEMPT: delivery.attempt,
            "x-reason": reason[:_MAX_REASON_LENGTH],
            "x-queue": self._target.queue,
            "x-failed-at": datetime.now(UTC),
        }
        await self._publish(delivery, headers, None)

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


def _with_headers(channel: Channel, delivery: RabbitMqDelivery, headers: dict[str, Any]) -> Publish:
    """A delivery with further headers. If its own cannot be encoded, or leave no room in a frame, they are left out."""
    try:
        message = prepared(channel, delivery.message.body, _changed(delivery, headers))
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
    return prepared(channel, delivery.message.body, _changed(delivery, headers, keep=False))


def _changed(delivery: RabbitMqDelivery, headers: dict[str, Any], *, keep: bool = True) -> Basic.Properties:
    """The properties of a delivery with other headers, beside its own with `keep`, but not what RabbitMQ has added."""
    given: Basic.Properties = delivery.properties
    kept = {name: value for name, value in (given.headers or {}).items() if name not in _ADDED} if keep else {}
    names = [name for name in Basic.Properties.attributes() if name not in {"headers", "expiration", "user_id"}]
    values = {name: getattr(given, name) for name in names}
    values |= {"delivery_mode": PERSISTENT, "message_id": delivery.message.id, "headers": kept | headers}
    return Basic.Properties(**values)
