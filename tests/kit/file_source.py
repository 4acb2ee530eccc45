"""A file source with its relay, and what programs do to its file."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.relay import Relay
from peekaping_producer.messages.sources.file import FileSource
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from tests.kit.publishers import MemoryPublisher
from tests.kit.waiting import until


class Running:
    def __init__(self, path: Path, publisher: MemoryPublisher, options: dict[str, Any]) -> None:
        self.dependencies = Dependencies(Metrics())
        relay_options = {name: options.pop(name) for name in ("max_messages", "max_bytes") if name in options}
        self.registry = CollectorRegistry()
        metrics = RelayMetrics(self.registry)
        self.relay = Relay(publisher, self.dependencies, metrics=metrics, **relay_options)
        options = {"rotate_wait_s": 0.0, **options}
        self.source = FileSource(path, self.relay, self.dependencies, metrics=metrics, **options)
        self.publisher = publisher

    async def until_settled(self, *bodies: bytes) -> None:
        await until(lambda: self.publisher.bodies == list(bodies) and self.is_settled, f"{bodies}")

    @property
    def is_settled(self) -> bool:
        return self.source.lag_bytes == 0 and not self.relay.progress().buffered

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"peekaping_producer_{name}")


@asynccontextmanager
async def following(path: Path, publisher: MemoryPublisher | None = None, **options: Any) -> AsyncIterator[Running]:
    running = Running(path, publisher or MemoryPublisher(), options)
    relay, source = asyncio.create_task(running.relay.run()), asyncio.create_task(running.source.run())
    try:
        yield running
        assert not source.done(), source
    finally:
        await cancel_and_wait(relay, source)


def rename(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def size(path: Path) -> int:
    return path.stat().st_size


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
