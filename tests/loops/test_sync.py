"""Database and schedule, compared from end to end."""

import asyncio

import pytest

from peekaping_producer.errors import StaleTermError, StoreUnavailableError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.stores import Session
from tests.kit.asynq_peer import PENDING
from tests.kit.waiting import until
from tests.loops.conftest import TERM, Harness
from tests.memory_store import monitor


async def schedule_members(parts: Harness, *ids: str) -> None:
    await parts.redis.zadd(KEYS.due, dict.fromkeys(ids, parts.clock.now_ms + 60_000))


async def test_an_empty_schedule_is_filled_with_all_that_runs(parts: Harness) -> None:
    parts.store.put(*(monitor(f"m{n:05}") for n in range(2500)))
    parts.store.put(monitor("mpaused", active=False), monitor("mzero", 0))
    await parts.sync.run_once(TERM)
    due = await parts.due()
    assert len(due) == 2500
    assert set(due.values()) == {parts.clock.now_ms}
    assert parts.store.reads.count("page_of_plans") == 3


async def test_when_nothing_changed_nothing_is_written(parts: Harness) -> None:
    parts.store.put(*(monitor(f"m{n}") for n in range(50)))
    await parts.sync.run_once(TERM)
    before = await parts.due()
    await parts.sync.run_once(TERM)
    assert await parts.due() == before
    assert parts.count("schedule_changes_total", change="added") == 50
    assert parts.count("schedule_changes_total", change="moved") == 0


async def test_what_is_gone_or_paused_leaves_due_and_lease(parts: Harness) -> None:
    parts.store.put(*(monitor(f"m{n}") for n in range(10)))
    await parts.sync.run_once(TERM)
    await parts.schedule.claim(5)
    leased = await parts.leased()
    del parts.store.rows["m0"]
    parts.store.put(monitor("m9", active=False))
    await parts.sync.run_once(TERM)
    expected = {f"m{n}" for n in range(1, 9)}
    assert set(await parts.due()) | await parts.leased() == expected
    assert await parts.leased() == leased & expected


async def test_members_that_are_no_ids_leave_even_when_the_database_is_empty(parts: Harness) -> None:
    await schedule_members(parts, *(f"foreign{n}" for n in range(30)))
    await parts.sync.run_once(TERM)
    assert await parts.due() == {}
    assert parts.count("monitor_anomalies_total", kind="schedule.foreign_member") == 30
    assert {each["monitor_id"] for each in parts.anomalies.current()} == {f"foreign{n}" for n in range(30)}


async def test_a_wholly_empty_answer_removes_nothing_from_twenty_members_on(parts: Harness) -> None:
    await schedule_members(parts, *(f"m{n}" for n in range(20)))
    await parts.sync.run_once(TERM)
    assert len(await parts.due()) == 20
    assert parts.sync.refused_removal
    assert parts.count("sync_removals_refused_total") == 1
    parts.store.put(monitor("m0"))
    await parts.sync.run_once(TERM)
    assert not parts.sync.refused_removal
    assert set(await parts.due()) == {"m0"}


async def test_the_last_few_monitors_may_be_deleted(parts: Harness) -> None:
    await schedule_members(parts, *(f"m{n}" for n in range(19)))
    await parts.sync.run_once(TERM)
    assert await parts.due() == {}


async def test_a_much_smaller_answer_is_read_again_and_only_what_is_absent_twice_goes(
    parts: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.store.put(*(monitor(f"m{n}") for n in range(100)))
    await parts.sync.run_once(TERM)
    hidden = {each: parts.store.rows.pop(each) for each in [f"m{n}" for n in range(60)]}

    async def rows_come_back(_seconds: float) -> None:
        parts.store.put(*(each for each in hidden.values() if each.id != "m7"))

    monkeypatch.setattr(parts.sync, "_sleep", rows_come_back)
    await parts.sync.run_once(TERM)
    assert set(await parts.due()) == {f"m{n}" for n in range(100)} - {"m7"}


async def test_a_database_that_fails_in_the_middle_removes_nothing(
    parts: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await schedule_members(parts, "m1", "m2")

    parts.store.put(*(monitor(f"mx{n:04}") for n in range(1500)))
    first_page = parts.store.page_of_plans

    async def cut_after_the_first(after: str | None, limit: int) -> list[Plan]:
        if after is not None:
            raise StoreUnavailableError("cut")
        return await first_page(after, limit)

    monkeypatch.setattr(parts.store, "page_of_plans", cut_after_the_first)
    with pytest.raises(StoreUnavailableError):
        await parts.sync.run_once(TERM)
    due = set(await parts.due())
    assert {"m1", "m2"} < due
    assert len(due) == 1002


async def test_what_is_gone_leaves_though_it_moves_while_the_answer_is_doubted(
    parts: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member without a row goes from due to lease and back; members_seen from before the wait would fit no longer."""
    parts.store.put(*(monitor(f"m{n}") for n in range(100)))
    await parts.sync.run_once(TERM)
    for n in range(60):
        del parts.store.rows[f"m{n}"]

    async def all_are_claimed(_seconds: float) -> None:
        await parts.schedule.claim(100)

    monkeypatch.setattr(parts.sync, "_sleep", all_are_claimed)
    await parts.sync.run_once(TERM)
    assert await parts.leased() == {f"m{n}" for n in range(60, 100)}


async def test_a_page_older_than_a_hand_off_does_not_undo_its_reschedule(
    parts: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says 2 s; the row is edited to 60 s, and a worker hands off by it before the page is placed."""
    parts.store.put(monitor("m1", 2))
    await parts.redis.zadd(KEYS.due, {"m1": parts.clock.now_ms})
    page = parts.store.page_of_plans

    async def then_an_edit_and_a_hand_off(after: str | None, limit: int) -> list[Plan]:
        plans = await page(after, limit)
        parts.store.put(monitor("m1", 60))
        await parts.worker.run_once()
        return plans

    monkeypatch.setattr(parts.store, "page_of_plans", then_an_edit_and_a_hand_off)
    await parts.sync.run_once(TERM)
    assert await parts.due() == {"m1": parts.tick(60)}


async def test_a_monitor_that_is_resumed_during_the_removal_stays(
    parts: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock from the second read to the removal, its hint finds it in place and it is removed after that."""
    parts.store.put(*(monitor(f"m{n}") for n in range(10)))
    await parts.sync.run_once(TERM)
    parts.store.put(monitor("m1", active=False))
    plans = parts.store.plans
    hinting: list[asyncio.Task[float]] = []

    async def then_it_is_resumed(ids: list[str]) -> dict[str, Plan]:
        monkeypatch.setattr(parts.store, "plans", plans)
        read = await plans(ids)
        parts.store.put(monitor("m1"))
        parts.hints.add(["m1"])
        hinting.append(asyncio.create_task(parts.hints.run_once(TERM)))
        await asyncio.wait(hinting, timeout=0.2)
        return read

    monkeypatch.setattr(parts.store, "plans", then_it_is_resumed)
    await parts.sync.run_once(TERM)
    await asyncio.gather(*hinting)
    assert "m1" in await parts.due()


async def test_a_monitor_made_after_its_page_was_read_is_not_removed(
    parts: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the second read of the database it would be taken for a zombie."""
    parts.store.put(*(monitor(f"m{n}") for n in range(10)))
    place_all = parts.sync._place_all

    async def then_one_is_made(term: str, session: Session) -> set[int]:
        known = await place_all(term, session)
        parts.store.put(monitor("mnew"))
        await parts.redis.zadd(KEYS.due, {"mnew": parts.clock.now_ms})
        return known

    monkeypatch.setattr(parts.sync, "_place_all", then_one_is_made)
    await parts.sync.run_once(TERM)
    assert "mnew" in await parts.due()


async def test_a_page_is_placed_before_any_later_row_is(parts: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock from reading to placing, the hint's newer row is placed first and the older page over it."""
    parts.store.put(monitor("m1", 86400))
    await parts.redis.zadd(KEYS.due, {"m1": parts.tick(86400)})
    read, go_on = asyncio.Event(), asyncio.Event()
    page = parts.store.page_of_plans

    async def slow_page(after: str | None, limit: int) -> list[Plan]:
        plans = await page(after, limit)
        read.set()
        await go_on.wait()
        return plans

    monkeypatch.setattr(parts.store, "page_of_plans", slow_page)
    syncing = asyncio.create_task(parts.sync.run_once(TERM))
    await read.wait()
    parts.store.put(monitor("m1", 30))
    parts.hints.add(["m1"])
    hinting = asyncio.create_task(parts.hints.run_once(TERM))
    await until(lambda: parts.store.reads.count("session") == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert "plans" not in parts.store.reads
    go_on.set()
    await asyncio.gather(syncing, hinting)
    assert await parts.due() == {"m1": parts.tick(30)}


async def test_hints_that_could_not_be_remembered_bring_the_next_sync_forward(
    parts: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.sync.request()
    running = asyncio.create_task(parts.sync.run(TERM))
    await until(lambda: parts.store.reads.count("page_of_plans") == 1)
    parts.hints.overflowed = True
    await until(lambda: parts.store.reads.count("page_of_plans") == 2, within_s=5)
    assert not parts.hints.overflowed
    await cancel_and_wait(running)


async def test_a_stale_leader_changes_nothing(parts: Harness) -> None:
    parts.store.put(monitor("m1"))
    await parts.redis.set(KEYS.leader, "another/term")
    with pytest.raises(StaleTermError):
        await parts.sync.run_once(TERM)
    assert await parts.due() == {}


async def test_an_edit_of_a_leased_monitor_is_hinted_and_settles_after_the_hand_off(parts: Harness) -> None:
    """The worker had read the old interval and reschedules by it; without the hint that stood until the next sync."""
    parts.store.put(monitor("m1", 86400))
    await parts.sync.run_once(TERM)
    claim = await parts.schedule.claim(1)
    loaded = await parts.store.load(list(claim.due))
    parts.store.put(monitor("m1", 30))
    await parts.sync.run_once(TERM)
    assert len(parts.hints) == 1
    await parts.worker._hand_off(claim, list(claim.due), loaded)
    assert await parts.due() == {"m1": parts.tick(86400)}
    await parts.hints.run_once(TERM)
    assert await parts.due() == {"m1": parts.tick(30)}


async def test_sync_sweeps_the_queue(parts: Harness) -> None:
    await parts.redis.lpush(PENDING, "healthcheck:ghost")
    await parts.sync.run_once(TERM)
    assert await parts.redis.llen(PENDING) == 0
    assert parts.count("pending_repaired_total", kind="orphan") == 1


async def test_members_too_long_for_an_id_leave_whenever_they_are_due(parts: Harness) -> None:
    """Only a claim could meet them otherwise, and these are never claimed."""
    parts.store.put(monitor("m1"))
    far = parts.clock.now_ms + 3_600_000
    await parts.redis.zadd(KEYS.due, {"x" * 65: far, "m1": far, "y" * 3_000_000: "+inf", b"\xff" * 70: "-inf"})
    await parts.redis.zadd(KEYS.lease, {"z" * 100: far})
    await parts.sync.run_once(TERM)
    assert set(await parts.due()) == {"m1"}
    assert await parts.leased() == set()
    assert parts.count("monitor_anomalies_total", kind="schedule.foreign_member") == 4
