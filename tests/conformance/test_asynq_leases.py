"""Leases of the asynq receiver: extended, ended, and taken over from workers that died or froze."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.errors import BrokerRefusedError, BrokerUnavailableError
from peekaping_producer.transports.asynq.recoverer import LEASE_EXPIRED
from tests.kit.asynq_worker import ENDED_S, KEYS, RECOVERED_S, AsynqWorker, LostReplies, QueueView
from tests.kit.clock import Clock


async def test_a_lease_is_extended_as_long_as_it_holds(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, clock: Clock
) -> None:
    await queue.enqueue("a")
    delivery = await worker.dequeue_one()
    for _ in range(20):
        await clock.advance(25)
        await worker.leases.run_once()
        await other.recoverer.run_once()
    await worker.settler.finish([delivery])
    assert await queue.states() == {}


async def test_a_lease_that_has_ended_is_not_extended_and_its_handler_is_canceled(
    queue: QueueView, worker: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    await queue.enqueue("a", "b")
    slow, frozen = await worker.dequeue(2)
    canceled: list[str] = []
    slow.cancel = lambda: canceled.append("slow")
    frozen.cancel = lambda: canceled.append("frozen")
    worker.freeze()
    await clock.advance(ENDED_S)
    before = await redis.zscore(KEYS.lease, "a")
    await worker.leases.run_once()
    assert canceled == ["slow", "frozen"]
    assert await redis.zscore(KEYS.lease, "a") == before
    assert len(worker.held) == 0


async def test_the_own_clock_cancels_a_handler_also_if_redis_does_not_answer(
    queue: QueueView, redis: Redis, clock: Clock
) -> None:
    worker = AsynqWorker(redis, clock, scripts=LostReplies(redis, "extend", 100))
    await queue.enqueue("a")
    delivery = await worker.dequeue_one()
    canceled: list[bool] = []
    delivery.cancel = lambda: canceled.append(True)
    with pytest.raises(BrokerUnavailableError):
        await worker.leases.run_once()
    await clock.advance(29)
    await worker.leases.run_once()
    assert canceled == [True]


@pytest.mark.parametrize("end", ["finish", "complete", "retry", "archive", "requeue"])
async def test_a_frozen_worker_cannot_end_the_run_of_another(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis, clock: Clock, end: str
) -> None:
    await queue.enqueue("a", retry=5, retention=60 if end == "complete" else 0)
    frozen = await worker.dequeue_one()
    worker.freeze()
    await clock.advance(RECOVERED_S)
    await other.recoverer.run_once()
    await clock.advance(60)
    await other.forwarder.run_once()
    second = await other.dequeue_one()
    assert (frozen.attempt, second.attempt) == (1, 2)
    before = [await redis.zscore(KEYS.lease, "a"), await redis.hgetall(queue.key("a"))]
    assert worker.held.is_valid(frozen)
    match end:
        case "finish" | "complete":
            await worker.settler.finish([frozen])
        case "retry":
            await worker.settler.fail(frozen, "", 1)
        case "archive":
            await worker.settler.fail(frozen, "", None)
        case "requeue":
            await worker.settler.requeue([frozen])
    assert [await redis.zscore(KEYS.lease, "a"), await redis.hgetall(queue.key("a"))] == before
    assert await queue.states() == {"active": ["a"], "lease": ["a"]}
    await other.settler.finish([second])
    assert (await queue.states()).keys() <= {"completed"}


async def test_nothing_is_written_after_the_end_of_a_lease(queue: QueueView, worker: AsynqWorker, clock: Clock) -> None:
    await queue.enqueue("a", "b")
    by_own_clock, by_redis = await worker.dequeue(2)
    await clock.advance(ENDED_S)
    await worker.settler.finish([by_own_clock])
    worker.held.add(by_redis)
    by_redis.leased_until = 2**40
    await worker.settler.finish([by_redis])
    assert await queue.states() == {"active": ["a", "b"], "lease": ["a", "b"]}


@pytest.mark.parametrize("retry", [0, 3])
async def test_the_task_of_a_worker_that_was_killed_is_retried_or_archived_30_s_after_its_lease(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, clock: Clock, retry: int
) -> None:
    await queue.enqueue("a", "b", retry=retry)
    await worker.dequeue()
    await clock.advance(59)
    await other.recoverer.run_once()
    assert await queue.states() == {"active": ["a", "b"], "lease": ["a", "b"]}
    await clock.advance(1.5)
    await other.recoverer.run_once()
    assert (await queue.states()).keys() == {"retry" if retry else "archived"}
    message = await queue.message("a")
    assert (message.error_msg, message.retried) == (LEASE_EXPIRED, 1 if retry else 0)
    assert message.last_failed_at == clock.now_ms // 1000


async def test_an_active_task_without_a_lease_is_repaired(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis
) -> None:
    await queue.enqueue("held", "a", retry=1)
    await worker.dequeue()
    await redis.zrem(KEYS.lease, "a")
    await redis.lpush(KEYS.active, "without a task")
    await redis.zadd(KEYS.lease, {"stale": 1})
    await other.recoverer.run_once()
    assert await queue.states() == {"active": ["held"], "lease": ["held"], "retry": ["a"]}


async def test_many_are_recovered_in_several_calls_and_a_bad_one_does_not_stop_the_others(
    queue: QueueView, worker: AsynqWorker, other: AsynqWorker, redis: Redis, clock: Clock
) -> None:
    ids = [f"t{n:03d}" for n in range(230)]
    await queue.enqueue(*ids)
    await worker.dequeue(1000)
    await redis.hset(queue.key("t005"), "msg", b"\xff")
    await redis.set(KEYS.retry, "of another type")
    await queue.enqueue("refused", retry=1)
    await worker.dequeue()
    await clock.advance(RECOVERED_S)
    with pytest.raises(BrokerRefusedError):
        await other.recoverer.run_once()
    await redis.delete(KEYS.retry)
    states = await queue.states()
    assert states["active"] == ["refused"]
    assert sorted(states["archived"]) == ids
