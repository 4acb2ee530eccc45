"""`check-config --connect`: try Redis and the database with the real client and store."""

import asyncio
from collections.abc import Awaitable

import msgspec

from peekaping_producer.errors import ProducerError
from peekaping_producer.monitors.events import CHANNELS
from peekaping_producer.operations.rights import USES
from peekaping_producer.redis_client.client import check_rights, check_server, redis_for
from peekaping_producer.stores import store_for
from peekaping_producer.targets import DatabaseTarget, RedisTarget

MAX_WAIT_S = 20.0
"""Limit for one server; the limits of client and store are shorter."""


class ConnectionResult(msgspec.Struct, frozen=True):
    """The result for one server; `detail` is a text without secrets."""

    server: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"{self.server}: {'works' if self.ok else 'fails'}: {self.detail}"


async def try_connections(redis: RedisTarget, database: DatabaseTarget) -> tuple[ConnectionResult, ConnectionResult]:
    """Try both at once, once each; raises nothing for a server that fails."""
    return await asyncio.gather(
        _result_of("Redis", _try_redis(redis)), _result_of("The database", _try_database(database))
    )


async def _result_of(server: str, attempt: Awaitable[str]) -> ConnectionResult:
    try:
        async with asyncio.timeout(MAX_WAIT_S):
            return ConnectionResult(server, True, await attempt)
    except ProducerError as error:
        return ConnectionResult(server, False, str(error))
    except TimeoutError:
        return ConnectionResult(server, False, f"no answer within {MAX_WAIT_S:g} s")
    except Exception as error:  # a driver's message could contain a secret
        return ConnectionResult(server, False, f"the driver failed ({type(error).__name__})")


async def _try_redis(target: RedisTarget) -> str:
    redis = redis_for(target, connections=2)
    try:
        version = await check_server(redis, target)
        await check_rights(redis, target, USES, CHANNELS)
        return f"{target} answers, version {version}"
    finally:
        await redis.aclose()


async def _try_database(target: DatabaseTarget) -> str:
    store = store_for(target, connections=1)
    try:
        late = await store.open()
        await store.ping()
        tables = f"no answer in time from {', '.join(late)}" if late else "the tables exist"
        return f"{target} answers, and {tables}"
    finally:
        await store.close()
