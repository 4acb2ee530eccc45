"""Vitals over a schedule, a queue and a database that a test controls, with its clock."""

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from peekaping_producer.brokers import Queue
from peekaping_producer.errors import REDIS, RedisUnavailableError
from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.producer import condition_log as condition_log_module
from peekaping_producer.producer import sampler as sampler_module
from peekaping_producer.producer.activity import Activity
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.condition_log import ConditionLog
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.producer.loops import vitals as vitals_module
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.producer.loops.vitals import Vitals
from peekaping_producer.producer.replica_conditions import ReplicaConditions
from peekaping_producer.producer.reporting import Reporter
from peekaping_producer.producer.sampler import Sampler
from peekaping_producer.producer.suspects import Suspects
from peekaping_producer.producer.timing import TIMING
from peekaping_producer.schedule import Stats, SyncRequest
from peekaping_producer.service import loop as loop_module
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop
from tests.kit.memory_store import MemoryStore

STATS = Stats(
    now_ms=100_000,
    due=7,
    leased=2,
    unclaimed=1,
    late=3,
    oldest_due_ms=95_000.0,
    oldest_id="m1",
    oldest_unclaimed_ms=95_000.0,
    lease_excess_ms=0,
    leader="n/t",
    leader_ttl_ms=9000,
)
QUEUE = Queue({"pending": 4, "active": 1}, 2.5, False, 1, now_ms=100_000)
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

    def conditions(self, redis_ms: Callable[[float], int]) -> list[Condition]:
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
        conditions=ReplicaConditions(
            sampler=sampler,
            sync=sync,
            anomalies=anomalies,
            suspects=suspects,
            activity=activity,
            lease_ttl_s=schedule.lease_ttl_s,
        ),
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


def vitals_scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
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
