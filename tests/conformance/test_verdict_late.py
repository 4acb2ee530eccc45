"""The verdict about checks that are late: each cause, in a state that the real scripts have made and read."""

import pytest
from msgspec.structs import replace

from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.heartbeat import (
    FailingDependency,
    HeldClaim,
    Lateness,
    Stages,
    StageTime,
)
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.schedule.keys import KEYS
from tests.kit.clock import START_MS
from tests.kit.installation import SLOW_READ, SLOW_REDIS, STARTED, USUAL, Installation, fail, rings


async def test_late_because_the_database_is_slow(installation: Installation) -> None:
    await installation.due(4, 10)
    await installation.beat("vm-a", "vm-b", stages=SLOW_READ)
    await installation.beat("vm-c")
    found = await installation.expect(
        "late_database",
        "Late since 12:37:36, because the database is slow.",
        "Reading a batch takes 9.4 s where 12 ms is usual, on 2 of 3 replicas; Redis answers in 0.4 ms.",
    )
    assert found.since_ms == START_MS - 10_000


async def test_late_because_reads_of_the_database_fail(installation: Installation) -> None:
    await installation.due(4, 10)
    failing = (FailingDependency("database", ("worker",), START_MS - 8000, "no answer"),)
    await installation.beat("vm-a", "vm-b", failing=failing)
    await installation.beat("vm-c")
    await installation.expect(
        "late_database",
        "Late since 12:37:36, because reads of the database fail.",
        "They fail on 2 of 3 replicas, since 12:37:38: no answer",
    )


async def test_late_because_redis_is_slow(installation: Installation) -> None:
    await installation.due(4, 10)
    await installation.beat("vm-a", stages=SLOW_REDIS)
    await installation.beat("vm-b", round_trip_ms=140.0, stages=SLOW_REDIS)
    await installation.beat("vm-c")
    await installation.expect(
        "late_redis",
        "Late since 12:37:36, because Redis is slow.",
        "The calls of a batch take 2.1 s where 9.0 ms is usual, on 2 of 3 replicas; Redis answers in "
        "140 ms. Look at SLOWLOG, memory and persistence (fork) of Redis.",
    )


async def test_late_because_calls_to_redis_fail(installation: Installation) -> None:
    """Other calls than those of the sample."""
    await installation.due(4, 10)
    failing = (FailingDependency("redis", ("worker",), START_MS - 8000, "OOM"),)
    await installation.beat("vm-a", failing=failing)
    await installation.expect(
        "late_redis",
        "Late since 12:37:36, because calls to Redis fail.",
        "They fail on 1 of 1 replica, since 12:37:38: OOM",
    )


PUBLISHING = {"settings": {"BROKER": "rabbitmq"}}


async def test_late_because_the_broker_is_slow(installation: Installation) -> None:
    """The hand-off is then no time of Redis."""
    await installation.due(4, 10)
    slow = replace(USUAL, hand_off=StageTime(1100.0, 7.0))
    await installation.beat("vm-a", "vm-b", stages=slow, **PUBLISHING)
    await installation.beat("vm-c", **PUBLISHING)
    await installation.expect(
        "late_broker",
        "Late since 12:37:36, because the broker is slow.",
        "Publishing a batch takes 1.1 s where 7.0 ms is usual, on 2 of 3 replicas.",
    )


async def test_late_because_calls_to_the_broker_fail(installation: Installation) -> None:
    await installation.due(4, 10)
    failing = (FailingDependency("broker", ("worker",), START_MS - 8000, "refused"),)
    await installation.beat("vm-a", failing=failing, **PUBLISHING)
    await installation.expect(
        "late_broker",
        "Late since 12:37:36, because calls to the broker fail.",
        "They fail on 1 of 1 replica, since 12:37:38: refused",
    )


async def test_a_sync_that_fails_and_a_distant_redis_are_no_causes(installation: Installation) -> None:
    await installation.due(4, 10)
    failing = (FailingDependency("database", ("sync",), START_MS, "no SELECT"),)
    distant = replace(USUAL, claim=StageTime(90.0, 80.0), hand_off=StageTime(120.0, 110.0))
    await installation.beat("vm-a", failing=failing, round_trip_ms=85.0, stages=distant)
    assert (await installation.verdict()).code == "late"


async def test_late_because_a_replica_fell_silent_with_a_claim(installation: Installation) -> None:
    claim = await installation.claim(3)
    await installation.beat("vm-c", claims=(HeldClaim(claim.token, 3, claim.now_ms),))
    await installation.clock.advance(9)
    await installation.beat("vm-a", "vm-b")
    found = await installation.expect(
        "late_claim",
        f"Late since {STARTED}, because vm-c stopped reporting while it held 3 monitors.",
        f"Its last report is from {STARTED}. The monitors are due again within 3.0 s.",
    )
    assert found.ends_ms == START_MS + 12_000


async def test_a_claim_that_no_heartbeat_contains(installation: Installation) -> None:
    """A replica that stopped reporting after its last report is only suspected."""
    await installation.claim(2)
    await installation.clock.advance(9)
    await installation.beat("vm-a", "vm-b")
    sentence = f"Late since {STARTED}, because a claim of 2 monitors has lasted for 9.0 s."
    await installation.expect(
        "late_claim",
        sentence,
        "No report contains it: its producer has ended, or is not a replica. The monitors are due again within 3.0 s.",
    )


async def test_a_claim_that_a_silent_replica_may_have_made(installation: Installation) -> None:
    await installation.beat("vm-c")
    await installation.claim(1)
    await installation.clock.advance(9)
    await installation.beat("vm-a", "vm-b")
    await installation.expect(
        "late_claim",
        f"Late since {STARTED}, because a claim of 1 monitor has lasted for 9.0 s.",
        f"No report contains it; vm-c, silent since {STARTED}, probably made it. "
        "The monitors are due again within 3.0 s.",
    )


async def test_an_old_claim_is_no_cause_if_others_have_waited_for_longer(installation: Installation) -> None:
    claim = await installation.claim(3)
    await installation.redis.zadd(KEYS.due, {"older": installation.clock.now_ms - 1})
    await installation.clock.advance(9)
    await installation.beat("vm-a", claims=(HeldClaim(claim.token, 3, claim.now_ms),))
    assert (await installation.verdict()).code == "late"


async def test_attempts_that_fail_for_many_monitors_make_the_fleet_late(installation: Installation) -> None:
    """Also while they are claimed again; since when, does not depend on a monitor that fails alone for longer."""
    await fail(installation, "alone")
    await installation.clock.advance(40)
    claim = await installation.claim(20)
    since_ms = installation.clock.now_ms
    for _ in range(3):
        await installation.clock.advance(5)
        await installation.asynq.schedule.give_back(claim)
        claim = await installation.asynq.schedule.claim(20)
    await installation.beat("vm-a", failing=(FailingDependency("database", ("worker",), since_ms, "no answer"),))
    found = await installation.verdict()
    assert (found.code, found.since_ms) == ("late_database", since_ms)


async def test_hand_offs_before_monitors_were_late_are_no_sign_of_catching_up(installation: Installation) -> None:
    """The replicas died: what they report of their last seconds is older."""
    await installation.beat("vm-a", rings=rings(50, 50, 50, 50, 50, 9))
    await installation.clock.advance(5)
    await installation.due(100, 3)
    assert (await installation.verdict()).code == "late"
    await installation.clock.advance(5)
    assert (await installation.verdict()).details.endswith(f"No replica has reported since {STARTED}.")


async def test_late_because_the_replicas_need_cpu(installation: Installation) -> None:
    """All stages are slow then, also the reads."""
    await installation.due(4, 10)
    starved = replace(SLOW_READ, build=StageTime(900.0, 4.0))
    await installation.beat("vm-a", "vm-b", stages=starved)
    await installation.beat("vm-c")
    await installation.expect(
        "late_cpu",
        "Late since 12:37:36, because the replicas need more CPU.",
        "Building the tasks of a batch takes 900 ms where 4.0 ms is usual, on 2 of 3 replicas; this stage waits for no "
        "other program.",
    )


async def test_full_batches_after_small_ones_are_no_cause(installation: Installation) -> None:
    """After an outage a batch has 500 monitors, where a few are usual: it takes longer, and nothing is slow."""
    await installation.due(100, 10)
    small = Stages(StageTime(3.0, 0.4), StageTime(150.0, 1.0), StageTime(20.0, 0.3), StageTime(30.0, 0.8))
    await installation.beat("vm-a", stages=small, round_trip_ms=40.0, overdue=500, rings=rings(*[50] * 6))
    assert (await installation.verdict()).code == "catching_up"


async def test_single_monitors_whose_attempts_fail_make_no_fleet_late(installation: Installation) -> None:
    await fail(installation, "m0")
    await installation.lead()
    await installation.clock.advance(12)
    await installation.lead()
    await installation.beat("vm-a")
    assert (await installation.verdict()).is_well
    await installation.clock.advance(1)
    sentence = f"On time, except 1 monitor: attempts to hand off the first have failed since {STARTED}."
    found = await installation.expect("monitors_late", sentence, "The first is m0. Run: peekaping-producer explain m0")
    assert found.since_ms == START_MS
    assert not Look(await installation.asynq.schedule.stats()).is_late
    reason = "heartbeats does not answer; its last known content is used, if any: locked"
    await installation.beat("vm-a", conditions=[Condition("database_degraded", reason)])
    assert (await installation.verdict()).details.startswith(f"The first is m0; {reason}. Run: ")
    anomaly = {"monitor_id": "m0", "kind": "monitor.unreadable", "reason": "timeout: expected an integer, got text."}
    report = ReplicaReport(anomalies=(anomaly,), lease_ttl_s=10.0)
    await installation.asynq.schedule.stats(node="vm-a-1-abcd", report=encode_report(report))
    assert (await installation.verdict()).details.startswith(
        "The first is m0: timeout: expected an integer, got text. Run: "
    )


async def test_monitors_that_an_outage_postpones_are_late_since_it_began(installation: Installation) -> None:
    """Each attempt postpones them: without their first due times, lateness would begin anew with each."""
    await fail(installation, "m0")
    await installation.clock.advance(30)
    outage_ms = installation.clock.now_ms
    await fail(installation, "m1")
    await installation.clock.advance(60)
    failing = (FailingDependency("database", ("worker",), outage_ms, "locked"),)
    await installation.beat("vm-a", "vm-b", failing=failing)
    found = await installation.verdict()
    assert found.sentence == "Late since 12:38:16, because reads of the database fail."
    assert found.since_ms == outage_ms


async def test_late_because_a_replica_that_runs_holds_a_claim(installation: Installation) -> None:
    claim = await installation.claim(3)
    await installation.clock.advance(8)
    await installation.beat("vm-c", claims=(HeldClaim(claim.token, 3, claim.now_ms),))
    await installation.beat("vm-a")
    await installation.expect(
        "late_claim",
        f"Late since {STARTED}, because vm-c has held 3 monitors for 8.0 s.",
        "If it does not hand them off, they are due again within 4.0 s.",
    )
    held = (HeldClaim(claim.token, 3, claim.now_ms),)
    await installation.beat("vm-c", claims=held, stages=replace(USUAL, read=StageTime(8000.0, 12.0)))
    assert (await installation.verdict()).details == (
        "Reading the database for a batch takes 8.0 s there. "
        "If it does not hand them off, they are due again within 4.0 s."
    )


@pytest.mark.parametrize("overdue_before", [500, 0])
async def test_catching_up(installation: Installation, overdue_before: int) -> None:
    """The overdue monitors become fewer; or they have just become due, and few enough."""
    await installation.due(100, 4)
    await installation.beat("vm-a", overdue=overdue_before, rings=rings(50, 50, 50, 50, 50, 9))
    found = await installation.expect(
        "catching_up",
        "Catching up: 100 monitors overdue since 12:37:42; done in about 2.0 s.",
        "The replicas hand off 50 monitors a second.",
    )
    assert found.ends_ms == START_MS + 2000


@pytest.mark.parametrize(("overdue_before", "per_second"), [(100, 50), (90, 50), (0, 0), (0, 2)])
async def test_late_without_a_common_cause(installation: Installation, overdue_before: int, per_second: int) -> None:
    """Neither falls the number of overdue monitors, nor is one cause seen by most replicas."""
    await installation.due(100, 10)
    await installation.beat("vm-a", overdue=overdue_before, rings=rings(*[per_second] * 6), stages=SLOW_READ)
    await installation.beat("vm-b", stages=SLOW_REDIS)
    await installation.expect(
        "late",
        "Late since 12:37:36.",
        "100 monitors overdue; monitor m0 has waited for 10.0 s. "
        "The heartbeats show no cause that is common to most replicas.",
    )


@pytest.mark.parametrize(
    ("usual_p99_s", "ago_s", "is_late"),
    [
        (None, 1.9, False),
        (None, 2.1, True),
        (2.5, 7.4, False),
        (2.5, 7.6, True),
        (300.0, 29.0, False),
        (300.0, 31.0, True),
    ],
)
async def test_late_is_more_than_is_usual(
    installation: Installation, usual_p99_s: float | None, ago_s: float, is_late: bool
) -> None:
    await installation.due(1, ago_s)
    await installation.beat("vm-a", lateness=Lateness(usual_p99_s=usual_p99_s))
    await installation.lead()
    assert (await installation.verdict()).code == ("late" if is_late else "on_time")
