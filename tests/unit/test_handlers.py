"""Handlers of a consumer: how they are found and called, and what they may raise."""

import asyncio
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peekaping_producer.errors import (
    ConfigError,
)
from peekaping_producer.messages.handlers import HandlerWork, load_handler, processing_time_s
from peekaping_producer.messages.retries import Retries, RetryLaterError
from peekaping_producer.processes.pool import Pool
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.consuming import consuming, handled_by, messages
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until

JOBS = """
import functools
def handle(message): ...
def optional(message, log=None): ...
def generate(message): yield message
async def none(): ...
def two(a, b): ...
partly = functools.partial(two, 1)
class Callable:
    async def __call__(self, message): ...
object = Callable()
print = print
number = 3
"""


async def test_a_synchronous_handler_runs_beside_the_event_loop() -> None:
    receiver = MemoryReceiver(*messages("a"))
    threads: list[object] = []

    def handler(_: Message) -> None:
        threads.append(asyncio.events._get_running_loop())

    async with consuming(receiver, handled_by(handler)):
        await until(lambda: receiver.acknowledged == ["a"])
    assert threads == [None]


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
    (tmp_path / "jobs_of_test.py").write_text(JOBS)
    (tmp_path / "broken_of_test.py").write_text("import not_installed_of_test\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("handle", "optional", "partly", "print", "object"):
        assert callable(load_handler(f"jobs_of_test:{name}"))
    for name, problem in (
        ("jobs_of_test", "expected module:function, got 'jobs_of_test'"),
        ("nowhere_of_test:x", "no module named 'nowhere_of_test'; check the working directory"),
        (
            "broken_of_test:x",
            "importing the module failed .ModuleNotFoundError: No module named 'not_installed_of_test'",
        ),
        ("broken_of_test.sub:x", "importing the module failed"),
        ("jobs_of_test.sub:x", "no module named 'jobs_of_test.sub'"),
        ("jobs_of_test:generate", "expected a function without yield, got the generator function"),
        ("jobs_of_test:none", r"expected a function of one argument, the message, got 'jobs_of_test:none' with \(\)"),
        ("jobs_of_test:two", r"got 'jobs_of_test:two' with \(a, b\)"),
        ("jobs_of_test:missing", "the module has no 'missing'"),
        ("jobs_of_test:number", "expected a function, got int"),
    ):
        with pytest.raises(ConfigError, match=problem):
            load_handler(name)


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


def generator_exit(_: Message) -> None:
    raise GeneratorExit


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise self.args[0]


def unprintable(_: Message) -> None:
    raise UnprintableError(ValueError)


def unprintable_exit(_: Message) -> None:
    raise UnprintableError(SystemExit)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (stop_iteration, "RuntimeError: the handler raised StopIteration"),
        (generator_exit, "RuntimeError: the handler raised GeneratorExit"),
        (unprintable, "UnprintableError"),
        (unprintable_exit, "UnprintableError"),
    ],
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
    retries = Retries(max_attempts=1, timeout_s=2)  # far more than a call takes on a busy machine
    async with consuming(receiver, HandlerWork(pool, concurrency=10), retries=retries):
        await until(lambda: len(receiver.dead) == 1 and len(receiver.acknowledged) == 40)
    assert receiver.dead == [("hang", "TimeoutError: no reply in 2 s")]


async def test_the_wait_before_a_handler_is_no_part_of_its_attempt() -> None:
    receiver = MemoryReceiver(Message("a", b'{"processing_time": 1}'))
    async with consuming(receiver, handled_by(lambda _: None), retries=Retries(max_attempts=1, timeout_s=0.5)):
        await until(lambda: bool(receiver.acknowledged or receiver.dead))
    assert receiver.acknowledged == ["a"]
