"""One turn of a worker: what happens to each kind of monitor, and when something fails."""

import asyncio
import contextlib

import pytest

from peekaping_producer.brokers import HandOff
from peekaping_producer.errors import RedisUnavailableError, StoreUnavailableError
from peekaping_producer.monitors.monitor import MonitorDetails
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.monitors.ticks import next_tick, phase_s
from peekaping_producer.producer.timing import Timing
from peekaping_producer.schedule import Claim
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.loop import LoopDone
from peekaping_producer.stores import Loaded
from tests.kit.memory_store import monitor
from tests.kit.waiting import until
from tests.loops.conftest import Harness


async def make_due(harness: Harness, *ids: str, ago_ms: int = 0) -> None:
    await harness.redis.zadd(KEYS.due, dict.fromkeys(ids, harness.clock.now_ms - ago_ms))


async def test_due_monitors_end_in_the_queue_and_at_their_next_tick(harness: Harness) -> None:
    harness.store.put(monitor("m1", 60), monitor("m2", 20))
    await make_due(harness, "m1", "m2", ago_ms=1500)
    await harness.worker.run_once()
    assert await harness.pending() == {"m1", "m2"}
    assert await harness.due() == {"m1": harness.tick(60), "m2": harness.tick(20)}
    assert await harness.leased() == set()
    assert harness.claims.outstanding == {}
    assert harness.count("handed_off_total", outcome="enqueued") == 2
    assert harness.count("claimed_total") == 2
    assert harness.count("schedule_lag_seconds_bucket", le="1.0") == 0
    assert harness.count("schedule_lag_seconds_bucket", le="2.5") == 2


async def test_missed_ticks_are_counted(harness: Harness) -> None:
    harness.store.put(monitor("m1", 10))
    await make_due(harness, "m1", ago_ms=35_000)
    await harness.worker.run_once()
    assert harness.count("missed_ticks_total") == 3


@pytest.mark.parametrize("timing", [Timing(load_timeout_s=0.01)])
async def test_a_load_that_takes_too_long_gives_the_claim_back(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_due(harness, "m1")

    async def hang(_ids: list[str]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(harness.store, "load", hang)
    with pytest.raises(StoreUnavailableError, match="not read within"):
        await harness.worker.run_once()
    assert set(await harness.due()) == {"m1"}


async def test_one_batch_is_one_read(harness: Harness) -> None:
    ids = [f"m{n}" for n in range(300)]
    harness.store.put(*(monitor(each) for each in ids))
    await make_due(harness, *ids)
    await harness.worker.run_once()
    assert harness.store.reads == ["session", "load"]


async def test_rows_that_say_so_are_dropped(harness: Harness) -> None:
    harness.store.put(monitor("m1"), monitor("m2", active=False), monitor("m3", 0), monitor("m4", -5))
    await make_due(harness, "m1", "m2", "m3", "m4")
    await harness.worker.run_once()
    assert await harness.pending() == {"m1"}
    assert set(await harness.due()) == {"m1"}
    assert await harness.leased() == set()
    assert harness.count("handed_off_total", outcome="dropped") == 3


async def test_an_absent_row_is_left_to_its_lease_and_read_again(harness: Harness) -> None:
    """It may be new, and read from a replica that lags: dropping needs evidence."""
    await make_due(harness, "m1")
    await harness.worker.run_once()
    assert (await harness.pending(), await harness.leased()) == (set(), {"m1"})
    harness.store.put(monitor("m1"))
    await harness.clock.advance(11)
    await harness.reclaimer.run_once()
    await harness.worker.run_once()
    assert await harness.pending() == {"m1"}


async def test_an_unreadable_row_is_tried_again_later_and_the_others_run(harness: Harness) -> None:
    harness.store.put(monitor("m1"), monitor("m2"))
    harness.store.broken["m2"] = "interval: expected a number, got text"
    await make_due(harness, "m1", "m2")
    meant = harness.clock.now_ms
    waits = []
    for _ in range(3):
        await harness.worker.run_once()
        assert (await harness.pending(), await harness.leased()) == ({"m1"}, set())
        waits.append(((await harness.due())["m2"] - harness.clock.now_ms) // 1000)
        await harness.clock.advance(waits[-1] + 1)
    assert waits == [10, 20, 40]
    assert harness.count("monitor_anomalies_total", kind="monitor.unreadable") == 3
    assert harness.count("handed_off_total", outcome="set_aside") == 3
    harness.store.broken.clear()
    await harness.worker.run_once()
    assert "m2" in await harness.pending()
    assert len(harness.suspects) == 0
    assert harness.count("missed_ticks_total") == (harness.clock.now_ms // 60_000) - meant // 60_000
    assert await harness.redis.zcard(KEYS.late) == 0


def fail_loads_of(monitor_id: str, error: Exception, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each load of this monitor fail, together with all others that it reads."""
    load = harness.store.load

    async def fail(some: list[str]) -> Loaded:
        if monitor_id in some:
            raise error
        return await load(some)

    monkeypatch.setattr(harness.store, "load", fail)


@pytest.mark.parametrize("error", [RecursionError("deep"), KeyError("bug"), ValueError("x"), MemoryError()])
async def test_an_unforeseen_error_of_one_monitor_stops_no_other_and_ends_no_replica(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    ids = [f"m{n}" for n in range(100)]
    harness.store.put(*(monitor(each) for each in ids))
    await make_due(harness, *ids)
    fail_loads_of("m42", error, harness, monkeypatch)
    await harness.worker.run_once()
    assert await harness.pending() == set(ids) - {"m42"}
    assert set(await harness.leased()) == set()
    assert (await harness.due())["m42"] > harness.clock.now_ms
    assert [each["monitor_id"] for each in harness.anomalies.current()] == ["m42"]
    assert harness.anomalies.current()[0]["kind"] == "monitor.failed"


async def test_a_monitor_that_breaks_every_read_is_found_while_the_database_answers(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is too large, or that the driver chokes on: the connection ends, and others work."""
    ids = [f"m{n}" for n in range(100)]
    harness.store.put(*(monitor(each) for each in ids))
    await make_due(harness, *ids)
    fail_loads_of("m42", StoreUnavailableError("the connection broke"), harness, monkeypatch)
    for _ in range(3):
        with contextlib.suppress(StoreUnavailableError):
            await harness.worker.run_once()
    assert await harness.pending() == set(ids) - {"m42"}
    assert (await harness.due())["m42"] > harness.clock.now_ms + 9000
    assert [each["kind"] for each in harness.anomalies.current()] == ["monitor.unreadable"]


async def test_a_task_that_the_queue_refuses_is_tried_again_later(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.store.put(monitor("m1"), monitor("m2"))
    await make_due(harness, "m1", "m2")
    hand_off = harness.broker.hand_off

    async def refuse(claim: Claim, tasks: list[HealthCheckTask]) -> HandOff:
        handed = await hand_off(claim, [task for task in tasks if task.monitor_id != "m2"])
        return HandOff(handed.now_ms, handed.not_enqueued, {"m2": "RedisArgumentError: too large (9 bytes)"})

    monkeypatch.setattr(harness.broker, "hand_off", refuse)
    await harness.worker.run_once()
    assert (await harness.pending(), await harness.leased()) == ({"m1"}, set())
    assert (await harness.due())["m2"] == harness.clock.now_ms + 10_000.5
    assert harness.count("handed_off_total", outcome="enqueued") == 1
    (odd,) = harness.anomalies.current()
    assert (odd["kind"], odd["monitor_id"]) == ("monitor.refused", "m2")


async def test_a_monitor_whose_table_does_not_answer_waits_alone(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.store.put(monitor("m1"), monitor("m2"))
    await make_due(harness, "m1", "m2")

    async def load(_ids: list[str]) -> Loaded:
        check = MonitorDetails(monitor("m1"))
        return Loaded({"m1": check}, {}, {"m2": "heartbeats: no answer in time"}, {"proxies": "no answer in time"})

    monkeypatch.setattr(harness.store, "load", load)
    await harness.worker.run_once()
    assert await harness.pending() == {"m1"}
    assert (await harness.due())["m2"] == harness.clock.now_ms + 2000.5
    assert len(harness.suspects) == 0
    assert harness.anomalies.degraded_tables(60) == {"proxies": "no answer in time"}


async def test_a_member_that_is_too_long_for_an_id_is_reported_and_gone(harness: Harness) -> None:
    await make_due(harness, "x" * 100_000)
    await harness.worker.run_once()
    assert (await harness.due(), await harness.leased()) == ({}, set())
    assert harness.count("monitor_anomalies_total", kind="schedule.foreign_member") == 1
    assert harness.claims.outstanding == {}


async def test_a_foreign_member_leaves_at_once(harness: Harness) -> None:
    await make_due(harness, "not-an-id")
    await harness.worker.run_once()
    assert (await harness.due(), await harness.leased()) == ({}, set())


async def test_no_connection_no_claim(harness: Harness) -> None:
    """Claims pause while the database is away, rather than outlive their leases."""
    harness.store.put(monitor("m1"))
    await make_due(harness, "m1")
    harness.store.away = True
    with pytest.raises(StoreUnavailableError):
        await harness.worker.run_once()
    assert set(await harness.due()) == {"m1"}
    harness.store.away = False
    await harness.worker.run_once()
    assert await harness.pending() == {"m1"}


async def test_a_load_that_fails_gives_the_claim_back_as_it_was(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_due(harness, "m1", ago_ms=700)

    async def fail(_ids: list[str]) -> None:
        raise StoreUnavailableError("cut")

    monkeypatch.setattr(harness.store, "load", fail)
    with pytest.raises(StoreUnavailableError):
        await harness.worker.run_once()
    assert await harness.due() == {"m1": harness.clock.now_ms - 700}
    assert harness.claims.outstanding == {}


async def test_a_hand_off_that_fails_leaves_the_claim_to_its_lease(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.store.put(monitor("m1"))
    await make_due(harness, "m1")

    async def fail(_claim: Claim, _tasks: list[HealthCheckTask]) -> HandOff:
        raise RedisUnavailableError("cut")

    monkeypatch.setattr(harness.broker, "hand_off", fail)
    with pytest.raises(RedisUnavailableError):
        await harness.worker.run_once()
    assert await harness.leased() == {"m1"}
    assert harness.claims.outstanding == {}


@pytest.mark.parametrize("timing", [Timing(longest_wait_s=600.0)])
async def test_a_worker_waits_until_something_is_due_and_a_nudge_wakes_it(harness: Harness) -> None:
    harness.store.put(monitor("m1"))
    turn = asyncio.create_task(harness.worker.run_once())
    await until(lambda: harness.claims._lock.locked())
    await make_due(harness, "m1")

    async def nudged() -> bool:
        harness.claims.nudge()
        return turn.done()

    await until(nudged)  # before the time for which it waits, 600 s
    await turn
    assert await harness.pending() == {"m1"}


@pytest.mark.parametrize("timing", [Timing(idle_s=0.02)])
async def test_an_idle_worker_keeps_its_connection_alive_and_learns_when_it_broke(harness: Harness) -> None:
    turn = asyncio.create_task(harness.worker.run_once())
    await until(lambda: harness.store.reads.count("ping") >= 2)
    harness.store.away = True
    with pytest.raises(StoreUnavailableError):
        await turn
    assert harness.store.reads.count("session") == 1


async def test_closing_the_claims_ends_the_worker_normally(harness: Harness) -> None:
    running = asyncio.create_task(harness.worker.run())
    await until(lambda: harness.claims._lock.locked())
    harness.claims.close()
    await asyncio.wait_for(running, 30)
    with pytest.raises(LoopDone):
        await harness.worker.run_once()


async def test_a_claim_in_hand_is_still_outstanding_when_the_worker_is_cancelled(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica gives it back; were it settled, its monitors would wait for the lease to end."""
    harness.store.put(monitor("m1"))
    await make_due(harness, "m1")
    stuck = asyncio.Event()

    async def hang(_claim: Claim, _tasks: list[HealthCheckTask]) -> HandOff:
        stuck.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(harness.broker, "hand_off", hang)
    turn = asyncio.create_task(harness.worker.run_once())
    await stuck.wait()
    turn.cancel()
    await asyncio.wait({turn})
    assert await harness.claims.give_back_all() == 1
    assert set(await harness.due()) == {"m1"}


@pytest.mark.parametrize(
    ("phase", "spread_for_s", "unphased"),
    [
        (0, 1000, 1),  # another producer has set it
        (phase_s("m1", 60), 1000, 0),
        (0, 100, 0),  # it may have been set before ticks were spread
        (0, None, 0),
    ],
)
async def test_due_times_of_producers_without_phases_are_counted(
    harness: Harness, phase: int, spread_for_s: int | None, unphased: int
) -> None:
    harness.store.put(monitor("m1", 60), monitor("m2", 60))
    due_ms = next_tick(harness.clock.now_ms, 60, phase)
    new_ms = due_ms + 123  # of a new monitor, due at once
    await harness.redis.zadd(KEYS.due, {"m1": due_ms, "m2": new_ms})
    await harness.clock.set(new_ms + 10)
    if spread_for_s is not None:
        await harness.redis.set(KEYS.spread, f"{due_ms - spread_for_s * 1000} node/term")
    await harness.worker.run_once()
    assert harness.count("unphased_total") == unphased
    assert harness.activity.unphased_share() == unphased / 2
    is_spread = spread_for_s is not None
    assert await harness.due() == {
        each: next_tick(harness.clock.now_ms, 60, phase_s(each, 60) if is_spread else 0) for each in ("m1", "m2")
    }


async def test_missed_ticks_are_counted_with_the_phase(harness: Harness) -> None:
    """Due at its phase, and handed off almost two intervals later."""
    phase = phase_s("m1", 10)
    harness.store.put(monitor("m1", 10))
    await harness.redis.set(KEYS.spread, "1 node/term")
    due_ms = next_tick(harness.clock.now_ms, 10, phase)
    await harness.redis.zadd(KEYS.due, {"m1": due_ms})
    await harness.clock.set(due_ms + 10_001 + 9_000)
    await harness.worker.run_once()
    assert harness.count("missed_ticks_total") == 1
    assert await harness.due() == {"m1": due_ms + 20_000}
