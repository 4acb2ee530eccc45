"""What a server says of itself, asked with whatever it allows: no right is needed for asking alone."""

from typing import Any

from redis.asyncio import Redis

from peekaping_producer.errors import RedisError, RedisRefusedError
from peekaping_producer.redis_client.failures import not_allowed


def facts_of(reply: Any) -> dict[str, str]:
    """What a reply to HELLO tells: version, mode, role; nothing where it is none."""
    if isinstance(reply, dict):
        pairs = list(reply.items())
    elif isinstance(reply, list):
        pairs = list(zip(reply[::2], reply[1::2], strict=False))
    else:
        return {}
    return {_text(name): _text(value) for name, value in pairs if isinstance(value, bytes | str)}


async def facts(redis: Redis) -> dict[str, str]:
    """The server's `version`, `mode` and `role`, by HELLO, which no ACL can forbid, or else by INFO.

    Those that may not be asked for are absent. Raises RedisError for all other trouble.
    """
    found = facts_of(await _asked(redis, "HELLO", 2))
    if "version" in found:
        return found
    info = await _asked(redis, "INFO", "server")
    if info is None:
        return found
    return found | {"version": str(info.get("redis_version", "?")), "mode": str(info.get("redis_mode", ""))}


async def eviction_policy(redis: Redis) -> str | None:
    """The server's maxmemory-policy; None where it may not be asked."""
    try:
        info = await _asked(redis, "INFO", "memory")
        policy = info.get("maxmemory_policy") if isinstance(info, dict) else None
        if policy is None:
            reply = await _asked(redis, "CONFIG GET", "maxmemory-policy")
            policy = next(iter(reply.values()), None) if isinstance(reply, dict) else None
    except RedisError:  # good advice only
        return None
    return _text(policy) if isinstance(policy, bytes | str) else None


async def _asked(redis: Redis, *command: str | int) -> Any:
    """The reply; None where the server does not allow the question."""
    try:
        return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
    except RedisRefusedError as error:
        if not_allowed(error):
            return None
        raise


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
