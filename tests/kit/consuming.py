"""A consumer in a test: a running one, its messages, and a sink in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from peekaping_producer.errors import (
    DependencyError,
)
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.handlers import HandlerWork
from peekaping_producer.messages.retries import Retries
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.receivers import MemoryReceiver

RETRIES = Retries(max_attempts=3, first_delay_s=10)


def messages(*ids: str) -> list[Message]:
    return [Message(id_, b"body") for id_ in ids]


@asynccontextmanager
async def consuming(receiver: MemoryReceiver, work: Any, **options: Any) -> AsyncIterator[Consumer]:
    consumer = Consumer(receiver, work, Dependencies(Metrics("test")), **{"retries": RETRIES, **options})
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def handled_by(handler: Callable[[Message], Any], **options: Any) -> HandlerWork:
    return HandlerWork(handler, **options)


class Sink:
    """Work in batches, that fails while `error` is set."""

    batch_size = 3
    concurrency = 1
    slow = None

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.error: DependencyError | None = None
        self.failed = 0

    async def open(self) -> None: ...

    async def run(self, deliveries: Sequence[Delivery]) -> None:
        if self.error:
            self.failed += 1
            raise self.error
        self.batches.append([delivery.message.id for delivery in deliveries])

    async def close(self) -> None: ...
