"""The servers of a bench: a Redis-compatible one and a database, its own or those of two variables."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis

from peekaping_producer.demo import embedded
from peekaping_producer.errors import ConfigError
from peekaping_producer.migrate import migrate
from peekaping_producer.settings.urls import parse_database_url
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases, replicas
from tests.kit.given import NotEmptyError, require_empty

OPTIONS: dict[str, tuple[str, ...]] = {
    "postgres": ("max_connections=200", "shared_buffers=512MB", "max_wal_size=8GB"),
    "mysql": ("--innodb-buffer-pool-size=1G",),
    "sqlite": (),
    "mongo": (),
}
"""By database, the options of a server that the bench starts."""
REDIS_URL, DATABASE_URL = "BENCH_REDIS_URL", "BENCH_DATABASE_URL"
"""Not the producer's own names: a shell that sets those must not lose its data."""
_BOTH = (REDIS_URL, DATABASE_URL)
_REMEDY = "To delete all data in both, add --flush-given-servers."


@asynccontextmanager
async def servers(
    store: str = "postgres", *, flush_given_servers: bool = False
) -> AsyncIterator[tuple[dict[str, str], DatabaseTarget]]:
    """The environment that points a producer at them, and the database with its tables.

    Given servers must be empty, unless `flush_given_servers` deletes their data, and are empty again afterwards. Raises
    SystemExit with the reason if they cannot be used.
    """
    async with AsyncExitStack() as stack:
        if given := {name: os.environ[name] for name in _BOTH if os.environ.get(name)}:
            if len(given) < len(_BOTH):
                raise SystemExit(f"{next(iter(given))}: requires {next(name for name in _BOTH if name not in given)}")
            target = database_of(given[DATABASE_URL], store, "--store")
            await stack.enter_async_context(_lent(given[REDIS_URL], target, flush_given_servers=flush_given_servers))
            environment = {"REDIS_URL": given[REDIS_URL], "DATABASE_URL": given[DATABASE_URL]}
        else:
            redis = await stack.enter_async_context(embedded.redis_server())
            target = stack.enter_context(databases.own_server(store, *OPTIONS[store]))
            environment = replicas.environment(redis.port, target)
            await migrate(target)
        yield environment, target


def database_of(url: str, dialect: str, option: str) -> DatabaseTarget:
    """The database of a BENCH_DATABASE_URL; its kind must be that of `option`. Raises SystemExit if unusable."""
    try:
        target = parse_database_url(url)
    except ConfigError as error:
        raise SystemExit("\n".join(f"BENCH_{problem}" for problem in error.problems)) from None
    if target.dialect != dialect:
        raise SystemExit(f"{DATABASE_URL}: expected {dialect} as in {option}, got {target.dialect}")
    return target


@asynccontextmanager
async def _lent(redis_url: str, target: DatabaseTarget, *, flush_given_servers: bool) -> AsyncIterator[None]:
    async with Redis.from_url(redis_url) as redis:
        if not flush_given_servers:
            try:
                await require_empty(REDIS_URL, redis, DATABASE_URL, target, _REMEDY)
            except NotEmptyError as error:
                raise SystemExit(str(error)) from None
        await migrate(target)
        await _empty(redis, target)
        try:
            yield
        finally:
            await _empty(redis, target)


async def _empty(redis: Redis, target: DatabaseTarget) -> None:
    await redis.flushdb()
    async with databases.connected(target) as database:
        await database.clear()
