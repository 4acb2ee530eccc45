"""The dry run finds what a sync changes, whatever the database and the schedule contain."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from peekaping_producer.brokers.stray_entries import StrayEntries
from peekaping_producer.operations.reconcile.differences import Difference, Differences, find_differences
from peekaping_producer.operations.reconcile.find import Change, Finder, Reason
from peekaping_producer.operations.reconcile.guards import Guard, guard_of
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import PENDING
from tests.kit.clock import START_MS
from tests.kit.memory_store import monitor
from tests.loops.conftest import TERM, Harness

ROWS = st.one_of(st.none(), st.tuples(st.sampled_from([-1, 0, 20, 60, 3600, 10**13]), st.booleans()))
"""No row, or interval and active."""
TICK_MS = (START_MS // 60_000 + 1) * 60_000
SCORES = st.one_of(
    st.none(),
    st.sampled_from([-1.0, 0.0, START_MS, START_MS + 1, START_MS + 3000, START_MS + 29_000.5, TICK_MS, TICK_MS + 1]),
    st.sampled_from([TICK_MS + 3_600_000, START_MS + 90_000.5, float("inf"), float("-inf")]),
)
IDS = [*(f"m{n}" for n in range(25)), "no-id", "m" + "x" * 64, "m\x1b[31m\u202e", "\udcff", "m'; DROP TABLE"]
TOKENS = st.one_of(st.none(), st.floats(1, 9999).map(lambda ms: START_MS + ms))
HOLDS = st.sampled_from([None, None, None, START_MS - 1, START_MS + 30_000, TICK_MS, 2**60])
STATES = st.fixed_dictionaries({id_: st.tuples(ROWS, SCORES, TOKENS, HOLDS) for id_ in IDS})
"""By id: the row, the scores in due and in lease, and the end of a hold."""


async def find(harness: Harness, *, list_all: bool = True) -> Differences:
    finder = Finder(schedule=harness.schedule, is_id=harness.store.is_id)
    async with harness.store.session() as session:
        return await find_differences(finder, session, list_all=list_all)


async def scores(harness: Harness) -> dict[str, tuple[float | None, float | None]]:
    """The scores in due and lease, by member."""

    async def of(key: str) -> dict[str, float]:
        found = await harness.redis.zrange(key, 0, -1, withscores=True)
        return {member.decode(errors="surrogateescape"): score for member, score in found}

    due, lease = await of(KEYS.due), await of(KEYS.lease)
    return {id_: (due.get(id_), lease.get(id_)) for id_ in due.keys() | lease.keys()}


async def put(harness: Harness, state: dict[str, Any]) -> None:
    await harness.redis.delete(KEYS.due, KEYS.lease, KEYS.late, KEYS.held)
    harness.store.rows.clear()
    members: dict[str, dict[bytes, float]] = {KEYS.due: {}, KEYS.lease: {}}
    holds: dict[bytes, str] = {}
    for id_, (row, due, lease, held_until) in state.items():
        member = id_.encode(errors="surrogateescape")
        if row and harness.store.is_id(id_):
            harness.store.put(monitor(id_, row[0], active=row[1]))
        if held_until is not None:
            hold = {"until_ms": held_until, "who": "anna", "why": "migration"}
            holds[member] = json.dumps(hold)
        if lease is not None:
            members[KEYS.lease][member] = lease
        elif due is not None:
            members[KEYS.due][member] = due
    if holds:
        await harness.redis.hset(KEYS.held, mapping=holds)
    for key, scored in members.items():
        if scored:
            await harness.redis.zadd(key, scored)


def expected_after(
    before: dict[str, tuple[float | None, float | None]], listed: tuple[Difference, ...]
) -> dict[str, tuple[float | None, float | None]]:
    """The schedule after these changes."""
    after = dict(before)
    for difference in listed:
        match difference.reason.change:
            case Change.ADD:
                after[difference.id] = (difference.to_ms or START_MS, None)
            case Change.MOVE:
                assert after[difference.id][0] == difference.due_ms
                after[difference.id] = (difference.to_ms, None)
            case Change.REMOVE:
                del after[difference.id]
    return after


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=STATES, hidden=st.booleans(), spread=st.booleans())
async def test_a_sync_changes_exactly_what_the_dry_run_lists(
    harness: Harness, state: Any, hidden: bool, spread: bool
) -> None:
    await put(harness, state)
    await harness.redis.set(KEYS.spread, f"{START_MS} {TERM}" if spread else "")
    if hidden:
        harness.store.rows.clear()
    before = await scores(harness)
    found = await find(harness)
    assert await scores(harness) == before, "the dry run has written"
    assert sum(found.reasons.values()) == len(found.listed)
    with capture_logs():
        await harness.sync.run_once(TERM)
    assert await scores(harness) == expected_after(before, found.listed)
    assert (found.guard is Guard.REFUSE) == harness.sync.refused_removal
    again = await find(harness)
    assert (again.reasons, again.refused) == ({}, found.refused)


async def test_each_reason_is_found(harness: Harness) -> None:
    now = harness.clock.now_ms
    rows = {"mnew": 60, "mmoved": 60, "mfine": 60, "mpaused": 60, "mzero": 0, "mheld": 60, "mlater": 60}
    harness.store.put(*(monitor(id_, interval, active=id_ != "mpaused") for id_, interval in rows.items()))
    due = dict.fromkeys([*rows, "mgone", "no-id", "x" * 65], now) | {"mmoved": now + 50_001, "mlater": now + 9000.5}
    del due["mnew"], due["mheld"]
    await harness.redis.zadd(KEYS.due, due)
    await harness.redis.zadd(KEYS.lease, {"mheld": now + 5000})
    found = await find(harness)
    assert found.reasons == {
        Reason.NOT_SCHEDULED: 1,
        Reason.MISALIGNED: 1,
        Reason.UNSCHEDULABLE: 1,
        Reason.PAUSED: 1,
        Reason.DELETED: 1,
        Reason.FOREIGN: 2,
    }
    assert (found.rows, found.members, found.agree, found.claimed, found.postponed) == (5, 9, 3, 1, 1)
    moved = next(difference for difference in found.listed if difference.reason is Reason.MISALIGNED)
    assert moved == Difference("mmoved", Reason.MISALIGNED, 60, now + 50_001, harness.tick(60))


async def test_three_of_each_change_are_listed(harness: Harness) -> None:
    harness.store.put(*(monitor(f"m{n:03}") for n in range(50)))
    await harness.redis.zadd(KEYS.due, {f"mgone{n}": harness.clock.now_ms for n in range(10)})
    found = await find(harness, list_all=False)
    assert (found.count(Change.ADD), found.count(Change.REMOVE)) == (50, 10)
    assert [difference.reason.change for difference in found.listed] == [Change.ADD] * 3 + [Change.REMOVE] * 3


async def test_a_monitor_that_a_worker_has_rescheduled_by_a_newer_row_is_not_listed(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.store.put(monitor("m1", 2))
    await harness.redis.zadd(KEYS.due, {"m1": harness.clock.now_ms})
    page = harness.store.page_of_plans

    async def then_an_edit_and_a_hand_off(after: str | None, limit: int) -> Any:
        plans = await page(after, limit)
        harness.store.put(monitor("m1", 60))
        await harness.worker.run_once()
        return plans

    monkeypatch.setattr(harness.store, "page_of_plans", then_an_edit_and_a_hand_off)
    found = await find(harness)
    assert (found.reasons, found.agree) == ({}, 1)


async def test_a_row_that_redis_refuses_stops_no_other(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.store.put(*(monitor(f"m{n}") for n in range(20)))
    compare = harness.schedule.compare

    async def refuse_one(plans: Any) -> Any:
        if any(plan.id == "m7" for plan in plans):
            raise ValueError("unforeseen")
        return await compare(plans)

    monkeypatch.setattr(harness.schedule, "compare", refuse_one)
    found = await find(harness)
    assert (found.count(Change.ADD), found.not_compared, found.agree) == (19, 1, 0)


@pytest.mark.parametrize(
    ("rows", "members", "guard"),
    [
        (0, 0, Guard.CLEAR),
        (0, 19, Guard.READ_TWICE),
        (0, 20, Guard.REFUSE),
        (1, 20, Guard.READ_TWICE),
        (79, 100, Guard.READ_TWICE),
        (80, 100, Guard.CLEAR),
    ],
)
def test_the_guard(rows: int, members: int, guard: Guard) -> None:
    assert guard_of(rows, members) is guard


async def test_stray_entries_of_the_pending_list_are_counted_as_sync_removes_them(harness: Harness) -> None:
    key = "asynq:{healthcheck}:t:healthcheck:m1"
    await harness.redis.hset(key, "state", "pending")
    entries = ["healthcheck:m1", "healthcheck:ghost", "healthcheck:m1", "healthcheck:m1", "healthcheck:ghost"]
    await harness.redis.lpush(PENDING, *entries)
    found = await StrayEntries(harness.redis).count()
    assert found == (2, 2)
    assert await harness.redis.llen(PENDING) == 5
    assert await harness.broker.sweep() == found
    assert await harness.redis.llen(PENDING) == 1
