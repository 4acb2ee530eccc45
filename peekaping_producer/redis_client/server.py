"""Facts about a server, read with the commands that it allows: none of these permissions is required."""

from typing import Any

from redis.asyncio import Redis

from peekaping_producer.errors import RedisError, RedisRefusedError
from peekaping_producer.redis_client.failures import decoding, not_allowed


def facts_of(reply: Any) -> dict[str, str]:
    """Return the fields of a reply to HELLO, among them version, mode and role; empty for another reply."""
    if isinstance(reply, dict):
        pairs = list(reply.items())
    elif isinstance(reply, list):
        pairs = list(zip(reply[::2], reply[1::2], strict=False))
    else:
        return {}
    return {_text(name): _text(value) for name, value in pairs if isinstance(value, bytes | str)}


async def facts(redis: Redis) -> dict[str, str]:
    """Return the server's `version`, `mode` and `role`, from HELLO, which no ACL can forbid, or from INFO.

    Those that the user may not read are absent. Raises RedisError for all other errors.
    """
    found = facts_of(await _asked(redis, "HELLO", 2))
    if "version" in found:
        return found
    fields = await info(redis, "server")
    if fields is None:
        return found
    return found | {"version": str(fields.get("redis_version", "?")), "mode": str(fields.get("redis_mode", ""))}


async def info(redis: Redis, section: str) -> dict[str, Any] | None:
    """Return the fields of a section of INFO; None without the permission to read it. Raises RedisError."""
    reply = await _asked(redis, "INFO", section)
    return reply if isinstance(reply, dict) else None


async def slowlog(redis: Redis, limit: int) -> list[tuple[int, int, str]] | None:
    """Return the latest entries of SLOWLOG about scripts; None without the permission to read it.

    Each is Redis TIME in s, the duration in µs, and the SHA of the script. Raises RedisError.
    """
    reply = await _asked(redis, "SLOWLOG GET", limit)
    if reply is None:
        return None
    with decoding():
        words = ((entry, bytes(entry["command"]).split(b" ", 2)) for entry in reply)
        return [
            (int(entry["start_time"]), int(entry["duration"]), command[1].decode(errors="replace").lower())
            for entry, command in words
            if len(command) > 1 and command[0].upper() == b"EVALSHA"
        ]


async def eviction_policy(redis: Redis) -> str | None:
    """Return the server's maxmemory-policy; None without the permission to read it."""
    try:
        policy = (await info(redis, "memory") or {}).get("maxmemory_policy")
        if policy is None:
            reply = await _asked(redis, "CONFIG GET", "maxmemory-policy")
            policy = next(iter(reply.values()), None) if isinstance(reply, dict) else None
    except RedisError:  # for a warning only
        return None
    return _text(policy) if isinstance(policy, bytes | str) else None


async def _asked(redis: Redis, *command: str | int) -> Any:
    """Return the reply; None if the server does not allow the command."""
    try:
        return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
    except RedisRefusedError as error:
        if not_allowed(error):
            return None
        raise


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
