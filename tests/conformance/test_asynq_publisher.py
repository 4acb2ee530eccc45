"""The asynq publisher on a real server."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.errors import BrokerRefusedError, BrokerUnavailableError
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.targets import RedisTarget
from peekaping_producer.transports.asynq.calls import CALL_BYTES, LARGE_BYTES
from peekaping_producer.transports.asynq.publisher import AsynqPublisher, Encoded
from peekaping_producer.transports.asynq.scripts import Scripts
from peekaping_producer.transports.asynq.task_message import TaskMessage
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import PublishResult
from tests.kit.asynq_worker import KEYS, QUEUE, QueueView
from tests.kit.redis import target_of


@pytest_asyncio.fixture
async def publisher(redis: Redis, redis_server: RedisTarget) -> AsyncIterator[AsynqPublisher]:
    publisher = AsynqPublisher(redis_server, queue=QUEUE, task_type="t", retries=3, timeout_s=7, retention_s=9)
    await publisher.open()
    yield publisher
    await publisher.close()


def messages(*ids: str, body: bytes = b"body") -> list[Message]:
    return [Message(each, body) for each in ids]


async def test_messages_become_pending_tasks_in_their_order(publisher: AsynqPublisher, redis: Redis) -> None:
    assert await publisher.publish(messages(*"cab")) == PublishResult(3)
    queue = QueueView(redis)
    assert await queue.states() == {"pending": ["c", "a", "b"]}
    assert await queue.message("a") == TaskMessage("t", b"body", "a", QUEUE, retry=3, timeout=7, retention=9)
    fields = await redis.hgetall(queue.key("a"))
    seconds, _ = await redis.time()
    assert fields[b"state"] == b"pending"
    assert abs(int(fields[b"pending_since"]) / 1e9 - seconds) < 60
    assert await redis.smembers("asynq:queues") == {QUEUE.encode()}


async def test_a_repeated_id_is_confirmed_and_counted_and_makes_no_second_task(
    publisher: AsynqPublisher, redis: Redis
) -> None:
    await publisher.publish(messages("a", "b", "a"))
    assert await publisher.publish(messages("b", "c", body=b"another")) == PublishResult(2)
    assert publisher.duplicates == 2
    assert await QueueView(redis).states() == {"pending": ["a", "b", "c"]}
    assert (await QueueView(redis).message("b")).payload == b"body"


async def test_an_unusable_id_is_refused_alone(publisher: AsynqPublisher, redis: Redis) -> None:
    result = await publisher.publish(messages("a", "", "é" * 128, "b"))
    assert result.settled == 4
    assert result.refused == {n: f"id: expected 1 to 255 bytes in UTF-8, got {size}" for n, size in ((1, 0), (2, 256))}
    assert await QueueView(redis).states() == {"pending": ["a", "b"]}


async def test_many_and_large_messages_keep_their_order(publisher: AsynqPublisher, redis: Redis) -> None:
    many = [Message(f"{n:04d}", bytes(100_000 if n % 3 else 1)) for n in range(60)]
    many[20:20] = [Message("large 1", bytes(LARGE_BYTES)), Message("large 2", bytes(CALL_BYTES))]
    many += messages(*(f"small {n:04d}" for n in range(1500)))
    assert await publisher.publish(many) == PublishResult(len(many))
    assert await QueueView(redis).states() == {"pending": [each.id for each in many]}


async def test_nothing_is_an_empty_result(publisher: AsynqPublisher) -> None:
    assert await publisher.publish([]) == PublishResult(0)


async def test_a_message_that_redis_does_not_accept_is_refused_alone(private_redis: RedisServer) -> None:
    target = target_of(private_redis)
    async with redis_for(target, connections=2) as redis:
        await redis.config_set("proto-max-bulk-len", 1024 * 1024)
        publisher = AsynqPublisher(target, queue=QUEUE, task_type="t")
        await publisher.open()
        batch = [*messages("a"), Message("b", bytes(1024 * 1024)), *messages("c")]
        result = await publisher.publish(batch)
        await publisher.close()
        assert result.settled == 3
        assert result.refused == {1: "1049 kB is more than Redis or a proxy accepts; raise proto-max-bulk-len"}
        assert await QueueView(redis).states() == {"pending": ["a", "c"]}


async def test_an_error_in_the_middle_ends_the_result_and_one_at_the_beginning_is_raised(
    publisher: AsynqPublisher, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peekaping_producer.transports.asynq.calls.MAX_PER_CALL", 2)
    call, calls = publisher._call, 0

    async def second_fails(scripts: Scripts, tasks: list[Encoded]) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise BrokerUnavailableError("Redis: connection reset")
        await call(scripts, tasks)

    monkeypatch.setattr(publisher, "_call", second_fails)
    assert await publisher.publish(messages("", *"abcd", "")) == PublishResult(
        3, {0: "id: expected 1 to 255 bytes in UTF-8, got 0"}
    )
    calls = 1
    with pytest.raises(BrokerUnavailableError):
        await publisher.publish(messages("c", "d"))
    assert await QueueView(redis).states() == {"pending": ["a", "b"]}


async def test_a_queue_of_another_type_refuses_and_leaves_nothing(publisher: AsynqPublisher, redis: Redis) -> None:
    await redis.set(KEYS.pending, "text")
    with pytest.raises(BrokerRefusedError, match="WRONGTYPE"):
        await publisher.publish(messages("a"))
    assert not await redis.exists(QueueView(redis).key("a"))


async def test_a_server_that_is_away_is_unavailable_and_the_publisher_connects_again(
    private_redis: RedisServer,
) -> None:
    publisher = AsynqPublisher(target_of(private_redis), queue=QUEUE, task_type="t")
    assert await publisher.publish(messages("a")) == PublishResult(1)
    await publisher.open()
    await private_redis.stop()
    with pytest.raises(BrokerUnavailableError):
        await publisher.open()
    with pytest.raises(BrokerUnavailableError):
        await publisher.publish(messages("a"))
    await publisher.close()
    with pytest.raises(BrokerUnavailableError):
        await publisher.open()
    await private_redis.start()
    assert await publisher.publish(messages("a", "b")) == PublishResult(2)
    await publisher.close()
