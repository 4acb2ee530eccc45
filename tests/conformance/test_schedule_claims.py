"""Claims of the schedule: claim, drop, give back, reschedule, reclaim, and the fences between them."""

from redis.asyncio import Redis

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.schedule import Rescheduled, Schedule
from peekaping_producer.schedule.keys import KEYS
from tests.kit.clock import TEST_CLOCK, Clock
from tests.kit.schedule import make_due


async def test_a_claim_moves_what_is_due_to_the_lease_set_under_one_token(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    await make_due(redis, a=clock.now_ms - 2000, b=clock.now_ms, later=clock.now_ms + 1)

    claim = await schedule.claim(500)

    assert claim.due == {"a": clock.now_ms - 2000, "b": clock.now_ms}
    assert claim.now_ms == clock.now_ms
    assert await redis.zrange(KEYS.due, 0, -1) == [b"later"]
    leases = dict(await redis.zrange(KEYS.lease, 0, -1, withscores=True))
    assert set(leases) == {b"a", b"b"}
    assert set(leases.values()) == {float(claim.token)}
    assert clock.now_ms + 10_000 <= float(claim.token) < clock.now_ms + 10_001


async def test_a_claim_takes_the_latest_first_and_no_more_than_its_limit(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    await make_due(redis, **{f"m{age:04}": clock.now_ms - age for age in range(1500)})
    claim = await schedule.claim(1000)
    assert list(claim.due) == [f"m{age:04}" for age in range(1499, 499, -1)]


async def test_an_empty_claim_returns_when_the_next_monitor_is_due(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    assert (await schedule.claim(500)).next_due_ms is None
    await make_due(redis, a=clock.now_ms + 1234)
    claim = await schedule.claim(500)
    assert (claim.due, claim.next_due_ms) == ({}, clock.now_ms + 1234)


async def test_two_claims_never_hold_the_same_monitor(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, a=clock.now_ms, b=clock.now_ms)
    first, second = await schedule.claim(1), await schedule.claim(1)
    assert set(first.due) | set(second.due) == {"a", "b"}
    assert not set(first.due) & set(second.due)


async def test_a_drop_removes_what_the_claim_holds_and_nothing_else(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    """Fails without the comparison of tokens."""
    await make_due(redis, a=clock.now_ms, b=clock.now_ms)
    old = await schedule.claim(1)
    await clock.advance(11)
    assert await schedule.reclaim() == 1
    new = await schedule.claim(2)
    assert await schedule.drop(old, list(old.due)) == 0
    assert await redis.zcard(KEYS.lease) == 2
    assert await schedule.drop(new, list(new.due)) == 2
    assert await redis.zcard(KEYS.lease) == 0


async def test_a_claim_that_has_ended_writes_nothing_though_it_is_not_reclaimed(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    """Without the comparison of the token with now, each of them writes."""
    await make_due(redis, a=clock.now_ms)
    claim = await schedule.claim(1)
    await clock.advance(10.001)
    assert await schedule.drop(claim, ["a"]) == 0
    assert await schedule.give_back(claim) == 0
    assert (await schedule.reschedule(claim, [Plan("a", 60)])).lost == ("a",)
    assert await redis.zscore(KEYS.lease, "a") == float(claim.token)


async def test_a_lease_that_another_claim_holds_is_left_alone(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    """Redis was emptied, or a Go peer reclaimed too early: the claim has not ended, but another one holds the lease."""
    await make_due(redis, a=clock.now_ms)
    ours = await schedule.claim(1)
    await redis.flushdb()
    await make_due(redis, a=clock.now_ms)
    await clock.advance(1)
    theirs = await schedule.claim(1)
    assert await schedule.drop(ours, ["a"]) == 0
    assert await schedule.give_back(ours) == 0
    assert await redis.zscore(KEYS.lease, "a") == float(theirs.token)
    assert await redis.zcard(KEYS.due) == 0


async def test_what_is_given_back_is_due_as_it_was(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, a=clock.now_ms - 500, b=clock.now_ms)
    claim = await schedule.claim(2)
    await redis.zrem(KEYS.lease, "b")  # deleted meanwhile
    assert await schedule.give_back(claim) == 1
    assert await redis.zrange(KEYS.due, 0, -1, withscores=True) == [(b"a", clock.now_ms - 500)]
    assert await redis.zcard(KEYS.lease) == 0


async def test_giving_back_never_moves_a_due_time_back(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    """A Go peer, without fences, may have put the monitor in due meanwhile."""
    await make_due(redis, a=clock.now_ms)
    claim = await schedule.claim(1)
    await make_due(redis, a=clock.now_ms - 60_000)
    await schedule.give_back(claim)
    assert await redis.zscore(KEYS.due, "a") == clock.now_ms - 60_000


async def test_what_is_rescheduled_is_due_at_its_next_tick(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, a=clock.now_ms - 500, b=clock.now_ms)
    await schedule.give_back(await schedule.claim(2))
    claim = await schedule.claim(2)
    await redis.zrem(KEYS.lease, "b")  # deleted meanwhile
    done = await schedule.reschedule(claim, [Plan("a", 60), Plan("b", 60), Plan("c", 60)])
    assert done == Rescheduled(clock.now_ms, ("b", "c"))
    next_tick = (clock.now_ms // 60_000 + 1) * 60_000
    assert await redis.zrange(KEYS.due, 0, -1, withscores=True) == [(b"a", next_tick)]
    assert await redis.zcard(KEYS.lease) == 0
    assert await redis.zscore(KEYS.late, "a") is None


async def test_a_reclaimed_monitor_is_due_at_the_time_it_was_claimed(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    claimed_at = clock.now_ms
    await make_due(redis, a=claimed_at)
    await schedule.claim(1)
    assert await schedule.reclaim() == 0
    await clock.advance(25)
    assert await schedule.reclaim() == 1
    assert await redis.zscore(KEYS.due, "a") == claimed_at


async def test_a_lease_is_left_alone_until_it_ends(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await redis.zadd(KEYS.lease, {"a": clock.now_ms + 10_000})
    await clock.advance(9.999)
    assert await schedule.reclaim() == 0
    await clock.advance(0.001)
    assert await schedule.reclaim() == 1


async def test_a_lease_from_a_wrong_clock_is_reclaimed_and_due_now(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    await redis.zadd(KEYS.lease, {"far": clock.now_ms + 300_000, "near": clock.now_ms + 99_000})
    assert await schedule.reclaim() == 1
    assert await redis.zscore(KEYS.due, "far") == clock.now_ms
    assert await redis.zrange(KEYS.lease, 0, -1) == [b"near"]


async def test_reclaim_never_moves_a_due_time_back(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    """A Go peer may leave a monitor in both sets."""
    await redis.zadd(KEYS.lease, {"a": clock.now_ms - 1})
    await make_due(redis, a=clock.now_ms - 60_000)
    await schedule.reclaim()
    assert await redis.zscore(KEYS.due, "a") == clock.now_ms - 60_000


async def test_reclaim_takes_no_more_than_its_limit(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await redis.zadd(KEYS.lease, {f"m{n}": clock.now_ms - n for n in range(1, 8)})
    assert [await schedule.reclaim(limit=5), await schedule.reclaim(limit=5)] == [5, 2]


async def test_a_claim_that_arrives_too_late_is_refused(redis: Redis, clock: Clock) -> None:
    """Its sender has stopped waiting: no worker would handle what it claimed."""
    monotonic = [0.0]
    schedule = Schedule(redis, clock=TEST_CLOCK, monotonic=lambda: monotonic[0])
    await schedule.claim(1)
    await make_due(redis, a=clock.now_ms)
    await clock.advance(2.5)  # Redis was frozen with the claim in its socket
    refused = await schedule.claim(1)
    assert (refused.due, refused.next_due_ms) == ({}, clock.now_ms)
    assert await redis.zcard(KEYS.lease) == 0
    assert list((await schedule.claim(1)).due) == ["a"]  # the next deadline is by the new clock


async def test_a_member_too_long_to_be_an_id_is_removed_by_the_claim(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    """It may be larger than an argument that Redis accepts, so that no command could name it."""
    await redis.zadd(KEYS.due, {"x" * 1_000_000: clock.now_ms - 1, "a": clock.now_ms})
    claim = await schedule.claim(10)
    assert (list(claim.due), claim.removed) == (["a"], ("x" * 40,))
    assert await redis.zcard(KEYS.due) == 0
    assert await redis.zcard(KEYS.lease) == 1


async def test_a_due_score_of_minus_infinity_is_very_late(redis: Redis, schedule: Schedule) -> None:
    """An administrator's "run now"."""
    await redis.zadd(KEYS.due, {"a": "-inf"})
    claim = await schedule.claim(1)
    assert claim.due == {"a": 0.0}
    assert await schedule.give_back(claim) == 1


async def test_scripts_are_loaded_again_after_a_script_flush(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, a=clock.now_ms, b=clock.now_ms)
    await schedule.claim(1)
    await redis.script_flush()
    assert len((await schedule.claim(1)).due) == 1
