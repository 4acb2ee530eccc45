"""`doctor`: each finding about Redis, on a server in a state that the test makes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.errors import RedisRefusedError
from peekaping_producer.operations.doctor import redis_group
from peekaping_producer.operations.doctor.checks import checked
from peekaping_producer.operations.doctor.codes import Finding, Level, finding
from peekaping_producer.redis_client.client import Client, redis_for
from peekaping_producer.schedule import Schedule, Steering
from peekaping_producer.targets import RedisTarget
from tests.kit.commands import SECRET
from tests.kit.fake_redis import fake_redis, hello, info, mute_server
from tests.kit.fault_proxy import fault_proxy
from tests.kit.processes import free_port
from tests.kit.redis import target_of
from tests.kit.rights import OPTIONAL, documented, user_with

RULES = documented("peekaping-producer")
HEALTHY = {
    "redis.server",
    "redis.memory",
    "redis.persistence",
    "redis.round_trip",
    "redis.clock",
    "redis.slowlog",
    "redis.rights",
}


@pytest.fixture(autouse=True)
def no_answer_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast this machine is at the moment is no finding of these tests."""
    monkeypatch.setattr(redis_group, "SLOW_ROUND_TRIP_S", 60)


@pytest.fixture
def target(private_redis: RedisServer) -> RedisTarget:
    return target_of(private_redis)


async def examined(target: RedisTarget) -> dict[str, Finding]:
    """The findings by code."""
    findings = await redis_group.examine(target)
    assert all(found.text.isprintable() and found.text.endswith(".") for found in findings), findings
    return {found.code: found for found in findings}


async def test_a_healthy_server() -> None:
    # A script of this very examination may take longer than the 10 ms of the default.
    slowlog = ("--slowlog-log-slower-than", "-1")
    async with embedded.redis_server(args=("--appendonly", "yes", *slowlog)) as server:
        target = target_of(server)
        found = await examined(target)
        async with redis_for(target, connections=1) as client:
            assert await client.keys() == [], "it writes nothing"
    assert found.keys() == HEALTHY
    assert {each.level for each in found.values()} == {Level.OK}
    assert str(target) in found["redis.server"].text
    assert "maxmemory is not set" in found["redis.memory"].text


async def test_a_server_that_is_away(target: RedisTarget) -> None:
    found = await examined(RedisTarget(host=target.host, port=free_port()))
    assert found.keys() == {"redis.unreachable"}
    assert "does not answer" in found["redis.unreachable"].text


async def test_a_server_that_hangs() -> None:
    async with mute_server() as (port, _), asyncio.timeout(30):
        assert (await examined(RedisTarget(host="127.0.0.1", port=port))).keys() == {"redis.unreachable"}


async def test_a_server_that_cannot_be_used(target: RedisTarget, server: Redis) -> None:
    await server.execute_command("ACL", "SETUSER", "default", "resetpass", ">right")  # type: ignore[no-untyped-call]
    found = await examined(RedisTarget(host=target.host, port=target.port, password=SECRET))
    assert found.keys() == {"redis.unusable"}
    assert "REDIS_PASSWORD" in found["redis.unusable"].text
    assert SECRET not in found["redis.unusable"].text
    async with fake_redis({"HELLO": hello("6.0.9")}) as old:
        assert "expected version 6.2 or newer" in (await examined(old))["redis.unusable"].text


async def test_a_replica_of_a_master(target: RedisTarget, server: Redis) -> None:
    await server.replicaof("127.0.0.1", str(free_port()))
    found = await examined(target)
    assert found["redis.not_master"].level is Level.PROBLEM
    assert "redis.server" not in found


async def test_a_version_that_may_not_be_read() -> None:
    refused = b"-ERR unknown command\r\n"
    async with fake_redis({"HELLO": refused, "INFO": refused, "CONFIG": refused}) as target:
        found = await examined(target)
    assert found["redis.version_unknown"].level is Level.NOTE


@pytest.mark.parametrize(
    ("policy", "maxmemory", "code"),
    [
        ("allkeys-lru", "0", "redis.eviction_policy"),
        ("allkeys-lru", "100mb", "redis.evicts"),
        ("volatile-ttl", "100mb", "redis.evicts"),
        ("noeviction", "100mb", "redis.memory"),
        ("noeviction", "1", "redis.memory_short"),
    ],
)
async def test_memory(target: RedisTarget, server: Redis, policy: str, maxmemory: str, code: str) -> None:
    await server.config_set("maxmemory-policy", policy)
    await server.config_set("maxmemory", maxmemory)
    found = await examined(target)
    assert code in found
    assert (policy if policy != "noeviction" else "MiB used of ") in found[code].text
    assert len([each for each in found if each.startswith(("redis.memory", "redis.evict"))]) == 1


async def test_persistence(target: RedisTarget) -> None:
    found = await examined(target)
    assert found["redis.not_persistent"].remedy.startswith("CONFIG SET appendonly yes")
    failing = info(aof_enabled="1", rdb_last_bgsave_status="err", aof_last_write_status="ok")
    async with fake_redis({"HELLO": hello("8.0.0"), "INFO": failing}) as other:
        found = await examined(other)
    assert found["redis.persistence_failing"].level is Level.PROBLEM
    assert "rdb_last_bgsave_status is err" in found["redis.persistence_failing"].text


@pytest.mark.parametrize(("away_s", "code"), [(-5, "redis.clock_differs"), (100, "redis.clock_skew")])
async def test_clocks_that_differ(away_s: int, code: str) -> None:
    at = str(int(time.time()) + away_s).encode()
    reply = b"*2\r\n$%d\r\n%b\r\n$1\r\n0\r\n" % (len(at), at)
    async with fake_redis({"HELLO": hello("8.0.0"), "INFO": info(), "TIME": reply}) as target:
        found = await examined(target)
    assert ("ahead of" if away_s > 0 else "behind") in found[code].text


async def test_a_slow_server(target: RedisTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_group, "SLOW_ROUND_TRIP_S", 0)
    assert "median of 50" in (await examined(target))["redis.slow"].text


@pytest.mark.parametrize("script", ["stats", "run_now"])
async def test_slow_scripts(target: RedisTarget, server: Redis, script: str) -> None:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "stats": Schedule(server).stats,
        "run_now": partial(Steering(server).run_now, ["none"]),
    }
    await server.config_set("slowlog-log-slower-than", -1)
    await calls[script]()  # loads the script
    await server.config_set("slowlog-log-slower-than", 0)
    await calls[script]()
    await server.evalsha(await server.script_load("return 1"), 0)
    await server.config_set("slowlog-log-slower-than", -1)
    text = (await examined(target))["redis.slow_scripts"].text
    assert f"1 call of the last hour; the longest was {script}.lua" in text


LIMITED: Sequence[tuple[list[str], set[str]]] = [
    ([], HEALTHY - {"redis.slowlog", "redis.persistence"} | {"redis.slowlog_unknown"}),
    (["-info"], {"redis.memory_unknown", "redis.persistence_unknown", "redis.rights_optional"}),
    (["-info", "+config|get"], {"redis.memory", "redis.persistence_unknown"}),
    (["-xadd"], {"redis.rights_optional"}),
    (["-zadd"], {"redis.rights_missing"}),
    (["-multi"], {"redis.rights_unknown"}),
    (["+slowlog|get"], {"redis.slowlog"}),
]


@pytest.mark.parametrize(("rules", "codes"), LIMITED, ids=[",".join(rules) or "documented" for rules, _ in LIMITED])
async def test_users_with_few_rights(target: RedisTarget, server: Redis, rules: list[str], codes: set[str]) -> None:
    found = await examined(await user_with(server, target, *RULES, *rules))
    assert codes <= found.keys()
    if rules == ["-zadd"]:
        assert "ZADD peekaping:sched:due" in found["redis.rights_missing"].text


async def test_the_optional_rights_are_those_of_the_docs(target: RedisTarget, server: Redis) -> None:
    without = [rule for rule in RULES if rule not in OPTIONAL]
    text = (await examined(await user_with(server, target, *without)))["redis.rights_optional"].text
    assert all(right.removeprefix("+").replace("|", " ").upper() in text for right in OPTIONAL), text


async def test_a_server_that_hangs_after_the_first_check(target: RedisTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fault_proxy(target.port) as proxy:
        memory = redis_group._CHECKS["memory"]

        async def hang(redis: Client) -> Iterable[Finding]:
            proxy.hold_replies()
            return await memory(redis)

        monkeypatch.setattr(redis_group, "_CHECKS", {**redis_group._CHECKS, "memory": hang})
        async with asyncio.timeout(60):
            found = await examined(RedisTarget(host=target.host, port=proxy.port))
    assert found.keys() == {"redis.server", "redis.unreachable"}
    assert found["redis.unreachable"].text.startswith("memory: ")


async def test_a_check_that_hangs_or_fails_is_a_finding_without_secrets() -> None:
    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def fails(error: Exception) -> list[Finding]:
        raise error

    async def one(check: Any) -> str:
        (found,) = await checked("redis", "memory", check, 0.05)
        assert (found.code, found.level) == ("redis.check_failed", Level.PROBLEM)
        return found.text

    assert await one(hangs()) == "memory: no answer within 0.05 s."
    assert await one(fails(RedisRefusedError("LOADING"))) == "memory: LOADING."
    assert await one(fails(RuntimeError(SECRET))) == "memory: the check failed (RuntimeError)."
    assert finding("redis.evicts", "The server reports: no..").text == "The server reports: no."
