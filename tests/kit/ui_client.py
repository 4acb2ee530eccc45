"""A browser of the tests: reads the page of a real replica."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from aiohttp import ClientSession, ClientTimeout

from tests.kit.processes import HOST
from tests.kit.replicas import ReplicaProcess
from tests.kit.waiting import DEADLINE_S, until

ANY_PORT = {"UI_ADDR": f"{HOST}:0"}
"""The setting of a replica with a page."""

Fleet = dict[str, Any]
"""The document of GET /api/fleet."""


async def port_of(replica: ReplicaProcess) -> int:
    """The port of its page."""
    await until(lambda: bool(replica.lines("ui.listening")), "it serves the page")
    (listening,) = replica.lines("ui.listening")
    return int(str(listening["port"]))


class PageClient:
    """Requests to one replica."""

    def __init__(self, port: int, session: ClientSession) -> None:
        self.base = f"http://{HOST}:{port}"
        self.session = session

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """The status and the document."""
        async with self.session.get(self.base + path) as response:
            return response.status, json.loads(await response.text())

    async def frames(self) -> AsyncIterator[dict[str, Any]]:
        """The frames of a page that is opened now, until the server ends the stream; one comes each second."""
        timeout = ClientTimeout(total=None, sock_read=DEADLINE_S)
        async with self.session.get(f"{self.base}/api/frames", timeout=timeout) as response:
            assert response.status == 200
            async for line in response.content:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    async def fleet(self, condition: Callable[[Fleet], object] = bool) -> Fleet:
        """The first state of the fleet for which this holds, while a page is open; within DEADLINE_S."""
        fleet: Fleet = {}
        try:
            async with asyncio.timeout(DEADLINE_S), aclosing(self.frames()) as frames:
                async for _ in frames:
                    status, fleet = await self.get("/api/fleet")
                    assert status == 200
                    if condition(fleet):
                        return fleet
        except TimeoutError:
            raise AssertionError(f"no such state; the last is {fleet}") from None
        raise AssertionError(f"the stream ended, with {fleet}")


@asynccontextmanager
async def page_of(replica: ReplicaProcess) -> AsyncIterator[PageClient]:
    """A browser at the page of this replica."""
    port = await port_of(replica)
    async with ClientSession(timeout=ClientTimeout(30)) as session:
        yield PageClient(port, session)
