"""The verdict: each sentence, in a state that the real scripts have made and read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.heartbeat import (
    SLOTS,
    FailingDependency,
    Heartbeat,
    HeldClaim,
    Lateness,
    Rings,
    Stages,
    StageTime,
)
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.operations.verdict import Verdict, VerdictCode, verdict
from peekaping_producer.schedule import Claim
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.transports.asynq.protobuf import bytes_field, int_field, text_field
from tests.kit.asynq_harness import AsynqHarness
from tests.kit.clock import START_MS

USUAL = Stages(StageTime(2.0, 2.0), StageTime(12.0, 12.0), StageTime(4.0, 4.0), StageTime(7.0, 7.0))
SLOW_READ = replace(USUAL, read=StageTime(9400.0, 12.0))
SLOW_REDIS = replace(USUAL, claim=StageTime(1000.0, 2.0), hand_off=StageTime(1100.0, 7.0))
STARTED = "12:37:46"
"""START_MS as a time of day."""


class Installation:
    """A schedule, a queue, and the reports of replicas."""

    def __init__(self, asynq: AsynqHarness) -> None:
        self.asynq, self.redis, self.clock = asynq, asynq.redis, asynq.clock

    async def beat(
        self, *hosts: str, leads: bool = False, conditions: Sequence[Condition] = (), **changes: Any
    ) -> None:
        """Write the reports of replicas on these hosts."""
        for host in hosts:
            beat = replace(Heartbeat(host=host, stages=USUAL, round_trip_ms=0.4, shortest_interval_s=20), **changes)
            report = ReplicaReport(leads=leads, conditions=tuple(conditions), lease_ttl_s=10.0, heartbeat=beat)
            await self.asynq.schedule.stats(node=f"{host}-1-abcd", report=encode_report(report))

    async def lead(self) -> None:
        """Let one of them lead."""
        await self.redis.set(KEYS.leader, "vm-a-1-abcd/1", px=9000)

    async def due(self, count: int, ago_s: float) -> None:
        """Make monitors overdue, or due in the future."""
        due_ms = self.clock.now_ms - round(1000 * ago_s)
        await self.redis.zadd(KEYS.due, {f"m{n}": due_ms for n in range(count)})

    async def claim(self, count: int) -> Claim:
        await self.due(count, 0)
        return await self.asynq.schedule.claim(count)

    async def worker(self, concurrency: int, active: int, *queues: str) -> None:
        """Register a worker process as asynq does."""
        entries = (bytes_field(5, text_field(1, name) + int_field(2, 1)) for name in queues)
        of_process = text_field(1, "worker") + int_field(2, 7)
        info = of_process + int_field(4, concurrency) + b"".join(entries) + int_field(9, active)
        key = f"asynq:servers:{{{queues}}}"
        await self.redis.set(key, info)
        await self.redis.zadd("asynq:servers", {key: self.clock.now_ms // 1000 + 5})

    async def enqueue(self, *, ago_s: float) -> None:
        """Leave one task pending, and its monitor due in the future."""
        await self.asynq.run("m0")
        await self.clock.advance(ago_s)
        await self.due(1, -30)

    async def verdict(self) -> Verdict:
        look = Look(await self.asynq.schedule.stats(), await self.asynq.broker.inspect())
        return verdict(look)

    async def expect(self, code: str, sentence: str, details: str) -> Verdict:
        found = await self.verdict()
        assert (found.code, found.sentence, found.details) == (code, sentence, details)
        return found


@pytest.fixture
def installation(asynq: AsynqHarness) -> Installation:
    return Installation(asynq)


async def hold(installation: Installation, **changes: Any) -> None:
    value = {"until_ms": installation.clock.now_ms + 600_000, "who": "anna", "why": "migration"} | changes
    await installation.redis.hset(KEYS.held, "*", json.dumps(value))


async def test_held(installation: Installation) -> None:
    await installation.due(3, 40)
    await hold(installation)
    found = await installation.expect(
        "held",
        'Held by anna until 12:47:46: "migration".',
        "No check is handed off for another 10.0 min; 3 monitors overdue.",
    )
    assert found.ends_ms == START_MS + 600_000


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"null", b'{"until_ms": 9e15}', b'{"until_ms":1,"who":"","why":""}']
)
async def test_a_hold_that_has_ended_or_is_malformed_is_none(installation: Installation, value: bytes) -> None:
    await installation.redis.hset(KEYS.held, "*", value)
    await installation.beat("vm-a")
    await installation.lead()
    assert (await installation.verdict()).is_well


async def test_redis_does_not_answer() -> None:
    never = verdict(Look(None))
    assert (never.code, never.sentence) == (
        "redis_unavailable",
        "Redis has not answered: the state of the other replicas is unknown.",
    )
    since = verdict(Look(None, redis_failure="Connection refused.", redis_failing_since_ms=START_MS))
    assert since.sentence == f"Redis has not answered since {STARTED}: the state of the other replicas is unknown."
    assert since.details == "Connection refused."
    refused = verdict(Look(None, redis_failure="NOPERM", redis_refuses=True, redis_failing_since_ms=START_MS))
    assert refused.sentence == f"Redis has refused calls since {STARTED}: the state of the other replicas is unknown."


async def test_the_schedule_cannot_be_read(installation: Installation) -> None:
    await installation.redis.set(KEYS.due, "x")
    found = await installation.verdict()
    assert (found.code, found.sentence) == (
        "redis_unusable",
        "No check runs, because the schedule cannot be read.",
    )
    assert KEYS.due in found.details
    await installation.redis.delete(KEYS.due)
    await installation.redis.set(KEYS.replicas, "x")
    assert (await installation.verdict()).sentence == "Some keys of the producer cannot be read."


async def test_redis_refuses_writes(installation: Installation) -> None:
    await installation.redis.config_set("maxmemory", 1)
    try:
        found = await installation.verdict()
    finally:
        await installation.redis.config_set("maxmemory", 0)
    assert (found.code, found.sentence) == ("redis_unusable", "No check runs, because Redis refuses writes.")
    assert "OOM" in found.details


async def test_no_replica_runs(installation: Installation) -> None:
    await installation.beat("vm-b")
    await installation.clock.advance(20)
    await installation.due(2, 5)
    await installation.expect(
        "no_replica",
        f"No replica runs: the last report is from vm-b, at {STARTED}.",
        "2 monitors overdue, of 2. Start a replica, and read its log.",
    )
    await installation.clock.advance(60)
    assert (await installation.verdict()).sentence == (
        "No replica runs: no replica has reported within the last minute."
    )
    await installation.redis.set(KEYS.leader, "a Go producer")
    assert (await installation.verdict()).code == "late", "a peer may run"


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
    failing = (FailingDependency("database", ("worker",), START_MS - 8000, "StoreUnavailableError: no answer"),)
    await installation.beat("vm-a", "vm-b", failing=failing)
    await installation.beat("vm-c")
    await installation.expect(
        "late_database",
        "Late since 12:37:36, because reads of the database fail.",
        "They fail on 2 of 3 replicas, since 12:37:38: StoreUnavailableError: no answer",
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
    failing = (FailingDependency("redis", ("worker",), START_MS - 8000, "RedisRefusedError: OOM"),)
    await installation.beat("vm-a", failing=failing)
    await installation.expect(
        "late_redis",
        "Late since 12:37:36, because calls to Redis fail.",
        "They fail on 1 of 1 replica, since 12:37:38: RedisRefusedError: OOM",
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
    failing = (FailingDependency("broker", ("worker",), START_MS - 8000, "BrokerUnavailableError: refused"),)
    await installation.beat("vm-a", failing=failing, **PUBLISHING)
    await installation.expect(
        "late_broker",
        "Late since 12:37:36, because calls to the broker fail.",
        "They fail on 1 of 1 replica, since 12:37:38: BrokerUnavailableError: refused",
    )


async def test_a_sync_that_fails_and_a_distant_redis_are_no_causes(installation: Installation) -> None:
    await installation.due(4, 10)
    failing = (FailingDependency("database", ("sync",), START_MS, "StoreRefusedError: no SELECT"),)
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
        "No report contains it: its producer has ended, or is no replica. The monitors are due again within 3.0 s.",
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


async def fail(installation: Installation, monitor_id: str) -> None:
    """Claim one monitor, whose attempt fails, and postpone it."""
    await installation.redis.zadd(KEYS.due, {monitor_id: installation.clock.now_ms})
    await installation.asynq.schedule.give_back(await installation.asynq.schedule.claim(1), [monitor_id], delay_s=60)


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
    failing = (FailingDependency("database", ("worker",), outage_ms, "StoreUnavailableError: locked"),)
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


def rings(*last: int) -> Rings:
    """Rings whose last slots of a second have these counts."""
    return Rings(START_MS // 1000, (*[0] * (SLOTS - len(last)), *last), (0,) * SLOTS, (0,) * SLOTS, (0,) * SLOTS)


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


async def test_the_queue_is_paused(installation: Installation) -> None:
    await installation.enqueue(ago_s=31)
    await installation.redis.set("asynq:{healthcheck}:paused", 1)
    await installation.beat("vm-a")
    await installation.expect(
        "queue_paused",
        f"On time, but the queue is paused: no task has been dequeued since {STARTED}.",
        "1 task pending. Resume it: asynq queue unpause healthcheck",
    )


async def test_no_worker(installation: Installation) -> None:
    await installation.enqueue(ago_s=31)
    await installation.worker(8, 0, "ingester")
    await installation.beat("vm-a")
    await installation.expect(
        "no_worker",
        f"On time, but no worker has dequeued tasks since {STARTED}.",
        "1 task pending, and no worker process is registered for the queue healthcheck. Start Peekaping's workers.",
    )


async def test_the_workers_are_full(installation: Installation) -> None:
    await installation.enqueue(ago_s=31)
    await installation.worker(1000, 1000, "healthcheck", "critical")
    await installation.worker(24, 24, "healthcheck")
    arrivals = Rings(START_MS // 1000, handed_off_10s=(4820,) * SLOTS)
    await installation.beat("vm-a", rings=arrivals, finished_per_s=310.0)
    await installation.expect(
        "workers_full",
        "On time, but the workers are full: 482.0 checks due and 310.0 finished a second; "
        "about 569 more slots are needed.",
        "1,024 of 1,024 slots busy; 1 task pending, the first for 31.0 s.",
    )
    await installation.beat("vm-a", rings=arrivals, finished_per_s=482.5)
    found = await installation.verdict()
    assert found.sentence == "On time, but the workers are full: 482.0 checks due and 482.5 finished a second."
    assert (found.details, found.ends_ms) == (
        "1,024 of 1,024 slots busy; 1 task pending, the first for 31.0 s; at this rate none waits in 2.0 s.",
        installation.clock.now_ms + 2000,
    )
    await installation.beat("vm-a", rings=arrivals)
    assert (await installation.verdict()).sentence == "On time, but the workers are full."


@pytest.mark.parametrize("active", [0, 8])
async def test_the_workers_finish_nothing(installation: Installation, active: int) -> None:
    await installation.enqueue(ago_s=31)
    await installation.worker(8, active, "healthcheck")
    since_ms = installation.clock.now_ms - 60_000
    await installation.beat("vm-a", finished_per_s=0.0, nothing_finished_since_ms=since_ms)
    await installation.expect(
        "workers_stuck",
        "On time, but the workers have finished nothing since 12:37:17.",
        f"{active} of 8 slots busy; 1 task pending, the first for 31.0 s. The workers hang or crash: read their logs.",
    )


@pytest.mark.parametrize(("of_a_s", "of_b_s"), [(59, 59), (90, None)])
async def test_long_checks_are_not_mistaken_for_workers_that_hang(
    installation: Installation, of_a_s: int, of_b_s: int | None
) -> None:
    """Nothing was finished for less than a minute, or another replica has seen a finished task."""
    await installation.enqueue(ago_s=31)
    await installation.worker(8, 8, "healthcheck")
    for host, ago_s in (("vm-a", of_a_s), ("vm-b", of_b_s)):
        since_ms = None if ago_s is None else installation.clock.now_ms - 1000 * ago_s
        await installation.beat(host, finished_per_s=0.0 if ago_s else 0.5, nothing_finished_since_ms=since_ms)
    assert (await installation.verdict()).code == "workers_full"


async def test_workers_that_do_not_register_are_workers(installation: Installation) -> None:
    """A process whose registration is gone finishes tasks; one that cannot be read may take them."""
    await installation.enqueue(ago_s=31)
    await installation.beat("vm-a", finished_per_s=5.0)
    assert (await installation.verdict()).code == "tasks_wait"
    await installation.beat("vm-a", finished_per_s=5.0, nothing_finished_since_ms=installation.clock.now_ms - 15_000)
    assert (await installation.verdict()).code == "no_worker"
    await installation.worker(8, 0, "healthcheck")
    await installation.redis.set("asynq:servers:{('healthcheck',)}", b"\xff")
    assert (await installation.verdict()).code == "tasks_wait"


async def test_the_slots_that_are_needed(installation: Installation) -> None:
    """By Little's law: 10 checks a second of 2.5 s each are 25 running checks, on average."""
    await installation.beat("vm-a", rings=Rings(START_MS // 1000, handed_off_10s=(100,) * SLOTS), mean_check_s=2.5)
    look = Look(await installation.asynq.schedule.stats(), await installation.asynq.broker.inspect())
    assert (look.slots_needed, look.slots, look.is_served) == (25, 0, False)
    await installation.beat("vm-a")
    assert Look(await installation.asynq.schedule.stats()).slots_needed is None


async def test_tasks_wait_and_the_cause_is_unknown(installation: Installation) -> None:
    await installation.enqueue(ago_s=31)
    await installation.worker(8, 2, "healthcheck")
    await installation.beat("vm-a", finished_per_s=5.0)
    await installation.expect(
        "tasks_wait",
        f"On time, but tasks have waited for a worker since {STARTED}.",
        "2 of 8 slots busy; 1 task pending, the first for 31.0 s. Read the logs of the workers.",
    )


async def test_a_task_may_wait_for_one_and_a_half_of_the_shortest_interval(installation: Installation) -> None:
    await installation.enqueue(ago_s=80)
    await installation.beat("vm-a", shortest_interval_s=60)
    await installation.lead()
    assert (await installation.verdict()).is_well
    await installation.clock.advance(11)
    assert (await installation.verdict()).code == "no_worker"


@pytest.mark.parametrize(
    ("queues", "ago_s", "sentence", "why"),
    [
        (
            ["healthcheck"],
            21,
            "Checks run, but results have not been stored since 12:37:25.",
            ", and no worker process is registered for it. Start Peekaping's workers for results.",
        ),
        (
            ["ingester"],
            61,
            "Checks run, but results are stored late: the next one has waited since 12:36:45.",
            "; too few workers take from it, or they hang. Read their logs.",
        ),
    ],
)
async def test_results_are_not_stored(
    installation: Installation, queues: list[str], ago_s: int, sentence: str, why: str
) -> None:
    await installation.redis.hset("asynq:{ingester}:t:r1", "pending_since", (START_MS - 1000 * ago_s) * 1_000_000)
    await installation.redis.lpush("asynq:{ingester}:pending", "r1", "r2")
    await installation.worker(8, 0, *queues)
    await installation.beat("vm-a")
    await installation.expect("results_not_stored", sentence, f"2 results in the queue ingester{why}")


async def test_no_leader(installation: Installation) -> None:
    await installation.beat("vm-a", leaderless_since_ms=START_MS - 12_000)
    assert (await installation.verdict()).is_well
    await installation.beat("vm-b", leaderless_since_ms=START_MS - 13_000)
    await installation.expect(
        "no_leader",
        "No replica has led since 12:37:33: checks run, and edits of monitors wait.",
        "2 replicas running; read their logs (`leader.*`).",
    )
    await installation.lead()
    assert (await installation.verdict()).is_well


UNSYNCED = {"leads": True, "synced_ms": START_MS - 121_000, "sync_interval_s": 30.0}


@pytest.mark.parametrize(
    ("changes", "cause", "details"),
    [
        ({}, "", "Edits of monitors are not applied. Read the log of the leader (`sync.*`)."),
        (
            {"failing": (FailingDependency("database", ("sync",), START_MS, "StoreRefusedError: no SELECT"),)},
            ", because reads of the database fail",
            "StoreRefusedError: no SELECT",
        ),
        (
            {"conditions": [Condition("database_empty", "No active monitor.")]},
            ", because the database returns no active monitor",
            "Nothing is removed from the schedule. Check DB_NAME, and whether a restore is in progress.",
        ),
    ],
)
async def test_not_synced(installation: Installation, changes: dict[str, Any], cause: str, details: str) -> None:
    await installation.lead()
    await installation.beat("vm-a", **UNSYNCED, **changes)
    await installation.beat("vm-b")
    await installation.expect(
        "not_synced",
        f"The schedule has not been synced with the database since 12:35:45{cause}.",
        f"vm-a leads. {details}",
    )


async def test_no_monitor_is_scheduled(installation: Installation) -> None:
    await installation.lead()
    await installation.beat("vm-a")
    await installation.expect("on_time", "No monitor is scheduled.", "0 monitors scheduled; 0 tasks pending.")


@pytest.mark.parametrize(
    "beat", [b'{"overdue":1%s}' % (b"0" * 400), b'{"mean_check_s":1e300}', b'{"rings":{"handed_off_10s":[1e9]}}']
)
async def test_a_report_with_absurd_numbers_is_malformed(installation: Installation, beat: bytes) -> None:
    await installation.asynq.schedule.stats(node="absurd", report=b'{"heartbeat":%s}' % beat)
    await installation.redis.hset(KEYS.replicas, "of the future", b"9" * 5000 + b" {}")
    await installation.beat("vm-a", "vm-b", stages=SLOW_READ)
    await installation.due(1, 10)
    assert (await installation.verdict()).code == "late_database"


async def test_on_time(installation: Installation) -> None:
    await installation.lead()
    await installation.due(2, -10)
    await installation.beat("vm-a", lateness=Lateness(0.01, 0.05, 0.1, 0.05), **UNSYNCED | {"synced_ms": START_MS})
    await installation.beat("vm-b")
    await installation.expect(
        "on_time",
        "Every check is on time.",
        "2 monitors scheduled; 99 % of the checks of the last minute were handed off within 50 ms; 0 tasks pending.",
    )


async def test_replicas_of_an_older_version_have_no_heartbeat_and_are_no_evidence(installation: Installation) -> None:
    for node in ("old-1", "old-2", "old-3"):
        await installation.asynq.schedule.stats(node=node, report=encode_report(ReplicaReport(lease_ttl_s=10.0)))
    await installation.due(4, 10)
    assert (await installation.verdict()).code == "late"
    await installation.beat("vm-a", stages=SLOW_READ)
    assert (await installation.verdict()).code == "late_database"


async def test_replicas_of_one_host_are_named_by_their_nodes(installation: Installation) -> None:
    claim = await installation.claim(1)
    held = (HeldClaim(claim.token, 1, claim.now_ms),)
    await installation.clock.advance(8)
    await installation.beat("vm-a", claims=held)
    other = encode_report(ReplicaReport(lease_ttl_s=10.0, heartbeat=Heartbeat(host="vm-a")))
    await installation.asynq.schedule.stats(node="vm-a-2-ef", report=other)
    assert "because vm-a-1-abcd has held 1 monitor" in (await installation.verdict()).sentence


@pytest.mark.parametrize("text", ["<img src=x onerror=alert(1)>", "\x1b[2J", "\u202eabc", "x" * 10_000])
async def test_texts_of_others_are_printable_and_bounded(installation: Installation, text: str) -> None:
    await hold(installation, who=text, why=text)
    found = await installation.verdict()
    assert found.sentence.isprintable()
    assert len(found.sentence) < 600


def test_every_code_has_a_test() -> None:
    text = Path(__file__).read_text()
    assert [code for code in VerdictCode if f'"{code.value}"' not in text] == []


async def test_the_first_rule_that_matches_wins(installation: Installation) -> None:
    await installation.beat("vm-a", "vm-b", leaderless_since_ms=START_MS - 60_000)
    assert (await installation.verdict()).code == "no_leader"
    await installation.enqueue(ago_s=31)
    await installation.beat("vm-a", "vm-b", leaderless_since_ms=START_MS - 60_000)
    assert (await installation.verdict()).code == "no_worker"
    await installation.due(1, 10)
    assert (await installation.verdict()).code == "late"
    await installation.beat("vm-a", "vm-b", stages=SLOW_READ)
    assert (await installation.verdict()).code == "late_database"
    await hold(installation)
    assert (await installation.verdict()).code == "held"
