"""Faults of the asynq receiver: bad entries, lost replies, refused calls, and a stop in between."""

import asyncio
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from peekaping_producer.errors import BrokerRefusedError, BrokerUnavailableError
from peekaping_producer.transports.asynq.calls import CALL_BYTES
from peekaping_producer.transports.asynq.dequeuing import DEADLINE_EXCEEDED
from peekaping_producer.transports.asynq.scripts import Scripts
from tests.kit.asynq_worker import (
    ENDED_S,
    KEYS,
    QUEUE,
    RECOVERED_S,
    AsynqWorker,
    LostReplies,
    QueueView,
)
from tests.kit.clock import TEST_CLOCK, Clock
from tests.kit.waiting import until


async def test_an_undecodable_message_is_archived_with_the_reason_and_its_bytes(
    queue: QueueView, worker: AsynqWorker, redis: Redis
) -> None:
    await queue.enqueue("a")
    await queue.enqueue_raw("bad", b"\xff\xff")
    await queue.enqueue("b")
    assert [each.message.id for each in await worker.dequeue()] == ["a", "b"]
    assert (await queue.states())["archived"] == ["bad"]
    message = await queue.message("bad")
    assert (message.payload, message.id, message.queue, message.type) == (b"\xff\xff", "bad", QUEUE, "undecodable")
    assert message.error_msg.startswith("task message: expected protobuf, got ")


async def test_an_id_without_a_task_is_dropped_and_makes_none(
    queue: QueueView, worker: AsynqWorker, redis: Redis
) -> None:
    await queue.enqueue("a")
    await redis.rpush(KEYS.pending, "no hash", "wrong type")
    await redis.set(queue.key("wrong type"), "text")
    assert [each.message.id for each in await worker.dequeue()] == ["a"]
    assert await queue.states() == {"active": ["a"], "lease": ["a"]}
    assert not await redis.exists(queue.key("no hash"))


async def test_an_id_that_is_twice_in_the_list_runs_once(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis
) -> None:
    await queue.enqueue("a")
    await redis.lpush(KEYS.pending, "a", "a")
    assert len(await worker.dequeue(2)) == 1
    assert await other.dequeue() == []
    assert await queue.states() == {"active": ["a"], "lease": ["a"]}


@pytest.mark.parametrize("key", [KEYS.active, KEYS.lease])
async def test_a_key_of_another_type_loses_no_task(
    queue: QueueView, worker: AsynqWorker, redis: Redis, key: str
) -> None:
    await queue.enqueue("a")
    await redis.set(key, "text")
    with pytest.raises(BrokerRefusedError):
        await worker.dequeue()
    await redis.delete(key)
    assert await queue.states() == {"pending": ["a"]}
    assert len(await worker.dequeue()) == 1


async def test_a_deadline_that_is_over_fails_before_the_start_and_the_others_limit_the_time(
    queue: QueueView, worker: AsynqWorker, clock: Clock
) -> None:
    now_s = clock.now_ms // 1000
    await queue.enqueue("over", deadline=now_s, timeout=0)
    await queue.enqueue("soon", deadline=now_s + 10, timeout=60)
    await queue.enqueue("timeout", deadline=now_s + 90, timeout=60)
    await queue.enqueue("neither", deadline=0, timeout=0)
    seconds = {each.message.id: round(each.timeout_s or 0, 2) for each in await worker.dequeue()}
    assert seconds == {"soon": 9.45, "timeout": 60, "neither": 1800}
    assert (await queue.states())["archived"] == ["over"]
    assert (await queue.message("over")).error_msg == DEADLINE_EXCEEDED


async def test_after_a_lost_reply_the_same_tasks_are_returned_and_no_others(
    queue: QueueView, redis: Redis, clock: Clock, other: AsynqWorker
) -> None:
    worker = AsynqWorker(redis, clock, scripts=LostReplies(redis, "dequeue", 2))
    await queue.enqueue("foreign", *"abcd")
    await other.dequeue(1)
    for _ in range(2):
        with pytest.raises(BrokerUnavailableError):
            await worker.dequeue(3)
        await clock.advance(20)
    assert [each.message.id for each in await worker.dequeue(2)] == ["a", "b"]
    assert [each.message.id for each in await worker.dequeue(2)] == ["c"]
    assert [each.message.id for each in await worker.dequeue(2)] == ["d"]
    await clock.advance(15)
    await worker.leases.run_once()
    assert len(worker.held) == 4


async def test_after_a_lost_reply_a_holder_with_the_same_token_keeps_its_tasks(
    queue: QueueView, redis: Redis, clock: Clock, other: AsynqWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet may have a thousand tokens, of a million."""
    monkeypatch.setattr("peekaping_producer.transports.asynq.dequeuing.new_token", lambda: 0.5)
    worker = AsynqWorker(redis, clock, scripts=LostReplies(redis, "dequeue", 1))
    await queue.enqueue("foreign", "own")
    await other.dequeue(1)
    with pytest.raises(BrokerUnavailableError):
        await worker.dequeue(5)
    assert [each.message.id for each in await worker.dequeue(5)] == ["own"]


async def test_the_bytes_of_a_batch_are_limited_but_not_those_of_a_single_task(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    ids = [f"{n}" for n in range(8)]
    await queue.enqueue(*ids[:4], payload=bytes(CALL_BYTES * 2 // 5), retention=60)
    await queue.enqueue("4", payload=bytes(CALL_BYTES + 1), retention=60)
    await queue.enqueue(*ids[5:], payload=b"", retention=60)
    batches = [await worker.dequeue() for _ in range(4)]
    assert [[each.message.id for each in batch] for batch in batches] == [
        ["0", "1"],
        ["2", "3"],
        ["4"],
        ["5", "6", "7"],
    ]
    await clock.advance(RECOVERED_S)
    await other.recoverer.run_once()
    assert sorted((await queue.states())["archived"]) == ids


async def test_large_tasks_are_completed_in_several_calls(queue: QueueView, worker: AsynqWorker) -> None:
    await queue.enqueue(*"abc", payload=bytes(CALL_BYTES * 2 // 3), retention=60)
    deliveries = [delivery for _ in range(3) for delivery in await worker.dequeue()]
    await worker.settler.finish(deliveries)
    assert await queue.states() == {"completed": ["a", "b", "c"]}
    assert (await queue.counters())["processed"] == 3


async def test_a_queue_that_redis_refuses_does_not_stop_the_others(redis: Redis, clock: Clock) -> None:
    worker = AsynqWorker(redis, clock, {"good": 1, "bad": 1})
    good, bad = QueueView(redis, "good"), QueueView(redis, "bad")
    await good.enqueue("a")
    await good.enqueue("b", retention=60)
    await bad.enqueue("c")
    deliveries = await worker.dequeue()
    await redis.set(bad.keys.active, "text")
    settling = asyncio.create_task(worker.settler.finish(sorted(deliveries, key=lambda each: each.queue)))

    async def others_ended() -> bool:
        return await good.states() == {"completed": ["b"]}

    await until(others_ended)
    await clock.advance(29)
    with pytest.raises(BrokerRefusedError):
        await settling


@pytest.mark.parametrize("end", ["finish", "complete", "retry", "archive", "requeue"])
async def test_a_lost_reply_of_an_end_is_repeated_and_counts_once(
    queue: QueueView, redis: Redis, clock: Clock, end: str
) -> None:
    scripts = LostReplies(redis, end, 2)
    worker = AsynqWorker(redis, clock, scripts=scripts)
    await queue.enqueue("a", retention=60 if end == "complete" else 0)
    delivery = await worker.dequeue_one()
    match end:
        case "finish" | "complete":
            await worker.settler.finish([delivery])
        case "retry":
            await worker.settler.fail(delivery, "", 1)
        case "archive":
            await worker.settler.fail(delivery, "", None)
        case "requeue":
            await worker.settler.requeue([delivery])
    state = {"finish": {}, "complete": {"completed": ["a"]}, "requeue": {"pending": ["a"]}}
    other = {"retry": "retry", "archive": "archived"}
    assert await queue.states() == (state[end] if end in state else {other[end]: ["a"]})
    assert (await queue.counters()).get("processed", 0) == (end != "requeue")
    assert scripts.left == 0


async def test_an_end_is_repeated_until_the_lease_ends_and_is_then_not_written(
    queue: QueueView, redis: Redis, clock: Clock
) -> None:
    scripts = LostReplies(redis, "finish", 1000, refused=True)
    worker = AsynqWorker(redis, clock, scripts=scripts)
    await queue.enqueue("a")
    delivery = await worker.dequeue_one()
    finishing = asyncio.create_task(worker.settler.finish([delivery]))
    await until(lambda: scripts.left <= 998)
    await worker.leases.run_once()
    await clock.advance(29)
    with pytest.raises(BrokerRefusedError):
        await finishing
    left, scripts.left = scripts.left, 0
    assert left > 900
    await worker.settler.finish([delivery])
    assert await queue.states() == {"active": ["a"], "lease": ["a"]}


async def test_one_task_that_redis_refuses_does_not_stop_the_others_of_a_batch(
    queue: QueueView, worker: AsynqWorker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.enqueue(*"abcdefgh")
    deliveries = await worker.dequeue()
    deliveries[3].task = msgspec.structs.replace(deliveries[3].task, unique_key=[])  # no argument of a command
    settling = asyncio.create_task(worker.settler.finish(deliveries))

    async def others_ended() -> bool:
        return await queue.states() == {"active": ["d"], "lease": ["d"]}

    await until(others_ended)
    await clock.advance(29)
    with pytest.raises(BrokerRefusedError):
        await settling


async def test_a_process_that_was_frozen_while_it_dequeued_does_not_start_what_others_may_have(
    queue: QueueView, redis: Redis, clock: Clock
) -> None:
    class Frozen(Scripts):
        async def run(self, name: str, *call: Any) -> Any:
            reply = await super().run(name, *call)
            if name == "dequeue":
                await clock.advance(ENDED_S)
            return reply

    worker = AsynqWorker(redis, clock, scripts=Frozen(redis, TEST_CLOCK))
    await queue.enqueue("a")
    assert await worker.dequeue() == []
    assert await queue.states() == {"active": ["a"], "lease": ["a"]}


async def test_what_was_dequeued_and_not_received_is_put_back(queue: QueueView, redis: Redis, clock: Clock) -> None:
    worker = AsynqWorker(redis, clock, scripts=LostReplies(redis, "dequeue", 1))
    await queue.enqueue("a", "b")
    with pytest.raises(BrokerUnavailableError):
        await worker.dequeue(1)
    await worker.dequeuer.put_back()
    assert await queue.states() == {"pending": ["a", "b"]}


async def test_tasks_of_a_call_that_was_canceled_are_put_back(queue: QueueView, redis: Redis, clock: Clock) -> None:
    began = asyncio.Event()

    class Slow(Scripts):
        async def run(self, name: str, *call: Any) -> Any:
            reply = await super().run(name, *call)
            if not began.is_set():
                began.set()
                await asyncio.sleep(60)
            return reply

    worker = AsynqWorker(redis, clock, scripts=Slow(redis, TEST_CLOCK))
    await queue.enqueue("a", "b")
    receiving = asyncio.create_task(worker.dequeue(2))
    await began.wait()
    receiving.cancel()
    await asyncio.wait([receiving])
    assert await queue.states() == {"active": ["a", "b"], "lease": ["a", "b"]}
    await worker.dequeuer.put_back()
    assert await queue.states() == {"pending": ["a", "b"]}
