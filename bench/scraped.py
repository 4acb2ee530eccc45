"""A replica's own metrics, read over HTTP."""

import asyncio
from urllib.request import urlopen

from peekaping_producer.embedded import HOST, free_port
from peekaping_producer.metrics import PREFIX


class Scraper:
    """`settings` make a replica serve where this one looks."""

    def __init__(self) -> None:
        address = f"{HOST}:{free_port()}"
        self._url = f"http://{address}/metrics"
        self.settings = {"METRICS_ADDR": address}

    async def up(self) -> None:
        """Wait until the replica answers."""
        while not await self._text():
            await asyncio.sleep(0.05)

    async def read(self, name: str) -> float:
        """The value of a metric without labels, such as `claimed_total`; 0 while nobody answers."""
        start = f"{PREFIX}_{name} "
        lines = (await self._text()).splitlines()
        return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), 0.0)

    async def sync_seconds(self, number: int) -> float:
        """Wait until `number` syncs are done; what they took together."""
        while await self.read("sync_duration_seconds_count") < number:
            await asyncio.sleep(0.25)
        return await self.read("sync_duration_seconds_sum")

    async def _text(self) -> str:
        return await asyncio.to_thread(self._fetch)

    def _fetch(self) -> str:
        try:
            with urlopen(self._url, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""
