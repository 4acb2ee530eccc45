"""A replica's own metrics, read over HTTP."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiohttp import ClientError

from peekaping_producer.demo.embedded import HOST, free_port
from peekaping_producer.metrics import PREFIX
from tests.kit import http

PATIENCE_S = 300.0
"""Ten times the longest sync of 1,000,000 monitors that is allowed."""


class MetricsClient:
    """Reads the metrics of a replica that runs with `settings`."""

    def __init__(self) -> None:
        self._address = f"{HOST}:{free_port()}"
        self.settings = {"METRICS_ADDR": self._address}

    async def up(self) -> None:
        """Wait until the replica answers. Raises AssertionError after PATIENCE_S."""
        with _patience("the replica does not serve metrics"):
            async with asyncio.timeout(PATIENCE_S):
                while not await self._text():
                    await asyncio.sleep(0.05)

    async def read(self, name: str) -> float:
        """The value of a metric without labels, such as `claimed_total`; 0 while the replica does not answer."""
        start = f"{PREFIX}_{name} "
        lines = (await self._text()).splitlines()
        return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), 0.0)

    async def sync_seconds(self, number: int) -> float:
        """Wait for `number` syncs; return their duration in total. Raises AssertionError after PATIENCE_S."""
        with _patience(f"sync {number} does not end"):
            async with asyncio.timeout(PATIENCE_S):
                while await self.read("sync_duration_seconds_count") < number:
                    await asyncio.sleep(0.25)
        return await self.read("sync_duration_seconds_sum")

    async def _text(self) -> str:
        with suppress(ClientError, TimeoutError):
            return (await http.get(self._address, "/metrics"))[1]
        return ""


@contextmanager
def _patience(what: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise AssertionError(f"{what} within {PATIENCE_S:.0f} s") from None
