"""The consumer: what becomes of each message, whatever its handler does."""

import asyncio
import os
import pickle
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    ConfigError,
    DependencyError,
    OutputClosedError,
    OutputUnavailableError,
    RejectedMessageError,
)
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.handlers import HandlerWork, load_handler, processing_time_s
from peekaping_producer.messages.metrics import ConsumerMetrics
from peekaping_producer.messages.retries import Retries, RetryLaterError
from peekaping_producer.messages.sinks.stdout import StdoutSink
from peekaping_producer.metrics import Metrics
from peekaping_producer.pipeline.service import MessageService
from peekaping_producer.processes.pool import Pool
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.settings import Settings
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until

RETRIES = Retries(max_attempts=3, first_delay_s=10)


def messages(*ids: str) -> list[Message]:
    return [Message(id_, b"body") for id_ in ids]


@asynccontextmanager
async def consuming(receiver: MemoryReceiver, work: Any, **options: Any) -> AsyncIterator[Consumer]:
    consumer = Consumer(receiver, work, Dependencies(Metrics("test")), **{"retries": RETRIES, **options})
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def handled_by(handler: Callable[[Message], Any], **options: Any) -> HandlerWork:
    return HandlerWork(handler, **options)


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


async def test_a_handler_that_fails_is_called_again_and_then_the_message_is_dead_lettered() -> None:
    receiver = MemoryReceiver(*messages("bad", "good"))

    async def handler(message: Message) -> None:
        if message.id == "bad":
            raise ValueError("no such thing\nsecond line")

    async with consuming(receiver, handled_by(handler)):
        await until(lambda: bool(receiver.dead))
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


async def test_a_synchronous_handler_runs_beside_the_event_loop() -> None:
    receiver = MemoryReceiver(*messages("a"))
    threads: list[object] = []

    def handler(_: Message) -> None:
        threads.append(asyncio.events._get_running_loop())

    async with consuming(receiver, handled_by(handler)):
        await until(lambda: receiver.acknowledged == ["a"])
    assert threads == [None]


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


class Sink:
    """Work in batches, that fails while `error` is set."""

    batch_size = 3
    concurrency = 1

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.error: DependencyError | None = None
        self.failed = 0

    async def open(self) -> None: ...

    async def run(self, deliveries: Sequence[Delivery]) -> None:
        if self.error:
            self.failed += 1
            raise self.error
        self.batches.append([delivery.message.id for delivery in deliveries])

    async def close(self) -> None: ...


async def test_a_sink_gets_batches_in_order_and_keeps_them_while_it_cannot_write() -> None:
    receiver, sink = MemoryReceiver(*messages(*"abcdefg")), Sink()
    sink.error = BrokerUnavailableError("no space left on device")
    async with consuming(receiver, sink):
        await until(lambda: sink.failed >= 2)
        assert (receiver.acknowledged, len(receiver.held), receiver.retried) == ([], 3, [])
        sink.error = None
        await until(lambda: len(receiver.acknowledged) == 7)
    assert sink.batches == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


async def test_the_time_that_a_message_requires_is_waited_before_its_handler() -> None:
    began = asyncio.get_running_loop().time()
    ended: list[float] = []
    work = HandlerWork(lambda _: ended.append(1), delay_s=0.05)
    await work.run([Delivery(Message("a", b'{"processing_time": 0.05, "payload": 1}'))])
    assert asyncio.get_running_loop().time() - began >= 0.1
    assert ended


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"processing_time": 2}', 2),
        (b'{"processing_time": -1}', 0),
        (b'{"processing_time": 1e9}', 3600),
        (b'{"processing_time": "2"}', 0),
        (b'{"processing_time": 1e999}', 0),
        (b"{}", 0),
        (b"{", 0),
        (b"\xff", 0),
        (b'{"a": "\xff", "processing_time": 3}', 3),
        (b"{" + b'"a":[' * 100_000, 0),
        (b"2", 0),
    ],
)
def test_the_processing_time_of_any_body_is_a_number(body: bytes, seconds: float) -> None:
    assert processing_time_s(Message("a", body)) == seconds


def test_a_handler_is_imported_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs_of_test.py").write_text("def handle(message): ...\nnumber = 3\n")
    (tmp_path / "broken_of_test.py").write_text("import not_installed_of_test\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_handler("jobs_of_test:handle").__name__ == "handle"
    for name, problem in (
        ("jobs_of_test", "expected module:function, got 'jobs_of_test'"),
        ("nowhere_of_test:x", "no module named 'nowhere_of_test'; check the working directory"),
        ("broken_of_test:x", "no module named 'not_installed_of_test'"),
        ("jobs_of_test:missing", "the module has no 'missing'"),
        ("jobs_of_test:number", "expected a function, got int"),
    ):
        with pytest.raises(ConfigError, match=problem):
            load_handler(name)


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
        await until(lambda: sink.failed == 1)
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


async def test_handlers_that_hang_in_threads_do_not_stop_the_others() -> None:
    receiver = MemoryReceiver()
    receiver.queue.extend(Delivery(message, max_attempts=1, timeout_s=0.02) for message in messages(*["hang"] * 20))
    receiver.put(*messages("good"))
    gate = threading.Event()

    def handler(message: Message) -> None:
        if message.id != "good":
            gate.wait()

    try:
        async with consuming(receiver, handled_by(handler, concurrency=2)):
            await until(lambda: receiver.acknowledged == ["good"] and len(receiver.dead) == 20)
    finally:
        gate.set()


def stop_iteration(_: Message) -> None:
    raise StopIteration


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError


def unprintable(_: Message) -> None:
    raise UnprintableError


@pytest.mark.parametrize(
    ("handler", "reason"),
    [(stop_iteration, "RuntimeError: the handler raised StopIteration"), (unprintable, "UnprintableError")],
)
async def test_strange_exceptions_are_failures(handler: Callable[[Message], Any], reason: str) -> None:
    receiver = MemoryReceiver(*messages("a"))
    async with consuming(receiver, handled_by(handler), retries=Retries(max_attempts=1)):
        await until(lambda: bool(receiver.dead))
    assert receiver.dead == [("a", reason)]


async def test_a_function_that_returns_a_coroutine_is_awaited() -> None:
    handled: list[str] = []

    async def handler(message: Message) -> None:
        handled.append(message.id)

    receiver = MemoryReceiver(*messages("a"))
    async with consuming(receiver, handled_by(lambda message: handler(message))):
        await until(lambda: receiver.acknowledged == ["a"])
    assert handled == ["a"]


@pytest.mark.parametrize(("delay_s", "used_s"), [(-1, 0), (float("nan"), 0), (1e99, 604800), (2, 2)])
def test_the_delay_of_a_postponed_message_is_bounded_also_from_another_process(delay_s: float, used_s: float) -> None:
    error = pickle.loads(pickle.dumps(RetryLaterError(delay_s, "why")))
    assert (error.delay_s, str(error)) == (used_s, "why")


async def test_a_message_that_kills_its_process_is_dead_lettered_and_stops_no_other() -> None:
    receiver = MemoryReceiver(*messages("kill", "later", "never", *(f"m{n}" for n in range(20))))
    pool = Pool("tests.kit.consumer_handlers:by_id", processes=1)
    async with consuming(receiver, HandlerWork(pool, concurrency=5)):
        await until(lambda: len(receiver.dead) == 3 and len(receiver.acknowledged) == 20)
    reasons = dict(receiver.dead)
    assert "dead worker processes" in reasons["kill"]
    assert reasons["never"].startswith("RejectedMessageError: malformed")
    assert ("later", 3600.0) in [(id_, delay_s) for id_, delay_s, _ in receiver.retried]


async def test_a_message_whose_handler_hangs_costs_no_attempt_of_those_that_wait_for_its_process() -> None:
    """The limit of an attempt begins when a process can begin it."""
    receiver = MemoryReceiver(*messages(*(f"first{n}" for n in range(20)), "hang", *(f"m{n}" for n in range(20))))
    pool = Pool("tests.kit.consumer_handlers:by_id", processes=1)
    retries = Retries(max_attempts=1, timeout_s=0.5)
    async with consuming(receiver, HandlerWork(pool, concurrency=10), retries=retries):
        await until(lambda: len(receiver.dead) == 1 and len(receiver.acknowledged) == 40)
    assert receiver.dead == [("hang", "TimeoutError: no reply in 0.5 s")]


async def test_the_wait_before_a_handler_is_no_part_of_its_attempt() -> None:
    receiver = MemoryReceiver(Message("a", b'{"processing_time": 0.1}'))
    async with consuming(receiver, handled_by(lambda _: None), retries=Retries(max_attempts=1, timeout_s=0.05)):
        await until(lambda: bool(receiver.acknowledged or receiver.dead))
    assert receiver.acknowledged == ["a"]


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
