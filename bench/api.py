"""Requests per second of `serve` on RabbitMQ, and its CPU per request: `python -m bench.api`.

64 connections send one request after another, for 5 s; then the queue must have all messages that were answered with
200.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

from tests.kit import rabbitmq
from tests.kit.pipelines import Command, OnRabbitMq
from tests.kit.processes import HOST, free_port, listens
from tests.kit.waiting import until

CONNECTIONS = 64
SECONDS = 5.0
BATCH = 100
RUNS = 3
PAYLOAD = b"x" * 60


class Client:
    """One connection that stays open. A client library would need more CPU than the server."""

    def __init__(self, name: str, port: int, batch: int) -> None:
        self.requests = 0
        self.produced = 0
        self._name = name
        self._port = port
        self._batch = batch

    def _body(self) -> bytes:
        ids = [f"{self._name}:{self.requests}:{n}".encode() for n in range(self._batch or 1)]
        messages = b",".join([b'{"id":"%s","payload":"%s"}' % (name, PAYLOAD) for name in ids])
        return b'{"messages":[%s]}' % messages if self._batch else messages

    async def run(self, until_s: float) -> None:
        """Send requests until the monotonic clock is at `until_s`."""
        reader, writer = await asyncio.open_connection(HOST, self._port)
        path = b"/batch-produce" if self._batch else b"/produce"
        while time.monotonic() < until_s:
            body = self._body()
            head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % (path, len(body)) + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
            await reader.readexactly(int(length))
            self.requests += 1
            self.produced += (self._batch or 1) * answer.startswith(b"HTTP/1.1 200 ")
        writer.close()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(run: int, server: Command, port: int, batch: int) -> int:
    clients = [Client(f"{run}:{batch}:{n}", port, batch) for n in range(CONNECTIONS)]
    began_at, cpu = time.monotonic(), cpu_s(server.process.pid)
    await asyncio.gather(*(client.run(began_at + SECONDS) for client in clients))
    seconds, cpu = time.monotonic() - began_at, cpu_s(server.process.pid) - cpu
    requests, produced = sum(client.requests for client in clients), sum(client.produced for client in clients)
    print(
        f"{f'/batch-produce of {batch}' if batch else '/produce':22}  {requests / seconds:8,.0f} requests/s"
        f"  {produced / seconds:8,.0f} messages/s  {1e6 * cpu / requests:7,.0f} µs CPU a request"
        f"  {requests - produced // (batch or 1)} refused",
        flush=True,
    )
    return produced


async def main() -> None:
    with rabbitmq.running() as node, tempfile.TemporaryDirectory() as folder:
        vhost, port = node.create_vhost(), free_port()
        server = Command(Path(folder), {**OnRabbitMq(node, vhost).env, "PORT": str(port)}, "serve")
        await until(lambda: listens(port))
        produced = sum([await measure(run, server, port, batch) for run in range(RUNS) for batch in (0, BATCH)])
        assert server.terminate() == 0
        queued = int(node.control("list_queues", "--no-table-headers", "-p", vhost.vhost, "messages").split()[-1])
        print(f"{produced:,} messages were answered with 200, {queued:,} are in the queue")
        assert produced == queued


if __name__ == "__main__":
    asyncio.run(main())
