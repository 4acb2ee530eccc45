"""What relay and consumer report while RabbitMQ is frozen, although no message is in progress, or blocks publishers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from peekaping_producer.errors import BROKER, BrokerUnavailableError
from peekaping_producer.messages import relay as relays
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.handlers import HandlerWork
from peekaping_producer.messages.relay import Relay
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.rabbitmq import connection
from peekaping_producer.transports.rabbitmq import receiver as receivers
from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher
from peekaping_producer.transports.rabbitmq.receiver import RabbitMqReceiver
from tests.kit.rabbitmq import RabbitMqServer
from tests.kit.rabbitmq_clients import numbered, publisher_on, receiver_on
from tests.kit.waiting import until


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "CHECK_AFTER_S", 0.1)
    monkeypatch.setattr(relays, "CHECK_AFTER_S", 0.1)
    monkeypatch.setattr(connection, "_PING_TIMEOUT_S", 2.0)


@asynccontextmanager
async def running(part: Relay | Consumer) -> AsyncIterator[None]:
    task = asyncio.create_task(part.run())
    try:
        yield
    finally:
        await cancel_and_wait(task)


async def reports(dependencies: Dependencies, reason: str) -> None:
    """Wait until the broker counts as failing for this reason."""
    await until(lambda: BROKER in dependencies.troubles and reason in dependencies.troubles[BROKER].reason)


async def works(dependencies: Dependencies) -> None:
    await until(lambda: not dependencies.troubles)


async def test_an_idle_consumer_reports_a_frozen_broker_and_goes_on_afterwards(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget
) -> None:
    dependencies, handled = Dependencies(Metrics()), []

    async def handle(message: Message) -> None:
        handled.append(message.id)

    consumer = Consumer(RabbitMqReceiver(vhost_of_node), HandlerWork(handle), dependencies)
    async with running(consumer), publisher_on(vhost_of_node) as publisher:
        await publisher.publish(numbered(1))
        await until(lambda: "m1" in handled)
        with rabbitmq_node.frozen():
            await reports(dependencies, "no answer in time")
        await works(dependencies)
        await publisher.publish(numbered(2))
        await until(lambda: "m2" in handled)


async def test_what_is_held_stays_held_while_the_broker_is_frozen(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget
) -> None:
    async with publisher_on(vhost_of_node) as publisher, receiver_on(vhost_of_node) as receiver:
        await publisher.publish(numbered(1))
        (held,) = await receiver.receive(1)
        canceled: list[bool] = []
        held.cancel = lambda: canceled.append(True)
        with rabbitmq_node.frozen():
            for call in (receiver.receive(1), receiver.open()):
                with pytest.raises(BrokerUnavailableError, match="no answer in time"):
                    await call
        await receiver.open()
        await receiver.acknowledge([held])
        assert canceled == []
    assert rabbitmq_node.take(vhost_of_node) == []


async def test_a_receiver_that_is_canceled_during_a_check_keeps_what_it_holds(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget
) -> None:
    async with publisher_on(vhost_of_node) as publisher, receiver_on(vhost_of_node) as receiver:
        await publisher.publish(numbered(1))
        held = await receiver.receive(1)
        with rabbitmq_node.frozen():
            checking = asyncio.create_task(receiver.open())
            await asyncio.sleep(0)  # it begins
            assert not checking.done()
            await cancel_and_wait(checking)
        await receiver.acknowledge(held)
    assert rabbitmq_node.take(vhost_of_node) == []


async def test_an_idle_relay_reports_a_frozen_broker_and_goes_on_afterwards(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget
) -> None:
    dependencies = Dependencies(Metrics())
    relay = Relay(RabbitMqPublisher(vhost_of_node), dependencies)
    async with running(relay):
        await relay.offer(numbered(1))
        with rabbitmq_node.frozen():
            await reports(dependencies, "no answer in time")
        await works(dependencies)
        await relay.offer(numbered(3))


async def test_a_relay_reports_at_once_that_rabbitmq_blocks_publishers(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget
) -> None:
    dependencies = Dependencies(Metrics())
    relay = Relay(RabbitMqPublisher(vhost_of_node), dependencies)
    async with running(relay):
        with rabbitmq_node.memory_alarm():
            waiting = relay.offer(numbered(1))
            await reports(dependencies, "RabbitMQ blocks publishers")
        await waiting
        await works(dependencies)
