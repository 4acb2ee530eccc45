"""What a replica writes about itself: its heartbeat and its events, with the samples that it takes anyway."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.operations.conditions import Level
from peekaping_producer.operations.fleet_events import FleetEvent, decode_events
from peekaping_producer.operations.heartbeat import Heartbeat
from peekaping_producer.operations.replica_report import replicas_of
from peekaping_producer.operations.status import Status
from peekaping_producer.producer.parts import Parts
from peekaping_producer.producer.timing import Timing
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import Schedule, StoredEvent
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.text import clock_time
from peekaping_producer.targets import RedisTarget
from tests.kit.clock import Clock
from tests.kit.memory_store import MemoryStore, monitor
from tests.kit.processes import free_port
from tests.kit.rights import documented, user_with
from tests.kit.waiting import until
from tests.loops.conftest import SETTINGS, commands_of

TERM = "node/term"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def parts(redis: Redis, clock: Clock, schedule: Schedule, broker: AsynqBroker, store: MemoryStore) -> Parts:
    await redis.set(KEYS.leader, TERM)
    return Parts(SETTINGS, redis, store, schedule, broker, timing=Timing(read_again_after_s=0.0))


async def events(redis: Redis) -> list[FleetEvent]:
    """The events in the stream, without those of conditions: the clock of these tests is far from the local one."""
    entries: Any = await redis.xrange(KEYS.events)
    decoded = decode_events(StoredEvent(key.decode(), fields[b"event"]) for key, fields in entries)
    return [event for event in decoded if not event.kind.startswith("condition.")]


async def heartbeat(parts: Parts) -> Heartbeat:
    """The heartbeat that the second of two samples writes."""
    for _ in range(2):
        await parts.vitals.run_once()
    (report,) = replicas_of(await parts.schedule.stats()).values()
    assert report.heartbeat
    return report.heartbeat


async def test_a_heartbeat_contains_what_the_replica_did(parts: Parts, clock: Clock, store: MemoryStore) -> None:
    store.put(monitor("m1", 20), monitor("m2", 60))
    await parts.redis.zadd(KEYS.due, {"m1": clock.now_ms - 1500, "m2": clock.now_ms - 10})
    await parts.workers[0].run_once()
    await parts.sync.run_once(TERM)
    found = await heartbeat(parts)
    assert (sum(found.rings.handed_off_1s), sum(found.rings.late_1s)) == (2, 1)
    assert found.rings.at_s == clock.now_ms // 1000
    assert found.lateness.max_s == 2.5
    assert found.outcomes == {"enqueued": 2}
    assert None not in {found.stages.claim.recent_ms, found.stages.read.recent_ms, found.stages.hand_off.recent_ms}
    assert found.round_trip_ms is not None
    assert found.database_ms is not None
    assert found.shortest_interval_s == 20
    assert set(found.settings) == {"BROKER", "DATABASE", "LEASE_TTL", "SPREAD_TICKS", "SYNC_INTERVAL", "TZ"}
    assert found.claims == ()


async def test_a_heartbeat_names_the_claims_in_hand_by_the_scores_of_their_members(parts: Parts, clock: Clock) -> None:
    await parts.redis.zadd(KEYS.due, {"m1": clock.now_ms - 1500, "m2": clock.now_ms - 10})
    claim = await parts.claims.next(parts.workers[0].loop, parts.store.ping)
    (held,) = (await heartbeat(parts)).claims
    assert (held.token, held.monitors, held.since_ms) == (claim.token, 2, clock.now_ms)
    assert await parts.redis.zscore(KEYS.lease, "m1") == float(held.token)


async def test_a_heartbeat_names_a_database_that_does_not_answer(parts: Parts, store: MemoryStore) -> None:
    await heartbeat(parts)
    store.away = True
    found = await heartbeat(parts)
    assert found.database_ms is None
    (failing,) = found.failing
    assert (failing.name, failing.loops) == ("database", ("vitals",))


async def test_a_sample_sends_no_more_commands_with_events(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    await parts.vitals.run_once()  # the server knows the scripts now
    sent = commands_of(parts.redis, monkeypatch)
    for _ in range(3):
        parts.recorder.record("leader.won", "x leads.")
        await parts.vitals.run_once()
    assert sent == ["EVALSHA"] * 4, "three samples, and one inspection of the queue"
    monkeypatch.undo()
    assert len(await events(parts.redis)) == 3


async def test_what_acts_and_what_changes_is_an_event(parts: Parts, clock: Clock, store: MemoryStore) -> None:
    await parts.vitals.run_once()
    store.put(monitor("m1"), monitor("m2"))
    await parts.redis.zadd(KEYS.due, {"mgone": clock.now_ms + 60_000})
    await parts.sync.run_once(TERM)
    await parts.sync.run_once(TERM)
    store.put(monitor("m1", active=False))
    parts.hints.add(["m1"])
    await parts.hints.run_once(TERM)
    await parts.schedule.claim(1)
    await clock.advance(12)
    await parts.reclaimer.run_once()
    parts.anomalies.report("m2", "monitor.failed", "Set aside: x.")
    parts.anomalies.report("m2", "monitor.failed", "Set aside: x.")
    await parts.vitals.run_once()
    found = [(event.kind, event.message, event.monitor_id) for event in await events(parts.redis)]
    assert found == [
        (
            "schedule.synced",
            "A sync changed the schedule: 2 added, 1 removed (1 deleted). Added: m1, m2. Removed: mgone.",
            None,
        ),
        ("schedule.edited", "Events changed the schedule: 1 removed.", "m1"),
        ("lease.reclaimed", "Leases expired; 1 monitor is due again.", None),
        ("monitor.failed", "Set aside: x.", "m2"),
    ]
    assert {event.node for event in await events(parts.redis)} == {parts.leader.node}


async def test_the_stream_is_capped(parts: Parts) -> None:
    await parts.vitals.run_once()
    for _ in range(20):
        await parts.schedule.stats(node="n", report=b"{}", events=[b"{}"] * 100)
    assert await parts.redis.xlen(KEYS.events) < 1200


async def test_a_user_without_the_right_to_the_stream_works_and_that_is_logged_once(
    parts: Parts, redis_server: RedisTarget
) -> None:
    rules = [rule for rule in documented("peekaping-producer") if not rule.startswith("+x")]
    target = await user_with(parts.redis, redis_server, *rules, "~test:clock")
    async with redis_for(target, connections=2) as limited:
        parts.schedule.redis = limited
        with capture_logs() as logs:
            for _ in range(4):
                parts.recorder.record("leader.won", "x leads.")
                await parts.vitals.run_once()
    assert [line["event"] for line in logs].count("fleet.events_refused") == 1
    assert not [line for line in logs if line["event"] == "dependency.failing"]
    assert parts.vitals.unready() == {}


async def test_a_replica_that_stops_writes_its_last_events_and_removes_its_report(parts: Parts) -> None:
    running = asyncio.create_task(parts.vitals.run())
    await until(lambda: parts.vitals._samples > 0)
    await cancel_and_wait(running)
    assert [event.kind for event in await events(parts.redis)] == ["producer.started", "producer.stopped"]
    assert not await parts.redis.exists(KEYS.replicas)


async def test_replicas_report_every_second_while_a_page_is_open_and_sample_the_rest_no_more_often(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await parts.vitals.run_once() == 5.0
    await parts.schedule.look(watch=True)
    sent = commands_of(parts.redis, monkeypatch)
    assert [await parts.vitals.run_once() for _ in range(10)] == [1.0] * 10
    assert sent == ["EVALSHA"] * 10, "two of them are full samples; the queue is inspected with each third"
    await parts.redis.delete(KEYS.watched)
    assert await parts.vitals.run_once() == 5.0


async def test_the_verdict_of_a_replica_whose_database_is_away(parts: Parts, clock: Clock, store: MemoryStore) -> None:
    await parts.vitals.run_once()
    assert not parts.activity.is_late
    store.away = True
    await parts.redis.zadd(KEYS.due, {"m1": clock.now_ms})
    await clock.advance(10)
    for _ in range(2):
        await parts.vitals.run_once()
    found = parts.vitals.verdict()
    assert (found["code"], found["sentence"]) == (
        "late_database",
        "Late since 12:37:46, because reads of the database fail.",
    )
    assert parts.activity.is_late
    assert parts.metrics.registry.get_sample_value("peekaping_producer_verdict", {"code": "late_database"}) == 1
    assert parts.metrics.registry.get_sample_value("peekaping_producer_verdict", {"code": "on_time"}) == 0


async def test_the_verdict_of_a_replica_that_redis_does_not_answer(parts: Parts) -> None:
    async with redis_for(RedisTarget(host="127.0.0.1", port=free_port()), connections=1) as away:
        parts.schedule.redis = away
        await parts.vitals.run_once()
    found = parts.vitals.verdict()
    assert (found["code"], found["sentence"]) == (
        "redis_unavailable",
        "Redis has not answered: the state of the other replicas is unknown.",
    )


async def test_workers_finish_tasks_at_a_rate(parts: Parts, clock: Clock) -> None:
    key = "asynq:{healthcheck}:processed"
    await parts.redis.set(key, 1000)
    await parts.vitals.run_once()
    await parts.redis.set(key, 1300)
    await clock.advance(15)
    for _ in range(3):
        await parts.vitals.run_once()
    found = await heartbeat(parts)
    assert (found.finished_per_s, found.mean_check_s, found.nothing_finished_since_ms) == (20.0, None, None)


async def test_one_replica_records_what_all_observe(parts: Parts, store: MemoryStore) -> None:
    """A paused queue is an event of the leader, or of one replica while none leads; each replica logs it."""
    other = Parts(SETTINGS, parts.redis, store, parts.schedule, parts.vitals._sampler._broker, timing=Timing())
    nodes = sorted((parts.leader.node, other.leader.node))
    last = next(found for found in (parts, other) if found.leader.node == nodes[1])
    await parts.redis.set(KEYS.leader, f"{last.leader.node}/t", px=9000)

    async def recorded() -> list[tuple[str, str]]:
        entries: Any = await parts.redis.xrange(KEYS.events)
        found = decode_events(StoredEvent(key.decode(), fields[b"event"]) for key, fields in entries)
        return [(event.node, event.message) for event in found if event.kind == "condition.raised"]

    async def sample() -> None:
        for found in (parts, other, parts, other):
            await found.vitals.run_once()

    await sample()
    await parts.redis.set("asynq:{healthcheck}:paused", 1)
    with capture_logs() as logs:
        for _ in range(2):  # the queue is inspected once in three samples
            await sample()
    assert len([line for line in logs if line.get("code") == "queue_paused"]) == 2
    assert [node for node, message in await recorded() if message.startswith("queue_paused")] == [nodes[1]]
    await parts.redis.set(KEYS.leader, "no replica", px=9000)
    await sample()
    assert [node for node, message in await recorded() if message.startswith("foreign_leader")] == [nodes[0]]


async def test_a_queue_without_a_worker_for_five_minutes_is_a_note(parts: Parts, clock: Clock) -> None:
    """Also if no task is pending, and if no task was ever finished."""
    await parts.redis.zadd(KEYS.due, {"m1": clock.now_ms + 3_600_000})
    await parts.vitals.run_once()
    found = await heartbeat(parts)
    assert found.nothing_finished_since_ms == clock.now_ms
    sampler = parts.vitals._sampler
    assert sampler.unserved_since is not None
    sampler.unserved_since -= 299
    assert not [note for note in parts.vitals.notes() if note.startswith("queue_unserved")]
    sampler.unserved_since -= 2
    (note,) = [note for note in parts.vitals.notes() if note.startswith("queue_unserved")]
    since = clock_time(sampler.redis_ms(sampler.unserved_since), clock.now_ms)
    assert note == (
        f"queue_unserved: No worker process has been registered for the queue since {since}. Start Peekaping's workers."
    )
    assert "queue_unserved" not in parts.vitals.unready()
    with capture_logs() as logs:
        await parts.vitals.run_once()
        await parts.vitals.run_once()
    assert [line["event"] for line in logs if line.get("code") == "queue_unserved"] == ["condition.raised"]
    status = Status(await parts.schedule.stats(), await AsynqBroker(parts.redis).inspect())
    assert [found.code for level, found in status.conditions if level is Level.NOTE] == ["queue_unserved"]
    await clock.advance(15)
    await parts.redis.set("asynq:{healthcheck}:processed", 5)
    for _ in range(3):
        await parts.vitals.run_once()
    assert sampler.unserved_since is None, "a worker that does not register has finished a task"


async def test_a_person_can_ask_the_leader_to_sync(parts: Parts, store: MemoryStore) -> None:
    store.put(monitor("m1"))
    asked_ms = await parts.schedule.request_sync("anna")
    await parts.vitals.run_once()
    assert await parts.redis.exists(KEYS.sync_requested), "only a leader answers"
    parts.leader.term = TERM
    syncing = asyncio.create_task(parts.sync.run(TERM))
    await until(lambda: parts.sync.synced_at is not None)
    await parts.vitals.run_once()
    await parts.vitals.run_once()  # it is the same request, and is followed once
    await until(lambda: parts.sync.answered is not None)
    found = await heartbeat(parts)
    assert found.sync_answered_ms == asked_ms
    assert not await parts.redis.exists(KEYS.sync_requested)
    asked = [event for event in await events(parts.redis) if event.kind == "sync.requested"]
    assert [event.message for event in asked] == ["anna asked the leader to sync."]
    await cancel_and_wait(syncing)
    assert parts.sync.answered is None


async def test_a_sync_that_had_begun_before_a_request_does_not_answer_it(parts: Parts, store: MemoryStore) -> None:
    parts.leader.term = TERM
    parts.sync.request()
    read, go_on = asyncio.Event(), asyncio.Event()
    page = store.page_of_plans

    async def slow_page(after: str | None, limit: int) -> Any:
        read.set()
        await go_on.wait()
        return await page(after, limit)

    store.page_of_plans = slow_page  # type: ignore[method-assign]
    syncing = asyncio.create_task(parts.sync.run(TERM))
    await read.wait()
    await parts.schedule.request_sync("anna")
    await parts.vitals.run_once()
    read.clear()
    go_on.set()
    await read.wait()
    assert parts.sync.answered is None
    await until(lambda: parts.sync.answered is not None)
    await cancel_and_wait(syncing)
