"""The consumer: what becomes of each message, whatever its handler does."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from peekaping_producer.errors import (
    BrokerUnavailableError,
    ConfigError,
    DependencyError,
    RejectedMessageError,
)
from peekaping_producer.messages.consumer import Consumer, Retries, RetryLaterError
from peekaping_producer.messages.handlers import HandlerWork, load_handler, processing_time_s
from peekaping_producer.messages.metrics import ConsumerMetrics
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
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
    assert [each.message.id for each in receiver.queue] == ["late"]


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
