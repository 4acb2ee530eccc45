"""The verdict: each sentence, in a state that the real scripts have made and read. More: `test_verdict_*.py`."""

from pathlib import Path
from typing import Any

import pytest

from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.heartbeat import (
    FailingDependency,
    Heartbeat,
    HeldClaim,
    Lateness,
)
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.operations.verdict import VerdictCode, verdict
from peekaping_producer.schedule.keys import KEYS
from tests.kit.clock import START_MS
from tests.kit.installation import SLOW_READ, STARTED, Installation, hold


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
            {"failing": (FailingDependency("database", ("sync",), START_MS, "no SELECT"),)},
            ", because reads of the database fail",
            "no SELECT",
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
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_verdict*.py"))
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
