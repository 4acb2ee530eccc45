"""Registers this process as a server of asynq, so that its tools show it and what it runs."""

import os
import socket
import time
import uuid
from collections.abc import Iterable

from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.asynq.delivery import AsynqDelivery, Held
from peekaping_producer.transports.asynq.keys import SERVERS, WORKERS, QueueKeys
from peekaping_producer.transports.asynq.periodic import Periodic
from peekaping_producer.transports.asynq.priorities import Priorities
from peekaping_producer.transports.asynq.protobuf import bytes_field, int_field, text_field
from peekaping_producer.transports.asynq.scripts import Scripts

_TTL_S = 10
_MAX_PAYLOAD = 4 * 1024
"""Bytes; larger payloads are left out, since all are written again every 5 s."""


class Registration(Periodic):
    """ServerInfo and WorkerInfo (internal/proto/asynq.proto), which expire 10 s after the last call."""

    name = "asynq.registration"
    every_s = 5.0

    def __init__(
        self,
        scripts: Scripts,
        queues: Iterable[QueueKeys],
        dependencies: Dependencies,
        *,
        held: Held,
        priorities: Priorities,
    ) -> None:
        super().__init__(scripts, queues, dependencies)
        self.concurrency = 0
        """The number of handlers, as far as it is known."""
        self._held = held
        self._priorities = priorities
        self._host = socket.gethostname()
        self._id = str(uuid.uuid4())
        self._started_at = time.time()
        name = f"{{{self._host}:{os.getpid()}:{self._id}}}"
        self._keys = (SERVERS, WORKERS, f"{SERVERS}:{name}", f"{WORKERS}:{name}")

    async def run_once(self) -> None:
        """Write both, with all tasks that run."""
        running = list(self._held)
        args: list[str | bytes | int] = [_TTL_S, self._server_info(len(running))]
        for delivery in running:
            args += (delivery.message.id, self._worker_info(delivery))
        await self._scripts.run("register", self._keys, args)

    async def clear(self) -> None:
        """Remove both: this process stops. Raises BrokerError."""
        await self._scripts.run("register", self._keys, (0, ""))

    def _server_info(self, running: int) -> bytes:
        priorities = self._priorities
        queues = (text_field(1, name) + int_field(2, weight) for name, weight in priorities.queues.items())
        return b"".join(
            (
                self._process(),
                int_field(4, self.concurrency),
                *(bytes_field(5, entry) for entry in queues),
                int_field(6, priorities.strict),
                text_field(7, "active"),
                _timestamp(8, self._started_at),
                int_field(9, running),
            )
        )

    def _worker_info(self, delivery: AsynqDelivery) -> bytes:
        task = delivery.task
        payload = task.payload if len(task.payload) <= _MAX_PAYLOAD else b""
        return b"".join(
            (
                self._process(),
                text_field(4, task.id),
                text_field(5, task.type),
                bytes_field(6, payload),
                text_field(7, task.queue),
                _timestamp(8, delivery.started_at),
                _timestamp(9, delivery.started_at + (delivery.timeout_s or 0)),
            )
        )

    def _process(self) -> bytes:
        """The first three fields of both: host, process id, server id."""
        return text_field(1, self._host) + int_field(2, os.getpid()) + text_field(3, self._id)


def _timestamp(number: int, at_s: float) -> bytes:
    """A google.protobuf.Timestamp."""
    seconds = int(at_s)
    return bytes_field(number, int_field(1, seconds) + int_field(2, int((at_s - seconds) * 1e9)))
