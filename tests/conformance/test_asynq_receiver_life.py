"""The asynq receiver as a whole: waiting, outages, stop, and the death of a background part."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.errors import BrokerUnavailableError, TaskDiedError
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.targets import RedisTarget
from peekaping_producer.transports.asynq.forwarder import Forwarder
from peekaping_producer.transports.asynq.keys import SERVERS
from peekaping_producer.transports.asynq.receiver import AsynqReceiver
from tests.kit.asynq_worker import KEYS, QUEUE, QueueView
from tests.kit.redis import target_of
from tests.kit.waiting import until


def receiver_on(target: RedisTarget) -> AsynqReceiver:
    return AsynqReceiver(target, {QUEUE: 1, "other": 2}, dependencies=Dependencies(Metrics()))


@pytest_asyncio.fixture
async def receiver(redis: Redis, redis_server: RedisTarget) -> AsyncIterator[AsynqReceiver]:
    receiver = receiver_on(redis_server)
    await receiver.open()
    yield receiver
    await receiver.close()


async def test_receive_waits_for_a_task(receiver: AsynqReceiver, redis: Redis) -> None:
    receiving = asyncio.create_task(receiver.receive(5))
    session = await receiver._opened()
    await until(lambda: session.registration.concurrency == 5)
    await QueueView(redis).enqueue("a")
    (delivery,) = await receiving
    await receiver.acknowledge([delivery])
    assert await QueueView(redis).states() == {}


async def test_the_background_parts_run(
    redis: Redis, redis_server: RedisTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Forwarder, "every_s", 0.05)
    receiver = receiver_on(redis_server)
    await receiver.open()
    queue = QueueView(redis)
    await queue.enqueue("a")
    (delivery,) = await receiver.receive(1)
    await receiver.retry(delivery, 0, "")

    async def is_pending_again() -> bool:
        return await queue.states() == {"pending": ["a"]} and await redis.zcard(SERVERS) == 1

    await until(is_pending_again)
    await receiver.close()


async def test_a_receive_that_is_canceled_loses_nothing(receiver: AsynqReceiver, redis: Redis) -> None:
    queue = QueueView(redis)
    ids = [f"{n:03d}" for n in range(40)]
    await queue.enqueue(*ids)
    received: list[str] = []
    for turns in range(20):
        receiving = asyncio.create_task(receiver.receive(1))
        for _ in range(turns):
            await asyncio.sleep(0)
        receiving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            received += [delivery.message.id for delivery in await receiving]
    await receiver.close()
    states = await queue.states()
    assert sorted(states["pending"] + states.get("active", [])) == ids
    assert states.get("active", []) == received


async def test_what_is_held_at_the_end_keeps_its_lease(receiver: AsynqReceiver, redis: Redis) -> None:
    await QueueView(redis).enqueue("a")
    await receiver.receive(1)
    await receiver.close()
    assert await QueueView(redis).states() == {"active": ["a"], "lease": ["a"]}
    assert await redis.zcard(SERVERS) == 0
    await receiver.close()


async def test_an_outage_is_an_error_and_afterwards_the_same_receiver_works(private_redis: RedisServer) -> None:
    receiver = receiver_on(target_of(private_redis))
    await receiver.open()
    await private_redis.stop(kill=True)
    with pytest.raises(BrokerUnavailableError):
        await receiver.receive(1)
    await private_redis.start()
    async with Redis(port=private_redis.port) as client:
        await QueueView(client).enqueue("a")
    (delivery,) = await receiver.receive(1)
    await receiver.acknowledge([delivery])
    await private_redis.stop()
    async with asyncio.timeout(60):
        await receiver.close()


async def test_a_background_part_that_dies_ends_the_consumer(receiver: AsynqReceiver, redis: Redis) -> None:
    """Without it, leases would not be extended, for example."""
    await receiver.close()
    await receiver.open()
    session = await receiver._opened()
    session.leases.every_s = 0

    async def fail() -> None:
        raise ZeroDivisionError

    session.leases.run_once = fail  # type: ignore[method-assign]
    with pytest.raises(TaskDiedError, match=r"^asynq.leases: ZeroDivisionError$"):
        await receiver.receive(1)
    assert await redis.exists(KEYS.pending) == 0


async def test_a_full_redis_lets_tasks_be_dequeued_and_ended(private_redis: RedisServer, server: Redis) -> None:
    queue = QueueView(server)
    await queue.enqueue(*"abcd", retry=1)
    receiver = receiver_on(target_of(private_redis))
    await receiver.open()
    session = await receiver._opened()
    await until(lambda: session.registration.loop.stalled_s == 0)
    await server.config_set("maxmemory", 1)
    with pytest.raises(ResponseError, match="maxmemory"):
        await Redis(port=private_redis.port).lpush("test:list", "x")
    finished, retried, dead, released = await receiver.receive(4)
    await receiver.acknowledge([finished])
    await receiver.retry(retried, 100, "")
    await receiver.dead_letter(dead, "")
    await receiver.release([released])
    await receiver.close()
    assert await queue.states() == {"pending": ["d"], "retry": ["b"], "archived": ["c"]}


async def test_tasks_that_are_not_the_oldest_are_finished_alone(receiver: AsynqReceiver, redis: Redis) -> None:
    queue = QueueView(redis)
    await queue.enqueue(*"abcdef")
    a, b, c, d, e, f = await receiver.receive(6)
    await receiver.acknowledge([b, d])
    assert (await queue.states())["active"] == ["a", "c", "e", "f"]
    await receiver.acknowledge([c, a])
    assert (await queue.states())["active"] == ["e", "f"]
    await receiver.acknowledge([e, f])
    assert await queue.states() == {}
