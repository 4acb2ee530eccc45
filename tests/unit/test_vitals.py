"""Whether the replica is alive and ready, by a clock that the test turns."""

import asyncio
import math

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.replica_report import ReplicaReport, decode_report, encode_report
from peekaping_producer.producer.loops import vitals as vitals_module
from peekaping_producer.producer.timing import TIMING
from peekaping_producer.schedule import StoredReport
from peekaping_producer.service.aio import cancel_and_wait
from tests.kit.vitals import STATS, Scene, vitals_scene
from tests.kit.waiting import until


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return vitals_scene(monkeypatch)


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


async def test_what_the_replica_itself_knows_goes_into_its_report_and_nothing_else(scene: Scene) -> None:
    scene.sync.found = [Condition("database_empty", "Empty.")]
    scene.schedule.answer = replace(STATS, oldest_due_ms=1.0)
    await scene.vitals.run_once()
    await scene.vitals.run_once()
    (_, report) = scene.schedule.reports
    decoded = decode_report(report)
    assert decoded is not None
    assert [each.code for each in decoded.conditions] == ["database_empty"]


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
