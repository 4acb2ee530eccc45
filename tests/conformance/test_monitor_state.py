"""What is read about one monitor, and that it foretells what a hand-off does with its earlier task."""

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers import Outcome
from peekaping_producer.brokers.monitor_state import MonitorState, MonitorStateReader, TaskKind
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_harness import INTERVAL, AsynqHarness
from tests.kit.asynq_peer import ACTIVE, LEASE, PENDING, task_id, task_key
from tests.kit.clock import TEST_CLOCK

Make = Callable[[Redis, AsynqHarness], Awaitable[None]]


@pytest.fixture
def reader(redis: Redis) -> MonitorStateReader:
    return MonitorStateReader(redis, clock=TEST_CLOCK)


async def pending(redis: Redis, asynq: AsynqHarness) -> None:
    await asynq.run("before", "a", "behind")


async def put_back(redis: Redis, asynq: AsynqHarness) -> None:
    await taken(redis, asynq)
    await asynq.peer.requeue("a")


async def no_list(redis: Redis, asynq: AsynqHarness) -> None:
    await asynq.run("a")
    await redis.delete(PENDING)


async def taken(redis: Redis, asynq: AsynqHarness) -> None:
    await asynq.run("a")
    await asynq.take()


async def died_just_now(redis: Redis, asynq: AsynqHarness) -> None:
    await taken(redis, asynq)
    await asynq.clock.advance(59)


async def died(redis: Redis, asynq: AsynqHarness) -> None:
    await taken(redis, asynq)
    await asynq.clock.advance(61)


async def far_ahead(redis: Redis, asynq: AsynqHarness) -> None:
    await taken(redis, asynq)
    await redis.zadd(LEASE, {task_id("a"): asynq.now_s + 86_400})


async def orphan(redis: Redis, asynq: AsynqHarness) -> None:
    await redis.hset(task_key("a"), "state", "active")
    await redis.lpush(ACTIVE, task_id("a"))
    await redis.zadd(LEASE, {task_id("a"): asynq.now_s + 30})


async def archived(redis: Redis, asynq: AsynqHarness) -> None:
    await taken(redis, asynq)
    await asynq.peer.fail("a", asynq.now_s)


async def unknown_state(redis: Redis, asynq: AsynqHarness) -> None:
    await redis.hset(task_key("a"), "state", "aggregating")


async def no_hash(redis: Redis, asynq: AsynqHarness) -> None:
    await redis.set(task_key("a"), "no task")


EARLIER_TASKS: list[tuple[Make, TaskKind, str]] = [
    (pending, TaskKind.QUEUED, "pending"),
    (put_back, TaskKind.QUEUED, "pending"),
    (no_list, TaskKind.STUCK, "pending"),
    (taken, TaskKind.RUNNING, "active"),
    (died_just_now, TaskKind.RUNNING, "active"),
    (died, TaskKind.STUCK, "active"),
    (far_ahead, TaskKind.STUCK, "active"),
    (orphan, TaskKind.STUCK, "active"),
    (archived, TaskKind.STUCK, "archived"),
    (unknown_state, TaskKind.STUCK, "aggregating"),
    (no_hash, TaskKind.WRONG_TYPE, ""),
]


@pytest.mark.parametrize(("make", "kind", "state"), EARLIER_TASKS, ids=[each[0].__name__ for each in EARLIER_TASKS])
async def test_a_hand_off_does_what_was_foretold(
    redis: Redis, asynq: AsynqHarness, reader: MonitorStateReader, make: Make, kind: TaskKind, state: str
) -> None:
    await make(redis, asynq)
    read = await reader.read("a", INTERVAL)
    assert read.task is not None
    assert (read.task.kind, read.task.state) == (kind, state)
    assert (await asynq.run("a")).not_enqueued == {"a": read.task.kind.at_hand_off}


async def test_a_finished_task_is_none(asynq: AsynqHarness, reader: MonitorStateReader) -> None:
    await asynq.run("a")
    await asynq.take()
    await asynq.peer.finish("a")
    assert (await reader.read("a")).task is None
    assert Outcome.ENQUEUED not in (await asynq.run("a")).not_enqueued.values()


async def test_the_place_of_a_pending_task(redis: Redis, asynq: AsynqHarness, reader: MonitorStateReader) -> None:
    await asynq.run("first")
    began_ms = asynq.clock.now_ms
    await asynq.run("a")
    await asynq.run("behind")
    await asynq.clock.advance(5)
    task = (await reader.read("a")).task
    assert task is not None
    assert (task.position, task.pending_since_ms) == (2, began_ms)
    await redis.rpush(PENDING, *(f"other {n}" for n in range(10_000)))
    task = (await reader.read("a")).task
    assert task is not None
    assert (task.kind, task.position) == (TaskKind.QUEUED, None)


async def test_the_worker_that_runs_a_task_is_named(
    redis: Redis, asynq: AsynqHarness, reader: MonitorStateReader
) -> None:
    await taken(redis, asynq)
    for name, expires_s in (("gone:1:x", -1), ("host:7:y", 9)):
        await redis.zadd("asynq:servers", {f"asynq:servers:{{{name}}}": asynq.now_s + expires_s})
        await redis.hset(f"asynq:workers:{{{name}}}", task_id("a"), f"info of {name}")
    task = (await reader.read("a")).task
    assert task is not None
    assert (task.worker, task.worker_info) == ("host:7:y", b"info of host:7:y")
    assert task.lease_ends_s == asynq.now_s + 30


async def test_the_schedule_of_a_monitor(redis: Redis, asynq: AsynqHarness, reader: MonitorStateReader) -> None:
    now_ms = asynq.clock.now_ms
    tick = (now_ms // 60_000 + 1) * 60_000
    assert await reader.read("a", 60) == MonitorState(now_ms, None, None, None, False, False, tick, None)
    assert (await reader.read("a")).next_tick_ms is None
    claim = await asynq.claim("a")
    assert (await reader.read("a", 60)).token == float(claim.token)
    await asynq.schedule.give_back(claim, delay_s=30)
    read = await reader.read("a", 60)
    assert (read.due_ms, read.postponed, read.intended_ms) == (now_ms + 30_000.5, True, now_ms)
    await redis.zadd(KEYS.due, {"a": tick + 30_000})
    assert (await reader.read("a", 60)).misaligned
    assert not (await reader.read("a")).misaligned
    await redis.zadd(KEYS.due, {"a": tick})
    assert not (await reader.read("a", 60)).misaligned
