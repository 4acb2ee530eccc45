"""compare lists what place and move do, in every state of one monitor."""

import json

import pytest
from redis.asyncio import Redis

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.monitors.ticks import next_tick, phase_s
from peekaping_producer.schedule import Comparison, Placement, PlaceResult, Schedule
from peekaping_producer.schedule.keys import KEYS
from tests.kit.clock import START_MS, Clock
from tests.kit.schedule import TERM, make_due

pytestmark = pytest.mark.usefixtures("term")

NOW = START_MS
TICK = (NOW // 60_000 + 1) * 60_000
STATES = {
    "absent": (None, None),
    "overdue": (NOW - 5, None),
    "aligned": (TICK, None),
    "no tick": (TICK - 17_000, None),
    "within the slack": (NOW + 4999, None),
    "too far ahead": (TICK + 60_000 * 20, None),
    "postponed": (NOW + 30_000.5, None),
    "postponed too far": (NOW + 90_000.5, None),
    "leased": (None, NOW + 9000.25),
    "in both sets": (TICK - 17_000, NOW + 9000.25),
    "infinite": (float("inf"), None),
    "phased": (next_tick(NOW, 60, phase_s("a", 60)), None),
}


@pytest.mark.parametrize("spread", [False, True], ids=["plain", "spread"])
@pytest.mark.parametrize("interval", [0, 60, 3600])
@pytest.mark.parametrize("state", STATES)
async def test_compare_lists_what_place_and_move_do(
    redis: Redis, schedule: Schedule, state: str, interval: int, spread: bool
) -> None:
    due, lease = STATES[state]
    if spread:
        await redis.set(KEYS.spread, f"{NOW} {TERM}")
    if due is not None:
        await redis.zadd(KEYS.due, {"a": due})
    if lease is not None:
        await redis.zadd(KEYS.lease, {"a": lease})
    before = await redis.zrange(KEYS.due, 0, -1, withscores=True), await redis.zrange(KEYS.lease, 0, -1)
    plan = Plan("a", interval)
    found = await schedule.compare([plan])
    assert before == (await redis.zrange(KEYS.due, 0, -1, withscores=True), await redis.zrange(KEYS.lease, 0, -1))
    placed = await schedule.place(TERM, [plan])
    assert (len(found.added), len(found.removed), found.leased) == (placed.added, placed.removed, placed.leased)
    assert [(move.id, move.score) for move in found.moved] == [(seen.id, seen.score) for seen in placed.misaligned]
    assert await schedule.move(TERM, placed.misaligned, {"a": plan}) == len(found.moved)
    for move in found.moved:
        assert await redis.zscore(KEYS.due, "a") == move.to_ms
    assert (found.differing([plan]) == []) == (placed == PlaceResult(leased=placed.leased))


@pytest.mark.parametrize(
    ("due", "found"),
    [
        (None, Comparison(NOW, added=(Placement("a", to_ms=TICK + 60_000),))),
        (TICK, Comparison(NOW, moved=(Placement("a", str(TICK), TICK + 60_000),))),
        (TICK + 60_000, Comparison(NOW, held=1)),
        (TICK + 7_200_001, Comparison(NOW, held=1)),
    ],
    ids=["absent", "moved by a peer", "at its end", "after its end"],
)
async def test_a_held_monitor_keeps_its_due_time(
    redis: Redis, schedule: Schedule, due: int | None, found: Comparison
) -> None:
    hold = {"until_ms": TICK + 1, "who": "anna", "why": "migration"}
    await redis.hset(KEYS.held, "a", json.dumps(hold))
    if due is not None:
        await redis.zadd(KEYS.due, {"a": due})
    plan = Plan("a", 60)
    assert await schedule.compare([plan]) == found
    placed = await schedule.place(TERM, [plan])
    assert (placed.added, placed.moved) == (len(found.added), len(found.moved))
    (placement,) = (*found.added, *found.moved, Placement("a", to_ms=due))[:1]
    assert await redis.zscore(KEYS.due, "a") == placement.to_ms
    assert await schedule.compare([plan]) == Comparison(NOW, held=1)


@pytest.mark.parametrize("due", [None, TICK], ids=["absent", "moved by a peer"])
async def test_the_end_of_a_hold_has_a_phase_while_ticks_are_spread(
    redis: Redis, schedule: Schedule, due: int | None
) -> None:
    await redis.set(KEYS.spread, f"{NOW} {TERM}")
    await redis.hset(KEYS.held, "a", json.dumps({"until_ms": TICK + 600_001, "who": "anna", "why": "migration"}))
    if due is not None:
        await redis.zadd(KEYS.due, {"a": due})
    plan = Plan("a", 60)
    found = await schedule.compare([plan])
    (placement,) = (*found.added, *found.moved)
    assert placement.to_ms == next_tick(TICK + 600_000, 60, phase_s("a", 60)) != next_tick(TICK + 600_000, 60)
    await schedule.place(TERM, [plan])
    assert await redis.zscore(KEYS.due, "a") == placement.to_ms


async def test_a_thousand_plans_are_compared_in_one_call(redis: Redis, schedule: Schedule, clock: Clock) -> None:
    plans = [Plan(f"m{n}", 60) for n in range(1000)]
    assert (await schedule.compare(plans)).added == tuple(Placement(plan.id) for plan in plans)
    await schedule.place(TERM, plans)
    assert await schedule.compare(plans) == Comparison(clock.now_ms)
    await make_due(redis, m7=NOW + 40_001, m8=NOW + 20_000.5)
    assert await schedule.compare(plans) == Comparison(
        clock.now_ms, moved=(Placement("m7", str(NOW + 40_001), TICK),), postponed=1
    )
    assert await schedule.compare([]) == Comparison(0)


async def test_compare_needs_no_leader(redis: Redis, schedule: Schedule) -> None:
    await redis.delete(KEYS.leader)
    assert (await schedule.compare([Plan("a", 60)])).added == (Placement("a"),)


async def test_a_request_for_a_sync_is_read_until_it_is_answered(
    redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    assert (await schedule.stats()).sync_request is None
    assert await schedule.request_sync('anna "\x1b[31m\\ \ud800' + "x" * 300) == clock.now_ms
    request = (await schedule.stats(node="vm-a", report=b"{}")).sync_request
    assert request is not None
    assert request.at_ms == clock.now_ms
    assert request.who.isprintable()
    assert len(request.who) < 150
    assert 0 < await redis.pttl(KEYS.sync_requested) <= 120_000
    await clock.advance(1)
    await schedule.request_sync("bo")
    assert (await schedule.stats(node="vm-a", report=b"{}", answered=request.stored)).sync_request is not None
    request = (await schedule.stats()).sync_request
    assert request is not None
    assert request.who == "bo"
    assert (await schedule.stats(node="vm-a", report=b"{}", answered=request.stored)).sync_request is None
    assert not await redis.exists(KEYS.sync_requested)


@pytest.mark.parametrize("stored", [b"", b"{", b"[]", b"{" * 2000, b'{"who": 1, "at_ms": 2}', b"\xff", b"x" * 100_000])
async def test_a_malformed_request_is_ignored(redis: Redis, schedule: Schedule, stored: bytes) -> None:
    await redis.set(KEYS.sync_requested, stored)
    assert (await schedule.stats()).sync_request is None
    await redis.delete(KEYS.sync_requested)
    await redis.lpush(KEYS.sync_requested, "x")
    stats = await schedule.stats()
    assert (stats.sync_request, stats.problems) == (None, ())
