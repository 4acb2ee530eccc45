"""The cost of a message from a receiver in memory to a handler, or to a file: `python -m bench.consumer`."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.handlers import HandlerWork
from peekaping_producer.messages.sinks.file import FileSink
from peekaping_producer.messages.work import Work
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery

GENERATION = "0b5f0c1e-7d0a-4f0e-9b1c-2f6d3c1a9e55"
BODY = b"x" * 99


class InstantReceiver:
    """Delivers so many messages at once, and settles at once."""

    def __init__(self, messages: int) -> None:
        self._next = 0
        self._messages = messages
        self.settled = 0
        self.done = asyncio.Event()

    async def open(self) -> None:
        """Do nothing."""

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Return the next messages."""
        first, self._next = self._next, min(self._next + limit, self._messages)
        if first == self._next:
            await asyncio.Event().wait()
        return [Delivery(Message(f"{GENERATION}:{number * 100}", BODY)) for number in range(first, self._next)]

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Count."""
        self.settled += len(deliveries)
        if self.settled >= self._messages:
            self.done.set()

    async def retry(self, delivery: Delivery, delay_s: float, reason: str) -> None:
        """Do nothing."""

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Do nothing."""

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


async def nothing(_: Message) -> None:
    """Handle a message."""


async def measure(name: str, work: Work, messages: int) -> None:
    receiver = InstantReceiver(messages)
    consumer = Consumer(receiver, work, Dependencies(Metrics()))
    began_at, cpu = time.perf_counter(), time.process_time()
    running = asyncio.create_task(consumer.run())
    await receiver.done.wait()
    seconds, cpu = time.perf_counter() - began_at, time.process_time() - cpu
    await consumer.drain(1)
    await running
    print(f"{name}: {messages / seconds:,.0f} messages/s, {1e6 * cpu / messages:.1f} µs CPU a message")


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    for _ in range(3):
        asyncio.run(measure("handler, concurrency 10", HandlerWork(nothing, concurrency=10), messages))
        asyncio.run(measure("handler, concurrency 100", HandlerWork(nothing, concurrency=100), messages))
        for dedup in (False, True):
            with tempfile.TemporaryDirectory() as directory:
                sink = FileSink(Path(directory) / "output.txt", dedup=dedup)
                asyncio.run(measure(f"file sink, dedup={dedup}", sink, messages))


if __name__ == "__main__":
    main()
