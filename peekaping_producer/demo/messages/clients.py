"""Clients of `serve` that repeat each request, with the same ids, until it is answered with 200."""

import asyncio
import itertools

import aiohttp

from peekaping_producer.demo.embedded import HOST
from peekaping_producer.errors import ProducerError
from peekaping_producer.service.aio import cancel_and_wait

_CLIENTS = 8
_PAUSE_S = 0.05
_TIMEOUT_S = 30.0


class UnexpectedAnswerError(ProducerError):
    """The API answered with another status than 200 and 503."""


class ApiClients:
    """Produce messages with the ids 0, 1, ..., until `finish`: half of them single ones, half batches of three."""

    def __init__(self, port: int, *, processing_time: float = 0.0) -> None:
        """`processing_time`: of each message, in seconds."""
        self.answered: set[str] = set()
        """The ids of requests that were answered with 200."""
        self.repeated = 0
        """Requests that were answered with 503, or whose connection broke."""
        self._url = f"http://{HOST}:{port}"
        self._processing_time = processing_time
        self._numbers = itertools.count()
        self._finishing = False

    async def run(self) -> None:
        """Return when all requests were answered with 200, after `finish`. Raises UnexpectedAnswerError."""
        async with aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(_TIMEOUT_S)) as session:
            clients = [asyncio.create_task(self._client(session, size)) for size in [1, 3] * (_CLIENTS // 2)]
            try:
                await asyncio.gather(*clients)
            finally:
                await cancel_and_wait(*clients)

    def finish(self) -> None:
        """Begin no more requests."""
        self._finishing = True

    async def _client(self, session: aiohttp.ClientSession, size: int) -> None:
        while not self._finishing:
            ids = [str(number) for number in itertools.islice(self._numbers, size)]
            while not await self.succeeds(session, ids):
                self.repeated += 1
                await asyncio.sleep(_PAUSE_S)
            self.answered.update(ids)
            await asyncio.sleep(_PAUSE_S)

    async def succeeds(self, session: aiohttp.ClientSession, ids: list[str]) -> bool:
        """Send one request; return whether it was answered with 200. Raises UnexpectedAnswerError."""
        messages = [{"id": name, "payload": "x" * 50, "processing_time": self._processing_time} for name in ids]
        path, body = ("/produce", messages[0]) if len(ids) == 1 else ("/batch-produce", {"messages": messages})
        try:
            async with session.post(path, json=body) as response:
                if response.status not in {200, 503}:
                    raise UnexpectedAnswerError(f"{path}: {response.status}: {await response.text()}")
                return response.status == 200
        except (aiohttp.ClientConnectionError, TimeoutError):
            return False
