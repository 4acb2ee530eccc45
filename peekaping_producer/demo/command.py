"""One command of this program as a real process, with its log in a file."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from peekaping_producer.demo.embedded import HOST
from peekaping_producer.errors import ProducerError
from peekaping_producer.service import child_processes

PROGRAM = (sys.executable, "-m", "peekaping_producer")
_STOP_WITHIN_S = 8.0
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONWARNINGS", "LD_LIBRARY_PATH")
"""Nothing else: settings of a deployment in this shell must not reach the demo."""
_SETTINGS = {"MODE": "prod", "LOG_LEVEL": "info", "METRICS_ADDR": f"{HOST}:0", "UI_ADDR": "off"}


class CommandExitedError(ProducerError):
    """A command exited by itself; the message has its last lines."""


class Command:
    """May be started again after `stop`; each start is a new process."""

    def __init__(self, name: str, directory: Path, argv: Sequence[str], settings: Mapping[str, str]) -> None:
        self.name = name
        self._directory = directory
        self._argv = tuple(argv)
        self._settings = settings
        self._log = directory / f"{name.replace(' ', '-')}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None while it is stopped."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process without waiting until it works."""
        env = {name: os.environ[name] for name in _INHERITED if name in os.environ} | _SETTINGS | dict(self._settings)
        with self._log.open("ab") as output:
            # In its own directory: the current one may contain a .env file.
            self._process = child_processes.start(self._argv, output=output, env=env, cwd=self._directory)

    async def stop(self, *, kill: bool = False) -> None:
        """Stop it with SIGTERM, or at once with SIGKILL. Does nothing if it is stopped."""
        if self._process:
            process, self._process = self._process, None
            await asyncio.to_thread(child_processes.end, process, grace=_STOP_WITHIN_S, kill=kill)

    def check_alive(self) -> None:
        """Raise CommandExitedError if it exited by itself."""
        if self._process and (code := self._process.poll()) is not None:
            lines = self._log.read_text(errors="replace").strip().splitlines()[-5:]
            raise CommandExitedError(f"{self.name} exited with code {code}: {' | '.join(lines) or 'no output'}")
