"""Whether the replica is alive and ready, by a clock that the test turns."""

import math
from types import SimpleNamespace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from peekaping_producer import loop as loop_module
from peekaping_producer import vitals as vitals_module
from peekaping_producer.dependencies import Dependencies
from peekaping_producer.loop import Loop
from peekaping_producer.metrics import Metrics
from peekaping_producer.schedule import Stats
from peekaping_producer.vitals import STALE_AFTER_S, WEDGED_AFTER_S, Vitals
from tests.memory_store import MemoryStore

STATS = Stats(now_ms=100_000, due=7, leased=2, overdue=1, oldest_due_ms=95_000.0, leader="n/t", leader_ttl_ms=9000)


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

    async def stats(self) -> Stats:
        if self.away:
            raise RedisConnectionError("Connection refused.")
        return STATS


class Scene(SimpleNamespace):
    watch: Watch
    schedule: FakeSchedule
    store: MemoryStore
    metrics: Metrics
    vitals: Vitals

    def value(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"peekaping_producer_{name}") or 0.0


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    watch, schedule, store, metrics = Watch(), FakeSchedule(), MemoryStore(), Metrics()
    for module in (loop_module, vitals_module):
        monkeypatch.setattr(module, "time", watch)
    vitals = Vitals(schedule, store, metrics, Dependencies(metrics))
    return Scene(watch=watch, schedule=schedule, store=store, metrics=metrics, vitals=vitals)


def test_a_loop_is_wedged_when_it_works_for_too_long_without_a_beat(scene: Scene) -> None:
    worker = Loop("worker-3", Dependencies(scene.metrics), uses=())
    scene.vitals.watched = [worker]
    assert scene.vitals.stalled() == []
    worker.beat()
    scene.watch.now += WEDGED_AFTER_S
    assert scene.vitals.stalled() == []
    scene.watch.now += 1
    assert scene.vitals.stalled() == ["worker-3: 14 s"]
    worker.beat()
    assert scene.vitals.stalled() == []


def test_a_loop_at_rest_is_never_wedged(scene: Scene) -> None:
    worker = Loop("worker-0", Dependencies(scene.metrics), uses=())
    scene.vitals.watched = [worker]
    worker.beat()
    worker.rest()
    scene.watch.now += 1_000_000
    assert scene.vitals.stalled() == []


async def test_the_sampler_itself_is_watched(scene: Scene) -> None:
    """A database that hangs holds it up: that shows in readiness at once, and in liveness only after a while."""
    await scene.vitals.run_once()
    assert scene.vitals.stalled() == []
    scene.watch.now += WEDGED_AFTER_S + 0.5
    assert [each.partition(":")[0] for each in scene.vitals.stalled()] == ["vitals"]


def test_a_wedged_loop_shows_within_15_s() -> None:
    assert WEDGED_AFTER_S < 15


async def test_ready_only_once_both_were_seen(scene: Scene) -> None:
    assert scene.vitals.unready() == {"redis": "not seen yet", "database": "not seen yet"}
    assert await scene.vitals.run_once() < STALE_AFTER_S
    assert scene.vitals.unready() == {}
    assert (scene.value("due_depth"), scene.value("lease_depth")) == (7, 2)
    assert scene.value("oldest_due_age_seconds") == 5.0


async def test_a_lost_redis_is_a_reason_and_its_age_is_no_number(scene: Scene) -> None:
    await scene.vitals.run_once()
    scene.schedule.away = True
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {"redis": "ConnectionError: Connection refused."}
    assert math.isnan(scene.value("oldest_due_age_seconds"))
    assert scene.store.reads.count("ping") == 2, "the database is looked at all the same"
    scene.schedule.away = False
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {}
    assert scene.value("oldest_due_age_seconds") == 5.0


async def test_a_lost_database_is_a_reason_and_redis_is_none(scene: Scene) -> None:
    scene.store.away = True
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {"database": "the database is away"}
    assert scene.vitals.stalled() == []
    scene.store.away = False
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {}


async def test_samples_that_stop_coming_are_a_reason(scene: Scene) -> None:
    await scene.vitals.run_once()
    scene.watch.now += STALE_AFTER_S
    assert scene.vitals.unready() == {}
    scene.watch.now += 1
    assert scene.vitals.unready() == {"redis": "not seen for 13 s", "database": "not seen for 13 s"}


async def test_who_drains_is_not_ready_however_well(scene: Scene) -> None:
    await scene.vitals.run_once()
    scene.vitals.draining = True
    assert scene.vitals.unready() == {"producer": "draining"}


def test_remarks_are_told_and_change_nothing_else(scene: Scene) -> None:
    scene.vitals.remarks = [lambda: None, lambda: "a remark"]
    assert scene.vitals.noted() == ["a remark"]
