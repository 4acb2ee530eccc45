"""The command reconcile: what it prints, and its exit codes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.fleet_events import FleetEvent, encode_event
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases
from tests.kit.asynq_peer import PENDING
from tests.kit.commands import command, settings_of
from tests.kit.processes import free_port
from tests.kit.redis import target_of
from tests.kit.replicas import environment, replicas
from tests.kit.waiting import until

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e\n" + "x" * 150
NO_DATABASE = {"DB_TYPE": "postgres", "DB_NAME": "none", "DB_HOST": "127.0.0.1", "DB_USER": "u", "DB_PASS": "p"}


def id_of(number: int) -> str:
    return f"{number:08x}-1c61-4b8e-9a50-7e1f2b6c9d04"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[databases.Database]:
    """Five monitors; the last is paused."""
    target = DatabaseTarget(dialect="sqlite", name=str(tmp_path / "peekaping.db"))
    await migrate(target)
    async with databases.connected(target) as connection:
        names = ["status page, Lima", "edge cache", "payments", HOSTILE, "old blog"]
        for number, name in enumerate(names):
            row = connection.monitor(id=id_of(number), name=name, active=name != "old blog")
            await connection.insert("monitors", row)
        yield connection


@pytest.fixture
def where(database: databases.Database, private_redis: RedisServer) -> dict[str, str]:
    return settings_of(target_of(private_redis), DB_TYPE="sqlite", DB_NAME=database.target.name)


async def schedule(server: Redis, *numbers: int) -> int:
    """Make them due at the next tick; returns it in ms. That it may pass meanwhile makes no difference."""
    due_ms = (int(time.time()) // 60 + 1) * 60_000
    await server.zadd(KEYS.due, {id_of(number): due_ms for number in numbers})
    return due_ms


async def test_a_dry_run_prints_what_differs(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    due_ms = await schedule(server, 1, 2, 4)
    await server.zadd(KEYS.due, {id_of(2): due_ms + 7_200_000, id_of(99): due_ms, "no-id\x00\x1b[31m": due_ms})
    await server.lpush(PENDING, "healthcheck:ghost")
    before = await server.zrange(KEYS.due, 0, -1, withscores=True)
    text, code, document = await asyncio.gather(
        command(tmp_path, "reconcile", **where),
        command(tmp_path, "reconcile", "--exit-code", "--all", **where),
        command(tmp_path, "reconcile", "--dry-run", "--json", **where),
    )
    assert [(ended.code, ended.err) for ended in (text, code, document)] == [(0, ""), (1, ""), (0, "")]
    lines = text.out.splitlines()
    assert lines[0].startswith("Compared 4 active monitors with 5 scheduled in ")
    assert "  + 2 to add: 2 in neither set, due or lease" in lines
    assert f"      {id_of(0)}  every 60 s  due at once  status page, Lima" in lines
    assert "  ~ 1 to move: 1 due at no tick of the interval" in lines
    assert "  - 3 to remove: 1 deleted, 1 not an id of this database, 1 paused" in lines
    assert f"      {id_of(4)}  paused  old blog" in lines
    assert "  = 1 agrees" in lines
    assert "queue   1 entry of the pending list without a task, 0 in it twice: sync removes them" in lines
    assert lines[-1] == "No replica leads: nothing of this is applied until a replica runs."
    assert "\x1b" not in text.out + code.out
    assert "\u202e" not in text.out + code.out
    assert "<img src=x" in text.out
    found = json.loads(document.out)
    assert (found["version"], found["differs"], found["rows"], found["members"]) == (1, True, 4, 5)
    assert found["changes"] == {"add": 2, "move": 1, "remove": 3}
    assert found["queue"] == {"without_task": 1, "duplicates": 0}
    (moved,) = [one for one in found["monitors"] if one["change"] == "move"]
    assert (moved["id"], moved["reason"], moved["name"]) == (id_of(2), "misaligned", "payments")
    assert {one["name"] for one in found["monitors"]} == {"status page, Lima", HOSTILE, "payments", "old blog", None}
    assert await server.zrange(KEYS.due, 0, -1, withscores=True) == before
    assert await server.llen(PENDING) == 1


async def test_nothing_differs(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    await schedule(server, 0, 1, 2, 3)
    ended = await command(tmp_path, "reconcile", "--exit-code", **where)
    assert (ended.code, ended.err) == (0, "")
    assert "  = 4 agree" in ended.out
    assert "queue   every entry of the pending list has a task, and none is in it twice" in ended.out


async def test_the_result_of_the_wrong_database_is_not_accepted(
    tmp_path: Path, where: dict[str, str], database: databases.Database, server: Redis
) -> None:
    await schedule(server, *range(100, 150))
    other = await command(tmp_path, "reconcile", "--exit-code", **where)
    for number in range(4):
        await database.update("monitors", id_of(number), active=False)
    empty, document = await asyncio.gather(
        command(tmp_path, "reconcile", "--exit-code", **where),
        command(tmp_path, "reconcile", "--exit-code", "--json", **where),
    )
    assert (other.code, empty.code, document.code) == (1, 1, 1)
    assert "guards  92.6 % of 54 scheduled monitors are not active in the database, more than 20 %" in other.out
    assert "  - 0 to remove" in empty.out
    assert "guards  sync refuses to remove 50 monitors: the database returned no active monitor." in empty.out
    assert json.loads(document.out)["guard"] == {"code": "refuse", "missing_share": 1.0, "refused": 50}


async def test_what_does_not_answer_is_named(tmp_path: Path, where: dict[str, str]) -> None:
    port = str(free_port())
    ended = await asyncio.gather(
        command(tmp_path, "reconcile", "--dry-run", **where | NO_DATABASE | {"DB_PORT": port}),
        command(tmp_path, "reconcile", "--dry-run", **where | {"REDIS_PORT": port}),
        command(tmp_path, "reconcile", "--apply", **where | {"REDIS_PORT": port}),
    )
    assert [one.code for one in ended] == [3, 3, 3]
    assert [one.out for one in ended] == ["", "", ""]
    assert "127.0.0.1" in ended[0].err
    failed = await command(tmp_path, "reconcile", "--apply", "--json", **where | {"REDIS_PORT": port})
    assert failed.code == 3
    assert json.loads(failed.out)["error"] in failed.err
    assert all(f"127.0.0.1:{port}" in one.err and "does not answer" in one.err for one in ended[1:])


async def test_without_a_leader_nothing_is_asked(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    unled, both = await asyncio.gather(
        command(tmp_path, "reconcile", "--apply", **where),
        command(tmp_path, "reconcile", "--apply", "--exit-code", **where),
    )
    assert (unled.code, both.code) == (1, 2)
    assert unled.out == "No replica leads, so no sync runs. Start a replica; its first sync begins at once.\n"
    assert not await server.exists(KEYS.sync_requested)
    condition = Condition("database_unavailable", "The database does not answer.")
    report = encode_report(ReplicaReport(conditions=(condition, Condition("schedule_empty", "None."))))
    await server.hset(KEYS.replicas, "vm-b-1-abcd", b"%d " % (time.time() * 1000) + report)
    unable = await command(tmp_path, "reconcile", "--apply", **where)
    assert unable.out.splitlines() == [
        "No replica leads, so no sync runs. The replicas that run report:",
        "database_unavailable: The database does not answer.",
    ]
    await server.set(KEYS.leader, "go-producer\x1b[31m-7", px=60_000)
    foreign = await command(tmp_path, "reconcile", "--apply", "--json", **where)
    assert (foreign.code, json.loads(foreign.out)["outcome"]) == (1, "foreign_leader")
    await server.set(KEYS.leader, "vm-b-1-abcd/term", px=60_000)
    silent = await command(tmp_path, "reconcile", "--apply", "--timeout", "0.1", "--by", "anna", **where)
    assert silent.code == 1
    assert silent.out.startswith(
        "Not synced: vm-b-1-abcd cannot read the database: The database does not answer.\n"
        "It has not completed a sync within "
    )
    stored = await server.get(KEYS.sync_requested)
    assert stored is not None
    assert json.loads(stored)["who"] == "anna"


async def test_the_leader_syncs_when_it_is_asked(
    tmp_path: Path, where: dict[str, str], private_redis: RedisServer, database: databases.Database, server: Redis
) -> None:
    env = environment(private_redis.port, database.target, SYNC_INTERVAL="3600")
    with replicas(tmp_path, env) as (replica,):
        await until(lambda: "sync.completed" in replica.events(), "the first sync", within_s=60)
        await server.zadd(KEYS.due, {id_of(99): (time.time() + 3600) * 1000})
        first_sync_at = time.time()
        await until(lambda: time.time() > first_sync_at + 1.5, "its changes are older than the request")
        before = FleetEvent(int(time.time() * 1000) - 5000, "schedule.synced", "A sync changed the schedule: 7 moved.")

        async def is_asked() -> bool:
            return await server.exists(KEYS.sync_requested) == 1

        asking = asyncio.create_task(command(tmp_path, "reconcile", "--apply", "--by", "anna", **where))
        await until(is_asked, "it asks")
        await server.xadd(KEYS.events, {"event": encode_event(before)})  # events are written seconds later
        done = await asking
        assert (done.code, done.err) == (0, "")
        assert "has synced the schedule with the database" in done.out
        assert done.out.splitlines()[1:] == [
            f"A sync changed the schedule: 1 removed (1 deleted). Removed: {id_of(99)}."
        ]
        assert await server.zscore(KEYS.due, id_of(99)) is None
        assert [line["message"] for line in replica.lines("sync.requested")] == ["anna asked the leader to sync."]
        answered = "The sync that anna asked for is complete."
        await until(
            lambda: [line["message"] for line in replica.lines("sync.answered")] == [answered], "it is answered"
        )
        again, dry = await asyncio.gather(
            command(tmp_path, "reconcile", "--apply", "--json", **where),
            command(tmp_path, "reconcile", "--exit-code", **where),
        )
        assert json.loads(again.out)["outcome"] == "synced"
        assert json.loads(again.out)["changes"] == []
        assert dry.code == 0
        assert "syncs every 3600 s, last at " in dry.out
