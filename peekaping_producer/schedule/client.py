"""The connection to Redis. Its settings are part of correctness: nothing here may repeat a script by itself."""

import re
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from peekaping_producer.errors import ScheduleError, UnreachableError
from peekaping_producer.schedule.connection import PlainConnection, TlsConnection
from peekaping_producer.schedule.sentinel import ASK_TIMEOUT_S, FollowsMaster, MasterFinder, SentinelRefusalError
from peekaping_producer.targets import RedisTarget, Sentinels, Tls

OLDEST_VERSION = (6, 2)
"""ZMSCORE, ZADD LT and ZRANGE BYSCORE came with 6.2."""
SOCKET_TIMEOUT_S = 2.0


class _MasterConnection(FollowsMaster, PlainConnection):
    pass


class _TlsMasterConnection(FollowsMaster, TlsConnection):
    pass


def connect(target: RedisTarget, *, connections: int) -> Redis:
    """A client with at most `connections` connections, without any retry of its own.

    The default retry would run a script again whose reply was lost: a claim would then hold two batches, one of them
    for nobody. With sentinels, every new connection goes to the master of that moment.
    """
    kind: type[Connection]
    if target.sentinels:
        kind = _TlsMasterConnection if target.tls else _MasterConnection
        where: dict[str, Any] = {"finder": MasterFinder(target.sentinels, _to_sentinels(target.sentinels, target.tls))}
    else:
        kind = TlsConnection if target.tls else PlainConnection
        where = {"host": target.host, "port": target.port}
    pool = ConnectionPool(
        connection_class=kind,
        max_connections=connections,
        db=target.db,
        username=target.username,
        password=target.password or None,
        encoding_errors="surrogateescape",  # a stray member of any bytes must be removable
        client_name="peekaping-producer",
        **where,
        **_sockets(SOCKET_TIMEOUT_S),
        **_tls(target.tls),
    )
    return Redis.from_pool(pool)


def _to_sentinels(sentinels: Sentinels, tls: Tls | None) -> Callable[[str, int], Connection]:
    kind = TlsConnection if tls else PlainConnection
    options = {"password": sentinels.password, **_sockets(ASK_TIMEOUT_S), **_tls(tls)}
    return lambda host, port: kind(host=host, port=port, **options)


def _sockets(timeout_s: float) -> dict[str, Any]:
    """What every connection has, to Redis or to a sentinel."""
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _tls(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "ssl_cert_reqs": "required" if tls.verify else "none",
        "ssl_check_hostname": tls.verify,
        "ssl_ca_certs": tls.ca_file,
        "ssl_certfile": tls.cert_file,
        "ssl_keyfile": tls.key_file,
    }


async def check_server(redis: Redis, target: RedisTarget) -> str:
    """The server's version, once it is seen to be one that this program can use.

    Raises ScheduleError for a server that is too old, a cluster, or refuses our password; UnreachableError when it
    does not answer (yet).
    """
    try:
        info = await redis.info("server")
    except SentinelRefusalError as error:
        raise ScheduleError(f"Redis at {target} is not told: {error}") from None
    except (AuthenticationError, NoPermissionError) as error:
        raise ScheduleError(f"Redis at {target} refuses the user or password (REDIS_PASSWORD): {error}") from None
    except ResponseError as error:
        raise UnreachableError(f"Redis at {target} does not serve yet: {error}") from None
    except (RedisError, OSError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):  # redis-py keeps the text alone
            raise ScheduleError(
                f"Redis at {target}: its certificate is not trusted (REDIS_TLS_CA_FILE): {error}"
            ) from None
        raise UnreachableError(f"Redis at {target} does not answer: {error}") from None
    version = str(info.get("redis_version", "?"))
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_VERSION:
        raise ScheduleError(f"Redis at {target} has version {version}, and 6.2 or newer is needed")
    if info.get("redis_mode") == "cluster":
        raise ScheduleError(
            f"Redis at {target} is a cluster, and a single server is needed (upstream's keys span slots)"
        )
    return version
