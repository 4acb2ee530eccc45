"""A RabbitMQ node of the bench, and the Go client that is its limit."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from bench.messages.commands import BenchFile
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.rabbitmq.connection import Session, open_session
from tests.kit import go
from tests.kit.rabbitmq import RabbitMqServer, running

_GO_MODULE = Path(__file__).parents[1] / "amqp"
_QUEUE = "bench"
WINDOW = 500
"""Messages of the Go client that are not confirmed yet; its best value."""
_PREFETCH = 1000


class BenchBroker:
    """A node with one durable classic queue."""

    def __init__(self, node: RabbitMqServer, session: Session, client: Path) -> None:
        self.node = node
        self.target: RabbitMqTarget = msgspec.structs.replace(node.target, queue=_QUEUE)
        self._session = session
        self._client = client

    @property
    def url(self) -> str:
        """For clients of other languages."""
        target = self.target
        login = f"{quote(target.user, safe='')}:{quote(target.password, safe='')}"
        return f"amqp://{login}@{target.host}:{target.port}/%2F"

    async def empty(self) -> None:
        """Declare the queue, and remove its messages."""
        await self._session.channel.queue_declare(_QUEUE, durable=True)
        await self._session.channel.queue_purge(_QUEUE)

    async def ready(self) -> int:
        """The number of messages that wait in the queue."""
        declared = await self._session.channel.queue_declare(_QUEUE, passive=True)
        return int(declared.message_count or 0)

    async def go_publish_rate(self, count: int, size: int) -> float:
        """Messages per second of the Go client, confirmed; the queue is empty before and afterwards."""
        rate = await self.fill(count, size)
        await self.empty()
        return rate

    async def fill(self, count: int, size: int) -> float:
        """Let the queue contain so many numbered messages only; return how many the Go client published per second."""
        await self.empty()
        published = await self._go("publish", count, size, WINDOW)
        assert await self.ready() == count, f"{await self.ready():,} of {count:,} messages are in the queue"
        return float(published["per_s"])

    async def go_consume(self, count: int) -> tuple[float, str]:
        """Receive `count` messages with the Go client: messages per second, SHA-256 of the bodies as lines."""
        consumed = await self._go("consume", count, _PREFETCH)
        return float(consumed["per_s"]), str(consumed["sha256"])

    async def restarted(self) -> None:
        """Start the node again after a kill."""
        await self._session.close()
        await self.node.started()
        self._session = await open_session(self.target, None, "bench")

    async def close(self) -> None:
        """Disconnect."""
        await self._session.close()

    async def holds(self, file: BenchFile) -> None:
        """Take all messages. AssertionError unless they are the lines of the file, in order, each once."""
        assert await self.ready() == file.lines, f"{await self.ready():,} of {file.lines:,} messages are in the queue"
        _, sha256 = await self.go_consume(file.lines)
        assert sha256 == file.sha256, "the messages are not the lines of the file in their order"

    async def _go(self, command: str, *numbers: int) -> Any:
        process = await asyncio.create_subprocess_exec(
            *(self._client, self.url, command, _QUEUE, *map(str, numbers)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, complaint = await process.communicate()
        assert process.returncode == 0, f"the Go client: {complaint.decode()}"
        return json.loads(output)


@asynccontextmanager
async def broker() -> AsyncIterator[BenchBroker]:
    """A node of its own, with an empty queue."""
    with running() as node, tempfile.TemporaryDirectory() as directory:
        client = Path(directory) / "amqp"
        await asyncio.to_thread(go.compile_to, client, ".", _GO_MODULE)
        made = BenchBroker(node, await open_session(node.target, None, "bench"), client)
        try:
            await made.empty()
            yield made
        finally:
            await made.close()
