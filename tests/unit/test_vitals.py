"""Whether the replica is alive and ready, by a clock that the test turns."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from peekaping_producer.brokers import Queue
from peekaping_producer.errors import REDIS, RedisUnavailableError
from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.replica_report import ReplicaReport, decode_report, encode_report
from peekaping_producer.producer import condition_log as condition_log_module
from peekaping_producer.producer import sampler as sampler_module
from peekaping_producer.producer.activity import Activity
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.condition_log import ConditionLog
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.producer.loops import vitals as vitals_module
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.producer.loops.vitals import Vitals
from peekaping_producer.producer.reporting import Reporter
from peekaping_producer.producer.sampler import Sampler
from peekaping_producer.producer.suspects import Suspects
from peekaping_producer.producer.timing import TIMING
from peekaping_producer.schedule import Stats, StoredReport, SyncRequest
from peekaping_producer.service import loop as loop_module
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop
from tests.kit.memory_store import MemoryStore
from tests.kit.waiting import until

STATS = Stats(
    now_ms=100_000,
    due=7,
    leased=2,
    overdue=1,
    late=3,
    oldest_due_ms=95_000.0,
    oldest_id="m1",
    oldest_unclaimed_ms=95_000.0,
    lease_excess_ms=0,
    leader="n/t",
    leader_ttl_ms=9000,
)
QUEUE = Queue({"pending": 4, "active": 1}, 2.5, False, 1)


TIMED = (loop_module, vitals_module, sampler_module, condition_log_module)
"""The modules that a Watch has to replace the clock of."""


class Watch:
    """A monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class FakeSchedule:
    """Answers `stats`, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.answer = STATS
        self.lease_ttl_s = 10.0
        self.reports: list[bytes] = []
        self.events: list[bytes] = []

    async def stats(self, *, node: str, report: bytes, events: Sequence[bytes] = (), **_: object) -> Stats:
        if self.away:
            raise RedisUnavailableError("Connection refused.")
        self.reports.append(report)
        self.events += events
        return self.answer

    async def forget_report(self, node: str) -> None:
        self.reports.clear()


class FakeBroker:
    """Answers `inspect`."""

    dependency = REDIS

    def __init__(self) -> None:
        self.away = False
        self.answer = QUEUE

    async def inspect(self) -> Queue:
        if self.away:
            raise RedisUnavailableError("Connection refused.")
        return self.answer


class FakeSync:
    """Has the conditions that a test gives it."""

    unschedulable = 0
    synced_at: float | None = None
    has_synced = True
    interval_s = 30.0
    shortest_interval_s: int | None = None
    answered: SyncRequest | None = None

    def __init__(self) -> None:
        self.found: list[Condition] = []

    def conditions(self) -> list[Condition]:
        return self.found


def vitals_of(
    schedule: FakeSchedule,
    store: MemoryStore,
    metrics: Metrics,
    *,
    broker: FakeBroker | None = None,
    sync: FakeSync | None = None,
    watched: Sequence[Loop] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Vitals:
    dependencies, recorder = Dependencies(metrics, clock=clock), EventRecorder()
    sampler = Sampler(
        schedule=schedule,
        store=store,
        broker=broker or FakeBroker(),
        recorder=recorder,
        dependencies=dependencies,
        metrics=metrics,
        timing=TIMING,
    )
    leader, sync = SimpleNamespace(node="node", term=None), sync or FakeSync()
    anomalies, suspects = Anomalies(metrics, recorder), Suspects()
    activity = Activity(metrics.schedule_lag)
    return Vitals(
        sampler=sampler,
        schedule=schedule,
        leader=leader,
        sync=sync,
        anomalies=anomalies,
        suspects=suspects,
        report=Reporter(
            version="1.2.3",
            settings={"TZ": "UTC"},
            lease_ttl_s=10.0,
            activity=activity,
            claims=Claims(schedule, metrics, activity, batch=500),
            leader=leader,
            sync=sync,
            sampler=sampler,
            anomalies=anomalies,
            suspects=suspects,
            dependencies=dependencies,
        ).report,
        activity=activity,
        watched=watched,
        condition_log=ConditionLog(metrics, recorder),
        recorder=recorder,
        dependencies=dependencies,
    )


class Scene(SimpleNamespace):
    watch: Watch
    schedule: FakeSchedule
    broker: FakeBroker
    store: MemoryStore
    metrics: Metrics
    vitals: Vitals
    sync: FakeSync
    worker: Loop

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"peekaping_producer_{name}", labels) or 0.0


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    watch, schedule, store, metrics = Watch(), FakeSchedule(), MemoryStore(), Metrics()
    for module in TIMED:
        monkeypatch.setattr(module, "time", watch)
    broker = FakeBroker()
    sync, worker = FakeSync(), Loop("worker-3", Dependencies(metrics), uses=())
    vitals = vitals_of(schedule, store, metrics, broker=broker, sync=sync, watched=[worker], clock=watch.monotonic)
    return Scene(
        watch=watch,
        schedule=schedule,
        broker=broker,
        store=store,
        metrics=metrics,
        vitals=vitals,
        sync=sync,
        worker=worker,
    )


def test_a_loop_that_works_for_too_long_without_advancing_is_stalled(scene: Scene) -> None:
    assert scene.vitals.stalled() == []
    scene.worker.progressed()
    scene.watch.now += TIMING.stalled_after_s
    assert scene.vitals.stalled() == []
    scene.watch.now += 1
    assert scene.vitals.stalled() == ["worker-3: 14 s"]
    scene.worker.progressed()
    assert scene.vitals.stalled() == []


def test_a_loop_that_waits_is_never_stalled(scene: Scene) -> None:
    scene.worker.progressed()
    with scene.worker.waiting():
        scene.watch.now += 1_000_000
        assert scene.vitals.stalled() == []


async def test_the_sampler_itself_is_watched(scene: Scene) -> None:
    """A database that hangs holds it up: that shows in readiness at once, and in liveness only after a while."""
    await scene.vitals.run_once()
    assert scene.vitals.stalled() == []
    scene.watch.now += TIMING.stalled_after_s + 0.5
    assert [each.partition(":")[0] for each in scene.vitals.stalled()] == ["vitals"]


async def test_a_page_that_is_opened_ends_the_wait_for_the_next_sample(scene: Scene) -> None:
    scene.vitals._timing = replace(TIMING, sample_every_s=3600.0)
    running = asyncio.create_task(scene.vitals.run())
    try:
        await until(lambda: len(scene.schedule.reports) == 1)
        scene.vitals.sample_soon()
        await until(lambda: len(scene.schedule.reports) == 2)
    finally:
        await cancel_and_wait(running)


async def test_a_page_does_not_wait_for_a_database_that_hangs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.vitals._timing = replace(TIMING, sample_watched_every_s=0.01)
    scene.schedule.answer = replace(STATS, is_watched=True)
    await scene.vitals.run_once()
    pings: list[asyncio.Event] = []

    async def hang() -> None:
        pings.append(asyncio.Event())
        await pings[-1].wait()

    monkeypatch.setattr(scene.store, "ping", hang)
    for _ in range(1000):
        await scene.vitals.run_once()
    assert len(scene.schedule.reports) == 1001
    assert len(pings) == 1, "it goes on"
    pings[0].set()
    scene.vitals._sampler.stop()


def test_a_wedged_loop_shows_within_15_s() -> None:
    assert TIMING.stalled_after_s < 15


async def test_ready_only_once_both_were_seen(scene: Scene) -> None:
    unseen = {"redis_unavailable": "no answer yet", "database_unavailable": "no answer yet"}
    assert scene.vitals.unready() == unseen
    assert await scene.vitals.run_once() < TIMING.stale_after_s
    assert scene.vitals.unready() == {}
    assert (scene.value("due_depth"), scene.value("lease_depth"), scene.value("late_depth")) == (7, 2, 3)
    assert scene.value("oldest_due_age_seconds") == 5.0
    assert (scene.value("queue_depth", state="pending"), scene.value("oldest_pending_age_seconds")) == (4, 2.5)


async def test_a_lost_redis_is_a_reason_and_its_age_is_no_number(scene: Scene) -> None:
    await scene.vitals.run_once()
    scene.schedule.away = True
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {"redis_unavailable": "RedisUnavailableError: Connection refused."}
    assert scene.value("condition", code="redis_unavailable") == 1
    assert math.isnan(scene.value("oldest_due_age_seconds"))
    assert scene.store.reads.count("ping") == 2, "the database is looked at all the same"
    scene.schedule.away = False
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {}
    assert scene.value("condition", code="redis_unavailable") == 0
    assert scene.value("oldest_due_age_seconds") == 5.0


async def test_a_lost_database_is_a_reason_and_redis_is_none(scene: Scene) -> None:
    scene.store.away = True
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {"database_unavailable": "the database is away"}
    assert scene.vitals.stalled() == []
    scene.store.away = False
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {}


async def test_samples_that_stop_coming_are_a_reason(scene: Scene) -> None:
    await scene.vitals.run_once()
    scene.watch.now += TIMING.stale_after_s
    assert scene.vitals.unready() == {}
    scene.watch.now += 1
    gone = {"redis_unavailable": "no answer for 13 s", "database_unavailable": "no answer for 13 s"}
    assert scene.vitals.unready() == gone


async def test_a_replica_that_drains_is_not_ready_however_well(scene: Scene) -> None:
    await scene.vitals.run_once()
    scene.vitals.draining = True
    assert scene.vitals.unready() == {"draining": "The replica is stopping."}


@pytest.mark.parametrize(
    ("change", "code", "unready"),
    [
        ({"oldest_due_ms": 30_000.0}, "schedule_late", False),
        ({"write_refused": "OOM command not allowed"}, "redis_refuses_writes", True),
        ({"problems": ("peekaping:sched:due: WRONGTYPE",)}, "redis_keys_unusable", True),
        ({"leader_ttl_ms": 3_600_000}, "leader_key_invalid", False),
        ({"lease_excess_ms": 6_000}, "lease_too_long", False),
        ({"clock_skew_s": 3600.0}, "clock_skew", False),
    ],
)
async def test_what_is_wrong_shows_in_readiness_in_a_metric_and_in_one_line(
    scene: Scene, change: dict[str, object], code: str, unready: bool
) -> None:
    await scene.vitals.run_once()
    scene.schedule.answer = replace(STATS, **change)
    with capture_logs() as logged:
        await scene.vitals.run_once()
        await scene.vitals.run_once()
    assert (code in scene.vitals.unready()) is unready
    assert any(each.startswith(f"{code}: ") for each in scene.vitals.notes()) is not unready
    assert scene.value("condition", code=code) == 1
    assert [(line["event"], line["code"]) for line in logged] == [("condition.raised", code)]
    scene.schedule.answer = STATS
    with capture_logs() as logged:
        await scene.vitals.run_once()
    assert [(line["event"], line["code"]) for line in logged] == [("condition.cleared", code)]
    assert scene.value("condition", code=code) == 0
    assert scene.vitals.notes() == []


async def test_no_leader_counts_after_a_moment_only(scene: Scene) -> None:
    scene.schedule.answer = replace(STATS, leader=None, leader_ttl_ms=None)
    scene.watch.now += 5
    await scene.vitals.run_once()
    assert scene.vitals.notes() == []
    scene.watch.now += 5
    await scene.vitals.run_once()
    assert [each.partition(":")[0] for each in scene.vitals.notes()] == ["no_leader"]


async def test_a_queue_that_nothing_takes_from_is_a_note(scene: Scene) -> None:
    scene.broker.answer = Queue({"pending": 9}, 75.0, False, 0)
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {}
    assert "queue_not_consumed: The oldest pending task (of 9) has waited for 75 s" in scene.vitals.notes()[0]


async def test_a_queue_whose_tasks_have_no_times_is_as_old_as_its_next_task_is_the_same(scene: Scene) -> None:
    """`status` reads the queue once, so that the replica reports it."""
    scene.broker.answer = Queue({"pending": 9}, None, False, 0, next_task="foreign")
    await sample_queue(scene)
    assert (scene.vitals.notes(), scene.value("oldest_pending_age_seconds")) == ([], 0.0)
    scene.watch.now += 61
    await sample_queue(scene)
    assert "queue_not_consumed: The oldest pending task (of 9) has waited for 61 s" in scene.vitals.notes()[0]
    assert scene.value("oldest_pending_age_seconds") == 61
    await sample_queue(scene)
    assert [each.code for each in decode_report(scene.schedule.reports[-1]).conditions] == ["queue_not_consumed"]
    scene.broker.answer = Queue({"pending": 8}, None, False, 0, next_task="another")
    await sample_queue(scene)
    assert (scene.vitals.notes(), scene.value("oldest_pending_age_seconds")) == ([], 0.0)
    scene.broker.answer = Queue({"pending": 8}, 75.0, False, 0, next_task="another")
    await sample_queue(scene)
    await sample_queue(scene)
    assert decode_report(scene.schedule.reports[-1]).conditions == ()


async def test_a_queue_that_cannot_be_read_has_no_depth_and_its_conditions_go_on(scene: Scene) -> None:
    scene.broker.answer = Queue({"pending": 9}, 75.0, False, 0)
    await sample_queue(scene)
    scene.broker.away = True
    await sample_queue(scene)
    assert math.isnan(scene.value("queue_depth", state="pending"))
    assert math.isnan(scene.value("oldest_pending_age_seconds"))
    assert [note.partition(":")[0] for note in scene.vitals.notes()] == ["queue_not_consumed"]


async def test_monitors_that_are_not_checked_as_usual_are_notes(scene: Scene) -> None:
    scene.sync.unschedulable = 2
    scene.vitals._suspects.record_failure("m1")
    scene.vitals._anomalies.degraded("proxies", "no answer in time")
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {}
    assert scene.vitals.notes() == [
        "monitors_unschedulable: 2 active monitors cannot be scheduled (invalid id or interval).",
        "database_degraded: proxies does not answer; its last known content is used, if any: no answer in time",
        "monitors_set_aside: 1 monitor failed on this replica; each is retried.",
    ]


async def sample_queue(scene: Scene) -> None:
    for _ in range(vitals_module.SAMPLES_PER_QUEUE):
        await scene.vitals.run_once()


async def test_what_the_replica_itself_knows_goes_into_its_report_and_nothing_else(scene: Scene) -> None:
    scene.sync.found = [Condition("database_empty", "Empty.")]
    scene.schedule.answer = replace(STATS, oldest_due_ms=1.0)
    await scene.vitals.run_once()
    await scene.vitals.run_once()
    (_, report) = scene.schedule.reports
    decoded = decode_report(report)
    assert decoded is not None
    assert [each.code for each in decoded.conditions] == ["database_empty"]


async def test_a_condition_of_redis_goes_on_while_redis_does_not_answer(scene: Scene) -> None:
    scene.schedule.answer = replace(STATS, oldest_due_ms=1.0)
    await scene.vitals.run_once()
    scene.schedule.away = True
    with capture_logs() as logged:
        await scene.vitals.run_once()
    assert [(line["event"], line["code"]) for line in logged if "code" in line] == [
        ("condition.raised", "redis_unavailable")
    ]
    assert scene.value("condition", code="schedule_late") == 1
    assert any(each.startswith("schedule_late: ") for each in scene.vitals.notes())
    scene.schedule.away = False
    scene.schedule.answer = STATS
    with capture_logs() as logged:
        await scene.vitals.run_once()
    cleared = {line["code"] for line in logged if line["event"] == "condition.cleared"}
    assert cleared == {"schedule_late", "redis_unavailable"}
    assert scene.value("condition", code="schedule_late") == 0


async def test_a_replica_yields_the_lead_while_it_alone_cannot_read_the_database(scene: Scene) -> None:
    works = StoredReport("other", STATS.now_ms, encode_report(ReplicaReport()))
    cannot = StoredReport(
        "other", STATS.now_ms, encode_report(ReplicaReport(conditions=(Condition("database_unavailable", "Down."),)))
    )
    scene.schedule.answer = replace(STATS, reports=(works,))
    await scene.vitals.run_once()
    assert scene.vitals.may_lead()
    scene.store.away = True
    await scene.vitals.run_once()
    assert scene.vitals.may_lead(), "for a short time"
    scene.watch.now += TIMING.yield_after_s
    await scene.vitals.run_once()
    assert not scene.vitals.may_lead()
    scene.schedule.answer = replace(STATS, reports=(cannot,))
    await scene.vitals.run_once()
    assert scene.vitals.may_lead(), "no other replica can"
    scene.schedule.answer = replace(STATS, reports=(works,))
    scene.store.away = False
    await scene.vitals.run_once()
    assert scene.vitals.may_lead(), "it can read again"


async def test_the_report_contains_the_state_of_the_database_of_the_same_sample(scene: Scene) -> None:
    await scene.vitals.run_once()
    scene.store.away = True
    await scene.vitals.run_once()
    decoded = decode_report(scene.schedule.reports[-1])
    assert decoded is not None
    assert [each.code for each in decoded.conditions] == ["database_unavailable"]


async def test_the_report_goes_with_the_replica(scene: Scene) -> None:
    running = asyncio.create_task(scene.vitals.run())
    await until(lambda: bool(scene.schedule.reports))
    await cancel_and_wait(running)
    assert scene.schedule.reports == []


async def test_a_fault_in_the_verdict_ends_no_replica(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_look: object) -> None:
        raise ZeroDivisionError

    with capture_logs() as logged:
        for _ in range(2):
            with monkeypatch.context() as patched:
                patched.setattr(vitals_module, "verdict", fail)
                for _ in range(3):
                    assert await scene.vitals.run_once() > 0
                assert scene.vitals.verdict()["code"] == "unknown"
            assert math.isnan(scene.value("verdict", code="on_time"))
            assert math.isnan(scene.value("condition", code="draining"))
            await scene.vitals.run_once()
            assert scene.value("condition", code="draining") == 0
            assert not math.isnan(scene.value("verdict", code="on_time"))
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["verdict.failed"] * 2


async def test_an_empty_schedule_is_reported_by_a_leader_that_has_synced(scene: Scene) -> None:
    """At a start, the first sync fills it."""
    scene.schedule.answer = replace(STATS, due=0, leased=0, overdue=0, late=0, oldest_due_ms=None)
    scene.sync.has_synced = False
    await scene.vitals.run_once()
    assert [found.code for found in scene.vitals.conditions()] == []
    scene.sync.has_synced = True
    assert [found.code for found in scene.vitals.conditions()] == ["schedule_empty"]
