"""The consumer under random faults: of deliveries, of the broker, of handlers and of sinks."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from peekaping_producer.errors import (
    BrokerError,
    BrokerRefusedError,
    BrokerUnavailableError,
    OutputUnavailableError,
    RejectedMessageError,
)
from peekaping_producer.messages import consumer as consumer_module
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.metrics import ConsumerMetrics
from peekaping_producer.messages.retries import Retries, RetryLaterError
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until

MESSAGES = 60


class UnreliableReceiver(MemoryReceiver):
    """Every call may take a while, fail before or after its effect, and lose any delivery meanwhile."""

    def __init__(self, randomness: random.Random, *messages: Message) -> None:
        super().__init__(*messages)
        self.random = randomness
        self.calm = False

    async def open(self) -> None:
        await self._trouble()
        await super().open()

    async def receive(self, limit: int) -> list[Delivery]:
        await self._trouble()
        return await super().receive(limit)

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        await self._trouble()
        await super().acknowledge(deliveries)
        await self._trouble()

    async def retry(self, delivery: Delivery, delay_s: float, reason: str) -> None:
        await self._trouble()
        await super().retry(delivery, delay_s, reason)

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        await self._trouble()
        await super().dead_letter(delivery, reason)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        await self._trouble()
        await super().release(deliveries)

    async def _trouble(self) -> None:
        if self.calm:
            return
        for _ in range(self.random.randrange(3)):
            await asyncio.sleep(0)
        match self.random.randrange(12):
            case 0:
                self.lose()
            case 1:
                self.lose(*[each for each in self.held if self.random.random() < 0.2][:1])
            case 2:
                error: type[BrokerError] = self.random.choice([BrokerUnavailableError, BrokerRefusedError])
                raise error("connection lost")


class UnreliableWork:
    """Fails in every way that work can."""

    slow = None

    def __init__(self, randomness: random.Random, batch_size: int, concurrency: int) -> None:
        self.random = randomness
        self.batch_size, self.concurrency = batch_size, concurrency
        self.done: set[str] = set()
        self.calls = 0
        self.calm = False

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    async def run(self, deliveries: Sequence[Delivery]) -> None:
        assert 0 < len(deliveries) <= self.batch_size
        self.calls += 1
        assert self.calls <= self.concurrency
        try:
            for _ in range(0 if self.calm else self.random.randrange(4)):
                await asyncio.sleep(0)
            if not self.calm:
                self._fail()
            self.done.update(delivery.message.id for delivery in deliveries)
        finally:
            self.calls -= 1

    def _fail(self) -> None:
        error = self.random.choice(
            [
                *[None] * 6,
                ValueError("bad"),
                asyncio.CancelledError(),
                KeyboardInterrupt(),
                RetryLaterError(1),
                RejectedMessageError("never"),
                OutputUnavailableError("no space"),
            ]
        )
        if error:
            raise error


@pytest.mark.parametrize("seed", range(25))
async def test_nothing_is_lost_and_no_place_is_lost(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "delay", lambda _: 0.0)
    monkeypatch.setattr(consumer_module, "_SETTLE_WITHIN_S", 0.5)
    randomness = random.Random(seed)
    receiver = UnreliableReceiver(randomness, *(Message(f"m{n}", b"") for n in range(MESSAGES)))
    work = UnreliableWork(randomness, randomness.choice([1, 1, 7]), randomness.choice([1, 3]))
    metrics = ConsumerMetrics()
    retries = Retries(max_attempts=3)
    stops = randomness.choice([True, False])
    for round_ in range(2):
        consumer = Consumer(receiver, work, Dependencies(Metrics()), retries=retries, metrics=metrics)
        running = asyncio.create_task(consumer.run())
        if round_ == 0 and stops:
            await until(lambda: len(receiver.acknowledged) > randomness.randrange(MESSAGES // 2))
            if randomness.choice([True, False]):
                await consumer.drain(randomness.choice([0, 0.01]))
            else:
                running.cancel()
            await asyncio.wait([running])
            assert running.cancelled() or not running.exception()
            assert not receiver.held
            continue
        await until(lambda: len(receiver.acknowledged) > MESSAGES // 3 or not receiver.queue)
        receiver.calm = work.calm = True
        await until(lambda: not receiver.queue and not receiver.held, f"seed {seed}")
        assert await consumer.drain(5) == 0
        await running
    dead = {id_ for id_, _ in receiver.dead}
    assert set(receiver.acknowledged) | dead == {f"m{n}" for n in range(MESSAGES)}
    assert set(receiver.acknowledged) <= work.done
    assert len(receiver.acknowledged) + len(receiver.dead) == MESSAGES
    assert (consumer.held, metrics.in_progress._value.get()) == (0, 0)
