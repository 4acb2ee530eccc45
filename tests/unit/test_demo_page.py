"""The address of the demo's page: it leads to a replica that runs."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from peekaping_producer.demo.monitors import page as page_module
from peekaping_producer.demo.monitors.page import page_of
from tests.kit.processes import HOST, free_port


@asynccontextmanager
async def replica(port: int, name: bytes) -> AsyncIterator[None]:
    """A server that answers each line with its name; at the end it closes its connections."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while await reader.readline():
            writer.write(name + b"\n")

    server = await asyncio.start_server(answer, HOST, port)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def test_connections_go_to_the_first_replica_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "PORT", free_port())
    ports = [free_port(), free_port()]
    async with page_of(ports) as address, asyncio.timeout(20):
        own_port = int(address.rstrip("/").rpartition(":")[2])
        assert own_port == page_module.PORT

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(b"who?\n")
            return await reader.readline()

        reader, writer = await asyncio.open_connection(HOST, own_port)
        assert await reader.read() == b"", "none runs"
        writer.close()
        async with replica(ports[1], b"second"):
            async with replica(ports[0], b"first"):
                reader, first = await asyncio.open_connection(HOST, own_port)
                assert await ask(reader, first) == b"first\n"
            assert await reader.read() == b"", "it was killed"
            reader, second = await asyncio.open_connection(HOST, own_port)
            assert await ask(reader, second) == b"second\n"
            first.close()
            second.close()


async def test_a_port_in_use_is_replaced_by_a_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0)) as taken:
        monkeypatch.setattr(page_module, "PORT", taken.getsockname()[1])
        async with page_of([]) as address:
            assert address != f"http://{HOST}:{page_module.PORT}/"
