"""`serve` as a process, on asynq: repeated ids, metrics and probes, and its health without requests."""

import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from peekaping_producer.demo.messages.clients import ApiClients
from tests.kit import http
from tests.kit.commands import command
from tests.kit.pipelines import Command, asynq_broker
from tests.kit.processes import HOST, free_port, listens
from tests.kit.waiting import until


async def test_repeated_ids_are_counted_and_health_follows_the_broker(tmp_path: Path) -> None:
    port = free_port()
    async with asynq_broker(tmp_path) as broker:
        server = Command(tmp_path, {**broker.env, "PORT": str(port), "METRICS_ADDR": f"{HOST}:0"}, "serve")
        try:
            await until(lambda: listens(port))
            async with aiohttp.ClientSession(f"http://{HOST}:{port}") as session:
                clients = ApiClients(port)
                for ids in (["a"], ["a"], ["a", "b", "c"]):
                    assert await clients.succeeds(session, ids)
            pages = [await http.get(f"{HOST}:{port}", "/metrics"), await server.get("/metrics")]
            for status, text in pages:
                assert status == 200
                assert re.findall(r"^messages_(\w+) (.*)$", text, re.MULTILINE) == [
                    ("produced_total", "5.0"),
                    ("repeated_total", "2.0"),
                ]
            await broker.stop()
            await until(_answers(port, 503), "the API is unhealthy")
            assert (await server.get("/readyz"))[0] == 503
            await broker.start()
            await until(_answers(port, 200), "the API is healthy")
            assert server.terminate() == 0
        finally:
            server.kill()


async def test_a_taken_port_ends_the_command_with_one_line(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        ended = await command(tmp_path, "serve", PORT=str(port), METRICS_ADDR="off")
    assert ended.code == 2
    refusal = f"PORT: expected a free host:port, got {HOST}:{port}, which is in use; set another PORT"
    assert ended.err.splitlines()[-1].endswith(refusal)


def _answers(port: int, status: int) -> Callable[[], Awaitable[bool]]:
    async def answers() -> bool:
        return (await http.get(f"{HOST}:{port}", "/health"))[0] == status

    return answers
