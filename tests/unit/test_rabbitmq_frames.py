"""What `frames.write` uses of aiormq that is no part of its interface: a new version must fail here first."""

import ast
import asyncio
import importlib.metadata
import inspect
from types import SimpleNamespace
from typing import cast

import aiormq.channel
import pytest
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal

from peekaping_producer.transports.message import Message
from peekaping_producer.transports.rabbitmq import frames

PUBLISHED = ast.unparse(ast.parse(inspect.cleandoc(inspect.getsource(Channel.basic_publish))))
CONFIRMED = inspect.getsource(Channel._confirm_delivery)
RETURNED = inspect.getsource(Channel._on_return_frame)


def test_the_installed_version_is_one_that_a_batch_was_tested_with() -> None:
    assert importlib.metadata.version("aiormq").startswith("7.2."), "check frames.write with this version, then pin it"
    assert frames.publish is frames.write


def test_another_version_publishes_by_its_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"aiormq": "7.3.0"}.__getitem__)
    assert frames._publishing() is frames.gather


@pytest.mark.parametrize(
    "statement",
    [
        "async with self.lock:",
        "self.delivery_tag += 1",
        "self.confirmations[delivery_tag] = confirmation",
        "self.message_id_delivery_tag[message_id] = delivery_tag",
        "ChannelFrame.marshall(frames=body_frames, channel_number=self.number, drain_future=drain_future)",
        "confirmation = self.create_future()",
    ],
)
def test_the_library_publishes_as_a_batch_does(statement: str) -> None:
    assert statement in PUBLISHED


def test_the_library_uses_a_confirmation_only_as_a_batch_expects() -> None:
    used = {line.partition("confirmation.")[2].partition("(")[0] for line in CONFIRMED.splitlines()} - {""}
    assert used == {"done", "cancelled", "set_result", "set_exception"}
    assert "self.confirmations.pop(delivery_tag)" in CONFIRMED
    assert "self.message_id_delivery_tag.get(message_id)" in RETURNED
    assert "confirmation.set_exception(PublishError(message, frame))" in RETURNED


def test_a_frame_is_written_as_it_is() -> None:
    assert [each.name for each in ChannelFrame.__dataclass_fields__.values()] == [
        *("payload", "should_close", "drain_future")
    ]
    writer = inspect.getsource(aiormq.connection.Connection)
    assert "writer.write(channel_frame.payload)" in writer


async def test_a_batch_ends_with_its_last_outcome() -> None:
    batch = frames.Batch(asyncio.get_running_loop().create_future(), 2)
    batch.settle(1, None)
    assert not batch.done.done()
    batch.settle(0, ValueError("refused"))
    assert batch.done.done()
    assert [repr(each) for each in batch.outcomes] == ["ValueError('refused')", "None"]


async def test_the_end_of_a_batch_forgets_no_message_of_a_later_one_with_the_same_id() -> None:
    """A message that is returned, and whose id the library does not find, would count as confirmed."""
    channel = SimpleNamespace(
        number=1,
        max_content_size=1000,
        lock=asyncio.Lock(),
        delivery_tag=0,
        confirmations={},
        message_id_delivery_tag={},
        write_queue=asyncio.Queue(),
        create_future=asyncio.get_running_loop().create_future,
    )
    message = frames.persistent(cast(Channel, channel), Message("a", b""))
    first, second = [await frames.publish(cast(Channel, channel), "", "queue", [message]) for _ in range(2)]
    first.settle(0, None)
    await asyncio.sleep(0)
    assert channel.message_id_delivery_tag == {"a": 2}
    second.settle(0, None)
    await asyncio.sleep(0)
    assert channel.message_id_delivery_tag == {}


@pytest.mark.parametrize("size", [0, 1, 10, 11, 25])
def test_a_persistent_message_has_the_frames_of_the_library(size: int) -> None:
    channel = cast("Channel", SimpleNamespace(number=7, max_content_size=10))
    message = Message("é" * 127 + "x", b"b" * size, "text/plain; charset=utf-8")
    properties = Basic.Properties(content_type=message.content_type, delivery_mode=2, message_id=message.id)
    publish = frames.persistent(channel, message)
    assert publish == frames.prepared(channel, message.body, properties)
    bodies = [ContentBody(message.body[at : at + 10]) for at in range(0, size, 10)]
    assert publish.content == publish.header + b"".join(marshal(body, 7) for body in bodies)


def test_properties_that_cannot_be_encoded_raise() -> None:
    channel = cast("Channel", SimpleNamespace(number=1, max_content_size=10))
    with pytest.raises(TypeError):
        frames.prepared(channel, b"", Basic.Properties(content_type="é" * 200))
    with pytest.raises(TypeError):
        frames.persistent(channel, Message("1", b"", "é" * 200))
