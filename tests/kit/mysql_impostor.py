"""An impostor of a MySQL server, which speaks the first packets of the protocol and records what it receives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pymysql.constants import CLIENT

from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.targets import DatabaseTarget
from tests.kit import processes

SALT = b"0123456789abcdefghij"
OK = b"\x00\x00\x00\x02\x00\x00\x00"
_CAPABILITIES = CLIENT.PROTOCOL_41 | CLIENT.SECURE_CONNECTION | CLIENT.PLUGIN_AUTH | CLIENT.CONNECT_WITH_DB


class Peer:
    """The client, packet by packet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._sequence = 0
        self.said = b""
        """All that the client sent."""

    def send(self, payload: bytes) -> None:
        """One packet."""
        self._writer.write(len(payload).to_bytes(3, "little") + bytes([self._sequence]) + payload)
        self._sequence += 1

    def greet(self, plugin: str) -> None:
        """As a server of version 8 without TLS would, whose users authenticate by `plugin`."""
        self.send(
            b"\x0a8.0.99\x00\x01\x00\x00\x00"
            + SALT[:8]
            + b"\x00"
            + (_CAPABILITIES & 0xFFFF).to_bytes(2, "little")
            + b"\xff\x02\x00"
            + (_CAPABILITIES >> 16).to_bytes(2, "little")
            + b"\x15"
            + bytes(10)
            + SALT[8:]
            + b"\x00"
            + plugin.encode()
            + b"\x00"
        )

    async def receive(self) -> bytes:
        """One packet; nothing where the client has left."""
        header = await self._reader.read(4)
        if len(header) < 4:
            return b""
        self._sequence = header[3] + 1
        payload = await self._reader.readexactly(int.from_bytes(header[:3], "little"))
        self.said += payload
        return payload


@asynccontextmanager
async def impostor(play: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[tuple[DatabaseTarget, list[Peer]]]:
    """A server that runs `play` for each client, and the clients so far."""
    peers: list[Peer] = []
    meetings: set[asyncio.Task[None] | None] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meetings.add(asyncio.current_task())
        peers.append(Peer(reader, writer))
        try:
            await play(peers[-1])
            while await peers[-1].receive():
                pass
        finally:
            writer.close()

    server = await asyncio.start_server(meet, processes.HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield (
            DatabaseTarget(dialect="mysql", host=processes.HOST, port=port, name="x", user="u", password="s3crét日"),
            peers,
        )
    await cancel_and_wait(*(meeting for meeting in meetings if meeting))
