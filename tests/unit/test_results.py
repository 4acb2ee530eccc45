"""Results of handlers: how they are encoded, and what becomes of those that cannot be stored."""

from dataclasses import dataclass
from typing import Any

import pytest

from peekaping_producer.messages.handlers import HandlerWork
from peekaping_producer.messages.results import MAX_RESULT_BYTES, Result, no_result, result_of
from peekaping_producer.processes.pool import Pool
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.consuming import consuming, handled_by
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until


@dataclass
class Rows:
    count: int


CYCLE: list[object] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("returned", "stored"),
    [
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
        ("é", "é".encode()),
        (0, b"0"),
        (False, b"false"),
        ({"a": [1.5, None]}, b'{"a":[1.5,null]}'),
        (Rows(3), b'{"count":3}'),
        (Result(b"a"), b"a"),
        (b"", b""),
        (bytes(MAX_RESULT_BYTES), bytes(MAX_RESULT_BYTES)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_handler_returns_becomes_bytes(returned: object, stored: bytes) -> None:
    assert result_of(returned) == Result(stored)


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (object(), "result: expected bytes, text or a value that can be JSON, got object (TypeError: "),
        ("\ud800", "result: expected bytes, text or a value that can be JSON, got str (UnicodeEncodeError: "),
        (CYCLE, "result: expected bytes, text or a value that can be JSON, got list (RecursionError: "),
        ("x" * (MAX_RESULT_BYTES + 1), "result: expected at most 1048576 bytes, got 1048577"),
    ],
    ids=["object", "surrogate", "cycle", "too long"],
)
def test_a_result_that_cannot_be_stored_has_a_problem(returned: object, problem: str) -> None:
    result = result_of(returned)
    assert result.data == b""
    assert result.problem.startswith(problem)
    assert len(result.problem) < 500


def delivery(task_id: str, *, keeps_result: bool) -> Delivery:
    return Delivery(Message(task_id, b""), keeps_result=keeps_result)


async def test_a_result_is_kept_only_by_a_delivery_that_keeps_one() -> None:
    work = HandlerWork(lambda message: message.id)
    kept, ignored = delivery("a", keeps_result=True), delivery("b", keeps_result=False)
    await work.run([kept, ignored])
    assert (kept.result, ignored.result) == (b"a", None)


async def test_a_result_that_cannot_be_stored_fails_its_message_alone_and_is_not_tried_again() -> None:
    receiver = MemoryReceiver()
    receiver.queue.extend(delivery(name, keeps_result=name != "ignored") for name in ("bad", "ignored", "good"))

    async def handler(message: Message) -> Any:
        return "x" if message.id == "good" else object()

    async with consuming(receiver, handled_by(handler)):
        await until(lambda: len(receiver.acknowledged) == 2 and bool(receiver.dead))
    assert sorted(receiver.acknowledged) == ["good", "ignored"]
    assert (receiver.retried, [id_ for id_, _ in receiver.dead]) == ([], ["bad"])
    assert receiver.dead[0][1].startswith("RejectedMessageError: result: expected bytes")


@pytest.mark.parametrize(("reply_of", "stored"), [(result_of, b'{"id":"a"}'), (None, b'{"id":"a"}'), (no_result, None)])
async def test_the_result_of_a_worker_process_is_kept(reply_of: Any, stored: bytes | None) -> None:
    kept = delivery("a", keeps_result=True)
    work = HandlerWork(Pool("tests.kit.consumer_handlers:id_of", processes=1, reply_of=reply_of))
    await work.open()
    await work.run([kept])
    await work.close()
    assert kept.result == stored
