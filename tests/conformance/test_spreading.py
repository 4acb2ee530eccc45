"""Ticks that are spread: the switch of the fleet, and every script that computes a tick, on a real server."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.brokers.monitor_state import MonitorStateReader
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.monitors.ticks import next_tick, phase_s
from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.schedule import PRELUDE, CampaignOutcome, CampaignResult, Schedule
from peekaping_producer.schedule.keys import KEYS
from tests.kit.clock import START_MS, TEST_CLOCK, Clock
from tests.kit.schedule import TERM, make_due
from tests.kit.vectors import vectors

ID, INTERVAL = "3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04", 60
PHASE = 48
PLAN = Plan(ID, INTERVAL)
SINCE_MS = START_MS - 500

_TICKS = """
local ticks = {}
for i = 1, #ARGV, 3 do
  ticks[#ticks + 1] = exact(tick_after(tonumber(ARGV[i]), ARGV[i + 1] * 1000, ARGV[i + 2] * 1000))
end
return ticks
"""


async def turn(redis: Redis, *, on: bool) -> None:
    """Turn the switch, as a leader does."""
    if on:
        await redis.set(KEYS.spread, f"{SINCE_MS} {TERM}")
    else:
        await redis.delete(KEYS.spread)


async def campaign(schedule: Schedule, term: str, *, spread_ticks: bool) -> CampaignResult:
    return await schedule.campaign(term, term, 10, spread_ticks=spread_ticks)


@pytest.mark.parametrize("name", ["next_aligned", "next_phased"])
async def test_the_scripts_use_the_same_formula(redis: Redis, name: str) -> None:
    golden = [vector for vector in vectors(name) if vector["now_ms"] >= 0]
    args = [part for one in golden for part in (one["now_ms"], one["interval_s"], one.get("phase_s", 0))]
    ticks = await redis.eval(CLOCK + PRELUDE + _TICKS, 0, *args)
    assert [int(tick) for tick in ticks] == [vector["next_ms"] for vector in golden]


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("by", ["hand_off", "reschedule"])
async def test_a_monitor_that_was_handed_off_is_due_at_its_next_tick(
    redis: Redis, schedule: Schedule, broker: AsynqBroker, clock: Clock, by: str, on: bool
) -> None:
    await turn(redis, on=on)
    await make_due(redis, **{ID: clock.now_ms - 1, "m": clock.now_ms})
    claim = await schedule.claim(10)
    assert claim.spread_since_ms == (SINCE_MS if on else None)
    if by == "hand_off":
        tasks = [HealthCheckTask(each, interval, 16, b"{}") for each, interval in ((ID, INTERVAL), ("m", 20))]
        assert (await broker.hand_off(claim, tasks)).not_enqueued == {}
    else:
        assert (await schedule.reschedule(claim, [PLAN, Plan("m", 20)])).lost == ()
    due = dict(await redis.zrange(KEYS.due, 0, -1, withscores=True))
    assert due == {
        ID.encode(): next_tick(clock.now_ms, INTERVAL, PHASE if on else 0),
        b"m": next_tick(clock.now_ms, 20, phase_s("m", 20) if on else 0),
    }


async def test_a_claim_ends_by_the_switch_as_it_was_when_it_began(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    """Each of both ticks is one, so a switch that is turned in between cannot do harm."""
    await make_due(redis, **{ID: clock.now_ms})
    claim = await schedule.claim(1)
    await turn(redis, on=True)
    await schedule.reschedule(claim, [PLAN])
    assert await redis.zscore(KEYS.due, ID) == next_tick(clock.now_ms, INTERVAL)


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("phase", [0, PHASE])
async def test_a_due_time_that_fits_either_grid_stands(
    redis: Redis, schedule: Schedule, clock: Clock, term: str, phase: int, on: bool
) -> None:
    await turn(redis, on=on)
    due_ms = next_tick(clock.now_ms + 5000, INTERVAL, phase)
    await make_due(redis, **{ID: due_ms})
    assert (await schedule.place(term, [PLAN])).misaligned == ()
    assert (await schedule.compare([PLAN])).moved == ()
    await make_due(redis, **{ID: due_ms + 1})
    (move,) = (await schedule.compare([PLAN])).moved
    assert move.to_ms == next_tick(clock.now_ms, INTERVAL, PHASE if on else 0)
    (misaligned,) = (await schedule.place(term, [PLAN])).misaligned
    assert await schedule.move(term, [misaligned], {ID: PLAN}) == 1
    assert await redis.zscore(KEYS.due, ID) == next_tick(clock.now_ms, INTERVAL, PHASE if on else 0)


@pytest.mark.parametrize("on", [False, True])
async def test_explain_reads_the_next_tick_by_the_switch(redis: Redis, clock: Clock, on: bool) -> None:
    await turn(redis, on=on)
    reader = MonitorStateReader(redis, clock=TEST_CLOCK)
    await make_due(redis, **{ID: next_tick(clock.now_ms, INTERVAL, PHASE)})
    state = await reader.read(ID, INTERVAL)
    assert (state.spread, state.misaligned) == (on, False)
    assert state.next_tick_ms == next_tick(clock.now_ms, INTERVAL, PHASE if on else 0)
    assert (await reader.read(ID)).next_tick_ms is None


async def test_the_leader_turns_the_switch_and_no_follower_does(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    assert (await campaign(schedule, "a/1", spread_ticks=True)).spread is True
    assert await redis.get(KEYS.spread) == f"{clock.now_ms} a/1".encode()
    await clock.advance(5)
    assert (await campaign(schedule, "b/1", spread_ticks=False)).outcome is CampaignOutcome.HELD
    assert (await campaign(schedule, "a/1", spread_ticks=True)).spread is None
    assert await redis.get(KEYS.spread) == f"{START_MS} a/1".encode(), "since the switch was turned on"
    await schedule.resign("a/1")
    assert await redis.exists(KEYS.spread), "a change of leaders turns nothing"
    assert (await campaign(schedule, "b/1", spread_ticks=False)).spread is False
    assert (await campaign(schedule, "a/1", spread_ticks=True)).spread is None
    assert not await redis.exists(KEYS.spread)
    assert (await campaign(schedule, "b/1", spread_ticks=False)).spread is None


async def test_the_leader_repairs_a_switch_that_was_lost_or_damaged(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    await campaign(schedule, "a/1", spread_ticks=True)
    await redis.delete(KEYS.spread)
    assert (await campaign(schedule, "a/1", spread_ticks=True)).spread is True
    for damage in (redis.set, redis.lpush):
        await redis.delete(KEYS.spread)
        await damage(KEYS.spread, "x")
        await make_due(redis, **{ID: clock.now_ms})
        claim = await schedule.claim(1)
        assert claim.spread_since_ms is None
        await schedule.reschedule(claim, [PLAN])
        assert (await campaign(schedule, "a/1", spread_ticks=True)).spread is True
        assert await redis.get(KEYS.spread) == f"{START_MS} a/1".encode()


async def test_ticks_are_not_spread_while_a_go_producer_leads(redis: Redis, schedule: Schedule) -> None:
    await turn(redis, on=True)
    await redis.set(KEYS.leader, "go-host-1", px=9000)
    answer = await schedule.campaign("", "a/1", 10, spread_ticks=True)
    assert (answer.outcome, answer.spread) == (CampaignOutcome.HELD, False)
    assert not await redis.exists(KEYS.spread)


async def test_a_refused_write_of_the_switch_does_not_end_a_term(redis: Redis, schedule: Schedule) -> None:
    """With full memory Redis accepts the renewal, which needs none."""
    await campaign(schedule, "a/1", spread_ticks=False)
    await redis.config_set("maxmemory", 1)
    try:
        answer = await campaign(schedule, "a/1", spread_ticks=True)
    finally:
        await redis.config_set("maxmemory", 0)
    assert answer.outcome is CampaignOutcome.RENEWED
