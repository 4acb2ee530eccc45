"""The consumer of messages on an asynq queue: what becomes of each task, and what a stop leaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.errors import RejectedMessageError
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.handlers import HandlerWork
from peekaping_producer.messages.retries import Retries
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.targets import RedisTarget
from peekaping_producer.transports.asynq.publisher import AsynqPublisher
from peekaping_producer.transports.asynq.receiver import AsynqReceiver
from peekaping_producer.transports.message import Message
from tests.kit.asynq_worker import QUEUE, QueueView
from tests.kit.redis import target_of
from tests.kit.waiting import until

Handle = Callable[[Message], Awaitable[None]]


@asynccontextmanager
async def consuming(target: RedisTarget, handle: Handle) -> AsyncIterator[Consumer]:
    dependencies = Dependencies(Metrics())
    receiver = AsynqReceiver(target, {QUEUE: 1}, dependencies=dependencies)
    consumer = Consumer(receiver, HandlerWork(handle, concurrency=20), dependencies, retries=Retries(first_delay_s=600))
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        running.cancel()
        await asyncio.wait([running])


async def publish(target: RedisTarget, *ids: str) -> None:
    publisher = AsynqPublisher(target, queue=QUEUE, task_type="t", retries=1)
    assert (await publisher.publish([Message(task_id, b"body") for task_id in ids])).settled == len(ids)
    await publisher.close()


async def test_tasks_are_handled_retried_archived_and_released_at_the_stop(
    redis: Redis, redis_server: RedisTarget
) -> None:
    handled: set[str] = set()
    hangs = asyncio.Event()

    async def handle(message: Message) -> None:
        if message.id == "fails":
            raise ValueError("no answer")
        if message.id == "rejected":
            raise RejectedMessageError("of no use")
        if message.id == "hangs":
            hangs.set()
            await asyncio.sleep(3600)
        handled.add(message.id)

    ids = [f"{n:03d}" for n in range(200)]
    await publish(redis_server, "fails", "rejected", "hangs", *ids)
    queue = QueueView(redis)

    async def only_one_runs() -> bool:
        states = await queue.states()
        return hangs.is_set() and "pending" not in states and states["active"] == ["hangs"]

    async with consuming(redis_server, handle):
        await until(only_one_runs)
    assert handled == set(ids)
    assert await queue.states() == {"retry": ["fails"], "archived": ["rejected"], "pending": ["hangs"]}
    assert "no answer" in (await queue.message("fails")).error_msg


async def test_an_outage_of_redis_ends_no_run_and_its_end_is_written_afterwards(private_redis: RedisServer) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def handle(message: Message) -> None:
        began.set()
        await goes_on.wait()

    target = target_of(private_redis)
    await publish(target, "a")
    async with consuming(target, handle) as consumer:
        await began.wait()
        async with Redis(port=private_redis.port) as client:
            await client.client_kill_filter(_type="normal", skipme=True)
            await client.client_pause(1500)
            goes_on.set()
            await until(lambda: consumer.held == 0)
            assert await QueueView(client).states() == {}
