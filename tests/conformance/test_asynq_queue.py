"""The state of asynq's queue: the leader's sweep, depths, ages, tasks that workers do not complete."""

import os
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers import Outcome
from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_harness import AsynqHarness
from tests.kit.asynq_peer import ACTIVE, ARCHIVED, LEASE, PENDING, task_id, task_key
from tests.kit.asynq_worker import AsynqWorker


async def test_the_sweep_removes_entries_without_a_task_and_second_entries(redis: Redis, asynq: AsynqHarness) -> None:
    assert await asynq.broker.sweep() == (0, 0)
    ids = [f"m{n}" for n in range(1200)]
    await redis.zadd(KEYS.due, dict.fromkeys(ids[:600], asynq.clock.now_ms))
    await asynq.run("first")
    await asynq.run(*ids[600:])
    before = await asynq.pending()
    await redis.rpush(PENDING, task_id("ghost"))
    await redis.lpush(PENDING, task_id("ghost"), task_id("m3"), task_id("m700"))
    assert await asynq.broker.sweep() == (2, 2)
    assert await asynq.pending() == before
    assert await asynq.broker.sweep() == (0, 0)


@pytest.mark.usefixtures("small_arguments")
async def test_an_entry_too_large_for_an_argument_does_not_stop_the_sweep(redis: Redis, asynq: AsynqHarness) -> None:
    await asynq.run("a")
    await redis.lpush(PENDING, "gone")
    await redis.eval(f"redis.call('LPUSH', '{PENDING}', string.rep('x', 1200000))", 0)
    assert await asynq.broker.sweep() == (1, 0)


async def test_inspect_returns_the_state_of_the_queue(redis: Redis, asynq: AsynqHarness) -> None:
    empty = await asynq.broker.inspect()
    assert (empty.depths["pending"], empty.oldest_pending_s, empty.paused, empty.servers) == (0, None, False, 0)
    await asynq.run("a")
    await asynq.clock.advance(7)
    await asynq.run("b", "c")
    await redis.set("asynq:{healthcheck}:paused", 1)
    await redis.zadd("asynq:servers", {"alive": asynq.now_s + 5, "gone": asynq.now_s - 5})
    queue = await asynq.broker.inspect()
    assert (queue.depths["pending"], queue.oldest_pending_s, queue.paused, queue.servers) == (3, 7.0, True, 1)
    await asynq.take()
    assert (await asynq.broker.inspect()).depths["active"] == 1


async def put_back(asynq: AsynqHarness, *ids: str) -> None:
    """Enqueue tasks; a worker takes all and puts them back when it stops."""
    await asynq.run(*ids)
    await asynq.take(len(ids))
    for monitor_id in ids:
        await asynq.peer.requeue(monitor_id)


async def test_a_task_that_a_worker_put_back_has_an_age_from_its_next_tick_on(
    redis: Redis, asynq: AsynqHarness
) -> None:
    """asynq pushes it to the end that is served first, without a time: more of them than the age is read from."""
    ids = [f"m{n}" for n in range(250)]
    await put_back(asynq, *ids)
    assert (await asynq.broker.inspect()).oldest_pending_s is None
    await asynq.clock.advance(60)
    assert set((await asynq.run(*ids)).not_enqueued.values()) == {Outcome.OVERLAP}
    await asynq.clock.advance(61)
    await asynq.run(*ids)
    assert (await asynq.broker.inspect()).oldest_pending_s == 61
    task = await redis.hgetall(task_key("m0"))
    assert set(task) == {b"msg", b"state", b"pending_since"}
    assert task[b"state"] == b"pending"


async def test_a_task_that_was_put_back_is_as_old_as_the_oldest_behind_it(redis: Redis, asynq: AsynqHarness) -> None:
    """The order of the times stays that of the list, so that a task in it is recognized without a search."""
    await put_back(asynq, "a")
    await asynq.run("b")
    await asynq.clock.advance(60)
    await asynq.run("a")
    assert await redis.hget(task_key("a"), "pending_since") == await redis.hget(task_key("b"), "pending_since")
    assert (await asynq.broker.inspect()).oldest_pending_s == 60


@pytest.mark.parametrize("since", ["1900000000000000000000", "ahead", "nan", "inf", "-1", "1e18", "", "0x10"])
async def test_a_time_that_is_none_or_lies_in_the_future_is_ignored_and_replaced(
    redis: Redis, asynq: AsynqHarness, since: str
) -> None:
    if since == "ahead":
        since = str((asynq.clock.now_ms + 3_600_000) * 1_000_000)
    await asynq.run("a")
    await asynq.run("b")
    for task in ("a", "foreign"):
        await redis.hset(task_key(task), "pending_since", since)
    await redis.rpush(PENDING, task_id("foreign"))
    await asynq.clock.advance(60)
    assert (await asynq.broker.inspect()).oldest_pending_s == 60
    assert set((await asynq.run("a", "b")).not_enqueued.values()) == {Outcome.OVERLAP}
    assert await redis.hget(task_key("a"), "pending_since") == await redis.hget(task_key("b"), "pending_since")
    assert await redis.hget(task_key("foreign"), "pending_since") == since.encode()


async def test_the_age_is_read_behind_many_foreign_tasks_and_else_the_next_task_is_named(
    redis: Redis, asynq: AsynqHarness
) -> None:
    await asynq.run("a")
    await asynq.clock.advance(7)
    await redis.rpush(PENDING, *(f"foreign{n}" for n in range(199)))
    queue = await asynq.broker.inspect()
    assert (queue.oldest_pending_s, queue.next_task) == (7, "foreign198")
    await redis.rpush(PENDING, "one more")
    queue = await asynq.broker.inspect()
    assert (queue.oldest_pending_s, queue.next_task) == (None, "one more")


async def hang(asynq: AsynqHarness) -> None:
    """The worker renews its leases, and nothing else."""
    for task in await asynq.redis.zrange(LEASE, 0, -1):
        await asynq.peer.extend(task.decode().removeprefix("healthcheck:"), asynq.now_s)


async def crash(asynq: AsynqHarness) -> None:
    """The worker died and another one took the task. asynq's recoverer has not seen it."""


async def recover(asynq: AsynqHarness) -> None:
    """asynq's recoverer archives what a worker that died had taken."""
    await asynq.peer.recover(asynq.now_s)


async def fail(asynq: AsynqHarness) -> None:
    """Each task ends with an error: a handler that fails, or runs into the timeout."""
    for task in await asynq.redis.lrange(ACTIVE, 0, -1):
        await asynq.peer.fail(task.decode().removeprefix("healthcheck:"), asynq.now_s)


async def take_all(asynq: AsynqHarness) -> None:
    while await asynq.peer.dequeue(asynq.now_s):
        pass


@pytest.mark.parametrize("misbehave", [hang, crash, recover, fail])
async def test_tasks_that_workers_take_and_do_not_complete_are_counted(
    redis: Redis, asynq: AsynqHarness, misbehave: Callable[[AsynqHarness], Awaitable[None]]
) -> None:
    ids = ["a", "b", "c"]
    await asynq.run(*ids)
    counts, overlaps = [], []
    for _ in range(6):
        await take_all(asynq)
        await misbehave(asynq)
        counts.append((await asynq.broker.inspect()).uncompleted)
        await asynq.clock.advance(61)
        await misbehave(asynq)
        overlaps.append((await asynq.run(*ids)).overlaps)
    assert counts == [0, 0, 0, 0, 0, 3]
    assert overlaps == [{}, {}, {}, {}, dict.fromkeys(ids, 5), dict.fromkeys(ids, 6)]
    await take_all(asynq)
    assert (await asynq.broker.inspect()).uncompleted_s > 60
    for task in await redis.lrange(ACTIVE, 0, -1):
        await asynq.peer.finish(task.decode().removeprefix("healthcheck:"))
    await asynq.run(*ids)
    await take_all(asynq)
    queue = await asynq.broker.inspect()
    assert (queue.uncompleted, queue.uncompleted_s) == (0, 0)


async def test_a_check_that_overlaps_five_short_ticks_is_not_uncompleted_yet(asynq: AsynqHarness) -> None:
    claim = await asynq.claim("a")
    for _ in range(8):
        await asynq.broker.hand_off(claim, [HealthCheckTask("a", 2, 16, b"{}")])
        await take_all(asynq)
        await asynq.clock.advance(2)
        claim = await asynq.schedule.claim(1000)
    assert (await asynq.broker.inspect()).uncompleted == 0


async def test_the_number_of_many_uncompleted_tasks_is_estimated_from_all_parts_of_the_list(
    redis: Redis, asynq: AsynqHarness
) -> None:
    since = str((asynq.clock.now_ms - 90_000) * 1_000_000)
    for n in range(1000):
        await redis.lpush(ACTIVE, task_id(f"m{n}"))
        if n < 500:
            fields = {"peekaping:overlaps": "5", "peekaping:uncompleted_since": since}
            await redis.hset(task_key(f"m{n}"), mapping=fields)
    queue = await asynq.broker.inspect()
    assert (queue.uncompleted, queue.uncompleted_s) == (500, 90)


async def test_a_task_that_failed_long_ago_is_not_counted(redis: Redis, asynq: AsynqHarness) -> None:
    """Its monitor may have been deleted, so that no tick replaces it."""
    fields = {"peekaping:overlaps": "5", "peekaping:uncompleted_since": "1"}
    await redis.hset(task_key("a"), mapping=fields)
    await redis.zadd(ARCHIVED, {task_id("a"): asynq.now_s})
    assert (await asynq.broker.inspect()).uncompleted == 1
    await asynq.clock.advance(601)
    assert (await asynq.broker.inspect()).uncompleted == 0


async def test_a_key_of_the_queue_that_cannot_be_read_is_reported(redis: Redis, broker: AsynqBroker) -> None:
    await redis.set(PENDING, "not a list")
    queue = await broker.inspect()
    assert len(queue.problems) == 1
    assert PENDING in queue.problems[0]


async def test_inspect_returns_the_worker_processes_and_what_they_finished(redis: Redis, asynq: AsynqHarness) -> None:
    before = await asynq.broker.inspect()
    assert (before.workers, before.processed, before.results_pending, before.results_oldest_s) == ((), 0, 0, None)
    worker = AsynqWorker(redis, asynq.clock, {"healthcheck": 3, "ingester": 1})
    worker.registration.concurrency = 128
    await worker.registration.run_once()
    await redis.zadd(
        "asynq:servers", {"asynq:servers:{malformed}": asynq.now_s + 5, "asynq:servers:{gone}": asynq.now_s}
    )
    await redis.set("asynq:servers:{malformed}", b"\x22\xff")
    await redis.set("asynq:{healthcheck}:processed", 41)
    await redis.hset("asynq:{ingester}:t:r1", "pending_since", (asynq.clock.now_ms - 7000) * 1_000_000)
    await redis.lpush("asynq:{ingester}:pending", "r1", "r2")
    queue = await asynq.broker.inspect()
    (info,) = queue.workers
    assert (info.pid, info.concurrency, set(info.queues)) == (os.getpid(), 128, {"healthcheck", "ingester"})
    assert (info.status, info.active) == ("active", 0)
    assert (queue.processed, queue.results_pending, queue.results_oldest_s) == (41, 2, 7.0)
    await redis.set("asynq:{healthcheck}:processed", "9" * 400)
    assert (await asynq.broker.inspect()).processed is None


async def test_what_is_only_shown_of_the_queue_is_no_problem_if_it_cannot_be_read(
    redis: Redis, asynq: AsynqHarness
) -> None:
    await redis.set("asynq:servers", "x")
    await redis.lpush("asynq:{healthcheck}:processed", "x")
    await redis.set("asynq:{ingester}:pending", "x")
    queue = await asynq.broker.inspect()
    assert (queue.problems, queue.workers, queue.processed, queue.results_pending) == ((), (), None, 0)
