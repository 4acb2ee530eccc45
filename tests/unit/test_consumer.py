"""The consumer: what becomes of each message, whatever its handler does."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    RejectedMessageError,
)
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.metrics import ConsumerMetrics
from peekaping_producer.messages.retries import RetryLaterError
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.consuming import consuming, handled_by, messages
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until


async def test_each_message_is_handled_once_and_acknowledged() -> None:
    receiver = MemoryReceiver(*messages(*(f"m{n}" for n in range(100))))
    handled: list[str] = []

    async def handler(message: Message) -> None:
        handled.append(message.id)

    metrics = ConsumerMetrics()
    async with consuming(receiver, handled_by(handler, concurrency=10), metrics=metrics):
        await until(lambda: len(receiver.acknowledged) == 100)
    assert sorted(handled) == sorted(receiver.acknowledged)
    assert len(set(handled)) == 100
    assert max(receiver.limits) == 10
    assert len(receiver.acknowledgements) < 50, "messages that end together take one call"
    assert metrics.consumed._value.get() == 100


async def test_it_never_holds_more_than_there_are_places() -> None:
    receiver = MemoryReceiver(*messages(*"abcdef"))
    gate = asyncio.Event()

    async def handler(_: Message) -> None:
        await gate.wait()

    async with consuming(receiver, handled_by(handler, concurrency=2)):
        await until(lambda: len(receiver.held) == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(receiver.held) == 2
        gate.set()
        await until(lambda: len(receiver.acknowledged) == 6)


async def test_progress_contains_the_rate() -> None:
    receiver = MemoryReceiver(*messages(*"abcdef"))

    async def handler(_: Message) -> None: ...

    async with consuming(receiver, handled_by(handler)) as consumer:
        await until(lambda: len(receiver.acknowledged) == 6 and not consumer.held)
        total, rate, held = consumer.progress().split("   ")
        assert (total, held) == ("6 messages", "0 in progress")
        assert 0 < int(rate.removesuffix("/s")) <= 60


async def test_a_handler_that_fails_is_called_again_and_then_the_message_is_dead_lettered() -> None:
    receiver = MemoryReceiver(*messages("bad", "good"))

    async def handler(message: Message) -> None:
        if message.id == "bad":
            raise ValueError("no such thing\nsecond line")

    with capture_logs() as logs:
        async with consuming(receiver, handled_by(handler)):
            await until(lambda: bool(receiver.dead))
    failed = [line for line in logs if line["event"] == "handler.failed"]
    assert [line["ids"] for line in failed] == [["bad"]] * 3
    assert "ValueError: no such thing" in failed[0]["exception"]
    assert "in handler" in failed[0]["exception"]
    assert receiver.acknowledged == ["good"]
    reason = receiver.dead[0][1]
    assert receiver.dead[0][0] == "bad"
    assert reason.startswith("'ValueError: no such thing")
    assert [id_ for id_, *_ in receiver.retried] == ["bad", "bad"]
    assert [5 <= receiver.retried[0][1] <= 10, 10 <= receiver.retried[1][1] <= 20] == [True, True]


@pytest.mark.parametrize(
    "error",
    [ValueError(), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), RecursionError()],
    ids=repr,
)
async def test_whatever_a_handler_raises_is_a_failure_of_its_message_alone(error: BaseException) -> None:
    receiver = MemoryReceiver(*messages("bad", "good"))

    async def handler(message: Message) -> None:
        if message.id == "bad":
            raise error

    async with consuming(receiver, handled_by(handler)):
        await until(lambda: bool(receiver.dead) and bool(receiver.acknowledged))
    assert receiver.dead == [("bad", one) for one in [receiver.dead[0][1]]]
    assert type(error).__name__ in receiver.dead[0][1]


async def test_a_rejected_message_is_dead_lettered_at_once_and_a_postponed_one_waits() -> None:
    receiver = MemoryReceiver(*messages("never", "later"))

    async def handler(message: Message) -> None:
        if message.id == "never":
            raise RejectedMessageError("malformed")
        if len(receiver.retried) == 0:
            raise RetryLaterError(77)

    async with consuming(receiver, handled_by(handler)):
        await until(lambda: receiver.acknowledged == ["later"])
    assert receiver.dead == [("never", "RejectedMessageError: malformed")]
    assert receiver.retried == [("later", 77, "RetryLaterError: again in 77 s")]


async def test_the_limits_of_a_message_come_first() -> None:
    receiver = MemoryReceiver()
    receiver.queue.append(Delivery(Message("a", b""), 1, max_attempts=1, timeout_s=0.01))

    async def handler(_: Message) -> None:
        await asyncio.Event().wait()

    async with consuming(receiver, handled_by(handler)):
        await until(lambda: bool(receiver.dead))
    assert receiver.dead == [("a", "TimeoutError")]


async def test_a_delivery_that_is_no_longer_held_is_canceled_and_handled_again() -> None:
    receiver = MemoryReceiver(*messages("a"))
    starts, canceled = 0, 0

    async def handler(_: Message) -> None:
        nonlocal starts, canceled
        starts += 1
        if starts == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                canceled += 1
                raise

    async with consuming(receiver, handled_by(handler, concurrency=1)) as consumer:
        await until(lambda: starts == 1)
        receiver.lose()
        await until(lambda: receiver.acknowledged == ["a"])
        assert (starts, canceled, consumer.held) == (2, 1, 0)
    assert not receiver.retried


async def test_a_broker_that_is_away_is_opened_again_and_what_ended_meanwhile_is_settled() -> None:
    receiver = MemoryReceiver(*messages("a", "b"))
    gate = asyncio.Event()

    async def handler(message: Message) -> None:
        if message.id == "a":
            await gate.wait()

    async with consuming(receiver, handled_by(handler, concurrency=5)):
        await until(lambda: receiver.acknowledged == ["b"])
        receiver.fail(BrokerUnavailableError("connection lost"))
        gate.set()
        await asyncio.sleep(0)
        receiver.fail(None)
        receiver.put(*messages("c"))
        await until(lambda: sorted(receiver.acknowledged) == ["a", "b", "c"])
    assert receiver.opened >= 1


async def test_a_stop_waits_for_what_is_worked_on_and_releases_the_rest() -> None:
    receiver = MemoryReceiver(*messages("quick", "slow"))
    gate = asyncio.Event()

    async def handler(message: Message) -> None:
        await (gate.wait() if message.id == "quick" else asyncio.Event().wait())

    consumer = Consumer(receiver, handled_by(handler), Dependencies(Metrics("test")))
    task = asyncio.create_task(consumer.run())
    await until(lambda: len(receiver.held) == 2)
    draining = asyncio.create_task(consumer.drain(0.2))
    await asyncio.sleep(0)
    receiver.put(*messages("late"))
    gate.set()
    assert await draining == 1
    await asyncio.wait({task})
    assert (receiver.acknowledged, receiver.released, receiver.closed) == (["quick"], ["slow"], True)
    assert [each.message.id for each in receiver.queue] == ["slow", "late"]


async def test_a_handler_that_ignores_its_cancellation_keeps_neither_its_message_nor_the_process() -> None:
    receiver = MemoryReceiver(*messages("deaf", "good"))
    gate = asyncio.Event()

    async def handler(message: Message) -> None:
        while message.id == "deaf" and not gate.is_set():
            with suppress(asyncio.CancelledError):
                await gate.wait()

    consumer = Consumer(receiver, handled_by(handler), Dependencies(Metrics("test")))
    task = asyncio.create_task(consumer.run())
    await until(lambda: receiver.acknowledged == ["good"])
    with capture_logs() as logs:
        assert await consumer.drain(0) == 1
        await until(task.done)
    gate.set()
    assert (receiver.released, receiver.closed) == (["deaf"], True)
    assert [(line["event"], line["id"]) for line in logs] == [("handlers.abandoned", "deaf")]


async def test_a_handler_that_ends_after_it_was_abandoned_settles_nothing() -> None:
    receiver = MemoryReceiver(*messages("deaf"))
    gate, ended = asyncio.Event(), asyncio.Event()
    release = receiver.release

    async def handler(_: Message) -> None:
        while not gate.is_set():
            with suppress(asyncio.CancelledError):
                await gate.wait()
        ended.set()

    async def release_later(deliveries: Sequence[Delivery]) -> None:
        gate.set()
        await ended.wait()
        await asyncio.sleep(0)
        await release(deliveries)

    consumer = Consumer(receiver, handled_by(handler), Dependencies(Metrics("test")))
    with patch.object(receiver, "release", release_later):
        task = asyncio.create_task(consumer.run())
        await until(lambda: len(receiver.held) == 1)
        await asyncio.sleep(0)
        await consumer.drain(0)
        await until(task.done)
    assert (receiver.released, receiver.acknowledgements, consumer.held) == (["deaf"], [], 0)


async def test_what_is_lost_twice_while_its_handler_ends_frees_one_place() -> None:
    receiver = MemoryReceiver(*messages("a"))
    cleaned_up = asyncio.Event()
    canceled: list[str] = []

    async def handler(message: Message) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            canceled.append(message.id)
            await cleaned_up.wait()

    async with consuming(receiver, handled_by(handler, concurrency=2)) as consumer:
        await until(lambda: len(receiver.held) == 1)
        delivery = next(iter(receiver.held))
        await until(lambda: delivery.cancel is not None)
        await asyncio.sleep(0)
        assert delivery.cancel
        delivery.cancel()
        await until(lambda: bool(canceled))
        delivery.cancel()
        cleaned_up.set()
        await until(lambda: consumer.held <= 0)
        assert consumer.held == 0


async def test_what_is_lost_before_its_handler_begins_frees_its_place() -> None:
    receiver = MemoryReceiver(*messages("a"))
    receive = receiver.receive

    async def receive_and_lose(limit: int) -> list[Delivery]:
        deliveries = await receive(limit)
        if len(receiver.limits) == 1:
            asyncio.get_running_loop().call_soon(receiver.lose)
        return deliveries

    receiver.receive = receive_and_lose  # type: ignore[method-assign]
    async with consuming(receiver, handled_by(lambda _: None, concurrency=1)) as consumer:
        await until(lambda: receiver.acknowledged == ["a"])
        assert consumer.held == 0


async def test_a_message_that_cannot_be_moved_stops_no_other() -> None:
    """Its dead letter is refused: what succeeds, and other failures, are settled nevertheless."""
    receiver = MemoryReceiver(*messages("refused", "odd", "bad", "good"))
    dead_letter = receiver.dead_letter
    refusing = True

    async def refuse(delivery: Delivery, reason: str) -> None:
        if delivery.message.id == "refused" and refusing:
            raise BrokerRefusedError("too large")
        if delivery.message.id == "odd":
            raise TypeError("a bug")
        await dead_letter(delivery, reason)

    receiver.dead_letter = refuse  # type: ignore[method-assign]

    async def handler(message: Message) -> None:
        if message.id != "good":
            raise RejectedMessageError("bad")

    async with consuming(receiver, handled_by(handler)) as consumer:
        await until(lambda: bool(receiver.dead) and bool(receiver.acknowledged))
        assert ([id_ for id_, _ in receiver.dead], receiver.acknowledged) == (["bad"], ["good"])
        await until(lambda: consumer.held == 1)
        refusing = False
        await until(lambda: consumer.held == 0)
    assert [id_ for id_, _ in receiver.dead] == ["bad", "refused"]


async def test_a_stop_waits_for_an_acknowledgement_that_is_on_its_way() -> None:
    receiver = MemoryReceiver(*messages("a"))
    acknowledge = receiver.acknowledge
    began, gate = asyncio.Event(), asyncio.Event()

    async def slow(deliveries: Sequence[Delivery]) -> None:
        began.set()
        await gate.wait()
        await acknowledge(deliveries)

    receiver.acknowledge = slow  # type: ignore[method-assign]
    async with consuming(receiver, handled_by(lambda _: None)):
        await began.wait()
        asyncio.get_running_loop().call_later(0.05, gate.set)
    assert (receiver.acknowledged, receiver.acknowledgements) == (["a"], [1])


async def test_a_stop_before_the_start_is_not_lost() -> None:
    receiver = MemoryReceiver(*messages("a"))
    consumer = Consumer(receiver, handled_by(lambda _: None), Dependencies(Metrics("test")))
    assert await consumer.drain(1) == 0
    await asyncio.wait_for(consumer.run(), 30)
    assert (receiver.acknowledged, receiver.closed) == ([], True)
