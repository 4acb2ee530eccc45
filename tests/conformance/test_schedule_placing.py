"""What sync and events do to the schedule: place, move, members, remove, each fenced by the term."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.errors import StaleTermError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.schedule import Member, Schedule
from peekaping_producer.schedule.keys import KEYS
from tests.kit.clock import Clock
from tests.kit.schedule import TERM, make_due, members_of

pytestmark = pytest.mark.usefixtures("term")


async def test_a_new_monitor_is_due_at_once(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    placed = await schedule.place(TERM, [Plan("new", 60)])
    assert placed.added == 1
    assert await redis.zscore(KEYS.due, "new") == clock.now_ms


@pytest.mark.parametrize(
    ("ahead_s", "interval", "moves"),
    [
        (3600 * 20, 30, True),  # 24 h -> 30 s: later than a period
        (14, 86400, True),  # 30 s -> 24 h: no tick of the new period
        (-5, 86400, False),  # overdue
        (4.9, 86400, False),  # due soon: it runs once more, then by the new period
    ],
)
async def test_an_interval_edit_moves_the_due_time_to_the_next_tick(
    redis: Redis, schedule: Schedule, clock: Clock, ahead_s: float, interval: int, moves: bool
) -> None:
    score = clock.now_ms + ahead_s * 1000 + 7
    await make_due(redis, a=score)
    plan = Plan("a", interval)
    placed = await schedule.place(TERM, [plan])
    moved = await schedule.move(TERM, placed.misaligned, {"a": plan})
    period = interval * 1000
    expected = (clock.now_ms // period + 1) * period if moves else score
    assert (moved, await redis.zscore(KEYS.due, "a")) == (int(moves), expected)


async def test_a_due_time_that_changed_since_it_was_seen_is_not_moved(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    """Without the comparison of scores, a hand-off by a newer row would be undone and its tick run twice."""
    await make_due(redis, a=clock.now_ms + 50_001)
    placed = await schedule.place(TERM, [Plan("a", 2)])
    await make_due(redis, a=clock.now_ms + 40_001)
    assert await schedule.move(TERM, placed.misaligned, {"a": Plan("a", 2)}) == 0
    assert await redis.zscore(KEYS.due, "a") == clock.now_ms + 40_001


async def test_placing_a_plan_that_already_agrees_changes_nothing(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    tick = (clock.now_ms // 60_000 + 1) * 60_000
    await make_due(redis, a=tick)
    placed = await schedule.place(TERM, [Plan("a", 60)])
    assert (placed.added, placed.removed, placed.misaligned) == (0, 0, ())
    assert await redis.zscore(KEYS.due, "a") == tick


async def test_a_clock_that_steps_back_five_seconds_moves_nothing(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    """Without the slack the due time would move back by a period, and a tick would run twice."""
    await clock.set(clock.now_ms // 60_000 * 60_000 + 1000)
    tick = clock.now_ms - 1000 + 60_000
    await make_due(redis, a=tick)
    await clock.advance(-5)
    assert (await schedule.place(TERM, [Plan("a", 60)])).misaligned == ()


async def test_a_leased_monitor_is_left_alone_and_returned(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, a=clock.now_ms)
    claim = await schedule.claim(1)
    placed = await schedule.place(TERM, [Plan("a", 30)])
    assert placed.leased == ("a",)
    assert await redis.zscore(KEYS.lease, "a") == float(claim.token)
    assert await redis.zcard(KEYS.due) == 0


async def test_a_plan_without_interval_leaves_both_sets(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, a=clock.now_ms, b=clock.now_ms + 60_000)
    await schedule.claim(1)
    placed = await schedule.place(TERM, [Plan("a", 0), Plan("b", -1), Plan("unknown", 0)])
    assert placed.removed == 2
    assert await redis.zcard(KEYS.due) + await redis.zcard(KEYS.lease) == 0


async def test_a_thousand_plans_fit_in_one_call(schedule: Schedule) -> None:
    plans = [Plan(f"m{n}", 60) for n in range(1000)]
    assert (await schedule.place(TERM, plans)).added == 1000
    assert (await schedule.place(TERM, plans)).added == 0
    assert (await schedule.place(TERM, [Plan(plan.id, 0) for plan in plans])).removed == 1000


async def test_a_stale_term_writes_nothing(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    """Without the comparison of the term in the scripts this adds and removes."""
    await make_due(redis, a=clock.now_ms)
    with pytest.raises(StaleTermError):
        await schedule.place("node/0", [Plan("b", 60)])
    with pytest.raises(StaleTermError):
        await schedule.move("node/0", [Member("a", "1.0")], {"a": Plan("a", 60)})
    with pytest.raises(StaleTermError):
        await schedule.remove("node/0", KEYS.due, [Member("a", repr(float(clock.now_ms)))])
    await redis.delete(KEYS.leader)
    with pytest.raises(StaleTermError):
        await schedule.place(TERM, [Plan("b", 60)])
    assert await redis.zrange(KEYS.due, 0, -1) == [b"a"]


async def test_removal_removes_only_members_whose_score_is_unchanged(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    await make_due(redis, same=clock.now_ms, moved=clock.now_ms)
    seen = await members_of(schedule, KEYS.due)
    await make_due(redis, moved=clock.now_ms + 1)
    assert await schedule.remove(TERM, KEYS.due, [*seen, Member("gone", "1.0")]) == 1
    assert await redis.zrange(KEYS.due, 0, -1) == [b"moved"]


async def test_a_leased_member_is_removed_by_its_token(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, a=clock.now_ms)
    await schedule.claim(1)
    seen = await members_of(schedule, KEYS.lease)
    assert await schedule.remove(TERM, KEYS.lease, seen) == 1


async def test_members_yields_every_member(redis: Redis, schedule: Schedule) -> None:
    await make_due(redis, **{f"m{n}": n for n in range(5000)})
    seen = {member.id async for page in schedule.members(KEYS.due) for member in page}
    assert len(seen) == 5000


async def test_members_that_are_not_utf8_survive_the_round_trip(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await redis.zadd(KEYS.due, {b"\xff\xfe": clock.now_ms})
    seen = await members_of(schedule, KEYS.due)
    assert await schedule.remove(TERM, KEYS.due, seen) == 1
    await redis.zadd(KEYS.due, {b"\xff\xfe": clock.now_ms})
    claim = await schedule.claim(1)
    assert await schedule.drop(claim, list(claim.due)) == 1
