"""The cost of a line from a file through the relay to a publisher that confirms at once: `python -m bench.relay`."""

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from peekaping_producer.messages.relay import Relay
from peekaping_producer.messages.sources.file import FileSource
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import PublishResult

LINE = b"x" * 99 + b"\n"


class InstantPublisher:
    """Confirms at once."""

    def __init__(self) -> None:
        self.count = 0

    async def open(self) -> None:
        """Do nothing."""

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        """Count and confirm."""
        self.count += len(messages)
        return PublishResult(len(messages))

    async def close(self) -> None:
        """Do nothing."""


async def measure(path: Path, lines: int) -> None:
    publisher, dependencies = InstantPublisher(), Dependencies(Metrics())
    relay = Relay(publisher, dependencies)
    source = FileSource(path, relay, dependencies)
    began_at, cpu = time.perf_counter(), time.process_time()
    tasks = [asyncio.create_task(relay.run()), asyncio.create_task(source.run())]
    while publisher.count < lines or source.lag_bytes:
        await asyncio.sleep(0.005)
    seconds, cpu = time.perf_counter() - began_at, time.process_time() - cpu
    await cancel_and_wait(*tasks)
    print(
        f"{lines / seconds:,.0f} lines/s, {1e6 * cpu / lines:.1f} µs CPU a line, "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB RSS"
    )


def main() -> None:
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    for _ in range(3):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "input.txt"
            with path.open("wb") as file:
                for _ in range(lines // 1000):
                    file.write(LINE * 1000)
            asyncio.run(measure(path, lines // 1000 * 1000))


if __name__ == "__main__":
    main()
