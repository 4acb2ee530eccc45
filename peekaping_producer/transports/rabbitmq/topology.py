"""What is declared in RabbitMQ, and how. See docs/rabbitmq.md.

Everything is looked up first and declared only if it does not exist: what exists is used as it is, with the arguments
that its owner gave it, and without the right to configure it.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity

from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.rabbitmq.connection import CALL_TIMEOUT_S, Session

RETRY_LEVELS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)
"""The delays of retries; each that is used has a queue."""
_EXPIRES_AFTER_S = 600
"""How long a retry queue outlives the last message in it."""
_SEGMENT_BYTES = 20_000_000
"""A stream drops whole segments, and never the last one."""


def exchange(target: RabbitMqTarget) -> str:
    """The exchange to publish to: the default exchange, or with a retention copy the one that feeds both queues."""
    return "" if target.retention_days is None else f"{target.queue}.fanout"


async def declare(session: Session, target: RabbitMqTarget) -> None:
    """Prepare the queue, and the retention copy."""
    await _ensure_queue(session, target.queue, _type(target))
    if target.retention_days is None:
        return
    copy = f"{target.queue}.copy"
    stream = {"x-queue-type": "stream", "x-max-age": f"{target.retention_days}D"}
    await _ensure_queue(session, copy, stream | {"x-stream-max-segment-size-bytes": _SEGMENT_BYTES})
    await _ensure(session, Channel.exchange_declare, exchange(target), exchange_type="fanout")
    for queue in (target.queue, copy):
        await session.channel.queue_bind(queue, exchange(target), timeout=CALL_TIMEOUT_S)


async def declare_dead_letters(session: Session, target: RabbitMqTarget) -> str:
    """Prepare the queue of the dead letters, and return its name."""
    name = f"{target.queue}.dead"
    await _ensure_queue(session, name, _type(target))
    return name


async def declare_retry(session: Session, target: RabbitMqTarget, delay_s: float) -> str:
    """Prepare the queue of the first level that is not shorter than the delay, and return its name.

    One queue for each level, since a message waits behind longer ones in its queue. RabbitMQ deletes a queue that no
    call has used for a time, with its messages: that time begins again with this call, and is longer than the delay.
    """
    level = next((seconds for seconds in RETRY_LEVELS_S if seconds >= delay_s), RETRY_LEVELS_S[-1])
    name = f"{target.queue}.retry.{level}"
    arguments = _type(target) | {
        "x-message-ttl": level * 1000,
        "x-expires": (level + _EXPIRES_AFTER_S) * 1000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": target.queue,
    }
    if target.queue_type == "quorum":
        arguments |= {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
    await _ensure_queue(session, name, arguments)
    return name


def _type(target: RabbitMqTarget) -> dict[str, Any]:
    """The arguments of the queue; none for a classic one, as other clients declare it."""
    return {"x-queue-type": "quorum"} if target.queue_type == "quorum" else {}


async def _ensure_queue(session: Session, name: str, arguments: dict[str, Any]) -> None:
    await _ensure(session, Channel.queue_declare, name, arguments=arguments)


async def _ensure(session: Session, declare: Callable[..., Awaitable[object]], name: str, **options: Any) -> None:
    channel = await session.new_channel()
    try:
        await declare(channel, name, passive=True, timeout=CALL_TIMEOUT_S)
    except ChannelNotFoundEntity:  # it closed the channel
        channel = await session.new_channel()
        await declare(channel, name, durable=True, timeout=CALL_TIMEOUT_S, **options)
    await channel.close()
