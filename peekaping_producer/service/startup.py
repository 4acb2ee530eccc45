"""Waiting at start for what may not be there yet."""

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
    """The STARTUP_TIMEOUT that all of one start shares, in seconds from now."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._give_up_at = time.monotonic() + timeout_s

    async def reach(self, name: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns, as soon as it does; `name` begins the sentence that is logged meanwhile.

        The reason stands in the first line, and again where it changes.

        Raises UnreachableError when the time is over, and at once whatever says that waiting will not help.
        """
        backoff = Backoff(0.2, 5.0)
        reason = ""
        while True:
            try:
                return await attempt()
            except UnreachableError as error:
                left_s = self._give_up_at - time.monotonic()
                if left_s <= 0:
                    raise UnreachableError(f"{error} (given up after STARTUP_TIMEOUT={self._timeout_s:g} s)") from None
                before, reason = reason, str(error)
                message = f"{name} is not there yet." if reason == before else f"{name} is not there yet: {reason}"
                log.warning("producer.waiting", message=message, seconds_left=round(left_s))
                await asyncio.sleep(min(backoff.delay(), left_s))
