"""What the user of Redis must be allowed: tried at start, so that a refusal is named before anything depends on it."""

from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from peekaping_producer.redis_client.connection import RedisConnection
from peekaping_producer.redis_client.failures import in_words, not_allowed, translated
from peekaping_producer.schedule import keys

_QUEUE = "asynq:{healthcheck}:"
_TASK = _QUEUE + "t:x"
USES: Sequence[str] = (
    "EVAL return(0) 0",
    "EVALSHA 0000000000000000000000000000000000000000 0",
    "TIME",
    *(f"ZADD {key} 1 x" for key in (keys.DUE, keys.LEASE, keys.LATE)),
    *(f"{name} {keys.DUE} x" for name in ("ZREM", "ZMSCORE", "ZSCORE")),
    *(f"{name} {keys.DUE} 0 0" for name in ("ZRANGE", "ZCOUNT")),
    f"ZCARD {keys.DUE}",
    f"ZSCAN {keys.DUE} 0",
    *(f"SET {key} x" for key in (keys.LEADER, keys.PROBE)),
    *(f"{name} {keys.LEADER}" for name in ("GET", "DEL", "PTTL")),
    f"PEXPIRE {keys.LEADER} 1",
    "SADD asynq:queues x",
    f"EXISTS {_TASK}",
    f"HSET {_TASK} a b",
    f"HINCRBY {_TASK} a 1",
    f"HSET {keys.REPLICAS} a b",
    f"HGETALL {keys.REPLICAS}",
    *(f"{name} {_TASK} a" for name in ("HGET", "HMGET", "HDEL")),
    *(f"{name} {_QUEUE}pending x" for name in ("LPUSH", "LPOS")),
    f"LREM {_QUEUE}pending 1 x",
    f"LLEN {_QUEUE}pending",
    f"LRANGE {_QUEUE}pending 0 0",
    "PING",
)
"""One use of each command that scripts and client need, with keys of each kind."""


async def forbidden(redis: Redis, channels: Sequence[str]) -> list[str]:
    """What the server refuses to its user, in words; nothing is written, whatever it allows.

    A transaction checks the rights of a command when it is queued, and this one is never executed. Where transactions
    are refused, only the channels are tried. Raises RedisError for what has nothing to do with rights.
    """
    with translated():
        connection = await redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            refused = []
            if await _transaction_begins(connection):
                refused = await _refusals(connection, [use.split() for use in USES])
                await connection.disconnect(nowait=True)
            return refused + await _refusals(connection, [["SUBSCRIBE", channel] for channel in channels])
        finally:
            await connection.disconnect(nowait=True)
            await redis.connection_pool.release(connection)


async def _transaction_begins(connection: RedisConnection) -> bool:
    """Whether MULTI is allowed and does what it says: a proxy might execute what follows."""
    if await _refusals(connection, [["MULTI"]]):
        return False
    try:
        return bool(await connection.ask("PING") == b"QUEUED")
    except ResponseError as error:
        return not_allowed(error)


async def _refusals(connection: RedisConnection, commands: list[list[str]]) -> list[str]:
    """Send them all at once; which of them the server does not allow, and why."""
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    refused = []
    for words in commands:
        try:
            await connection.read_response()
        except ResponseError as error:
            if not_allowed(error):
                refused.append(f"{' '.join(words[:2])} ({in_words(error)})")
    return refused
