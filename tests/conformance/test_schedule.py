"""The schedule's scripts on a real server: claim, fence, reclaim, place, remove, lead."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.errors import RedisUnavailableError, StaleTermError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.redis_client.script import Script
from peekaping_producer.schedule import CampaignOutcome, Member, Schedule
from peekaping_producer.schedule.keys import KEYS, Keys
from tests.kit.clock import TEST_CLOCK, Clock

TERM = "node/1"


@pytest.fixture
async def term(redis: Redis) -> str:
    await redis.set(KEYS.leader, TERM)
    return TERM


async def due(redis: Redis, **scores: float) -> None:
    await redis.zadd(KEYS.due, scores)


async def test_a_claim_moves_what_is_due_to_the_lease_set_under_one_token(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    await due(redis, a=clock.now_ms - 2000, b=clock.now_ms, later=clock.now_ms + 1)

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
    await due(redis, **{f"m{age:04}": clock.now_ms - age for age in range(1500)})
    claim = await schedule.claim(1000)
    assert list(claim.due) == [f"m{age:04}" for age in range(1499, 499, -1)]


async def test_an_empty_claim_returns_when_the_next_monitor_is_due(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    assert (await schedule.claim(500)).next_due_ms is None
    await due(redis, a=clock.now_ms + 1234)
    claim = await schedule.claim(500)
    assert (claim.due, claim.next_due_ms) == ({}, clock.now_ms + 1234)


async def test_two_claims_never_hold_the_same_monitor(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await due(redis, a=clock.now_ms, b=clock.now_ms)
    first, second = await schedule.claim(1), await schedule.claim(1)
    assert set(first.due) | set(second.due) == {"a", "b"}
    assert not set(first.due) & set(second.due)


async def test_a_drop_removes_what_the_claim_holds_and_nothing_else(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    """Fails without the comparison of tokens."""
    await due(redis, a=clock.now_ms, b=clock.now_ms)
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
    """Without the comparison of the token with now, both writes go through."""
    await due(redis, a=clock.now_ms)
    claim = await schedule.claim(1)
    await clock.advance(10.001)
    assert await schedule.drop(claim, ["a"]) == 0
    assert await schedule.give_back(claim) == 0
    assert await redis.zscore(KEYS.lease, "a") == float(claim.token)


async def test_a_lease_that_another_claim_holds_is_left_alone(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    """Redis was emptied, or a Go peer reclaimed too early: the claim has not ended, but another one holds the lease."""
    await due(redis, a=clock.now_ms)
    ours = await schedule.claim(1)
    await redis.flushdb()
    await due(redis, a=clock.now_ms)
    await clock.advance(1)
    theirs = await schedule.claim(1)
    assert await schedule.drop(ours, ["a"]) == 0
    assert await schedule.give_back(ours) == 0
    assert await redis.zscore(KEYS.lease, "a") == float(theirs.token)
    assert await redis.zcard(KEYS.due) == 0


async def test_what_is_given_back_is_due_as_it_was(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await due(redis, a=clock.now_ms - 500, b=clock.now_ms)
    claim = await schedule.claim(2)
    await redis.zrem(KEYS.lease, "b")  # deleted meanwhile
    assert await schedule.give_back(claim) == 1
    assert await redis.zrange(KEYS.due, 0, -1, withscores=True) == [(b"a", clock.now_ms - 500)]
    assert await redis.zcard(KEYS.lease) == 0


async def test_giving_back_never_moves_a_due_time_back(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    """A Go peer, without fences, may have put the monitor in due meanwhile."""
    await due(redis, a=clock.now_ms)
    claim = await schedule.claim(1)
    await due(redis, a=clock.now_ms - 60_000)
    await schedule.give_back(claim)
    assert await redis.zscore(KEYS.due, "a") == clock.now_ms - 60_000


async def test_what_is_rescheduled_is_due_at_its_next_tick(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await due(redis, a=clock.now_ms - 500, b=clock.now_ms)
    await schedule.give_back(await schedule.claim(2))
    claim = await schedule.claim(2)
    await redis.zrem(KEYS.lease, "b")  # deleted meanwhile
    assert await schedule.reschedule(claim, [Plan("a", 60), Plan("b", 60), Plan("c", 60)]) == 1
    next_tick = (clock.now_ms // 60_000 + 1) * 60_000
    assert await redis.zrange(KEYS.due, 0, -1, withscores=True) == [(b"a", next_tick)]
    assert await redis.zcard(KEYS.lease) == 0
    assert await redis.zscore(KEYS.late, "a") is None


async def test_a_claim_that_ended_reschedules_nothing(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await due(redis, a=clock.now_ms)
    claim = await schedule.claim(1)
    await clock.advance(11)
    assert await schedule.reschedule(claim, [Plan("a", 60)]) == 0
    assert await redis.zscore(KEYS.lease, "a") == float(claim.token)


async def test_a_reclaimed_monitor_is_due_at_the_time_it_was_claimed(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    claimed_at = clock.now_ms
    await due(redis, a=claimed_at)
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
    await due(redis, a=clock.now_ms - 60_000)
    await schedule.reclaim()
    assert await redis.zscore(KEYS.due, "a") == clock.now_ms - 60_000


async def test_reclaim_takes_no_more_than_its_limit(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await redis.zadd(KEYS.lease, {f"m{n}": clock.now_ms - n for n in range(1, 8)})
    assert [await schedule.reclaim(limit=5), await schedule.reclaim(limit=5)] == [5, 2]


# Late: the intended due time outlives claims that end without a hand-off


async def test_the_intended_due_time_survives_reclaims(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    intended = clock.now_ms
    await due(redis, a=intended)
    for _ in range(3):
        claim = await schedule.claim(1)
        assert claim.due == {"a": intended}
        await clock.advance(11)
        assert (await schedule.stats()).oldest_due_ms == intended  # also while it is leased
        await schedule.reclaim()
    stats = await schedule.stats()
    assert (stats.oldest_due_age_s, stats.oldest_id, stats.late) == (33.0, "a", 1)


async def test_a_postponed_monitor_is_due_later_and_as_late_as_it_is(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    intended = clock.now_ms - 2000
    await due(redis, a=intended)
    claim = await schedule.claim(1)
    assert await schedule.give_back(claim, ["a"], delay_s=30) == 1
    assert not (await schedule.claim(1)).due
    placed = await schedule.place(term, [Plan("a", 10)])  # sync does not undo the wait
    assert (placed.misaligned, placed.added) == ((), 0)
    await clock.advance(29)
    assert (await schedule.stats()).oldest_due_age_s == 31.0
    assert not (await schedule.claim(1)).due
    await clock.advance(2)
    assert (await schedule.claim(1)).due == {"a": intended}


async def test_an_edit_makes_a_postponed_monitor_due_now(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    await due(redis, a=clock.now_ms)
    await schedule.give_back(await schedule.claim(1), delay_s=60)
    await schedule.place(term, [Plan("a", 10)], retry=True)
    assert (await schedule.claim(1)).due == {"a": clock.now_ms}


async def test_a_delay_longer_than_any_of_ours_is_misaligned(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    await due(redis, a=clock.now_ms + 3_600_000.5)
    assert len((await schedule.place(term, [Plan("a", 10)])).misaligned) == 1


async def test_a_monitor_that_leaves_the_schedule_is_no_longer_late(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    await due(redis, a=clock.now_ms, b=clock.now_ms, c=clock.now_ms)
    await schedule.give_back(await schedule.claim(3))
    assert await redis.zcard(KEYS.late) == 3
    claim = await schedule.claim(1)
    assert await schedule.drop(claim, list(claim.due)) == 1
    await schedule.place(term, [Plan("b", 0)])
    seen = [member async for page in schedule.members(KEYS.due) for member in page]
    await schedule.remove(term, KEYS.due, seen)
    assert await redis.zcard(KEYS.late) == 0


async def test_a_late_entry_that_a_peer_left_behind_is_ignored_and_removed(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    """A Go producer hands off without removing the monitor from the late set."""
    await redis.zadd(KEYS.late, {"a": clock.now_ms - 60_000})
    await due(redis, a=clock.now_ms)
    assert (await schedule.claim(1)).due == {"a": clock.now_ms}
    await redis.delete(KEYS.lease)
    await due(redis, a=clock.now_ms + 60_000)
    await schedule.reclaim()
    assert await redis.zcard(KEYS.late) == 0


async def test_a_claim_that_arrives_too_late_is_refused(redis: Redis, clock: Clock) -> None:
    """Its sender has stopped waiting: no worker would handle what it claimed."""
    monotonic = [0.0]
    schedule = Schedule(redis, clock=TEST_CLOCK, monotonic=lambda: monotonic[0])
    await schedule.claim(1)
    await due(redis, a=clock.now_ms)
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


async def test_stats_report_keys_that_cannot_be_read(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await redis.set(KEYS.due, "not a sorted set")
    stats = await schedule.stats()
    assert stats.due == 0
    assert len(stats.problems) == 1
    assert KEYS.due in stats.problems[0]
    assert "WRONGTYPE" in stats.problems[0]


async def test_stats_report_that_writes_are_refused(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    assert (await schedule.stats()).write_refused is None
    await redis.config_set("maxmemory", 1)
    try:
        of_status, of_replica = await schedule.stats(), await schedule.stats(node="n", report=b"{}")
    finally:
        await redis.config_set("maxmemory", 0)
    for stats in (of_status, of_replica):
        assert stats.write_refused is not None
        assert "OOM" in stats.write_refused


async def test_reports_are_returned_while_their_replica_runs(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await schedule.stats(node="a", report=b'{"x": 1}')
    await clock.advance(10)
    stats = await schedule.stats(node="b", report=b"{}")
    assert {each.node: each.text for each in stats.reports} == {"a": b'{"x": 1}', "b": b"{}"}
    await clock.advance(10)
    assert [each.node for each in (await schedule.stats(node="b", report=b"{}")).reports] == ["b"]
    assert await redis.hkeys(KEYS.replicas) == [b"b"]
    await schedule.forget_report("b")
    assert not await redis.exists(KEYS.replicas)


# place: what sync and events do


async def test_a_new_monitor_is_due_at_once(redis: Redis, schedule: Schedule, clock: Clock, term: str) -> None:
    placed = await schedule.place(term, [Plan("new", 60)])
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
    redis: Redis, schedule: Schedule, clock: Clock, term: str, ahead_s: float, interval: int, moves: bool
) -> None:
    score = clock.now_ms + ahead_s * 1000 + 7
    await due(redis, a=score)
    plan = Plan("a", interval)
    placed = await schedule.place(term, [plan])
    moved = await schedule.move(term, placed.misaligned, {"a": plan})
    period = interval * 1000
    expected = (clock.now_ms // period + 1) * period if moves else score
    assert (moved, await redis.zscore(KEYS.due, "a")) == (int(moves), expected)


async def test_a_due_time_that_changed_since_it_was_seen_is_not_moved(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    """Without the comparison of scores, a hand-off by a newer row would be undone and its tick run twice."""
    await due(redis, a=clock.now_ms + 50_001)
    placed = await schedule.place(term, [Plan("a", 2)])
    await due(redis, a=clock.now_ms + 40_001)
    assert await schedule.move(term, placed.misaligned, {"a": Plan("a", 2)}) == 0
    assert await redis.zscore(KEYS.due, "a") == clock.now_ms + 40_001


async def test_a_due_score_of_minus_infinity_is_very_late(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    """An administrator's "run now"."""
    await redis.zadd(KEYS.due, {"a": "-inf"})
    claim = await schedule.claim(1)
    assert claim.due == {"a": 0.0}
    assert await schedule.give_back(claim) == 1


async def test_placing_a_plan_that_already_agrees_changes_nothing(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    tick = (clock.now_ms // 60_000 + 1) * 60_000
    await due(redis, a=tick)
    placed = await schedule.place(term, [Plan("a", 60)])
    assert (placed.added, placed.removed, placed.misaligned) == (0, 0, ())
    assert await redis.zscore(KEYS.due, "a") == tick


async def test_a_clock_that_steps_back_five_seconds_moves_nothing(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    """Without the slack the due time would move back by a period, and a tick would run twice."""
    await clock.set(clock.now_ms // 60_000 * 60_000 + 1000)
    tick = clock.now_ms - 1000 + 60_000
    await due(redis, a=tick)
    await clock.advance(-5)
    assert (await schedule.place(term, [Plan("a", 60)])).misaligned == ()


async def test_a_leased_monitor_is_left_alone_and_returned(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    await due(redis, a=clock.now_ms)
    claim = await schedule.claim(1)
    placed = await schedule.place(term, [Plan("a", 30)])
    assert placed.leased == ("a",)
    assert await redis.zscore(KEYS.lease, "a") == float(claim.token)
    assert await redis.zcard(KEYS.due) == 0


async def test_a_plan_without_interval_leaves_both_sets(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    await due(redis, a=clock.now_ms, b=clock.now_ms + 60_000)
    await schedule.claim(1)
    placed = await schedule.place(term, [Plan("a", 0), Plan("b", -1), Plan("unknown", 0)])
    assert placed.removed == 2
    assert await redis.zcard(KEYS.due) + await redis.zcard(KEYS.lease) == 0


async def test_a_thousand_plans_fit_in_one_call(redis: Redis, schedule: Schedule, term: str, clock: Clock) -> None:
    plans = [Plan(f"m{n}", 60) for n in range(1000)]
    assert (await schedule.place(term, plans)).added == 1000
    assert (await schedule.place(term, plans)).added == 0
    assert (await schedule.place(term, [Plan(plan.id, 0) for plan in plans])).removed == 1000


async def test_a_stale_term_writes_nothing(redis: Redis, schedule: Schedule, clock: Clock, term: str) -> None:
    """Without the comparison of the term in the scripts this adds and removes."""
    await due(redis, a=clock.now_ms)
    with pytest.raises(StaleTermError):
        await schedule.place("node/0", [Plan("b", 60)])
    with pytest.raises(StaleTermError):
        await schedule.move("node/0", [Member("a", "1.0")], {"a": Plan("a", 60)})
    with pytest.raises(StaleTermError):
        await schedule.remove("node/0", KEYS.due, [Member("a", repr(float(clock.now_ms)))])
    await redis.delete(KEYS.leader)
    with pytest.raises(StaleTermError):
        await schedule.place(term, [Plan("b", 60)])
    assert await redis.zrange(KEYS.due, 0, -1) == [b"a"]


async def test_removal_removes_only_members_whose_score_is_unchanged(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    await due(redis, same=clock.now_ms, moved=clock.now_ms)
    seen = [member async for page in schedule.members(KEYS.due) for member in page]
    await due(redis, moved=clock.now_ms + 1)
    assert await schedule.remove(term, KEYS.due, [*seen, Member("gone", "1.0")]) == 1
    assert await redis.zrange(KEYS.due, 0, -1) == [b"moved"]


async def test_a_leased_member_is_removed_by_its_token(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    await due(redis, a=clock.now_ms)
    await schedule.claim(1)
    seen = [member async for page in schedule.members(KEYS.lease) for member in page]
    assert await schedule.remove(term, KEYS.lease, seen) == 1


async def test_members_yields_every_member(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await due(redis, **{f"m{n}": n for n in range(5000)})
    seen = {member.id async for page in schedule.members(KEYS.due) for member in page}
    assert len(seen) == 5000


async def test_members_that_are_not_utf8_survive_the_round_trip(
    redis: Redis, schedule: Schedule, clock: Clock, term: str
) -> None:
    await redis.zadd(KEYS.due, {b"\xff\xfe": clock.now_ms})
    seen = [member async for page in schedule.members(KEYS.due) for member in page]
    assert await schedule.remove(term, KEYS.due, seen) == 1
    await redis.zadd(KEYS.due, {b"\xff\xfe": clock.now_ms})
    claim = await schedule.claim(1)
    assert await schedule.drop(claim, list(claim.due)) == 1


# Leadership


async def test_one_replica_leads_and_each_term_is_new(redis: Redis, schedule: Schedule) -> None:
    won = await schedule.campaign("", "a/1", 10)
    assert (won.outcome, won.ttl_s, won.holder) == (CampaignOutcome.WON, 10, None)
    held = await schedule.campaign("", "b/1", 10)
    assert (held.outcome, held.holder) == (CampaignOutcome.HELD, "a/1")
    assert 9 < held.ttl_s <= 10
    assert (await schedule.campaign("a/1", "a/2", 10)).outcome is CampaignOutcome.RENEWED
    assert await redis.get(KEYS.leader) == b"a/1"
    await redis.delete(KEYS.leader)
    assert (await schedule.campaign("a/1", "a/2", 10)).outcome is CampaignOutcome.WON
    assert await redis.get(KEYS.leader) == b"a/2"


@pytest.mark.parametrize("ttl_ms", [3_600_000, None])
async def test_a_leader_key_with_a_ttl_that_no_leader_sets_is_taken_over(
    redis: Redis, schedule: Schedule, ttl_ms: int | None
) -> None:
    """A server's clock that was an hour ahead, or a peer that died between SET and EXPIRE."""
    await redis.set(KEYS.leader, "gone/1", px=ttl_ms)
    answer = await schedule.campaign("", "a/1", 10)
    assert (answer.outcome, answer.holder) == (CampaignOutcome.WON, "gone/1")
    assert (answer.holder_ttl_s is None) is (ttl_ms is None)
    assert 0 < await redis.pttl(KEYS.leader) <= 10_000


async def test_a_leader_key_with_a_longer_but_plausible_ttl_is_respected(redis: Redis, schedule: Schedule) -> None:
    await redis.set(KEYS.leader, "go/1", px=30_000)
    assert (await schedule.campaign("", "a/1", 10)).outcome is CampaignOutcome.HELD


async def test_a_replica_can_resign_only_its_own_term(redis: Redis, schedule: Schedule) -> None:
    await schedule.campaign("", "a/1", 10)
    assert not await schedule.resign("b/1")
    assert await schedule.resign("a/1")
    assert await redis.exists(KEYS.leader) == 0


async def test_stats_report_depths_and_age(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    empty = await schedule.stats()
    assert (empty.due, empty.leased, empty.oldest_due_age_s, empty.leader) == (0, 0, 0.0, None)
    await due(redis, a=clock.now_ms - 1500, b=clock.now_ms - 1, c=clock.now_ms + 1)
    await schedule.claim(1)
    await due(redis, a=clock.now_ms - 1500)
    await schedule.campaign("", "a/1", 10)
    stats = await schedule.stats()
    assert (stats.due, stats.leased, stats.overdue, stats.oldest_due_age_s) == (3, 1, 2, 1.5)
    assert stats.leader == "a/1"
    assert stats.lease_excess_ms == 0

    ends_ms = clock.now_ms + 1000 * schedule.lease_ttl_s
    await redis.zadd(KEYS.lease, {"ahead": ends_ms + 90_000})
    assert (await schedule.stats()).lease_excess_ms == 90_000
    await redis.zadd(KEYS.lease, {"without end": "inf"})
    assert (await schedule.stats()).lease_excess_ms > 2**52


async def test_scripts_are_loaded_again_after_a_script_flush(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await due(redis, a=clock.now_ms, b=clock.now_ms)
    await schedule.claim(1)
    await redis.script_flush()
    assert len((await schedule.claim(1)).due) == 1


@pytest.mark.parametrize("reply", [b"OK", 7, None, [], [1, 2], [b"x"] * 12, [[[]]], {}])
async def test_a_reply_of_another_form_is_an_error_of_redis(
    schedule: Schedule, broker: AsynqBroker, monkeypatch: pytest.MonkeyPatch, reply: object
) -> None:
    """A proxy, or another program at the address, must not end a loop."""

    async def run(*_: object) -> object:
        return reply

    monkeypatch.setattr(Script, "run", run)
    claim = schedule.claim(1)
    for call in (claim, schedule.campaign("", "a/1", 10), schedule.stats(), broker.inspect(), broker.sweep()):
        with pytest.raises(RedisUnavailableError, match="unexpected reply"):
            await call


async def test_an_error_of_our_own_is_not_one_of_redis(
    schedule: Schedule, broker: AsynqBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry helps against an error of Redis, and hides a bug."""
    claim = await schedule.claim(1)
    plan = Plan("a", None)
    with pytest.raises(TypeError):
        await schedule.reschedule(claim, [plan])
    with pytest.raises(TypeError):
        await schedule.place("a/1", [plan])

    async def run(*_: object) -> object:
        raise TypeError("an argument that cannot be built")

    monkeypatch.setattr(Script, "run", run)
    for call in (schedule.claim(1), schedule.reclaim(), schedule.stats(), broker.inspect(), broker.sweep()):
        with pytest.raises(TypeError, match="cannot be built"):
            await call


async def test_an_empty_leader_key_is_no_leader(redis: Redis, schedule: Schedule) -> None:
    await redis.set(KEYS.leader, "", px=9000)
    assert (await schedule.campaign("", "a/1", 10)).outcome is CampaignOutcome.WON


async def test_values_that_no_producer_wrote_are_cut_or_omitted(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await redis.set(KEYS.leader, "x" * 1_000_000, px=9000)
    await redis.hset(
        KEYS.replicas, mapping={"large": f"{clock.now_ms} " + "y" * 200_000, "z" * 300: f"{clock.now_ms} {{}}"}
    )
    stats = await schedule.stats()
    assert (stats.leader, stats.reports) == ("x" * 200, ())
    assert (await schedule.campaign("", "a/1", 10)).holder == "x" * 200


async def test_schedules_of_two_tags_share_nothing_and_each_tag_is_one_slot(redis: Redis, clock: Clock) -> None:
    upstream, tagged = (Schedule(redis, keys=Keys(tag), clock=TEST_CLOCK) for tag in ("", "other"))
    await tagged.campaign("", TERM, 10)
    await tagged.place(TERM, [Plan("a", 60)])
    await tagged.stats(node="n", report=b"{}")
    assert (await upstream.claim(1)).due == {}
    assert (await tagged.claim(1)).due == {"a": clock.now_ms}
    names = sorted(each.decode() for each in await redis.keys() if each != b"test:clock")
    assert names == sorted([tagged.keys.lease, tagged.keys.leader, tagged.keys.replicas])
    assert all(name.startswith("{other}:peekaping:") for name in names)
    await redis.delete(*names)


def test_a_tag_that_would_not_decide_the_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="tag: expected text without braces, got '}'"):
        Keys("}")
