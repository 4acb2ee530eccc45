"""The HTTP API on a real port, with a publisher in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import aiohttp
import pytest
import pytest_asyncio
from multidict import CIMultiDictProxy

from peekaping_producer.api.app import Api
from peekaping_producer.api.guard import Guard
from peekaping_producer.api.metrics import ApiMetrics
from peekaping_producer.api.source import ApiSource
from peekaping_producer.messages.relay import Relay
from peekaping_producer.metrics import Metrics
from peekaping_producer.pipeline.part import RelayPart
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies
from tests.kit.processes import HOST
from tests.kit.publishers import MemoryPublisher

JSON = "application/json"
TIMESTAMP = "2024-01-01T00:00:00"
_NOW = 1704067200.0


class RunningApi:
    """The API with its relay; `session` sends requests to it."""

    def __init__(
        self,
        publisher: MemoryPublisher,
        *,
        token: str | None = None,
        rate_limit: int = 0,
        max_bytes: int = 2**20,
        max_messages: int = 10_000,
        confirm_timeout_s: float = 30.0,
        body_timeout_s: float = 30.0,
    ) -> None:
        self.publisher = publisher
        self.metrics = ApiMetrics()
        self.dependencies = Dependencies(Metrics())
        self.relay = Relay(publisher, self.dependencies, max_messages=max_messages)
        self.api = Api(
            self.relay,
            self.dependencies,
            Guard(token=token, rate_limit=rate_limit, max_bytes=max_bytes),
            metrics=self.metrics,
            confirm_timeout_s=confirm_timeout_s,
            body_timeout_s=body_timeout_s,
            now=lambda: _NOW,
        )
        self.source = ApiSource(self.api, HOST, 0)
        self.part = RelayPart(self.relay, self.source, "message API")
        self.url = f"http://{HOST}:{self.source.port}"
        self.session: aiohttp.ClientSession

    async def post(
        self,
        path: str,
        body: object = None,
        *,
        data: bytes | None = None,
        content_type: str | None = JSON,
        **headers: str,
    ) -> tuple[int, dict[str, Any], CIMultiDictProxy[str]]:
        """Status, body and headers of the answer to one POST."""
        given = dict(headers) | ({"Content-Type": content_type} if content_type else {})
        content: dict[str, Any] = {"json": body} if data is None else {"data": data}
        skip = () if content_type else ("Content-Type",)
        async with self.session.post(path, headers=given, skip_auto_headers=skip, **content) as response:
            return response.status, await response.json(), response.headers

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        async with self.session.get(path) as response:
            return response.status, await response.text()

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@asynccontextmanager
async def running_api(publisher: MemoryPublisher | None = None, **options: Any) -> AsyncIterator[RunningApi]:
    api = RunningApi(publisher or MemoryPublisher(), **options)
    task = asyncio.create_task(api.part.run())
    try:
        async with aiohttp.ClientSession(api.url, timeout=aiohttp.ClientTimeout(10)) as api.session:
            yield api
    finally:
        await cancel_and_wait(task)


@pytest_asyncio.fixture
async def api() -> AsyncIterator[RunningApi]:
    """An API whose publisher confirms at once; bodies have at most 10,000 bytes."""
    async with running_api(max_bytes=10_000) as running:
        yield running


@pytest.fixture
def no_backoff() -> Iterator[None]:
    """Failed calls are repeated at once."""
    with patch.object(Backoff, "delay", lambda _: 0.001):
        yield
