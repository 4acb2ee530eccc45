"""The life of a process that relays or consumes: its end."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress

import pytest

from peekaping_producer.metrics import Metrics
from peekaping_producer.pipeline import service as service_module
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


class _Exited(BaseException):
    pass


async def test_work_that_ignores_its_cancellation_does_not_keep_the_process_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exited: list[int] = []

    class Ignoring(_StuckPart):
        async def run(self) -> None:
            while not exited:
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()

    def leave(code: int) -> None:
        exited.append(code)
        raise _Exited

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(service_module, "_CANCEL_WITHIN_S", 0.1)
    service = MessageService(
        Settings(shutdown_grace=0.2, metrics_addr="off"), Ignoring(), Dependencies(Metrics()), Metrics()
    )
    running = asyncio.create_task(service.run())
    await asyncio.sleep(0)
    service.stop()
    async with asyncio.timeout(30):
        with pytest.raises(_Exited):
            await running
    assert exited == [1]


def test_a_default_address_of_metrics_is_replaced_by_metrics_addr() -> None:
    for settings, address in (
        (Settings(), ("127.0.0.1", 8000)),
        (Settings(metrics_addr="0.0.0.0:9000"), ("0.0.0.0", 9000)),
        (Settings(metrics_addr="off"), None),
    ):
        dependencies = Dependencies(Metrics())
        service = MessageService(settings, _StuckPart(), dependencies, Metrics(), metrics_address=("127.0.0.1", 8000))
        assert service.metrics_address == address
