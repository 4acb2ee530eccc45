"""The relay: bounds, back pressure, order, and repeats from the first message that is not settled."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from peekaping_producer.errors import (
    BROKER,
    BatchTooLargeError,
    BrokerUnavailableError,
    BufferFullError,
    RelayClosedError,
)
from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.progress import RateMeter
from peekaping_producer.messages.relay import Relay
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import PublishResult
from tests.kit.publishers import MemoryPublisher, UnreliablePublisher
from tests.kit.waiting import until


def messages(*names: str, size: int = 1) -> list[Message]:
    return [Message(name, b"x" * size) for name in names]


def numbered(first: int, count: int) -> list[Message]:
    return messages(*(str(number) for number in range(first, first + count)))


@pytest.fixture(autouse=True)
def _no_backoff() -> Iterator[None]:
    with patch.object(Backoff, "delay", lambda _: 0.001):
        yield


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(relay.run())
    try:
        yield task
    finally:
        await cancel_and_wait(task)


def relay_to(publisher: MemoryPublisher, **options: int) -> Relay:
    return Relay(publisher, Dependencies(Metrics()), **options)


async def test_a_future_ends_when_all_its_messages_are_settled() -> None:
    publisher = MemoryPublisher()
    publisher.refused = {"b": "too large", "d": "too odd"}
    relay = relay_to(publisher, batch_messages=2)
    first, second = relay.offer(messages("a", "b", "c")), relay.offer(messages("d"))
    assert not first.done()
    async with running(relay):
        assert await first == {1: "too large"}
        assert await second == {0: "too odd"}
    assert [message.id for message in publisher.messages] == ["a", "c"]
    assert publisher.batches == [2, 2]
    assert publisher.closed == 1


async def test_the_buffer_is_bounded_by_count_and_by_bytes() -> None:
    publisher = MemoryPublisher()
    relay = relay_to(publisher, max_messages=4, max_bytes=10)
    future = relay.offer(messages("a", "b", size=4))
    with pytest.raises(BufferFullError, match="expected room for 1 messages of 3 bytes, got 2 messages of 8 bytes"):
        relay.offer(messages("c", size=3))
    relay.offer(messages("c", "d"))
    with pytest.raises(BufferFullError):
        relay.offer(messages("e", size=0))
    async with running(relay):
        await future
        await until(lambda: len(publisher.messages) == 4)
        await relay.offer(messages("e"))
    assert relay.progress().buffered == 0


async def test_a_batch_that_can_never_fit_is_an_error_at_once() -> None:
    relay = relay_to(MemoryPublisher(), max_messages=4, max_bytes=10)
    with pytest.raises(BatchTooLargeError, match="got 5 messages of 5 bytes; send smaller batches"):
        await relay.put(numbered(0, 5))
    with pytest.raises(BatchTooLargeError, match="got 2 messages of 12 bytes"):
        relay.offer(messages("a", "b", size=6))


async def test_bad_messages_are_refused_at_the_door_and_the_others_go_on() -> None:
    publisher = MemoryPublisher()
    publisher.refused = {"b": "by the broker"}
    relay = relay_to(publisher, max_bytes=10)
    batch = [
        Message("a", b"x" * 11),
        Message("b", b"x"),
        Message("", b"x"),
        Message("é" * 128, b"x"),
        Message("\ud800", b"x"),
        Message("é" * 127, b"x"),
    ]
    async with running(relay):
        refused = await relay.offer(batch)
        assert await relay.offer([Message("", b"x")]) == {0: "id: expected 1 to 255 bytes in UTF-8, got 0"}
        assert await relay.offer([]) == {}
    assert refused == {
        0: "body: expected at most 10 bytes, the buffer of the relay, got 11",
        1: "by the broker",
        2: "id: expected 1 to 255 bytes in UTF-8, got 0",
        3: "id: expected 1 to 255 bytes in UTF-8, got 256",
        4: "id: expected text that can be encoded in UTF-8",
    }
    assert [message.id for message in publisher.messages] == ["é" * 127]


async def test_put_waits_for_room_and_keeps_its_order() -> None:
    publisher = MemoryPublisher()
    relay = relay_to(publisher, max_messages=3)
    puts = [asyncio.create_task(relay.put(numbered(first, 2))) for first in range(0, 10, 2)]
    canceled = asyncio.create_task(relay.put(messages("canceled")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [put.done() for put in puts] == [True, False, False, False, False]
    canceled.cancel()
    async with running(relay):
        await asyncio.gather(*(await asyncio.gather(*puts)))
    assert [message.id for message in publisher.messages] == [str(number) for number in range(10)]


async def test_batches_are_bounded_by_bytes_but_never_empty() -> None:
    publisher = MemoryPublisher()
    relay = relay_to(publisher, batch_bytes=5)
    relay.offer(messages("a", size=9) + messages("b", "c", size=2) + messages("d", "e", size=3))
    async with running(relay):
        await until(lambda: len(publisher.messages) == 5)
    assert publisher.batches == [1, 2, 1, 1]


@pytest.mark.parametrize("seed", range(20))
async def test_what_is_not_settled_is_published_again_in_order(seed: int) -> None:
    publisher = UnreliablePublisher(seed)
    relay = relay_to(publisher, batch_messages=7)
    async with running(relay):
        await asyncio.gather(*(relay.offer(numbered(first, 3)) for first in range(0, 60, 3)))
    ids = [message.id for message in publisher.messages]
    assert list(dict.fromkeys(ids)) == [str(number) for number in range(60)]
    assert len(ids) == 60 + publisher.repeated


async def test_a_broker_that_fails_is_logged_once_and_opened_again() -> None:
    publisher = MemoryPublisher()
    publisher.error = BrokerUnavailableError("connection refused")
    now = 0.0
    dependencies = Dependencies(Metrics(), clock=lambda: now)
    relay = Relay(publisher, dependencies)
    with capture_logs() as lines:
        future = relay.offer(messages("a"))
        async with running(relay):
            await until(lambda: "broker" in dependencies.troubles)
            now = 10.0
            await until(lambda: bool(lines))
            publisher.error = None
            await future
            publisher.error = ConnectionResetError("reset")
            future = relay.offer(messages("b"))
            await until(lambda: "broker" in dependencies.troubles)
            publisher.error = None
            await future
            assert not dependencies.troubles
    assert [line["event"] for line in lines] == ["dependency.failing", "dependency.recovered"]
    assert publisher.opened == 2
    assert "connection refused" in lines[0]["error"]


async def test_an_idle_relay_notices_that_the_broker_went_away_and_came_back() -> None:
    publisher = MemoryPublisher()
    dependencies = Dependencies(Metrics())
    relay = Relay(publisher, dependencies)
    with patch("peekaping_producer.messages.relay.CHECK_AFTER_S", 0.01):
        async with running(relay):
            await relay.offer(messages("a"))
            publisher.error = BrokerUnavailableError("connection refused")
            await until(lambda: "broker" in dependencies.troubles)
            publisher.error = None
            await until(lambda: not dependencies.troubles)
            await relay.offer(messages("b"))
    assert [message.id for message in publisher.messages] == ["a", "b"]


class Picky(MemoryPublisher):
    """Fails with an unforeseen error if a bad message is in a batch."""

    def __init__(self, *bad: str) -> None:
        super().__init__()
        self.bad = set(bad)

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        if self.bad & {message.id for message in messages}:
            raise TypeError("secret")
        return await super().publish(messages)


async def test_a_message_that_no_call_survives_is_refused_alone() -> None:
    publisher = Picky("3", "4", "17")
    relay = relay_to(publisher)
    async with running(relay):
        refused = await relay.offer(numbered(0, 20))
    assert refused == dict.fromkeys((3, 4, 17), "cannot be published: TypeError")
    assert [message.id for message in publisher.messages] == [str(n) for n in range(20) if n not in (3, 4, 17)]


async def test_if_every_message_fails_the_messages_are_not_the_cause() -> None:
    publisher = Picky(*map(str, range(20)))
    dependencies = Dependencies(Metrics())
    relay = Relay(publisher, dependencies)
    future = relay.offer(numbered(0, 20))
    async with running(relay):
        await until(lambda: "producer" in dependencies.troubles)
        publisher.bad.clear()
        refused = await future
    assert list(refused) == list(range(7))
    assert len(publisher.messages) == 13


async def test_a_publisher_that_settles_nothing_is_a_failing_broker() -> None:
    class Idle(MemoryPublisher):
        async def publish(self, messages: Sequence[Message]) -> PublishResult:
            return PublishResult(0)

    dependencies = Dependencies(Metrics())
    relay = Relay(Idle(), dependencies)
    relay.offer(messages("a"))
    async with running(relay):
        await until(lambda: "broker" in dependencies.troubles)


async def test_drain_publishes_what_is_buffered_and_ends_the_loop() -> None:
    publisher = MemoryPublisher()
    relay = relay_to(publisher, max_messages=3)
    future = relay.offer(numbered(0, 3))
    waiting = asyncio.create_task(relay.put(messages("late")))
    await asyncio.sleep(0)
    async with running(relay) as task:
        assert await relay.drain(within_s=30) == 0
        await task
    assert future.done()
    with pytest.raises(RelayClosedError):
        await waiting
    with pytest.raises(RelayClosedError):
        relay.offer(messages("late"))
    assert len(publisher.messages) == 3


async def test_drain_returns_what_a_broker_that_is_away_did_not_settle() -> None:
    publisher = MemoryPublisher()
    publisher.error = BrokerUnavailableError("away")
    relay = relay_to(publisher)
    future = relay.offer(numbered(0, 3))
    async with running(relay):
        assert await relay.drain(within_s=0.05) == 3
    with pytest.raises(RelayClosedError, match="stopped before the broker confirmed"):
        await future


async def test_messages_of_a_canceled_caller_are_published_nevertheless() -> None:
    publisher = MemoryPublisher()
    relay = relay_to(publisher)
    relay.offer(messages("a")).cancel()
    async with running(relay):
        await relay.offer(messages("b"))
    assert [message.id for message in publisher.messages] == ["a", "b"]


async def test_linger_waits_for_a_full_batch() -> None:
    publisher = MemoryPublisher()
    relay = Relay(publisher, Dependencies(Metrics()), batch_messages=3, linger_s=3600)
    async with running(relay):
        relay.offer(messages("a"))
        await until(lambda: publisher.opened == 1)
        relay.offer(messages("b"))
        await relay.offer(messages("c"))
        assert publisher.batches == [3]
        relay.offer(messages("d"))
        assert await relay.drain(within_s=30) == 0
    assert publisher.batches == [3, 1]


async def test_progress_and_metrics() -> None:
    now = 100.0
    registry = CollectorRegistry()
    publisher = MemoryPublisher()
    publisher.refused = {"b": "no"}
    relay = Relay(publisher, Dependencies(Metrics()), metrics=RelayMetrics(registry), max_bytes=9, clock=lambda: now)
    future = relay.offer(messages("a", "b"))
    now = 102.0
    assert relay.progress().lag_s == 2.0
    assert registry.get_sample_value("peekaping_producer_relay_buffered_messages") == 2
    async with running(relay):
        await future
        await relay.offer(messages("c", size=10))
    progress = relay.progress()
    assert (progress.lines, progress.buffered, progress.lag_s) == (2, 0, 0.0)
    assert progress.rate == pytest.approx(1.0)
    assert registry.get_sample_value("peekaping_producer_relay_produced_total") == 1
    assert registry.get_sample_value("peekaping_producer_relay_refused_total") == 2
    assert registry.get_sample_value("peekaping_producer_relay_publish_duration_seconds_count") == 1


def test_the_rate_is_that_of_the_last_seconds() -> None:
    now = 0.0
    meter = RateMeter(lambda: now)
    for _ in range(100):
        now += 0.1
        meter.add(10)
    assert meter.rate == pytest.approx(100, rel=0.1)
    now += 20
    assert meter.rate == 0
    meter.add(10)
    now += 1
    assert meter.rate == pytest.approx(10 / 6)
    assert meter.total == 1010


class _Waiting(MemoryPublisher):
    """Confirms nothing until it is released."""

    def __init__(self, blocked: str = "") -> None:
        super().__init__()
        self.blocked = blocked
        self.released = asyncio.Event()

    async def publish(self, batch: Sequence[Message]) -> PublishResult:
        await self.released.wait()
        return await super().publish(batch)


@pytest.mark.parametrize(
    ("publisher", "slow_after_s", "reason"),
    [
        (_Waiting("memory runs low"), 3600, r"no confirmation for \d+ s: memory runs low$"),
        (_Waiting(), 0.05, r"no confirmation for \d+ s$"),
    ],
    ids=["blocked", "slow"],
)
async def test_a_broker_that_does_not_confirm_is_reported_and_the_relay_counts_as_alive(
    publisher: _Waiting, slow_after_s: float, reason: str
) -> None:
    """A memory alarm of RabbitMQ may last for minutes: to restart the relay would not help."""
    dependencies = Dependencies(Metrics())
    relay = Relay(publisher, dependencies)
    with (
        patch("peekaping_producer.service.dependencies._ASK_EVERY_S", 0.01),
        patch("peekaping_producer.messages.publishing.SLOW_AFTER_S", slow_after_s),
        capture_logs() as logs,
    ):
        async with running(relay):
            future = relay.offer(messages("a"))
            await until(lambda: BROKER in dependencies.troubles)
            assert re.search(reason, dependencies.troubles[BROKER].reason)
            assert relay.loop.stalled_s == 0
            publisher.released.set()
            await future
            await until(lambda: not dependencies.troubles)
    assert [each["event"] for each in logs] == ["dependency.failing", "dependency.recovered"]
