"""The servers that the demo starts or is given."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from peekaping_producer.cli.main import main
from peekaping_producer.demo.embedded import EmbeddedServerError, RedisServer
from peekaping_producer.demo.monitors.environment import open_environment
from peekaping_producer.demo.redis import open_redis
from peekaping_producer.errors import ConfigError, UnreachableError
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.settings import Settings, load_settings
from tests.kit.sentinel import WatchedRedis
from tests.kit.waiting import until


def without_a_binary() -> str:
    raise EmbeddedServerError("no Redis-compatible server found: pip install it")


def at(url: str) -> Settings:
    return Settings(redis_url=SecretStr(url))


async def open_only_redis(directory: Path, given: Settings | None) -> None:
    async with open_redis(directory, given) as answer:
        assert answer is given


async def test_without_a_server_the_error_contains_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peekaping_producer.demo.embedded.find_binary", without_a_binary)
    with pytest.raises(EmbeddedServerError, match="pip install it; or set REDIS_URL"):
        await open_only_redis(tmp_path, None)


async def test_an_existing_redis_must_be_empty_and_is_left_empty(
    tmp_path: Path, private_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peekaping_producer.demo.embedded.find_binary", without_a_binary)
    async with Redis.from_url(private_redis.url) as redis:
        async with open_redis(tmp_path, at(private_redis.url)):
            await redis.set("peekaping:producer:leader", "x")
            await redis.set("asynq:queues", "x")
        assert await redis.dbsize() == 0
        await redis.set("another:program", 1)
        with pytest.raises(ConfigError, match=r"^REDIS_URL: expected an empty database, got 1 key$"):
            await open_only_redis(tmp_path, at(private_redis.url))
        assert await redis.dbsize() == 1


async def test_an_unreachable_redis_is_reported_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peekaping_producer.demo.embedded.find_binary", without_a_binary)
    with pytest.raises(UnreachableError) as caught:
        await open_only_redis(tmp_path, at("redis://:hunter2@127.0.0.1:1/0"))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"REDIS_URL: expected redis://"):
        await open_only_redis(tmp_path, at("http://hunter2"))


async def test_both_replicas_get_the_settings_of_sentinel(
    tmp_path: Path, watched_redis: WatchedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with redis_for(watched_redis.target(), connections=1) as client:
        await client.flushdb()
    monkeypatch.setattr("peekaping_producer.demo.embedded.find_binary", without_a_binary)
    given = load_settings({"redis"}, environ=watched_redis.settings, env_files=())
    async with open_environment(given) as opened:
        for replica in opened.replicas:
            env = replica._settings
            assert {name: env[name] for name in watched_redis.settings} == watched_redis.settings

        async def a_replica_leads() -> bool:
            return await opened.redis.get(KEYS.leader) is not None

        await until(a_replica_leads, "a replica leads")


@pytest.mark.parametrize(("command", "package"), [("demo", "monitors"), ("demo-queue", "messages")])
def test_a_demo_reads_no_settings_where_a_server_can_be_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, package: str
) -> None:
    """The Redis of this shell may be a production server, or wrong."""
    monkeypatch.chdir(tmp_path)
    given: list[Settings | None] = []

    async def run(_seconds: float, *, redis: Settings | None) -> int:
        given.append(redis)
        return 0

    monkeypatch.setattr(f"peekaping_producer.demo.{package}.run_demo", run)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    for available in (True, False):
        monkeypatch.setattr("peekaping_producer.demo.embedded.is_available", lambda available=available: available)
        assert main([command]) == 0
    embedded, borrowed = given
    assert embedded is None
    assert borrowed
    assert str(borrowed.redis_target()) == "redis://127.0.0.1:1/0"
    monkeypatch.setenv("REDIS_URL", "http://nonsense")
    assert main([command]) == 2
    monkeypatch.setattr("peekaping_producer.demo.embedded.is_available", lambda: True)
    assert main([command]) == 0
