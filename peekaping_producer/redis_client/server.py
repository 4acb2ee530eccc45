"""Facts about a server, read with the commands that it allows: none of these permissions is required."""

from typing import Any

from redis.asyncio import Redis

from peekaping_producer.errors import RedisError, RedisRefusedError
from peekaping_producer.redis_client.failures import not_allowed


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
    info = await _asked(redis, "INFO", "server")
    if info is None:
        return found
    return found | {"version": str(info.get("redis_version", "?")), "mode": str(info.get("redis_mode", ""))}


async def eviction_policy(redis: Redis) -> str | None:
    """Return the server's maxmemory-policy; None without the permission to read it."""
    try:
        info = await _asked(redis, "INFO", "memory")
        policy = info.get("maxmemory_policy") if isinstance(info, dict) else None
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
