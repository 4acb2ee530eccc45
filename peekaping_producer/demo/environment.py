"""What the demo runs: Redis, a database with monitors, their target, two replicas."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from pydantic import SecretStr

from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import EmbeddedServerError
from peekaping_producer.demo.replica import Replica
from peekaping_producer.demo.target import open_target
from peekaping_producer.demo.view import counted
from peekaping_producer.errors import ConfigError, RedisError, UnreachableError
from peekaping_producer.migrate import migrate
from peekaping_producer.monitors.monitor import Monitor
from peekaping_producer.redis_client.client import Client, redis_for
from peekaping_producer.service import child_processes
from peekaping_producer.settings import Settings
from peekaping_producer.targets import DatabaseTarget

REPLICAS = 2
_MAX_CONNECTIONS = 100


class Environment(msgspec.Struct, frozen=True):
    """The running parts."""

    redis: Client
    redis_text: str
    """Address and kind of the Redis server, for the output."""
    monitors: list[Monitor]
    replicas: list[Replica]


@asynccontextmanager
async def open_environment(given: Settings | None) -> AsyncIterator[Environment]:
    """Start everything for the duration of the `async with`; no process and no file outlives it.

    Redis is that of the `given` settings, or an embedded server for None. Raises ProducerError.
    """
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(child_processes.directory("peekaping-demo-"))
        settings = await stack.enter_async_context(_redis_server(directory, given))
        redis = await stack.enter_async_context(_client(settings))
        monitors = await stack.enter_async_context(open_target())
        database = DatabaseTarget(dialect="sqlite", name=str(directory / "demo.sqlite"))
        await migrate(database)
        _insert(database.name, monitors)
        of_demo = {"DB_TYPE": "sqlite", "DB_NAME": database.name, "SHUTDOWN_GRACE": "5", "LEASE_TTL": "10"}
        env = settings.as_environment("redis") | of_demo
        replicas = [Replica(f"replica {number}", directory, env) for number in range(1, REPLICAS + 1)]
        for replica in replicas:
            stack.push_async_callback(replica.stop)
            replica.start()
        kind = "embedded" if given is None else "from the settings; emptied at the end"
        yield Environment(redis, f"Redis: {settings.redis_target()} ({kind})", monitors, replicas)


@asynccontextmanager
async def _redis_server(directory: Path, given: Settings | None) -> AsyncIterator[Settings]:
    if given is not None:
        async with _existing_redis(given):
            yield given
        return
    try:
        embedded.find_binary()
    except EmbeddedServerError as error:
        raise EmbeddedServerError(f"{error}; or set REDIS_URL to a Redis with an empty database") from None
    async with embedded.redis_server(directory) as server:
        yield Settings(redis_url=SecretStr(server.url))


@asynccontextmanager
async def _existing_redis(given: Settings) -> AsyncIterator[None]:
    """Use an existing Redis, whose database must be empty and is empty again at the end."""
    async with _client(given) as redis:
        try:
            keys = await redis.dbsize()
        except RedisError as error:
            raise UnreachableError(f"Redis at REDIS_URL does not answer: {type(error).__name__}") from None
        if keys:
            raise ConfigError([f"REDIS_URL: expected an empty database, got {counted(keys, 'key')}"])
        try:
            yield
        finally:
            for pattern in ("peekaping:*", "asynq:*"):
                if found := await redis.keys(pattern):
                    await redis.delete(*found)


def _client(settings: Settings) -> Client:
    return redis_for(settings.redis_target(), connections=_MAX_CONNECTIONS)


def _insert(path: str, monitors: list[Monitor]) -> None:
    columns = Monitor.__struct_fields__
    statement = f"INSERT INTO monitors ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
    connection = sqlite3.connect(path)
    with connection:
        connection.executemany(statement, [msgspec.structs.astuple(monitor) for monitor in monitors])
    connection.close()
