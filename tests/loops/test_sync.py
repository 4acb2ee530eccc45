"""Database and schedule, compared from end to end."""

import asyncio
import time

import pytest

from peekaping_producer.errors import StaleTermError, StoreUnavailableError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.reconcile.find import RowsRead
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.stores import Session
from tests.kit.asynq_peer import PENDING
from tests.kit.memory_store import monitor
from tests.kit.waiting import until
from tests.loops.conftest import TERM, Harness


async def schedule_members(harness: Harness, *ids: str) -> None:
    await harness.redis.zadd(KEYS.due, dict.fromkeys(ids, harness.clock.now_ms + 60_000))


async def test_an_empty_schedule_is_filled_with_all_that_runs(harness: Harness) -> None:
    harness.store.put(*(monitor(f"m{n:05}") for n in range(2500)))
    harness.store.put(monitor("mpaused", active=False), monitor("mzero", 0))
    await harness.sync.run_once(TERM)
    due = await harness.due()
    assert len(due) == 2500
    assert set(due.values()) == {harness.clock.now_ms}
    assert harness.store.reads.count("page_of_plans") == 3


async def test_when_nothing_changed_nothing_is_written(harness: Harness) -> None:
    harness.store.put(*(monitor(f"m{n}") for n in range(50)))
    await harness.sync.run_once(TERM)
    before = await harness.due()
    await harness.sync.run_once(TERM)
    assert await harness.due() == before
    assert harness.count("schedule_changes_total", change="added") == 50
    assert harness.count("schedule_changes_total", change="moved") == 0


async def test_a_held_monitor_that_a_peer_has_moved_is_counted_as_moved(harness: Harness) -> None:
    harness.store.put(monitor("m1"))
    await harness.sync.run_once(TERM)
    ends_ms = harness.clock.now_ms + 600_000
    await harness.schedule.redis.hset(KEYS.held, "m1", f'{{"until_ms":{ends_ms},"who":"anna","why":"x"}}')
    await harness.sync.run_once(TERM)
    assert (await harness.due())["m1"] >= ends_ms
    assert harness.count("schedule_changes_total", change="moved") == 1


async def test_what_is_gone_or_paused_leaves_due_and_lease(harness: Harness) -> None:
    harness.store.put(*(monitor(f"m{n}") for n in range(10)))
    await harness.sync.run_once(TERM)
    await harness.schedule.claim(5)
    leased = await harness.leased()
    del harness.store.rows["m0"]
    harness.store.put(monitor("m9", active=False))
    await harness.sync.run_once(TERM)
    expected = {f"m{n}" for n in range(1, 9)}
    assert set(await harness.due()) | await harness.leased() == expected
    assert await harness.leased() == leased & expected


async def test_members_that_are_no_ids_leave_even_when_the_database_is_empty(harness: Harness) -> None:
    await schedule_members(harness, *(f"foreign{n}" for n in range(30)))
    await harness.sync.run_once(TERM)
    assert await harness.due() == {}
    assert harness.count("monitor_anomalies_total", kind="schedule.foreign_member") == 30
    assert {each["monitor_id"] for each in harness.anomalies.current()} == {f"foreign{n}" for n in range(30)}


async def test_a_wholly_empty_answer_removes_nothing_from_twenty_members_on(harness: Harness) -> None:
    await schedule_members(harness, *(f"m{n}" for n in range(20)))
    await harness.sync.run_once(TERM)
    assert len(await harness.due()) == 20
    assert [condition.code for condition in harness.sync.conditions(int)] == ["database_empty"]
    assert harness.count("sync_removals_refused_total") == 1
    harness.store.put(monitor("m0"))
    await harness.sync.run_once(TERM)
    assert list(harness.sync.conditions(int)) == []
    assert set(await harness.due()) == {"m0"}


async def test_members_that_are_no_ids_do_not_count_for_the_guard(harness: Harness) -> None:
    """They leave first: a second sync would then find fewer than twenty, and remove what the first one refused to."""
    await schedule_members(harness, *(f"m{n}" for n in range(20)), *(f"foreign{n}" for n in range(5)))
    for _ in range(2):
        await harness.sync.run_once(TERM)
        assert len(await harness.due()) == 20


async def test_the_last_few_monitors_may_be_deleted(harness: Harness) -> None:
    await schedule_members(harness, *(f"m{n}" for n in range(19)))
    await harness.sync.run_once(TERM)
    assert await harness.due() == {}


async def test_a_much_smaller_answer_is_read_again_and_only_what_is_absent_twice_goes(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.store.put(*(monitor(f"m{n}") for n in range(100)))
    await harness.sync.run_once(TERM)
    hidden = {each: harness.store.rows.pop(each) for each in [f"m{n}" for n in range(60)]}

    async def rows_come_back() -> None:
        harness.store.put(*(each for each in hidden.values() if each.id != "m7"))

    monkeypatch.setattr(harness.sync._removal, "_pause", rows_come_back)
    await harness.sync.run_once(TERM)
    assert set(await harness.due()) == {f"m{n}" for n in range(100)} - {"m7"}


async def test_a_database_that_fails_in_the_middle_removes_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await schedule_members(harness, "m1", "m2")

    harness.store.put(*(monitor(f"mx{n:04}") for n in range(1500)))
    first_page = harness.store.page_of_plans

    async def cut_after_the_first(after: str | None, limit: int) -> list[Plan]:
        if after is not None:
            raise StoreUnavailableError("cut")
        return await first_page(after, limit)

    monkeypatch.setattr(harness.store, "page_of_plans", cut_after_the_first)
    with pytest.raises(StoreUnavailableError):
        await harness.sync.run_once(TERM)
    due = set(await harness.due())
    assert {"m1", "m2"} < due
    assert len(due) == 1002


async def test_what_is_gone_leaves_though_it_moves_while_the_answer_is_doubted(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member without a row goes from due to lease and back; members_seen from before the wait would fit no longer."""
    harness.store.put(*(monitor(f"m{n}") for n in range(100)))
    await harness.sync.run_once(TERM)
    for n in range(60):
        del harness.store.rows[f"m{n}"]

    async def all_are_claimed() -> None:
        await harness.schedule.claim(100)

    monkeypatch.setattr(harness.sync._removal, "_pause", all_are_claimed)
    await harness.sync.run_once(TERM)
    assert await harness.leased() == {f"m{n}" for n in range(60, 100)}


async def test_a_page_older_than_a_hand_off_does_not_undo_its_reschedule(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says 2 s; the row is edited to 60 s, and a worker hands off by it before the page is placed."""
    harness.store.put(monitor("m1", 2))
    await harness.redis.zadd(KEYS.due, {"m1": harness.clock.now_ms})
    page = harness.store.page_of_plans

    async def then_an_edit_and_a_hand_off(after: str | None, limit: int) -> list[Plan]:
        plans = await page(after, limit)
        harness.store.put(monitor("m1", 60))
        await harness.worker.run_once()
        return plans

    monkeypatch.setattr(harness.store, "page_of_plans", then_an_edit_and_a_hand_off)
    await harness.sync.run_once(TERM)
    assert await harness.due() == {"m1": harness.tick(60)}


async def test_a_monitor_that_is_resumed_during_the_removal_stays(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock from the second read to the removal, its hint finds it in place and it is removed after that."""
    harness.store.put(*(monitor(f"m{n}") for n in range(10)))
    await harness.sync.run_once(TERM)
    harness.store.put(monitor("m1", active=False))
    plans = harness.store.plans
    hinting: list[asyncio.Task[float]] = []

    async def then_it_is_resumed(ids: list[str]) -> dict[str, Plan]:
        monkeypatch.setattr(harness.store, "plans", plans)
        read = await plans(ids)
        harness.store.put(monitor("m1"))
        harness.hints.add(["m1"])
        hinting.append(asyncio.create_task(harness.hints.run_once(TERM)))
        await asyncio.wait(hinting, timeout=0.2)
        return read

    monkeypatch.setattr(harness.store, "plans", then_it_is_resumed)
    await harness.sync.run_once(TERM)
    await asyncio.gather(*hinting)
    assert "m1" in await harness.due()


async def test_a_monitor_made_after_its_page_was_read_is_not_removed(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the second read of the database it would be taken for a zombie."""
    harness.store.put(*(monitor(f"m{n}") for n in range(10)))
    place_all = harness.sync._place_all

    async def then_one_is_made(term: str, session: Session) -> RowsRead:
        rows = await place_all(term, session)
        harness.store.put(monitor("mnew"))
        await harness.redis.zadd(KEYS.due, {"mnew": harness.clock.now_ms})
        return rows

    monkeypatch.setattr(harness.sync, "_place_all", then_one_is_made)
    await harness.sync.run_once(TERM)
    assert "mnew" in await harness.due()


async def test_a_page_is_placed_before_any_later_row_is(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock from reading to placing, the hint's newer row is placed first and the older page over it."""
    harness.store.put(monitor("m1", 86400))
    await harness.redis.zadd(KEYS.due, {"m1": harness.tick(86400)})
    read, go_on = asyncio.Event(), asyncio.Event()
    page = harness.store.page_of_plans

    async def slow_page(after: str | None, limit: int) -> list[Plan]:
        plans = await page(after, limit)
        read.set()
        await go_on.wait()
        return plans

    monkeypatch.setattr(harness.store, "page_of_plans", slow_page)
    syncing = asyncio.create_task(harness.sync.run_once(TERM))
    await read.wait()
    harness.store.put(monitor("m1", 30))
    harness.hints.add(["m1"])
    hinting = asyncio.create_task(harness.hints.run_once(TERM))
    await until(lambda: harness.store.reads.count("session") == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert "plans" not in harness.store.reads
    go_on.set()
    await asyncio.gather(syncing, hinting)
    assert await harness.due() == {"m1": harness.tick(30)}


async def test_hints_that_could_not_be_remembered_bring_the_next_sync_forward(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.sync.request()
    running = asyncio.create_task(harness.sync.run(TERM))
    await until(lambda: harness.store.reads.count("page_of_plans") == 1)
    harness.hints.overflowed = True
    await until(lambda: harness.store.reads.count("page_of_plans") == 2)
    assert not harness.hints.overflowed
    await cancel_and_wait(running)


async def test_a_stale_leader_changes_nothing(harness: Harness) -> None:
    harness.store.put(monitor("m1"))
    await harness.redis.set(KEYS.leader, "another/term")
    with pytest.raises(StaleTermError):
        await harness.sync.run_once(TERM)
    assert await harness.due() == {}


async def test_an_edit_of_a_leased_monitor_is_hinted_and_settles_after_the_hand_off(harness: Harness) -> None:
    """The worker had read the old interval and reschedules by it; without the hint that stood until the next sync."""
    harness.store.put(monitor("m1", 86400))
    await harness.sync.run_once(TERM)
    claim = await harness.schedule.claim(1)
    loaded = await harness.store.load(list(claim.due))
    harness.store.put(monitor("m1", 30))
    await harness.sync.run_once(TERM)
    assert len(harness.hints) == 1
    await harness.worker._hand_off(claim, list(claim.due), loaded)
    assert await harness.due() == {"m1": harness.tick(86400)}
    await harness.hints.run_once(TERM)
    assert await harness.due() == {"m1": harness.tick(30)}


async def test_sync_sweeps_the_queue(harness: Harness) -> None:
    await harness.redis.lpush(PENDING, "healthcheck:ghost")
    await harness.sync.run_once(TERM)
    assert await harness.redis.llen(PENDING) == 0
    assert harness.count("pending_repaired_total", kind="orphan") == 1


async def test_members_too_long_for_an_id_leave_whenever_they_are_due(harness: Harness) -> None:
    """Only a claim could meet them otherwise, and these are never claimed."""
    harness.store.put(monitor("m1"))
    far = harness.clock.now_ms + 3_600_000
    await harness.redis.zadd(KEYS.due, {"x" * 65: far, "m1": far, "y" * 3_000_000: "+inf", b"\xff" * 70: "-inf"})
    await harness.redis.zadd(KEYS.lease, {"z" * 100: far})
    await harness.sync.run_once(TERM)
    assert set(await harness.due()) == {"m1"}
    assert await harness.leased() == set()
    assert harness.count("monitor_anomalies_total", kind="schedule.foreign_member") == 4


async def test_a_sync_that_fails_shows_for_how_long(harness: Harness) -> None:
    assert harness.sync.unsynced_s == 0
    harness.store.away = True
    running = asyncio.create_task(harness.sync.run(TERM))
    await until(lambda: harness.sync.unsynced_s > 0.2)
    began_at = harness.sync.synced_at
    harness.store.away = False
    await until(lambda: harness.sync.synced_at != began_at)
    await cancel_and_wait(running)
    assert harness.sync.unsynced_s == 0


async def test_a_leader_whose_sync_fails_for_long_reports_it(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the instant: an age would be wrong wherever the reason is shown later."""
    synced_at = time.monotonic() - 3600
    monkeypatch.setattr(harness.sync, "synced_at", synced_at)

    def redis_ms(at: float) -> int:
        return int(1000 * (at - synced_at)) + 11_260_000

    reason = "No sync of this leader has succeeded since 03:07:40: changes to monitors are not applied."
    assert list(harness.sync.conditions(redis_ms)) == [Condition("sync_late", reason)]
    assert list(harness.sync.conditions(redis_ms)) == [Condition("sync_late", reason)], "the same at any time"
    await harness.sync.run_once(TERM)
    assert list(harness.sync.conditions(redis_ms)) == []
