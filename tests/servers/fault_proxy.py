"""A TCP proxy before a server, with which a test cuts, holds and refuses what goes through."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from peekaping_producer.tasks import end
from tests.servers.processes import HOST


class FaultProxy:
    """Forwards bytes to `upstream_port` until told otherwise. `port` stays the same while it is down."""

    def __init__(self, upstream_port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.requests = 0
        """Pieces that clients sent, since the last fault was set."""
        self._upstream_port = upstream_port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._replies_pass = asyncio.Event()
        self._replies_pass.set()

    async def up(self) -> None:
        """Take connections, and let everything through."""
        self._replies_pass.set()
        self._server = await asyncio.start_server(self._serve, HOST, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """End every connection and refuse new ones, as a server does that stops."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """End every connection there is."""
        await end(*self._pipes)

    def hold_replies(self) -> None:
        """What clients ask goes through; what the server answers stays here, until release_replies() or for ever."""
        self.requests = 0
        self._replies_pass.clear()

    def release_replies(self) -> None:
        """Let through what was held, and whatever comes."""
        self._replies_pass.set()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        try:
            server, to_server = await asyncio.open_connection(HOST, self._upstream_port)
            try:
                replies = asyncio.create_task(self._answer(server, to_client))
                try:
                    await self._ask(client, to_server)
                finally:
                    await end(replies)
            finally:
                to_server.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # a client that sees its connection end is the point
        finally:
            to_client.transport.abort()
            self._pipes.discard(task)

    async def _ask(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        while piece := await client.read(65536):
            self.requests += 1
            to_server.write(piece)
            await to_server.drain()

    async def _answer(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await server.read(65536):
                await self._replies_pass.wait()
                to_client.write(piece)
                await to_client.drain()
        to_client.transport.abort()  # the server went: so does the client's connection


@asynccontextmanager
async def fault_proxy(upstream_port: int, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[FaultProxy]:
    """A proxy that is up, for the length of the block; with `tls` it is what clients encrypt to."""
    proxy = FaultProxy(upstream_port, tls)
    await proxy.up()
    try:
        yield proxy
    finally:
        await proxy.down()
