"""Server processes that end with the tests, and that never run as root."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HOST = "127.0.0.1"
_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


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
    """End a server, by force where it does not obey."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 20) -> None:
    """Wait until `ready`; where the server ends instead, say what it logged."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process)
            raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)


def listens(port: int) -> bool:
    """Whether somebody takes connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
