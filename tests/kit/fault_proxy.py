"""A TCP proxy before a server, with which a test cuts, delays, holds and refuses what goes through."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from peekaping_producer.service.aio import cancel_and_wait
from tests.kit.processes import HOST, free_port

PIECE = 65536
_PIECES_AT_ONCE = 64
"""What waits here of one connection's answers: 4 MB, then the server is no longer read."""


@dataclass(frozen=True)
class Ends:
    """A client's connection and the one to the server that stands for it."""

    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    server: asyncio.StreamReader
    to_server: asyncio.StreamWriter


class FaultProxy:
    """Forwards bytes to `upstream_port`. `port` stays the same while it is down."""

    def __init__(self, upstream_port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.upstream_port = upstream_port
        """Where new connections go."""
        self.requests = 0
        """Pieces that clients sent, since the last hold began."""
        self.delay_s = 0.0
        """How long each answer stays here, counted from its arrival; order is kept."""
        self._generation = 0
        self._tls = tls
        self._is_up = False
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._requests_pass = asyncio.Event()
        self._requests_pass.set()
        self._replies_pass = asyncio.Event()
        self._replies_pass.set()

    async def up(self) -> None:
        """Accept connections, and hold nothing. The delay stays."""
        self.release_requests()
        self.release_replies()
        self.port = self.port or free_port()
        self._is_up = True
        self._server = await asyncio.start_server(self._serve, HOST, self.port, ssl=self._tls)

    async def down(self) -> None:
        """End every connection and refuse new ones, as a server does that stops."""
        self._is_up = False
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """End every connection there is."""
        await cancel_and_wait(*self._pipes)

    def forget(self) -> None:
        """Silently drop what clients send on existing connections, as a NAT does; new ones work."""
        self._generation += 1

    def hold_requests(self) -> None:
        """Hold what clients send, until release_requests()."""
        self.requests = 0
        self._requests_pass.clear()

    def release_requests(self) -> None:
        """Forward what was held, even of clients that have gone."""
        self._requests_pass.set()

    def hold_replies(self) -> None:
        """Forward what clients send, but hold the replies of the server, until release_replies()."""
        self.requests = 0
        self._replies_pass.clear()

    def release_replies(self) -> None:
        """Forward what was held, and what follows."""
        self._replies_pass.set()

    async def request_passes(self) -> None:
        """Count a request, and return when it may go on."""
        self.requests += 1
        await self._requests_pass.wait()

    async def reply_passes(self, arrived_at: float) -> None:
        """Return when a reply that came at this time of the loop may go on."""
        wait_s = arrived_at + self.delay_s - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await self._replies_pass.wait()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if not self._is_up:  # it was accepted just before
            to_client.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        try:
            server, to_server = await asyncio.open_connection(HOST, self.upstream_port)
            try:
                await self._carry(Ends(client, to_client, server, to_server))
            finally:
                to_server.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # a client that sees its connection end is the point
        finally:
            to_client.transport.abort()
            self._pipes.discard(task)

    async def _carry(self, ends: Ends) -> None:
        """Forward until the client goes."""
        generation = self._generation
        arrived: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES_AT_ONCE)
        replies = [asyncio.create_task(_listen(ends, arrived)), asyncio.create_task(self._deliver(ends, arrived))]
        try:
            while piece := await ends.client.read(PIECE):
                await self.request_passes()
                if generation != self._generation:
                    continue
                ends.to_server.write(piece)
                await ends.to_server.drain()
        finally:
            await cancel_and_wait(*replies)

    async def _deliver(self, ends: Ends, arrived: asyncio.Queue[tuple[float, bytes]]) -> None:
        with suppress(OSError):
            while (arrival := await arrived.get())[1]:
                await self.reply_passes(arrival[0])
                ends.to_client.write(arrival[1])
                await ends.to_client.drain()
        ends.to_client.transport.abort()  # the server went: so does the client's connection


async def _listen(ends: Ends, arrived: asyncio.Queue[tuple[float, bytes]]) -> None:
    """Put the data of the server into `arrived`, and b"" at its end."""
    now = asyncio.get_running_loop().time
    with suppress(OSError):
        while piece := await ends.server.read(PIECE):
            await arrived.put((now(), piece))
    await arrived.put((now(), b""))


_Proxy = TypeVar("_Proxy", bound=FaultProxy)


@asynccontextmanager
async def running(proxy: _Proxy) -> AsyncIterator[_Proxy]:
    """`proxy`, up for the length of the block."""
    await proxy.up()
    try:
        yield proxy
    finally:
        await proxy.down()


def fault_proxy(upstream_port: int, *, tls: ssl.SSLContext | None = None) -> AbstractAsyncContextManager[FaultProxy]:
    """A proxy that is up, for the length of the block; with `tls` it is what clients encrypt to."""
    return running(FaultProxy(upstream_port, tls))
