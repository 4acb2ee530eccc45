"""The commands `relay` and `consume` as processes, with files of the bench."""

import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from bench.harness import Process, reaches
from peekaping_producer.messages.sources.checkpoint import CheckpointFile
from peekaping_producer.targets import RabbitMqTarget
from tests.kit import processes
from tests.kit.commands import MINIMAL

LINE_BYTES = 100
"""Without the newline: the body of a message."""
ASYNQ_QUEUE = "bench"


class BenchFile:
    """A file of numbered lines, each with LINE_BYTES."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        self._hash = hashlib.sha256()
        path.touch()

    def append(self, count: int) -> None:
        """Append `count` lines in one write."""
        data = lines(self.lines, self.lines + count)
        with self.path.open("ab", buffering=0) as file:
            assert file.write(data) == len(data)
        self._hash.update(data)
        self.lines += count

    @property
    def sha256(self) -> str:
        """Of the whole file."""
        return self._hash.hexdigest()


class RelayProcess:
    """A relay of a file; the broker has confirmed the first line."""

    def __init__(self, process: Process, file: BenchFile, times: Path) -> None:
        self.process = process
        self.file = file
        self._times = times

    async def confirmed(self, count: int | None = None) -> None:
        """Wait until the checkpoint has passed so many lines, by default all. AssertionError without progress."""
        expected = self.file.lines if count is None else count
        await reaches(expected, self.checkpoint, "lines confirmed", [self.process])

    async def checkpoint(self) -> int:
        """How many lines the checkpoint has passed."""
        found = CheckpointFile(self.file.path.with_name(f"{self.file.path.name}.checkpoint")).load()
        return found.offset // (LINE_BYTES + 1) if found else 0

    def times(self) -> list[float]:
        """When each line was confirmed, by time.monotonic(). Requires `timed`."""
        at: list[float] = []
        for line in self._times.read_text().splitlines():
            count, instant = line.split()
            at += [float(instant)] * int(count)
        return at


def lines(start: int, end: int) -> bytes:
    """The lines with these numbers."""
    return b"".join(b"%0*d\n" % (LINE_BYTES, number) for number in range(start, end))


@asynccontextmanager
async def relay(environment: dict[str, str], *, timed: bool = False) -> AsyncIterator[RelayProcess]:
    """A relay of a new file to a broker. It is killed at the end of the block."""
    with processes.directory("peekaping-bench-") as directory:
        file, times = BenchFile(directory / "input.txt"), directory / "times"
        arguments = ["relay", "--from", "file", "--path", str(file.path)]
        module = ["bench.messages.timed_commands", str(times)] if timed else ["peekaping_producer"]
        with command(directory, environment, *module, *arguments) as process:
            started = RelayProcess(process, file, times)
            file.append(1)
            await started.confirmed()
            yield started


@contextmanager
def command(directory: Path, environment: dict[str, str], *arguments: str) -> Iterator[Process]:
    """A module of Python, at the default log level, without a .env; killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=directory,
        env={**MINIMAL, "METRICS_ADDR": "off", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def rabbitmq_environment(target: RabbitMqTarget) -> dict[str, str]:
    """The settings of a broker."""
    return {
        "BROKER": "rabbitmq",
        "RABBITMQ_HOST": target.host,
        "RABBITMQ_PORT": str(target.port),
        "RABBITMQ_USER": target.user,
        "RABBITMQ_PASS": target.password,
        "RABBITMQ_QUEUE": target.queue,
    }


def asynq_environment(redis_url: str) -> dict[str, str]:
    """The settings of a queue of asynq."""
    return {"BROKER": "asynq", "REDIS_URL": redis_url, "ASYNQ_QUEUE": ASYNQ_QUEUE}
