"""The service as a process, for tests of the whole."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DEADLINE_S = 60.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Service:
    """`python src/main.py` in a process group of its own, and what it logs."""

    def __init__(self, log: Path, **variables: str) -> None:
        self.port = free_port()
        self._log = log
        env = {name: text for name, text in os.environ.items() if name != "DEBUG" and not name.startswith("WAITRESS_")}
        env |= {"DEBUG": "0", "WAITRESS_HOST": "127.0.0.1", "WAITRESS_PORT": str(self.port), **variables}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "src/main.py"], cwd=ROOT, env=env, stderr=output, start_new_session=True
            )

    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> Any:
        """Return the JSON of the response. Raises HTTPError for an error status."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=DEADLINE_S) as response:
            return json.load(response)

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self._process.poll() is None, self.log()
            return " serves http://" in self.log()

        wait_until(is_ready, "the service answers requests")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        return self._process.wait(DEADLINE_S)

    def is_running(self) -> bool:
        """Whether any of its processes is left."""
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        if self.is_running():
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(tmp_path / "log")
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.kill()
