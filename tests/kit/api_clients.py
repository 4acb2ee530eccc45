"""Clients of `serve` that repeat each request, with the same ids, until it is answered with 200."""

import asyncio
import itertools

import aiohttp

from tests.kit.processes import HOST

_CLIENTS = 8
_PAUSE_S = 0.05


class ApiClients:
    """Produce messages with the ids 0, 1, ..., until `finish`: single ones, and batches of three."""

    def __init__(self, port: int) -> None:
        self.answered: set[str] = set()
        """The ids of requests that were answered with 200."""
        self.repeated = 0
        """Requests that were answered with 503, or whose connection broke."""
        self._url = f"http://{HOST}:{port}"
        self._numbers = itertools.count()
        self._finishing = False

    async def run(self) -> None:
        """Return when all requests were answered with 200, after `finish`."""
        async with aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(30)) as session:
            await asyncio.gather(*(self._client(session, size) for size in [1, 3] * (_CLIENTS // 2)))

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
        """Send one request; returns whether it was answered with 200. Fails on any other answer than 200 and 503."""
        messages = [{"id": name, "payload": "x" * 50} for name in ids]
        path, body = ("/produce", messages[0]) if len(ids) == 1 else ("/batch-produce", {"messages": messages})
        try:
            async with session.post(path, json=body) as response:
                assert response.status in {200, 503}, await response.text()
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False
