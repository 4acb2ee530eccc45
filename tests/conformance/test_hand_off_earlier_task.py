"""Hand-off of a monitor whose earlier task still exists, in every state that asynq may leave it in."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers import HandOff, Outcome
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_harness import AsynqHarness
from tests.kit.asynq_peer import ACTIVE, ARCHIVED, COMPLETED, LEASE, PENDING, task_id, task_key


async def test_a_pending_task_keeps_its_place_and_gets_the_fresh_payload(redis: Redis, asynq: AsynqHarness) -> None:
    await asynq.run("old", text="1")
    since = await redis.hget(task_key("old"), "pending_since")
    await asynq.clock.advance(60)
    handed = await asynq.run("old", "new", text="2")
    assert handed.not_enqueued == {"old": Outcome.OVERLAP}
    assert await asynq.pending() == ["old", "new"]
    assert await asynq.payload("old") == b"2"
    assert await redis.hget(task_key("old"), "pending_since") == since
    assert await asynq.is_rescheduled("old", "new")


async def test_a_running_task_is_left_alone(asynq: AsynqHarness) -> None:
    await asynq.run("a", text="1")
    await asynq.take()
    await asynq.clock.advance(59)  # its lease ended 29 s ago, by a clock that may be 30 s wrong
    handed = await asynq.run("a", text="2")
    assert handed.not_enqueued == {"a": Outcome.OVERLAP}
    assert await asynq.pending() == []
    assert await asynq.payload("a") == b"1"
    assert await asynq.is_rescheduled("a")


async def test_a_finished_task_frees_its_id_for_the_next_tick(asynq: AsynqHarness) -> None:
    await asynq.run("a")
    await asynq.take()
    await asynq.peer.finish("a")
    await asynq.clock.advance(60)
    assert (await asynq.run("a")).not_enqueued == {}
    assert await asynq.pending() == ["a"]


async def assert_replaced(redis: Redis, asynq: AsynqHarness, monitor_id: str = "a") -> HandOff:
    handed = await asynq.run(monitor_id, text="fresh")
    assert handed.not_enqueued == {monitor_id: Outcome.REPLACED}
    assert await asynq.pending() == [monitor_id]
    assert await asynq.payload(monitor_id) == b"fresh"
    task = await redis.hgetall(task_key(monitor_id))
    assert task[b"state"] == b"pending"
    assert b"pending_since" in task
    assert b"unique_key" not in task
    assert await redis.lrange(ACTIVE, 0, -1) == []
    for key in (LEASE, ARCHIVED, COMPLETED):
        assert await redis.zcard(key) == 0
    assert await asynq.is_rescheduled(monitor_id)
    return handed


@pytest.mark.parametrize(
    ("lease_s", "later_s"),
    [(None, 0), (30, 60.001), (86_400, 60)],
    ids=["no lease", "a lease that ended half a minute ago", "a lease by a clock that was a day ahead"],
)
async def test_an_active_task_that_no_worker_holds_is_replaced(
    redis: Redis, asynq: AsynqHarness, lease_s: float | None, later_s: float
) -> None:
    await asynq.run("a")
    await asynq.take()
    await redis.zrem(LEASE, task_id("a"))
    if lease_s is not None:
        await redis.zadd(LEASE, {task_id("a"): asynq.now_s + lease_s})
    await asynq.clock.advance(later_s)
    await assert_replaced(redis, asynq)


async def test_an_archived_task_is_replaced(redis: Redis, asynq: AsynqHarness) -> None:
    await asynq.run("a")
    await redis.hset(task_key("a"), "unique_key", "a Go producer's")
    await asynq.take()
    await asynq.peer.fail("a", asynq.now_s)
    await assert_replaced(redis, asynq)


async def test_an_active_task_without_message_is_replaced(redis: Redis, asynq: AsynqHarness) -> None:
    """asynq makes this of an entry in the list that has no task."""
    await redis.hset(task_key("a"), "state", "active")
    await redis.lpush(ACTIVE, task_id("a"))
    await redis.zadd(LEASE, {task_id("a"): asynq.now_s + 30})
    await assert_replaced(redis, asynq)


@pytest.mark.parametrize("state", ["completed", "retry", "scheduled", "aggregating", "nonsense", None])
async def test_a_task_in_any_other_state_is_replaced(redis: Redis, asynq: AsynqHarness, state: str | None) -> None:
    if state in ("completed", "retry", "scheduled"):
        await redis.zadd(f"asynq:{{healthcheck}}:{state}", {task_id("a"): 1})
    await redis.hset(task_key("a"), mapping={"state": state} if state else {"result": "?"})
    await assert_replaced(redis, asynq)
    for name in ("retry", "scheduled"):
        assert await redis.zcard(f"asynq:{{healthcheck}}:{name}") == 0


async def test_a_pending_task_that_is_in_no_list_is_replaced(redis: Redis, asynq: AsynqHarness) -> None:
    await asynq.run("a")
    await redis.delete(PENDING)
    await asynq.clock.advance(60)
    await assert_replaced(redis, asynq)


async def test_many_pending_tasks_that_are_in_no_list_are_all_found(redis: Redis, asynq: AsynqHarness) -> None:
    lost = [f"lost{n}" for n in range(50)]
    await asynq.run(*lost)
    await redis.delete(PENDING)
    await asynq.clock.advance(1)
    queued = [f"queued{n}" for n in range(50)]
    await asynq.run(*queued)
    await asynq.clock.advance(60)
    await redis.zadd(KEYS.due, dict.fromkeys([*lost, *queued], asynq.clock.now_ms))
    handed = await asynq.run("x")
    outcomes = dict.fromkeys(lost, Outcome.REPLACED) | dict.fromkeys(queued, Outcome.OVERLAP)
    assert handed.not_enqueued == outcomes
    assert sorted(await asynq.pending()) == sorted([*outcomes, "x"])


async def test_a_task_that_a_consumer_put_back_is_recognized(redis: Redis, asynq: AsynqHarness) -> None:
    """It is at the end that is served first, without pending_since."""
    await asynq.run("a")
    await asynq.take()
    await asynq.clock.advance(1)
    await asynq.run("b")
    await asynq.peer.requeue("a")
    await asynq.clock.advance(60)
    await redis.zadd(KEYS.due, {"b": asynq.clock.now_ms})
    handed = await asynq.run("a")
    assert set(handed.not_enqueued.values()) == {Outcome.OVERLAP}
    assert await asynq.pending() == ["a", "b"]


async def test_a_new_task_removes_stale_entries_from_archived_and_completed(redis: Redis, asynq: AsynqHarness) -> None:
    """asynq would delete the live task when it trims them."""
    await redis.zadd(ARCHIVED, {task_id("a"): 1, task_id("other"): 1})
    await redis.zadd(COMPLETED, {task_id("a"): 1})
    assert (await asynq.run("a")).not_enqueued == {}
    assert await redis.zrange(ARCHIVED, 0, -1) == [task_id("other").encode()]
    assert await redis.zcard(COMPLETED) == 0


@pytest.mark.parametrize(
    "command", ["SET {key} x", "LPUSH {key} x", "SADD {key} x", "ZADD {key} 1 x", "XADD {key} * field value"]
)
async def test_a_key_of_another_type_in_the_tasks_place_is_replaced(
    redis: Redis, asynq: AsynqHarness, command: str
) -> None:
    await redis.execute_command(*command.format(key=task_key("a")).split())  # type: ignore[no-untyped-call]
    handed = await assert_replaced(redis, asynq)
    assert (handed.wrong_type, handed.overlaps) == (("a",), {})


@pytest.mark.parametrize("ahead_s", [-29, 0, 30, 60])
async def test_a_lease_that_a_running_task_may_have_is_respected(
    redis: Redis, asynq: AsynqHarness, ahead_s: int
) -> None:
    """asynq renews to 30 s ahead by the consumer's clock, which may differ by 30 s."""
    await asynq.run("a")
    await asynq.take()
    await asynq.clock.advance(60)
    await redis.zadd(LEASE, {task_id("a"): asynq.now_s + ahead_s})
    assert (await asynq.run("a")).not_enqueued == {"a": Outcome.OVERLAP}


async def test_a_foreign_entry_with_a_key_of_another_type_stops_no_hand_off(redis: Redis, asynq: AsynqHarness) -> None:
    await asynq.run("a")
    await redis.rpush(PENDING, "foreign")
    await redis.set("asynq:{healthcheck}:t:foreign", "no task")
    assert (await asynq.run("a", "b")).not_enqueued == {"a": Outcome.OVERLAP}
    assert await asynq.is_rescheduled("a", "b")
