"""The life of a process that relays or consumes: its end."""

import asyncio
from collections.abc import Sequence

from peekaping_producer.metrics import Metrics
from peekaping_producer.pipeline.service import MessageService
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop
from peekaping_producer.settings import Settings


class _StuckPart:
    """Never ends by itself; closing takes a moment."""

    loops: Sequence[Loop] = ()
    stopping = False
    within_s = 0.0

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def drain(self, within_s: float) -> int:
        self.within_s = within_s
        return 1

    def progress(self) -> str:
        return ""


async def test_draining_leaves_a_part_of_the_grace_time_for_closing() -> None:
    for grace_s, drain_s in ((20.0, 18.0), (0.2, 0.1)):
        part = _StuckPart()
        settings = Settings(shutdown_grace=grace_s, metrics_addr="off")
        service = MessageService(settings, part, Dependencies(Metrics()), Metrics())
        running = asyncio.create_task(service.run())
        await asyncio.sleep(0)
        service.stop()
        async with asyncio.timeout(30):
            await running
        assert part.within_s == drain_s


def test_a_default_address_of_metrics_is_replaced_by_metrics_addr() -> None:
    for settings, address in (
        (Settings(), ("127.0.0.1", 8000)),
        (Settings(metrics_addr="0.0.0.0:9000"), ("0.0.0.0", 9000)),
        (Settings(metrics_addr="off"), None),
    ):
        dependencies = Dependencies(Metrics())
        service = MessageService(settings, _StuckPart(), dependencies, Metrics(), metrics_address=("127.0.0.1", 8000))
        assert service.metrics_address == address
