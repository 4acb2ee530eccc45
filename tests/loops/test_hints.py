"""Events become hints, and hints make the schedule agree with the row."""

import asyncio
import itertools
import json
import time

import pytest
from redis.asyncio import Redis

from peekaping_producer.errors import StaleTermError, StoreUnavailableError
from peekaping_producer.monitors.events import monitor_id_of
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.producer.loops.events import EventListener
from peekaping_producer.producer.timing import Timing
from peekaping_producer.redis_client import subscription
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from tests.kit.memory_store import monitor
from tests.kit.waiting import until
from tests.loops.conftest import TERM, Harness


async def test_a_hint_places_what_runs_and_removes_what_does_not(harness: Harness) -> None:
    harness.store.put(monitor("m1"), monitor("m2", active=False))
    await harness.redis.zadd(KEYS.due, {"m2": 1, "m3": 1, "m4": 1})
    harness.hints.add(["m1", "m2", "m3"])
    await harness.hints.run_once(TERM)
    assert set(await harness.due()) == {"m1", "m4"}
    assert len(harness.hints) == 0


async def test_a_delete_takes_the_lease_too_so_that_the_claim_is_lost(harness: Harness) -> None:
    harness.store.put(monitor("m1"))
    await harness.redis.zadd(KEYS.due, {"m1": harness.clock.now_ms})
    claim = await harness.schedule.claim(1)
    loaded = await harness.store.load(["m1"])
    harness.store.rows.clear()
    harness.hints.add(["m1"])
    await harness.hints.run_once(TERM)
    await harness.worker._hand_off(claim, list(claim.due), loaded)
    assert (await harness.pending(), await harness.due(), await harness.leased()) == (set(), {}, set())


async def test_an_edit_of_a_leased_monitor_waits_for_the_lease_and_loses_no_tick(harness: Harness) -> None:
    harness.store.put(monitor("m1", 86400))
    await harness.redis.zadd(KEYS.due, {"m1": harness.clock.now_ms})
    claim = await harness.schedule.claim(1)
    loaded = await harness.store.load(["m1"])
    harness.store.put(monitor("m1", 30))
    harness.hints.add(["m1"])
    await harness.hints.run_once(TERM)
    assert await harness.leased() == {"m1"}
    await harness.worker._hand_off(claim, list(claim.due), loaded)
    assert await harness.pending() == {"m1"}
    await harness.hints.run_once(TERM)
    assert await harness.due() == {"m1": harness.tick(30)}


@pytest.mark.parametrize("timing", [Timing(retry_leased_s=0.02, longest_retry_s=0.08)])
async def test_a_lease_that_stays_is_asked_about_less_and_less_often(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unreadable rows stay leased: thousands of them must not be read four times a second."""
    read_at: list[float] = []
    plans = harness.store.plans

    async def timed(ids: list[str]) -> dict[str, Plan]:
        read_at.append(time.monotonic())
        return await plans(ids)

    monkeypatch.setattr(harness.store, "plans", timed)
    harness.store.put(monitor("m1", 60))
    await harness.redis.zadd(KEYS.due, {"m1": harness.clock.now_ms})
    await harness.schedule.claim(1)
    harness.store.put(monitor("m1", 30))
    harness.hints.add(["m1"])
    for _ in range(5):
        await harness.hints.run_once(TERM)
    waits = [later - sooner for sooner, later in itertools.pairwise(read_at)]
    assert all(wait >= least for wait, least in zip(waits, (0.02, 0.04, 0.08, 0.08), strict=True))
    assert harness.hints._retry_s == {"m1": 0.08}
    await harness.redis.delete(KEYS.lease)
    await harness.hints.run_once(TERM)
    assert harness.hints._retry_s == {}


async def test_ten_thousand_hints_for_one_monitor_are_one_read(harness: Harness) -> None:
    harness.store.put(monitor("m1"))
    for _ in range(10_000):
        harness.hints.add(["m1"])
    await harness.hints.run_once(TERM)
    assert harness.store.reads.count("plans") == 1
    assert len(harness.hints) == 0


async def test_more_hints_than_can_be_remembered_ask_for_a_sync(harness: Harness) -> None:
    harness.hints.add(f"m{n}" for n in range(150_000))
    assert len(harness.hints) == 100_000
    assert harness.hints.overflowed


async def test_a_failing_database_loses_no_hint(harness: Harness) -> None:
    harness.hints.add(["m1", "m2"])
    harness.store.away = True
    with pytest.raises(StoreUnavailableError):
        await harness.hints.run_once(TERM)
    assert len(harness.hints) == 2


async def test_hints_of_a_stale_term_change_nothing(harness: Harness) -> None:
    harness.store.put(monitor("m1"))
    harness.hints.add(["m1"])
    with pytest.raises(StaleTermError):
        await harness.hints.run_once("another/term")
    assert await harness.due() == {}


@pytest.mark.parametrize(
    ("message", "monitor_id"),
    [
        ('{"type":"monitor.created","payload":{"id":"m1","name":"n","interval":60}}', "m1"),
        ('{"type":"monitor.deleted","payload":"m1"}', "m1"),
        ('{"type":"monitor.updated","payload":null}', None),
        ('{"type":"monitor.updated"}', None),
    ],
)
def test_the_monitor_an_event_is_about(message: str, monitor_id: str | None) -> None:
    assert monitor_id_of(message.encode()) == monitor_id


@pytest.mark.parametrize(
    "message", [b"", b"\xff", b"[]", b"7", b'{"type":"x","payload":7}', b'{"type":"x","payload":{}}']
)
def test_an_event_of_another_form_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        monitor_id_of(message)


@pytest.fixture
async def listener(harness: Harness) -> EventListener:
    return harness.events


async def publish(redis: Redis, kind: str, data: bytes | str) -> None:
    await redis.publish(f"peekaping:events:{kind}", data)


async def test_events_are_hinted_counted_and_never_fatal(harness: Harness, listener: EventListener) -> None:
    listening = asyncio.create_task(listener.run())
    await until(lambda: harness.sync._wakeup.is_set(), "subscribed")
    await publish(harness.redis, "monitor.created", json.dumps({"type": "monitor.created", "payload": {"id": "m1"}}))
    await publish(harness.redis, "monitor.deleted", json.dumps({"type": "monitor.deleted", "payload": "m2"}))
    await publish(harness.redis, "monitor.deleted", json.dumps({"type": "monitor.deleted", "payload": "elsewhere"}))
    await publish(harness.redis, "monitor.updated", b"\xff not json")
    await publish(harness.redis, "monitor.updated", json.dumps({"type": "monitor.updated", "payload": None}))
    await publish(harness.redis, "monitor.updated", json.dumps({"type": "monitor.updated", "payload": {"id": "m3"}}))
    await until(lambda: len(harness.hints) == 3)
    assert harness.count("events_total", type="monitor.updated", result="malformed") == 1
    assert harness.count("events_total", type="monitor.updated", result="ignored") == 1
    assert harness.count("events_total", type="monitor.deleted", result="foreign") == 1
    assert not listening.done()
    await cancel_and_wait(listening)


async def test_a_broken_subscription_is_renewed_and_asks_for_a_sync(harness: Harness, listener: EventListener) -> None:
    listening = asyncio.create_task(listener.run())
    await until(lambda: harness.sync._wakeup.is_set(), "subscribed")
    harness.sync._wakeup.clear()
    for _ in range(6):  # each cut is the first one again: a backoff that never starts anew would reach seconds
        harness.sync._wakeup.clear()
        await harness.redis.client_kill_filter(_type="pubsub")
        await until(lambda: harness.sync._wakeup.is_set(), "subscribed again")
        assert listener.loop._backoff._next == 0.1
    await publish(harness.redis, "monitor.created", json.dumps({"type": "monitor.created", "payload": {"id": "m1"}}))
    await until(lambda: len(harness.hints) == 1)
    await cancel_and_wait(listening)


async def test_a_subscription_that_no_longer_answers_is_renewed(
    harness: Harness, listener: EventListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open connection: nothing comes, not even an answer to a ping."""
    monkeypatch.setattr(subscription, "SILENT_FOR_S", 0.0)
    listening = asyncio.create_task(listener.run())
    await until(lambda: harness.sync._wakeup.is_set(), "subscribed")
    harness.sync._wakeup.clear()
    await until(lambda: harness.sync._wakeup.is_set(), "subscribed again")
    await cancel_and_wait(listening)


async def test_a_storm_of_fifty_thousand_events_is_bounded_and_settles_right(
    harness: Harness, listener: EventListener
) -> None:
    ids = [f"m{n}" for n in range(500)]
    harness.store.put(*(monitor(each) for each in ids[:250]))
    tasks = [asyncio.create_task(listener.run()), asyncio.create_task(harness.hints.run(TERM))]
    await until(lambda: harness.sync._wakeup.is_set(), "subscribed")
    async with harness.redis.pipeline(transaction=False) as pipe:
        for n in range(50_000):
            payload = {"type": "monitor.updated", "payload": {"id": ids[n % 500]}}
            pipe.publish("peekaping:events:monitor.updated", json.dumps(payload))
        await pipe.execute()

    async def settled() -> bool:
        return len(harness.hints) == 0 and set(await harness.due()) == set(ids[:250])

    await until(settled)
    await cancel_and_wait(*tasks)
