"""A consumer with a file sink, in a process that a test kills: `sink_process LINES OUTPUT ACKNOWLEDGED`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.sinks.file import FileSink
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until


class Queue(MemoryReceiver):
    """Lines from number 0 on; how many are acknowledged is in a file. The rest is delivered by the next process."""

    def __init__(self, lines: int, path: Path) -> None:
        self._path = path
        self._done = int(path.read_text() or 0) if path.exists() else 0
        super().__init__(*(Message(f"g:{n}", b"line %06d" % n) for n in range(self._done, lines)))

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._done += len(deliveries)
        new = self._path.with_suffix(".new")
        new.write_text(str(self._done))
        new.replace(self._path)
        await super().acknowledge(deliveries)


async def main() -> None:
    lines, output, acknowledged = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    queue = Queue(lines, acknowledged)
    sink = FileSink(output, dedup=True, batch_size=50, kept_ids=500)
    consumer = Consumer(queue, sink, Dependencies(Metrics()))
    running = asyncio.create_task(consumer.run())
    await until(lambda: not queue.queue and not queue.held)
    await consumer.drain(10)
    await running


asyncio.run(main())
