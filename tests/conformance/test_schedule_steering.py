"""What people ask of the schedule: run now, hold and release, and what all other scripts do with held monitors."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.errors import RedisRefusedError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.monitors.ticks import next_tick
from peekaping_producer.schedule import (
    ALL_MONITORS,
    MAX_HOLD_ALL_S,
    MAX_HOLD_S,
    MAX_HOLDS,
    PRELUDE,
    Member,
    Schedule,
    Steering,
)
from peekaping_producer.schedule.keys import KEYS
from tests.kit.clock import START_MS, TEST_CLOCK, Clock
from tests.kit.schedule import make_due, members_of

WHO = b'{"who":"anna","why":"migration"}'
MINUTE = 60_000


@pytest.fixture
def steering(redis: Redis, clock: Clock) -> Steering:
    return Steering(redis, clock=TEST_CLOCK)


async def held(redis: Redis) -> Mapping[str, int]:
    stored: Mapping[bytes, bytes] = await redis.hgetall(KEYS.held)  # type: ignore[assignment]
    return {key.decode(): json.loads(value)["until_ms"] for key, value in stored.items()}


async def events(redis: Redis) -> list[Any]:
    entries: Any = await redis.xrange(KEYS.events)
    return [json.loads(fields[b"event"]) for _, fields in entries]


# Run now.


async def test_run_now_makes_a_monitor_due_and_leaves_its_next_tick(
    redis: Redis, schedule: Schedule, steering: Steering, broker: AsynqBroker, clock: Clock
) -> None:
    tick = next_tick(clock.now_ms, 3600)
    await make_due(redis, a=tick, b=tick)
    reply = await steering.run_now(["a"], {"a": b'{"kind":"monitor.run_now"}'})
    assert (reply.now_ms, reply.outcomes, reply.events_refused) == (clock.now_ms, {"a": "due_now"}, None)
    claim = await schedule.claim(10)
    assert claim.due == {"a": clock.now_ms}
    await broker.hand_off(claim, [HealthCheckTask("a", 3600, 10, b"{}")])
    assert await redis.zscore(KEYS.due, "a") == tick
    assert await events(redis) == [{"at_ms": clock.now_ms, "kind": "monitor.run_now"}]


async def test_run_now_reports_what_it_cannot_do(
    redis: Redis, schedule: Schedule, steering: Steering, clock: Clock
) -> None:
    await make_due(redis, leased=clock.now_ms - 9)
    await schedule.claim(1)
    await make_due(redis, overdue=clock.now_ms, held=clock.now_ms + MINUTE, due=clock.now_ms + MINUTE)
    await steering.hold([Plan("held", 60)], 90, WHO)
    before = await redis.zrange(KEYS.due, 0, -1, withscores=True)
    each = {"leased": b"{}", "overdue": b"{}", "held": b"{}", "absent": b"{}"}
    reply = await steering.run_now(each, each)
    outcomes = {"leased": "leased", "overdue": "already_due", "held": "held", "absent": "absent"}
    assert reply.outcomes == outcomes
    assert reply.hold_ends_ms == {"held": clock.now_ms + 90_000}
    assert await redis.zrange(KEYS.due, 0, -1, withscores=True) == before
    assert await events(redis) == []
    await steering.hold([Plan(ALL_MONITORS, 1)], 60, WHO)
    reply = await steering.run_now(["due", "absent"])
    assert reply.outcomes == {"due": "held_all", "absent": "held_all"}
    assert reply.hold_ends_ms == dict.fromkeys(("due", "absent"), clock.now_ms + 60_000)


async def test_run_now_of_a_postponed_monitor_keeps_how_late_it_is(
    redis: Redis, schedule: Schedule, steering: Steering, clock: Clock
) -> None:
    await make_due(redis, a=clock.now_ms - 5000)
    await schedule.give_back(await schedule.claim(1), delay_s=30)
    assert (await steering.run_now(["a"])).outcomes == {"a": "due_now"}
    assert (await schedule.claim(1)).due == {"a": clock.now_ms - 5000}


# Hold and release.


async def test_a_held_monitor_is_due_at_its_first_tick_after_the_end(
    redis: Redis, schedule: Schedule, steering: Steering, clock: Clock
) -> None:
    await make_due(redis, a=clock.now_ms - 1, b=clock.now_ms - 1)
    ends_ms = clock.now_ms + 90_000
    reply = await steering.hold([Plan("a", 60)], 90, WHO, {"a": b'{"who":"anna"}'})
    assert (reply.outcomes, reply.hold_ends_ms) == ({"a": "held"}, {"a": ends_ms})
    assert json.loads(await redis.hget(KEYS.held, "a") or "") == {"until_ms": ends_ms} | json.loads(WHO)
    assert await redis.zscore(KEYS.due, "a") == next_tick(ends_ms - 1, 60)
    assert await events(redis) == [{"at_ms": clock.now_ms, "who": "anna"}]
    assert list((await schedule.claim(10)).due) == ["b"]
    await clock.set(next_tick(ends_ms - 1, 60))
    assert (await schedule.claim(10)).due == {"a": clock.now_ms}


async def test_a_hold_that_ends_at_a_tick_ends_with_it(redis: Redis, steering: Steering, clock: Clock) -> None:
    await clock.set(START_MS // MINUTE * MINUTE)
    await make_due(redis, a=clock.now_ms)
    await steering.hold([Plan("a", 60)], 120, WHO)
    assert await redis.zscore(KEYS.due, "a") == clock.now_ms + 2 * MINUTE


async def test_holds_of_monitors_that_are_claimed_or_absent_and_of_too_many(
    redis: Redis, schedule: Schedule, steering: Steering, clock: Clock
) -> None:
    await make_due(redis, leased=clock.now_ms)
    await schedule.claim(1)
    reply = await steering.hold([Plan("leased", 60), Plan("absent", 60)], 60, WHO)
    assert (reply.outcomes, reply.hold_ends_ms) == ({"leased": "leased", "absent": "absent"}, {})
    assert not await redis.exists(KEYS.held)
    await redis.hset(KEYS.held, mapping={f"m{n}": "{}" for n in range(MAX_HOLDS - 1)})
    await make_due(redis, m0=1, a=1, b=1)
    reply = await steering.hold([Plan(name, 60) for name in ("a", "b", "m0")], 60, WHO)
    assert reply.outcomes == {"a": "held", "b": "too_many", "m0": "held"}
    assert (await steering.hold([Plan(ALL_MONITORS, 1)], 60, WHO)).outcomes == {ALL_MONITORS: "held"}


async def test_a_hold_makes_a_monitor_late_no_longer(
    redis: Redis, schedule: Schedule, steering: Steering, clock: Clock
) -> None:
    await make_due(redis, a=clock.now_ms - 5000, b=clock.now_ms - 4000)
    await schedule.give_back(await schedule.claim(2))
    await steering.hold([Plan("a", 60), Plan("absent", 60)], 60, WHO)
    assert await redis.zrange(KEYS.late, 0, -1) == [b"b"]


async def test_release_puts_a_monitor_back_to_its_next_tick(redis: Redis, steering: Steering, clock: Clock) -> None:
    await make_due(redis, a=clock.now_ms, b=clock.now_ms, gone=clock.now_ms)
    await steering.hold([Plan(name, 60) for name in ("a", "b", "gone")], 3600, WHO)
    await redis.zrem(KEYS.due, "gone")
    plans = [Plan("a", 60), Plan("b", 0), Plan("gone", 60), Plan("other", 60)]
    reply = await steering.release(plans, {"a": b'{"kind":"monitor.released"}', "other": b"{}"})
    assert reply.outcomes == {"a": "released", "b": "released_now", "gone": "released", "other": "not_held"}
    assert await redis.zscore(KEYS.due, "a") == next_tick(clock.now_ms, 60)
    assert await redis.zscore(KEYS.due, "b") == clock.now_ms, "its interval is not known"
    assert await redis.zscore(KEYS.due, "gone") is None
    assert await held(redis) == {}
    assert await events(redis) == [{"at_ms": clock.now_ms, "kind": "monitor.released"}]


async def test_a_hold_that_has_ended_is_none(
    redis: Redis, schedule: Schedule, steering: Steering, clock: Clock
) -> None:
    await make_due(redis, a=clock.now_ms, b=clock.now_ms)
    await steering.hold([Plan("a", 60)], 60, WHO)
    await steering.hold([Plan("b", 60), Plan(ALL_MONITORS, 1)], 120, WHO)
    await clock.advance(60)
    stats = await schedule.stats()
    assert (stats.held, json.loads(stats.hold or b"")["who"]) == (1, "anna")
    assert set(await held(redis)) == {"b", ALL_MONITORS}, "the one that has ended was removed"
    assert (await steering.release([Plan("a", 60)])).outcomes == {"a": "not_held"}
    await clock.advance(60)
    stats = await schedule.stats()
    assert (stats.held, stats.hold, await redis.exists(KEYS.held)) == (0, None, 0)


# All.


async def test_no_monitor_is_claimed_while_all_are_held(
    redis: Redis, schedule: Schedule, steering: Steering, broker: AsynqBroker, clock: Clock
) -> None:
    await make_due(redis, a=clock.now_ms, b=clock.now_ms + 1)
    before = await schedule.claim(1)
    await steering.hold([Plan(ALL_MONITORS, 1)], 60, WHO, {ALL_MONITORS: b'{"kind":"fleet.held"}'})
    assert not (await broker.hand_off(before, [HealthCheckTask("a", 60, 10, b"{}")])).not_enqueued
    await clock.advance(59)
    claim = await schedule.claim(10)
    assert (claim.due, claim.next_due_ms) == ({}, clock.now_ms + 1000)
    await clock.advance(1)
    assert set((await schedule.claim(10)).due) >= {"b"}
    assert [event["kind"] for event in await events(redis)] == ["fleet.held"]


async def test_the_release_of_all_leaves_single_holds(
    redis: Redis, schedule: Schedule, steering: Steering, clock: Clock
) -> None:
    await make_due(redis, a=clock.now_ms, b=clock.now_ms)
    await steering.hold([Plan("a", 60), Plan(ALL_MONITORS, 1)], 60, WHO)
    assert (await steering.release([Plan(ALL_MONITORS, 1)])).outcomes == {ALL_MONITORS: "released"}
    assert list((await schedule.claim(10)).due) == ["b"]
    assert set(await held(redis)) == {"a"}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b'{"until_ms":"x"}',
        b'{"until_ms":-1}',
        b'{"who":"\\"until_ms\\":1795351067550"}',
        b'{"until_ms":%d}' % START_MS,
        b'{"until_ms":%d}' % (START_MS + 1000 * (MAX_HOLD_ALL_S + 61)),
        b'{"until_ms":1e308}',
    ],
)
async def test_what_is_no_hold_holds_nothing(redis: Redis, schedule: Schedule, clock: Clock, value: bytes) -> None:
    """A key of another program, or of a clock that was wrong, must not stop the fleet."""
    await make_due(redis, a=clock.now_ms)
    await redis.hset(KEYS.held, ALL_MONITORS, value)
    assert set((await schedule.claim(10)).due) == {"a"}
    stats = await schedule.stats()
    assert (stats.hold, await redis.exists(KEYS.held)) == (None, 0)


async def test_a_key_of_another_type_stops_no_replica(
    redis: Redis, schedule: Schedule, steering: Steering, term: str, clock: Clock
) -> None:
    await redis.set(KEYS.held, "x")
    await make_due(redis, a=clock.now_ms, gone=1)
    assert (await schedule.place(term, [Plan("a", 60), Plan("gone", 0)])).removed == 1
    assert set((await schedule.claim(10)).due) == {"a"}
    assert (await schedule.stats()).problems == ()
    with pytest.raises(RedisRefusedError, match="WRONGTYPE"):
        await steering.hold([Plan(ALL_MONITORS, 1)], 60, WHO)


# The leader.


async def test_the_leader_leaves_held_monitors_where_they_are(
    redis: Redis, schedule: Schedule, steering: Steering, term: str, clock: Clock
) -> None:
    await make_due(redis, a=clock.now_ms)
    await steering.hold([Plan("a", 60)], MAX_HOLD_S, WHO)
    (member,) = await members_of(schedule, KEYS.due)
    placed = await schedule.place(term, [Plan("a", 30)])
    assert (placed.added, placed.misaligned) == (0, ())
    assert await schedule.move(term, [member], {"a": Plan("a", 30)}) == 0
    assert await members_of(schedule, KEYS.due) == [member]
    await clock.advance(MAX_HOLD_S)
    placed = await schedule.place(term, [Plan("a", 30)])
    assert await schedule.move(term, placed.misaligned, {"a": Plan("a", 30)}) <= 1
    assert await redis.zscore(KEYS.due, "a") in {float(member.score), next_tick(clock.now_ms, 30)}


async def test_the_leader_adds_a_held_monitor_at_the_end_of_its_hold(
    redis: Redis, schedule: Schedule, steering: Steering, term: str, clock: Clock
) -> None:
    """Also where a peer has moved it: it knows no holds."""
    await make_due(redis, a=clock.now_ms, b=clock.now_ms)
    await steering.hold([Plan("a", 60), Plan("b", 60)], 600, WHO)
    await redis.zrem(KEYS.due, "a")
    await make_due(redis, b=clock.now_ms + 1000)
    placed = await schedule.place(term, [Plan("a", 60), Plan("b", 60)])
    assert (placed.added, placed.moved) == (1, 1)
    tick = next_tick(clock.now_ms + 600_000 - 1, 60)
    assert await redis.zrange(KEYS.due, 0, -1, withscores=True) == [(b"a", tick), (b"b", tick)]


async def test_the_hold_ends_with_the_monitor(
    redis: Redis, schedule: Schedule, steering: Steering, term: str, clock: Clock
) -> None:
    await make_due(redis, a=clock.now_ms, b=clock.now_ms, c=clock.now_ms)
    await steering.hold([Plan(name, 60) for name in ("a", "b", "c")], 600, WHO)
    await schedule.place(term, [Plan("a", 0)])
    seen = [member for member in await members_of(schedule, KEYS.due) if member.id == "b"]
    await schedule.remove(term, KEYS.due, [*seen, Member("c", "1")])
    assert set(await held(redis)) == {"c"}


def test_the_longest_holds_are_those_of_the_scripts() -> None:
    assert f"{MAX_HOLD_S // 86_400} * 24 * 3600 + 60" in PRELUDE
    assert f"({MAX_HOLD_ALL_S} + 60) * 1000" in PRELUDE
    assert f"ALL = '{ALL_MONITORS}'" in PRELUDE
