"""A publisher that returns before all messages of a call are settled: the next call begins with the others."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import PublishResult
from peekaping_producer.transports.rabbitmq import publisher as publishing
from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher
from tests.kit.rabbitmq import RabbitMqApi
from tests.kit.rabbitmq_clients import numbered

WINDOW = 400


def numbers_in(taken: list[dict[str, str]]) -> list[int]:
    return [int(each["payload"]) for each in taken]


@pytest_asyncio.fixture
async def publisher(rabbitmq: RabbitMqTarget, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RabbitMqPublisher]:
    """Each call settles one part, although RabbitMQ may have confirmed more."""
    monkeypatch.setattr(publishing._Part, "is_done", False)
    publisher = RabbitMqPublisher(rabbitmq, window=WINDOW)
    yield publisher
    await publisher.close()


@pytest.mark.parametrize("passed", [WINDOW, 2 * WINDOW])
async def test_a_call_returns_with_its_first_part_and_writes_nothing_twice(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, passed: int
) -> None:
    sent = numbered(*range(2000))
    for settled in range(0, 2000, 100):
        assert await publisher.publish(sent[settled : settled + passed]) == PublishResult(100)
    assert numbers_in(rabbitmq_api.take(rabbitmq)) == list(range(2000))


async def test_no_more_than_the_window_is_written(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    sent = numbered(*range(3 * WINDOW))
    assert await publisher.publish(sent) == PublishResult(100)
    assert await publisher.publish(sent[100:]) == PublishResult(100)
    await publisher.close()  # what was only prepared is not sent
    taken = numbers_in(rabbitmq_api.take(rabbitmq))
    assert taken == list(range(len(taken)))
    assert len(taken) <= 200 + WINDOW


async def test_refused_messages_are_counted_in_the_call_that_settles_them(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    sent = numbered(*range(400))
    bad = {5, 130, 399}
    for index in bad:
        sent[index] = Message(id="", body=b"no id")
    settled = 0
    refused: set[int] = set()
    while settled < len(sent):
        result = await publisher.publish(sent[settled:])
        refused |= {settled + index for index in result.refused}
        settled += result.settled
    assert refused == bad
    assert numbers_in(rabbitmq_api.take(rabbitmq)) == [number for number in range(400) if number not in bad]


async def test_after_a_lost_connection_all_that_is_not_settled_is_written_again(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    sent = numbered(*range(1000))
    settled = (await publisher.publish(sent)).settled
    await publisher.close()
    while settled < len(sent):
        settled += (await publisher.publish(sent[settled:])).settled
    taken = numbers_in(rabbitmq_api.take(rabbitmq))
    assert list(dict.fromkeys(taken)) == list(range(1000))  # by first appearance
    assert len(taken) <= 1000 + WINDOW


async def test_a_queue_deleted_between_two_calls_loses_nothing_that_is_not_settled(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    sent = numbered(*range(1000))
    settled = (await publisher.publish(sent[:400])).settled
    await asyncio.to_thread(rabbitmq_api.delete_queue, rabbitmq)
    while settled < len(sent):
        settled += (await publisher.publish(sent[settled : settled + 2 * WINDOW])).settled
    taken = numbers_in(rabbitmq_api.take(rabbitmq))
    # What RabbitMQ confirmed before the deletion went with the queue; the rest is complete and in order.
    assert taken == list(range(taken[0], 1000))
    assert taken[0] <= 400


async def test_a_call_with_other_messages_publishes_them(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    await publisher.publish(numbered(*range(400)))
    assert await publisher.publish(numbered(1001, 1002, 1003)) == PublishResult(3)
    assert numbers_in(rabbitmq_api.take(rabbitmq))[-3:] == [1001, 1002, 1003]
