"""One producer replica as a real process: `peekaping-producer run`, with its log in a file."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from peekaping_producer.demo.embedded import HOST, free_port
from peekaping_producer.errors import ProducerError
from peekaping_producer.service import child_processes

RUN = (sys.executable, "-m", "peekaping_producer", "run")
_STOP_WITHIN_S = 8.0
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONWARNINGS", "LD_LIBRARY_PATH")
"""Nothing else: settings of a deployment in this shell must not reach the demo."""


class ReplicaDiedError(ProducerError):
    """A replica exited by itself; the message has its last lines."""


class Replica:
    """May be started again after `stop`; each start is a new process, with a new port for its probes."""

    def __init__(self, name: str, directory: Path, settings: Mapping[str, str]) -> None:
        self.name = name
        self._directory = directory
        self._log = directory / f"{name.replace(' ', '-')}.log"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None while it is stopped."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process without waiting until it works."""
        env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        env |= {"MODE": "prod", "LOG_LEVEL": "info", "METRICS_ADDR": f"{HOST}:{free_port()}", **self._settings}
        with self._log.open("ab") as output:
            # In its own directory: the current one may contain a .env file.
            self._process = child_processes.start(RUN, output=output, env=env, cwd=self._directory)

    async def stop(self, *, kill: bool = False) -> None:
        """Stop it with SIGTERM, or at once with SIGKILL. Does nothing if it is stopped."""
        if self._process:
            process, self._process = self._process, None
            await asyncio.to_thread(child_processes.end, process, grace=_STOP_WITHIN_S, kill=kill)

    def leads(self, term: str | None) -> bool:
        """Return whether `term` (hostname-pid-random/random, the value of the leader key) is that of this process."""
        parts = (term or "").partition("/")[0].rsplit("-", 2)
        return len(parts) == 3 and self.pid is not None and parts[1] == str(self.pid)

    def check_alive(self) -> None:
        """Raise ReplicaDiedError if it exited by itself."""
        if self._process and (code := self._process.poll()) is not None:
            lines = self._log.read_text(errors="replace").strip().splitlines()[-5:]
            raise ReplicaDiedError(f"{self.name} exited with code {code}: {' | '.join(lines) or 'no output'}")
