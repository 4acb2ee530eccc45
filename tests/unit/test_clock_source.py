"""The clock source: aligned ticks with stable ids, none twice."""

import asyncio

import pytest
from structlog.testing import capture_logs

from peekaping_producer.messages.relay import Relay
from peekaping_producer.messages.sources.clock import ClockSource
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from tests.kit.publishers import MemoryPublisher
from tests.kit.waiting import until


class Clock:
    """Time that passes only while the source sleeps, and stops at `until`."""

    def __init__(self, now: float, *, until: float) -> None:
        self.now = now
        self.until = until
        self.ended = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        if self.now + seconds > self.until:
            self.ended.set()
            await asyncio.Event().wait()
        self.now += seconds


async def sent(clock: Clock, interval_s: float, publisher: MemoryPublisher | None = None) -> list[str]:
    publisher = publisher or MemoryPublisher()
    relay = Relay(publisher, Dependencies(Metrics()))
    source = ClockSource("clock", interval_s, relay, now=lambda: clock.now, sleep=clock.sleep)
    tasks = [asyncio.create_task(relay.run()), asyncio.create_task(source.run())]
    await clock.ended.wait()
    await relay.drain(within_s=30)
    await cancel_and_wait(*tasks)
    return [message.id for message in publisher.messages]


async def test_ticks_are_the_multiples_of_the_interval() -> None:
    publisher = MemoryPublisher()
    ids = await sent(Clock(1_700_000_001.5, until=1_700_000_020), 5, publisher)
    assert ids == [f"clock:{1_700_000_000_000 + offset}" for offset in (5000, 10000, 15000, 20000)]
    assert publisher.bodies[0] == b'{"datetime":"2023-11-14 22:13:25"}'
    assert {message.content_type for message in publisher.messages} == {"application/json"}


async def test_intervals_below_a_second() -> None:
    assert await sent(Clock(0.1, until=1), 0.25) == ["clock:250", "clock:500", "clock:750", "clock:1000"]


async def test_missed_ticks_are_counted_and_not_sent_later() -> None:
    clock = Clock(10.5, until=20)
    original = clock.sleep

    async def sleep(seconds: float) -> None:
        await original(seconds)
        if clock.now == 12:
            clock.now = 15.5  # frozen

    clock.sleep = sleep  # type: ignore[method-assign]
    with capture_logs() as lines:
        ids = await sent(clock, 1)
    assert ids == [f"clock:{second}000" for second in (11, 15, 16, 17, 18, 19, 20)]
    assert [(line["event"], line["count"]) for line in lines if line["event"] == "tick.missed"] == [("tick.missed", 3)]


async def test_a_clock_that_is_set_back_repeats_no_tick() -> None:
    clock = Clock(10.5, until=14)
    original = clock.sleep

    async def sleep(seconds: float) -> None:
        await original(seconds)
        if clock.now == 12 and not hasattr(clock, "back"):
            clock.back = True  # type: ignore[attr-defined]
            clock.now = 9.0

    clock.sleep = sleep  # type: ignore[method-assign]
    assert await sent(clock, 1) == ["clock:11000", "clock:12000", "clock:13000", "clock:14000"]


async def test_a_full_relay_delays_the_source_and_the_end_of_the_relay_ends_it() -> None:
    clock = Clock(10.5, until=13)
    relay = Relay(MemoryPublisher(), Dependencies(Metrics()), max_messages=1)
    source = asyncio.create_task(ClockSource("clock", 1, relay, now=lambda: clock.now, sleep=clock.sleep).run())
    await until(lambda: relay.progress().buffered == 1 and clock.now >= 12)
    await relay.drain(within_s=0)
    await source


def test_the_interval_is_checked() -> None:
    with pytest.raises(ValueError, match="interval: expected at least"):
        ClockSource("clock", 0, Relay(MemoryPublisher(), Dependencies(Metrics())))
