"""`relay` and `consume` as processes, and the brokers between them, each of which can be killed and started again."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from peekaping_producer.demo.embedded import HOST, RedisServer
from peekaping_producer.targets import RabbitMqTarget
from tests.kit import http
from tests.kit.commands import MINIMAL
from tests.kit.log_lines import log_lines
from tests.kit.processes import free_port
from tests.kit.rabbitmq import RabbitMqServer
from tests.kit.waiting import until

COMMAND = (sys.executable, "-m", "peekaping_producer")
COMMON = {**MINIMAL, "METRICS_ADDR": "off", "LOG_LEVEL": "info", "MODE": "prod"}


class Command:
    """One command that runs until it is stopped; after a kill it is started again as it was."""

    def __init__(self, folder: Path, env: dict[str, str], *arguments: str | Path) -> None:
        self.log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        self._start = (folder, env, [*COMMAND, *map(str, arguments)])
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        folder, env, argv = self._start
        with self.log.open("ab") as log:
            return subprocess.Popen(
                argv, cwd=folder, env={**COMMON, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill_and_restart(self) -> None:
        """SIGKILL, and the same command in a new process."""
        before = self.process.pid
        self.require_running()
        self.process.kill()
        self.process.wait()
        self.process = self._started()
        assert self.process.pid != before

    def require_running(self) -> None:
        """Fail, with its log, if it has ended by itself."""
        assert self.process.poll() is None, self.log.read_text()

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page at METRICS_ADDR=127.0.0.1:0, whose port is in the log."""
        await until(lambda: "health.listening" in self.events(), "it serves its pages")
        port = next(line["port"] for line in reversed(log_lines(self.log)) if line["event"] == "health.listening")
        return await http.get(f"{HOST}:{port}", path)

    def events(self) -> list[str]:
        """The events of its log so far."""
        return [line["event"] for line in log_lines(self.log)]

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.require_running()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """End it for good."""
        self.process.kill()
        self.process.wait()


class BrokerOfTest(ABC):
    """A broker that keeps its messages when it is killed."""

    env: dict[str, str]
    """The settings of the commands."""
    has_queue = True

    @abstractmethod
    async def restart(self) -> None:
        """Kill it, and start it again."""


class OnRabbitMq(BrokerOfTest):
    """A virtual host of the node of the session."""

    def __init__(self, node: RabbitMqServer, vhost: RabbitMqTarget, queue: str = "logs") -> None:
        self._node = node
        user, password, name = (quote(text, safe="") for text in (vhost.user, vhost.password, vhost.vhost))
        url = f"amqp://{user}:{password}@{vhost.host}:{vhost.port}/{name}"
        self.env = {"BROKER": "rabbitmq", "RABBITMQ_URL": url, "RABBITMQ_QUEUE": queue}

    async def restart(self) -> None:
        await self._node.restart()


class OnAsynq(BrokerOfTest):
    """A Redis of its own that writes each command to disk."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.env = {"BROKER": "asynq", "REDIS_HOST": HOST, "REDIS_PORT": str(server.port), "ASYNQ_QUEUE": "logs"}

    async def stop(self) -> None:
        os.kill(self._server.pid, signal.SIGKILL)
        await self._server.stop()

    async def start(self) -> None:
        await self._server.start()

    async def restart(self) -> None:
        before = self._server.pid
        await self.stop()
        await self.start()
        assert self._server.pid != before


class OnHttp(BrokerOfTest):
    """An endpoint that appends each message to a file, unless it has seen its Idempotency-Key."""

    has_queue = False

    def __init__(self, output: Path) -> None:
        self._output = output
        self._seen: set[str] = set()
        self._port = free_port()
        self._runner: web.AppRunner | None = None
        self.env = {"BROKER": "http", "HTTP_URL": f"http://{HOST}:{self._port}/lines", "HTTP_RETRY_DELAY": "0.05"}

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/lines", self._accept)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port, reuse_address=True).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def restart(self) -> None:
        await self.stop()
        await asyncio.sleep(0.2)  # long enough for a request that is refused
        await self.start()

    async def _accept(self, request: web.Request) -> web.Response:
        body, key = await request.read(), request.headers["Idempotency-Key"]
        if key not in self._seen:
            self._seen.add(key)
            with self._output.open("ab") as output:
                output.write(body + b"\n")
        return web.Response(status=201)


@asynccontextmanager
async def asynq_broker(folder: Path) -> AsyncIterator[OnAsynq]:
    """A Redis that loses nothing when it is killed."""
    server = RedisServer(folder, port=free_port(), args=("--appendonly", "yes", "--appendfsync", "always"))
    await server.start()
    try:
        yield OnAsynq(server)
    finally:
        await server.stop()


@asynccontextmanager
async def http_endpoint(output: Path) -> AsyncIterator[OnHttp]:
    """An endpoint that writes to `output`."""
    endpoint = OnHttp(output)
    await endpoint.start()
    try:
        yield endpoint
    finally:
        await endpoint.stop()
