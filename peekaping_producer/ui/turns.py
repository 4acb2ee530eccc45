"""Limits how many requests of a kind run at once: what they share, connections above all, is limited too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from peekaping_producer.web.refusals import RequestError

_WAIT_S = 3.0
"""For the request before."""


class Turns:
    """Lets requests run one after another, or fail if that takes too long."""

    def __init__(self, at_once: int, wait_s: float = _WAIT_S) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._wait_s = wait_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn. Raises RequestError."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            sentence = "This was not done, because other requests of this kind are still running. Try again."
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, sentence, retry_after_s=2) from None
        try:
            yield
        finally:
            self._free.release()
