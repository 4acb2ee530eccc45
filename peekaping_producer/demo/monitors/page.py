"""One address for the page of the demo: connections go to a replica that runs, also after the other one was killed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from peekaping_producer.demo.embedded import HOST
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.web.listening import listen

PORT = 9465
"""Of UI_ADDR, by default; if it is in use, the system chooses a free one."""
_CHUNK_BYTES = 64 * 1024


@asynccontextmanager
async def page_of(ports: Sequence[int]) -> AsyncIterator[str]:
    """Forward connections to the first of `ports` that accepts one; the value is the address of the page."""
    forwarder = _Forwarder(ports)
    try:
        bound = listen(HOST, PORT)
    except OSError:
        bound = listen(HOST, 0)
    server = await asyncio.start_server(forwarder.accept, sock=bound)
    try:
        yield f"http://{HOST}:{bound.getsockname()[1]}/"
    finally:
        server.close()
        await forwarder.close()


class _Forwarder:
    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._connections: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        await cancel_and_wait(*self._connections)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy in both directions until one side ends."""
        try:
            if replica := await self._replica():
                its_reader, its_writer = replica
                copies = {
                    asyncio.create_task(_copy(reader, its_writer)),
                    asyncio.create_task(_copy(its_reader, writer)),
                }
                try:
                    await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    await cancel_and_wait(*copies)
                    its_writer.close()
        finally:
            writer.close()

    async def _replica(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for port in self._ports:
            with suppress(OSError):
                return await asyncio.open_connection(HOST, port)
        return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
