"""A subscription to channels that finds out whether its connection still works."""

import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from peekaping_producer.errors import RedisUnavailableError
from peekaping_producer.redis_client.client import Client

PING_EVERY_S = 5.0
SILENT_FOR_S = 12.0


async def messages_of(
    redis: Client, *channels: str, on_step: Callable[[], object]
) -> AsyncGenerator[dict[str, Any], None]:
    """Subscribe, and yield what Redis sends, confirmations included. `on_step` is called every second at least.

    Raises RedisError once the connection breaks, or has been silent for SILENT_FOR_S in spite of pings.
    """
    pubsub = redis.pubsub()
    try:
        await pubsub.subscribe(*channels)
        heard_at = pinged_at = time.monotonic()
        while True:
            on_step()
            message = await pubsub.get_message(timeout=1.0)
            now = time.monotonic()
            if message is not None:
                heard_at = now
                yield message
            elif now - heard_at > SILENT_FOR_S:
                raise RedisUnavailableError("the subscription does not answer")
            elif now - pinged_at > PING_EVERY_S:
                pinged_at = now
                await pubsub.ping()
    finally:
        await pubsub.aclose()
