"""Redis users with few rights: the documented ones suffice, and an error lists those that are missing."""

import json
import re
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.demo import embedded
from peekaping_producer.errors import RedisUnusableError
from peekaping_producer.migrate import migrate
from peekaping_producer.monitors.events import CHANNELS
from peekaping_producer.operations.acts import Actor, Acts
from peekaping_producer.operations.rights import USES
from peekaping_producer.redis_client.client import check_rights, check_server, redis_for
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import DatabaseTarget, RedisTarget
from tests.kit import processes
from tests.kit.commands import command
from tests.kit.databases import monitor_row, sqlite_target
from tests.kit.memory_store import MemoryStore, monitor
from tests.kit.redis import target_of
from tests.kit.replicas import ReplicaProcess, environment, replicas
from tests.kit.rights import OPTIONAL_OF_REPLICAS, commands_of, documented, refused, user_with
from tests.kit.waiting import until

ROOT = Path(__file__).parents[2]
RULES = documented("peekaping-producer")
DANGERLESS = ["~*", "&*", "+@all", "-@dangerous"]
UNTRIED = {"+multi", "+exec", "+select", "+subscribe", "+unsubscribe", *OPTIONAL_OF_REPLICAS}
"""Documented rights that USES does not contain: they are tried in another way, or when used."""


def commands_of_scripts() -> set[str]:
    packages = [ROOT / "peekaping_producer" / name for name in ("redis_client", "schedule", "brokers")]
    return commands_of(*(path for package in packages for path in package.rglob("*.lua")))


@pytest.fixture
async def admin() -> AsyncIterator[tuple[RedisTarget, Redis]]:
    async with embedded.redis_server() as server, redis_for(target_of(server), connections=3) as client:
        yield target_of(server), client


async def user(admin: tuple[RedisTarget, Redis], *rules: str) -> RedisTarget:
    target, client = admin
    return await user_with(client, target, *rules)


def test_the_docs_list_each_command_that_a_script_uses() -> None:
    rights = set(RULES)
    assert commands_of_scripts() <= rights
    assert {f"+{use.split()[0].lower()}" for use in USES} | UNTRIED == {each for each in rights if each[0] == "+"}


async def with_monitor(folder: Path) -> DatabaseTarget:
    target = sqlite_target(folder)
    await migrate(target)
    with sqlite3.connect(target.name) as database:
        values = monitor_row(str(uuid.uuid4()), interval=1)
        marks = ", ".join("?" * len(values))
        database.execute(f"INSERT INTO monitors ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
    database.close()
    return target


async def works(replica: ReplicaProcess, events: set[str]) -> None:
    """Wait until it has logged all of these; nothing may have been refused."""
    await until(lambda: events <= set(replica.events()), f"{events} in {replica.log_file.read_text()}")
    assert "dependency.failing" not in replica.events(), replica.log_file.read_text()


@pytest.mark.parametrize("without", [set(), OPTIONAL_OF_REPLICAS])
async def test_a_replica_that_leads_and_status_run_on_the_documented_rights(
    admin: tuple[RedisTarget, Redis], tmp_path: Path, without: set[str]
) -> None:
    target = await user(admin, *(rule for rule in RULES if rule not in without))
    database = await with_monitor(tmp_path)
    env = environment(target.port, database, REDIS_URL=f"redis://few:pw@127.0.0.1:{target.port}/3")
    with replicas(tmp_path, env, env) as both:
        leads = {"producer.started", "leader.won", "events.subscribed", "sync.completed"}
        await until(lambda: any(leads <= set(each.events()) for each in both), "one leads")
        await until(lambda: any("claim.handed_off" in each.events() for each in both), "either hands off")
        (leader,) = (each for each in both if "leader.won" in each.events())
        ended = await command(tmp_path, "status", "--json", **env)
        assert ended.code == 0, ended.out + ended.err
        assert json.loads(ended.out)["leader"]
        explained = await command(tmp_path, "explain", "monitor", "--json", **env)
        assert json.loads(explained.out)["errors"] == {"redis": None, "database": None}, explained.out
        leader.process.kill()
        (other,) = (each for each in both if each is not leader)
        await works(other, {"leader.won", "claim.handed_off"})
        assert other.terminate() == 0
    assert await refused(admin[1]) <= (
        {"info", "client|setname", "config|get", "xadd", "xrevrange"} if without else set()
    )


@pytest.mark.parametrize("rules", [DANGERLESS, [*DANGERLESS, "-@connection", "+ping"]])
async def test_a_user_without_dangerous_commands_is_enough(
    admin: tuple[RedisTarget, Redis], tmp_path: Path, rules: list[str]
) -> None:
    target = await user(admin, *rules)
    env = environment(target.port, await with_monitor(tmp_path), REDIS_URL=f"redis://few:pw@127.0.0.1:{target.port}")
    with replicas(tmp_path, env) as (replica,):
        await works(replica, {"producer.started", "leader.won", "sync.completed", "claim.handed_off"})
        assert replica.terminate() == 0


@pytest.mark.parametrize("gone", [("INFO",), ("INFO", "HELLO", "CLIENT", "CONFIG", "ROLE", "COMMAND", "KEYS")])
async def test_renamed_commands_that_are_not_required_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: tuple[str, ...]
) -> None:
    async def answers(port: int, _pid: int) -> bool:
        return processes.listens(port)

    monkeypatch.setattr(embedded, "_answers", answers)  # it asks INFO
    args = [word for name in gone for word in ("--rename-command", name, "")]
    async with embedded.redis_server(args=args) as server:
        env = environment(server.port, await with_monitor(tmp_path))
        with replicas(tmp_path, env) as (replica,):
            await works(replica, {"producer.started", "leader.won", "sync.completed", "claim.handed_off"})
            assert replica.terminate() == 0


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("-zadd", "ZADD peekaping:sched:due"),
        ("-evalsha", "EVALSHA"),
        ("-eval", "EVAL"),
        ("-subscribe", "SUBSCRIBE peekaping:events:monitor.created"),
        ("-ping", "PING"),
        ("resetkeys", "ZADD peekaping:sched:due"),
        ("resetchannels", "SUBSCRIBE peekaping:events:monitor.deleted"),
    ],
)
async def test_the_error_lists_what_is_missing_and_not_the_password(
    admin: tuple[RedisTarget, Redis], rule: str, named: str
) -> None:
    target = await user(admin, *RULES, rule)
    started_at = time.monotonic()
    async with redis_for(target, connections=1) as client:
        assert await check_server(client, target)
        with pytest.raises(RedisUnusableError, match=re.escape(named)) as caught:
            await check_rights(client, target, USES, CHANNELS)
    assert "PASSWORD" not in str(caught.value)
    assert time.monotonic() - started_at < 20


async def test_trying_the_rights_writes_nothing(admin: tuple[RedisTarget, Redis]) -> None:
    target, client = admin
    async with redis_for(target, connections=1) as other:
        await check_rights(other, target, USES, CHANNELS)
        assert await other.ping(), "the connection is of use afterwards"
    limited = await user(admin, *RULES, "-multi")
    async with redis_for(limited, connections=1) as other:
        await check_rights(other, limited, USES, CHANNELS)
    assert await client.keys() == []


async def test_rights_can_be_tried_when_memory_is_full(admin: tuple[RedisTarget, Redis]) -> None:
    """Loops wait for free memory; the start does not."""
    target, client = admin
    await client.config_set("maxmemory", "1")
    async with redis_for(target, connections=1) as other:
        await check_rights(other, target, USES, CHANNELS)


@pytest.mark.parametrize("without", [set(), OPTIONAL_OF_REPLICAS])
async def test_acts_run_on_the_documented_rights(admin: tuple[RedisTarget, Redis], without: set[str]) -> None:
    target = await user(admin, *(rule for rule in RULES if rule not in without))
    store = MemoryStore()
    store.put(monitor("m1"))
    await admin[1].zadd(KEYS.due, {"m1": 2**50})
    anna = Actor("anna", "test")
    async with redis_for(target, connections=1) as client:
        acts = Acts(client, store)
        results = [
            await acts.run_now(["m1"], anna),
            await acts.hold(["m1"], anna, "why"),
            await acts.release(["m1"], anna),
            await acts.hold_all(anna, "why"),
            await acts.release_all(anna),
        ]
    assert all(result.done for result in results), results
    assert [result.events_refused is None for result in results] == [not without] * 5
    assert await refused(admin[1]) <= ({"xadd", "xrevrange", "info", "client|setname"} if without else set())
