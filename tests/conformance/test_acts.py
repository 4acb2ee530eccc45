"""Acts of people over the real scripts: an outcome for each monitor, an event for each change, and a log line."""

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from peekaping_producer.errors import ActError, RedisUnavailableError
from peekaping_producer.monitors.ticks import next_tick
from peekaping_producer.operations.acts import MAX_RUN_NOW, ActCode, Actor, ActResult, Acts
from peekaping_producer.operations.fleet_events import decode_events
from peekaping_producer.operations.heartbeat import Heartbeat, HeldClaim
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.operations.verdict import verdict
from peekaping_producer.schedule import ALL_MONITORS, ActReply, Schedule, Steering
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_harness import AsynqHarness
from tests.kit.clock import TEST_CLOCK, Clock
from tests.kit.memory_store import MemoryStore, monitor
from tests.kit.schedule import make_due

ANNA = Actor("anna", "command line on vm-a")


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.put(*(monitor(name) for name in ("m1", "m2", "m3", "m-new")), monitor("m-paused", active=False))
    store.put(monitor("m-odd", interval=-5))
    return store


@pytest.fixture
def acts(redis: Redis, store: MemoryStore, clock: Clock) -> Acts:
    return Acts(redis, store, clock=TEST_CLOCK, patience_s=0.0)


def codes(result: ActResult) -> dict[str, str]:
    return {outcome.monitor_id: outcome.code.value for outcome in result.outcomes}


async def events(schedule: Schedule) -> list[tuple[str, str | None, str, str]]:
    details = await schedule.look(events=100)
    return [(event.kind, event.monitor_id, event.who, event.message) for event in decode_events(details.events)]


async def test_run_now_reports_each_monitor(
    redis: Redis, schedule: Schedule, acts: Acts, asynq: AsynqHarness, clock: Clock
) -> None:
    await asynq.run("m1", "m2")
    await asynq.take()  # m1
    await make_due(redis, m3=clock.now_ms + 40_000)
    result = await acts.run_now(["m1", "m2", "m3", "m3", "m-new", "m-paused", "m-odd", "mgone"], ANNA, "repaired\nit")
    assert codes(result) == {
        "m1": "overlap",
        "m2": "overlap",
        "m3": "due_now",
        "m-new": "not_scheduled",
        "m-paused": "paused",
        "m-odd": "unschedulable",
        "mgone": "unknown",
    }
    assert [outcome.done for outcome in result.outcomes] == [True, True, True, False, False, False, False]
    sentences = [outcome.sentence for outcome in result.outcomes]
    assert sentences[0] == "It is due now. A worker still runs its earlier check: no second one will be enqueued."
    assert "waits for a worker" in sentences[1]
    assert sentences[2] == "It is due now. Its next tick stays where it is."
    assert not result.done
    text = "Made due now, asked for by anna (command line on vm-a): \"'repaired\\nit'\"."
    assert await events(schedule) == [("monitor.run_now", name, "anna", text) for name in ("m1", "m2", "m3")]
    assert set((await schedule.claim(10)).due) == {"m1", "m2", "m3"}
    assert codes(await acts.run_now(["m1", "m-new"], ANNA)) == {"m1": "handing_off", "m-new": "not_scheduled"}


async def test_hold_and_release_with_the_intervals_of_the_rows(
    redis: Redis, schedule: Schedule, acts: Acts, clock: Clock
) -> None:
    await make_due(redis, m1=clock.now_ms - 1, m2=clock.now_ms + 5)
    result = await acts.hold(["m1", "m2", "m-new", "m-paused", "mgone"], ANNA, "disk swap", for_s=600)
    assert codes(result) == {
        "m1": "held", "m2": "held", "m-new": "not_scheduled", "m-paused": "paused", "mgone": "unknown",
    }  # fmt: skip
    first = result.outcomes[0]
    assert first.until_ms == clock.now_ms + 600_000
    assert first.sentence == "It is held until 12:47:46, for 10.0 min; it is due at its first tick after that."
    assert await redis.zscore(KEYS.due, "m1") == next_tick(clock.now_ms + 600_000 - 1, 60)
    assert codes(await acts.run_now(["m1"], ANNA)) == {"m1": "is_held"}
    assert (await acts.run_now(["m1"], ANNA)).outcomes[0].sentence == "It is held until 12:47:46: release it first."
    result = await acts.release(["m1", "m2", "m3"], ANNA)
    assert codes(result) == {"m1": "released", "m2": "released", "m3": "not_held"}
    assert await redis.zmscore(KEYS.due, ["m1", "m2"]) == [next_tick(clock.now_ms, 60)] * 2
    assert [event[:3] for event in await events(schedule)] == [
        ("monitor.held", "m1", "anna"),
        ("monitor.held", "m2", "anna"),
        ("monitor.released", "m1", "anna"),
        ("monitor.released", "m2", "anna"),
    ]


async def test_a_hold_waits_for_a_hand_off_that_has_begun(
    redis: Redis, schedule: Schedule, store: MemoryStore, asynq: AsynqHarness
) -> None:
    claim = await asynq.claim("m1", "m2")
    acts = Acts(redis, store, clock=TEST_CLOCK, patience_s=0.0)
    result = await acts.hold(["m1"], ANNA, "why")
    assert (codes(result), result.done) == ({"m1": "handing_off"}, False)
    acts = Acts(redis, store, clock=TEST_CLOCK, patience_s=30.0)
    held = asyncio.create_task(acts.hold(["m1", "m2"], ANNA, "why"))
    await asyncio.sleep(0.05)
    await asynq.hand_off(claim)
    result = await held
    assert codes(result) == {"m1": "held", "m2": "held"}
    assert [event[1] for event in await events(schedule)] == ["m1", "m2"]


async def test_a_failure_of_redis_while_a_hold_waits_keeps_what_is_known(
    redis: Redis, store: MemoryStore, asynq: AsynqHarness, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asynq.claim("m1")
    await make_due(redis, m2=clock.now_ms + 40_000)
    acts = Acts(redis, store, clock=TEST_CLOCK, patience_s=30.0)
    hold, calls = Steering.hold, 0

    async def fail_later(*given: Any) -> ActReply:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise RedisUnavailableError("no answer")
        return await hold(*given)

    monkeypatch.setattr(Steering, "hold", fail_later)
    with capture_logs() as logs:
        result = await acts.hold(["m1", "m2"], ANNA, "why")
    assert (codes(result), result.done) == ({"m1": "unanswered", "m2": "held"}, False)
    assert result.outcomes[1].until_ms == clock.now_ms + 3_600_000
    assert [line["event"] for line in logs] == ["act.failed", "act.performed"]
    assert (logs[1]["monitors"], logs[1]["not_done"]) == (["m2"], {"m1": "unanswered"})
    with pytest.raises(RedisUnavailableError):
        await acts.hold(["m1"], ANNA, "why")


async def test_a_claim_in_a_heartbeat_is_of_no_go_producer(redis: Redis, acts: Acts, clock: Clock) -> None:
    """A replica of the version before this one may have a whole number as a token."""
    await redis.set(KEYS.leader, "vm-a/1", px=10_000)
    await redis.zadd(KEYS.lease, {"m2": clock.now_ms + 7000})
    heartbeat = Heartbeat(claims=(HeldClaim(str(clock.now_ms + 7000), 1, clock.now_ms),))
    report = encode_report(ReplicaReport(leads=True, heartbeat=heartbeat))
    await redis.hset(KEYS.replicas, "vm-a", f"{clock.now_ms} ".encode() + report)
    assert (await acts.hold_all(ANNA, "migration")).done


async def test_bytes_that_are_not_utf8_are_replaced(redis: Redis, acts: Acts, clock: Clock) -> None:
    await make_due(redis, m1=clock.now_ms)
    assert (await acts.hold(["m1"], Actor("ann\udce1", "here"), "d\udcff")).done
    stored = json.loads(await redis.hget(KEYS.held, "m1") or b"")
    assert (stored["who"], stored["why"]) == ("ann?", "d?")


async def test_hold_all_and_release_all(
    redis: Redis, schedule: Schedule, acts: Acts, clock: Clock, store: MemoryStore
) -> None:
    await make_due(redis, m1=clock.now_ms)
    store.away = True
    result = await acts.hold_all(ANNA, "migration")
    assert result.outcomes[0].sentence == (
        "All monitors are held until 12:52:46, for 15.0 min. What replicas have claimed is still handed off."
    )
    assert (await schedule.claim(10)).due == {}
    found = verdict(Look(await schedule.stats()))
    assert (found.code, found.sentence) == ("held", 'Held by anna until 12:52:46: "migration".')
    assert codes(await acts.run_now(["m1"], ANNA)) == {"m1": "all_held"}
    result = await acts.release_all(ANNA, "done")
    assert (codes(result), result.done) == ({ALL_MONITORS: "released"}, True)
    assert set((await schedule.claim(10)).due) == {"m1"}
    assert codes(await acts.release_all(ANNA)) == {ALL_MONITORS: "not_held"}
    assert await events(schedule) == [
        ("fleet.held", None, "anna", 'All monitors held for 15.0 min by anna (command line on vm-a): "migration".'),
        (
            "fleet.released",
            None,
            "anna",
            'The hold on all monitors was released by anna (command line on vm-a): "done".',
        ),
    ]


@pytest.mark.parametrize(("leader", "token"), [("vm-go-4711", None), ("vm-a/1", 7_000.0)])
async def test_hold_all_is_refused_while_a_go_producer_takes_part(
    redis: Redis, acts: Acts, clock: Clock, leader: str, token: float | None
) -> None:
    await redis.set(KEYS.leader, leader, px=10_000)
    if token is not None:
        await redis.zadd(KEYS.lease, {"m2": clock.now_ms + token})
    result = await acts.hold_all(ANNA, "migration")
    assert codes(result) == {ALL_MONITORS: "go_producer"}
    assert "would ignore the hold" in result.outcomes[0].sentence
    assert not await redis.exists(KEYS.held)


async def test_replicas_that_hand_off_are_no_go_producer(
    redis: Redis, schedule: Schedule, acts: Acts, clock: Clock
) -> None:
    await redis.set(KEYS.leader, "vm-a/1", px=10_000)
    for n in range(300):
        await make_due(redis, **{f"m{n}": clock.now_ms})
        await schedule.claim(1)
    assert (await acts.hold_all(ANNA, "migration")).done


async def test_release_without_a_database_makes_a_monitor_due_at_once(
    redis: Redis, acts: Acts, store: MemoryStore, clock: Clock
) -> None:
    await make_due(redis, m1=clock.now_ms)
    await acts.hold(["m1"], ANNA, "why")
    store.away = True
    result = await acts.release(["m1"], ANNA)
    assert codes(result) == {"m1": "released_now"}
    assert result.outcomes[0].sentence == "It is released, and due now: its interval is unknown."
    assert await redis.zscore(KEYS.due, "m1") == clock.now_ms
    result = await acts.run_now(["m-new"], ANNA)
    assert "the database is away" in result.outcomes[0].sentence


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda acts: acts.run_now([], ANNA), "monitors: expected 1 to 100, got 0"),
        (lambda acts: acts.run_now([f"m{n}" for n in range(MAX_RUN_NOW + 1)], ANNA), "monitors: expected 1 to 100, "),
        (lambda acts: acts.hold(["*"], ANNA, "why"), "monitors: expected ids, got '*'"),
        (lambda acts: acts.hold(["m1"], ANNA, " "), "why: expected a text, got none"),
        (lambda acts: acts.hold(["m1"], ANNA, "x" * 201), "why: expected at most 200 characters, got 201"),
        (lambda acts: acts.release(["m1"], Actor("", "here")), "who: expected a text, got none"),
        (lambda acts: acts.hold(["m1"], ANNA, "why", for_s=7 * 86_400 + 1), "for: expected 1 to 604,800 s, got 604801"),
        (lambda acts: acts.hold(["m1"], ANNA, "why", for_s=float("nan")), "for: expected 1 to 604,800 s, got nan"),
        (lambda acts: acts.hold_all(ANNA, "why", for_s=3601), "for: expected 1 to 3,600 s, got 3601"),
        (lambda acts: acts.hold_all(ANNA, ""), "why: expected a text, got none"),
    ],
)
async def test_bad_arguments_change_nothing(redis: Redis, acts: Acts, clock: Clock, call: Any, message: str) -> None:
    await make_due(redis, m1=clock.now_ms)
    with pytest.raises(ActError) as error:
        await call(acts)
    assert message in str(error.value)
    assert not await redis.exists(KEYS.held, KEYS.events)


async def test_acts_take_place_without_the_right_to_record_them(redis: Redis, acts: Acts, clock: Clock) -> None:
    await redis.set(KEYS.events, "not a stream")
    await make_due(redis, m1=clock.now_ms + 1, m2=clock.now_ms + 1)
    with capture_logs() as lines:
        results = [await acts.run_now([name], ANNA) for name in ("m1", "m2")]
    assert all("WRONGTYPE" in (result.events_refused or "") and result.done for result in results)
    assert [line["event"] for line in lines] == ["act.not_recorded", "act.performed", "act.performed"]
    assert await redis.zcount(KEYS.due, "-inf", clock.now_ms) == 2


async def test_each_act_is_a_log_line(redis: Redis, acts: Acts, clock: Clock) -> None:
    await make_due(redis, m1=clock.now_ms + 1)
    with capture_logs() as lines:
        await acts.run_now(["m1", "mgone"], ANNA, "test")
    (line,) = lines
    assert {key: value for key, value in line.items() if key != "message"} == {
        "event": "act.performed",
        "log_level": "info",
        "act": "run_now",
        "who": "anna",
        "origin": "command line on vm-a",
        "why": "test",
        "monitors": ["m1"],
        "not_done": {"mgone": ActCode.UNKNOWN},
    }


async def test_hostile_text_is_escaped(redis: Redis, schedule: Schedule, acts: Acts, clock: Clock) -> None:
    await make_due(redis, m1=clock.now_ms)
    hostile = '\x1b[31m\u202e","until_ms":1,"x":"<img src=x>'
    await acts.hold(["m1"], Actor(hostile, hostile), hostile)
    stored = json.loads(await redis.hget(KEYS.held, "m1") or "")
    assert stored == {"until_ms": clock.now_ms + 3_600_000, "who": hostile, "why": hostile}
    ((_, _, who, message),) = await events(schedule)
    for text in (who, message):
        assert text.isprintable()
    assert codes(await acts.release(["m1"], ANNA)) == {"m1": "released"}
