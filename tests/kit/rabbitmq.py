"""A real RabbitMQ with its HTTP API: one node for the whole session, and a virtual host of its own for each test."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec
import pytest

from peekaping_producer.targets import RabbitMqTarget
from tests.kit import processes
from tests.kit.given import NotEmptyError
from tests.kit.requirements import need
from tests.kit.waiting import until

USER = "tester"
PASSWORD = "s3cret@:/?%+"
"""Contains what breaks a concatenated address."""
_DEBIAN = Path("/usr/lib/rabbitmq/bin")
"""The scripts themselves: those in /usr/sbin are wrappers that become the user rabbitmq."""
_VHOSTS = "peekaping tests/"
"""The beginning of the names of virtual hosts of tests."""
_START_S = 150
_API_S = 30
_CONFIG = """\
listeners.tcp.1 = {host}:{port}
management.tcp.ip = {host}
management.tcp.port = {api_port}
default_user = {user}
default_pass = {password}
disk_free_limit.absolute = 1MB
log.console.level = warning
"""
_WITHOUT_STATISTICS = """\
management.disable_stats = true
management_agent.disable_metrics_collector = true
"""
_STATISTICS = "collect_statistics_interval = 1000\n"


class RabbitMqApi:
    """The HTTP API of a broker, with the rights of an administrator. Calls block for some 50 ms."""

    def __init__(self, target: RabbitMqTarget, url: str) -> None:
        self.target = target
        """The default virtual host."""
        self.url = url

    def create_vhost(self) -> RabbitMqTarget:
        """Create an empty virtual host; its target has all rights."""
        name = f"{_VHOSTS}{secrets.token_hex(4)}"
        self.call("PUT", f"vhosts/{quote(name, safe='')}")
        self.permit(self.target.user, name)
        return msgspec.structs.replace(self.target, vhost=name)

    def delete_vhost(self, target: RabbitMqTarget) -> None:
        """Delete a virtual host, with its queues and connections."""
        self.call("DELETE", f"vhosts/{quote(target.vhost, safe='')}")

    def create_user(self, name: str, password: str) -> None:
        """Create a user without rights in any virtual host."""
        self.call("PUT", f"users/{name}", {"password": password, "tags": ""})

    def delete_user(self, name: str) -> None:
        """Delete a user."""
        self.call("DELETE", f"users/{name}")

    def permit(self, user: str, vhost: str, *, configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
        """Set the rights of a user in a virtual host: regular expressions of names."""
        rights = {"configure": configure, "write": write, "read": read}
        self.call("PUT", f"permissions/{quote(vhost, safe='')}/{user}", rights)

    def take(self, target: RabbitMqTarget, queue: str = "", limit: int = 100_000) -> list[dict[str, Any]]:
        """Remove the messages of a queue (by default the target's): `payload`, `properties` and more of each."""
        request = {"count": limit, "ackmode": "ack_requeue_false", "encoding": "auto"}
        path = f"queues/{quote(target.vhost, safe='')}/{quote(queue or target.queue, safe='')}/get"
        return list(self.call("POST", path, request))

    def delete_queue(self, target: RabbitMqTarget, queue: str = "") -> None:
        """Delete a queue, by default the target's."""
        self.call("DELETE", f"queues/{quote(target.vhost, safe='')}/{quote(queue or target.queue, safe='')}")

    def queues(self, target: RabbitMqTarget) -> dict[str, dict[str, Any]]:
        """The queues of a virtual host by name, with their `type`, `durable` and `arguments`."""
        return {each["name"]: each for each in self.call("GET", f"queues/{quote(target.vhost, safe='')}")}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send one request to /api/`path`; returns the decoded reply. Raises urllib.error.HTTPError."""
        login = b64encode(f"{self.target.user}:{self.target.password}".encode()).decode()
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_API_S) as reply:
            text = reply.read()
        return json.loads(text) if text else None


class RabbitMqServer(RabbitMqApi):
    """A node in `folder`, stopped until start(); a restart keeps its ports and its data."""

    def __init__(self, folder: Path, *, statistics: bool = False) -> None:
        """`statistics`: whether the HTTP API reports counts and rates of queues, updated every second."""
        self._folder = folder
        self._statistics = statistics
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._scripts = _scripts()
        port, self._api_port, self._dist_port, self._epmd_port = (processes.free_port() for _ in range(4))
        target = RabbitMqTarget(host=processes.HOST, port=port, user=USER, password=PASSWORD)
        super().__init__(target, f"http://{processes.HOST}:{self._api_port}")
        for name, text in (("plugins", "[rabbitmq_management]."), ("rabbitmq.conf", self._config())):
            path = folder / name
            path.write_text(text)
            path.chmod(0o644)

    @property
    def pid(self) -> int:
        """Of the Erlang VM itself: the scripts before it are replaced by exec."""
        assert self._process is not None, "not running"
        return self._process.pid

    def start(self) -> None:
        """Start, and return when it accepts connections. The caller's thread must last as long as the node."""
        self._launch()
        assert self._process is not None
        processes.wait_until(self._ready, self._process, self._log, _START_S)

    def _launch(self) -> None:
        if self._epmd is None:  # its own: the one that a node starts would outlive it
            command = ("epmd", "-port", self._epmd_port, "-address", processes.HOST)
            self._epmd = processes.start(self._folder / "epmd.log", *command)
            processes.wait_until(lambda: processes.listens(self._epmd_port), self._epmd, self._folder / "epmd.log")
        self._process = processes.start(self._log, *self._environment(), self._scripts / "rabbitmq-server")

    async def flush(self) -> None:
        """Let the node write its queues' definitions to disk: without this, SIGKILL loses those of the last seconds."""
        await asyncio.to_thread(self.control, "eval", "mnesia:sync_log().")

    def kill(self) -> None:
        """End the node by SIGKILL. See flush()."""
        assert self._process is not None, "not running"
        assert self._process.poll() is None, "ended by itself"
        processes.stop(self._process, signal.SIGKILL)
        assert not processes.listens(self.target.port), "another process serves the port"
        self._process = None

    async def restart(self) -> None:
        """Kill the node, and start it again; the event loop runs meanwhile."""
        await self.flush()
        before = self.pid
        self.kill()
        await self.started()
        assert self.pid != before

    async def started(self) -> None:
        """As start(); the event loop runs meanwhile. In the main thread only."""
        self._launch()
        await until(self._ready, "RabbitMQ accepts connections", within_s=_START_S)

    def stop(self) -> None:
        """End all."""
        for process in (self._process, self._epmd):
            if process is not None:
                processes.stop(process, signal.SIGKILL)
        self._process = self._epmd = None

    @contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Let the node block all connections that publish, for the length of the block."""
        self.control("set_vm_memory_high_watermark", "0.00001")
        try:
            yield
        finally:
            self.control("set_vm_memory_high_watermark", "0.4")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the node by SIGSTOP, for the length of the block: its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def control(self, *command: str) -> str:
        """Run rabbitmqctl; returns its output. Takes about 1 s."""
        argv = processes.unprivileged(*self._environment(), self._scripts / "rabbitmqctl", "-q", *command)
        done = subprocess.run(argv, cwd=self._folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _ready(self) -> bool:
        return processes.listens(self.target.port) and processes.listens(self._api_port)

    def _config(self) -> str:
        target = self.target
        config = _CONFIG.format(
            host=target.host, port=target.port, api_port=self._api_port, user=USER, password=PASSWORD
        )
        return config + (_STATISTICS if self._statistics else _WITHOUT_STATISTICS)

    def _environment(self) -> list[str]:
        folder = self._folder
        variables = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": self._epmd_port,
            "ERL_EPMD_ADDRESS": processes.HOST,
            "RABBITMQ_NODENAME": "peekaping@localhost",
            "RABBITMQ_DIST_PORT": self._dist_port,
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": folder / "rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "plugins",
            "RABBITMQ_MNESIA_BASE": folder / "mnesia",
            "RABBITMQ_LOG_BASE": folder / "log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": folder / "pid",
            "RUNNING_UNDER_SYSTEMD": "1",  # the script becomes the Erlang VM instead of its parent
        }
        return ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]


def _scripts() -> Path:
    """The folder of rabbitmq-server and rabbitmqctl."""
    path = os.pathsep.join((os.environ["PATH"], "/usr/local/sbin", "/usr/sbin"))
    found = shutil.which("rabbitmq-server", path=path) and shutil.which("epmd")
    need(found, "RabbitMQ: run `make ci-servers` (Debian: rabbitmq-server), or set TEST_RABBITMQ_URL")
    if (_DEBIAN / "rabbitmq-server").exists():
        return _DEBIAN
    return Path(str(shutil.which("rabbitmq-server", path=path))).parent


@contextmanager
def running(*, statistics: bool = False) -> Iterator[RabbitMqServer]:
    """A node, for the length of the block; see RabbitMqServer."""
    with processes.directory("peekaping-rabbitmq-") as folder:
        server = RabbitMqServer(folder, statistics=statistics)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def rabbitmq_node() -> Iterator[RabbitMqServer]:
    """The node of the session, which a test may kill and start again; at the end of the test it must run."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_api(request: pytest.FixtureRequest) -> RabbitMqApi:
    """TEST_RABBITMQ_URL (amqp://, an administrator's; its HTTP API at TEST_RABBITMQ_API_URL, by default on port 15672
    of the same host), else the node of the session.
    """
    if url := os.environ.get("TEST_RABBITMQ_URL"):
        return _given(url)
    node: RabbitMqServer = request.getfixturevalue("rabbitmq_node")
    return node


@pytest.fixture
def rabbitmq(rabbitmq_api: RabbitMqApi) -> Iterator[RabbitMqTarget]:
    """An empty virtual host, deleted at the end of the test."""
    target = rabbitmq_api.create_vhost()
    yield target
    rabbitmq_api.delete_vhost(target)


@pytest.fixture
def vhost_of_node(rabbitmq_node: RabbitMqServer) -> Iterator[RabbitMqTarget]:
    """The same on `rabbitmq_node`, for tests that kill, stop or block the node."""
    target = rabbitmq_node.create_vhost()
    yield target
    rabbitmq_node.delete_vhost(target)


def _given(url: str) -> RabbitMqApi:
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    target = RabbitMqTarget(
        host=host,
        port=parts.port or 5672,
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
    )
    api = RabbitMqApi(target, os.environ.get("TEST_RABBITMQ_API_URL") or f"http://{host}:15672")
    left = [vhost["name"] for vhost in api.call("GET", "vhosts") if vhost["name"].startswith(_VHOSTS)]
    if left:
        raise NotEmptyError(f"TEST_RABBITMQ_URL: expected no virtual hosts of tests, got {left}. Delete them.")
    return api
