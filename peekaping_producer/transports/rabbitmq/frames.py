"""Publishes a batch in one write, which costs a fifth of the CPU of one call of aiormq for each message.

`write` uses attributes of aiormq's channel that are no part of its interface. tests/unit/test_rabbitmq_frames.py checks
them, and pyproject.toml allows only versions that it was tested with. `gather` does the same by the interface: where an
installation has another version nevertheless (a distribution's package, a security fix), messages are still published,
at a third of the speed. The tests of the publisher run with both.
"""

import asyncio
import importlib.metadata
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader

PENDING: Final = asyncio.InvalidStateError("neither confirmed nor refused")
Outcome = BaseException | None
"""None: the broker has confirmed the message. PENDING: unknown. Others: why it was returned or refused."""


class Publish(msgspec.Struct, frozen=True):
    """A message with its properties, and their frame."""

    body: bytes
    properties: Basic.Properties
    header: bytes


def prepared(channel: int, body: bytes, properties: Basic.Properties) -> Publish:
    """A message for the channel of this number. Raises what the library does for properties that cannot be encoded."""
    return Publish(body, properties, marshal(ContentHeader(properties=properties, body_size=len(body)), channel))


class Batch:
    """The outcomes of published messages, as they arrive; `done` ends with the last, or with the channel's error."""

    def __init__(self, done: "asyncio.Future[None]", size: int) -> None:
        self.done = done
        self.outcomes: list[Outcome] = [PENDING] * size
        self._missing = size

    def settle(self, index: int, outcome: Outcome) -> None:
        """Record one outcome."""
        self.outcomes[index] = outcome
        self._missing -= 1
        if not self._missing and not self.done.done():
            self.done.set_result(None)


class _Confirmation:
    """Takes the place of the future that the channel keeps for each message."""

    __slots__ = ("batch", "index")

    def __init__(self, batch: Batch, index: int) -> None:
        self.batch = batch
        self.index = index

    def done(self) -> bool:
        return self.batch.outcomes[self.index] is not PENDING

    def cancelled(self) -> bool:
        return False

    def set_result(self, _: object) -> None:
        self.batch.settle(self.index, None)

    def set_exception(self, error: BaseException) -> None:
        self.batch.settle(self.index, error)


async def write(channel: Channel, exchange: str, routing_key: str, messages: Sequence[Publish]) -> Batch:
    """Publish in one write, mandatory and with confirmations. After an error, the channel must not be used again."""
    method = marshal(Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True), channel.number)
    size = channel.max_content_size
    pieces: list[bytes] = []
    for message in messages:
        body = message.body
        pieces += (method, message.header)
        pieces += (marshal(ContentBody(body[at : at + size]), channel.number) for at in range(0, len(body), size))
    async with channel.lock:
        batch = Batch(channel.create_future(), len(messages))
        for index, message in enumerate(messages):
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = _Confirmation(batch, index)  # type: ignore[assignment]
            channel.message_id_delivery_tag[str(message.properties.message_id)] = channel.delivery_tag
        await channel.write_queue.put(ChannelFrame(payload=b"".join(pieces), should_close=False))
    batch.done.add_done_callback(lambda _: _forget_ids(channel, messages))
    return batch


def _forget_ids(channel: Channel, messages: Sequence[Publish]) -> None:
    for message in messages:
        channel.message_id_delivery_tag.pop(str(message.properties.message_id), None)


async def gather(channel: Channel, exchange: str, routing_key: str, messages: Sequence[Publish]) -> Batch:
    """Publish by one call for each message. Any version of the library can do this."""
    batch = Batch(asyncio.get_running_loop().create_future(), len(messages))

    async def publish(index: int, message: Publish) -> None:
        try:
            await channel.basic_publish(
                message.body,
                exchange=exchange,
                routing_key=routing_key,
                properties=message.properties,
                mandatory=True,
                wait=False,
            )
        except (Exception, asyncio.CancelledError) as error:  # a closed channel cancels its futures
            if not channel.is_closed:
                batch.settle(index, error)
            elif not batch.done.done():
                batch.done.set_exception(error if isinstance(error, Exception) else ConnectionError("closed"))
        else:
            batch.settle(index, None)

    tasks = [asyncio.create_task(publish(index, message)) for index, message in enumerate(messages)]
    batch.done.add_done_callback(lambda _: [task.cancel() for task in tasks])
    return batch


def _publishing() -> Callable[[Channel, str, str, Sequence[Publish]], Awaitable[Batch]]:
    return write if importlib.metadata.version("aiormq").startswith("7.2.") else gather


publish = _publishing()
