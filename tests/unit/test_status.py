"""Status: what it derives from the schedule, the queue and the reports of the replicas."""

import json

import pytest
from msgspec.structs import replace

from peekaping_producer.brokers import Queue
from peekaping_producer.operations.conditions import LEVELS, Condition, Level
from peekaping_producer.operations.due_times import DueTimes
from peekaping_producer.operations.heartbeat import Heartbeat
from peekaping_producer.operations.replica_report import MAX_BYTES, ReplicaReport, decode_report, encode_report
from peekaping_producer.operations.status import Status
from peekaping_producer.schedule import LeasedClaim, Stats, StoredReport

NOW_MS = 1_800_000_000_000
STATS = Stats(
    now_ms=NOW_MS,
    due=7,
    leased=2,
    unclaimed=0,
    late=0,
    oldest_due_ms=None,
    oldest_id=None,
    lease_excess_ms=0,
    leader="node/term",
    leader_ttl_ms=9000,
)
QUEUE = Queue({"pending": 3, "active": 1}, 2.0, False, 1)


def status(
    *, queue: Queue = QUEUE, leaderless_s: float = 0.0, max_overdue_s: float | None = None, **changes: object
) -> Status:
    fields = {name: getattr(STATS, name) for name in Stats.__struct_fields__} | changes
    return Status(Stats(**fields), queue, leaderless_s, max_overdue_s=max_overdue_s)


def report(**fields: object) -> StoredReport:
    return StoredReport("other", NOW_MS, encode_report(ReplicaReport(**fields)))


def test_a_healthy_status() -> None:
    well = status()
    assert (well.conditions, well.is_failing) == ([], False)
    assert well.as_json()["healthy"] is True
    assert "node/term (key expires in 9.0 s)" in "\n".join(well.lines())


@pytest.mark.parametrize(
    ("seen", "code", "expected"),
    [
        (
            status(oldest_due_ms=NOW_MS - 61_000.0, oldest_id="m1", unclaimed=4),
            "schedule_late",
            "m1 has waited for its check since 07:58:59; ",
        ),
        (status(leader=None, leader_ttl_ms=None, leaderless_s=2.0), "no_leader", "No replica leads"),
        (status(lease_excess_ms=6_000), "lease_too_long", "6 s later than LEASE_TTL allows"),
        (status(leader="gone/1", leader_ttl_ms=3_579_000), "leader_key_invalid", "(gone/1) expires at 08:59:39"),
        (status(leader="gone/1", leader_ttl_ms=None), "leader_key_invalid", "(gone/1) does not expire"),
        (status(write_refused="OOM command not allowed"), "redis_refuses_writes", "OOM"),
        (status(problems=("peekaping:sched:due: WRONGTYPE x",)), "redis_keys_unusable", "peekaping:sched:due"),
        (status(clock_skew_s=3600.0), "clock_skew", "3600 s ahead of"),
        (status(clock_skew_s=-40.0), "clock_skew", "40 s behind"),
        (
            status(queue=Queue({"pending": 1}, 61.0, False, 0, now_ms=NOW_MS)),
            "queue_not_consumed",
            "oldest pending task (of 1) has waited since 07:58:59: ",
        ),
        (status(queue=Queue({"pending": 1}, 61.0, True, 0)), "queue_paused", "paused"),
        *(
            (
                status(
                    due=due,
                    leased=0,
                    queue=Queue({}, None, False, 1, uncompleted=count, uncompleted_s=90, now_ms=NOW_MS),
                ),
                "tasks_not_completed",
                f"the tasks of {monitors} (of {due}) and have not completed them, the first since 07:58:30: ",
            )
            for due, count, monitors in ((1, 1, "1 monitor"), (4, 4, "4 monitors"), (25, 5, "5 monitors"))
        ),
        (status(queue=Queue({}, None, False, 0, ("asynq:x: WRONGTYPE",))), "queue_unusable", "asynq:x"),
    ],
)
def test_each_condition_is_reported_and_fails(seen: Status, code: str, expected: str) -> None:
    assert [condition.code for _, condition in seen.conditions] == [code]
    assert expected in seen.conditions[0][1].reason
    assert seen.is_failing
    assert any(code in line and expected in line for line in seen.lines())
    assert json.loads(json.dumps(seen.as_json()))["conditions"][0]["code"] == code


@pytest.mark.parametrize(
    "seen",
    [
        status(oldest_due_ms=NOW_MS - 59_000.0, oldest_id="m1", unclaimed=4),
        status(leader=None, leader_ttl_ms=None, leaderless_s=0.0, reports=(StoredReport("other", NOW_MS, b"{}"),)),
        status(leader="go-1", leader_ttl_ms=30_000),
        status(due=0, leased=0),
        status(lease_excess_ms=4_000),
        status(clock_skew_s=29.0),
        status(queue=Queue({"pending": 100_000}, 19.0, False, 3)),
        status(due=4, leased=0, queue=Queue({}, None, False, 1, uncompleted=3)),
        status(due=26, leased=0, queue=Queue({}, None, False, 1, uncompleted=5)),
        status(due=0, leased=0, queue=Queue({}, None, False, 1, uncompleted=5)),
    ],
)
def test_short_deviations_do_not_fail(seen: Status) -> None:
    assert not seen.is_failing


@pytest.mark.parametrize(
    ("overdue_s", "max_overdue_s", "fails"),
    [(1, None, False), (3, None, True), (3, 60, False), (59, 60, False), (61, 60, True), (61, 3600, False)],
)
def test_lateness_fails_as_the_sentence_says_or_from_the_given_limit_on(
    overdue_s: int, max_overdue_s: float | None, fails: bool
) -> None:
    since_ms = NOW_MS - 1000.0 * overdue_s
    late = {"oldest_due_ms": since_ms, "oldest_unclaimed_ms": since_ms, "oldest_id": "m1", "unclaimed": 4}
    assert status(max_overdue_s=max_overdue_s, reports=(report(),), **late).is_failing is fails


def test_the_verdict_fails_without_a_condition_except_a_hold() -> None:
    unstored = Queue({}, None, False, 0, now_ms=NOW_MS, results_pending=5, results_oldest_s=30.0)
    assert status(queue=unstored).verdict.code == "results_not_stored"
    assert (status(queue=unstored).conditions, status(queue=unstored).is_failing) == ([], True)
    hold = b'{"until_ms": %d, "who": "anna", "why": "migration"}' % (NOW_MS + 60_000)
    assert (status(hold=hold).verdict.code, status(hold=hold).is_failing) == ("held", False)


def test_monitors_in_claims_are_overdue_too() -> None:
    """As while a table is locked: each claim takes all that are due, and hands none off."""
    since_ms = NOW_MS - 683_000.0
    seen = status(due=40, leased=66, unclaimed=3, late=66, oldest_due_ms=since_ms, oldest_id="m1")
    assert "overdue     69 (3 to be claimed, 66 claimed but not handed off)" in seen.lines()
    document = seen.as_json()
    assert [document[name] for name in ("overdue", "unclaimed", "late")] == [69, 3, 66], "as documented"
    assert "; 69 monitors overdue, 66 of them in claims." in "\n".join(seen.lines())
    hold = b'{"until_ms": %d, "who": "anna", "why": "migration"}' % (NOW_MS + 60_000)
    held = replace(seen, stats=replace(seen.stats, hold=hold))
    assert "; 69 monitors overdue." in held.verdict.details
    assert next(found.reason for _, found in held.conditions if found.code == "held").endswith("69 monitors overdue.")
    set_aside = status(due=9, leased=0, unclaimed=1, late=3, postponed=2, oldest_due_ms=since_ms, oldest_id="m1")
    assert "overdue     3 (1 to be claimed, 0 claimed but not handed off, 2 set aside)" in set_aside.lines()
    first = status(leased=9, oldest_claim=LeasedClaim("1.5", 9, NOW_MS + 7000), oldest_due_ms=NOW_MS - 3000.0)
    assert "overdue     9 (0 to be claimed, 9 claimed but not handed off)" in first.lines()
    in_hand = status(leased=9, oldest_claim=LeasedClaim("1.5", 9, NOW_MS + 7000), oldest_due_ms=NOW_MS - 20.0)
    assert "overdue     0" in in_hand.lines()
    due_times = DueTimes(NOW_MS, 60, NOW_MS, 1, (0, 2), "")
    lines = Status(seen.stats, None, due_times=due_times).lines()
    assert "next        69 monitors overdue: due as soon as they can be handed off." in lines


def test_a_silent_replica_is_named() -> None:
    silent = StoredReport("vm-b-7", NOW_MS - 20_000, encode_report(ReplicaReport(heartbeat=Heartbeat(host="vm-b"))))
    assert "replicas    1 reporting, 1 silent (vm-b since 07:59:40)" in status(reports=(report(), silent)).lines()


def test_state_of_a_replica_is_read_from_its_report() -> None:
    anomaly = {"monitor_id": "m1", "kind": "monitor.refused", "reason": "Redis refused its task."}
    seen = status(
        reports=(
            report(conditions=(Condition("database_empty", "Empty."),), anomalies=(anomaly,), leads=True, set_aside=1),
            StoredReport("broken", NOW_MS, b'{"conditions": 7}'),
        )
    )
    assert seen.is_failing
    assert seen.conditions == [(Level.FAILING, Condition("database_empty", "Empty. (reported by other)"))]
    found = seen.as_json()
    assert found["anomalies"] == [anomaly]
    assert found["replicas"] == {
        "other": {"leads": True, "set_aside": 1, "unschedulable": 0},
    }
    assert any("monitor.refused: 1" in line for line in seen.lines())


def test_a_note_of_a_replica_does_not_fail() -> None:
    seen = status(reports=(report(conditions=(Condition("monitors_set_aside", "One."),)),))
    assert not seen.is_failing
    assert any(line.startswith("note") for line in seen.lines())


def test_a_code_of_a_newer_replica_counts_as_a_note() -> None:
    assert Condition("of_the_future", "?").level is Level.NOTE
    assert "of_the_future" not in LEVELS


@pytest.mark.parametrize("text", [b"", b"no json", b"[" * 100_000, b"\xff", b'{"anomalies": [{"a": 1}]}'])
def test_a_malformed_report_counts_as_no_replica(text: bytes) -> None:
    assert decode_report(text) is None
    broken = StoredReport("broken", NOW_MS, text)
    assert status(reports=(broken, report(conditions=(Condition("database_unavailable", "Down."),)))).is_failing


def test_a_report_that_is_too_large_has_fewer_anomalies() -> None:
    anomaly = {"monitor_id": "m", "kind": "k", "reason": "\U000e0001" * 200}
    encoded = encode_report(ReplicaReport(anomalies=(anomaly,) * 200, set_aside=3))
    assert len(encoded) <= MAX_BYTES
    decoded = decode_report(encoded)
    assert decoded is not None
    assert decoded.set_aside == 3
    assert 0 < len(decoded.anomalies) < 200


def test_an_empty_schedule_and_a_foreign_leader_are_notes() -> None:
    seen = status(due=0, leased=0, leader="goproducer-1")
    assert [condition.code for _, condition in seen.conditions] == ["foreign_leader", "schedule_empty"]
    assert not seen.is_failing


def test_a_lease_is_judged_by_the_longest_lease_ttl_of_the_fleet() -> None:
    assert status(lease_excess_ms=50_000).is_failing
    assert not status(lease_excess_ms=50_000, reports=(report(lease_ttl_s=60.0),)).is_failing
    assert status(lease_excess_ms=56_000, reports=(report(lease_ttl_s=60.0),)).is_failing
    assert status(lease_excess_ms=3_600_000, reports=(report(lease_ttl_s=1e300),)).is_failing, "no replica's report"


def test_replicas_of_which_none_can_work_fail_whatever_the_reasons() -> None:
    """Each has another reason, so that no condition is reported by all."""
    down = report(conditions=(Condition("database_unavailable", "Down."),))
    stopping = StoredReport("b", NOW_MS, encode_report(ReplicaReport(conditions=(Condition("draining", "Stops."),))))
    assert status(reports=(down, stopping)).is_failing
    works = StoredReport("c", NOW_MS, encode_report(ReplicaReport()))
    assert not status(reports=(down, stopping, works)).is_failing


def test_what_is_seen_in_redis_is_never_a_note_because_a_replica_can_work() -> None:
    refused = Condition("redis_refuses_writes", "OOM")
    works = StoredReport("c", NOW_MS, encode_report(ReplicaReport()))
    assert status(write_refused="OOM", reports=(report(conditions=(refused,)), works)).is_failing


def test_a_replica_that_stops_or_lost_its_database_is_a_note_while_others_work() -> None:
    draining = StoredReport(
        "other", NOW_MS, encode_report(ReplicaReport(conditions=(Condition("draining", "Stopping."),)))
    )
    working = StoredReport("works", NOW_MS, encode_report(ReplicaReport(leads=True)))
    assert not status(reports=(draining, working)).is_failing
    assert any(line.startswith("note") for line in status(reports=(draining, working)).lines())
    assert status(reports=(draining,)).is_failing
