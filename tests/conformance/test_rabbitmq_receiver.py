"""The receiver on a real RabbitMQ."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from peekaping_producer.errors import BrokerUnavailableError
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.rabbitmq.connection import Session
from peekaping_producer.transports.rabbitmq.inbox import RabbitMqDelivery
from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher
from peekaping_producer.transports.rabbitmq.receiver import RabbitMqReceiver
from peekaping_producer.transports.rabbitmq.undecodable import repaired
from peekaping_producer.transports.receiver import Delivery
from tests.kit.rabbitmq import RabbitMqApi, RabbitMqServer
from tests.kit.rabbitmq_clients import numbered, publisher_on, ready, receiver_on, session_on
from tests.kit.waiting import until


async def send(publisher: RabbitMqPublisher, *numbers: int) -> None:
    assert (await publisher.publish(numbered(*numbers))).settled == len(numbers)


async def take(receiver: RabbitMqReceiver, count: int) -> list[Delivery]:
    """So many deliveries; fail after 60 s."""
    taken: list[Delivery] = []
    async with asyncio.timeout(60):
        while len(taken) < count:
            taken += await receiver.receive(count - len(taken))
    return taken


def bodies(deliveries: list[Delivery]) -> list[str]:
    return [each.message.body.decode() for each in deliveries]


async def is_ready(session: Session, expected: int) -> bool:
    return await ready(session) == expected


async def test_messages_come_in_order_and_stay_until_they_are_acknowledged(
    rabbitmq: RabbitMqTarget, publisher: RabbitMqPublisher, session: Session
) -> None:
    await send(publisher, *range(20))
    async with receiver_on(rabbitmq) as receiver:
        first = await take(receiver, 3)
        assert bodies(first) == ["0", "1", "2"]
        assert first[0].message == Message(id="m0", body=b"0", content_type="text/plain")
        assert first[0].attempt == 1
        await receiver.acknowledge(first[:2])
        others = await take(receiver, 17)
        await receiver.acknowledge([*others[3:5], *others[8:]])
    async with receiver_on(rabbitmq) as receiver:
        again = await take(receiver, 7)
        assert bodies(again) == ["2", "3", "4", "5", "8", "9", "10"]
        assert all(isinstance(each, RabbitMqDelivery) and each.redeliveries == 1 for each in again)
        assert all(each.attempt == 1 for each in again)
        await receiver.acknowledge(again)
        await receiver.acknowledge(again)  # no effect
        assert await ready(session) == 0


async def test_a_delivery_whose_acknowledgement_was_not_written_is_delivered_again(
    rabbitmq: RabbitMqTarget, publisher: RabbitMqPublisher
) -> None:
    await send(publisher, 1)
    async with receiver_on(rabbitmq, prefetch=1) as receiver:
        delivered = await take(receiver, 1)
        with (
            patch.object(Channel, "basic_ack", side_effect=TimeoutError),
            pytest.raises(BrokerUnavailableError, match="no answer in time"),
        ):
            await receiver.acknowledge(delivered)
        await receiver.acknowledge(delivered)  # no effect
        assert bodies(await take(receiver, 1)) == ["1"]


async def test_no_more_than_the_prefetch_is_held(
    rabbitmq: RabbitMqTarget, publisher: RabbitMqPublisher, session: Session
) -> None:
    await send(publisher, *range(10))
    async with receiver_on(rabbitmq, prefetch=4) as receiver:
        held = await take(receiver, 4)
        assert await ready(session) == 6
        await receiver.acknowledge(held)
        assert bodies(await take(receiver, 4)) == ["4", "5", "6", "7"]


async def test_released_messages_come_first_as_the_same_attempt(
    rabbitmq: RabbitMqTarget, publisher: RabbitMqPublisher
) -> None:
    await send(publisher, *range(5))
    async with receiver_on(rabbitmq, prefetch=3) as receiver:
        held = await take(receiver, 3)
        await receiver.acknowledge(held[1:2])
        await receiver.release([held[0], held[2]])
        again = await take(receiver, 3)
        assert sorted(bodies(again)) == ["0", "2", "3"]
        assert {each.attempt for each in again} == {1}
        await receiver.acknowledge(again)


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_a_retry_comes_back_later_as_the_next_attempt(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, session: Session, queue_type: Any
) -> None:
    target = msgspec.structs.replace(rabbitmq, queue_type=queue_type)
    async with publisher_on(target) as publisher:
        await send(publisher, 1, 2)
    async with receiver_on(target) as receiver:
        first, second = await take(receiver, 2)
        started_at = asyncio.get_running_loop().time()
        await receiver.retry(first, 0.4, "no answer")
        await receiver.acknowledge([second])
        (again,) = await take(receiver, 1)
        assert asyncio.get_running_loop().time() - started_at > 0.5
        assert again.attempt == 2
        assert again.message == first.message
        await receiver.retry(again, 0.4, "no answer")
        (third,) = await take(receiver, 1)
        assert third.attempt == 3
        await receiver.acknowledge([third])
        assert await ready(session) == 0
    retries = rabbitmq_api.queues(rabbitmq)["messages.retry.1"]
    assert retries["type"] == queue_type
    assert retries["arguments"]["x-expires"] > retries["arguments"]["x-message-ttl"] + 60_000


async def test_each_delay_has_a_queue_so_that_a_short_one_does_not_wait_behind_a_long_one(
    receiver: RabbitMqReceiver, publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    await send(publisher, 1, 2, 3)
    first, second, third = await take(receiver, 3)
    await receiver.retry(first, 11, "later")
    await receiver.retry(second, 1e9, "much later")
    await receiver.retry(third, 0, "soon")
    assert bodies(await take(receiver, 1)) == ["3"]
    names = {f"messages.retry.{level}" for level in (1, 30, 86400)}
    assert set(rabbitmq_api.queues(rabbitmq)) == {"messages", *names}


async def test_a_dead_letter_keeps_its_properties_and_has_the_reason(
    receiver: RabbitMqReceiver, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, session: Session
) -> None:
    given = Basic.Properties(correlation_id="c", headers={"of": "the sender"}, message_id="x" * 255, expiration="60000")
    await session.channel.basic_publish(b"bad", routing_key="messages", properties=given)
    (delivery,) = await take(receiver, 1)
    await receiver.dead_letter(delivery, "no handler\n" * 1000)
    (dead,) = rabbitmq_api.take(rabbitmq, "messages.dead")
    properties = dead["properties"]
    assert dead["payload"] == "bad"
    assert (properties["correlation_id"], properties["message_id"]) == ("c", "x" * 255)
    assert properties["delivery_mode"] == 2
    assert "expiration" not in properties
    headers = properties["headers"]
    assert (headers["of"], headers["x-queue"], headers["x-attempt"]) == ("the sender", "messages", 1)
    assert headers["x-reason"].startswith("no handler")
    assert len(headers["x-reason"]) == 1000
    assert await ready(session) == 0


async def test_messages_of_other_publishers(receiver: RabbitMqReceiver, session: Session) -> None:
    for headers in (None, {"x-attempt": "many"}, {"x-attempt": -1}, {"x-attempt": 7}):
        await session.channel.basic_publish(b"", routing_key="messages", properties=Basic.Properties(headers=headers))
    deliveries = await take(receiver, 4)
    assert [each.attempt for each in deliveries] == [1, 1, 1, 7]
    assert len({each.message.id for each in deliveries}) == 4
    assert deliveries[0].message.content_type == "application/octet-stream"


async def test_a_queue_deleted_in_use_cancels_what_is_held_and_is_declared_again(
    receiver: RabbitMqReceiver, publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    await send(publisher, 1, 2)
    first, second = await take(receiver, 2)
    canceled: list[str] = []
    first.cancel, second.cancel = (lambda: canceled.append("1")), (lambda: canceled.append("2"))
    await receiver.acknowledge([second])
    waiting = asyncio.create_task(receiver.receive(1))
    await asyncio.sleep(0)
    rabbitmq_api.delete_queue(rabbitmq)
    with pytest.raises(BrokerUnavailableError, match="deleted"):
        await waiting
    assert canceled == ["1"]
    await receiver.acknowledge([first])  # no effect
    await receiver.retry(first, 1, "")
    await receiver.open()
    await send(publisher, 3)
    assert bodies(await take(receiver, 1)) == ["3"]


async def test_a_killed_broker_cancels_what_is_held_and_delivers_it_again(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget
) -> None:
    async with (
        publisher_on(vhost_of_node) as publisher,
        receiver_on(vhost_of_node) as receiver,
        session_on(vhost_of_node) as session,
    ):
        await send(publisher, *range(10))
        held = await take(receiver, 10)
        canceled: list[bool] = []
        for each in held[5:]:
            each.cancel = lambda: canceled.append(True)
        await receiver.acknowledge(held[:5])
        await until(lambda: is_ready(session, 0))
        waiting = asyncio.create_task(receiver.receive(1))
        await rabbitmq_node.restart()
        with pytest.raises(BrokerUnavailableError):
            await waiting
        assert len(canceled) == 5
        await receiver.acknowledge(held[5:])  # no effect
        again: list[str] = []  # also what was acknowledged just before the kill
        while not set(again) >= {f"{number}" for number in range(5, 10)}:
            again += bodies(await take(receiver, 1))


async def test_a_channel_that_the_broker_closes_is_an_error(
    receiver: RabbitMqReceiver, publisher: RabbitMqPublisher
) -> None:
    await send(publisher, 1)
    (held,) = await take(receiver, 1)
    canceled: list[bool] = []
    held.cancel = lambda: canceled.append(True)
    session = await receiver._connector.session()
    await session.channel.basic_ack(99, wait=False)  # an unknown tag: 406
    with pytest.raises(BrokerUnavailableError, match="unknown delivery tag"):
        await receiver.receive(1)
    assert canceled == [True]
    assert bodies(await take(receiver, 1)) == ["1"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (Basic.Properties(content_type="text"), (b"text", b"te\xff\xfe")),
        (Basic.Properties(message_id="text"), (b"text", b"te\xff\xfe")),
        (Basic.Properties(headers={"at": datetime(2026, 1, 1, tzinfo=UTC)}), (b"T\0\0\0\0", b"T\x7f\xff\xff\xff")),
        (Basic.Properties(timestamp=datetime(2026, 1, 1, tzinfo=UTC)), (b"\0\0\0\0", b"\x7f\xff\xff\xff")),
    ],
    ids=["content type", "id", "headers", "timestamp"],
)
async def test_a_message_that_cannot_be_decoded_stops_no_other(
    rabbitmq: RabbitMqTarget,
    publisher: RabbitMqPublisher,
    session: Session,
    given: Basic.Properties,
    sent: tuple[bytes, bytes],
) -> None:
    receiver = RabbitMqReceiver(rabbitmq)
    await send(publisher, 1)
    channel = await session.new_channel()
    method = marshal(Basic.Publish(routing_key="messages"), channel.number)
    header = marshal(ContentHeader(properties=given, body_size=3), channel.number)
    at = header.rindex(sent[0])
    header = header[:at] + sent[1] + header[at + len(sent[0]) :]
    body = marshal(ContentBody(b"odd"), channel.number)
    await channel.write_queue.put(ChannelFrame(payload=method + header + body, should_close=False))
    await until(lambda: is_ready(session, 2))
    await send(publisher, 2)
    taken: dict[str, Delivery] = {}
    async with asyncio.timeout(60):
        while len(taken) < 3:
            try:
                deliveries = await receiver.receive(3)
            except BrokerUnavailableError:
                continue
            taken |= {each.message.body.decode(): each for each in deliveries}
    assert set(taken) == {"1", "odd", "2"}
    await receiver.dead_letter(taken["odd"], "odd")
    assert await ready(session, "messages.dead") == 1
    await receiver.close()


def test_names_in_a_delivery_are_made_ascii() -> None:
    frame = marshal(Basic.Deliver("tag", 7, False, "x" * 127, "abc"), 1)
    odd = frame.replace(b"abc", b"a\xff\xfe")
    assert odd[:7] + repaired(odd[:7], odd[7:]) == frame.replace(b"abc", b"a??")
    assert repaired(frame[:7], frame[7:]) == frame[7:]


@pytest.mark.parametrize("odd", [{"name": b"caf\xe9"}, {f"h{n}": "x" * 1000 for n in range(130)}])
async def test_headers_that_cannot_be_sent_again_do_not_keep_a_message_from_the_dead_letters(
    receiver: RabbitMqReceiver, publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, odd: dict[str, Any]
) -> None:
    """The library decodes text that is not UTF-8 as bytes, which it cannot encode; and a header is one frame."""
    await send(publisher, 1)
    (delivery,) = await take(receiver, 1)
    assert isinstance(delivery, RabbitMqDelivery)
    delivery.properties.headers = odd
    await receiver.dead_letter(delivery, "bad")
    async with receiver_on(msgspec.structs.replace(rabbitmq, queue="messages.dead")) as dead:
        (moved,) = await take(dead, 1)
    assert isinstance(moved, RabbitMqDelivery)
    assert (moved.message.id, moved.properties.headers["x-reason"]) == ("m1", "bad")
