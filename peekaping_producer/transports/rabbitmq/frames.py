"""Publishes a batch in one write, which costs a fifth of the CPU of one call of aiormq for each message.

`write` uses attributes of aiormq's channel that are no part of its interface. tests/unit/test_rabbitmq_frames.py checks
them, and pyproject.toml allows only versions that it was tested with. `gather` does the same by the interface: where an
installation has another version nevertheless (a distribution's package, a security fix), messages are still published,
at a third of the speed. The tests of the publisher run with both.
"""

import asyncio
import importlib.metadata
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Final

import msgspec
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader

from peekaping_producer.transports.message import Message

PERSISTENT = 2
"""A delivery_mode: RabbitMQ writes the message to disk."""
_HEADER, _BODY = 2, 3
_FRAME = Struct(">BHI")
"""The beginning of a frame: its kind, its channel, the size of its content."""
_SIZE_AT = 4
"""Of the size of the body, in the content of a header frame: after the class and the weight."""

PENDING: Final = asyncio.InvalidStateError("neither confirmed nor refused")
Outcome = BaseException | None
"""None: the broker has confirmed the message. PENDING: unknown. Others: why it was returned or refused."""


class Publish(msgspec.Struct, frozen=True):
    """A message as frames of one channel."""

    message_id: str
    body: bytes
    header: bytes
    """The frame of its properties."""
    content: bytes
    """The frames of its properties and its body."""


def prepared(channel: Channel, body: bytes, properties: Basic.Properties) -> Publish:
    """A message for this channel. Raises what the library does for properties that cannot be encoded."""
    header = marshal(ContentHeader(properties=properties, body_size=len(body)), channel.number)
    return Publish(str(properties.message_id), body, header, header + _body(channel, body))


def persistent(channel: Channel, message: Message) -> Publish:
    """As `prepared`, at a third of its cost, for a message of which only the id and the body change.

    Raises what the library does for a content type that cannot be encoded. The id is one that `id_problem` accepts.
    """
    body, message_id = message.body, message.id.encode()
    template = _template(message.content_type)
    properties = template[:_SIZE_AT] + len(body).to_bytes(8, "big") + template[_SIZE_AT + 8 :]
    header = _frame(_HEADER, channel.number, b"%b%c%b" % (properties, len(message_id), message_id))
    return Publish(message.id, body, header, header + _body(channel, body))


@lru_cache(maxsize=64)
def _template(content_type: str) -> bytes:
    """The content of a header frame of a persistent message up to its id, which is the last property."""
    properties = Basic.Properties(content_type=content_type, delivery_mode=PERSISTENT, message_id="x")
    return marshal(ContentHeader(properties=properties), 0)[_FRAME.size : -3]  # without the id, its length, and the end


def _body(channel: Channel, body: bytes) -> bytes:
    size = channel.max_content_size
    if len(body) <= size:
        return _frame(_BODY, channel.number, body) if body else b""
    return b"".join(_frame(_BODY, channel.number, body[at : at + size]) for at in range(0, len(body), size))


def _frame(kind: int, channel: int, content: bytes) -> bytes:
    return b"%b%b\xce" % (_FRAME.pack(kind, channel, len(content)), content)


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
    payload = method + method.join([message.content for message in messages])
    async with channel.lock:
        batch = Batch(channel.create_future(), len(messages))
        first_tag = channel.delivery_tag + 1
        for index, message in enumerate(messages):
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = _Confirmation(batch, index)  # type: ignore[assignment]
            channel.message_id_delivery_tag[message.message_id] = channel.delivery_tag
        await channel.write_queue.put(ChannelFrame(payload=payload, should_close=False))
    ids = [message.message_id for message in messages]  # the messages themselves may be large
    batch.done.add_done_callback(lambda _: _forget(channel, ids, first_tag))
    return batch


def _forget(channel: Channel, ids: Sequence[str], first_tag: int) -> None:
    tags = channel.message_id_delivery_tag
    for tag, message_id in enumerate(ids, first_tag):
        if tags.get(message_id) == tag:  # a later batch may have a message with the same id
            del tags[message_id]


async def gather(channel: Channel, exchange: str, routing_key: str, messages: Sequence[Publish]) -> Batch:
    """Publish by one call for each message. Any version of the library can do this."""
    batch = Batch(asyncio.get_running_loop().create_future(), len(messages))

    async def publish(index: int, message: Publish) -> None:
        header = unmarshal(message.header)[2]
        assert isinstance(header, ContentHeader)
        try:
            await channel.basic_publish(
                message.body,
                exchange=exchange,
                routing_key=routing_key,
                properties=header.properties,
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
