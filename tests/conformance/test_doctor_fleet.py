"""`doctor`: each finding about the fleet and the workers, in a state that the real scripts have made and read."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from peekaping_producer.brokers.asynq_keys import RESULTS_KEYS
from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.operations.conditions import LEVELS, Condition
from peekaping_producer.operations.doctor import fleet_group, workers_group
from peekaping_producer.operations.doctor.codes import CONDITION_CODES, Finding, Level
from peekaping_producer.operations.heartbeat import FailingDependency, HeldClaim
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.operations.status import Status
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import RedisTarget
from tests.kit import databases
from tests.kit.commands import command
from tests.kit.go_peer import CLAIM, LEASE_MS
from tests.kit.installation import SLOW_READ, Installation, fail, rings
from tests.kit.processes import free_port
from tests.kit.redis import target_of
from tests.kit.replicas import environment, replicas
from tests.kit.waiting import until

SETTINGS = {"LEASE_TTL": "10", "TZ": "UTC", "DATABASE": "a1b2c3d4"}
HOSTILE = "vm\x1b[31m\u202e"


async def healthy(installation: Installation) -> None:
    """Two replicas, of which one leads, and a worker process for each queue."""
    now_ms = installation.clock.now_ms
    await installation.beat("vm-a", leads=True, version="0.3.0", settings=SETTINGS, synced_ms=now_ms - 3000)
    await installation.beat("vm-b", version="0.3.0", settings=SETTINGS)
    await installation.lead()
    await installation.due(5, -30)
    await installation.worker(100, 7, "healthcheck")
    await installation.worker(10, 0, "ingester")


async def fleet(installation: Installation, **status: Any) -> dict[str, Finding]:
    """The findings by code; of several with one code, the last."""
    found = await fleet_group.findings_of(Status(await installation.asynq.schedule.stats(), None, **status))
    return _by_code(found)


async def workers(installation: Installation) -> dict[str, Finding]:
    status = Status(await installation.asynq.schedule.stats(), await installation.asynq.broker.inspect())
    return _by_code(await workers_group.findings_of(status, "asynq"))


def _by_code(findings: Collection[Finding]) -> dict[str, Finding]:
    assert all(found.text.isprintable() for found in findings), findings
    assert not any("check_failed" in found.code for found in findings), findings
    return {found.code: found for found in findings}


async def test_a_healthy_fleet(installation: Installation) -> None:
    await healthy(installation)
    found = await fleet(installation)
    assert found.keys() == {"fleet.on_time", "fleet.leader", "fleet.schedule", "fleet.versions", "fleet.settings"}
    assert {each.level for each in found.values()} == {Level.OK}
    assert found["fleet.leader"].text == "vm-a leads; its key expires in 9.0 s."
    assert found["fleet.schedule"].text == "5 monitors scheduled; synced 3.0 s ago."
    assert found["fleet.versions"].text == "2 replicas: version 0.3.0 (vm-a, vm-b)."
    assert found["fleet.settings"].text == "The same on every replica: DATABASE, LEASE_TTL, TZ."


async def test_healthy_workers(installation: Installation) -> None:
    await healthy(installation)
    found = await workers(installation)
    assert found.keys() == {"workers.checks", "workers.queue", "workers.results"}
    assert found["workers.checks"].text == "worker (7 of 100 slots busy) takes tasks from healthcheck."
    assert found["workers.results"].text == "worker (0 of 10 slots busy) takes tasks from ingester; 0 results pending."
    assert found["workers.queue"].text == "0 tasks pending; 0 running; not paused."


async def test_late_because_of_the_database(installation: Installation) -> None:
    await installation.due(4, 10)
    await installation.beat("vm-a", stages=SLOW_READ)
    found = (await fleet(installation))["fleet.not_on_time"]
    assert (found.level, found.text.partition(".")[0]) == (
        Level.PROBLEM,
        "Late since 12:37:36, because the database is slow",
    )
    assert found.remedy == "Look for locks and long queries on the database. See Verdict in docs/operations.md."


async def test_no_replica_and_no_leader(installation: Installation) -> None:
    found = await fleet(installation, leaderless_s=2.0)
    assert found["fleet.not_on_time"].text.startswith("No replica runs")
    assert found["fleet.no_leader"].level is Level.PROBLEM
    assert "fleet.leader" not in found


async def test_catching_up_and_held_are_notes(installation: Installation) -> None:
    await installation.due(100, 4)
    await installation.beat("vm-a", rings=rings(50, 50, 50, 50, 50, 9))
    await installation.lead()
    assert (await fleet(installation))["fleet.catching_up"].level is Level.NOTE
    hold = {"until_ms": installation.clock.now_ms + 600_000, "who": HOSTILE, "why": "migration"}
    await installation.redis.hset(KEYS.held, "*", json.dumps(hold))
    await installation.redis.hset(KEYS.held, "m0", json.dumps(hold))
    found = await fleet(installation)
    assert found["fleet.on_hold"].level is Level.NOTE
    assert "fleet.held" not in found, "that is the same"
    assert found["fleet.monitors_held"].text == "1 monitor is held, and not checked."


async def test_a_replica_that_was_killed_is_a_note(installation: Installation) -> None:
    await healthy(installation)
    await installation.clock.advance(20)
    await installation.beat("vm-a", leads=True, version="0.3.0", settings=SETTINGS)
    found = (await fleet(installation))["fleet.replica_silent"]
    assert (found.level, found.text) == (
        Level.NOTE,
        "vm-b has not reported for 20.0 s, and did not shut down normally.",
    )


async def test_a_monitor_whose_attempts_fail_is_a_note(installation: Installation) -> None:
    await fail(installation, "m0")
    await installation.clock.advance(20)
    await installation.lead()
    await installation.beat("vm-a")
    found = await fleet(installation)
    assert found["fleet.monitors_late"].level is Level.NOTE
    assert "explain m0" in found["fleet.monitors_late"].text


async def test_versions_and_settings_that_differ(installation: Installation) -> None:
    await installation.beat("vm-a", "vm-b", version="0.3.0", settings=SETTINGS)
    await installation.beat("vm-c", version="0.2.0", settings=SETTINGS | {"LEASE_TTL": "30"})
    await installation.beat(HOSTILE, version=HOSTILE, settings=SETTINGS)
    found = await fleet(installation)
    assert found["fleet.versions_differ"].level is Level.NOTE
    assert "0.2.0 (vm-c); 0.3.0 (vm-a, vm-b)" in found["fleet.versions_differ"].text
    assert found["fleet.settings_differ"].level is Level.PROBLEM
    assert "LEASE_TTL differs: 10 (" in found["fleet.settings_differ"].text
    assert found["fleet.settings_differ"].text.endswith("; 30 (vm-c).")
    assert found.keys() & {"fleet.versions", "fleet.settings"} == set()


async def test_a_replica_without_a_heartbeat(installation: Installation) -> None:
    await installation.asynq.schedule.stats(node="old-1-ab", report=encode_report(ReplicaReport()))
    assert (await fleet(installation))["fleet.no_heartbeat"].text.startswith("old-1-ab reports no heartbeat")


async def test_conditions_that_replicas_report(installation: Installation) -> None:
    """One that another replica makes up for is a note."""
    away = Condition("database_unavailable", "no answer.")
    await installation.beat("vm-a", conditions=[away])
    assert (await fleet(installation))["fleet.database_unavailable"].level is Level.PROBLEM
    await installation.beat("vm-b")
    assert (await fleet(installation))["fleet.database_unavailable"].level is Level.NOTE
    await installation.redis.set(KEYS.leader, "a Go producer", px=9000)
    found = await fleet(installation)
    assert found["fleet.foreign_leader"].level is Level.NOTE
    assert "fleet.leader" not in found


async def test_a_schedule_that_cannot_be_read(installation: Installation) -> None:
    await installation.redis.set(KEYS.due, "x")
    found = await fleet(installation)
    assert "fleet.schedule" not in found
    assert found["fleet.redis_keys_unusable"].level is Level.PROBLEM


def test_every_condition_has_a_code() -> None:
    assert {code.partition(".")[2] for code in CONDITION_CODES} == set(LEVELS)


async def test_a_go_producer(installation: Installation) -> None:
    """Its tokens are whole numbers; ours, and those in a heartbeat, are not its own."""
    claim = await installation.claim(2)
    await installation.beat("vm-a", claims=(HeldClaim(claim.token, 2, claim.now_ms),))

    async def peer() -> Finding:
        look = Look(await installation.asynq.schedule.stats())
        return fleet_group.peer((await installation.asynq.schedule.look(members=50)).leases, look)

    assert (await peer()).code == "fleet.no_peer"
    await installation.due(5, 1)
    await installation.redis.eval(CLAIM, 2, KEYS.due, KEYS.lease, installation.clock.now_ms, LEASE_MS, 3)
    found = await peer()
    assert (found.code, found.level) == ("fleet.peer", Level.NOTE)
    assert found.text == "1 claim of 3 monitors probably belongs to a Go producer, which also hands off checks."


async def test_no_worker(installation: Installation) -> None:
    found = await workers(installation)
    assert found["workers.no_worker"].text == (
        "No worker process is registered for the queue healthcheck: no check runs."
    )
    assert found["workers.no_ingester"].level is Level.NOTE
    await installation.enqueue(ago_s=70)
    found = await workers(installation)
    assert found["workers.no_worker"].text.startswith("On time, but no worker runs: checks handed off since")
    assert "workers.queue_not_consumed" not in found, "its cause is named"


async def test_workers_that_are_not_registered(installation: Installation) -> None:
    await installation.beat("vm-a", finished_per_s=12.5)
    found = await workers(installation)
    assert "12.5 tasks are finished a second" in found["workers.unregistered"].text
    assert "workers.no_worker" not in found


@pytest.mark.parametrize(
    ("busy", "finished", "code"),
    [(5, 3.0, "workers_full"), (5, 0.0, "workers_stuck"), (2, 3.0, "tasks_wait")],
)
async def test_workers_that_do_not_keep_up(installation: Installation, busy: int, finished: float, code: str) -> None:
    await installation.enqueue(ago_s=70)
    await installation.worker(5, busy, "healthcheck")
    nothing_since_ms = None if finished else installation.clock.now_ms - 60_000
    await installation.beat("vm-a", finished_per_s=finished, nothing_finished_since_ms=nothing_since_ms)
    found = await workers(installation)
    assert found[f"workers.{code}"].level is Level.PROBLEM
    assert "workers.checks" in found
    text = (await fleet(installation))["fleet.on_time"].text
    assert text == "Every check is handed off on time.", "that they run on time is not stated"


async def test_a_paused_queue(installation: Installation) -> None:
    await installation.enqueue(ago_s=70)
    await installation.redis.set("asynq:{healthcheck}:paused", 1)
    found = await workers(installation)
    assert found["workers.queue_paused"].level is Level.PROBLEM
    assert "workers.no_worker" not in found


async def test_archived_tasks(installation: Installation) -> None:
    await installation.asynq.run("m0")
    await installation.asynq.take()
    await installation.asynq.peer.fail("m0", installation.clock.now_ms / 1000)
    found = await workers(installation)
    assert found["workers.archived"].text == "1 archived task: checks that failed or were lost."


async def test_results_that_nothing_stores(installation: Installation) -> None:
    await installation.redis.lpush(RESULTS_KEYS.pending, "r1")
    since_ns = (installation.clock.now_ms - 30_000) * 1_000_000
    await installation.redis.hset(f"{RESULTS_KEYS.prefix}t:r1", mapping={"pending_since": since_ns})
    found = await workers(installation)
    assert "1 result in the queue ingester" in found["workers.results_not_stored"].text
    assert "workers.no_ingester" not in found


async def test_another_broker(installation: Installation) -> None:
    findings = await workers_group.findings_of(Status(await installation.asynq.schedule.stats(), None), "rabbitmq")
    assert [found.code for found in findings] == ["workers.other_broker"]


async def test_names_of_workers_are_escaped(installation: Installation) -> None:
    failing = (FailingDependency("redis", ("worker",), 1, HOSTILE),)
    await installation.due(4, 10)
    await installation.beat("vm-a", failing=failing)
    assert "\x1b" not in (await fleet(installation))["fleet.not_on_time"].text


async def test_redis_that_is_away_or_refuses(redis_server: RedisTarget) -> None:
    away = RedisTarget(host=redis_server.host, port=free_port())
    refused = RedisTarget(host=redis_server.host, port=redis_server.port, username="none", password="wrong")
    for target, code in ((away, "unreachable"), (refused, "unusable")):
        findings = await fleet_group.examine(target, lease_ttl_s=10.0, broker="asynq")
        assert [found.code for found in findings] == [f"fleet.{code}", f"workers.{code}"]
        assert all(found.text.startswith("Unknown: ") for found in findings)


async def test_two_replicas_that_run(tmp_path: Path, private_redis: RedisServer) -> None:
    """One with another LEASE_TTL, which all replicas must share."""
    database = databases.sqlite_target(tmp_path)
    await migrate(database)
    async with databases.connected(database) as connection:
        await connection.insert("monitors", connection.monitor(interval=3600))
    env = environment(target_of(private_redis).port, database)
    with replicas(tmp_path, env, env | {"LEASE_TTL": "20"}) as both:
        expected = {"leader.won", "sync.completed", "claim.handed_off"}  # by either
        await until(lambda: expected <= {event for each in both for event in each.events()}, "they lead and hand off")

        found: dict[str, Any] = {}

        async def both_are_reported_and_on_time() -> bool:
            ended = await command(tmp_path, "doctor", "--json", **env)
            found.clear()
            found.update({one["code"]: one for one in json.loads(ended.out)["findings"]})
            texts = {code: one["text"] for code, one in found.items()}
            is_synced = re.fullmatch(r"1 monitor scheduled; synced .+ ago\.", texts.get("fleet.schedule", ""))
            both = "2 replicas" in texts.get("fleet.versions", "") and "fleet.settings_differ" in texts
            return bool(is_synced) and both and {"fleet.on_time", "fleet.leader"} <= texts.keys()

        await until(both_are_reported_and_on_time)
    assert found["fleet.on_time"]["level"] == "ok"
    assert found["fleet.settings_differ"]["text"].startswith("LEASE_TTL differs: 10 (")
    assert {"fleet.leader", "redis.rights", "database.windows", "workers.no_worker"} <= found.keys()
