"""The contract of Receiver, on every transport and on the queue in memory that the consumer is tested with."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from peekaping_producer.errors import RejectedMessageError
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.handlers import HandlerWork
from peekaping_producer.messages.retries import Retries
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.targets import RabbitMqTarget, RedisTarget
from peekaping_producer.transports.asynq.forwarder import Forwarder
from peekaping_producer.transports.asynq.leases import LeaseExtender
from peekaping_producer.transports.asynq.receiver import AsynqReceiver
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher
from peekaping_producer.transports.rabbitmq.receiver import RabbitMqReceiver
from peekaping_producer.transports.receiver import Delivery, Receiver
from tests.kit.asynq_worker import QUEUE, QueueView
from tests.kit.rabbitmq import RabbitMqApi
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until


class Queue(ABC):
    """A queue of one transport, and its receiver."""

    receiver: Any

    @abstractmethod
    def new_receiver(self) -> Receiver:
        """A receiver that is not open."""

    @abstractmethod
    async def send(self, *ids: str) -> None:
        """Add messages with the body `body of <id>`."""

    @abstractmethod
    async def left(self) -> int:
        """The messages that are not acknowledged, held ones included."""

    @abstractmethod
    async def dead(self) -> list[str]:
        """Remove the dead letters; their bodies."""

    @abstractmethod
    async def lose(self) -> None:
        """Let the broker take back what the receiver holds."""

    async def close(self) -> None:
        """End what sends."""
        return

    async def restart(self) -> None:
        """Close the receiver, and open another one."""
        await self.receiver.close()
        self.receiver = self.new_receiver()
        await self.receiver.open()

    async def take(self, count: int) -> list[Delivery]:
        taken: list[Delivery] = []
        async with asyncio.timeout(60):
            while len(taken) < count:
                taken += await self.receiver.receive(count - len(taken))
        return taken


class MemoryQueue(Queue):
    def __init__(self) -> None:
        self._only = MemoryReceiver()
        self.receiver = self._only

    def new_receiver(self) -> MemoryReceiver:
        return self._only

    async def send(self, *ids: str) -> None:
        self._only.put(*(message(id_) for id_ in ids))

    async def left(self) -> int:
        return len(self._only.queue) + len(self._only.held)

    async def dead(self) -> list[str]:
        return [f"body of {id_}" for id_, _ in self._only.dead]

    async def lose(self) -> None:
        self._only.lose()


class RabbitMqQueue(Queue):
    def __init__(self, target: RabbitMqTarget, api: RabbitMqApi) -> None:
        self._target, self._api = target, api
        self._publisher = RabbitMqPublisher(target)
        self.receiver = self.new_receiver()

    def new_receiver(self) -> RabbitMqReceiver:
        return RabbitMqReceiver(self._target)

    async def send(self, *ids: str) -> None:
        assert (await self._publisher.publish([message(id_) for id_ in ids])).settled == len(ids)

    async def left(self) -> int:
        await self.restart()  # what was held is counted only then
        session = await self.receiver._connector.session()
        channel = await session.new_channel()
        found = await channel.queue_declare(self._target.queue, passive=True)
        return int(found.message_count or 0) + len(self.receiver._inbox.held)

    async def dead(self) -> list[str]:
        taken = await asyncio.to_thread(self._api.take, self._target, f"{self._target.queue}.dead")
        return [each["payload"] for each in taken]

    async def lose(self) -> None:
        (await self.receiver._connector.session()).abort()

    async def close(self) -> None:
        await self._publisher.close()


class AsynqQueue(Queue):
    def __init__(self, target: RedisTarget, redis: Redis) -> None:
        self._target, self._redis, self._view = target, redis, QueueView(redis)
        self.receiver = self.new_receiver()

    def new_receiver(self) -> AsynqReceiver:
        return AsynqReceiver(self._target, {QUEUE: 1}, dependencies=Dependencies(Metrics()))

    async def send(self, *ids: str) -> None:
        for id_ in ids:
            await self._view.enqueue(id_, payload=message(id_).body, retry=10)

    async def left(self) -> int:
        states = await self._view.states()
        return sum(len(states.get(state, ())) for state in ("pending", "active", "retry"))

    async def dead(self) -> list[str]:
        return [f"body of {id_}" for id_ in (await self._view.states()).get("archived", [])]

    async def lose(self) -> None:
        """Do as a recoverer does whose clock is ahead."""
        keys = self._view.keys
        for id_ in await self._redis.lrange(keys.active, 0, -1):
            await self._redis.zrem(keys.lease, id_)
            await self._redis.lrem(keys.active, 0, id_)
            await self._redis.lpush(keys.pending, id_)


def message(id_: str) -> Message:
    return Message(id_, f"body of {id_}".encode())


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    return [each.message.id for each in deliveries]


@pytest_asyncio.fixture
async def memory_queue() -> AsyncIterator[Queue]:
    async with opened(MemoryQueue()) as queue:
        yield queue


@pytest_asyncio.fixture
async def rabbitmq_queue(rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi) -> AsyncIterator[Queue]:
    async with opened(RabbitMqQueue(rabbitmq, rabbitmq_api)) as queue:
        yield queue


@pytest_asyncio.fixture
async def asynq_queue(redis_server: RedisTarget, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Queue]:
    monkeypatch.setattr(Forwarder, "every_s", 0.05)
    monkeypatch.setattr(LeaseExtender, "every_s", 0.05)
    async with opened(AsynqQueue(redis_server, redis)) as queue:
        yield queue


@asynccontextmanager
async def opened(queue: Queue) -> AsyncIterator[Queue]:
    await queue.receiver.open()
    try:
        yield queue
    finally:
        await queue.receiver.close()
        await queue.close()


@pytest.fixture(params=["memory", "rabbitmq", "asynq"])
def queue(request: pytest.FixtureRequest) -> Queue:
    queue: Queue = request.getfixturevalue(f"{request.param}_queue")
    return queue


async def test_it_waits_and_delivers_in_order_up_to_the_limit(queue: Queue) -> None:
    receiving = asyncio.create_task(queue.receiver.receive(2))
    await asyncio.sleep(0.05)  # it must not return
    assert not receiving.done()
    await queue.send(*"abcde")
    taken = list(await receiving)
    assert 1 <= len(taken) <= 2
    taken += await queue.take(5 - len(taken))
    assert ids(taken) == list("abcde")
    assert [each.message.body for each in taken] == [message(id_).body for id_ in "abcde"]
    assert {each.attempt for each in taken} == {1}
    assert [each.cancel for each in taken] == [None] * 5


async def test_what_is_acknowledged_in_any_order_does_not_come_again(queue: Queue) -> None:
    await queue.send(*"abcde")
    a, b, c, d, e = await queue.take(5)
    await queue.receiver.acknowledge([d, b])
    await queue.receiver.acknowledge([])
    await queue.receiver.acknowledge([c])
    await queue.receiver.acknowledge([c, a, e])
    await queue.receiver.acknowledge([a])
    assert await queue.left() == 0


async def test_a_retry_is_the_next_attempt_and_lets_others_pass(queue: Queue) -> None:
    await queue.send("a", "b")
    a, _ = await queue.take(2)
    await queue.receiver.retry(a, 0, "it failed: é\n")
    await queue.receiver.retry(a, 0, "twice has no effect")
    (again,) = await queue.take(1)
    assert (again.message, again.attempt) == (a.message, 2)
    await queue.receiver.retry(again, 0, "")
    (third,) = await queue.take(1)
    assert (third.message, third.attempt) == (a.message, 3)


async def test_a_dead_letter_is_kept_aside(queue: Queue) -> None:
    await queue.send("a", "b")
    a, b = await queue.take(2)
    await queue.receiver.dead_letter(a, "it failed: é\n" * 1000)
    await queue.receiver.dead_letter(a, "twice has no effect")
    await queue.receiver.acknowledge([b])
    assert await queue.dead() == ["body of a"]
    assert await queue.left() == 0


async def test_what_is_released_comes_first_as_the_same_attempt(queue: Queue) -> None:
    await queue.send(*"abcd")
    held = await queue.take(3)
    await queue.receiver.release(held)
    await queue.receiver.release(held[:1])
    await queue.restart()
    again = await queue.take(4)
    assert ids(again) == list("abcd")
    assert {each.attempt for each in again} == {1}


async def test_a_lost_delivery_is_canceled_and_comes_again_and_to_settle_it_has_no_effect(queue: Queue) -> None:
    await queue.send("a", "b")
    held = await queue.take(2)
    canceled: list[str] = []
    for delivery in held:
        delivery.cancel = lambda id_=delivery.message.id: canceled.append(id_)
    await queue.lose()
    await until(lambda: sorted(canceled) == ["a", "b"])
    a, b = held
    await queue.receiver.acknowledge([a])
    await queue.receiver.retry(b, 0, "late")
    await queue.receiver.dead_letter(b, "late")
    await queue.receiver.release([a, b])
    again = await queue.take(2)
    assert sorted(ids(again)) == ["a", "b"]
    assert {each.attempt for each in again} == {1}
    await queue.receiver.acknowledge(again)
    assert await queue.left() == 0


async def test_to_receive_connects_where_there_is_no_connection_and_what_was_held_before_is_not_settled(
    queue: Queue,
) -> None:
    await queue.send("a")
    (a,) = await queue.take(1)
    await queue.receiver.release([a])
    await queue.receiver.close()
    await queue.receiver.acknowledge([a])
    await queue.receiver.retry(a, 0, "closed")
    assert ids(await queue.take(1)) == ["a"]


async def test_what_is_held_stays_held_when_it_is_opened_again(queue: Queue) -> None:
    await queue.send("a", "b")
    a, b = await queue.take(2)
    await queue.receiver.open()
    await queue.receiver.acknowledge([a, b])
    assert await queue.left() == 0
    await queue.send("c")
    assert ids(await queue.take(1)) == ["c"]


async def test_a_consumer_settles_every_message(queue: Queue) -> None:
    """Through losses of what it holds."""
    await queue.send("never", *(f"m{n}" for n in range(50)))
    handled: dict[str, int] = {}

    async def handler(message: Message) -> None:
        handled[message.id] = handled.get(message.id, 0) + 1
        if message.id == "never":
            raise RejectedMessageError("malformed")
        if message.id == "m7" and handled["m7"] == 1:
            raise ValueError("once")
        await asyncio.sleep(0.001)
        if len(handled) == 25 and handled[message.id] == 1:
            await queue.lose()
            await asyncio.sleep(0.2)  # canceled meanwhile, with the delivery

    retries = Retries(first_delay_s=0.1)
    consumer = Consumer(queue.receiver, HandlerWork(handler, concurrency=5), Dependencies(Metrics()), retries=retries)
    running = asyncio.create_task(consumer.run())
    await until(lambda: len(handled) == 51 and handled["m7"] >= 2 and consumer.held == 0)
    assert await consumer.drain(10) == 0
    await running
    await queue.receiver.open()
    assert await queue.left() == 0
    assert set(await queue.dead()) == {"body of never"}, "again, if its acknowledgement was lost"
