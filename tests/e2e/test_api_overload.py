"""`serve` while RabbitMQ blocks publishers: what exceeds its buffer is refused, and its memory is bounded."""

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp

from peekaping_producer.targets import RabbitMqTarget
from tests.kit.pipelines import Command, OnRabbitMq
from tests.kit.processes import HOST, free_port, listens
from tests.kit.rabbitmq import RabbitMqServer
from tests.kit.waiting import until

CONNECTIONS = 100
BATCHES = 5
"""Of each connection while publishers are blocked: five times what the buffer holds, in messages."""
PAYLOAD = "x" * 1000
MAX_GROWTH_BYTES = 64 * 2**20
"""The buffer may have 16 MiB, and the messages exist a second time on their way to RabbitMQ."""


async def test_a_blocked_broker_leads_to_refusals_and_no_queue_without_end(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget, tmp_path: Path
) -> None:
    port = free_port()
    settings = {**OnRabbitMq(rabbitmq_node, vhost_of_node).env, "PORT": str(port), "API_TIMEOUT": "1"}
    server = Command(tmp_path, settings, "serve")
    load = Load(port)
    try:
        await until(lambda: listens(port))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as load.session:
            await until(lambda: load.succeeds("before"), "RabbitMQ confirms within API_TIMEOUT")
            refused_before = load.statuses[503]
            memory_before = memory_bytes(server, "VmRSS")
            with rabbitmq_node.memory_alarm():
                await asyncio.gather(*(load.client(f"{number}") for number in range(CONNECTIONS)))
            assert load.statuses[503] - refused_before > CONNECTIONS
            assert memory_bytes(server, "VmHWM") - memory_before < MAX_GROWTH_BYTES
            await until(lambda: load.succeeds("after"), "requests are accepted again")
        assert server.terminate() == 0
    finally:
        server.kill()
    queued = Counter(found["properties"]["message_id"] for found in rabbitmq_node.take(vhost_of_node, "logs"))
    assert load.accepted <= queued.keys()
    assert queued.keys() <= load.sent


class Load:
    """Requests with batches of 100 messages."""

    session: aiohttp.ClientSession

    def __init__(self, port: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.sent: set[str] = set()
        self.accepted: set[str] = set()
        self._url = f"http://{HOST}:{port}/batch-produce"

    async def client(self, name: str) -> None:
        for number in range(BATCHES):
            await self.send(f"{name}:{number}")

    async def send(self, name: str) -> int:
        messages = [{"id": f"{name}:{n}", "payload": PAYLOAD} for n in range(100)]
        ids = {str(message["id"]) for message in messages}
        self.sent |= ids
        async with self.session.post(self._url, json={"messages": messages}) as answer:
            assert answer.status in {200, 503}, await answer.text()
            if answer.status == 200:
                self.accepted |= ids
            else:
                assert int(answer.headers["Retry-After"]) > 0
            self.statuses[answer.status] += 1
            return answer.status

    async def succeeds(self, name: str) -> bool:
        return await self.send(name) == 200


def memory_bytes(server: Command, name: str) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
