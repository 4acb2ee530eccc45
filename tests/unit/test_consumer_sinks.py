"""The consumer with a sink: batches, their order, and an output that fails."""

import asyncio
import os
from collections.abc import Sequence

from structlog.testing import capture_logs

from peekaping_producer.errors import (
    BrokerUnavailableError,
    OutputClosedError,
    OutputUnavailableError,
)
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.retries import Retries
from peekaping_producer.messages.sinks.stdout import StdoutSink
from peekaping_producer.metrics import Metrics
from peekaping_producer.pipeline.service import MessageService
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.settings import Settings
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.consuming import Sink, consuming, messages
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until


async def test_a_sink_gets_batches_in_order_and_keeps_them_while_it_cannot_write() -> None:
    receiver, sink = MemoryReceiver(*messages(*"abcdefg")), Sink()
    sink.error = BrokerUnavailableError("no space left on device")
    async with consuming(receiver, sink):
        await until(lambda: sink.failed >= 2)
        assert (receiver.acknowledged, len(receiver.held), receiver.retried) == ([], 3, [])
        sink.error = None
        await until(lambda: len(receiver.acknowledged) == 7)
    assert sink.batches == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


async def test_a_lost_delivery_does_not_take_the_others_of_its_batch_along() -> None:
    receiver, sink = MemoryReceiver(*messages(*"abc")), Sink()
    sink.error = OutputUnavailableError("no space left on device")
    async with consuming(receiver, sink):
        await until(lambda: sink.failed >= 1)
        receiver.lose(next(iter(receiver.held)))
        sink.error = None
        await until(lambda: receiver.acknowledged == ["b", "c", "a"])
    assert sink.batches == [["b", "c"], ["a"]]


async def test_a_sink_is_called_once_at_a_time_although_it_has_places_left() -> None:
    """Otherwise a second batch could be written before the first, which waits for the disk."""
    receiver, sink = MemoryReceiver(*messages("a")), Sink()
    sink.error = OutputUnavailableError("no space left on device")
    async with consuming(receiver, sink):
        await until(lambda: sink.failed >= 1)
        receiver.put(*messages("b"))
        await until(lambda: sink.failed >= 3)
        assert len(receiver.held) == 1
        sink.error = None
        await until(lambda: receiver.acknowledged == ["a", "b"])
    assert sink.batches == [["a"], ["b"]]


async def test_a_full_disk_is_in_health_once_and_ends() -> None:
    receiver, sink = MemoryReceiver(*messages("a")), Sink()
    sink.error = OutputUnavailableError("no space left on device")
    dependencies = Dependencies(Metrics("test"))
    consumer = Consumer(receiver, sink, dependencies)
    health = MessageService(Settings(), consumer, dependencies, Metrics("test"))
    with capture_logs() as logs:
        task = asyncio.create_task(consumer.run())
        await until(lambda: sink.failed >= 3)
        assert health.unready().keys() == {"output_unavailable"}
        assert "no space left on device" in health.unready()["output_unavailable"]
        sink.error = None
        await until(lambda: receiver.acknowledged == ["a"])
        assert (health.unready(), health.stalled(), health.notes()) == ({}, [], [])
        receiver.fail(BrokerUnavailableError("connection lost"))
        await until(lambda: health.unready().keys() == {"broker_unavailable"})
        receiver.fail(None)
        await until(lambda: not health.unready(), "although no message comes")
        await consumer.drain(1)
        assert health.unready().keys() == {"draining"}
        await task
    events = [each["event"] for each in logs if each["dependency"] == "output"]
    assert events == ["dependency.failing", "dependency.recovered"]


async def test_an_output_that_no_process_reads_ends_the_consumer() -> None:
    receiver, sink = MemoryReceiver(*messages("a", "b")), Sink()

    async def closed(deliveries: Sequence[Delivery]) -> None:
        raise OutputClosedError(f"stdout is closed: {len(deliveries)}")

    sink.run = closed  # type: ignore[method-assign]
    await asyncio.wait_for(Consumer(receiver, sink, Dependencies(Metrics("test"))).run(), 30)
    assert (receiver.acknowledged, receiver.released, receiver.closed) == ([], ["a", "b"], True)


async def test_a_reader_of_the_output_that_is_slow_costs_no_attempt() -> None:
    receiver = MemoryReceiver(Message("a", bytes(1_000_000)))  # more than a pipe holds
    reading, writing = os.pipe()
    try:
        work = StdoutSink(fd=writing)
        async with consuming(receiver, work, retries=Retries(max_attempts=1, timeout_s=0.05)) as consumer:
            await until(lambda: consumer.held == 1)
            await asyncio.sleep(0.2)  # four times the limit
            assert (receiver.dead, receiver.retried) == ([], [])
    finally:
        os.close(reading)
        os.close(writing)
