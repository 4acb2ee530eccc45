"""Each verdict of `explain`, in a state that the real scripts and a real database have made."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from peekaping_producer.migrate import migrate
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.explain.codes import LEVELS, MonitorVerdict
from peekaping_producer.operations.explain.document import document_of
from peekaping_producer.operations.explain.facts import Facts
from peekaping_producer.operations.explain.reading import Explained, explain
from peekaping_producer.operations.explain.text import candidate_lines, lines_of
from peekaping_producer.operations.explain.verdict import verdict_of
from peekaping_producer.operations.fleet_events import FleetEvent, encode_event
from peekaping_producer.operations.heartbeat import FailingDependency, Heartbeat, HeldClaim
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import DatabaseTarget, RedisTarget
from tests.kit import databases
from tests.kit.asynq_harness import AsynqHarness
from tests.kit.asynq_peer import ACTIVE, LEASE, PENDING, task_id, task_key
from tests.kit.clock import TEST_CLOCK
from tests.kit.commands import ROOT
from tests.kit.databases import SqlDatabase, SqliteDatabase
from tests.kit.processes import free_port
from tests.kit.schedule import TERM

DOCS = (ROOT / "docs" / "explain.md").read_text()
ID = "3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04"


class Scene:
    """One monitor, every 60 s, in a database of SQLite and in the schedule. The clock shows 03:10:19.204."""

    def __init__(self, database: SqliteDatabase, asynq: AsynqHarness, target: RedisTarget) -> None:
        self.database, self.asynq, self.redis_target = database, asynq, target
        self.database_target = database.target
        self.redis, self.clock, self.schedule = asynq.redis, asynq.clock, asynq.schedule

    async def insert(self, **columns: Any) -> dict[str, Any]:
        row = self.database.monitor(id=ID, name="payments", timeout=30, max_retries=2, retry_interval=20) | columns
        await self.database.insert("monitors", row)
        return row

    async def place(self, interval: int = 60) -> None:
        """Sync, which makes it due now, then a hand-off whose task a worker finishes: it is due at 03:11:00."""
        await self.redis.set(KEYS.leader, TERM)
        await self.schedule.place(TERM, [Plan(ID, interval)])
        await self.hand_off()
        await self.asynq.take()
        await self.asynq.peer.finish(ID)

    async def hand_off(self) -> None:
        await self.asynq.hand_off(await self.schedule.claim(10), '{"scheduled_at": "2026-11-26T03:10:19.204Z"}')

    async def report(self, node: str = "vm-b", **fields: Any) -> None:
        """A replica reports, as the script of its vitals does."""
        await self.schedule.stats(node=node, report=encode_report(ReplicaReport(**fields)))

    async def until_due(self) -> None:
        await self.clock.set((await self.due_ms()) + 10)

    async def due_ms(self) -> int:
        score = await self.redis.zscore(KEYS.due, ID)
        assert score is not None
        return int(score)

    async def explain(self, text: str = ID) -> Explained:
        return await explain(
            text, self.redis_target, self.database_target, lease_ttl_s=10.0, server_zone="UTC", clock=TEST_CLOCK
        )

    async def facts(self) -> Facts:
        facts = (await self.explain()).facts
        assert facts is not None
        return facts

    async def verdict(self) -> MonitorVerdict:
        facts = await self.facts()
        verdict = verdict_of(facts, Moments(facts.now_ms))
        assert document_of(facts, verdict)["verdict"] == verdict.code
        assert verdict.sentence in "\n".join(lines_of(facts, verdict, Moments(facts.now_ms), "UTC"))
        return verdict


@pytest_asyncio.fixture
async def scene(tmp_path: Path, asynq: AsynqHarness, redis_server: RedisTarget) -> AsyncIterator[Scene]:
    target = databases.sqlite_target(tmp_path)
    await migrate(target)
    await asynq.clock.set(1_795_662_619_204)
    async with databases.connected(target) as database:
        assert isinstance(database, SqliteDatabase)
        yield Scene(database, asynq, redis_server)


async def test_absent(scene: Scene) -> None:
    assert await scene.verdict() == MonitorVerdict(
        "row.absent",
        "Not checked: no monitor in the database has this id, an id that begins with it, or a name that contains it.",
    )
    await scene.redis.zadd(KEYS.due, {ID: scene.clock.now_ms + 1000})
    assert (await scene.verdict()).remedy == "It is still in the schedule: the next sync of the leader removes it."


async def test_unreadable(scene: Scene) -> None:
    await scene.insert(timeout="pl4nted")
    await scene.place()
    verdict = await scene.verdict()
    assert (verdict.code, verdict.sentence) == (
        "row.unreadable",
        "Not checked, because its row cannot be used: timeout: expected an integer, got text.",
    )


async def test_paused(scene: Scene) -> None:
    await scene.insert(active=False)
    assert await scene.verdict() == MonitorVerdict(
        "row.paused",
        "Not checked, because it is paused in Peekaping (active = false).",
        "Resume it in Peekaping to check it again.",
    )
    await scene.place()
    assert (await scene.verdict()).remedy.endswith("It is still in the schedule, and leaves it at its next due time.")


async def test_no_interval(scene: Scene) -> None:
    await scene.insert(interval=0)
    assert await scene.verdict() == MonitorVerdict(
        "row.no_interval",
        "Not checked: interval: expected 1 to 9007199254740 whole seconds, got 0.",
        "Correct it in Peekaping.",
    )


async def test_waiting_for_a_table(scene: Scene, postgres_database: DatabaseTarget) -> None:
    await scene.place()
    await migrate(postgres_database)
    scene.database_target = postgres_database
    async with databases.connected(postgres_database) as database, databases.connected(postgres_database) as other:
        assert isinstance(other, SqlDatabase)
        await database.insert("monitors", database.monitor(id=ID, type="push"))
        await other.execute("BEGIN")
        await other.execute("LOCK TABLE heartbeats")
        facts = await scene.facts()
    verdict = verdict_of(facts, Moments(facts.now_ms))
    assert verdict.code == "row.waiting"
    assert verdict.sentence.startswith("Its check waits, because a table that its task needs does not answer: ")
    assert facts.row is not None
    assert facts.row.heartbeats is None


async def test_redis_away(scene: Scene) -> None:
    await scene.insert()
    scene.redis_target = RedisTarget(host="127.0.0.1", port=free_port())
    assert await scene.verdict() == MonitorVerdict(
        "redis.unavailable",
        "Redis cannot be read, so the schedule is not known; no check is handed off without Redis.",
        "See `redis` below.",
    )
    assert (await scene.explain()).exit_code == 3


async def test_database_away(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    failing = FailingDependency("database", ("worker",), scene.clock.now_ms - 30_000, "no answer")
    conditions = (Condition("database_unavailable", "The database does not answer."),)
    await scene.report(conditions=conditions, heartbeat=Heartbeat(failing=(failing,)))
    scene.database_target = DatabaseTarget(dialect="postgres", host="127.0.0.1", port=free_port(), name="none")
    verdict = await scene.verdict()
    assert (verdict.code, verdict.sentence) == (
        "database.unavailable",
        "The database cannot be read, so it is not known whether the monitor is active.",
    )
    assert verdict.remedy.startswith("It has failed for a replica since 03:09:49 (30.0 s ago).")
    facts = await scene.facts()
    text = "\n".join(lines_of(facts, verdict, Moments(facts.now_ms), "UTC"))
    assert "vm-b reports: The database does not answer." in text
    assert (await scene.explain()).exit_code == 3
    by_name = await scene.explain("payments")
    assert (by_name.facts, by_name.exit_code) == (None, 3)
    assert "MONITOR: expected a whole id, since the database does not answer, got 'payments'" in by_name.problem


@pytest.mark.parametrize(
    ("field", "code", "what"), [(ID, "held", "it"), ("*", "held.all", "all monitors")], ids=["it", "all"]
)
async def test_held(scene: Scene, field: str, code: str, what: str) -> None:
    """No command makes holds yet: the test writes one as it is documented."""
    await scene.insert()
    await scene.place()
    until_ms = scene.clock.now_ms + 600_000
    await scene.redis.hset(KEYS.held, field, json.dumps({"until_ms": until_ms, "who": "anna", "why": "migration"}))
    assert await scene.verdict() == MonitorVerdict(
        code,
        f'Not checked: anna holds {what} until 03:20:19 (in 10.0 min): "migration".',
        "It is due again then, or when the hold is released.",
        ends_ms=until_ms,
    )
    await scene.clock.set(until_ms)
    assert (await scene.verdict()).code == "due.late"


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
        ("go-1", (), "foreign_leader", "go-1, which is no replica of this producer, leads"),
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
        "Its due time, 03:11:00 (in 40.8 s), fits no tick of its interval.",
        "The next sync of the leader moves it to 04:00:00 (in 49.7 min).",
    )


async def stuck(scene: Scene) -> MonitorVerdict:
    verdict = await scene.verdict()
    due_ms = await scene.due_ms()
    assert verdict.ends_ms == due_ms
    at = Moments(scene.clock.now_ms).at(due_ms)
    assert verdict.remedy == f"The next hand-off replaces the task, at {at}."
    return verdict


async def handed_off(scene: Scene, interval: int = 60) -> None:
    await scene.insert(interval=interval)
    await scene.place()
    await scene.until_due()
    await scene.hand_off()


async def test_stuck_archived(scene: Scene) -> None:
    await handed_off(scene)
    await scene.asynq.take()
    await scene.asynq.peer.fail(ID, scene.asynq.now_s)
    verdict = await stuck(scene)
    assert (verdict.code, verdict.sentence) == (
        "task.stuck.archived",
        "A check is missing, because its task failed and is archived.",
    )


async def test_stuck_without_a_message(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    await scene.redis.hset(task_key(ID), "state", "active")
    await scene.redis.lpush(ACTIVE, task_id(ID))
    verdict = await stuck(scene)
    assert (verdict.code, verdict.sentence) == (
        "task.stuck.orphan",
        "A check is missing, because its task is active but contains no message.",
    )


async def test_stuck_with_a_dead_worker(scene: Scene) -> None:
    await handed_off(scene)
    await scene.asynq.take()
    await scene.redis.zadd(LEASE, {task_id(ID): scene.asynq.now_s - 31})
    verdict = await stuck(scene)
    assert (verdict.code, verdict.sentence) == (
        "task.stuck.active_lost",
        "A check is missing, because the worker that had its task died, or lost it.",
    )


async def test_the_sample_in_the_docs_is_what_is_printed(scene: Scene) -> None:
    await handed_off(scene)
    for minute in (9, 10):
        time = f"2026-11-26 03:{minute:02}:00.400"
        await scene.database.insert("heartbeats", scene.database.heartbeat({"id": ID}, time=time, ping=200 + minute))
    await scene.asynq.take()
    await scene.redis.zadd(LEASE, {task_id(ID): scene.asynq.now_s - 31})
    await scene.clock.advance(19.2)
    await scene.report()
    facts = await scene.facts()
    moments = Moments(facts.now_ms)
    lines = lines_of(facts, verdict_of(facts, moments), moments, "UTC")
    assert "\n".join(lines) in DOCS


def test_every_verdict_is_documented_in_order_with_its_level() -> None:
    documented = re.findall(r"^\| `([a-z_.]+)` \| (ok|off|note|FAIL) \|", DOCS, re.MULTILINE)
    assert documented == [(code, level.value) for code, level in LEVELS.items()]


async def test_stuck_in_no_list(scene: Scene) -> None:
    await handed_off(scene)
    await scene.redis.delete(PENDING)
    verdict = await stuck(scene)
    assert (verdict.code, verdict.sentence) == (
        "task.stuck.no_list",
        "A check is missing, because its task is pending but not in the list that workers read.",
    )


async def test_stuck_with_a_key_of_another_type(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    await scene.redis.set(task_key(ID), "no task")
    verdict = await stuck(scene)
    assert (verdict.code, verdict.sentence) == (
        "task.stuck.unusable",
        "A check is missing, because the key of its task contains something that no worker runs.",
    )


async def test_waiting_for_a_worker(scene: Scene) -> None:
    await handed_off(scene)
    since_ms = scene.clock.now_ms
    await scene.clock.advance(61)
    await scene.redis.zadd(KEYS.due, {ID: scene.clock.now_ms + 1000})
    at = Moments(scene.clock.now_ms).at(since_ms)
    assert await scene.verdict() == MonitorVerdict(
        "task.waiting_long",
        f"Its task has waited for a worker since {at}, at place 1 of the queue.",
        "No worker is registered: start Peekaping's workers.",
        "no_worker",
    )
    await scene.redis.set("asynq:{healthcheck}:paused", "1")
    assert (await scene.verdict()).cause == "queue_paused"
    await scene.redis.delete("asynq:{healthcheck}:paused")
    await scene.redis.zadd("asynq:servers", {"asynq:servers:{h:1:x}": scene.asynq.now_s + 9})
    verdict = await scene.verdict()
    assert (verdict.cause, verdict.remedy) == (
        "workers_slow",
        "Too few workers run, or they hang: read their logs, or start more.",
    )
    await scene.report(heartbeat=Heartbeat(host="vm-b", finished_per_s=0.25))
    assert (await scene.verdict()).remedy.endswith(" At their present rate, one takes it in about 4.0 s.")
    facts = await scene.facts()
    assert "at place 1 of the queue; a worker takes it in about 4.0 s" in "\n".join(
        lines_of(facts, verdict, Moments(facts.now_ms), "UTC")
    )
    assert document_of(facts, verdict)["task"]["estimated_wait_s"] == 4.0


async def test_running(scene: Scene) -> None:
    await handed_off(scene)
    await scene.asynq.take()
    assert await scene.verdict() == MonitorVerdict(
        "task.running", "A worker runs its check since 03:10:19 (40.8 s ago)."
    )


async def test_running_for_longer_than_its_interval(scene: Scene) -> None:
    await handed_off(scene)
    await scene.asynq.take()
    await scene.until_due()
    await scene.asynq.peer.extend(ID, scene.asynq.now_s)
    await scene.hand_off()
    verdict = await scene.verdict()
    assert (verdict.code, verdict.sentence) == (
        "task.overlap",
        "Its check has been running since 03:10:19 (100.8 s ago), longer than its interval of 60.0 s; "
        "1 tick without a completed check.",
    )


async def test_under_maintenance(scene: Scene) -> None:
    row = await scene.insert()
    await scene.place()
    window = scene.database.window()
    await scene.database.insert("maintenances", window)
    await scene.database.insert("monitor_maintenances", scene.database.link(row, window))
    assert await scene.verdict() == MonitorVerdict(
        "ok.maintenance",
        "Its checks are handed off on time. It is under maintenance, so that they raise no alert. "
        "It is due at 03:11:00 (in 40.8 s).",
    )


async def test_events_about_the_monitor_are_shown(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    at_ms = scene.clock.now_ms
    events = [FleetEvent(at_ms + n, "monitor.moved", f"Number {n}.", "vm-b", ID) for n in range(7)]
    other = FleetEvent(at_ms, "sync.completed", f"Not about {ID}.", "vm-b")
    await scene.schedule.stats(node="vm-b", report=b"{}", events=[encode_event(event) for event in (*events, other)])
    facts = await scene.facts()
    assert [event.message for event in facts.events] == ["Number 6.", "Number 5.", "Number 4.", "Number 3."]
    lines = lines_of(facts, await scene.verdict(), Moments(facts.now_ms), "UTC")
    assert "events       03:10:19 monitor.moved: Number 6." in lines


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


async def test_a_key_of_another_type_is_reported(scene: Scene) -> None:
    await scene.insert()
    await scene.redis.set(KEYS.due, "no sorted set")
    assert (await scene.verdict()).code == "redis.unavailable"
    explained = await scene.explain()
    assert explained.exit_code == 1
    assert explained.facts is not None
    assert "WRONGTYPE" in explained.facts.redis_error


async def test_names_of_which_several_match_are_listed(scene: Scene) -> None:
    for name in ("edge cache, Oslo", "edge cache, Bergen", "edge"):
        await scene.database.insert("monitors", scene.database.monitor(name=name))
    found = (await scene.explain("edge cache")).candidates
    lines = candidate_lines("edge cache", found, 20)
    assert lines[0] == "2 monitors match 'edge cache'; name one by its id:"
    assert sorted(line.split("  ")[-1] for line in lines[1:]) == ["edge cache, Bergen", "edge cache, Oslo"]
    exact = (await scene.explain("edge")).facts
    assert exact is not None
    assert exact.row is not None
    assert exact.row.name == "edge"


async def test_on_time(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    assert await scene.verdict() == MonitorVerdict(
        "ok", "Its checks are handed off on time. It is due at 03:11:00 (in 40.8 s)."
    )
    assert (await scene.explain()).exit_code == 0


def test_a_test_of_this_module_makes_each_verdict() -> None:
    source = Path(__file__).read_text()
    assert [code for code in LEVELS if f'"{code}"' not in source] == []
