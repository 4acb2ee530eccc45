"""The client. Correctness depends on its settings: nothing here may repeat a script by itself."""

import re
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

from redis import exceptions as driver
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline, PubSub
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from peekaping_producer.errors import ProducerError, RedisError, RedisUnusableError, UnreachableError
from peekaping_producer.redis_client.addresses import Addresses
from peekaping_producer.redis_client.connection import RedisConnection
from peekaping_producer.redis_client.diagnosis import diagnose
from peekaping_producer.redis_client.failures import CLUSTER, in_words, refusal, translated
from peekaping_producer.redis_client.rights import forbidden
from peekaping_producer.redis_client.sentinel import ASK_TIMEOUT_S, MasterConnection, MasterFinder, SentinelRefusalError
from peekaping_producer.redis_client.server import facts
from peekaping_producer.service.net import ssl_context
from peekaping_producer.targets import RedisTarget, Sentinels

MIN_VERSION = (6, 2)
"""ZMSCORE, ZADD LT and ZRANGE BYSCORE came with 6.2."""
SOCKET_TIMEOUT_S = 2.0
_AROUND = re.compile("^[\\s\ufeff\u200b\u2060'\"]|[\\s\ufeff\u200b\u2060'\"]$")
"""Characters that editors, shells and Kubernetes secrets leave around a password."""


class Subscription(PubSub):
    """A subscription to channels; it raises RedisError too."""

    execute_command = translated(PubSub.execute_command)
    get_message = translated(PubSub.get_message)
    aclose = translated(PubSub.aclose)


class _Pipeline(Pipeline):
    execute = translated(Pipeline.execute)
    reset = translated(Pipeline.reset)


class Client(Redis):
    """Raises RedisError, whatever fails in the library or the server. Repeats no command by itself."""

    execute_command = translated(Redis.execute_command)
    aclose = translated(Redis.aclose)

    def pubsub(self, **options: Any) -> Subscription:
        """A subscription to no channel yet."""
        return Subscription(self.connection_pool, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """A pipeline; it raises RedisError too."""
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def redis_for(target: RedisTarget, *, connections: int) -> Client:
    """Return a client with at most `connections` connections and without retries.

    The library's default retry would run a script again whose reply was lost: a claim would then hold two batches, one
    of which no worker has. With sentinels, every new connection goes to the current master. Raises ConfigError for TLS
    files that cannot be used.
    """
    tls = ssl_context(target.tls, "REDIS_TLS") if target.tls else None
    kind: type[RedisConnection] = RedisConnection
    where: dict[str, Any] = {"host": target.host, "port": target.port}
    if target.sentinels:
        kind = MasterConnection
        where = {"finder": MasterFinder(target.sentinels, _to_sentinels(target.sentinels, tls))}
    pool = ConnectionPool(
        connection_class=kind,
        max_connections=connections,
        db=target.db,
        username=target.username,
        password=target.password or None,
        encoding_errors="surrogateescape",  # a member of any bytes must be removable
        named=True,
        connect_within_s=2 * SOCKET_TIMEOUT_S,
        **where,
        **_sockets(SOCKET_TIMEOUT_S, tls),
    )
    return cast(Client, Client.from_pool(pool))


def _to_sentinels(sentinels: Sentinels, tls: ssl.SSLContext | None) -> Callable[[str, int], RedisConnection]:
    options = {
        "password": sentinels.password,
        "named": False,
        "connect_within_s": ASK_TIMEOUT_S,
        **_sockets(ASK_TIMEOUT_S, tls),
    }
    return lambda host, port: RedisConnection(host=host, port=port, **options)


def _sockets(timeout_s: float, tls: ssl.SSLContext | None) -> dict[str, Any]:
    """Return the options of every connection, to Redis or to a sentinel."""
    return {
        "addresses": Addresses(),
        "tls": tls,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,  # CLIENT SETINFO would require another permission
    }


async def check_server(redis: Client, target: RedisTarget) -> str:
    """Return the server's version ("unknown" without the permission to read it) after a check that it can be used.

    Raises RedisUnusableError for a server that is too old, a cluster, or refuses the user; UnreachableError if it does
    not answer.
    """
    try:
        found = await facts(redis)
    except RedisError as error:
        raise await _explained(error.__cause__ or error, target) from None
    version = found.get("version", "unknown")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < MIN_VERSION and version != "unknown":
        raise RedisUnusableError(f"Redis at {target}: expected version 6.2 or newer, got {version}")
    if found.get("mode") == "cluster":
        raise RedisUnusableError(f"Redis at {target}: {CLUSTER}")
    if found.get("mode") == "sentinel":
        raise RedisUnusableError(
            f"Redis at {target}: expected a Redis server, got a sentinel; name it in REDIS_SENTINELS"
        )
    return version


async def check_rights(redis: Client, target: RedisTarget, uses: Sequence[str], channels: Sequence[str]) -> None:
    """Check that the user may execute each of these `uses` of commands, and subscribe to `channels`.

    Raises RedisUnusableError, with what is refused, or UnreachableError.
    """
    try:
        refused = await forbidden(redis, uses, channels)
    except RedisError as error:
        raise await _explained(error.__cause__ or error, target) from None
    if refused:
        raise RedisUnusableError(
            f"Redis at {target}: the user lacks permissions for {', '.join(refused)}; "
            "see Permissions in docs/operations.md"
        )


async def _explained(error: BaseException, target: RedisTarget) -> ProducerError:
    """Return the error to raise: RedisUnusableError if waiting will not help."""
    if isinstance(error, SentinelRefusalError):
        advice = _advice(target, at_sentinels=True) if "REDIS_SENTINEL_PASSWORD" in str(error) else ""
        return RedisUnusableError(f"Redis at {target}: {error}{advice}")
    if why := refusal(error):
        advice = _advice(target) if isinstance(error, driver.AuthenticationError) else ""
        return RedisUnusableError(f"Redis at {target}: {why}{advice}")
    if isinstance(error, driver.ResponseError):
        return UnreachableError(f"Redis at {target} is not ready: {in_words(error)}")
    if why := await diagnose(target):
        return RedisUnusableError(f"Redis at {target}: {why}")
    return UnreachableError(f"Redis at {target} does not answer: {in_words(error)}")


def _advice(target: RedisTarget, *, at_sentinels: bool = False) -> str:
    """Return the likely mistake in a refused login and its remedy, to append to the refusal; empty if there is none."""
    password = target.sentinels.password if at_sentinels and target.sentinels else target.password
    if _AROUND.search(password or ""):
        return "; whitespace or quotes around the password were sent as part of it; remove them"
    if target.username and not password and not at_sentinels:
        return (
            "; REDIS_USERNAME is set without a password: set REDIS_PASSWORD too. Write a REDIS_URL without "
            "a user name as redis://:password@host"
        )
    return ""
