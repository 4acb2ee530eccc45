"""The verdicts of `explain` about the schedule, in a state that the real scripts have made."""

import json
from typing import Any

import pytest

from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.explain.codes import MonitorVerdict
from peekaping_producer.operations.explain.document import document_of
from peekaping_producer.operations.heartbeat import FailingDependency, Heartbeat, HeldClaim
from peekaping_producer.schedule.keys import KEYS
from tests.kit.explained import ID, Scene
from tests.kit.schedule import TERM


async def test_in_both_sets(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    await scene.until_due()
    await scene.schedule.claim(10)
    await scene.redis.zadd(KEYS.due, {ID: scene.clock.now_ms})  # as a producer without fences does
    assert await scene.verdict() == MonitorVerdict(
        "schedule.both",
        "It is in both sets of the schedule, due and lease: a check may be handed off twice.",
        "Its claim ends at 03:11:10 (in 10.0 s). A Go producer can cause this; otherwise report it.",
        ends_ms=scene.clock.now_ms + 10_000,
    )


@pytest.mark.parametrize(
    ("leader", "conditions", "cause", "reason"),
    [
        (None, (), "no_leader", "no replica leads, and only a leader adds monitors"),
        ("go-1", (), "foreign_leader", "go-1, which is not a replica of this producer, leads"),
        (TERM, ("database_empty",), "database_empty", "the leader cannot sync (why database_empty)"),
        (TERM, ("sync_late",), "sync_late", "the leader cannot sync (why sync_late)"),
        (TERM, (), "not_synced", "it is newer than the last sync, or was removed since"),
    ],
)
async def test_not_in_the_schedule(
    scene: Scene, leader: str | None, conditions: tuple[str, ...], cause: str, reason: str
) -> None:
    await scene.insert()
    if leader:
        await scene.redis.set(KEYS.leader, leader, px=9000)
    await scene.report(leads=True, conditions=tuple(Condition(code, f"why {code}") for code in conditions))
    verdict = await scene.verdict()
    assert (verdict.code, verdict.cause) == ("schedule.absent", cause)
    assert verdict.sentence == f"Not checked, because it is not in the schedule: {reason}."


async def claimed(scene: Scene, *, named: bool = True) -> None:
    await scene.insert()
    await scene.place()
    await scene.until_due()
    claim = await scene.schedule.claim(10)
    held = (HeldClaim(claim.token, 1, claim.now_ms),) if named else ()
    await scene.report(heartbeat=Heartbeat(claims=held))


async def test_claimed(scene: Scene) -> None:
    await claimed(scene)
    assert await scene.verdict() == MonitorVerdict(
        "lease.held",
        "Its check is being handed off now, by vm-b.",
        "The claim ends at 03:11:10 (in 10.0 s); then another replica takes it over.",
        ends_ms=scene.clock.now_ms + 10_000,
    )


async def test_a_claim_that_does_not_hand_it_off(scene: Scene) -> None:
    await claimed(scene)
    failing = FailingDependency("database", ("worker",), scene.clock.now_ms, "no answer")
    held = (HeldClaim(str(await scene.redis.zscore(KEYS.lease, ID)), 1, scene.clock.now_ms),)
    await scene.clock.advance(5)
    await scene.report(heartbeat=Heartbeat(claims=held, failing=(failing,)))
    verdict = await scene.verdict()
    assert (verdict.code, verdict.cause, verdict.is_healthy) == ("lease.late", "late_database", False)
    assert verdict.sentence == "Late since 03:11:00 (5.0 s ago): a claim holds it, and it has not been handed off."
    assert verdict.remedy.startswith("The fleet: Late since 03:11:00, because reads of the database fail.")


@pytest.mark.parametrize("gives_back", [False, True])
async def test_claimed_again_and_again_without_a_hand_off(scene: Scene, gives_back: bool) -> None:
    """As with a locked table: each claim is new, and the monitor has waited for minutes."""
    await claimed(scene)
    claim = await scene.schedule.claim(10)
    for _ in range(3):
        await scene.clock.advance(11)
        await scene.schedule.reclaim()
        claim = await scene.schedule.claim(10)
    await scene.report(heartbeat=Heartbeat(claims=(HeldClaim(claim.token, 1, claim.now_ms),)))
    verdict = await scene.verdict()
    assert (verdict.code, verdict.level.value) == ("lease.late", "FAIL")
    assert verdict.sentence.startswith("Late since 03:11:00 (33.0 s ago)")
    if gives_back:
        failing = FailingDependency("database", ("worker",), scene.clock.now_ms - 30_000, "no answer")
        await scene.report(heartbeat=Heartbeat(failing=(failing,)))
        await scene.schedule.give_back(claim, delay_s=10)
        verdict = await scene.verdict()
        assert (verdict.code, verdict.cause) == ("due.late", "late_database"), "its own data is not the cause"


async def test_claimed_by_a_replica_that_is_silent(scene: Scene) -> None:
    await claimed(scene)
    await scene.clock.advance(8)
    verdict = await scene.verdict()
    assert (verdict.code, verdict.sentence) == (
        "lease.holder_silent",
        "Its check waits: vm-b claimed it and has not reported for 8.0 s.",
    )


async def test_claimed_by_an_unknown_holder(scene: Scene) -> None:
    await claimed(scene, named=False)
    ends_ms = scene.clock.now_ms + 10_000
    await scene.redis.zadd(KEYS.lease, {ID: ends_ms + 0.5})
    assert "by an unknown holder (a claim since the last heartbeats, " in (await scene.verdict()).sentence
    await scene.redis.zadd(KEYS.lease, {ID: ends_ms})
    assert "the token is a whole number, as a Go producer's is" in (await scene.verdict()).sentence


async def test_a_claim_that_has_ended(scene: Scene) -> None:
    await claimed(scene)
    await scene.clock.advance(10.5)
    verdict = await scene.verdict()
    assert (verdict.code, verdict.sentence, verdict.cause) == (
        "lease.expired",
        "Its check is late: the claim of vm-b ended at 03:11:10 (500 ms ago) without a hand-off.",
        "",
    )
    await scene.clock.advance(10)
    assert (await scene.verdict()).cause == "no_replica"


async def test_set_aside(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    await scene.until_due()
    await scene.schedule.give_back(await scene.schedule.claim(10), delay_s=10)
    await scene.report(anomalies=({"monitor_id": ID, "kind": "monitor.unbuildable", "reason": "No task."},))
    verdict = await scene.verdict()
    assert (verdict.code, verdict.sentence) == ("due.set_aside", "Its last attempt failed on a replica (No task.).")
    assert verdict.remedy.startswith("It is tried again at 03:11:10 (in 10.0 s)")


async def test_late(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    await scene.clock.set(await scene.due_ms() + 30_000)
    verdict = await scene.verdict()
    assert (verdict.code, verdict.cause, verdict.sentence) == (
        "due.late",
        "no_replica",
        "Late since 03:11:00 (30.0 s ago).",
    )
    assert verdict.remedy.startswith("The fleet: No replica runs")
    failing = FailingDependency("database", ("worker",), scene.clock.now_ms - 30_000, "no answer")
    await scene.report(heartbeat=Heartbeat(failing=(failing,)))
    verdict = await scene.verdict()
    assert verdict.cause == "late_database"
    assert verdict.remedy.startswith("The fleet: Late since 03:11:00, because ")


async def test_misaligned(scene: Scene) -> None:
    await scene.insert(interval=3600)
    await scene.place()
    verdict = await scene.verdict()
    assert verdict == MonitorVerdict(
        "due.misaligned",
        "Its due time, 03:11:00 (in 40.8 s), matches no tick of its interval.",
        "The next sync of the leader moves it to 04:00:00 (in 49.7 min).",
    )


async def test_no_replica_runs(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    await scene.redis.delete(KEYS.leader)
    assert await scene.verdict() == MonitorVerdict(
        "fleet.no_replica",
        "No replica runs, so its next check will not be handed off. It is due at 03:11:00 (in 40.8 s).",
        "Start a replica, or read its log.",
    )


@pytest.mark.parametrize("score", ["inf", "-inf", 1e300])
async def test_absurd_scores_and_replies_are_explained(scene: Scene, score: Any) -> None:
    await scene.insert()
    for key in (KEYS.due, KEYS.lease):
        await scene.redis.zadd(key, {ID: score})
        facts = await scene.facts()
        verdict = await scene.verdict()
        assert json.dumps(document_of(facts, verdict))
        await scene.redis.delete(key)
    hold = {"until_ms": scene.clock.now_ms + 9000, "who": "\x1b[31m", "why": "x"}
    await scene.redis.hset(KEYS.held, ID, json.dumps(hold))
    verdict = await scene.verdict()
    assert verdict.code == "held"
    assert "\x1b" not in verdict.sentence
