"""Server processes that end with the tests, and that never run as root."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from pathlib import Path
from typing import ClassVar, TypeVar

from peekaping_producer.demo.embedded import HOST
from peekaping_producer.targets import DatabaseTarget

__all__ = ["HOST"]
_PR_SET_PDEATHSIG = 1
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
_REFUSED_BY_BROWSERS = 10_080
_SAMPLED = random.sample(range(10_000 + 1000 * _WORKER, 11_000 + 1000 * _WORKER), 1000)
_PORTS = cycle(port for port in _SAMPLED if port != _REFUSED_BY_BROWSERS)
"""Of this process of pytest-xdist; below those of `embedded.free_port`, and so below those for outgoing connections."""


def free_port() -> int:
    """Return a TCP port on loopback that is free, and that no other process of this run of pytest chooses.

    A server binds its port seconds after it was chosen, and a stopped one leaves it until it starts again. So no port
    is returned a second time before all others.
    """
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


@contextlib.contextmanager
def directory(prefix: str) -> Iterator[Path]:
    """A folder that the servers' user owns: pytest's own are closed to it when the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        if os.geteuid() == 0:
            shutil.chown(path, "nobody")
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def unprivileged(*command: object) -> list[str]:
    """`command`, as nobody when we are root: database servers refuse to run as root."""
    words = [str(word) for word in command]
    if os.geteuid() != 0:
        return words
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig=QUIT", "--", *words]


def start(log: Path, *command: object) -> subprocess.Popen[bytes]:
    """Start a server that ends when the test process does, however that ends."""
    with log.open("ab") as output:
        return subprocess.Popen(
            unprivileged(*command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            preexec_fn=None if os.geteuid() == 0 else _end_with_parent,
        )


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGQUIT) -> None:
    """End a server, with SIGKILL after 10 s."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    """Wait until `ready`. Raises RuntimeError with the end of the log if the server exits or needs more time."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process)
            raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)


def listens(port: int) -> bool:
    """Whether a process accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def gone(pid: int) -> bool:
    """Whether a process has ended. A zombie has: PID 1 of a container may not reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return Path("/proc/self").exists() or not _accepts_signals(pid)


def _accepts_signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class DatabaseServer(ABC):
    """A database server in `folder`, stopped until start(); a restart keeps its port, and its data if it has files."""

    ends_by: ClassVar = signal.SIGKILL
    """The signal of an immediate end, without a goodbye to its clients."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._initialize()

    @property
    @abstractmethod
    def target(self) -> DatabaseTarget:
        """A database of this server, for a user with all rights."""

    @abstractmethod
    def _initialize(self) -> None:
        """Make what the server needs before its first start."""

    @abstractmethod
    def _command(self, *options: str) -> Iterable[object]:
        """The command line of the server."""

    def _ready(self) -> bool:
        return listens(self.port)

    def start(self, *options: str) -> None:
        """Start, and return when it accepts connections. `options` are the server's own."""
        self._process = start(self._log, *self._command(*options))
        wait_until(self._ready, self._process, self._log)

    def stop(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            stop(self._process, self.ends_by)
            self._process = None


_Server = TypeVar("_Server", bound=DatabaseServer)


@contextlib.contextmanager
def running(kind: type[_Server], *options: str) -> Iterator[_Server]:
    """A server of this kind, for the length of the block."""
    with directory("peekaping-server-") as folder:
        server = kind(folder)
        server.start(*options)
        try:
            yield server
        finally:
            server.stop()


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
