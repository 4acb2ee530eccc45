"""The conditions of a replica: in its readiness, its metrics and its log."""

import math

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from peekaping_producer.brokers import Queue
from peekaping_producer.operations.fleet_events import decode_event
from peekaping_producer.operations.replica_report import decode_report
from peekaping_producer.producer.condition_log import ENDED_AFTER_S
from peekaping_producer.producer.loops import vitals as vitals_module
from peekaping_producer.producer.timing import TIMING
from tests.kit.vitals import STATS, Scene, vitals_scene


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return vitals_scene(monkeypatch)


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
    assert scene.vitals.unready() == {"redis_unavailable": "Connection refused."}
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
    scene.vitals._conditions.draining = True
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
        assert (scene.value("condition", code=code), scene.vitals.notes(), logged) == (0, [], [])
        scene.watch.now += ENDED_AFTER_S
        await scene.vitals.run_once()
    assert [(line["event"], line["code"]) for line in logged] == [("condition.cleared", code)]


async def test_a_condition_that_comes_and_goes_every_minute_begins_once_and_ends_once(scene: Scene) -> None:
    """A queue that fills each minute: its oldest task waits for 0 to 70 s."""
    await scene.vitals.run_once()
    with capture_logs() as logged:
        for second in range(0, 600, 5):
            scene.schedule.answer = replace(STATS, oldest_due_ms=STATS.now_ms - 1000.0 * (second % 70))
            scene.watch.now += 5
            await scene.vitals.run_once()
        assert [line["event"] for line in logged if line.get("code") == "schedule_late"] == ["condition.raised"]
        scene.schedule.answer = STATS
        for _ in range(30):
            scene.watch.now += 5
            await scene.vitals.run_once()
    lines = [line for line in logged if line.get("code") == "schedule_late"]
    assert [line["event"] for line in lines] == ["condition.raised", "condition.cleared"]
    assert lines[1]["lasted_s"] == 490, "from 65 s to 555 s"
    kinds = [event.kind for event in map(decode_event, scene.schedule.events) if event]
    assert kinds.count("condition.raised") == kinds.count("condition.cleared") == 1


async def test_no_leader_counts_after_a_moment_only(scene: Scene) -> None:
    scene.schedule.answer = replace(STATS, leader=None, leader_ttl_ms=None)
    scene.watch.now += 5
    await scene.vitals.run_once()
    assert scene.vitals.notes() == []
    scene.watch.now += 4.9  # a replica may have become the leader since
    assert scene.vitals.notes() == []
    scene.watch.now += 0.1
    await scene.vitals.run_once()
    assert [each.partition(":")[0] for each in scene.vitals.notes()] == ["no_leader"]


async def test_a_queue_that_nothing_takes_from_is_a_note(scene: Scene) -> None:
    scene.broker.answer = Queue({"pending": 9}, 75.0, False, 0, now_ms=100_000)
    await scene.vitals.run_once()
    assert scene.vitals.unready() == {}
    assert "queue_not_consumed: The oldest pending task (of 9) has waited since 00:00:25: " in scene.vitals.notes()[0]


async def test_a_queue_whose_tasks_have_no_times_is_as_old_as_its_next_task_is_the_same(scene: Scene) -> None:
    """`status` reads the queue once, so that the replica reports it."""
    scene.broker.answer = Queue({"pending": 9}, None, False, 0, next_task="foreign", now_ms=100_000)
    await sample_queue(scene)
    assert (scene.vitals.notes(), scene.value("oldest_pending_age_seconds")) == ([], 0.0)
    scene.watch.now += 61
    await sample_queue(scene)
    assert "queue_not_consumed: The oldest pending task (of 9) has waited since 00:00:39: " in scene.vitals.notes()[0]
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
    scene.broker.answer = Queue({"pending": 9}, 75.0, False, 0, now_ms=100_000)
    await sample_queue(scene)
    scene.broker.away = True
    await sample_queue(scene)
    assert math.isnan(scene.value("queue_depth", state="pending"))
    assert math.isnan(scene.value("oldest_pending_age_seconds"))
    assert [note.partition(":")[0] for note in scene.vitals.notes()] == ["queue_not_consumed"]


async def test_monitors_that_are_not_checked_as_usual_are_notes(scene: Scene) -> None:
    scene.sync.unschedulable = 2
    scene.vitals._conditions._suspects.record_failure("m1")
    scene.vitals._conditions._anomalies.degraded("proxies", "no answer in time")
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
    await scene.vitals.run_once()
    with capture_logs() as logged:
        scene.watch.now += ENDED_AFTER_S
        await scene.vitals.run_once()
    cleared = {line["code"] for line in logged if line["event"] == "condition.cleared"}
    assert cleared == {"schedule_late", "redis_unavailable"}
    assert scene.value("condition", code="schedule_late") == 0


async def test_an_empty_schedule_is_reported_by_a_leader_that_has_synced(scene: Scene) -> None:
    """At a start, the first sync fills it."""
    scene.schedule.answer = replace(STATS, due=0, leased=0, unclaimed=0, late=0, oldest_due_ms=None)
    scene.sync.has_synced = False
    await scene.vitals.run_once()
    assert [found.code for found in scene.vitals.conditions()] == []
    scene.sync.has_synced = True
    assert [found.code for found in scene.vitals.conditions()] == ["schedule_empty"]
