"""What a replica measures of its own work, and the bounds of the heartbeat that contains it."""

import msgspec
import pytest

from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.conditions import Level, of_spreading
from peekaping_producer.operations.heartbeat import (
    MAX_BYTES,
    SLOTS,
    FailingDependency,
    Heartbeat,
    HeldClaim,
    Lateness,
    Rings,
    Stages,
    StageTime,
    bounded,
)
from peekaping_producer.operations.replica_report import ReplicaReport, decode_report, encode_report
from peekaping_producer.producer.activity import Activity, Stage

NOW_MS = 1_800_000_000_000


class Scene:
    """An activity with clocks that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lags = Metrics().schedule_lag
        self.activity = Activity(self.lags, clock=lambda: self.now)

    def hand_off(self, now_ms: int, *lags_s: float) -> None:
        self.lags.observe_all(lags_s)
        self.activity.handed_off(now_ms)

    def take(self, stage: Stage, took_s: float) -> None:
        with self.activity.measuring(stage):
            self.now += took_s


def test_rings_count_hand_offs_and_late_ones_by_redis_time() -> None:
    scene = Scene()
    scene.hand_off(NOW_MS, 0.1, 0.2)
    scene.hand_off(NOW_MS + 500, 1.0, 1.1)
    scene.hand_off(NOW_MS + 12_000, 9.0)
    rings = scene.activity.rings(NOW_MS + 13_000)
    assert rings.at_s == NOW_MS // 1000 + 13
    assert {len(ring) for ring in (rings.handed_off_1s, rings.late_1s, rings.handed_off_10s)} == {SLOTS}
    assert (rings.handed_off_1s[-14], rings.handed_off_1s[-2], sum(rings.handed_off_1s)) == (4, 1, 5)
    assert (rings.late_1s[-14], rings.late_1s[-2], sum(rings.late_1s)) == (1, 1, 2)
    assert rings.handed_off_10s[-2:] == (4, 1)
    assert rings.late_10s[-2:] == (1, 1)
    assert sum(scene.activity.rings(NOW_MS + 90_000).handed_off_1s) == 0
    assert sum(scene.activity.rings(NOW_MS + 590_000).handed_off_10s) == 5
    assert sum(scene.activity.rings(NOW_MS + 10**9).handed_off_10s) == 0


def test_a_clock_that_steps_back_adds_to_the_newest_slot() -> None:
    scene = Scene()
    scene.hand_off(NOW_MS, 0.1)
    scene.hand_off(NOW_MS - 4000, 0.1)
    assert scene.activity.rings(NOW_MS).handed_off_1s[-1] == 2


def test_lateness_is_that_of_the_last_minute_and_usual_is_frozen_while_late() -> None:
    scene = Scene()
    assert scene.activity.lateness(NOW_MS) == Lateness()
    scene.hand_off(NOW_MS, *[0.02] * 99, 0.2)
    assert scene.activity.lateness(NOW_MS) == Lateness(0.025, 0.025, 0.25, 0.025)
    scene.activity.is_late = True
    scene.hand_off(NOW_MS + 70_000, 20.0)
    assert scene.activity.lateness(NOW_MS + 70_000) == Lateness(30.0, 30.0, 30.0, 0.025)
    scene.activity.is_late = False
    scene.hand_off(NOW_MS + 80_000, *[0.09] * 300)
    assert scene.activity.lateness(NOW_MS + 640_000) == Lateness(usual_p99_s=0.1)


def test_stages_have_a_recent_and_a_usual_median() -> None:
    scene = Scene()
    assert scene.activity.stages() == Stages()
    for took_s in (0.01, 0.012, 0.014):
        scene.take(Stage.READ, took_s)
    assert scene.activity.stages().read == StageTime(12.0, None)
    scene.now += 10
    scene.take(Stage.READ, 0.02)
    assert scene.activity.stages().read == StageTime(13.0, 12.0)
    scene.now += 60
    assert scene.activity.stages().read == StageTime(None, 12.0)


def test_what_is_usual_is_not_updated_while_monitors_are_late() -> None:
    scene = Scene()
    scene.take(Stage.READ, 0.012)
    scene.now += 10
    scene.take(Stage.READ, 9.0)
    scene.activity.is_late = True
    scene.now += 10
    scene.take(Stage.READ, 9.0)
    scene.now += 10
    scene.take(Stage.READ, 9.0)
    assert scene.activity.stages().read == StageTime(9000.0, 12.0)


def test_a_stage_that_has_not_ended_counts_with_its_time_so_far() -> None:
    scene = Scene()
    scene.take(Stage.READ, 0.012)
    with scene.activity.measuring(Stage.READ):
        scene.now += 8
        assert scene.activity.stages().read.recent_ms == 8000.0


def test_a_stage_that_fails_is_measured() -> None:
    scene = Scene()

    def fail() -> None:
        with scene.activity.measuring(Stage.CLAIM):
            scene.now += 2
            raise TimeoutError

    with pytest.raises(TimeoutError):
        fail()
    assert scene.activity.stages().claim.recent_ms == 2000.0


def test_outcomes_are_those_of_the_last_minute() -> None:
    scene = Scene()
    scene.activity.count("enqueued", 5)
    scene.now += 30
    scene.activity.count("enqueued", 2)
    scene.activity.count("overlap", 1)
    assert scene.activity.outcomes() == {"enqueued": 7, "overlap": 1}
    scene.now += 45
    assert scene.activity.outcomes() == {"enqueued": 2, "overlap": 1}


def full_heartbeat(per_second: int) -> Heartbeat:
    """A heartbeat with everything that a busy replica has."""
    return Heartbeat(
        host="h" * 64,
        version="10.20.30",
        started_ms=NOW_MS,
        term="h" * 60 + "-1-abcdef/123",
        settings={
            "BROKER": "asynq",
            "DATABASE": "01234567",
            "LEASE_TTL": "10",
            "SPREAD_TICKS": "false",
            "SYNC_INTERVAL": "30",
            "TZ": "UTC",
        },
        rings=Rings(NOW_MS // 1000, *[(per_second,) * SLOTS] * 4),
        stages=Stages(*[StageTime(1234.56, 12.34)] * 4),
        outcomes={"enqueued": 10**6, "overlap": 10**6, "replaced": 10**6},
        claims=(HeldClaim("1800000000000.123046875", 500, NOW_MS),) * 16,
        failing=(FailingDependency("database", ("worker", "sync"), NOW_MS, "x" * 120),) * 4,
        overdue=10**6,
    )


@pytest.mark.parametrize("per_second", [0, 300, 10**9, 10**30])
def test_a_heartbeat_is_bounded_and_keeps_its_claims(per_second: int) -> None:
    heartbeat = bounded(full_heartbeat(per_second))
    assert len(msgspec.json.encode(heartbeat)) <= MAX_BYTES
    assert len(heartbeat.claims) >= 4


def test_a_usual_heartbeat_loses_nothing() -> None:
    usual = msgspec.structs.replace(full_heartbeat(214), claims=(HeldClaim("1.5", 500, NOW_MS),) * 4, failing=())
    rings = Rings(NOW_MS // 1000, (214,) * SLOTS, (0,) * SLOTS, (2140,) * SLOTS, (0,) * SLOTS)
    usual = msgspec.structs.replace(usual, rings=rings, term="host-1-abcdef/123", host="host")
    assert bounded(usual) is usual


def test_a_report_with_a_heartbeat_is_decoded_as_it_was_encoded() -> None:
    report = ReplicaReport(leads=True, heartbeat=bounded(full_heartbeat(7)))
    assert decode_report(encode_report(report)) == report


def test_the_share_of_due_times_without_a_phase_is_that_of_the_last_ten_minutes() -> None:
    scene = Scene()
    assert scene.activity.unphased_share() == 0
    scene.activity.count_due_times(30, 10)
    scene.now += 300
    scene.activity.count_due_times(10, 0)
    assert scene.activity.unphased_share() == 0.25
    scene.now += 310
    assert scene.activity.unphased_share() == 0
    scene.now += 3000
    assert scene.activity.unphased_share() == 0


@pytest.mark.parametrize(("share", "more"), [(0.5, "33 %"), (0.1, "10 %"), (0.9, "10 %")])
def test_a_producer_without_phases_is_reported_with_what_it_costs(share: float, more: str) -> None:
    (condition,) = of_spreading(share)
    assert (condition.code, condition.level) == ("ticks_unphased", Level.NOTE)
    assert (
        f"it set {100 * share:.0f} % of the due times of the last 10 min, about {more} more checks" in condition.reason
    )
    assert list(of_spreading(0.0)) == list(of_spreading(0.009)) == []
