"""The set `late`: the intended due time outlives claims that end without a hand-off."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from tests.kit.clock import Clock
from tests.kit.schedule import TERM, make_due, members_of

pytestmark = pytest.mark.usefixtures("term")


async def test_the_intended_due_time_survives_reclaims(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    intended = clock.now_ms
    await make_due(redis, a=intended)
    for _ in range(3):
        claim = await schedule.claim(1)
        assert claim.due == {"a": intended}
        await clock.advance(11)
        assert (await schedule.stats()).oldest_due_ms == intended  # also while it is leased
        await schedule.reclaim()
    stats = await schedule.stats()
    assert (stats.oldest_due_age_s, stats.oldest_id, stats.late) == (33.0, "a", 1)


async def test_a_postponed_monitor_is_due_later_and_as_late_as_it_is(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    intended = clock.now_ms - 2000
    await make_due(redis, a=intended)
    claim = await schedule.claim(1)
    assert await schedule.give_back(claim, ["a"], delay_s=30) == 1
    assert not (await schedule.claim(1)).due
    placed = await schedule.place(TERM, [Plan("a", 10)])  # sync does not undo the wait
    assert (placed.misaligned, placed.added) == ((), 0)
    await clock.advance(29)
    assert (await schedule.stats()).oldest_due_age_s == 31.0
    assert not (await schedule.claim(1)).due
    await clock.advance(2)
    assert (await schedule.claim(1)).due == {"a": intended}


async def test_an_edit_makes_a_postponed_monitor_due_now(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, a=clock.now_ms)
    await schedule.give_back(await schedule.claim(1), delay_s=60)
    await schedule.place(TERM, [Plan("a", 10)], retry=True)
    assert (await schedule.claim(1)).due == {"a": clock.now_ms}


async def test_a_delay_longer_than_any_of_ours_is_misaligned(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, a=clock.now_ms + 3_600_000.5)
    assert len((await schedule.place(TERM, [Plan("a", 10)])).misaligned) == 1


async def test_a_monitor_that_leaves_the_schedule_is_no_longer_late(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    await make_due(redis, a=clock.now_ms, b=clock.now_ms, c=clock.now_ms)
    await schedule.give_back(await schedule.claim(3))
    assert await redis.zcard(KEYS.late) == 3
    claim = await schedule.claim(1)
    assert await schedule.drop(claim, list(claim.due)) == 1
    await schedule.place(TERM, [Plan("b", 0)])
    seen = await members_of(schedule, KEYS.due)
    await schedule.remove(TERM, KEYS.due, seen)
    assert await redis.zcard(KEYS.late) == 0


async def test_a_late_entry_that_a_peer_left_behind_is_ignored_and_removed(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    """A Go producer hands off without removing the monitor from the late set."""
    await redis.zadd(KEYS.late, {"a": clock.now_ms - 60_000})
    await make_due(redis, a=clock.now_ms)
    assert (await schedule.claim(1)).due == {"a": clock.now_ms}
    await redis.delete(KEYS.lease)
    await make_due(redis, a=clock.now_ms + 60_000)
    await schedule.reclaim()
    assert await redis.zcard(KEYS.late) == 0
