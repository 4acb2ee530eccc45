"""Waits at start until Redis and the database answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from peekaping_producer.errors import UnreachableError
from peekaping_producer.service.backoff import Backoff

log = structlog.stdlib.get_logger()
T = TypeVar("T")


class Startup:
    """The STARTUP_TIMEOUT that all waits of one start share, in seconds from now."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._give_up_at = time.monotonic() + timeout_s

    async def reach(self, name: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat `attempt` until it succeeds; return its result. `name` is the subject of the lines that are logged.

        These are one when the wait begins, one for each change of the reason, and one when `attempt` succeeds.

        Raises UnreachableError after the timeout, and any other error of `attempt` at once.
        """
        backoff = Backoff(0.2, 5.0)
        began_at, reason = time.monotonic(), ""
        while True:
            try:
                result = await attempt()
            except UnreachableError as error:
                left_s = self._give_up_at - time.monotonic()
                if left_s <= 0:
                    raise UnreachableError(f"{error} (given up after STARTUP_TIMEOUT={self._timeout_s:g} s)") from None
                if str(error) != reason:
                    reason = str(error)
                    log.warning(
                        "producer.waiting", message=f"{name} is not available yet: {reason}", seconds_left=round(left_s)
                    )
                await asyncio.sleep(min(backoff.delay(), left_s))
            else:
                if reason:
                    waited_s = round(time.monotonic() - began_at, 1)
                    log.info("producer.reached", message=f"{name} is available.", after_s=waited_s)
                return result
