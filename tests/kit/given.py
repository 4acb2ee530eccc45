"""Servers given by URLs in the environment. Their existing data is never deleted."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pymysql
from redis.asyncio import Redis

from peekaping_producer.settings.urls import parse_database_url
from peekaping_producer.targets import DatabaseTarget

_UNKNOWN_DATABASE = 1049
_NAMED = 5


class NotEmptyError(Exception):
    """A given server holds data, so it is not used: the message names the variable and the data."""


def database_in(variable: str, *, name: str) -> DatabaseTarget | None:
    """The database of a URL like postgres://user:password@host, called `name`; None where the variable is not set."""
    url = os.environ.get(variable)
    if not url:
        return None
    complete = url if urlsplit(url).path.strip("/") else urlsplit(url)._replace(path=f"/{name}").geturl()
    return msgspec.structs.replace(parse_database_url(complete), name=name)


@contextmanager
def borrowed(variable: str, target: DatabaseTarget, drop: Callable[[], Awaitable[Any]]) -> Iterator[None]:
    """The use of a database of ours on a given server: absent or empty at first, and dropped at the end of the block.

    Raises NotEmptyError.
    """
    remedy = "If killed tests left the data, drop the database."

    async def dropped() -> None:
        await drop()

    _in_a_thread(_require_empty_database(variable, target, remedy))
    try:
        yield
    finally:
        _in_a_thread(dropped())


async def require_empty_server(variable: str, redis: Redis) -> None:
    """Look into every database of a given Redis: tests drop its scripts and change its settings. NotEmptyError."""
    databases: dict[str, dict[str, int]] = await redis.info("keyspace")
    held = [f"{_keys(each['keys'])} in {name}" for name, each in databases.items()]
    _require(variable, "a Redis without keys", held, "Use a server without other data.")


async def require_empty(redis_variable: str, redis: Redis, variable: str, target: DatabaseTarget, remedy: str) -> None:
    """Refuse a Redis database with keys, and a database with a row in any table. Raises NotEmptyError."""
    keys = await redis.dbsize()
    _require(redis_variable, "an empty database of Redis", [_keys(keys)] if keys else [], remedy)
    await _require_empty_database(variable, target, remedy)


async def _require_empty_database(variable: str, target: DatabaseTarget, remedy: str) -> None:
    held = [f"rows in {each}" for each in await _filled(target)]
    _require(variable, f"nothing in the database {target.name}", held, remedy)


def _require(variable: str, what: str, held: Sequence[str], remedy: str) -> None:
    if held:
        more = ", ..." if len(held) > _NAMED else ""
        raise NotEmptyError(f"{variable}: expected {what}, got {', '.join(held[:_NAMED])}{more}. {remedy}")


async def _filled(target: DatabaseTarget) -> list[str]:
    from tests.kit import databases

    try:
        async with databases.connected(target) as database:
            return await database.filled()
    except asyncpg.InvalidCatalogNameError:
        return []
    except pymysql.err.OperationalError as error:
        if error.args[0] != _UNKNOWN_DATABASE:
            raise
        return []


def _keys(count: int) -> str:
    return f"{count} key{'s' * (count != 1)}"


def _in_a_thread(work: Coroutine[Any, Any, None]) -> None:
    """Pytest's thread has an event loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
